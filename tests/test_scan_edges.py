"""The fast scan where it is easily wrong: forward mode, odd numbers, extreme factors, the cuts of a GPU, its cache."""

from fractions import Fraction

import pytest
import torch

from rlbook import returns, scan


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("a", [0.9, "tensor"])
def test_forward_mode_is_refused_and_not_silently_zero(a):
    b = numbers(40)
    factor = torch.full_like(b, 0.9) if a == "tensor" else a
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.jvp(lambda x: scan.reverse_scan(factor, x), (b,), (torch.ones_like(b),))
    flags = torch.zeros(40, dtype=torch.bool)
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.jvp(lambda v: returns.gae(b, v, v, flags, flags, 0.9, 0.9), (b,), (torch.ones_like(b),))


def test_a_fraction_is_a_number_and_a_huge_integer_is_refused():
    b, flags = numbers(40), torch.zeros(40, dtype=torch.bool)
    half = Fraction(1, 2)
    assert torch.equal(scan.reverse_scan(half, b), scan.reverse_scan(0.5, b))
    assert torch.equal(returns.gae(b, b, b, flags, flags, half, half), returns.gae(b, b, b, flags, flags, 0.5, 0.5))
    with pytest.raises(ValueError, match="must be a number or a tensor"):
        scan.reverse_scan(10**400, b)


@pytest.mark.parametrize("a", [1e30, 1.5, -1e200])
def test_one_factor_that_overflows_gives_what_the_loop_gives(a):
    b = torch.zeros(2, 400, dtype=torch.float64)
    b[:, :3] = 1
    b[1, 399] = 1
    expected = scan.reverse_scan(a, b, method="loop")
    assert torch.allclose(scan.reverse_scan(a, b, method="scan"), expected, rtol=1e-12, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("times", [1, 16, 17, 40, 300])
def test_real_cuts_as_a_gpu_uses_them_agree_with_the_loop(times):
    a, b, init = numbers(3, times, seed=1).tanh(), numbers(3, times, seed=2), numbers(3, seed=3)
    a[:, ::5] = 0
    b[0, -1], init[1] = float("nan"), float("inf")
    expected = scan.loop(a, b, init)
    assert torch.allclose(scan.scan(a, b, init, a == 0), expected, atol=1e-12, equal_nan=True)


def test_the_default_device_does_not_reach_the_cached_powers():
    scan._power_matrix.cache_clear()
    torch.set_default_device("meta")
    try:
        matrix, powers = scan._power_matrix(0.25, torch.float32)
    finally:
        torch.set_default_device(None)
    assert matrix.device.type == powers.device.type == "cpu"
