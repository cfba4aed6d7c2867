"""Means over the entries that count: a mask of 1 or True counts, and whatever stands under 0 changes nothing.

Junk under a mask of 0, NaN and infinity included, reaches neither a result nor a gradient: it is replaced before anything
is computed, never multiplied by 0 (0 · NaN is NaN).
"""

from numbers import Real

import torch
from torch import Tensor

from rlbook.scan import HALF, describe

__all__ = ["check_floating", "check_mask", "masked_mean", "masked_var", "masked_whiten"]


def masked_mean(x: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Mean of the entries that count.

    mean(x) = Σ_i m_i x_i / Σ_i m_i

    Shapes: x [...]; mask the same, 1 or True where an entry counts. `dim`: one axis or several; None: all. Returns x's
    shape without these axes, in the unit of x, and 0 where nothing counts. float16 and bfloat16 are summed in float32.
    Raises ValueError for a mask of another shape (nothing is broadcast), another device or other numbers than 0 and 1 (not
    looked at on a GPU), integers, an axis that x does not have.
    Tests hold it to the mean of the selected entries, and to junk appended under 0.
    """
    counts, axes = _checked(x, mask, dim)
    return _mean(_counted(x, counts), counts, axes).to(x.dtype)


def masked_var(x: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None, ddof: int = 1) -> Tensor:
    """Variance of the entries that count, in two passes: the mean first, then the squared distances from it.

    var(x) = Σ_i m_i (x_i − mean(x))² / (Σ_i m_i − ddof)

    The form mean(x²) − mean(x)² is equal in exact arithmetic and loses every digit in float32 where the mean is large.
    Arguments, shapes and errors are those of `masked_mean`; ddof 1 (Bessel's correction, torch's default) or 0. Returns the
    unit of x squared, and 0 where no more than ddof entries count: one entry has no spread.
    Tests hold it to torch.var of the selected entries, and to 1e4 + {0, 1} in float32.
    """
    if ddof not in (0, 1) or isinstance(ddof, bool):
        raise ValueError(f"ddof must be 0 or 1, got {ddof!r}")
    counts, axes = _checked(x, mask, dim)
    return _variance(_counted(x, counts), counts, axes, ddof)[1].to(x.dtype)


def masked_whiten(x: Tensor, mask: Tensor, shift_mean: bool = True, ddof: int = 1, eps: float = 1e-8) -> Tensor:
    """The entries that count, at mean 0 and variance 1; the others 0.

    y_i = (x_i − mean(x)) / sqrt(var(x) + eps), and with shift_mean=False the mean is added again: y_i + mean(x)

    Shapes: x [...]; mask the same; one mean and one variance for all entries. Returns x's shape, without unit. One entry, or
    equal ones, give 0. Differentiable in x: mean and variance are no constants.
    Raises ValueError as `masked_var` does, and for eps <= 0.
    Source: the whitening of advantages in the PPO of baselines and TRL (var + eps under the root); CleanRL divides by
    std + 1e-8, which differs by less than 1e-8 once the std is near 1. Tests hold it to the definition.
    """
    if isinstance(eps, bool) or not isinstance(eps, Real) or not eps > 0:
        raise ValueError(f"eps must be a number > 0, got {eps!r}")
    if ddof not in (0, 1) or isinstance(ddof, bool):
        raise ValueError(f"ddof must be 0 or 1, got {ddof!r}")
    counts, axes = _checked(x, mask, None)
    wide = _counted(x, counts)
    mean, variance = _variance(wide, counts, axes, ddof)
    out = (wide - mean) / (variance + eps).sqrt()
    return torch.where(counts, out if shift_mean else out + mean, 0.0).to(x.dtype)


def check_floating(name: str, x: Tensor) -> None:
    """Raise ValueError unless x is a floating point tensor."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name} must be a floating point tensor, got {kind}")


def check_mask(mask: Tensor, x: Tensor, name: str) -> Tensor:
    """The mask as booleans; ValueError unless it has the shape and device of x, called `name`, and holds 0 and 1 alone.

    On a GPU the values are not looked at.
    """
    if not isinstance(mask, Tensor) or mask.shape != x.shape or mask.device != x.device:
        given = describe(mask) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must have the shape and device of {name}, {describe(x)}, got {given}; nothing is broadcast")
    if mask.dtype == torch.bool:
        return mask
    booleans = mask.bool()
    if mask.device.type == "cpu":
        other = mask != booleans  # NaN too
        if other.any():
            raise ValueError(f"mask must hold nothing but 0 and 1, or False and True, got {mask[other][0].item()!r}")
    return booleans


def _checked(x: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None) -> tuple[Tensor, tuple[int, ...]]:
    """The mask as booleans and the axes as a tuple."""
    check_floating("x", x)
    counts = check_mask(mask, x, "x")
    if dim is None:
        return counts, tuple(range(x.dim()))
    axes = dim if isinstance(dim, tuple) else (dim,)
    known = all(isinstance(axis, int) and -x.dim() <= axis < x.dim() for axis in axes)
    if not axes or not known or len({axis % x.dim() for axis in axes}) < len(axes):
        raise ValueError(f"dim must be axes of x, which has {x.dim()}, got {dim!r}")
    return counts, axes


def _counted(x: Tensor, counts: Tensor) -> Tensor:
    """x with 0 where nothing counts, in at least single precision."""
    counted = torch.where(counts, x, 0.0)
    return counted.float() if x.dtype in HALF else counted


def _mean(x: Tensor, counts: Tensor, axes: tuple[int, ...], keepdim: bool = False) -> Tensor:
    """Mean of x, which is 0 where nothing counts."""
    if not axes:
        return x
    return x.sum(axes, keepdim) / counts.sum(axes, keepdim).clamp(min=1)


def _variance(x: Tensor, counts: Tensor, axes: tuple[int, ...], ddof: int) -> tuple[Tensor, Tensor]:
    """Mean (with its axes kept) and variance (without them)."""
    mean = _mean(x, counts, axes, keepdim=True)
    distances = torch.where(counts, x - mean, 0.0)
    mean = mean + _mean(distances, counts, axes, keepdim=True)  # what rounding lost in the first pass
    distances = torch.where(counts, x - mean, 0.0)
    number = counts.sum(axes) if axes else counts.long()
    total = distances.square().sum(axes) if axes else distances.square()
    return mean, total / (number - ddof).clamp(min=1)
