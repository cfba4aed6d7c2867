"""The objective of PPO: its terms, their signs by their effect, metrics, masks and micro-batches."""

import math

import pytest
import torch

from rlbook import checks
from rlbook.kl import kl_k3, kl_loss
from rlbook.losses import clipped_surrogate, ppo_loss, prob_ratio, value_loss

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf
NAMES = ("logprobs", "old_logprobs", "advantages", "values", "returns", "entropy", "ref_logprobs", "old_values")
WEIGHTS = dict(epsilon=0.2, vf_coef=0.5, ent_coef=0.01, beta=0.1, vf_clip=0.3)
METRICS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clipfrac", "kl")


def batch(*shape, seed=0):
    numbers = torch.randn((len(NAMES), *shape), dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    return dict(zip(NAMES, numbers.unbind(), strict=True))


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.equation("ppo-objective")
def test_the_loss_is_the_sum_of_its_terms():
    x, mask = batch(3, 5), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in x.items()}
    loss, metrics = ppo_loss(**leaves, mask=mask, **WEIGHTS)
    policy, clipped = clipped_surrogate(prob_ratio(x["logprobs"], x["old_logprobs"]), x["advantages"], 0.2)
    terms = {"policy_loss": policy, "value_loss": value_loss(x["values"], x["returns"], x["old_values"], 0.3),
             "entropy": x["entropy"], "approx_kl": kl_k3(x["old_logprobs"], x["logprobs"]), "clipfrac": clipped.double(),
             "kl": kl_loss(x["logprobs"], x["ref_logprobs"], x["old_logprobs"])}
    means = {name: term[mask == 1].mean() for name, term in terms.items()}
    close(loss, means["policy_loss"] + 0.5 * means["value_loss"] - 0.01 * means["entropy"] + 0.1 * means["kl"])
    assert set(metrics) == set(METRICS)
    for name in METRICS:
        close(metrics[name], means[name])
        assert not metrics[name].requires_grad and metrics[name].shape == ()
    loss.backward()
    assert {name for name in NAMES if leaves[name].grad is not None} == {"logprobs", "values", "entropy"}
    close(leaves["entropy"].grad, -0.01 * mask.double() / 7)


def test_a_huge_ratio_is_clipped_like_any_other():
    """r_t = 150 and more, and as little: counted and cut where the sign of Â_t says so, nowhere else."""
    zeros = torch.zeros(4, dtype=DOUBLE)
    logprobs = torch.tensor([150.0, 1e6, 1 / 150, 1e-6], dtype=DOUBLE).log()
    for sign, clipped, slopes in ((1.0, [1, 1, 0, 0], [0, 0, 1 / 150, 1e-6]), (-1.0, [0, 0, 1, 1], [-150, -1e6, 0, 0])):
        for k in range(4):
            leaf = logprobs[k : k + 1].clone().requires_grad_()
            one = zeros[:1]
            loss, metrics = ppo_loss(leaf, one, one + sign, one, one, one, epsilon=0.2, vf_coef=0, ent_coef=0)
            assert metrics["clipfrac"] == clipped[k]
            close(torch.autograd.grad(loss, leaf)[0], torch.tensor([-slopes[k]], dtype=DOUBLE))
        _, metrics = ppo_loss(logprobs, zeros, zeros + sign, zeros, zeros, zeros, epsilon=0.2, vf_coef=0, ent_coef=0)
        assert metrics["clipfrac"] == 0.5


def test_without_the_optional_terms():
    x = batch(4, seed=1)
    del x["ref_logprobs"], x["old_values"]
    loss, metrics = ppo_loss(**x, epsilon=INF, vf_coef=0, ent_coef=0)
    close(loss, -((x["logprobs"] - x["old_logprobs"]).exp() * x["advantages"]).mean())
    assert "kl" not in metrics and metrics["clipfrac"] == 0
    ratio = (x["logprobs"] - x["old_logprobs"]).exp()
    close(metrics["approx_kl"], (ratio - 1 - ratio.log()).mean())


