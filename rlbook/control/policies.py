"""Policies: networks that turn an observation into a distribution over actions; and the network itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlbook.control import arguments


def tanh_network(sizes: Sequence[int], last_gain: float, generator: torch.Generator | None = None) -> nn.Sequential:
    """Linear layers of these sizes with tanh between them; orthogonal weights of gain √2, the last of `last_gain`."""
    layers = []
    for i, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # leaves the global random state alone
        nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class CategoricalPolicy(nn.Module):
    """A policy over finitely many actions: π_θ(a|s) = softmax(network(s))_a.

    The network is `hidden_sizes` layers of tanh, orthogonal weights, gain √2, and 0.01 for the last layer, so that it
    starts close to uniform; biases start at 0. `generator` makes the start reproducible.
    Raises ValueError for sizes that are no positive integers, and for observations and actions that do not fit them.
    Source: Engstrom et al. (2020), as CleanRL initialises it.
    """

    def __init__(
        self,
        observation_size: int,
        num_actions: int,
        hidden_sizes: Sequence[int] = (32,),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        arguments.check_sizes("hidden_sizes", hidden_sizes)
        arguments.check_sizes("observation_size and num_actions", (observation_size, num_actions))
        self.sizes = (observation_size, *hidden_sizes, num_actions)
        self.network = tanh_network(self.sizes, 0.01, generator)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits [..., A] of observations [..., D]."""
        return self.network(observations)

    def evaluate(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log π_θ(a|s) and the entropy H[π_θ](s) = −Σ_a π_θ(a|s) log π_θ(a|s), each of actions' shape.

        Shapes: observations [..., D] and actions [...], int64, on the policy's device; nothing is broadcast.
        """
        self._check_observations(observations)
        self._check_actions(observations, actions)
        log_policy = self(observations).log_softmax(dim=-1)
        logprobs = log_policy.gather(-1, actions[..., None])[..., 0]
        return logprobs, -(log_policy.exp() * log_policy).sum(dim=-1)

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One action for each observation [N, D], drawn on the CPU, where environments and `generator` live.

        Raises ValueError also if a probability is not finite, as after a step that made a parameter NaN.
        """
        self._check_observations(observations)
        if observations.dim() != 2:
            raise ValueError(f"observations must be [N, D], got {tuple(observations.shape)}")
        device = self.network[0].weight.device
        probabilities = self(observations.to(device)).softmax(dim=-1).cpu()
        if not probabilities.isfinite().all():
            raise ValueError("the policy's probabilities are not finite: its parameters or the observations are NaN or too large")
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    def _check_observations(self, observations: Tensor) -> None:
        arguments.check_observations(observations, self.sizes[0], self.network[0].weight.dtype)

    def _check_actions(self, observations: Tensor, actions: Tensor) -> None:
        if not isinstance(actions, Tensor) or actions.dtype != torch.int64:
            given = actions.dtype if isinstance(actions, Tensor) else type(actions).__name__
            raise ValueError(f"actions must be a tensor of int64, got {given}")
        if actions.shape != observations.shape[:-1]:
            raise ValueError(f"actions must be {tuple(observations.shape[:-1])}, one for each observation, "
                             f"got {tuple(actions.shape)}")
        outside = (actions < 0) | (actions >= self.sizes[-1])
        if outside.any():
            raise ValueError(f"actions must be from 0 to {self.sizes[-1] - 1}, got {actions[outside][0].item()}")
