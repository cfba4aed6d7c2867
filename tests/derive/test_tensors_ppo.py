"""The bridge for the chapters on PPO: the trees on the page, read with tensors, are what `losses` and `kl` compute.

Values and gradients, in float64. The trees are objectives, to be maximised, and the functions losses, to be minimised:
each comparison has the minus.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.derive.language import Â, E, Lclip, a, a_, grad, log, rθ, s, s_, sg, t, x_, z, ε, θ, π, π_old, π_ref, φ
from rlbook.derive.ratios import KL, KL_reverse, k1, k2, k3, z_
from rlbook.derive.tensors import Tensors
from rlbook.derive.terms import LV, R_, Ahat, H, Hp, Lmax, Lmin, Lppo, Rhat, Vφ, d_old, p_, v_, v_new, v_old, w1, w2, w3, y_, κ
from rlbook.kl import kl_exact, kl_k1, kl_k2, kl_k3, kl_loss
from rlbook.losses import clipped_surrogate, entropy_from_logits, ppo_loss, prob_ratio, value_loss

DOUBLE = torch.float64
few = settings(max_examples=25)  # every example compares all entries and all gradients
seeds = st.integers(0, 2**31)
sizes = st.integers(2, 5)


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def same(ours, tree, *leaves):
    """The two numbers or tensors agree, and so do the gradients of a weighted sum of their entries."""
    close(ours.detach(), tree.detach())
    weight = rand(*ours.shape, seed=1)
    for leaf in leaves:
        pair = [torch.autograd.grad((x * weight).sum(), leaf, retain_graph=True)[0] for x in (ours, tree)]
        close(*pair)


def table(logits):
    """π(a, s) of logits [S, A]."""
    return lambda action, state: logits.softmax(-1)[state, action]


# -- the ratio and the clipped surrogate -------------------------------------------------------------
@pytest.mark.equation("ratio", "clipped-surrogate")
@few
@given(st.integers(1, 6), st.sampled_from([0.1, 0.2, 0.5]), seeds)
def test_the_ratio_and_the_clipped_surrogate(length, epsilon, seed):
    draw = torch.Generator().manual_seed(seed)
    states, actions = (torch.randint(size, (length,), generator=draw) for size in (3, 4))
    logits, old, advantages = rand(3, 4, seed=seed).requires_grad_(), rand(3, 4, seed=seed + 1), rand(length, seed=seed + 2)
    world = Tensors({θ: logits, π: table(logits), π_old: table(old), s: states, a: actions, Â: advantages, ε: epsilon})
    new, before = (x.log_softmax(-1)[states, actions] for x in (logits, old))
    ratio = prob_ratio(new, before)
    same(ratio, torch.stack([world(rθ[t], {t: k}) for k in range(length)]), logits)
    loss, clipped = clipped_surrogate(ratio, advantages, epsilon)
    objective = torch.stack([world(Lclip[t], {t: k}) for k in range(length)])
    same(-loss, objective, logits)
    for k in range(length):  # the flag is where the tree's own derivative is 0
        assert clipped[k] == (world(grad(Lclip[t]), {t: k}) == 0).all()


@pytest.mark.equation("clipped-surrogate")
def test_the_clipped_surrogate_at_the_kinks():
    """Where two arguments are equal the two derivatives are torch's: the gradient passes at r = 1 ± ε."""
    for value, advantage in ((1.25, 1.0), (0.75, -1.0), (1.25, -1.0), (0.75, 1.0)):
        ratio, advantages = torch.tensor([value], dtype=DOUBLE, requires_grad=True), torch.tensor([advantage], dtype=DOUBLE)
        tree = Tensors({rθ: ratio, Â: advantages, ε: 0.25})(Lclip[0])
        loss, clipped = clipped_surrogate(ratio, advantages, 0.25)
        same(-loss[0], tree, ratio)
        assert not clipped.item() and torch.autograd.grad(loss.sum(), ratio)[0].item() == -advantage


# -- divergences -------------------------------------------------------------------------------------
def two_policies(actions, seed):
    logits, ref = rand(1, actions, seed=seed).requires_grad_(), rand(1, actions, seed=seed + 1)
    return logits, ref, Tensors({θ: logits, π: table(logits), π_ref: table(ref), a_: actions, s_: 0})


