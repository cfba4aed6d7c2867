"""Log-probabilities and entropies from hidden states: values, both derivatives, masked tokens, precision, bad input."""

import pytest
import torch

from rlbook.tokens import linear, linear_logprobs, selective_log_softmax

V, H = 7, 4


def make(shape=(2, 5), size=V, width=H, dtype=torch.float64, grad=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (
        torch.randn(*each, dtype=torch.float64, generator=generator) for each in ((*shape, width), (size, width), (size,))
    )
    ids = torch.randint(0, size, shape, generator=generator)
    return *(each.to(dtype).requires_grad_(grad) for each in (hidden, weight, bias)), ids


def plain(hidden, weight, ids, bias=None, temperature=1.0):
    """The same from all logits at once."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    logp = (logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature).log_softmax(-1)
    return logp.gather(-1, ids[..., None])[..., 0], -(logp.exp() * logp).sum(-1)


@pytest.fixture(params=[(1, 1), (3, 2), (64, 7), (4, 1000)], ids=str)
def blocks(request, monkeypatch):
    """Blocks of all kinds: of one logit, that do not divide the shape, that are larger than it."""
    monkeypatch.setitem(linear.BLOCKS, "cpu", request.param)


@pytest.mark.equation("log-softmax")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_values_and_gradients_are_those_of_all_logits(blocks, temperature):
    hidden, weight, bias, ids = make()
    g = torch.randn(2, *ids.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = linear_logprobs(hidden, weight, ids, bias, temperature)
    expected = plain(hidden, weight, ids, bias, temperature)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(got[0], selective_log_softmax(hidden @ weight.T + bias, ids, temperature), rtol=0, atol=1e-13)
    for wanted in ((1, 1), (1, 0), (0, 1)):
        pairs = [[(each[k], g[k]) for k in range(2) if wanted[k]] for each in (got, expected)]
        grads = [
            torch.autograd.grad([a for a, _ in pair], (hidden, weight, bias), [b for _, b in pair], retain_graph=True)
            for pair in pairs
        ]
        torch.testing.assert_close(*grads, rtol=0, atol=1e-13)


@pytest.mark.equation("log-softmax")
@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_both_derivatives_are_those_of_finite_differences(monkeypatch, chunk, temperature):
    monkeypatch.setitem(linear.BLOCKS, "cpu", (4, 3))
    hidden, weight, bias, ids = make((2, 3))
    for which in (0, 1, slice(None)):
        torch.autograd.gradcheck(
            lambda h, w, b, which=which: linear_logprobs(h, w, ids, b, temperature, chunk)[which], (hidden, weight, bias)
        )


@pytest.mark.equation("log-softmax")
def test_gradients_of_logits_are_the_two_lines():
    """With weight the unit matrix, hidden is the logits, and its gradient theirs."""
    z = torch.tensor([[1.0, -0.5, 0.25]], dtype=torch.float64, requires_grad=True)
    logprobs, entropy = linear_logprobs(z, torch.eye(3, dtype=torch.float64), torch.tensor([2]))
    p = z.detach().softmax(-1)
    (of_logprob,) = torch.autograd.grad(logprobs, z, retain_graph=True)
    (of_entropy,) = torch.autograd.grad(entropy, z)
    torch.testing.assert_close(of_logprob, torch.tensor([[0.0, 0.0, 1.0]]) - p, rtol=0, atol=1e-15)
    torch.testing.assert_close(of_entropy, -p * (p.log() + entropy.item()), rtol=0, atol=1e-15)


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_gradients_that_are_wanted(frozen):
    tensors = list(make())
    ids = tensors.pop()
    for index in frozen:
        tensors[index].requires_grad_(False)
    hidden, weight, bias = tensors
    sum(each.sum() for each in linear_logprobs(hidden, weight, ids, bias)).backward()
    got = [each.grad for each in tensors]
    for each in tensors:
        each.grad = None
    sum(each.sum() for each in plain(hidden, weight, ids, bias)).backward()
    for index, (a, b) in enumerate(zip(got, tensors, strict=True)):
        assert (a is None) == (index in frozen)
        if a is not None:
            torch.testing.assert_close(a, b.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("junk", [1e4, float("inf"), float("nan")])
def test_masked_tokens_leave_no_trace_in_the_gradients(junk):
    hidden, weight, bias, ids = make((6,))
    keep = torch.tensor([True, False, True, True, False, True])
    spoiled = torch.where(keep[:, None], hidden.detach(), junk).requires_grad_()

    def gradients(states):
        logprobs, entropy = linear_logprobs(states, weight, ids, bias)
        return torch.autograd.grad((2 * logprobs + 3 * entropy)[keep].sum(), (states, weight, bias))

    torch.testing.assert_close(gradients(spoiled), gradients(hidden), rtol=0, atol=1e-13)
    logprobs, entropy = linear_logprobs(hidden, weight, ids, bias)
    grads = torch.autograd.grad((0 * logprobs).sum(), (hidden, weight, bias))
    assert not any(each.any() for each in grads)


def test_log_probabilities_are_never_above_zero():
    """One token has all the probability, so that rounding decides between just below 0 and just above."""
    hidden, weight, _, ids = make((512,), 50, 16, torch.float32, grad=False)
    weight[:] = weight / weight.norm(dim=1, keepdim=True)
    sure = weight[ids]
    for scale in (10.0, 20.0, 40.0, 100.0):
        logprobs, entropy = linear_logprobs(scale * sure, weight, ids)
        assert logprobs.max() <= 0 and entropy.min() >= 0
        torch.testing.assert_close(logprobs.double(), plain(scale * sure.double(), weight.double(), ids)[0], rtol=0, atol=2e-5)


def test_large_logits_neither_overflow_nor_vanish():
    z = torch.tensor([[1e4, 1e4, -1e4], [-3e4, -3e4, -3e4]], dtype=torch.float64)
    logprobs, entropy = linear_logprobs(z, torch.eye(3, dtype=torch.float64), torch.tensor([1, 2]))
    half, third = torch.tensor([2.0, 3.0], dtype=torch.float64).log()
    torch.testing.assert_close(logprobs, -torch.stack([half, third]), rtol=0, atol=1e-11)
    torch.testing.assert_close(entropy, torch.stack([half, third]), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_after_the_logits(dtype):
    """Results are float32, exactly those of the model's own half-precision logits; float32 agrees within 2 digits."""
    hidden, weight, bias, ids = make((3, 40), 300, 64, dtype)
    got = linear_logprobs(hidden, weight, ids, bias)
    assert got[0].dtype == got[1].dtype == torch.float32
    wide = [each.detach().float().requires_grad_() for each in (hidden, weight, bias)]
    exact = plain(wide[0], wide[1], ids, wide[2])
    step = 8 * torch.finfo(dtype).eps  # logits are around 8, rounded once or twice
    torch.testing.assert_close(got, exact, rtol=0, atol=4 * step)
    torch.testing.assert_close(got[0], selective_log_softmax(hidden @ weight.T + bias, ids), rtol=0, atol=1e-5)
    sum(each.sum() for each in got).backward()
    sum(each.sum() for each in exact).backward()
    for narrow, each in zip((hidden, weight, bias), wide, strict=True):
        assert narrow.grad.dtype == dtype
        assert (narrow.grad - each.grad).norm() <= 8 * torch.finfo(dtype).eps * each.grad.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_gpu_agrees(dtype):
    hidden, weight, bias, ids = make((5000,), 9001, 64, dtype)
    outcomes = []
    for device in ("cpu", "cuda"):
        given = [each.detach().to(device).requires_grad_() for each in (hidden, weight, bias)]
        results = linear_logprobs(given[0], given[1], ids.to(device), given[2], 0.8)
        sum(each.sum() for each in results).backward()
        outcomes.append([each.detach().cpu().double() for each in (*results, *(x.grad for x in given))])
    for one, other in zip(*outcomes, strict=True):
        assert (one - other).norm() <= 8 * torch.finfo(dtype).eps * one.norm()


def test_no_gradient_no_graph_and_any_shape():
    hidden, weight, _, ids = make((5,), grad=False)
    assert all(not each.requires_grad for each in linear_logprobs(hidden, weight, ids))
    one = linear_logprobs(hidden[0], weight, ids[0])
    assert one[0].shape == one[1].shape == () and one[0] == linear_logprobs(hidden, weight, ids.int())[0][0]
    strided = hidden.t().contiguous().t()
    torch.testing.assert_close(linear_logprobs(strided, weight, ids), linear_logprobs(hidden, weight, ids))


def test_a_second_derivative_raises():
    hidden, weight, _, ids = make()
    for each in linear_logprobs(hidden, weight, ids):
        with pytest.raises(RuntimeError, match="no second derivative: take selective_log_softmax"):
            torch.autograd.grad(each.sum(), hidden, create_graph=True)


def test_bad_input_is_refused():
    hidden, weight, bias, ids = make(grad=False)
    with pytest.raises(ValueError, match="hidden must be a floating point tensor, got torch.int64"):
        linear_logprobs(hidden.long(), weight, ids)
    with pytest.raises(ValueError, match="weight must be a floating point tensor, got list"):
        linear_logprobs(hidden, [1.0], ids)
    with pytest.raises(ValueError, match="weight must have the dtype and device of hidden, got torch.float32"):
        linear_logprobs(hidden, weight.float(), ids)
    with pytest.raises(ValueError, match=r"must be \[\.\.\., H\] and \[V, H\], got \(2, 5, 4\) and \(4, 7\)"):
        linear_logprobs(hidden, weight.T, ids)
    with pytest.raises(ValueError, match=r"bias must be \[V\], \(7,\), got \(4,\)"):
        linear_logprobs(hidden, weight, ids, bias[:4])
    with pytest.raises(ValueError, match=r"one entry for each distribution, \(2, 5\) on cpu, got \(2, 4\)"):
        linear_logprobs(hidden, weight, ids[:, :4])
    with pytest.raises(ValueError, match="ids must be a tensor of integers, got torch.float64"):
        linear_logprobs(hidden, weight, ids.double())
    for wrong in (-100, V):
        with pytest.raises(ValueError, match=rf"ids must be in 0\.\.6, got {wrong}"):
            linear_logprobs(hidden, weight, torch.full_like(ids, wrong))
    with pytest.raises(ValueError, match=r"at least one token, got the shape \(2, 0\)"):
        linear_logprobs(hidden[:, :0], weight, ids[:, :0])
    for wrong in (0, -1.0, float("nan"), float("inf"), "1", True):
        with pytest.raises(ValueError, match="temperature must be a positive finite number"):
            linear_logprobs(hidden, weight, ids, temperature=wrong)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="chunk must be an integer >= 1, or None"):
            linear_logprobs(hidden, weight, ids, chunk=wrong)
