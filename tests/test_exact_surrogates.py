"""The exact surrogate and importance weights, held to sums over all trajectories and to the exact gradient."""

import math

import pytest
import torch

from rlbook import exact

MDP = exact.two_state_mdp()
OLD = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
NEW = torch.tensor([[0.9, -0.6], [-0.2, 0.1]], dtype=torch.float64)


def by_trajectories(new, old, epsilon):
    """E_old[Σ_t γ^t min(r A, clip(r) A)], one trajectory at a time."""
    every = exact.trajectories(MDP)
    p_old = exact.log_probs(MDP, every, old).exp()
    advantage = exact.look_up(MDP, every, exact.advantages(MDP, old))
    states = every.states[:, :-1]
    ratio = (new.log_softmax(-1) - old.log_softmax(-1)).exp()[states, every.actions]
    inside = ratio.clamp(1 - epsilon, 1 + epsilon)
    terms = torch.minimum(ratio * advantage, inside * advantage)
    return p_old @ (terms @ MDP.gamma ** torch.arange(MDP.horizon + 1, dtype=torch.float64))


@pytest.mark.equation("surrogate", "clipped-surrogate")
@pytest.mark.parametrize("epsilon", [0.1, 0.2, math.inf])
def test_surrogate_is_the_sum_over_trajectories(epsilon):
    assert torch.allclose(exact.surrogate(MDP, NEW, OLD, epsilon), by_trajectories(NEW, OLD, epsilon), rtol=1e-12)


@pytest.mark.equation("surrogate-gradient")
@pytest.mark.parametrize("epsilon", [0.2, math.inf])
def test_gradient_at_the_old_policy_is_the_policy_gradient(epsilon):
    logits = OLD.clone().requires_grad_()
    slope = torch.autograd.grad(exact.surrogate(MDP, logits, OLD, epsilon), logits)[0]
    assert torch.allclose(slope, exact.gradient(MDP, OLD), rtol=1e-10)


def test_surrogate_is_zero_at_the_old_policy_and_above_its_clipped_form():
    assert abs(exact.surrogate(MDP, OLD, OLD).item()) < 1e-12
    assert exact.surrogate(MDP, NEW, OLD, 0.2) < exact.surrogate(MDP, NEW, OLD)


def test_nothing_old_is_differentiated():
    old = OLD.clone().requires_grad_()
    new = NEW.clone().requires_grad_()
    exact.surrogate(MDP, new, old).backward()
    assert old.grad is None and new.grad.abs().sum() > 0


@pytest.mark.equation("trajectory-importance")
def test_weighted_returns_have_the_new_policy_as_their_mean():
    found = exact.importance_moments(MDP, NEW, OLD)
    assert torch.allclose(found.mean, exact.expected_return(MDP, NEW)[None], rtol=1e-12)
    plain = exact.importance_moments(MDP, OLD, OLD)
    alone = exact.moments(MDP, OLD, lambda batch, _: exact.returns(MDP, batch)[:, None])
    assert torch.allclose(plain.covariance, alone.covariance, rtol=1e-12)
    assert found.covariance > 0


def test_bad_logits_are_refused():
    bad = OLD.clone()
    bad[0, 0] = -math.inf
    with pytest.raises(ValueError, match="old_logits must be finite"):
        exact.surrogate(MDP, NEW, bad)
    with pytest.raises(ValueError, match="logits must be finite, got -inf"):
        exact.importance_moments(MDP, bad, OLD)
    with pytest.raises(ValueError, match=r"\[S, A\]"):
        exact.surrogate(MDP, NEW[:1], OLD)