@pytest.mark.equation("kl-penalty", "k1", "k2", "k3")
@few
@given(sizes, seeds)
def test_divergences_and_their_estimators(actions, seed):
    logits, ref, world = two_policies(actions, seed)
    same(kl_exact(logits, ref)[0], world(KL(s_)), logits)
    same(kl_exact(ref, logits)[0], world(KL_reverse(s_)), logits)
    new, before = logits.log_softmax(-1)[0], ref.log_softmax(-1)[0]
    for ours, head in ((kl_k1, k1), (kl_k2, k2), (kl_k3, k3)):
        tree = head(π_ref(x_, s_) / π(x_, s_))
        same(ours(new, before), torch.stack([world(tree, {x_: k}) for k in range(actions)]), logits)
        close(ours(new, before).detach(), Tensors({z_: (before - new).exp()})(head(z_)).detach())


@pytest.mark.equation("k-gradients")
@few
@given(sizes, seeds)
def test_the_gradient_table_is_that_of_the_trees(actions, seed):
    """Mean gradients under samples of π: sg[π] weighs them. The loss's mean gradient is the tree's, and the divergence's."""
    logits, ref, world = two_policies(actions, seed)
    new, before = logits.log_softmax(-1)[0], ref.log_softmax(-1)[0]
    law, ratio = π(a_, s_), π_ref(a_, s_) / π(a_, s_)
    weight = law / sg[law]
    rows = {("k1", False): (k1(ratio), None), ("k1", True): (weight * k1(ratio), KL(s_)),
            ("k2", False): (k2(ratio), KL(s_)), ("k2", True): (k2(ratio), KL(s_)),
            ("k3", False): (k3(ratio), KL_reverse(s_)), ("k3", True): (weight * k3(ratio), KL(s_))}
    for (estimator, unbiased), (tree, divergence) in rows.items():
        loss = kl_loss(new, before, estimator=estimator, unbiased_grad=unbiased)
        (ours,) = torch.autograd.grad((new.exp().detach() * loss).sum(), logits, retain_graph=True)
        close(ours, world(E(law)[grad(tree)]).detach())
        close(ours, torch.zeros_like(ours) if divergence is None else world(grad(divergence)).detach())


@pytest.mark.equation("k-gradients")
@few
@given(sizes, seeds)
def test_the_weighted_loss_with_samples_of_an_older_policy(actions, seed):
    logits, ref, world = two_policies(actions, seed)
    old = rand(1, actions, seed=seed + 2)
    world = Tensors({**world.values, π_old: table(old)})
    law, before = π(a_, s_), π_old(a_, s_)
    logprobs = [x.log_softmax(-1)[0] for x in (logits, ref, old)]
    for estimator, head in (("k1", k1), ("k3", k3)):
        ours = (old.softmax(-1)[0] * kl_loss(*logprobs, estimator)).sum()
        same(ours, world(E(before)[law / before * head(π_ref(a_, s_) / law)]), logits)
        same(ours, world(KL(s_)), logits)


# -- entropy and tokens ------------------------------------------------------------------------------
@pytest.mark.equation("entropy-bonus")
@few
@given(sizes, seeds)
def test_entropy(actions, seed):
    logits, _, world = two_policies(actions, seed)
    same(entropy_from_logits(logits)[0], world(H(s_)), logits)
    score_form = -E(π(a_, s_))[grad(log(π(a_, s_))) * (log(π(a_, s_)) + H(s_))]
    (ours,) = torch.autograd.grad(entropy_from_logits(logits).sum(), logits, retain_graph=True)
    close(ours, world(score_form).detach())


@pytest.mark.equation("log-softmax")
@few
@given(sizes, st.sampled_from([0.5, 1.0, 2.0]), seeds)
def test_the_entropy_of_a_token_and_its_log_probability(size, temperature, seed):
    logits = rand(size, seed=seed).requires_grad_()
    world = Tensors({z: logits, κ: temperature, v_: size})
    same(entropy_from_logits(logits / temperature), world(Hp()), logits)
    tree = torch.stack([world(log(p_(y_)), {y_: k}) for k in range(size)])
    same((logits / temperature).log_softmax(-1), tree, logits)
    chances = (logits / temperature).softmax(-1)
    closed = -chances * (chances.log() + world(Hp())) / temperature
    (ours,) = torch.autograd.grad(entropy_from_logits(logits / temperature), logits, retain_graph=True)
    close(ours, closed.detach())


