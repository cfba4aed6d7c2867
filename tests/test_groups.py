"""Advantages of the completions of one prompt: the definition, its invariances, what is missing, and groups that say nothing."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook.returns import SCALES, group_advantages, rloo_advantages

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def double(*rows):
    return torch.tensor(rows, dtype=DOUBLE)


def close(x, y, tolerance=1e-12):
    torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def by_hand(rows, scale, ddof, eps):
    """The definition, by the standard library; None is a completion without a score."""
    std = statistics.stdev if ddof else statistics.pstdev
    everything = [r for row in rows for r in row if r is not None]
    out = []
    for row in rows:
        scores = [r for r in row if r is not None]
        spread = 1.0
        if scale != "none" and len(set(scores)) > 1:
            spread = std(scores if scale == "group" else everything) + eps
        out.append([0.0 if r is None else (r - statistics.fmean(scores)) / spread for r in row])
    return double(*out)


GROUPS = st.integers(1, 6).flatmap(lambda size: st.lists(
    st.lists(st.none() | st.integers(-4, 4).map(float), min_size=size, max_size=size), min_size=1, max_size=4))


@pytest.mark.equation("grpo-advantage")
@given(GROUPS, st.sampled_from(SCALES), st.integers(0, 1), st.sampled_from([0.0, 1e-4, 0.5]))
def test_the_definition(rows, scale, ddof, eps):
    """Any number of groups, sizes and missing scores: NaN, or a mask of 0 over anything."""
    expected = by_hand(rows, scale, ddof, eps)
    rewards = double(*[[NAN if r is None else r for r in row] for row in rows])
    close(group_advantages(rewards, scale, ddof=ddof, eps=eps), expected)
    for kind, junk in ((torch.bool, INF), (torch.int64, -1e300), (DOUBLE, NAN)):
        given = torch.where(rewards.isnan(), junk, rewards)
        close(group_advantages(given, scale, (~rewards.isnan()).to(kind), ddof, eps), expected)


@pytest.mark.equation("rloo")
@given(GROUPS)
def test_the_mean_of_the_others(rows):
    rewards = double(*[[NAN if r is None else r for r in row] for row in rows])
    expected = torch.zeros_like(rewards)
    for k, row in enumerate(rows):
        for i, r in enumerate(row):
            others = [x for j, x in enumerate(row) if j != i and x is not None]
            if r is not None and others:
                expected[k, i] = r - statistics.fmean(others)
    close(rloo_advantages(rewards), expected)
    close(rloo_advantages(rewards.nan_to_num(INF), ~rewards.isnan()), expected)


def test_the_defaults_and_leading_axes():
    rewards = rand(2, 3, 5)
    close(group_advantages(rewards), (rewards - rewards.mean(-1, True)) / (rewards.std(-1, keepdim=True) + 1e-4))
    for fn in (group_advantages, rloo_advantages):
        close(fn(rewards)[1, 2], fn(rewards[1, 2]))
        assert fn(rewards[:, :0]).shape == (2, 0, 5)
    close(group_advantages(rewards, "batch"), group_advantages(rewards.view(6, 5), "batch").view(2, 3, 5))


@pytest.mark.equation("grpo-advantage")
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_mean_0_std_1_and_what_changes_nothing(size):
    rewards = rand(3, size)
    one = group_advantages(rewards, ddof=0, eps=0)
    close(one.sum(-1), torch.zeros(3, dtype=DOUBLE))
    close(one.square().mean(-1), torch.ones(3, dtype=DOUBLE))
    close(group_advantages(3.5 * rewards - 7, ddof=0, eps=0), one)
    close(group_advantages(-rewards, ddof=0, eps=0), -one)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1))
    close(group_advantages(rewards[:, order], ddof=0, eps=0), one[:, order])


@pytest.mark.equation("grpo-advantage")
def test_what_the_usual_implementations_do():
    """The sample standard deviation shrinks by √((G−1)/G), and eps by std/(std + eps)."""
    rewards = rand(4, 6)
    printed = group_advantages(rewards, ddof=0, eps=0)
    close(group_advantages(rewards, ddof=1, eps=0), math.sqrt(5 / 6) * printed)
    for eps in (1e-4, 1e-6, 1.0):
        std = rewards.std(-1, correction=0, keepdim=True)
        close(group_advantages(rewards, ddof=0, eps=eps), printed * std / (std + eps))


@pytest.mark.equation("rloo", "grpo-bias")
def test_rloo_is_the_mean_baseline_times_g_by_g_minus_1():
    for size in (2, 3, 16):
        rewards = rand(5, size)
        close(rloo_advantages(rewards), group_advantages(rewards, "none") * size / (size - 1))


# -- groups that say nothing -------------------------------------------------------------------------
NOTHING = [[0.1] * 7, [1e6] * 7, [1e6 + 0.1] * 7, [-1 / 3] * 11, [0.3] * 64, [1e-20] * 5, [1e30] * 6, [3.0], [NAN, 0.7, NAN],
           [NAN] * 4, [*[0.1] * 7, NAN], [NAN, *[-0.3] * 6]]


@pytest.mark.parametrize("row", NOTHING)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.bfloat16])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1e-4])
def test_pitfall_6_equal_scores_one_score_and_none_give_exactly_0(row, dtype, eps):
    rewards = torch.tensor([row, row], dtype=dtype, requires_grad=True)
    for ddof in (0, 1):
        for fn in (*(lambda r, s=s, d=ddof: group_advantages(r, s, ddof=d, eps=eps) for s in SCALES), rloo_advantages):
            out = fn(rewards)
            assert (out == 0).all() and out.dtype == dtype
            (slope,) = torch.autograd.grad(out.sum(), rewards)
            assert slope.isfinite().all()


def test_pitfall_6_beside_groups_that_say_something():
    rewards = double([0.1] * 7, list(range(7)))
    for scale in SCALES:
        out = group_advantages(rewards, scale, eps=0)
        assert (out[0] == 0).all() and (out[1, [0, 6]] != 0).all()
    naive = torch.full((7,), 0.1)
    assert ((naive - naive.mean()) / (naive.std() + 1e-8)).abs().max() > 0.1  # what rounding becomes elsewhere


def test_pitfall_6_a_spread_too_small_for_the_precision_is_none():
    rewards = torch.tensor([[0.0, 1e-30]], requires_grad=True)  # its square is 0 in float32
    for scale in ("group", "batch"):
        out = group_advantages(rewards, scale, eps=0)
        assert (out == 0).all() and torch.autograd.grad(out.sum(), rewards)[0].isfinite().all()
    close(group_advantages(rewards.detach().double(), ddof=0, eps=0), double([-1, 1]), 1e-6)


def test_pitfall_7_a_large_mean_costs_no_digit():
    rewards = 1e4 + torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[-1.0, 1, 1, -1], [math.sqrt(3), *[-1 / math.sqrt(3)] * 3]])
    close(group_advantages(rewards, ddof=0, eps=0), expected, 1e-6)
    close(rloo_advantages(rewards), torch.tensor([[-2.0, 2, 2, -2], [3, -1, -1, -1]]) / torch.tensor([[3.0], [3]]), 1e-6)
    together = group_advantages(rewards, "batch", ddof=0, eps=0)
    close(together, (rewards - 1e4 - torch.tensor([[0.5], [0.25]])) / math.sqrt(15 / 64), 1e-5)
    squares = rewards.square().mean(-1) - rewards.mean(-1).square()
    assert (squares - torch.tensor([1 / 4, 3 / 16])).abs().max() > 0.1


HUGE = [  # rewards, what overflows
    (lambda r: group_advantages(r), [1e20, -1e20], "squares of .* less than 3.4e.38, .* torch.float32, got .* -1e.20 to "),
    (lambda r: group_advantages(r, "batch"), [1e20, -1e20], "squares of their differences sum to less"),
    (lambda r: group_advantages(r, "none"), [3e38, -3e38], "sum to less than 3.4e.38, .* torch.float32, got .* -3e.38 to 3e.38"),
    (lambda r: group_advantages(r, "none"), [3e38, 2e38, 0.0], "sum to less than"),
    (lambda r: group_advantages(r), [3e38, -3e38], "sum to less than"),
    (rloo_advantages, [3e38, -3e38], "sum to less than"),
    (rloo_advantages, [3e38, 0.0], None),
    (rloo_advantages, [-1.7e38, 1.7e38, NAN], None),
    (lambda r: rloo_advantages(r), [1e20, -1e20], None),
    (lambda r: group_advantages(r, "none"), [1e20, -1e20], None),
    (lambda r: group_advantages(r), [1e19, -5e18], None),
]


@pytest.mark.parametrize(("fn", "row", "message"), HUGE)
def test_rewards_too_far_apart_are_refused_and_never_made_0(fn, row, message):
    rewards = torch.tensor([[0.0] * len(row), row])
    if message is None:
        torch.testing.assert_close(fn(rewards), fn(rewards.double()).float(), rtol=1e-5, atol=0)
        return
    with pytest.raises(ValueError, match=message):
        fn(rewards)
    assert fn(rewards.double())[1].abs().min() > 0.1


def test_a_half_precision_difference_that_its_dtype_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="less than 6.6e.04, the largest number in torch.float16, got rewards from -6e.04"):
        rloo_advantages(torch.tensor([[6e4, -6e4]], dtype=torch.float16))


def test_pitfall_8_groups_do_not_see_each_other():
    rewards = double([0, 1, 3, 0], [2, 2, 5, 1], [1, 0, 0, 0])
    shifted, scaled = rewards.clone(), rewards.clone()
    shifted[1] += 100
    scaled[1] *= 1000
    for fn in (group_advantages, rloo_advantages, lambda r: group_advantages(r, "none")):
        assert torch.equal(fn(shifted), fn(rewards))
        assert torch.equal(fn(scaled)[[0, 2]], fn(rewards)[[0, 2]])
    close(group_advantages(scaled, eps=0), group_advantages(rewards, eps=0))
    ratio = group_advantages(shifted, "batch", eps=0) / group_advantages(shifted, "none")
    close(ratio[~ratio.isnan()], (1 / shifted.std()).expand(int((~ratio.isnan()).sum())))  # one divisor, the groups' own means


def test_pitfall_9_no_score_is_no_zero():
    with_none = double([1.0, NAN, 0.0], [NAN, 2.0, 5.0])
    without = double([1.0, 0.0], [2.0, 5.0])
    for fn in (group_advantages, rloo_advantages, lambda r: group_advantages(r, "batch"), lambda r: group_advantages(r, "none")):
        found = fn(with_none)
        assert torch.equal(found[~with_none.isnan()], fn(without).flatten())
        assert (found[with_none.isnan()] == 0).all()
        assert not torch.allclose(fn(with_none.nan_to_num(0.0)), found)
    both = double([1.0, NAN, 0.0, 7.0]), torch.tensor([[1, 1, 1, 0]])  # NaN under a mask of 1 has no score either
    for fn in (group_advantages, rloo_advantages):
        close(fn(both[0], mask=both[1]), fn(double([1.0, NAN, 0.0, NAN])))


def test_pitfall_26_a_prompt_that_is_drawn_twice_stays_two_groups():
    """Each row is a group whatever its prompt: the rewards of one prompt's two groups are not pooled."""
    rewards = double([1, 0, 0, 0], [1, 1, 1, 0])
    for fn in (group_advantages, rloo_advantages):
        out = fn(rewards)
        assert torch.equal(out, torch.stack([fn(rewards[0]), fn(rewards[1])]))
        close(out.sum(-1), torch.zeros(2, dtype=DOUBLE))
        assert (out - fn(rewards.view(1, 8)).view(2, 4)).abs().min() > 0.01


