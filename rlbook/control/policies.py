"""Policies: networks that turn an observation into a distribution over actions."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CategoricalPolicy(nn.Module):
    """A policy over finitely many actions: π_θ(a|s) = softmax(network(s))_a.

    The network is `hidden_sizes` layers of tanh, orthogonal weights, gain √2, and 0.01 for the last layer, so that it
    starts close to uniform; biases start at 0. `generator` makes the start reproducible.
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
        self.sizes = (observation_size, *hidden_sizes, num_actions)
        layers = []
        for i, (inputs, outputs) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            last = i == len(self.sizes) - 2
            linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # leaves the global random state alone
            nn.init.orthogonal_(linear.weight, 0.01 if last else math.sqrt(2), generator=generator)
            nn.init.zeros_(linear.bias)
            layers += [linear] if last else [linear, nn.Tanh()]
        self.network = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits [..., A] of observations [..., D]."""
        return self.network(observations)

    def evaluate(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log π_θ(a|s) and the entropy H[π_θ](s) = −Σ_a π_θ(a|s) log π_θ(a|s), each of actions' shape."""
        log_policy = self(observations).log_softmax(dim=-1)
        logprobs = log_policy.gather(-1, actions[..., None])[..., 0]
        return logprobs, -(log_policy.exp() * log_policy).sum(dim=-1)

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One action for each observation [N, D], drawn on the CPU, where environments and `generator` live."""
        device = self.network[0].weight.device
        probabilities = self(observations.to(device)).softmax(dim=-1).cpu()
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