# -- the critic --------------------------------------------------------------------------------------
@pytest.mark.equation("critic-loss")
@few
@given(st.integers(1, 5), seeds)
def test_the_critic(states, seed):
    values, targets = rand(states, seed=seed).requires_grad_(), rand(states, seed=seed + 1).requires_grad_()
    world = Tensors({Vφ: values, Rhat: targets})
    tree = torch.stack([world(LV(s_), {s_: k}) for k in range(states)])
    same(value_loss(values, targets), tree, values)
    for x in (value_loss(values, targets), tree):
        assert torch.autograd.grad(x.sum(), targets, allow_unused=True, retain_graph=True)[0] is None


@pytest.mark.equation("critic-loss")
@few
@given(st.integers(1, 8), st.sampled_from([0.1, 0.5, 2.0]), seeds)
def test_value_clipping_is_the_maximum_and_not_the_minimum(states, clip, seed):
    values, targets, old = (rand(states, seed=seed + k) for k in range(3))
    values.requires_grad_()
    world = Tensors({v_new: values, v_old: old, R_: targets, ε: clip})
    ours = value_loss(values, targets, old, clip)
    same(ours, world(Lmax(v_new)), values)
    near = old + (values - old).clamp(-clip, clip)
    other = 0.5 * torch.minimum((values - targets) ** 2, (near - targets) ** 2)
    same(other, world(Lmin(v_new)), values)
    assert (ours >= other).all()


# -- the objective -----------------------------------------------------------------------------------
@pytest.mark.equation("ppo-objective")
@few
@given(st.integers(1, 3), st.integers(2, 3), seeds)
def test_the_loss_of_a_batch_is_minus_the_objective(states, actions, seed):
    """A batch in which every state and action stands as often as the old policy's law says: its mean is the expectation."""
    draw = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 4, (states, actions), generator=draw)
    total = counts.sum()
    logits, ref, advantages = (rand(states, actions, seed=seed + k) for k in range(3))
    values, targets = (rand(states, seed=seed + k) for k in (3, 4))
    logits.requires_grad_(), values.requires_grad_()
    old = counts.double() / counts.sum(-1, keepdim=True)
    world = Tensors({
        θ: logits, φ: None, π: table(logits), π_ref: table(ref), π_old: lambda action, state: old[state, action],
        d_old: counts.sum(-1).double() / total, Ahat: lambda state, action: advantages[state, action], Vφ: values,
        Rhat: targets, a_: actions, s_: states, ε: 0.2, w1: 0.3, w2: 0.7, w3: 0.5,
    })
    state, action = (torch.repeat_interleave(x.flatten(), counts.flatten()) for x in torch.meshgrid(
        torch.arange(states), torch.arange(actions), indexing="ij"))
    loss, metrics = ppo_loss(
        logits.log_softmax(-1)[state, action], old.log()[state, action], advantages[state, action], values[state],
        targets[state], entropy_from_logits(logits)[state], ref_logprobs=ref.log_softmax(-1)[state, action],
        epsilon=0.2, beta=0.3, ent_coef=0.7, vf_coef=0.5)
    same(-loss, world(Lppo(θ, φ)), logits, values)
    weights = counts.sum(-1).double() / total
    for name, head in (("kl", KL), ("entropy", H), ("value_loss", LV)):
        close(metrics[name], sum(weights[k] * world(head(s_), {s_: k}) for k in range(states)).detach())
    for weight, sign in ((w1, 1), (w2, -1), (w3, 1)):  # what each weight multiplies, and with which sign
        up, down = (world(Lppo(θ, φ), {weight: x}) for x in (1, 0))
        name = {w1: "kl", w2: "entropy", w3: "value_loss"}[weight]
        close((down - up).detach(), sign * metrics[name])
