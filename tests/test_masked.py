"""Means, variances and whitening of the entries that count (PITFALLS, rows 6, 7 and 17)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook import checks, losses
from rlbook.masked import masked_mean, masked_var, masked_whiten

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf


def draw(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=DOUBLE, generator=generator), torch.rand(shape, generator=generator) < 0.6


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_they_are_found_where_the_losses_are():
    assert losses.masked_mean is masked_mean and losses.masked_var is masked_var and losses.masked_whiten is masked_whiten


@given(st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 1]), st.integers(0, 2**31))
def test_they_are_those_of_the_selected_entries(rows, length, ddof, seed):
    x, mask = draw((rows, length), seed)
    mask[0, 0] = True
    kept = x[mask]
    close(masked_mean(x, mask), kept.mean())
    spread = kept.var(correction=ddof) if len(kept) > ddof else torch.zeros((), dtype=DOUBLE)
    close(masked_var(x, mask, ddof=ddof), spread)
    white = masked_whiten(x, mask, ddof=ddof)
    close(white[mask], (kept - kept.mean()) / (spread + 1e-8).sqrt())
    assert (white[~mask] == 0).all()
    close(masked_whiten(x, mask, shift_mean=False, ddof=ddof)[mask], white[mask] + kept.mean())
    close(masked_mean(x, mask.double()), kept.mean())  # a mask of numbers
    for i in range(rows):
        row = x[i][mask[i]]
        close(masked_mean(x, mask, 1)[i], row.mean() if len(row) else torch.zeros((), dtype=DOUBLE))
        close(masked_var(x, mask, -1)[i], row.var() if len(row) > 1 else torch.zeros((), dtype=DOUBLE))


def test_axes():
    x, mask = draw((2, 3, 4), 1)
    full = torch.ones_like(mask)
    for dim in (0, -1, (0, 2), (0, 1, 2)):
        close(masked_mean(x, full, dim), x.mean(dim))
        close(masked_var(x, full, dim), x.var(dim))
        assert masked_mean(x, mask, dim).shape == x.mean(dim).shape
    number = torch.tensor(2.0)
    assert masked_mean(number, torch.tensor(True)) == 2 and masked_mean(number, torch.tensor(False)) == 0
    assert masked_var(number, torch.tensor(True)) == 0


@pytest.mark.parametrize("x", [[5.0], [3.0, 3.0, 3.0], [0.1] * 7, [NAN, 5.0, INF]])
def test_pitfall_6_one_valid_token_or_equal_rewards_give_zero(x):
    x = torch.tensor(x)
    mask = x.isfinite()
    assert masked_var(x, mask) < 1e-13
    leaf = x.clone().requires_grad_()
    white = masked_whiten(leaf, mask)
    assert white.abs().max() < 1e-3 and white.isfinite().all()
    white[mask].sum().backward()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("count", [2, 10, 1000, 100_001])
def test_pitfall_7_the_variance_of_large_rewards_in_float32(count):
    rewards = 1e4 + (torch.arange(count) % 2).float()
    exact = rewards.double().var().item()
    assert abs(masked_var(rewards, torch.ones(count)).item() - exact) < 1e-3 * exact
    naive = (rewards.square().mean() - rewards.mean().square()).item()
    assert abs(naive - exact) > 1e-3 * exact  # the form that loses it


def test_pitfall_11_nothing_counts():
    x = torch.tensor([[NAN, 1.0], [INF, 2.0]], requires_grad=True)
    mask = torch.zeros(2, 2)
    for value in (masked_mean(x, mask), masked_var(x, mask), masked_whiten(x, mask).sum(), masked_mean(x, mask, 1).sum()):
        (gradient,) = torch.autograd.grad(value, x)
        assert value.item() == 0 and (gradient == 0).all()


@pytest.mark.parametrize("fn", [
    masked_mean, masked_var, masked_whiten, lambda x, m: masked_whiten(x, m, shift_mean=False),
    lambda x, m: masked_mean(x, m, 1).sum(), lambda x, m: masked_var(x, m, (0, 1), ddof=0),
])
def test_pitfall_17_padding_changes_nothing(fn):
    checks.check_padding_invariance(fn)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    x = torch.ones(5000, dtype=dtype)
    x[::2] = 3
    full = torch.ones(5000, dtype=torch.bool)
    assert masked_mean(x, full).item() == 2 and masked_mean(x, full).dtype == dtype
    assert masked_var(x, full).item() == 1 and masked_whiten(x, full).unique().tolist() == [-1, 1]
    assert masked_whiten(x, full).dtype == dtype


x, ones = torch.zeros(2, 3), torch.ones(2, 3)
REFUSED = [
    (lambda: masked_mean(x, torch.ones(3)), r"mask must have the shape and device of x, torch.float32 \(2, 3\) on cpu"),
    (lambda: masked_mean(x, torch.ones(2, 1)), "nothing is broadcast"),
    (lambda: masked_mean(x, None), "got NoneType"),
    (lambda: masked_mean(x, torch.ones(2, 3, device="meta")), "shape and device"),
    (lambda: masked_mean(x, ones * 0.5), "mask must hold nothing but 0 and 1, or False and True, got 0.5"),
    (lambda: masked_mean(x, ones * NAN), "nothing but 0 and 1, or False and True, got nan"),
    (lambda: masked_mean(x.long(), ones), "x must be a floating point tensor, got torch.int64"),
    (lambda: masked_mean([1.0], ones), "x must be a floating point tensor, got list"),
    (lambda: masked_mean(x, ones, 2), "dim must be axes of x, which has 2, got 2"),
    (lambda: masked_var(x, ones, (0, "t")), "dim must be axes of x, which has 2"),
    (lambda: masked_mean(x, ones, 0.5), "dim must be axes of x, which has 2, got 0.5"),
    (lambda: masked_mean(x, ones, ()), r"dim must be axes of x, which has 2, got \(\)"),
    (lambda: masked_mean(x, ones, (0, -2)), "dim must be axes of x, which has 2, got"),
    (lambda: masked_var(x, ones, ddof=2), "ddof must be 0 or 1, got 2"),
    (lambda: masked_whiten(x, ones, ddof=True), "ddof must be 0 or 1, got True"),
    (lambda: masked_whiten(x, ones, eps=0), "eps must be a number > 0, got 0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
