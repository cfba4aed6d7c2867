"""One run on several processes, one for each GPU: who does which part, and how the parts become one update.

Started by torchrun, every process (a rank) runs the same program: it samples and scores its own rows of the batch, and
sums what the update divides by, the gradients and the metrics with the others. Summed, not averaged: with the loss divided by
counts of the whole batch, ∇L = Σ_ranks ∇L_rank, the gradient of one process that holds it all. Each function here changes
nothing where there is one process, and those that exchange something must be called by every rank, in the same order.
"""

import copy
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from rlbook.language.model import backbone_and_head
from rlbook.language.policy import Policy
from rlbook.language.scoring import Scorer


def start() -> torch.device:
    """Join the processes that torchrun launched; returns the device of this one: its own GPU, or the CPU.

    Launched otherwise there is nothing to join, and the same script runs on one device. Collectives go through gloo for
    tensors on the CPU and NCCL for those on a GPU.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return device


def world() -> tuple[int, int]:
    """(rank, size): which process this is, from 0, and how many there are; (0, 1) outside torch.distributed."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def seed_of_rank(seed: int) -> int:
    """The seed of this process's sampling: the run's own on rank 0, others elsewhere, so that no two ranks sample the same."""
    rank = world()[0]
    return seed if rank == 0 else int(np.random.SeedSequence(seed, spawn_key=(rank,)).generate_state(1)[0])


def own_rows(rows: Sequence) -> Sequence:
    """This rank's part of a list or of a tensor's first axis: the first part for rank 0, the next for rank 1, and so on.

    Raises ValueError for rows that cannot be divided equally.
    """
    rank, size = world()
    if len(rows) % size:
        raise ValueError(f"{len(rows)} rows cannot be divided equally over {size} processes")
    share = len(rows) // size
    return rows[rank * share:(rank + 1) * share]


def gather(x):
    """What one process would hold: the rows of all ranks, those of rank 0 first. The inverse of `own_rows`; no gradient.

    x: a tensor [B] or [B, C]; or tuples, lists and dicts of them, of None, and of integers, which are added up. B is the same on
    every rank, C need not be: shorter rows are filled up with 0 (False), which a mask gathered with them does not count.
    Returns tensors [size·B] or [size·B, max C].
    """
    if isinstance(x, dict):
        return {name: gather(value) for name, value in x.items()}
    if isinstance(x, tuple | list):
        each = [gather(value) for value in x]
        return type(x)(*each) if hasattr(x, "_fields") else type(x)(each)
    if isinstance(x, int):
        return int(sum_over_ranks(torch.tensor(x)))
    return x if x is None or world()[1] == 1 else _gather(x.detach())


def _gather(x: Tensor) -> Tensor:
    if x.dim() > 1:
        width = torch.tensor(x.shape[1], device=x.device)
        dist.all_reduce(width, dist.ReduceOp.MAX)
        x = nn.functional.pad(x, (0, int(width) - x.shape[1]))
    parts = [torch.empty_like(x) for _ in range(world()[1])]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def sum_over_ranks(x: Tensor) -> Tensor:
    """Σ_ranks x, of any shape: a new tensor, without gradient."""
    x = x.detach().clone()
    if world()[1] > 1:
        dist.all_reduce(x)
    return x


def any_rank(flag: bool) -> bool:
    """Whether it is true on any rank."""
    return bool(sum_over_ranks(torch.tensor(int(flag))))


def wait() -> None:
    """Until all ranks are here."""
    any_rank(False)


def progress(steps: range, name: str) -> Iterable[int]:
    """The steps, with a progress bar on rank 0."""
    return tqdm(steps, desc=name) if world()[0] == 0 else steps


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """∇L = Σ_ranks ∇L_rank: each gradient becomes the sum of all ranks', in one exchange of one long vector.

    A parameter without gradient counts as 0: a rank with nothing to learn from takes part all the same. Sharded
    parameters are left alone: their gradients were summed in the backward pass.
    """
    held = [p for p in parameters if p.requires_grad and not is_sharded(p)] if world()[1] > 1 else []
    if not held:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in held])
    dist.all_reduce(flat)
    for p, part in zip(held, flat.split([p.numel() for p in held]), strict=True):
        p.grad = part.view_as(p).to(p.dtype)


class Sharded(NamedTuple):
    """What takes the policy's place in an update: a copy of its model, divided over the ranks (see `sharded`)."""

    model: Scorer


def make_learner(policy: Policy, config) -> Policy | Sharded:
    """What a run trains: the policy itself, or a `sharded` copy of it if config says so and there are other processes."""
    return Sharded(sharded(policy.model)) if getattr(config, "sharded", False) and world()[1] > 1 else policy


def sharded(model: nn.Module) -> Scorer:
    """A copy of the model of which each rank holds 1/size of every parameter, of its gradient and of Adam's moments.

    Layer by layer, the parameters are gathered before they are needed and freed again (`torch.distributed.fsdp.fully_shard`,
    one unit for each layer, one for the rest); gradients are summed in the backward pass, each rank keeping its part. It is
    called by `token_logprobs` alone; every rank must do so, and go backward, equally often.
    """
    from torch.distributed.fsdp import fully_shard

    scorer = Scorer(copy.deepcopy(model))
    for module in (*getattr(backbone_and_head(scorer.model)[0], "layers", ()), scorer):
        fully_shard(module).set_gradient_divide_factor(1.0)  # a sum, where the default is a mean
    return scorer


def is_sharded(x: object) -> bool:
    """Whether it is a tensor of which this rank holds a part (a DTensor)."""
    return hasattr(x, "full_tensor")


def whole(state):
    """A state with every sharded tensor in it gathered, on all ranks: what one process would have. Nested lists and dicts."""
    if isinstance(state, dict):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(whole, state))
    return state.full_tensor() if is_sharded(state) else state


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Give the optimizer a copy of a whole state; of what belongs to sharded parameters, each rank keeps its part."""
    from torch.distributed.tensor import distribute_tensor

    optimizer.load_state_dict(copy.deepcopy(state))
    for p, own in optimizer.state.items():
        for name, value in own.items():
            if is_sharded(p) and value.shape == p.shape:
                own[name] = distribute_tensor(value, p.device_mesh, p.placements)


@torch.no_grad()
def copy_parameters(target: nn.Module, source: nn.Module) -> None:
    """Give the target the parameters of the source, gathered from all ranks where they are sharded; in the same order."""
    for own, given in zip(target.parameters(), source.parameters(), strict=True):
        if own is not given:
            own.copy_(whole(given))
