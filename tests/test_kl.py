"""KL divergences: estimators and losses against sums over all actions, in float64 (PITFALLS, row 18)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook.kl import ESTIMATORS, kl_exact, kl_k1, kl_k2, kl_k3, kl_loss

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf
policies = st.tuples(st.integers(2, 5), st.integers(0, 2**31))


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def pair(case):
    """Logits of a policy, which require a gradient, and of its reference."""
    actions, seed = case
    return rand(actions, seed=seed).requires_grad_(), rand(actions, seed=seed + 1)


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def slope(total, logits):
    return torch.autograd.grad(total, logits, retain_graph=True, allow_unused=True, materialize_grads=True)[0]


def sampled_slope(loss, logits, probabilities):
    """The mean gradient of a loss per action over samples: the probabilities of the samples are constants."""
    return slope((probabilities.detach() * loss).sum(), logits)


# -- values ------------------------------------------------------------------------------------------
@pytest.mark.equation("kl-penalty")
@given(policies)
def test_the_exact_divergence_and_its_gradient(case):
    logits, ref = pair(case)
    law, ref_law = (torch.distributions.Categorical(logits=z) for z in (logits, ref))
    exact = kl_exact(logits, ref)
    close(exact, torch.distributions.kl_divergence(law, ref_law))
    log_ratio = logits.log_softmax(-1) - ref.log_softmax(-1)
    close(slope(exact, logits), law.probs * (log_ratio - exact))
    close(kl_exact(logits + 3, ref - 5), exact)  # normalised or not
    assert exact >= 0 and kl_exact(logits, logits) == 0


def test_impossible_actions():
    logits = torch.tensor([[0.0, -INF, 0.0], [0.0, -INF, -INF], [0.0, 0.0, 0.0]], dtype=DOUBLE, requires_grad=True)
    ref = torch.tensor([[0.0, 0.0, 0.0], [0.0, -INF, -INF], [0.0, 0.0, -INF]], dtype=DOUBLE)
    exact = kl_exact(logits, ref)
    close(exact, torch.tensor([math.log(1.5), 0.0, INF], dtype=DOUBLE))
    assert slope(exact[:2].sum(), logits)[:2].isfinite().all()


@pytest.mark.equation("k1", "k2", "k3")
@given(policies)
def test_means_of_the_estimators(case):
    logits, ref = (x.detach().log_softmax(-1) for x in pair(case))
    chances = logits.exp()
    exact = kl_exact(logits, ref)
    close((chances * kl_k1(logits, ref)).sum(), exact)
    close((chances * kl_k3(logits, ref)).sum(), exact)
    close((chances * kl_k2(logits, ref)).sum(), 0.5 * (chances * (logits - ref) ** 2).sum())
    assert (kl_k3(logits, ref) >= 0).all() and (kl_k2(logits, ref) >= 0).all()
    swapped = (chances * kl_k3(-logits, -ref)).sum()  # the exponent reversed: another quantity
    close(swapped, (chances**2 / ref.exp()).sum() - 1 - exact)


def test_by_hand():
    new, ref = torch.tensor([-1.0, -2.0], dtype=DOUBLE), torch.tensor([-2.0, -1.0], dtype=DOUBLE)
    assert kl_k1(new, ref).tolist() == [1.0, -1.0]
    assert kl_k2(new, ref).tolist() == [0.5, 0.5]
    close(kl_k3(new, ref), torch.tensor([math.exp(-1), math.e - 2], dtype=DOUBLE))
    assert kl_k3(torch.tensor(0.0), torch.tensor(-INF)) == INF
    assert kl_k3(torch.tensor(NAN), torch.tensor(0.0)).isnan()


@pytest.mark.parametrize("exponent", range(-8, 1))
@pytest.mark.parametrize("sign", [1, -1])
def test_k3_keeps_its_digits_in_single_precision(exponent, sign):
    x = torch.tensor([sign * m * 10.0**exponent for m in (1.0, 1.01, 2.5, 9.9)])
    wide = x.double()
    exact = sum(wide**k / math.factorial(k) for k in range(2, 9)) if exponent < -1 else wide.exp() - 1 - wide
    torch.testing.assert_close(kl_k3(torch.zeros(4), x).double(), exact, rtol=2e-7, atol=0)
    torch.testing.assert_close(kl_k3(torch.zeros(4, dtype=DOUBLE), wide), exact, rtol=1e-7 if exponent < -4 else 1e-11, atol=0)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kl_k3(torch.zeros(4), leaf).sum(), leaf)
    torch.testing.assert_close(gradient.double(), wide.expm1(), rtol=2e-7, atol=0)


def test_the_plain_form_of_k3_has_no_correct_digit_near_zero():
    for x in torch.tensor([1e-4, 1e-5, 1e-6]):
        assert abs((x.exp() - 1 - x).item() / (x.item() ** 2 / 2) - 1) > 1


# -- gradients ---------------------------------------------------------------------------------------
@pytest.mark.equation("k-gradients")
@given(policies)
def test_pitfall_18_the_gradient_table_on_policy(case):
    logits, ref = pair(case)
    logprobs, ref_logprobs = logits.log_softmax(-1), ref.log_softmax(-1)
    forward, backward = slope(kl_exact(logits, ref), logits), slope(kl_exact(ref, logits), logits)
    table = {("k1", True): forward, ("k1", False): torch.zeros_like(ref), ("k2", True): forward, ("k2", False): forward,
             ("k3", True): forward, ("k3", False): backward}
    for (estimator, unbiased), expected in table.items():
        loss = kl_loss(logprobs, ref_logprobs, estimator=estimator, unbiased_grad=unbiased)
        close(sampled_slope(loss, logits, logprobs.exp()), expected)
        close(loss, {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}[estimator](logprobs, ref_logprobs))  # the weight is 1


@pytest.mark.equation("k-gradients")
@given(policies)
def test_pitfall_18_the_gradient_table_with_samples_of_an_older_policy(case):
    logits, ref = pair(case)
    old = rand(case[0], seed=case[1] + 2).log_softmax(-1)
    logprobs, ref_logprobs = logits.log_softmax(-1), ref.log_softmax(-1)
    exact = kl_exact(logits, ref)
    for estimator in ("k1", "k3"):
        loss = kl_loss(logprobs, ref_logprobs, old, estimator)
        close((old.exp() * loss).sum(), exact)
        close(sampled_slope(loss, logits, old.exp()), slope(exact, logits))
        plain = kl_loss(logprobs, ref_logprobs, old, estimator, unbiased_grad=False)
        close(plain, kl_loss(logprobs, ref_logprobs, None, estimator, unbiased_grad=False))
    close(sampled_slope(plain, logits, old.exp()), (old.exp() * (1 - (ref_logprobs - logprobs).exp())) @ _scores(logits))


def _scores(logits):
    return torch.eye(len(logits), dtype=DOUBLE) - logits.softmax(-1)


def test_pitfall_18_a_step_against_the_gradient_brings_the_policy_closer():
    """The loss is minus the objective: minimised, the divergence falls. The other sign drives it up."""
    logits, ref = pair((4, 3))
    before = kl_exact(logits, ref).item()
    for estimator in ESTIMATORS:
        loss = kl_loss(logits.log_softmax(-1), ref.log_softmax(-1), estimator=estimator)
        step = 0.01 * sampled_slope(loss, logits, logits.softmax(-1))
        assert kl_exact(logits - step, ref) < before < kl_exact(logits + step, ref)


def test_the_reference_and_the_older_policy_are_constants():
    tensors = [rand(3, seed=k).requires_grad_() for k in range(3)]
    kl_loss(*tensors).sum().backward()
    assert tensors[0].grad is not None and tensors[1].grad is None and tensors[2].grad is None


# -- bad input ---------------------------------------------------------------------------------------
two = torch.zeros(2)
BAD = [
    ((two, torch.zeros(3)), r"must have shape \(2,\), got \(3,\); nothing is broadcast"),
    ((two, torch.zeros(2, 1)), "nothing is broadcast"),
    ((two.long(), two), "must be a floating point tensor, got torch.int64"),
    ((two, 0.0), r"must be a tensor of shape \(2,\), got float"),
    ((two, two.double()), "must agree with"),
    ((two, torch.zeros(2, device="meta")), "must agree with"),
]


@pytest.mark.parametrize(("tensors", "message"), BAD)
@pytest.mark.parametrize("fn", [kl_exact, kl_k1, kl_k2, kl_k3, kl_loss])
def test_bad_tensors_are_refused(fn, tensors, message):
    with pytest.raises(ValueError, match=message):
        fn(*tensors)


REFUSED = [
    (lambda: kl_loss(two, two, estimator="k4"), "estimator must be one of k1, k2, k3, got 'k4'"),
    (lambda: kl_loss(two, two, two, "k2"), "k2 needs samples of the policy itself and is never weighted; got old_logprobs"),
    (lambda: kl_loss(two, two, two, "k2", False), "k2 needs samples of the policy itself"),
    (lambda: kl_loss(two, two, torch.zeros(3)), r"old_logprobs must have shape \(2,\), got \(3,\)"),
    (lambda: kl_exact(torch.zeros(()), torch.zeros(())), "last axis of actions with at least one entry"),
    (lambda: kl_exact(torch.zeros(2, 0), torch.zeros(2, 0)), "last axis of actions with at least one entry"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
