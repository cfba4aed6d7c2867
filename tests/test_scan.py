"""The recurrence, step by step and fast, against its double sum: values, derivatives, cuts, memory."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook import scan
from rlbook.returns import reverse_scan

METHODS = ("loop", "scan", "auto")
LENGTHS = (1, 2, 7, 15, 16, 17, 97, 128, 256, 1000, 4099)
DOUBLE = torch.float64


def problem(times, rate, rows=2, seed=0, dtype=DOUBLE):
    """Random a, b, init; a is 0 at a share `rate` of the times."""
    draw = torch.Generator().manual_seed(seed)
    a = 0.5 + torch.rand(rows, times, generator=draw, dtype=DOUBLE) * 0.6
    a[torch.rand(rows, times, generator=draw) < rate] = 0
    b, init = (torch.randn(shape, generator=draw, dtype=DOUBLE) for shape in ((rows, times), (rows,)))
    return a.to(dtype), b.to(dtype), init.to(dtype)


def double_sum(a, b, init, t):
    """y_t = Σ_{k≥t} (Π_{t≤j<k} a_j) b_k + (Π_{j≥t} a_j) init."""
    products = torch.cat([torch.ones_like(a[..., :1]), a[..., t:].cumprod(-1)], dim=-1)
    return (products * torch.cat([b[..., t:], init[..., None]], dim=-1)).sum(-1)


def some(times):
    """All times of a short axis; of a long one the first, the last and some between."""
    return sorted({*range(min(times, 20)), times // 2, *range(max(0, times - 3), times)})


@pytest.mark.parametrize("method", ["loop", "scan"])
@pytest.mark.parametrize("times", LENGTHS)
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5])
def test_values_and_derivatives_are_those_of_the_double_sum(method, times, rate):
    leaves = [x.requires_grad_() for x in problem(times, rate, seed=times)]
    at = some(times)
    ours = reverse_scan(*leaves, method)[:, at]
    theirs = torch.stack([double_sum(*leaves, t) for t in at], dim=-1)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    pairs = [torch.autograd.grad((x * weight).sum(), leaves) for x in (ours, theirs)]
    for x, y in zip(*pairs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 70), st.integers(1, 5), st.floats(0, 0.6), st.integers(2, 20), st.integers(1, 300), st.integers(0, 2**31))
def test_every_chunk_length_and_block_gives_the_loop(times, rows, rate, chunk, block, seed):
    a, b, init = problem(times, rate, rows, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "CHUNK", chunk)
        patch.setattr(scan, "BLOCK", block)
        ours = reverse_scan(a, b, init, "scan")
        with_cuts = scan.scan(a, b, init, a == 0)
    torch.testing.assert_close(ours, reverse_scan(a, b, init, "loop"), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours, with_cuts)  # 0 · y and a real cut differ in no bit


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("times", [1, 2, 5, 19])
def test_first_and_second_derivatives(method, times, monkeypatch):
    monkeypatch.setattr(scan, "CHUNK", 3)
    leaves = [x.requires_grad_() for x in problem(times, 0.2, seed=times)]
    assert torch.autograd.gradcheck(lambda *x: reverse_scan(*x, method), leaves)
    assert torch.autograd.gradgradcheck(lambda *x: reverse_scan(*x, method), leaves)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("method", ["loop", "scan"])
def test_each_derivative_alone(which, method):
    leaves = list(problem(40, 0.1))
    leaves[which].requires_grad_()
    ours = reverse_scan(*leaves, method)
    theirs = torch.stack([double_sum(*leaves, t) for t in range(40)], dim=-1)
    pair = [torch.autograd.grad(x.square().sum(), leaves[which])[0] for x in (ours, theirs)]
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


def test_the_derivative_in_a_at_a_cut_is_what_follows():
    a = torch.zeros(2, dtype=DOUBLE, requires_grad=True)
    for method in METHODS:
        y = reverse_scan(a, torch.tensor([1.0, 2.0], dtype=DOUBLE), torch.tensor(3.0, dtype=DOUBLE), method)
        assert y.tolist() == [1.0, 2.0]
        assert torch.autograd.grad(y.sum(), a)[0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("method", ["loop", "scan"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("times", [2, 16, 40, 700])
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, 1e30])
def test_nothing_passes_a_cut(method, dtype, times, junk):
    """Wherever the cut is, what comes before it is equal bit for bit, whatever comes after."""
    a, b, init = problem(times, 0.01, dtype=dtype)
    for cut in some(times)[:-1]:
        a_cut = a.clone()
        a_cut[:, cut] = 0
        clean = reverse_scan(a_cut, b, init, method)
        assert torch.equal(clean[:, cut], b[:, cut])
        spoilt_b, spoilt_init = b.clone(), init.clone()
        spoilt_b[:, cut + 1 :] = junk
        spoilt_init[:] = junk
        got = reverse_scan(a_cut, spoilt_b, spoilt_init, method)
        assert torch.equal(got[:, : cut + 1], clean[:, : cut + 1])


@pytest.mark.parametrize("method", ["loop", "scan"])
def test_a_cut_at_the_last_time_ignores_init(method):
    a, b, _ = problem(50, 0.0)
    a[:, -1] = 0
    got = reverse_scan(a, b, torch.full((2,), math.nan, dtype=DOUBLE), method)
    assert torch.equal(got, reverse_scan(a, b, None, method))


@pytest.mark.parametrize("method", ["loop", "scan"])
def test_nan_reaches_every_earlier_time_up_to_the_cut(method):
    a = torch.full((3, 100), 1e-30)  # the product of two underflows to 0, which is no cut
    a[:, 20] = 0
    b = torch.ones(3, 100)
    b[1, 60] = math.nan
    got = reverse_scan(a, b, None, method)
    nan = torch.zeros(3, 100, dtype=torch.bool)
    nan[1, 21:61] = True
    assert torch.equal(got.isnan(), nan)


@pytest.mark.parametrize("method", ["loop", "scan"])
def test_a_gradient_passes_no_cut(method):
    a, b, init = problem(60, 0.0)
    a[:, 30] = 0
    b.requires_grad_()
    y = reverse_scan(a, b, init, method)
    (grad,) = torch.autograd.grad(y, b, torch.where(torch.arange(60) <= 30, math.nan, 1.0).to(DOUBLE).expand(2, 60))
    assert grad[:, 31:].isfinite().all() and grad[:, :31].isnan().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 0), (0,), (2, 1, 3)])
def test_leading_shapes(method, shape):
    b = torch.randn(*shape, 37, dtype=DOUBLE)
    a = torch.rand_like(b)
    got = reverse_scan(a, b, None, method)
    assert got.shape == b.shape
    for index in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist() if shape else [()]:
        row = tuple(index)
        torch.testing.assert_close(got[row], reverse_scan(a[row], b[row], None, "loop"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_memory_formats_and_inputs_left_alone(method):
    a, b, init = problem(90, 0.1, rows=6)
    expected = reverse_scan(a, b, init, "loop")
    formats = {
        "transposed": lambda x: x.t().contiguous().t() if x.dim() == 2 else x,
        "strided": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
        "flipped": lambda x: x.flip(0).flip(0),
    }
    for change in formats.values():
        given = [change(x) for x in (a, b, init)]
        copies = [x.clone() for x in given]
        torch.testing.assert_close(reverse_scan(*given, method), expected, rtol=1e-12, atol=1e-12)
        assert all(torch.equal(x, y) for x, y in zip(given, copies, strict=True))
    expanded = [x[:1].expand_as(x) for x in (a, b, init)]
    torch.testing.assert_close(reverse_scan(*expanded, method), expected[:1].expand(6, 90), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("times", [1, 5, 100])
@pytest.mark.parametrize("method", METHODS)
def test_a_number_is_a_constant_factor(method, times):
    _, b, init = problem(times, 0.0)
    for number in (0, 1, 0.5, -0.7):
        got = reverse_scan(number, b, init, method)
        torch.testing.assert_close(got, reverse_scan(torch.full_like(b, number), b, init, "loop"), rtol=1e-12, atol=1e-12)
    assert torch.equal(reverse_scan(0, b * math.inf, init, method), b * math.inf)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", ["loop", "scan"])
def test_half_precision_is_rounded_once(dtype, method):
    a, b, init = problem(200, 0.1, dtype=dtype)
    got = reverse_scan(a, b, init, method)
    assert got.dtype == dtype
    exact = reverse_scan(a.double(), b.double(), init.double(), "loop")
    torch.testing.assert_close(got.double(), exact, rtol=1.01 * torch.finfo(dtype).eps / 2, atol=1e-6)
    b.requires_grad_()
    reverse_scan(a, b, init, method).sum().backward()
    assert b.grad.dtype == dtype and b.grad.isfinite().all()


def test_the_fast_method_is_as_exact_as_the_loop():
    errors = {}
    for method in ("loop", "scan"):
        for seed in range(5):
            a, b, init = problem(2048, 0.01, rows=16, seed=seed, dtype=torch.float32)
            a = torch.where(a == 0, a, torch.full_like(a, 0.9405))
            exact = reverse_scan(a.double(), b.double(), init.double(), "loop")
            error = (reverse_scan(a, b, init, method) - exact).abs().max() / exact.abs().max()
            errors[method] = max(errors.get(method, 0.0), error.item())
    assert errors["scan"] <= errors["loop"] < 1e-6


def test_auto_is_the_loop_for_few_times_and_the_scan_for_many():
    for times, method in ((scan.CHUNK, "loop"), (500, "scan")):
        a, b, init = problem(times, 0.01, dtype=torch.float32)
        assert torch.equal(reverse_scan(a, b, init), reverse_scan(a, b, init, method))
    assert not torch.equal(reverse_scan(a, b, init), reverse_scan(a, b, init, "loop"))  # (rounding tells them apart)


def test_no_graph_is_made_unless_one_is_wanted():
    a, b, init = problem(50, 0.1)
    assert not reverse_scan(a, b, init).requires_grad
    b.requires_grad_()
    with torch.no_grad():
        assert reverse_scan(a, b, init).grad_fn is None
    graph = reverse_scan(a, b, init).grad_fn
    assert len(graph.saved_tensors) == 1  # a; the solution is saved only for the derivative in a
    assert len(reverse_scan(a.requires_grad_(), b, init).grad_fn.saved_tensors) == 3


def test_no_value_is_looked_at_on_other_devices():
    b = torch.ones(3, 100, device="meta")
    for method in METHODS:
        assert reverse_scan(b, b, b[:, 0], method).shape == (3, 100)
        assert reverse_scan(0.9, b, b[:, 0], method, cut=b.bool()).shape == (3, 100)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE, torch.bool])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 4), (130, 16), (16, 130)])
def test_transposed_is_a_copy(dtype, shape):
    x = torch.randn(shape).to(dtype)
    swapped = scan.transposed(x)
    assert torch.equal(swapped, x.t()) and swapped.is_contiguous() and swapped.data_ptr() != x.data_ptr()


# -- one number, and cuts ---------------------------------------------------------------------------
@pytest.fixture(params=["powers", "doubling"])
def path(request, monkeypatch):
    """Both ways of `scan` for one number, whatever the size."""
    monkeypatch.setattr(scan, "SMALL", 0 if request.param == "powers" else 2**30)
    return request.param


def with_cuts(times, rate, rows=2, seed=0, dtype=DOUBLE):
    """Random b, init and cuts at a share `rate` of the times."""
    draw = torch.Generator().manual_seed(seed)
    b, init = (torch.randn(shape, generator=draw, dtype=DOUBLE).to(dtype) for shape in ((rows, times), (rows,)))
    return b, init, torch.rand(rows, times, generator=draw) < rate


@pytest.mark.parametrize("times", [1, 2, 15, 16, 17, 97, 1000, 4099])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 1.0])
def test_a_number_with_cuts_is_the_double_sum(path, times, rate):
    b, init, cut = with_cuts(times, rate, seed=times)
    leaves = [b.requires_grad_(), init.requires_grad_()]
    a = 0.95 * (~cut).to(DOUBLE)
    at = some(times)
    theirs = torch.stack([double_sum(a, b, init, t) for t in at], dim=-1)
    for method in METHODS:
        ours = reverse_scan(0.95, b, init, method, cut=cut)[:, at]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        for x, y in zip(*(torch.autograd.grad(z.square().sum(), leaves, retain_graph=True) for z in (ours, theirs)), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)


@given(st.integers(1, 120), st.integers(1, 6), st.floats(0, 1), st.floats(-1.2, 1.2), st.integers(1, 300), st.integers(0, 2**31))
def test_a_number_with_cuts_is_the_loop(times, rows, rate, number, block, seed):
    b, init, cut = with_cuts(times, rate, rows, seed)
    expected = reverse_scan(number, b, init, "loop", cut=cut)
    for small in (0, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan, "SMALL", small)
            patch.setattr(scan, "NUMBER_BLOCK", block)
            torch.testing.assert_close(reverse_scan(number, b, init, "scan", cut=cut), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("times", [2, 5, 19, 35])
def test_first_and_second_derivatives_with_cuts(path, times):
    b, init, cut = with_cuts(times, 0.2, seed=times)
    leaves = [b.requires_grad_(), init.requires_grad_()]
    function = partial(reverse_scan, 0.9, method="scan", cut=cut)
    assert torch.autograd.gradcheck(function, leaves) and torch.autograd.gradgradcheck(function, leaves)
    assert torch.autograd.gradcheck(function, leaves[:1])
    assert torch.autograd.gradcheck(partial(function, b.detach()), leaves[1:])


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, 1e30])
def test_nothing_but_its_own_episode_sees_a_value(path, dtype, junk):
    """Junk at every time: what it reaches is the loop's, NaN and infinity alike; the rest is equal bit for bit."""
    b, init, cut = with_cuts(70, 0.08, dtype=dtype)
    clean = reverse_scan(0.94, b, init, "scan", cut=cut)
    for at in (*range(0, 70, 3), 69, 70):
        spoilt, ending = b.clone(), init.clone()
        (spoilt[0] if at < 70 else ending)[at if at < 70 else 0] = junk
        got = reverse_scan(0.94, spoilt, ending, "scan", cut=cut)
        reached = torch.zeros_like(cut)
        for t in range(min(at, 69), -1, -1):
            if cut[0, t] and t != at:
                break
            reached[0, t] = True
        assert torch.equal(got[~reached], clean[~reached])
        expected = reverse_scan(0.94, spoilt, ending, "loop", cut=cut)
        torch.testing.assert_close(got[reached], expected[reached], equal_nan=True)


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e30])
def test_nothing_passes_the_cut_of_a_number(path, junk):
    for times in (17, 40, 700):
        b, init, cut = with_cuts(times, 0.02, dtype=torch.float32)
        for at in some(times)[:-1]:
            cut[:, at] = True
            clean = reverse_scan(0.94, b, init, "scan", cut=cut)
            spoilt = torch.where(torch.arange(times) > at, junk, b)
            got = reverse_scan(0.94, spoilt, junk * init, "scan", cut=cut)
            assert torch.equal(got[:, : at + 1], clean[:, : at + 1]) and torch.equal(got[:, at], b[:, at])


