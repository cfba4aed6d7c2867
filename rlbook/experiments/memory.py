"""The most memory that tensors held at one time, counted allocation by allocation."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the bytes of every storage that an operation makes, until it is freed: `held` now, `peak` at most.

    `with Allocations() as memory: ...`, then memory.peak. What was made before, such as the parameters of a model, is not
    counted while it lives, and neither is what a kernel needs inside itself. The same on every machine, unlike the memory of
    a process. (On a GPU torch.cuda.max_memory_allocated says more.)
    """

    def __init__(self):
        super().__init__()
        self.held = self.peak = 0
        self.known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for storage in _storages((args, kwargs)):
            self._know(storage, 0)
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            self._know(storage, storage.nbytes())
        return out

    def _know(self, storage: torch.UntypedStorage, size: int) -> None:
        """Count a storage that was not seen before, until it is freed."""
        key = id(storage)
        if key in self.known:
            return

        def free(_: weakref.ref) -> None:
            self.held -= size
            del self.known[key]

        self.known[key] = weakref.ref(storage, free)
        self.held += size
        self.peak = max(self.peak, self.held)


def _storages(values: object) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
