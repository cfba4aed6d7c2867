"""How noisy is the gradient estimate of a fixed policy? The covariance of what single episodes contribute to it."""

from dataclasses import replace

import torch
from torch import Tensor

from rlbook.control import CategoricalPolicy, Episodes, Result, VPGConfig, vpg
from rlbook.control.critic import episode_values
from rlbook.control.rollouts import collect, make_envs
from rlbook.control.vpg import iteration_seed
from rlbook.control.weights import WEIGHTS, discounted_in_time
from rlbook.returns import check_integer


def gradient_contributions(policy: CategoricalPolicy, episodes: Episodes, weights: Tensor) -> Tensor:
    """What each episode contributes to the gradient estimate; their mean over the batch is ĝ.

    ĝ(τ) = Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t  (eq-general-form)

    Shapes: weights [N, T+1]; returns [N, P], P the number of the policy's parameters.
    Raises ValueError for weights of another shape than the mask.
    """
    if not isinstance(weights, Tensor) or weights.shape != episodes.mask.shape:
        given = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"weights must be {tuple(episodes.mask.shape)}, one for each step, got {given}")
    parameters, rows = list(policy.parameters()), []
    for i, length in enumerate(episodes.lengths.tolist()):
        logprobs, _ = policy.evaluate(episodes.observations[i, :length], episodes.actions[i, :length])
        gradients = torch.autograd.grad((logprobs * weights[i, :length].detach()).sum(), parameters)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)


def total_variance(contributions: Tensor) -> float:
    """tr Cov[ĝ(τ)] from N samples [N, P], divisor N − 1: the mean of N has N times less (eq-sample-mean-variance).

    Raises ValueError for fewer than two samples.
    """
    if not isinstance(contributions, Tensor) or contributions.dim() != 2 or len(contributions) < 2:
        given = tuple(contributions.shape) if isinstance(contributions, Tensor) else type(contributions).__name__
        raise ValueError(f"contributions must be [N, P] with N >= 2, got {given}")
    return contributions.double().var(dim=0).sum().item()


def squared_mean(contributions: Tensor) -> float:
    """‖E ĝ(τ)‖² without bias: ‖mean‖² − tr Cov / N, so it may come out negative. Raises as `total_variance` does."""
    noise = total_variance(contributions) / len(contributions)
    return contributions.double().mean(dim=0).square().sum().item() - noise


def noise_of_weights(run: Result, num_episodes: int, seed: int) -> dict[str, float]:
    """Variance and squared mean of ĝ(τ) under every weight of `WEIGHTS`, all on the same fresh episodes.

    run: one with a critic, whose policy and critic are used as they stand. Keys: "return", the episodes' mean return,
    and "variance/<name>" and "squared_mean/<name>" for each name.
    Raises ValueError for a run without a critic, and fewer than two episodes.
    """
    if not isinstance(run, Result) or run.critic is None:
        raise ValueError("run must be a Result with a critic, as vpg returns it for the weights 'baseline' and 'gae'")
    check_integer("num_episodes", num_episodes, 2)
    envs = make_envs(run.env_id, num_episodes, run.config.max_episode_steps)
    episodes = collect(envs, run.policy, torch.Generator().manual_seed(seed), seed)
    envs.close()
    values = episode_values(run.critic, episodes)
    found = {"return": episodes.rewards.sum().item() / num_episodes}
    for name, weight in WEIGHTS.items():
        config = replace(run.config, weights=name)
        weights = weight(episodes, values, config)
        if config.discount_time:
            weights = discounted_in_time(weights, config)
        contributions = gradient_contributions(run.policy, episodes, weights)
        found[f"variance/{name}"] = total_variance(contributions)
        found[f"squared_mean/{name}"] = squared_mean(contributions)
    return found


def noise_along_a_run(env_id: str, config: VPGConfig, iterations: list[int], num_episodes: int) -> dict[str, list[float]]:
    """`noise_of_weights` after these numbers of iterations of one run, which config.num_iterations does not limit."""
    run, rows = None, []
    for count in iterations:
        run = vpg(env_id, replace(config, num_iterations=count), resume=run)
        rows.append(noise_of_weights(run, num_episodes, iteration_seed(config.seed, 10_000 + count)))
    return {name: [row[name] for row in rows] for name in rows[0]}
