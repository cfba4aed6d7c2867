"""Settings of PPO and of GRPO for language models."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real

from rlbook.losses import LEVELS, MODES, SURROGATES
from rlbook.returns import SCALES, check_discount, check_integer

NUMBERS = ("learning_rate", "critic_learning_rate", "temperature", "kl_coef", "beta", "epsilon", "vf_coef", "ent_coef", "gamma",
           "lam", "max_grad_norm", "epsilon_high", "delta")
CHOICES = {"lr_scheduler_type": ("constant", "linear"), "loss_type": MODES, "scale_rewards": SCALES,
           "adv_estimator": ("grpo", "rloo"), "importance_sampling_level": LEVELS, "surrogate": SURROGATES}


@dataclass(frozen=True)
class PPOConfig:
    """Settings of `ppo` for language models, under TRL's names where it has them.

    seed: of prompts, sampling, minibatches and the critic's head; max_steps: batches sampled and learned from;
    batch_size: completions per step, one for each prompt drawn; max_completion_length: tokens, at most;
    temperature: of sampling, and so of every log-probability;
    learning_rate, critic_learning_rate: of Adam, for the policy and the critic; max_grad_norm: each network's gradient
    is shortened to this length (inf: never);
    num_ppo_epochs: passes over a batch; num_mini_batches: steps of Adam per pass; micro_batch_size: completions whose
    gradients are computed at once, None for a whole minibatch: it saves memory and changes nothing else, up to rounding;
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
        check_sizes(self, "num_ppo_epochs")
        check_numbers(self, ("learning_rate", "critic_learning_rate", "temperature"), above=True)
        check_numbers(self, ("max_grad_norm", "epsilon"), above=True, most=math.inf)
        check_numbers(self, ("kl_coef", "beta", "vf_coef", "ent_coef"))
        check_discount("gamma", self.gamma)
        check_discount("lam", self.lam)
        check_flags(self, "whiten_advantages")
        if self.missing_eos_penalty is not None:
            check_number("missing_eos_penalty", self.missing_eos_penalty)
        make_plain(self)

    @property
    def passes(self) -> int:
        """num_ppo_epochs."""
        return self.num_ppo_epochs


@dataclass(frozen=True)
class GRPOConfig:
    """Settings of `grpo`, under TRL's names where it has them.

    seed: of prompts, sampling and minibatches; max_steps: batches sampled and learned from;
    batch_size: completions per step, over all ranks; num_generations: G, the completions of one prompt, so that
    batch_size / G prompts are drawn; max_completion_length: tokens, at most; temperature: of sampling, and so of every
    log-probability;
    learning_rate: of Adam; lr_scheduler_type: "constant", or "linear", which falls to 0: step k = 0, 1, ... has
    learning_rate · (1 − k / max_steps); max_grad_norm: the gradient is shortened to this length (inf: never);
    num_iterations: passes over a batch; num_mini_batches: steps of Adam per pass; micro_batch_size: completions whose
    gradients are computed at once, None for a whole minibatch: it saves memory and changes nothing else, up to rounding,
    but with bnpo;
    beta: weight of the KL to the reference in the loss; use_bias_correction_kl: weighted by the ratio, which keeps it
    unbiased after the first update; epsilon, epsilon_high: the clip range below and above 1 (inf: no clip; None: epsilon);
    delta: the largest ratio where the advantage is negative (None: no limit); surrogate: "clip", or "cispo";
    importance_sampling_level: the ratio of a "token", or of a "sequence" (GSPO); loss_type: how the loss is averaged, see
    `rlbook.losses.aggregate`, whose length in dr_grpo is max_completion_length; ent_coef: weight of the entropy;
    adv_estimator: "grpo" or "rloo"; scale_rewards: the deviation that GRPO's advantages are divided by;
    dynamic_sampling: how many more times a step draws prompts in place of groups whose rewards are all equal (DAPO);
    mask_truncated_completions: a completion that does not end counts as unscored; reward_weights: one for each reward
    function, None for 1; sharded: on several processes, each holds a part of every parameter that is trained.
    Raises ValueError for settings of another type, outside their range or not finite, for groups of one, and sizes that do
    not divide each other.
    """

    seed: int = 0
    max_steps: int = 100
    batch_size: int = 512
    num_generations: int = 8
    max_completion_length: int = 16
    temperature: float = 1.0
    learning_rate: float = 3e-4
    lr_scheduler_type: str = "constant"
    max_grad_norm: float = 1.0
    num_iterations: int = 1
    num_mini_batches: int = 2
    micro_batch_size: int | None = None
    beta: float = 0.0
    epsilon: float = 0.2
    epsilon_high: float | None = None
    delta: float | None = None
    loss_type: str = "grpo"
    scale_rewards: str = "group"
    adv_estimator: str = "grpo"
    importance_sampling_level: str = "token"
    surrogate: str = "clip"
    use_bias_correction_kl: bool = False
    ent_coef: float = 0.0
    dynamic_sampling: int = 0
    mask_truncated_completions: bool = False
    reward_weights: tuple[float, ...] | None = None
    sharded: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, "num_iterations")
        check_integer("num_generations", self.num_generations, 2)
        if self.batch_size % self.num_generations:
            raise ValueError("batch_size must be a multiple of num_generations, "
                             f"got {self.batch_size} and {self.num_generations}")
        check_integer("dynamic_sampling", self.dynamic_sampling, 0)
        check_numbers(self, ("learning_rate", "temperature"), above=True)
        check_numbers(self, ("max_grad_norm", "epsilon"), above=True, most=math.inf)
        check_numbers(self, ("beta", "ent_coef"))
        check_flags(self, "use_bias_correction_kl", "mask_truncated_completions", "sharded")
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.epsilon_high is not None:
            check_number("epsilon_high", self.epsilon_high, above=True, most=math.inf)
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        if self.delta is not None:
            check_number("delta", self.delta, above=True)
            if self.surrogate == "cispo" or not self.delta > 1 + high:
                raise ValueError(f"delta must be > 1 + epsilon_high = {1 + high}, for surrogate 'clip' alone, got {self.delta!r}")
        make_plain(self)

    @property
    def passes(self) -> int:
        """num_iterations."""
        return self.num_iterations


