"""Settings of PPO for language models."""

import math
import sys
from dataclasses import dataclass, fields
from numbers import Real

from rlbook.returns import check_discount, check_integer

NUMBERS = ("learning_rate", "critic_learning_rate", "temperature", "kl_coef", "beta", "epsilon", "vf_coef", "ent_coef", "gamma",
           "lam", "max_grad_norm")


@dataclass(frozen=True)
class PPOConfig:
    """Settings of `ppo` for language models, under TRL's names where it has them.

    seed: of prompts, sampling, minibatches and the critic's head; max_steps: batches sampled and learned from;
    batch_size: completions per step, one for each prompt drawn; max_completion_length: tokens, at most;
    temperature: of sampling, and so of every log-probability;
    learning_rate, critic_learning_rate: of Adam, for the policy and the critic; max_grad_norm: each network's gradient
    is shortened to this length (inf: never);
    num_ppo_epochs: passes over a batch; num_mini_batches: steps of Adam per pass; micro_batch_size: completions whose
    gradients are computed at once, None for a whole minibatch: it saves memory and changes nothing else;
    epsilon: the clip range (inf: no clip); kl_coef: weight of the KL to the reference in the reward, beta: in the loss;
    vf_coef: of the critic's loss (0 freezes the critic); ent_coef: of the entropy;
    gamma, lam: of the advantages; whiten_advantages: mean 0 and variance 1 over the tokens of a batch;
    missing_eos_penalty: subtracted from the score of a completion that does not end, None for nothing;
    reward_weights: one for each reward function, None for 1.
    Raises ValueError for settings of another type, outside their range or not finite.
    """

    seed: int = 0
    max_steps: int = 100
    batch_size: int = 128
    max_completion_length: int = 16
    temperature: float = 1.0
    learning_rate: float = 5e-4
    critic_learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    num_ppo_epochs: int = 2
    num_mini_batches: int = 2
    micro_batch_size: int | None = None
    epsilon: float = 0.2
    kl_coef: float = 0.05
    beta: float = 0.0
    vf_coef: float = 0.5
    ent_coef: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    whiten_advantages: bool = True
    missing_eos_penalty: float | None = None
    reward_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, 2**63 - 1)
        check_integer("max_steps", self.max_steps, 0)
        for name in ("batch_size", "max_completion_length", "num_ppo_epochs", "num_mini_batches"):
            check_integer(name, getattr(self, name), 1)
        if self.batch_size % self.num_mini_batches:
            raise ValueError("batch_size must be a multiple of num_mini_batches, "
                             f"got {self.batch_size} and {self.num_mini_batches}")
        if self.micro_batch_size is not None:
            check_integer("micro_batch_size", self.micro_batch_size, 1)
        for name in ("learning_rate", "critic_learning_rate", "temperature"):
            check_number(name, getattr(self, name), above=True)
        for name in ("max_grad_norm", "epsilon"):
            check_number(name, getattr(self, name), above=True, most=math.inf)
        for name in ("kl_coef", "beta", "vf_coef", "ent_coef"):
            check_number(name, getattr(self, name))
        check_discount("gamma", self.gamma)
        check_discount("lam", self.lam)
        if not isinstance(self.whiten_advantages, bool):
            raise ValueError(f"whiten_advantages must be True or False, got {self.whiten_advantages!r}")
        if self.missing_eos_penalty is not None:
            check_number("missing_eos_penalty", self.missing_eos_penalty)
        self._make_plain()

    def _make_plain(self) -> None:
        """What `Result.save` can write: floats, and a tuple of weights."""
        for name in NUMBERS:
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.reward_weights is not None:
            weights = self.reward_weights
            if not isinstance(weights, tuple | list) or not all(map(is_finite, weights)):
                raise ValueError(f"reward_weights must be finite numbers, one for each reward function, got {weights!r}")
            object.__setattr__(self, "reward_weights", tuple(map(float, weights)))


def is_finite(value: object) -> bool:
    """Whether a value is a real number that a float can hold."""
    return isinstance(value, Real) and abs(value) <= sys.float_info.max


NAMES = tuple(field.name for field in fields(PPOConfig))


def check_number(name: str, value: float, above: bool = False, most: float = sys.float_info.max) -> None:
    """Raise ValueError unless value is a number from 0 to most, without 0 if `above`."""
    good = isinstance(value, Real) and not isinstance(value, bool) and (0 < value if above else 0 <= value) and value <= most
    if not good:
        finite = "" if math.isinf(most) else ", finite"
        raise ValueError(f"{name} must be a {'positive' if above else 'non-negative'}{finite} number, got {value!r}")
