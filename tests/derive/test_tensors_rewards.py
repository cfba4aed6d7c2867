"""The bridge for groups: the advantages on the page are what `rlbook.returns` computes, and the weights what groups give."""
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.derive.advantages import Âg, Âloo, Âs, Âε, asin, mean, rate, sqrt, std, std_sample, wG
from rlbook.derive.errors import IllFormed
from rlbook.derive.language import G, grad, r, ε
from rlbook.derive.tensors import Tensors
from rlbook.returns import group_advantages, rloo_advantages

DOUBLE = torch.float64
few = settings(max_examples=20, deadline=None)
sizes, seeds = st.integers(2, 7), st.integers(0, 2**31)


def draw(*shape, seed):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def world(rewards, **more):
    """A group as the page has it: r_1, ..., r_G; nothing stands at 0."""
    nothing = torch.full((*rewards.shape[:-1], 1), math.nan, dtype=DOUBLE)
    return Tensors({r: torch.cat([nothing, rewards], -1), G: rewards.shape[-1], **more})


def each(of, rewards, **more):
    """What the page says of every completion, in a row."""
    there = world(rewards, **more)
    return torch.stack([there(of(k)) for k in range(1, rewards.shape[-1] + 1)], -1)


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


@pytest.mark.equation("grpo-advantage", "group-mean", "group-std")
@few
@given(sizes, seeds)
def test_the_advantage_of_grpo(size, seed):
    rewards = draw(2, size, seed=seed)
    close(group_advantages(rewards, ddof=0, eps=0), each(Âg, rewards))
    close(world(rewards)(mean(r)), rewards.mean(-1))
    close(world(rewards)(std(r)), rewards.std(-1, correction=0))


@pytest.mark.equation("grpo-advantage-sample", "grpo-advantage-eps", "grpo-advantage-bessel", "group-std-sample")
@few
@given(sizes, st.floats(1e-6, 1), seeds)
def test_what_the_options_change(size, eps, seed):
    rewards = draw(3, size, seed=seed)
    close(group_advantages(rewards, ddof=1, eps=0), each(Âs, rewards))
    close(group_advantages(rewards, ddof=1, eps=0), math.sqrt((size - 1) / size) * group_advantages(rewards, ddof=0, eps=0))
    close(group_advantages(rewards, ddof=0, eps=eps), each(Âε, rewards, **{}) if eps == 0 else epsilon(rewards, eps))
    close(world(rewards)(std_sample(r)), rewards.std(-1))


def epsilon(rewards, eps):
    there = Tensors({**world(rewards).values, ε: eps})
    return torch.stack([there(Âε(k)) for k in range(1, rewards.shape[-1] + 1)], -1)


@pytest.mark.equation("rloo-advantage", "rloo-rescaled", "grpo-bias")
@few
@given(sizes, seeds)
def test_the_advantage_of_rloo(size, seed):
    rewards = draw(2, size, seed=seed)
    close(rloo_advantages(rewards), each(Âloo, rewards))
    close(rloo_advantages(rewards), size / (size - 1) * group_advantages(rewards, scale="none"))


@pytest.mark.equation("grpo-advantage-mean", "grpo-advantage-std", "grpo-advantage-eps-square")
@few
@given(sizes, st.floats(1e-6, 1), seeds)
def test_mean_and_mean_square(size, eps, seed):
    rewards = draw(4, size, seed=seed)
    plain, damped = (group_advantages(rewards, ddof=0, eps=x) for x in (0, eps))
    close(plain.sum(-1), torch.zeros(4, dtype=DOUBLE))
    close((plain**2).mean(-1), torch.ones(4, dtype=DOUBLE))
    spread = rewards.std(-1, correction=0)
    close((damped**2).mean(-1), (spread / (spread + eps))**2)


@pytest.mark.equation("grpo-advantage-invariance", "grpo-advantage-equal", "grpo-advantage-equal-eps")
@few
@given(sizes, st.floats(0.1, 10), st.floats(-10, 10), seeds)
def test_units_and_equal_rewards(size, scale, shift, seed):
    rewards = draw(2, size, seed=seed)
    ours = group_advantages(rewards, ddof=0, eps=0)
    torch.testing.assert_close(group_advantages(scale * rewards + shift, ddof=0, eps=0), ours, rtol=1e-6, atol=1e-8)
    assert not group_advantages(torch.full((2, size), shift, dtype=DOUBLE)).any()


@pytest.mark.equation("grpo-advantage-right", "grpo-advantage-wrong", "grpo-binary-std", "grpo-advantage-two")
@pytest.mark.parametrize("size", [2, 3, 6])
def test_right_and_wrong_answers(size):
    for right in range(1, size):
        part = right / size
        rewards = torch.tensor([1.0] * right + [0.0] * (size - right), dtype=DOUBLE)
        ours = group_advantages(rewards, ddof=0, eps=0)
        close(ours[:right], torch.full((right,), math.sqrt((1 - part) / part), dtype=DOUBLE))
        close(ours[right:], torch.full((size - right,), -math.sqrt(part / (1 - part)), dtype=DOUBLE))
    close(group_advantages(draw(9, 2, seed=size), ddof=0, eps=0).abs(), torch.ones(9, 2, dtype=DOUBLE))


@pytest.mark.equation("grpo-utility", "grpo-weight", "grpo-no-std")
@few
@given(st.integers(2, 5), st.floats(-2, 2))
def test_the_expected_gradient_over_every_group(size, logit):
    """A policy with one logit, right with probability σ(logit): its expected gradient, with autograd, over all 2^G groups."""
    place = torch.tensor(logit, dtype=DOUBLE, requires_grad=True)
    chance = torch.stack([1 - place.sigmoid(), place.sigmoid()])
    groups = torch.tensor(list(itertools.product((0, 1), repeat=size)))
    weights = chance[groups].prod(-1).detach()
    slope = place.sigmoid().item() * (1 - place.sigmoid().item())
    for options, expected in (({"ddof": 0, "eps": 0}, Tensors({G: size, rate: chance[1].item()})(wG(G, rate)).item()),
                              ({"scale": "none"}, (size - 1) / size)):
        advantages = group_advantages(groups.to(DOUBLE), **options)
        loss = (weights * (advantages * chance.log()[groups]).mean(-1)).sum()
        found, = torch.autograd.grad(loss, place, retain_graph=True)
        assert math.isclose(found.item(), expected * slope, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.equation("grpo-weight-2", "grpo-weight-3", "grpo-arcsin")
@few
@given(st.floats(0.01, 0.99))
def test_weights_of_small_groups_and_their_limit(p):
    where = torch.tensor(p, dtype=DOUBLE)
    there = Tensors({rate: where, G: 400})
    close(there(wG(2, rate)), torch.ones((), dtype=DOUBLE))
    close(there(wG(3, rate)), torch.tensor(math.sqrt(2), dtype=DOUBLE))
    assert there(asin(sqrt(rate))).item() == pytest.approx(math.asin(math.sqrt(p)))
    limit = 1 / math.sqrt(p * (1 - p))
    assert there(wG(G, rate)).item() < limit
    assert Tensors({rate: 0.5, G: 400})(wG(G, rate)).item() == pytest.approx(2, rel=5e-3)


def test_a_place_without_a_reward_is_an_error():
    with pytest.raises(IllFormed, match="off a tensor"):
        world(draw(3, seed=1))(Âg(4))
    with pytest.raises(IllFormed, match="a gradient along"):
        Tensors({rate: 0.5})(grad(asin(sqrt(rate)), rate))