def test_a_row_of_a_product_does_not_depend_on_the_others():
    """What the bits before a cut rest on: the rows of b M are chunks of different episodes."""
    for rows in (2, 3, 7, 64, 1000, 8192):
        for dtype in (torch.float32, DOUBLE):
            b, *_ = with_cuts(16, 0.0, rows, dtype=dtype)
            matrix, _ = scan._power_matrix(0.94, dtype)
            other = torch.cat([b[: rows // 2], 1e20 * b[rows // 2 :].flip(0)])
            assert torch.equal((b @ matrix)[: rows // 2], (other @ matrix)[: rows // 2])


def test_forms_of_input_of_a_number(path):
    b, init, cut = with_cuts(91, 0.1, rows=6)
    expected = reverse_scan(0.9, b, init, "loop", cut=cut)
    strided, offset = lambda x: x.repeat_interleave(2, -1)[..., ::2], lambda x: torch.cat([x[:1], x])[1:]  # noqa: E731
    for change in (lambda x: x.t().contiguous().t(), strided, offset):
        given = [change(x) for x in (b, init, cut)]
        copies = [x.clone() for x in given]
        torch.testing.assert_close(reverse_scan(0.9, given[0], given[1], "scan", cut=given[2]), expected, rtol=1e-12, atol=1e-12)
        assert all(torch.equal(x, y) for x, y in zip(given, copies, strict=True))
    expanded = [x[:1].expand_as(x) for x in (b, init, cut)]
    got = reverse_scan(0.9, expanded[0], expanded[1], "scan", cut=expanded[2])
    torch.testing.assert_close(got, expected[:1].expand(6, 91), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(reverse_scan(torch.full_like(b, 0.9), b, init, cut=cut), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(reverse_scan(0, b, init, "scan", cut=cut), b)
    odd = reverse_scan(0.9, b.view(-1)[1:513], None, "scan", cut=cut.view(-1)[1:513])  # no address that an integer may have
    assert torch.equal(odd, reverse_scan(0.9, b.view(-1)[1:513].clone(), None, "scan", cut=cut.view(-1)[1:513].clone()))
    assert reverse_scan(0.9, b, None, "scan", cut=cut).is_contiguous()
    assert reverse_scan(0.9, b[:0], init[:0], "scan", cut=cut[:0]).shape == (0, 91)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_of_a_number(path, dtype):
    b, init, cut = with_cuts(200, 0.1, dtype=dtype)
    exact = reverse_scan(0.9, b.double(), init.double(), "loop", cut=cut)
    got = reverse_scan(0.9, b, init, cut=cut)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), exact, rtol=1.01 * torch.finfo(dtype).eps / 2, atol=1e-6)


def test_a_number_is_as_exact_as_the_loop(path):
    errors = {"loop": 0.0, "scan": 0.0}
    for seed in range(5):
        b, init, cut = with_cuts(2048, 0.01, rows=16, seed=seed, dtype=torch.float32)
        exact = reverse_scan(0.9405, b.double(), init.double(), "loop", cut=cut)
        for method in errors:
            error = (reverse_scan(0.9405, b, init, method, cut=cut) - exact).abs().max() / exact.abs().max()
            errors[method] = max(errors[method], error.item())
    assert errors["scan"] <= errors["loop"] < 1e-6


def test_powers_that_overflow_leave_the_exact_values(path):
    b, init, cut = with_cuts(60, 0.2, dtype=torch.float32)
    got, expected = (reverse_scan(1e9, 1e-30 * b, None, method, cut=cut) for method in ("scan", "loop"))
    within = expected.isfinite()
    assert within.any() and not within.all()
    torch.testing.assert_close(got[within], expected[within])
    assert not got[~within].isfinite().any()


@pytest.mark.parametrize("cut", [torch.zeros(2, 3), torch.zeros(3) > 0, [True], torch.zeros(2, 3, device="meta") > 0])
def test_a_bad_cut_is_refused(cut):
    with pytest.raises(ValueError, match="^cut must be boolean, with the shape and device of b, torch.float32 .2, 3. on cpu"):
        reverse_scan(0.9, torch.ones(2, 3), cut=cut)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_cuda_equals_cpu(method, dtype):
    a, b, init = problem(1000, 0.01, dtype=dtype)
    got = reverse_scan(a.cuda(), b.cuda(), init.cuda(), method).cpu()
    torch.testing.assert_close(got, reverse_scan(a, b, init, "loop"))
    cut = a == 0
    got = reverse_scan(0.9, b.cuda(), init.cuda(), method, cut=cut.cuda()).cpu()
    torch.testing.assert_close(got, reverse_scan(0.9, b, init, "loop", cut=cut))