def make_plain(config) -> None:
    """What `Result.save` can write: floats, and a tuple of weights."""
    for name in NUMBERS:
        if getattr(config, name, None) is not None:
            object.__setattr__(config, name, float(getattr(config, name)))
    if config.reward_weights is not None:
        weights = config.reward_weights
        if not isinstance(weights, tuple | list) or not all(map(is_finite, weights)):
            raise ValueError(f"reward_weights must be finite numbers, one for each reward function, got {weights!r}")
        object.__setattr__(config, "reward_weights", tuple(map(float, weights)))


def is_finite(value: object) -> bool:
    """Whether a value is a real number that a float can hold."""
    return isinstance(value, Real) and abs(value) <= sys.float_info.max


def field_names(config: type) -> tuple[str, ...]:
    """The names of all settings."""
    return tuple(field.name for field in fields(config))


def check_sizes(config, passes: str) -> None:
    """Raise ValueError unless seed, steps and sizes are integers in their range and minibatches divide the batch."""
    check_integer("seed", config.seed, 0, 2**63 - 1)
    check_integer("max_steps", config.max_steps, 0)
    for name in ("batch_size", "max_completion_length", passes, "num_mini_batches"):
        check_integer(name, getattr(config, name), 1)
    if config.batch_size % config.num_mini_batches:
        raise ValueError("batch_size must be a multiple of num_mini_batches, "
                         f"got {config.batch_size} and {config.num_mini_batches}")
    if config.micro_batch_size is not None:
        check_integer("micro_batch_size", config.micro_batch_size, 1)


def check_numbers(config, names: Sequence[str], above: bool = False, most: float = sys.float_info.max) -> None:
    """`check_number` for several settings."""
    for name in names:
        check_number(name, getattr(config, name), above, most)


def check_number(name: str, value: float, above: bool = False, most: float = sys.float_info.max) -> None:
    """Raise ValueError unless value is a number from 0 to most, without 0 if `above`."""
    good = isinstance(value, Real) and not isinstance(value, bool) and (0 < value if above else 0 <= value) and value <= most
    if not good:
        finite = "" if math.isinf(most) else ", finite"
        raise ValueError(f"{name} must be a {'positive' if above else 'non-negative'}{finite} number, got {value!r}")


def check_flags(config, *names: str) -> None:
    """Raise ValueError unless these settings are True or False."""
    for name in names:
        if not isinstance(getattr(config, name), bool):
            raise ValueError(f"{name} must be True or False, got {getattr(config, name)!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices or not isinstance(value, str):
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
