"""Policies: networks that turn an observation into a distribution over actions, finitely many or real vectors."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlbook.control import arguments
from rlbook.control.networks import RunningMoments, tanh_network


class Policy(nn.Module):
    """What both kinds of policy share: the network, the checks, and drawing actions on the CPU.

    The network is `hidden_sizes` layers of tanh, orthogonal weights, gain √2, and 0.01 for the last layer; biases start
    at 0; or PyTorch's default start. With `moments`, it sees observations centred and scaled by them.
    """

    kind: str

    def __init__(
        self,
        observation_size: int,
        num_actions: int,
        hidden_sizes: Sequence[int] = (32,),
        generator: torch.Generator | None = None,
        *,
        orthogonal_init: bool = True,
        moments: RunningMoments | None = None,
    ) -> None:
        super().__init__()
        arguments.check_sizes("hidden_sizes", hidden_sizes)
        arguments.check_sizes("observation_size and num_actions", (observation_size, num_actions))
        arguments.check_bool("orthogonal_init", orthogonal_init)
        self.sizes = (observation_size, *hidden_sizes, num_actions)
        self.network = tanh_network(self.sizes, 0.01, generator, orthogonal_init)
        self.moments = moments

    def forward(self, observations: Tensor) -> Tensor:
        """The network's outputs [..., A] for observations [..., D]."""
        return self.network(observations if self.moments is None else self.moments(observations))

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One action for each observation [N, D], drawn on the CPU, where environments and `generator` live.

        Raises ValueError also if an output is not finite, as after a step that made a parameter NaN.
        """
        outputs = self._outputs(observations)
        if not outputs.isfinite().all():
            raise ValueError("the policy's outputs are not finite: its parameters or the observations are NaN or too large")
        return self.draw(outputs, generator)

    @torch.no_grad()
    def mode(self, observations: Tensor) -> Tensor:
        """The most probable action for each observation [N, D], on the CPU."""
        return self.most_probable(self._outputs(observations))

    def _outputs(self, observations: Tensor) -> Tensor:
        self._check_observations(observations)
        if observations.dim() != 2:
            raise ValueError(f"observations must be [N, D], got {tuple(observations.shape)}")
        return self(observations.to(self.network[0].weight.device)).cpu()

    def _check_observations(self, observations: Tensor) -> None:
        arguments.check_observations(observations, self.sizes[0], self.network[0].weight.dtype)

    def _check_actions(self, actions: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        if not isinstance(actions, Tensor) or actions.dtype != dtype:
            given = actions.dtype if isinstance(actions, Tensor) else type(actions).__name__
            raise ValueError(f"actions must be a tensor of {str(dtype).removeprefix('torch.')}, got {given}")
        if actions.shape != shape:
            raise ValueError(f"actions must be {tuple(shape)}, one for each observation, got {tuple(actions.shape)}")


class CategoricalPolicy(Policy):
    """A policy over finitely many actions: π_θ(a|s) = softmax(network(s))_a.

    The last layer's small weights make it start close to uniform. `generator` makes the start reproducible.
    Raises ValueError for sizes that are no positive integers, and for observations and actions that do not fit them.
    Source: Engstrom et al. (2020), as CleanRL initialises it.
    """

    kind = "categorical"

    def evaluate(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log π_θ(a|s) and the entropy H[π_θ](s) = −Σ_a π_θ(a|s) log π_θ(a|s), each of actions' shape.

        Shapes: observations [..., D] and actions [...], int64, on the policy's device; nothing is broadcast. Actions out
        of range raise ValueError on the CPU; on a GPU they are not looked at.
        """
        self._check_observations(observations)
        self._check_actions(actions, torch.int64, observations.shape[:-1])
        if actions.device.type == "cpu":  # on a GPU, to look at values would mean to wait for them
            outside = (actions < 0) | (actions >= self.sizes[-1])
            if outside.any():
                raise ValueError(f"actions must be from 0 to {self.sizes[-1] - 1}, got {actions[outside][0].item()}")
        log_policy = self(observations).log_softmax(dim=-1)
        logprobs = log_policy.gather(-1, actions[..., None])[..., 0]
        return logprobs, -(log_policy.exp() * log_policy).sum(dim=-1)

    @staticmethod
    def draw(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions [N] ~ softmax(logits [N, A]): the largest of logit_a − log e_a with e_a ~ Exp(1), the Gumbel-max trick."""
        return (logits - torch.empty_like(logits).exponential_(generator=generator).log_()).argmax(dim=-1)

    @staticmethod
    def most_probable(logits: Tensor) -> Tensor:
        """The action [N] with the largest logit."""
        return logits.argmax(dim=-1)


class GaussianPolicy(Policy):
    """A policy over actions a ∈ ℝ^A: independent normal entries, mean from the network, deviations σ = exp(log_std).

    π_θ(a|s) = Π_j N(a_j; μ_θ(s)_j, σ_j²)
    log π_θ(a|s) = −1/2 Σ_j [((a_j − μ_θ(s)_j)/σ_j)² + 2 log σ_j + log 2π]  (eq-gaussian-policy)
    H[π_θ](s) = Σ_j [log σ_j + 1/2 log 2πe]  (eq-gaussian-entropy)

    log_std is a parameter like the weights, starts at 0 and does not depend on s. Actions are unbounded; one that lies
    outside the environment's box is clipped on the way to the environment, and only there: log π_θ is that of the
    action that was drawn, so the clip is a part of the environment, and the policy gradient stays exact.
    Raises ValueError as `CategoricalPolicy` does. Source: Schulman et al. (2015), TRPO, appendix; CleanRL.
    Tests hold it to torch.distributions.
    """

    kind = "gaussian"

    def __init__(self, observation_size: int, num_actions: int, *rest, **options) -> None:
        super().__init__(observation_size, num_actions, *rest, **options)
        self.log_std = nn.Parameter(torch.zeros(num_actions))

    def evaluate(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log π_θ(a|s) and the entropy H[π_θ](s), each [...].

        Shapes: observations [..., D] and actions [..., A], float32, on the policy's device; nothing is broadcast.
        """
        self._check_observations(observations)
        self._check_actions(actions, self.log_std.dtype, (*observations.shape[:-1], self.sizes[-1]))
        scaled = (actions - self(observations)) * (-self.log_std).exp()
        logprobs = -0.5 * (scaled.square() + 2 * self.log_std + math.log(2 * math.pi)).sum(dim=-1)
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return logprobs, entropy.expand(logprobs.shape)

    def draw(self, means: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Actions [N, A]: means [N, A] + σ z, z ~ N(0, 1)."""
        noise = torch.empty_like(means).normal_(generator=generator)
        return means + self.log_std.exp().to(means.device) * noise

    @staticmethod
    def most_probable(means: Tensor) -> Tensor:
        """The mean [N, A]."""
        return means


POLICIES: dict[str, type[Policy]] = {kind.kind: kind for kind in (CategoricalPolicy, GaussianPolicy)}