@pytest.mark.equation("ppo-objective")
@pytest.mark.parametrize("term", ["advantage", "value", "entropy", "kl"])
def test_each_sign_by_its_effect(term):
    """One small step downhill: a good action more probable, the critic nearer, the entropy higher, the reference nearer."""
    logits, ref = torch.tensor([0.5, 0.0, -0.5], dtype=DOUBLE, requires_grad=True), torch.zeros(3, dtype=DOUBLE)
    value = torch.tensor([1.0], dtype=DOUBLE, requires_grad=True)
    actions = torch.arange(3)
    law = torch.distributions.Categorical(logits=logits)
    logprobs, weight = law.log_prob(actions), law.probs.detach() * 3  # every action as often as it is probable
    none = torch.zeros(3, dtype=DOUBLE)
    # the surrogate is linear in the advantages, so they carry the probabilities of the samples
    advantages = weight * torch.tensor([0.0, 0.0, 1.0], dtype=DOUBLE) if term == "advantage" else none
    loss, _ = ppo_loss(logprobs, logprobs.detach(), advantages, value.expand(3), none + 4.0, law.entropy().expand(3),
                       ref_logprobs=ref.log_softmax(-1), epsilon=0.2, vf_coef=float(term == "value"),
                       ent_coef=float(term == "entropy"), beta=float(term == "kl"))
    gradients = torch.autograd.grad(loss, [logits, value], allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        after, critic = logits - 0.01 * gradients[0], value - 0.01 * gradients[1]
        new = torch.distributions.Categorical(logits=after)
        if term == "advantage":
            assert new.probs[2] > law.probs[2]
        if term == "value":
            assert 1 < critic.item() < 4
        if term == "entropy":
            assert new.entropy() > law.entropy()
        if term == "kl":
            assert (after - ref).std() < (logits - ref).std()
        assert (critic == value).all() == (term != "value")


def test_pitfall_10_micro_batches_change_nothing_given_the_denominator_of_the_whole():
    x, mask = batch(4, 6, seed=2), torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    leaves = {name: x[name].clone().requires_grad_() for name in ("logprobs", "values", "entropy")}
    given = {**x, **leaves}
    whole, _ = ppo_loss(**given, mask=mask, **WEIGHTS)
    denom = mask.sum()
    parts = sum(ppo_loss(**{k: v[i : i + 1] for k, v in given.items()}, mask=mask[i : i + 1], **WEIGHTS, denom=denom)[0]
                for i in range(4))
    close(parts, whole)
    both = [torch.autograd.grad(total, list(leaves.values()), retain_graph=True) for total in (whole, parts)]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    close(ppo_loss(**given, mask=mask, **WEIGHTS, denom=float(denom))[0], whole)


def test_pitfall_11_nothing_counts():
    x = {name: torch.full((2, 3), NAN, requires_grad=True) for name in NAMES}
    loss, metrics = ppo_loss(**x, mask=torch.zeros(2, 3), **WEIGHTS)
    loss.backward()
    assert loss.item() == 0 and all(value == 0 for value in metrics.values())
    for name in ("logprobs", "values", "entropy"):
        assert (x[name].grad == 0).all()


def _with_mask(which):
    def fn(*tensors):
        *given, mask = tensors
        loss, metrics = ppo_loss(**dict(zip(NAMES, given, strict=True)), mask=mask, **WEIGHTS)
        return loss if which == "loss" else metrics[which]

    return fn


@pytest.mark.parametrize("which", ["loss", *METRICS])
def test_pitfall_17_padding_changes_nothing(which):
    checks.check_padding_invariance(_with_mask(which), inputs=len(NAMES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(dtype):
    x = {name: tensor.to(dtype) for name, tensor in batch(3, 4).items()}
    loss, metrics = ppo_loss(**x, mask=torch.ones(3, 4), **WEIGHTS)
    assert loss.dtype == dtype and all(value.dtype == dtype for value in metrics.values())
    expected, _ = ppo_loss(**{name: tensor.double() for name, tensor in x.items()}, **WEIGHTS)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert abs(loss.item() / expected.item() - 1) < tolerance


GOOD = {**batch(2, 3), **WEIGHTS}
BAD = [
    (dict(values=torch.zeros(2, 2, dtype=DOUBLE)), "must have one shape"),
    (dict(advantages=torch.zeros(2, 1, dtype=DOUBLE)), "nothing is broadcast"),
    (dict(ref_logprobs=torch.zeros(3, dtype=DOUBLE)), "must have one shape"),
    (dict(returns=torch.zeros(2, 3)), "must have one dtype and device"),
    (dict(entropy=0.5), "entropy must be a floating point tensor, got float"),
    (dict(mask=torch.ones(2)), "mask must have the shape and device of logprobs"),
    (dict(mask=torch.full((2, 3), 0.5)), "mask must hold nothing but 0 and 1"),
    (dict(epsilon=-1.0), "epsilon must be a number >= 0, got -1.0"),
    (dict(vf_coef=INF), "vf_coef must be a number > -inf and < inf, got inf"),
    (dict(ent_coef=None), "ent_coef must be a number > -inf and < inf, got None"),
    (dict(beta=NAN), "beta must be a number > -inf and < inf, got nan"),
    (dict(ref_logprobs=None), "beta = 0.1 needs ref_logprobs"),
    (dict(old_values=None), "clip needs old_values"),
    (dict(vf_clip=-0.1), "clip must be a number > 0, got -0.1"),
    (dict(denom=0), "denom must be a number > 0 and < inf, got 0"),
    (dict(denom=torch.tensor(0.0)), "denom must be one number > 0, got 0.0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_makes_no_sense_is_refused(change, message):
    ppo_loss(**GOOD)
    with pytest.raises(ValueError, match=message):
        ppo_loss(**{**GOOD, **change})
