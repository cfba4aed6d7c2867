"""Reduction to one number: by hand, over every split of a batch, and with nothing to reduce (PITFALLS, rows 10, 11, 17, 20)."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook import checks
from rlbook.losses import MODES, aggregate, clipped_surrogate, policy_gradient_loss, prob_ratio

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf
LOSS = torch.tensor([[1.0, 2.0, 3.0, NAN], [10.0, INF, 0.0, 0.0], [NAN, NAN, NAN, NAN]], dtype=DOUBLE)
MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
BY_HAND = {"grpo": (2 + 10) / 3, "dr_grpo": 16 / 12, "dapo": 16 / 4, "bnpo": 16 / 4}
WEIGHTS = {"grpo": [1 / 9, 1 / 3], "dr_grpo": [1 / 12, 1 / 12], "dapo": [1 / 4, 1 / 4], "bnpo": [1 / 4, 1 / 4]}


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [torch.bool, torch.int64, DOUBLE])
def test_value_and_gradient_by_hand(mode, kind):
    loss = LOSS.clone().requires_grad_()
    total = aggregate(loss, MASK.to(kind), mode)
    assert total.item() == pytest.approx(BY_HAND[mode], rel=1e-15)
    (gradient,) = torch.autograd.grad(total, loss)
    long, short = WEIGHTS[mode]
    expected = torch.zeros(3, 4, dtype=DOUBLE)
    expected[0, :3], expected[1, 0] = long, short
    torch.testing.assert_close(gradient, expected, rtol=1e-15, atol=0)


def test_a_denominator_of_ones_own():
    for denom in (8, 8.0, torch.tensor(8), torch.tensor([8.0], dtype=DOUBLE)):
        assert aggregate(LOSS, MASK, "dapo", denom).item() == 2
        assert aggregate(LOSS, MASK, "grpo", denom).item() == 1.5
        assert aggregate(LOSS, MASK, "dapo", denom).shape == ()


def test_one_sequence_and_more_leading_axes():
    loss, mask = rand(2, 3, 4), rand(2, 3, 4, seed=1) > 0
    for mode in MODES:
        flat = aggregate(loss.view(6, 4), mask.view(6, 4), mode)
        torch.testing.assert_close(aggregate(loss, mask, mode), flat, rtol=1e-15, atol=0)
    assert aggregate(torch.tensor([1.0, 3.0]), torch.ones(2)).item() == 2


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_pitfall_10_micro_batches_change_nothing_given_the_denominator_of_the_whole(rows, length, seed):
    """One batch of all rows, and one row at a time: equal gradients with respect to shared parameters."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand((rows, length), generator=draw) < 0.7
    features, weight = rand(rows, length, 3, seed=seed), rand(3, seed=seed + 1).requires_grad_()
    denoms = {"grpo": rows, "dr_grpo": rows * length, "dapo": max(int(mask.sum()), 1)}
    for mode, denom in denoms.items():
        whole = aggregate((features @ weight).exp(), mask, mode)
        parts = sum(aggregate((features[i : i + 1] @ weight).exp(), mask[i : i + 1], mode, denom) for i in range(rows))
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
        gradients = [torch.autograd.grad(total, weight)[0] for total in (whole, parts)]
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_pitfall_10_the_local_mean_depends_on_the_split():
    loss, mask = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]]), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    whole = aggregate(loss, mask, "bnpo").item()
    parts = sum(aggregate(loss[i : i + 1], mask[i : i + 1], "bnpo").item() for i in range(2)) / 2
    assert whole == pytest.approx(13 / 5) and parts == 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0), (3,)])
def test_pitfall_11_nothing_counts(mode, shape):
    loss = torch.full(shape, NAN, requires_grad=True)
    total = aggregate(loss, torch.zeros(shape), mode)
    total.backward()
    assert total.item() == 0 and (loss.grad == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_pitfall_17_padding_changes_nothing(mode):
    """The default denominator of dr_grpo counts columns, so a run gives it the maximum length."""
    fn = partial(aggregate, mode=mode, denom=12 if mode == "dr_grpo" else None)
    checks.check_padding_invariance(fn)
    if mode == "dr_grpo":
        with pytest.raises(checks.CounterExample):
            checks.check_padding_invariance(partial(aggregate, mode=mode))


@pytest.mark.equation("clipped-surrogate", "policy-gradient")
def test_pitfall_20_the_loss_is_zero_and_its_gradient_is_not():
    """Ratio 1, advantages of mean 0 over the group, per-sequence means: the value is 0, the gradient that of REINFORCE."""
    logprobs, advantages = rand(4, 5).requires_grad_(), torch.tensor([3.0, -1.0, -1.0, -1.0], dtype=DOUBLE)
    advantages = advantages[:, None].expand(4, 5).contiguous()
    equal, unequal = torch.ones(4, 5), torch.ones(4, 5)
    unequal[0, 2:] = 0
    for mask in (equal, unequal):
        loss = clipped_surrogate(prob_ratio(logprobs, logprobs, mask=mask), advantages)[0]
        total = aggregate(loss, mask, "grpo")
        assert abs(total.item()) < 1e-15
        (gradient,) = torch.autograd.grad(total, logprobs)
        reinforce = aggregate(policy_gradient_loss(logprobs, advantages), mask, "grpo")
        torch.testing.assert_close(gradient, torch.autograd.grad(reinforce, logprobs)[0], rtol=1e-14, atol=0)
        assert gradient.abs().max() > 0.01
    assert aggregate(loss, unequal, "dapo").item() == pytest.approx((5 + 5 + 5 - 3 * 2) / 17)  # other means are not 0
    assert aggregate(loss, unequal, "dr_grpo").item() == pytest.approx((5 + 5 + 5 - 3 * 2) / 20)


x, ones = torch.zeros(2, 3), torch.ones(2, 3)
REFUSED = [
    (lambda: aggregate(x, ones, "mean"), "mode must be one of grpo, dr_grpo, dapo, bnpo, got 'mean'"),
    (lambda: aggregate(x, torch.ones(3)), "mask must have the shape and device of loss"),
    (lambda: aggregate(x, torch.ones(3, 2)), "nothing is broadcast"),
    (lambda: aggregate(x, 2 * ones), "mask must hold nothing but 0 and 1, or False and True, got 2.0"),
    (lambda: aggregate(x.long(), ones), "loss must be a floating point tensor, got torch.int64"),
    (lambda: aggregate(torch.zeros(()), torch.ones(())), "loss needs a last axis of time, got a single number"),
    (lambda: aggregate(x, ones, "bnpo", 3), "bnpo divides by the tokens at hand and takes no denom"),
    (lambda: aggregate(x, ones, "dapo", 0), "denom must be a number > 0 and < inf, got 0"),
    (lambda: aggregate(x, ones, "dapo", INF), "denom must be a number > 0 and < inf, got inf"),
    (lambda: aggregate(x, ones, "dapo", NAN), "denom must be a number > 0 and < inf, got nan"),
    (lambda: aggregate(x, ones, "dapo", "3"), "denom must be a number > 0 and < inf, got '3'"),
    (lambda: aggregate(x, ones, "dapo", torch.ones(2)), r"denom must be one number > 0, got \[1.0, 1.0\]"),
    (lambda: aggregate(x, ones, "dapo", torch.tensor(-1)), "denom must be one number > 0, got -1"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
