"""The critic: a network V_φ(s) that learns the expected reward to go of the policy, by regression."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlbook.control import arguments
from rlbook.control.networks import RunningMoments, tanh_network
from rlbook.control.rollouts import Episodes
from rlbook.control.weights import reward_to_go
from rlbook.returns import lambda_returns


class ValueNetwork(nn.Module):
    """V_φ(s): the policy's layers of tanh and one output, orthogonal weights, gain √2, 1 for the last; biases 0.

    orthogonal_init: else PyTorch's default start; moments: of the observations, which are scaled by them.

    Raises ValueError for sizes that are no positive integers, and for observations that do not fit them.
    Source: Engstrom et al. (2020), as CleanRL initialises it.
    """

    def __init__(
        self,
        observation_size: int,
        hidden_sizes: Sequence[int] = (32,),
        generator: torch.Generator | None = None,
        *,
        orthogonal_init: bool = True,
        moments: RunningMoments | None = None,
    ) -> None:
        super().__init__()
        arguments.check_sizes("hidden_sizes", hidden_sizes)
        arguments.check_sizes("observation_size", (observation_size,))
        self.sizes = (observation_size, *hidden_sizes, 1)
        self.network = tanh_network(self.sizes, 1.0, generator, orthogonal_init)
        self.moments = moments

    def forward(self, observations: Tensor) -> Tensor:
        """Values [...] of observations [..., D]."""
        arguments.check_observations(observations, self.sizes[0], self.network[0].weight.dtype)
        return self.network(observations if self.moments is None else self.moments(observations))[..., 0]


@torch.no_grad()
def episode_values(critic: ValueNetwork | None, episodes: Episodes) -> Tensor | None:
    """V_φ(s_0), ..., V_φ(s_{T+1}) [N, T+2] as constants; None without a critic. What lies behind an end means nothing."""
    return None if critic is None else critic(episodes.observations)


def critic_targets(episodes: Episodes, values: Tensor, config) -> Tensor:
    """What V_φ(s_t) is fitted to, [N, T+1]: G_t, and for "gae" the λ-return Â_t + V_φ(s_t)  (eq-lambda-return)."""
    if config.weights == "gae":
        return lambda_returns(episodes.rewards, values[..., :-1], values[..., 1:], episodes.terminated, episodes.truncated,
                              config.gamma, config.gae_lambda)
    return reward_to_go(episodes, values, config)


def critic_step(
    critic: ValueNetwork, optimizer: torch.optim.Optimizer, episodes: Episodes, values: Tensor, config
) -> tuple[float, float]:
    """Fit the critic to one batch in config.critic_epochs full-batch steps.

    L_V = 1/2 · mean over the steps of the episodes of (V_φ(s_t) − target_t)²

    values [N, T+2] are those of `episode_values`; the targets made from them are constants. Returns the loss before the
    first step and the explained variance: both judge the critic on episodes that it has not been fitted to.
    """
    observations, mask = episodes.observations[:, :-1], episodes.mask
    targets = critic_targets(episodes, values, config)[mask]
    first = None
    for _ in range(config.critic_epochs):
        loss = (critic(observations)[mask] - targets).square().mean() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = loss.detach() if first is None else first
    return first.item(), explained_variance(values[:, :-1][mask], targets)


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """Share of the targets' variance that the values explain; 0 where the targets are all equal, up to rounding.

    1 − Var[target − V] / Var[target],  at most 1, and below 0 for a critic that is worse than a constant

    Shapes: values and targets the same, at least one entry. Raises ValueError for others. Source: CleanRL.
    """
    same = isinstance(values, Tensor) and isinstance(targets, Tensor) and values.shape == targets.shape
    if not same or targets.numel() == 0 or not targets.is_floating_point():
        given = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in (values, targets)]
        raise ValueError(f"values and targets must be floating point tensors of one shape, not empty, got {given}")
    total, left = targets.var(correction=0), (targets - values).var(correction=0)
    rounding = 10 * torch.finfo(targets.dtype).eps * targets.abs().max()
    return 1 - (left / total).item() if total.sqrt() > rounding else 0.0
