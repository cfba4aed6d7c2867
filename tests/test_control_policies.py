"""Gaussian policies, initial weights and running moments, each against its definition or torch.distributions."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal

from rlbook.control import CategoricalPolicy, GaussianPolicy, ValueNetwork
from rlbook.control.networks import RewardScale, RunningMoments, tanh_network


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(moments=None) -> GaussianPolicy:
    policy = GaussianPolicy(3, 2, (8,), generator(0), moments=moments)
    torch.nn.init.normal_(policy.log_std, 0.0, 0.5, generator=generator(1))
    torch.nn.init.normal_(policy.network[-1].weight, generator=generator(2))
    return policy


@pytest.mark.equation("gaussian-policy", "gaussian-entropy")
def test_gaussian_log_probability_and_entropy():
    policy = gaussian()
    states, actions = torch.randn(5, 7, 3, generator=generator(3)), 3 * torch.randn(5, 7, 2, generator=generator(4))
    logprobs, entropy = policy.evaluate(states, actions)
    expected = Independent(Normal(policy(states), policy.log_std.exp()), 1)
    torch.testing.assert_close(logprobs, expected.log_prob(actions))
    torch.testing.assert_close(entropy, expected.entropy())
    ours = torch.autograd.grad(logprobs.sum() + 2 * entropy.sum(), policy.parameters())
    theirs = torch.autograd.grad(expected.log_prob(actions).sum() + 2 * expected.entropy().sum(), policy.parameters())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_gaussian_samples_have_its_moments():
    policy, state = gaussian(), torch.tensor([[0.3, -1.0, 2.0]])
    draws, mean, std = policy.sample(state.expand(40_000, 3), generator(5)), policy(state).detach()[0], policy.log_std.exp()
    assert draws.shape == (40_000, 2) and draws.dtype == torch.float32
    error = 4 * std.detach() / 200  # four standard deviations of the mean
    assert ((draws.mean(dim=0) - mean).abs() < error).all()
    torch.testing.assert_close(draws.std(dim=0), std.detach(), rtol=0.02, atol=0)
    assert abs(np.corrcoef(draws.T.numpy())[0, 1]) < 0.02
    assert torch.equal(policy.mode(state), policy(state).detach())
    assert torch.equal(policy.sample(state, generator(6)), policy.sample(state, generator(6)))


def test_categorical_mode_is_the_largest_logit():
    policy = CategoricalPolicy(3, 5, (8,), generator(0))
    states = torch.randn(20, 3, generator=generator(1))
    assert torch.equal(policy.mode(states), policy(states).argmax(-1))


def test_orthogonal_and_default_starts():
    orthogonal = tanh_network((6, 8, 8, 3), 0.01, generator(0))
    assert not any(layer.bias.any() for layer in orthogonal if hasattr(layer, "bias"))
    for layer, gain in ((orthogonal[0], math.sqrt(2)), (orthogonal[2], math.sqrt(2)), (orthogonal[4], 0.01)):
        weight = layer.weight.detach()
        small = weight.T @ weight if weight.shape[0] > weight.shape[1] else weight @ weight.T
        torch.testing.assert_close(small, gain**2 * torch.eye(len(small)), rtol=1e-4, atol=1e-5)
    for i, layer in enumerate(tanh_network((6, 400, 3), 0.01, generator(0), orthogonal=False)[::2]):
        limit = 1 / math.sqrt(layer.in_features)
        for values in (layer.weight.detach(), layer.bias.detach()):
            assert values.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05), i
    before = torch.manual_seed(3).get_state()
    starts = [CategoricalPolicy(3, 2, (4,), generator(1), orthogonal_init=kind)(torch.ones(3)) for kind in (True, False, False)]
    assert not torch.equal(starts[0], starts[1]) and torch.equal(starts[1], starts[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", [[1000], [1, 999], [400, 0, 1, 599]])
def test_running_moments_are_those_of_everything_so_far(parts):
    """Row 7 of PITFALLS: a mean of 1e4 and a deviation of 1, in float32."""
    x = 1e4 * torch.arange(1, 4) + torch.randn(1000, 3, generator=generator(0))
    moments = RunningMoments(3)
    assert torch.equal(moments(x[:5] / 1e4), x[:5] / 1e4 * torch.tensor(1 + 1e-8).rsqrt())  # nothing known: as it is
    for part in x.split(parts):
        moments.update(part)
    assert moments.count == 1000
    torch.testing.assert_close(moments.mean.double(), x.double().mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(moments.variance.double(), x.double().var(0, correction=0), rtol=1e-3, atol=0)
    scaled = moments(x)
    assert scaled.mean(0).abs().max() < 2e-3 and (scaled.std(0) - 1).abs().max() < 2e-3
    assert moments(torch.full((1, 3), 1e9)).tolist() == [[10.0] * 3]


def test_policy_and_critic_see_scaled_observations():
    moments = RunningMoments(3)
    plain = [GaussianPolicy(3, 2, (8,), generator(0)), ValueNetwork(3, (8,), generator(0))]
    scaled = [GaussianPolicy(3, 2, (8,), generator(0), moments=moments),
              ValueNetwork(3, (8,), generator(0), moments=moments)]
    states = 50 + 7 * torch.randn(30, 3, generator=generator(1))
    moments.update(states)
    for a, b in zip(plain, scaled, strict=True):
        assert torch.equal(a(moments(states)), b(states)) and not torch.equal(a(states), b(states))
    assert "moments.mean" in scaled[0].state_dict()


def test_rewards_are_scaled_by_the_deviation_of_the_return_so_far():
    n, steps, gamma = 3, 40, 0.9
    random = generator(0)
    rewards = 100 * torch.randn(n, steps, generator=random) + 20
    ended = torch.rand(n, steps, generator=random) < 0.2
    valid = torch.ones(n, steps, dtype=torch.bool)
    valid[:, 1:] = ~ended[:, :-1]
    ended &= valid
    valid[:, 1:] = ~ended[:, :-1]
    rewards = rewards * valid
    past, carried = [], [0.0] * n
    for t in range(steps):
        for i in range(n):
            if valid[i, t]:
                carried[i] = rewards[i, t].item() + gamma * carried[i]
                past.append(carried[i])
            if ended[i, t]:
                carried[i] = 0.0
    scale, got = RewardScale(n, gamma), []
    for part in range(0, steps, 10):
        piece = slice(part, part + 10)
        got.append(scale.scaled(rewards[:, piece], ended[:, piece], valid[:, piece]))
    deviation = np.std(past)
    torch.testing.assert_close(got[-1], (rewards[:, 30:] / deviation).clamp(-10, 10).float(), rtol=1e-4, atol=1e-5)
    assert scale.moments.count == valid.sum() and scale.carried.tolist() == pytest.approx(carried)
    assert got[0].abs().max() <= 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.evaluate(torch.ones(4, 3), torch.ones(4, 2).double()), "tensor of float32, got torch.float64"),
        (lambda p: p.evaluate(torch.ones(4, 3), torch.ones(4)), r"actions must be \(4, 2\).*got \(4,\)"),
        (lambda p: p.evaluate(torch.ones(4, 5), torch.ones(4, 2)), r"D = 3, got \(4, 5\)"),
        (lambda p: p.sample(torch.full((4, 3), torch.nan)), "outputs are not finite"),
        (lambda p: p.mode(torch.ones(3)), r"observations must be \[N, D\]"),
        (lambda p: GaussianPolicy(3, 0), "observation_size and num_actions must be"),
        (lambda p: GaussianPolicy(3, 2, orthogonal_init=1), "orthogonal_init must be True or False, got 1"),
    ],
)
def test_what_a_gaussian_policy_cannot_take_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(gaussian())