# -- precision, gradients, bad input -----------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    rewards = torch.tensor([[6e4, 0.0, 5e4, -6e4], [1.0, 2.0, 3.0, 5.0]], dtype=dtype)  # squares overflow in float16
    for fn in (*(lambda r, s=s: group_advantages(r, s) for s in SCALES[:2]), lambda r: rloo_advantages(r / 16)):
        assert torch.equal(fn(rewards), fn(rewards.float()).to(dtype)) and fn(rewards).isfinite().all()


@pytest.mark.parametrize("scale", SCALES)
def test_the_derivative(scale):
    rewards = rand(3, 4).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0]])
    assert torch.autograd.gradcheck(lambda r: group_advantages(r, scale, mask), rewards)
    assert torch.autograd.gradcheck(lambda r: rloo_advantages(r, mask), rewards)


x = torch.zeros(2, 3)
REFUSED = [
    (lambda: group_advantages(torch.zeros(())), r"rewards needs a last axis of completions with at least one, got shape \(\)"),
    (lambda: group_advantages(torch.zeros(3, 0)), r"with at least one, got shape \(3, 0\)"),
    (lambda: group_advantages(x.long()), "rewards must be a floating point tensor, got torch.int64"),
    (lambda: group_advantages([[0.0, 1.0]]), "rewards must be a floating point tensor, got list"),
    (lambda: group_advantages(double([0, 1], [2, INF])), r"finite, or NaN where there is no score, got inf at \(1, 1\)"),
    (lambda: group_advantages(double([0, -INF])), r"got -inf at \(0, 1\)"),
    (lambda: group_advantages(x, "std"), "scale must be one of group, batch, none, got 'std'"),
    (lambda: group_advantages(x, True), "scale must be one of group, batch, none, got True"),
    (lambda: group_advantages(x, mask=torch.ones(3)), "mask must have the shape and device of rewards"),
    (lambda: group_advantages(x, mask=torch.full((2, 3), 0.5)), "mask must hold nothing but 0 and 1"),
    (lambda: group_advantages(x, ddof=2), "ddof must be 0 or 1, got 2"),
    (lambda: group_advantages(x, "none", ddof=True), "ddof must be 0 or 1, got True"),
    (lambda: group_advantages(x, eps=-1e-4), "eps must be a finite number >= 0, got -0.0001"),
    (lambda: group_advantages(x, eps=INF), "eps must be a finite number >= 0, got inf"),
    (lambda: group_advantages(x, eps=NAN), "eps must be a finite number >= 0, got nan"),
    (lambda: group_advantages(x, eps="0"), "eps must be a finite number >= 0, got '0'"),
    (lambda: rloo_advantages(torch.zeros(2, 0)), "with at least one"),
    (lambda: rloo_advantages(x.int()), "rewards must be a floating point tensor, got torch.int32"),
    (lambda: rloo_advantages(double([0, INF])), "rewards must be finite"),
    (lambda: rloo_advantages(x, torch.ones(2)), "mask must have the shape and device of rewards"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
