"""The bridge for normal policies, preferences and rewards of tokens: the trees on the page are what the functions compute."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.control.policies import GaussianPolicy
from rlbook.derive.errors import IllFormed
from rlbook.derive.language import Σ, AtOld, E, T, a, a_, grad, indicator, l, log, s, s_, z, β, θ, π, π_old, π_ref, τ, φ
from rlbook.derive.ratios import μ
from rlbook.derive.tensors import Tensors
from rlbook.derive.terms import LRM, Ahat, Hp, Vφ, euler, g_μ, g_ς, log_normal, p_, pi, rφ, v_, y1, y2, y_, κ, ς
from rlbook.language.reward_model import preference_loss
from rlbook.tokens import linear_logprobs, shaped_rewards

DOUBLE = torch.float64
few = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**31)


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-11)


@pytest.mark.equation("gaussian-policy", "gaussian-entropy")
@few
@given(st.integers(1, 3), seeds)
def test_the_normal_policy(size, seed):
    policy = GaussianPolicy(2, size, hidden_sizes=()).double()
    with torch.no_grad():
        policy.log_std.copy_(rand(size, seed=seed) / 2)
    observation, action = rand(1, 2, seed=seed + 1), rand(1, size, seed=seed + 2)
    mean, deviation = policy(observation), policy.log_std.exp()
    logprob, entropy = policy.evaluate(observation, action)
    each = [Tensors({a_: action[0, k], μ: mean[0, k], ς: deviation[k]}) for k in range(size)]
    close(logprob[0], sum(world(log_normal(a_, μ, ς)) for world in each))
    close(entropy[0], sum(world(log(2 * pi * euler * ς**2) / 2) for world in each))
    along, = torch.autograd.grad(logprob.sum(), policy.log_std)
    close(along, torch.stack([world(g_ς(a_)) for world in each]).detach())


@pytest.mark.equation("gaussian-policy")
def test_the_scores_of_the_normal_policy():
    values = {μ: torch.tensor(0.3, dtype=DOUBLE, requires_grad=True), ς: torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)}
    world = Tensors({**values, a_: torch.tensor(1.1, dtype=DOUBLE)})
    close(world(grad(log_normal(a_, μ, ς), μ)), world(g_μ(a_)))
    close(world(ς * grad(log_normal(a_, μ, ς), ς)), world(g_ς(a_)))
    exact = torch.distributions.Normal(values[μ], values[ς]).log_prob(torch.tensor(1.1, dtype=DOUBLE))
    close(world(log_normal(a_, μ, ς)), exact)


@pytest.mark.equation("reward-model")
@few
@given(seeds)
def test_the_loss_of_the_reward_model(seed):
    place = rand(3, seed=seed).requires_grad_()
    features = rand(2, 3, seed=seed + 1)
    world = Tensors({φ: place, rφ: lambda y: features[y] @ place, y1: 0, y2: 1})
    chosen, rejected = features @ place
    loss = preference_loss(chosen, rejected)
    close(loss, world(LRM(y1, y2)))
    ours, = torch.autograd.grad(loss, place)
    close(ours, world(grad(LRM(y1, y2), φ)).detach())


@pytest.mark.equation("token-rewards-to-go")
@few
@given(st.integers(1, 6), st.floats(0, 2), seeds)
def test_the_rewards_of_tokens(length, weight, seed):
    logits, reference, score = rand(3, 4, seed=seed), rand(3, 4, seed=seed + 1), rand(1, seed=seed + 2)
    draw = torch.Generator().manual_seed(seed)
    states, actions = (torch.randint(size, (length,), generator=draw) for size in (3, 4))
    kl = (logits.log_softmax(-1) - reference.log_softmax(-1))[states, actions]
    shaped = shaped_rewards(score, kl[None], torch.ones(1, length, dtype=torch.bool), weight)[0]
    world = Tensors({π: lambda a, s: logits.softmax(-1)[s, a], π_ref: lambda a, s: reference.softmax(-1)[s, a], s: states,
                     a: actions, T: length - 1, β: weight, rφ: lambda _: score[0], τ: None})
    paid = indicator(l, T) * rφ(τ) - β * log(π(a[l], s[l]) / π_ref(a[l], s[l]))
    for k in range(length):
        close(shaped[k], world(paid, {l: k}))
        close(shaped[k:].sum(), world(Σ(paid, (l, k, T))))


@pytest.mark.equation("log-softmax", "log-softmax-entropy")
@few
@given(st.integers(2, 6), st.sampled_from([0.5, 1.0, 2.0]), seeds)
def test_the_two_lines_of_the_token_kernel(size, temperature, seed):
    """The derivatives that {eq}`eq-log-softmax` proves are those of the chunked function, along every logit."""
    logits = rand(size, seed=seed).requires_grad_()
    token = seed % size
    logprob, entropy = linear_logprobs(torch.ones(1, 1, dtype=DOUBLE), logits[:, None], torch.tensor([token]),
                                       temperature=temperature)
    world = Tensors({z: logits, κ: temperature, v_: size, y_: size})
    slopes = torch.autograd.grad(logprob.sum(), logits, retain_graph=True)[0], torch.autograd.grad(entropy.sum(), logits)[0]
    for k in range(size):
        here = {y_: token, v_: k}
        close(slopes[0][k], world((indicator(v_, y_) - p_(v_)) / κ, here).detach())
        close(slopes[1][k], world(-p_(v_) * (log(p_(v_)) + Hp()) / κ, here).detach())
        close(world(grad(log(p_(y_)), z[v_]), here), world((indicator(v_, y_) - p_(v_)) / κ, here).detach())


def test_at_old_holds_the_old_policy_still():
    logits = rand(2, 3, seed=4).requires_grad_()
    world = Tensors({θ: logits, π: lambda a, s: logits.softmax(-1)[s, a], Ahat: rand(2, 3), a_: 3, s_: 2})
    law = π(a_, s_)
    surrogate = AtOld(grad(E(π_old(a_, s_))[law / π_old(a_, s_) * Ahat(s_, a_)]))
    close(world(surrogate, {s_: 1}), world(E(law)[grad(log(law)) * Ahat(s_, a_)], {s_: 1}))
    with pytest.raises(IllFormed, match="π has no values here"):
        Tensors({θ: logits})(AtOld(grad(law)))
    with pytest.raises(IllFormed, match="a gradient along φ needs a tensor"):
        world(grad(Vφ(s_), φ), {s_: 1})
