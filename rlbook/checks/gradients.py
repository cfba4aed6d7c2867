"""Checkers of scores, policy gradients and what goes into them."""

from collections.abc import Callable

import torch
from torch import Tensor

from rlbook import exact, returns
from rlbook.checks.compare import compare, derivative


def check_coin_score(fn: Callable) -> None:
    """fn(theta, x) must be d/dθ log p_θ(x) of the coin with p_θ(1) = σ(θ), elementwise (eq-score-function)."""
    generator = torch.Generator().manual_seed(1)
    for size in (1, 5):
        theta = 2 * torch.randn(size, generator=generator, dtype=torch.float64)
        x = torch.randint(0, 2, (size,), generator=generator).to(theta)
        expected = derivative(lambda z, x=x: (x * z.sigmoid().log() + (1 - x) * (-z).sigmoid().log()).sum(), theta)
        compare("the score of a coin", {"theta": theta, "x": x}, expected, fn)


def check_temperature_score(fn: Callable) -> None:
    """fn(logits, action, temperature) must be ∇ log softmax(logits / temperature)[action] (eq-softmax-score)."""
    generator = torch.Generator().manual_seed(2)
    for size, temperature in ((2, 1.0), (3, 2.0), (4, 0.5)):
        logits = torch.randn(size, generator=generator, dtype=torch.float64)
        action = torch.randint(0, size, (), generator=generator)
        expected = derivative(lambda z, c=temperature, a=action: (z / c).log_softmax(-1)[a], logits)
        inputs = {"logits": logits, "action": action, "temperature": temperature}
        compare("the score of a softmax at a temperature", inputs, expected, fn)


def check_policy_gradient_estimate(fn: Callable) -> None:
    """fn(mdp, trajectories, logits) -> [N, S·A] must be Σ_t ∇ log π_θ(a_t|s_t) R(τ) of each trajectory (eq-gradient-estimate)."""
    generator = torch.Generator().manual_seed(3)
    for horizon in (0, 1, 2):
        mdp = exact.two_state_mdp(horizon)
        logits = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        batch = exact.trajectories(mdp)
        expected = exact.policy_gradient_estimates(mdp, batch, logits)
        compare("the policy gradient of one trajectory", {"mdp": mdp, "trajectories": batch, "logits": logits}, expected, fn)


def check_sample_size(fn: Callable) -> None:
    """fn(covariance [D, D], tolerance) must be the least N with sqrt(E‖ĝ - ∇J‖²) <= tolerance (eq-sample-mean-variance)."""
    generator = torch.Generator().manual_seed(4)
    for size, tolerance in ((1, 1.0), (2, 0.5), (4, 0.03)):
        root = torch.randn(size, size, generator=generator, dtype=torch.float64)
        covariance = root @ root.T
        expected = torch.tensor(float(torch.ceil(covariance.trace() / tolerance**2)))
        compare("the number of trajectories", {"covariance": covariance, "tolerance": tolerance}, expected, fn)


def check_rewards_to_go(fn: Callable) -> None:
    """fn(rewards, gamma) must be the rewards-to-go G_t of rewards [..., T+1], in the same shape (eq-reward-to-go)."""
    generator = torch.Generator().manual_seed(6)
    cases = [(torch.tensor([1.0], dtype=torch.float64), 0.5), (torch.tensor([1.0, 10.0], dtype=torch.float64), 0.5)]
    for shape, gamma in (((5,), 0.9), ((2, 3), 1.0), ((2, 3, 7), 0.0), ((4, 20), 0.99)):
        cases.append((torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1), gamma))
    for rewards, gamma in cases:
        expected = returns.rewards_to_go(rewards, gamma=gamma)
        compare("rewards-to-go", {"rewards": rewards, "gamma": gamma}, expected, fn)


def check_state_values(fn: Callable) -> None:
    """fn(mdp, logits) must be the state values V_t(s) as a table [T+2, S], with zeros in the last row (eq-state-value)."""
    generator = torch.Generator().manual_seed(7)
    for horizon in (0, 1, 3):
        mdp = exact.two_state_mdp(horizon)
        logits = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        compare("state values", {"mdp": mdp, "logits": logits}, exact.state_values(mdp, logits), fn)


def check_two_action_baseline(fn: Callable) -> None:
    """fn(p, f0, f1) must be the best baseline b* of two actions with probabilities p and 1 - p and payoffs f0 and f1,
    elementwise (eq-optimal-baseline)."""
    generator = torch.Generator().manual_seed(8)
    for size in (1, 4):
        p = (0.1 + 0.8 * torch.rand(size, generator=generator, dtype=torch.float64)).round(decimals=2)
        f0, f1 = (torch.randint(-5, 6, (2, size), generator=generator)).to(p)
        expected = torch.stack([_best_baseline(*one) for one in zip(p, f0, f1, strict=True)])
        compare("the best baseline of two actions", {"p": p, "f0": f0, "f1": f1}, expected, fn)


def _best_baseline(p: Tensor, f0: Tensor, f1: Tensor) -> Tensor:
    logits = torch.stack([p, 1 - p]).log()[None]
    return exact.optimal_baseline(exact.bandit(torch.stack([f0, f1])), logits)[0, 0]
