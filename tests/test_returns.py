"""Returns against their definition, written out as double sums in plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.returns import discounted_returns, reverse_scan, rewards_to_go, total_returns


def double_sum(rewards: list, discounts: list, bootstrap: float) -> list:
    """y_t = Σ_{k≥t} (Π_{t≤j<k} d_j) r_k + (Π_{j≥t} d_j) bootstrap, one term at a time."""
    out = []
    for t in range(len(rewards)):
        terms = [math.prod(discounts[t:k]) * rewards[k] for k in range(t, len(rewards))]
        out.append(math.fsum([*terms, math.prod(discounts[t:]) * bootstrap]))
    return out


numbers = st.floats(-10, 10)
cases = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(numbers, min_size=n, max_size=n), st.lists(st.floats(-1.5, 1.5), min_size=n, max_size=n), numbers
    )
)


def double(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(cases)
@settings(deadline=None)
def test_reverse_scan_is_the_double_sum(case):
    b, a, init = case
    expected = double(double_sum(b, a, init))
    for method in ("auto", "loop"):
        got = reverse_scan(double(a), double(b), double(init), method)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    without = reverse_scan(double(a), double(b))
    torch.testing.assert_close(without, double(double_sum(b, a, 0.0)), rtol=1e-9, atol=1e-9)


@given(cases, st.floats(0, 1))
@settings(deadline=None)
def test_discounted_returns_and_rewards_to_go_are_the_double_sum(case, gamma):
    rewards, _, bootstrap = case
    constant = [gamma] * len(rewards)
    got = discounted_returns(double(rewards), gamma, double(bootstrap))
    torch.testing.assert_close(got, double(double_sum(rewards, constant, bootstrap)), rtol=1e-9, atol=1e-9)
    got = rewards_to_go(double(rewards), gamma=gamma)
    torch.testing.assert_close(got, double(double_sum(rewards, constant, 0.0)), rtol=1e-9, atol=1e-9)


@pytest.mark.equation("return")
def test_return_by_hand():
    rewards = torch.tensor([1.0, 2.0, 4.0])
    assert discounted_returns(rewards, 0.5).tolist() == [3.0, 4.0, 4.0]
    assert discounted_returns(rewards, 0.5, torch.tensor(8.0)).tolist() == [4.0, 6.0, 8.0]
    assert discounted_returns(rewards, torch.tensor([1.0, 0.0, 0.5])).tolist() == [3.0, 2.0, 4.0]
    assert rewards_to_go(rewards).tolist() == [7.0, 6.0, 4.0]
    assert total_returns(rewards, gamma=0.5).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_leading_shapes_and_dtypes(shape, dtype):
    rewards = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    batch = discounted_returns(rewards, 0.5)
    assert batch.shape == shape and batch.dtype == dtype
    rows = [discounted_returns(row, 0.5) for row in rewards.reshape(-1, 5)]
    assert torch.equal(batch.reshape(-1, 5), torch.stack(rows))


def test_gradients():
    g = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 4, dtype=torch.float64, generator=g, requires_grad=True) for _ in range(2))
    init = torch.rand(2, dtype=torch.float64, generator=g, requires_grad=True)
    assert torch.autograd.gradcheck(reverse_scan, (a, b, init))
    assert torch.autograd.gradcheck(lambda r: total_returns(r, gamma=0.9), (b,))


@pytest.mark.parametrize("function", [rewards_to_go, total_returns])
def test_junk_behind_the_mask_changes_nothing(function):
    rewards = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for junk in (7.0, math.nan, math.inf):
        longer = torch.cat([rewards, torch.full((2, 2), junk)], dim=1).requires_grad_()
        mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
        got = function(longer, mask, 0.5)
        assert torch.equal(got[:, :3], function(rewards, gamma=0.5))
        assert torch.equal(got[:, 3:], torch.zeros(2, 2))
        got.sum().backward()
        assert longer.grad.isfinite().all() and (longer.grad[:, 3:] == 0).all()


@pytest.mark.parametrize("function", [rewards_to_go, total_returns])
def test_padding_changes_no_bit(function):
    rewards = torch.randn(3, 100, generator=torch.Generator().manual_seed(2))
    for pad in (1, 15, 60):
        longer = torch.cat([rewards, torch.randn(3, pad)], dim=1)
        mask = torch.arange(100 + pad).expand(3, -1) < 100
        assert torch.equal(function(longer, mask, 0.99)[:, :100], function(rewards, gamma=0.99))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_they_are_the_loop_bit_for_bit(dtype):
    rewards = torch.randn(3, 100, generator=torch.Generator().manual_seed(4)).to(dtype)
    mask = torch.arange(100).expand(3, -1) < 90
    for gamma in (0.0, 0.99, 1.0):
        expected = torch.where(mask, reverse_scan(gamma, torch.where(mask, rewards, 0.0), method="loop"), 0.0)
        got = rewards_to_go(rewards, mask, gamma)
        assert got.dtype == dtype and torch.equal(got, expected)
        assert torch.equal(total_returns(rewards, mask, gamma), torch.where(mask, expected[:, :1], 0.0))


@pytest.mark.parametrize("times", [40, 700])
def test_long_discounted_returns_end_where_the_discount_is_zero(times):
    draw = torch.Generator().manual_seed(3)
    rewards = torch.randn(2, times, generator=draw, dtype=torch.float64)
    discounts = 0.99 * (torch.rand(2, times, generator=draw) > 0.05).double()
    bootstrap = torch.randn(2, generator=draw, dtype=torch.float64)
    expected = [double_sum(*(x.tolist() for x in row)) for row in zip(rewards, discounts, bootstrap, strict=True)]
    torch.testing.assert_close(discounted_returns(rewards, discounts, bootstrap), double(expected), rtol=1e-10, atol=1e-10)


def test_masked_start_is_skipped_by_the_total():
    got = total_returns(torch.tensor([9.0, 1.0, 2.0]), torch.tensor([False, True, True]), 0.5)
    assert got.tolist() == [0.0, 1.0, 1.0]  # 0.5 · 1 + 0.25 · 2: γ counts positions on the axis


def test_nan_propagates_to_earlier_times_only():
    got = discounted_returns(torch.tensor([1.0, math.nan, 3.0]), 0.5)
    assert got.isnan().tolist() == [True, True, False]


ones = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discounted_returns(torch.ones(2, 0), 0.9), "time"),
        (lambda: discounted_returns(torch.tensor(1.0), 0.9), "time"),
        (lambda: discounted_returns(torch.ones(2, 3, dtype=torch.int64), 0.9), "floating"),
        (lambda: discounted_returns([1.0, 2.0], 0.9), "tensor"),
        (lambda: discounted_returns(ones, 1.1), r"\[0, 1\]"),
        (lambda: discounted_returns(ones, -0.1), r"\[0, 1\]"),
        (lambda: discounted_returns(ones, math.nan), r"\[0, 1\]"),
        (lambda: discounted_returns(ones, True), r"\[0, 1\]"),
        (lambda: discounted_returns(ones, torch.ones(3)), "nothing is broadcast"),
        (lambda: discounted_returns(ones, torch.ones(2, 3, dtype=torch.float64)), "dtype"),
        (lambda: discounted_returns(ones, torch.ones(2, 3, device="meta")), "device"),
        (lambda: discounted_returns(ones, 0.9, torch.ones(2, 1)), "nothing is broadcast"),
        (lambda: discounted_returns(ones, 0.9, 0.0), "bootstrap must be a tensor"),
        (lambda: discounted_returns(ones, torch.ones(3)), "^discounts must have shape"),
        (lambda: discounted_returns(ones, 0.9, torch.ones(2, 1)), "^bootstrap must have shape"),
        (lambda: discounted_returns(ones, 0.9, torch.ones(2, dtype=torch.float64)), "^bootstrap is torch.float64"),
        (lambda: discounted_returns(ones, "x"), "^discounts must be a number"),
        (lambda: reverse_scan(0.9, ones, method="fast"), "method"),
        (lambda: reverse_scan("x", ones), "^a must be a number or a tensor of shape .2, 3. as b is, got 'x'"),
        (lambda: reverse_scan(None, ones), "^a must be a number"),
        (lambda: reverse_scan(1j, ones), "^a must be a number"),
        (lambda: reverse_scan(True, ones), "^a must be a number"),
        (lambda: reverse_scan(0.9, [1.0]), "^b must be a tensor"),
        (lambda: reverse_scan(0.9, ones, 1.0), "^init must be a tensor"),
        (lambda: rewards_to_go(ones, torch.ones(3)), "mask"),
        (lambda: rewards_to_go(ones, [1, 1, 1]), "mask"),
        (lambda: rewards_to_go(ones, 0.5 * ones), "mask must hold nothing but 0 and 1.*got 0.5"),
        (lambda: rewards_to_go(ones, -ones.long()), "mask must hold.*got -1"),
        (lambda: rewards_to_go(ones, ones.long() * 2), "mask must hold.*got 2"),
        (lambda: total_returns(ones, ones * math.nan), "mask must hold.*got nan"),
        (lambda: rewards_to_go(ones, gamma=2.0), r"\[0, 1\]"),
        (lambda: total_returns(ones.long()), "floating"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    rewards = torch.randn(4, 7, dtype=torch.float64)
    torch.testing.assert_close(discounted_returns(rewards.cuda(), 0.9).cpu(), discounted_returns(rewards, 0.9))
