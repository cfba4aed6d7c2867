"""Checkers of what GRPO adds: advantages from a group, one number from a loss per token, the same however a batch is split."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rlbook import losses, returns
from rlbook.checks.compare import CounterExample, call, compare, derivative, differentiated

NAN = float("nan")
GLOBAL_MODES = tuple(mode for mode in losses.MODES if mode != "bnpo")


def check_group(fn: Callable, ddof: int = 1, missing: bool = False) -> None:
    """fn(rewards [P, G]) must be the advantages of the completions in their group (eq-grpo-advantage).

        checks.check_group(my_advantages)                  # the sample standard deviation, as in TRL
        checks.check_group(my_advantages, ddof=0)          # that of the population, as the equation is printed

    That is (r − mean)/std of each row, and 0 in a row whose rewards are all equal, or that has one. Two equal rows are two
    groups. Agreement is asked to 3 digits, or 2 where the standard deviation is as small as 0.07, so that a small number
    added to it or under its root, up to 1e-4, makes no difference.
    Rewards of 1e4 and 1e4 + 1, and seven times 0.1, come in float32: a mean of squares minus a squared mean fails there,
    and so does rounding divided by 1e-8 (by 1e-6 it stays below 0.01, which passes). missing=True: also rewards that are
    NaN, completions without a score, which count neither in mean nor standard deviation, and get 0.
    Raises ValueError for another ddof than 0 and 1.
    """
    for rewards in _rewards(missing):
        expected = returns.group_advantages(rewards, ddof=ddof, eps=0.0)
        atol = 1e-3 if rewards.dtype == torch.float64 else 1e-2
        variances = rewards.var(-1, correction=0)
        smallest = min([1.0, *variances[variances > 1e-4].tolist()])
        compare("advantages of groups", {"rewards": rewards}, expected, fn, 1e-3 + 5e-5 / smallest, atol)


def check_aggregate(fn: Callable, mode: str = "dapo") -> None:
    """fn(loss [B, T], mask, denom) must be the loss per token as one number, as `losses.aggregate` with this mode.

        checks.check_aggregate(my_token_mean)              # Σ m loss / denom
        checks.check_aggregate(my_mean_of_means, "grpo")   # Σ_i (1/|o_i|) Σ_t m loss / denom

    Value and derivative. Losses have both signs and come large, too. The mask is boolean, True where a token counts; there are
    rows without tokens, and masks without any, which give 0. Under the mask stand numbers; `check_padding_invariance` has NaN
    and infinity there.
    Raises ValueError for another mode than grpo, dr_grpo and dapo: bnpo takes no denom.
    """
    if mode not in GLOBAL_MODES:
        raise ValueError(f"mode must be one of {', '.join(GLOBAL_MODES)}, got {mode!r}")
    for loss, mask, denom in (*_token_losses(), *_large_losses()):
        inputs = {"loss": loss, "mask": mask, "denom": denom}
        compare(f"the loss in one number, {mode}", inputs, losses.aggregate(loss, mask, mode, denom), fn)
        if mask.any():
            slope = derivative(lambda x, m=mask, d=denom: losses.aggregate(x, m, mode, d), loss)
            compare(f"the derivative of the loss in one number, {mode}", inputs, slope, differentiated(fn))


def check_microbatch_invariance(fn: Callable) -> None:
    """fn(loss [B, T], mask, denom) must be a number whose sum over the parts of a batch is that of the whole batch.

        checks.check_microbatch_invariance(lambda loss, mask, denom: aggregate(loss, mask, "dapo", denom))

    denom is the same number for the whole and for each part: the tokens that count in the whole. A batch is split into
    single rows, and into parts of different sizes; the value and the derivative with respect to every row must agree to 10
    digits. It must depend on the loss, and twice the denom must give half of it. What else the number is, is not asked:
    `check_aggregate` does. The counterexample expects the result of the whole.
    """
    for loss, mask, denom in _token_losses():
        inputs = {"loss": loss, "mask": mask, "denom": denom}
        if not mask.any():
            continue  # a part without tokens tells more
        whole, slope = call(_one_number(fn), inputs, None), call(differentiated(fn), inputs, None)
        for sizes in _splits(len(loss)):
            split = {**inputs, "rows in each part": sizes}
            what = "the sum over the parts of a batch is not the result of the whole"
            compare(what, split, whole, lambda x, m, d, rows: sum(fn(*part, d) for part in _parts(x, m, rows)))
            what = "the derivatives of the parts of a batch are not those of the whole"
            compare(what, split, slope, lambda *given: torch.cat(list(_slopes(fn, *given))))
        if not slope.any():
            raise CounterExample("the result does not depend on the loss", inputs, "a derivative other than 0", slope)
        doubled = {**inputs, "denom": 2 * denom}
        compare("twice the denominator does not give half of the result", doubled, whole / 2, _one_number(fn))


def _rewards(missing: bool) -> Iterator[Tensor]:
    """Groups, the smallest first; their standard deviations are 0, or 0.07 and more."""
    rows = [[[0.0, 1.0]], [[1.0, 1.0]], [[2.0]], [[0.0, 1.0], [3.0, 0.0]], [[0.0, 1.0], [100.0, 101.0]], [[0.0, 0.0, 1.0, 0.0]],
            [[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.125]], [[0.0] * 31 + [1.0]]]
    for each in rows:
        yield torch.tensor(each, dtype=torch.float64)
    yield torch.tensor([[1e4, 1e4 + 1, 1e4 + 1, 1e4]])
    yield torch.full((1, 7), 0.1)
    generator = torch.Generator().manual_seed(15)
    for shape in ((3, 4), (4, 8), (20, 12)):
        spread = torch.tensor([1.0, 10.0, 0.0, 5.0] * 5, dtype=torch.float64)[: shape[0], None]
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1)
        yield spread * numbers + 10 * torch.arange(shape[0], dtype=torch.float64)[:, None]
    for each in ([[1.0, NAN, 0.0]], [[NAN, NAN]], [[5.0, NAN]], [[NAN, 2.0, 2.0], [3.0, 1.0, NAN]]) if missing else ():
        yield torch.tensor(each, dtype=torch.float64)


def _token_losses() -> Iterator[tuple[Tensor, Tensor, float]]:
    """Losses of tokens, their mask and a denominator: how many count, times 2 now and then. The smallest first, and positive;
    the last ones have both signs."""
    generator = torch.Generator().manual_seed(16)
    masks = ([[1], [1]], [[1, 1], [1, 0]], [[1, 1], [0, 0]], [[0, 0]], [[1, 0, 1], [1, 1, 1], [0, 0, 0]],
             *((torch.rand(shape, generator=generator) < 0.6).tolist() for shape in ((8, 5), (3, 12), (20, 40))))
    for k, rows in enumerate(masks):
        mask = torch.tensor(rows).bool()
        loss = torch.randn(mask.shape, generator=generator, dtype=torch.float64).round(decimals=1) + (k + 1 if k < 6 else 0)
        yield loss, mask, float((1 + k % 2) * max(int(mask.sum()), 1))


def _large_losses() -> Iterator[tuple[Tensor, Tensor, float]]:
    """The same, of both signs, and up to 1e4 and more."""
    for k, (loss, mask, denom) in enumerate(_token_losses()):
        signs = 1.0 - 2.0 * (torch.arange(loss.numel()).view(loss.shape) % 2)
        yield 10.0 ** (k % 5) * signs * loss, mask, denom


def _splits(rows: int) -> list[tuple[int, ...]]:
    """How many rows the parts of a batch have."""
    uneven = ((1, rows - 1), (rows // 2 + 1, rows - rows // 2 - 1)) if rows > 2 else ()
    return [(1,) * rows, *uneven]


def _parts(loss: Tensor, mask: Tensor, sizes: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(loss.split(list(sizes)), mask.split(list(sizes)), strict=True)


def _slopes(fn: Callable, loss: Tensor, mask: Tensor, denom: float, sizes: tuple[int, ...]) -> Iterator[Tensor]:
    """The derivative of each part with respect to its rows; 0 in one without tokens, whose result may be a constant."""
    for rows, counts in _parts(loss, mask, sizes):
        yield differentiated(fn)(rows, counts, denom) if counts.any() else torch.zeros_like(rows)


def _one_number(fn: Callable) -> Callable:
    """fn, whose result must be one real number."""

    def number(*given):
        out = torch.as_tensor(fn(*given), dtype=torch.float64).detach()
        if out.shape != ():
            raise TypeError(f"one number is needed, got the shape {tuple(out.shape)}")
        return out

    return number
