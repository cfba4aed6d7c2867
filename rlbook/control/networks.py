"""What policies and critics are made of: layers of tanh, and observations scaled by their running mean and deviation."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def tanh_network(
    sizes: Sequence[int], last_gain: float, generator: torch.Generator | None = None, orthogonal: bool = True
) -> nn.Sequential:
    """Linear layers of these sizes with tanh between them.

    Orthogonal weights of gain √2, the last of `last_gain`, and biases 0; or, if not orthogonal, PyTorch's default:
    weights and biases uniform in ±1/√inputs, whatever the layer.
    """
    layers = []
    for i, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # leaves the global random state alone
        if orthogonal:
            nn.init.orthogonal_(linear.weight, last_gain if last else math.sqrt(2), generator=generator)
            nn.init.zeros_(linear.bias)
        else:
            for parameter in (linear.weight, linear.bias):
                nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class RunningMoments(nn.Module):
    """Mean and variance, entry by entry, of all that `update` was given so far; 0 and 1 before that.

    forward(x) = clip((x − mean) / √(variance + 1e-8), −10, 10)

    The variance is the population's. Sums of squares are never subtracted: two parts are merged as in Chan et al.
    (1979), so a mean much larger than the deviation does no harm (PITFALLS 7). Buffers: mean, variance [D] float32,
    count int64: they are saved with the network that holds them, and change in `update` alone.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D], centred and scaled."""
        return ((x - self.mean) * (self.variance + 1e-8).rsqrt()).clamp(-10.0, 10.0)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in the rows of x [n, D], float32 or float64, on the CPU; none at all changes nothing."""
        if len(x) == 0:
            return
        x, old = x.double(), self.count.item()
        mean, variance = self.mean.double().cpu(), self.variance.double().cpu()
        total, shift = old + len(x), x.mean(dim=0) - mean
        squares = variance * old + x.var(dim=0, correction=0) * len(x) + shift.square() * old * len(x) / total
        self.mean.copy_(mean + shift * len(x) / total)
        self.variance.copy_(squares / total)
        self.count.fill_(total)


class RewardScale(nn.Module):
    """Rewards divided by the running deviation of the discounted return, so that the critic's targets have scale 1.

    R_t = r_t + γ (1 − end_{t-1}) R_{t-1},  r_t ← clip(r_t / √(Var[R] + 1e-8), −10, 10)

    for N environments whose episodes go on from segment to segment; R_t looks back, so no future is needed. Nothing is
    centred: that would change which policy is best where episodes end. Source: Engstrom et al. (2020), as CleanRL has it.
    """

    def __init__(self, num_envs: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.moments = RunningMoments(1)
        self.register_buffer("carried", torch.zeros(num_envs, dtype=torch.float64))

    def scaled(self, rewards: Tensor, ended: Tensor, valid: Tensor) -> Tensor:
        """The rewards [N, T+1] of the next segment, scaled, after taking them in; `ended`: whether t ends an episode."""
        past = []
        for t in range(rewards.shape[1]):
            self.carried = torch.where(valid[:, t], rewards[:, t] + self.gamma * self.carried, self.carried)
            past.append(self.carried)
            self.carried = torch.where(ended[:, t], 0.0, self.carried)
        self.moments.update(torch.stack(past, dim=1)[valid][:, None])
        return (rewards * (self.moments.variance + 1e-8).rsqrt()).clamp(-10.0, 10.0)
