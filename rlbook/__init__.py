"""The package behind *the executable book of policy optimization*.

Importing it is instant: a submodule, and torch with it, is loaded when it is first used, as in
``rlbook.losses.policy_gradient_loss``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"


def device() -> torch.device:
    """The device a chapter runs on: ``RLBOOK_DEVICE`` if that is set, else CUDA, else Apple's MPS, else the CPU.

    Prints nothing, except on a Colab machine without a GPU, where it says in one line how to switch one on.
    """
    import torch

    chosen = os.environ.get("RLBOOK_DEVICE")
    if chosen:
        return torch.device(chosen)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if "COLAB_RELEASE_TAG" in os.environ:
        print("No GPU here: choose Runtime > Change runtime type > T4 GPU, then Runtime > Run all.")
    return torch.device("cpu")


def __getattr__(name: str):
    """Load ``rlbook.<name>`` on first use (PEP 562)."""
    if not name.startswith("_"):
        full = f"{__name__}.{name}"
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:  # the submodule is there, and something that it needs is not
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(module.name for module in pkgutil.iter_modules(__path__))})
