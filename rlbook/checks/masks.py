"""Checkers of what a mask promises: that an element which does not count changes nothing."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rlbook.checks.compare import call, compare

JUNK = (1e30, float("nan"), float("inf"), -float("inf"))


def check_padding_invariance(fn: Callable, inputs: int = 1) -> None:
    """What stands under a mask of 0, and how many columns of it there are, must change neither a result nor a gradient.

        checks.check_padding_invariance(my_masked_mean)
        checks.check_padding_invariance(lambda logprobs, ref, mask: my_loss(logprobs, ref, mask), inputs=2)

    fn takes `inputs` float64 tensors [B, T] (numbers below 0, as log-probabilities are) and a boolean mask [B, T], True
    where an element counts, and returns one number or [B, T]. It is called twice: on numbers, and with columns of junk
    appended to every tensor (1e30, NaN, ∞, −∞; mask False) and junk in the place of the other elements that do not count.
    The number, or what is returned for the elements that count, must agree to 1e-12, and so must the derivatives; the
    derivatives of the junk must be 0. The counterexample shows the call with junk.
    Raises ValueError for inputs < 1.
    """
    if not isinstance(inputs, int) or isinstance(inputs, bool) or inputs < 1:
        raise ValueError(f"inputs must be an integer >= 1, got {inputs!r}")
    for tensors, mask, columns in _cases(inputs):
        names = [f"input {k + 1}" for k in range(inputs)] + ["mask"]
        clean = dict(zip(names, [*tensors, mask], strict=True))
        dirty = dict(zip(names, _with_junk(tensors, mask, columns), strict=True))
        expected = call(_counted(fn, mask), clean, mask).detach()
        compare("junk under the mask changes the result", dirty, expected, _counted(fn, mask), 1e-12, 1e-12)
        for k in range(inputs):
            slope = torch.where(mask, call(_slope(fn, mask, k), clean, mask), 0.0)
            slope = torch.cat([slope, slope.new_zeros(len(slope), columns)], dim=1)
            what = f"junk under the mask changes the derivative with respect to input {k + 1}, or has one"
            compare(what, dirty, slope, _slope(fn, mask, k), 1e-12, 1e-12)


def _cases(inputs: int) -> Iterator[tuple[list[Tensor], Tensor, int]]:
    """Tensors, their mask, and how many columns of junk to append; the smallest first."""
    generator = torch.Generator().manual_seed(14)
    for rows in ([[1]], [[1, 1]], [[1, 0]], [[0, 1]], [[1, 1, 1], [1, 0, 0]], [[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]):
        mask = torch.tensor(rows).bool()
        numbers = torch.randn((inputs, *mask.shape), generator=generator, dtype=torch.float64)
        for columns in (1, 4):
            yield list(-numbers.abs().round(decimals=2) - 0.1), mask, columns


def _with_junk(tensors: list[Tensor], mask: Tensor, columns: int) -> list[Tensor]:
    """The tensors with junk where the mask is False and in columns at the end, and the longer mask."""
    longer = torch.cat([mask, mask.new_zeros(len(mask), columns)], dim=1)
    junk = torch.tensor(JUNK, dtype=torch.float64).repeat(longer.numel() + len(tensors))
    out = []
    for k, x in enumerate(tensors):
        wide = torch.cat([x, x.new_zeros(len(x), columns)], dim=1)
        out.append(torch.where(longer, wide, junk[k + 1 : k + 1 + longer.numel()].view_as(longer)))
    return [*out, longer]


def _counted(fn: Callable, mask: Tensor) -> Callable:
    """What fn returns: one number, or its values where the mask of the shorter tensors is True, as a vector."""

    def result(*given):
        out = torch.as_tensor(fn(*given), dtype=torch.float64)
        if out.shape not in ((), given[-1].shape):
            raise TypeError(f"one number or the shape of the mask, {tuple(given[-1].shape)}, is needed, got {tuple(out.shape)}")
        return out if out.dim() == 0 else out[:, : mask.shape[1]][mask]

    return result


def _slope(fn: Callable, mask: Tensor, k: int) -> Callable:
    """The derivative, with respect to input k, of a weighted sum of what counts in the result; 0 where there is none."""

    def slope(*given):
        given = [*(x.detach().clone().requires_grad_() for x in given[:-1]), given[-1]]
        out = _counted(fn, mask)(*given).reshape(-1)
        if not out.requires_grad:
            return torch.zeros_like(given[k])
        total = (out * torch.arange(1, len(out) + 1)).sum()
        found = torch.autograd.grad(total, given[k], allow_unused=True)[0]
        return torch.zeros_like(given[k]) if found is None else found

    return slope
