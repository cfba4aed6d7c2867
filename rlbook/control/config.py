"""Settings of the vanilla policy gradient and of PPO."""

import math
from dataclasses import dataclass

from rlbook.control import arguments
from rlbook.control.weights import WEIGHTS
from rlbook.returns import check_discount, check_integer


@dataclass(frozen=True)
class VPGConfig:
    """Settings of `vpg`, under CleanRL's names.

    seed: of the start, the actions and the environments; num_iterations: updates, one batch of episodes each;
    num_envs: |D|, episodes per update; learning_rate: α, of Adam; gamma: discount; hidden_sizes: of the tanh layers of
    the policy and of the critic; weights: Φ_t, one of `WEIGHTS`; discount_time: multiply Φ_t by γ^t, as the gradient of
    J asks unless Φ_t = R(τ) ("return" ignores it); gae_lambda: λ of "gae"; critic_learning_rate, critic_epochs: the
    critic's own Adam, and its full-batch steps per iteration, for "baseline" and "gae"; normalize_weights: divide Φ_t
    by its standard deviation over the steps of the batch, without centring it; max_episode_steps: None keeps the
    environment's limit; device: None asks `rlbook.device()`.
    Raises ValueError for settings of another type, outside their range or not finite, and for an unknown device.
    """

    seed: int = 0
    num_iterations: int = 100
    num_envs: int = 32
    learning_rate: float = 1e-2
    gamma: float = 1.0
    hidden_sizes: tuple[int, ...] = (32,)
    weights: str = "return"
    discount_time: bool = True
    gae_lambda: float = 0.95
    critic_learning_rate: float = 3e-2
    critic_epochs: int = 20
    normalize_weights: bool = False
    max_episode_steps: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        arguments.check_seed(self.seed)
        check_integer("num_iterations", self.num_iterations, 0)
        check_integer("num_envs", self.num_envs, 1)
        arguments.check_rate("learning_rate", self.learning_rate)
        check_discount("gamma", self.gamma)
        arguments.check_sizes("hidden_sizes", self.hidden_sizes)
        arguments.check_choice("weights", self.weights, tuple(WEIGHTS))
        arguments.check_bool("discount_time", self.discount_time)
        check_discount("gae_lambda", self.gae_lambda)
        arguments.check_rate("critic_learning_rate", self.critic_learning_rate)
        check_integer("critic_epochs", self.critic_epochs, 1)
        arguments.check_bool("normalize_weights", self.normalize_weights)
        if self.max_episode_steps is not None:
            check_integer("max_episode_steps", self.max_episode_steps, 1)
        arguments.check_device_name(self.device)
        numbers = ("learning_rate", "gamma", "gae_lambda", "critic_learning_rate")
        plain = {"hidden_sizes": tuple(self.hidden_sizes), "device": None if self.device is None else str(self.device),
                 **{name: float(getattr(self, name)) for name in numbers}}
        for name, value in plain.items():  # what `Result.save` can write
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class PPOConfig:
    """Settings of `ppo`, under CleanRL's names; as they stand, a recipe for CartPole.

    seed: of the start, the actions, the minibatches and the environments; total_timesteps: the budget, of which every
    iteration takes num_envs · num_steps, rounded down; learning_rate: of the one Adam for policy and critic, anneal_lr:
    falling linearly to 0 over the budget; num_envs: N; num_steps: T+1, the length of a segment; gamma, gae_lambda: γ
    and λ of Â_t; num_minibatches, update_epochs: the segment is gone through update_epochs times, each time shuffled
    and cut into num_minibatches parts; norm_adv: advantages of a minibatch centred and divided by their deviation;
    clip_coef: ε, math.inf for no clip; clip_vloss: clip the critic's step by ε as well; ent_coef, vf_coef: weights of
    the entropy and of the critic's loss, which has the factor 1/2; max_grad_norm: longest gradient, math.inf for any;
    target_kl: no further epoch once the mean of approx_kl over an epoch exceeds it, None for never; hidden_sizes: of
    the tanh layers of the policy and of the critic, which share nothing; orthogonal_init: else PyTorch's default start;
    norm_obs, norm_reward: scale observations and rewards by running moments; max_episode_steps: None keeps the
    environment's limit; device: None asks `rlbook.device()`.
    Raises ValueError for settings of another type, outside their range or not finite, more minibatches than steps in a
    segment, a budget that does not pay for one iteration (0 is allowed: no iteration), and for an unknown device.
    """

    seed: int = 0
    total_timesteps: int = 400_000
    learning_rate: float = 3e-3
    num_envs: int = 32
    num_steps: int = 64
    anneal_lr: bool = True
    gamma: float = 0.98
    gae_lambda: float = 0.9
    num_minibatches: int = 4
    update_epochs: int = 6
    norm_adv: bool = True
    clip_coef: float = 0.2
    clip_vloss: bool = False
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    hidden_sizes: tuple[int, ...] = (64, 64)
    orthogonal_init: bool = True
    norm_obs: bool = False
    norm_reward: bool = False
    max_episode_steps: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        arguments.check_seed(self.seed)
        for name in ("num_envs", "num_steps", "update_epochs", "num_minibatches"):
            check_integer(name, getattr(self, name), 1)
        check_integer("total_timesteps", self.total_timesteps, 0)
        arguments.check_rate("learning_rate", self.learning_rate)
        for name in ("gamma", "gae_lambda"):
            check_discount(name, getattr(self, name))
        for name in ("clip_coef", "max_grad_norm"):
            arguments.check_positive(name, getattr(self, name))
        for name in ("ent_coef", "vf_coef"):
            arguments.check_weight(name, getattr(self, name))
        for name in ("anneal_lr", "norm_adv", "clip_vloss", "orthogonal_init", "norm_obs", "norm_reward"):
            arguments.check_bool(name, getattr(self, name))
        if self.target_kl is not None:
            arguments.check_rate("target_kl", self.target_kl)
        arguments.check_sizes("hidden_sizes", self.hidden_sizes)
        if self.max_episode_steps is not None:
            check_integer("max_episode_steps", self.max_episode_steps, 1)
        arguments.check_device_name(self.device)
        self._check_together()
        numbers = ("learning_rate", "gamma", "gae_lambda", "clip_coef", "ent_coef", "vf_coef", "max_grad_norm")
        plain = {"hidden_sizes": tuple(self.hidden_sizes), "device": None if self.device is None else str(self.device),
                 "target_kl": None if self.target_kl is None else float(self.target_kl),
                 **{name: float(getattr(self, name)) for name in numbers}}
        for name, value in plain.items():  # what `Result.save` can write
            object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        batch = f"num_envs · num_steps = {self.batch_size}"
        if self.num_minibatches > self.batch_size:
            raise ValueError(f"num_minibatches must be at most {batch}, got {self.num_minibatches}")
        if 0 < self.total_timesteps < self.batch_size:
            raise ValueError(f"total_timesteps must be 0, or at least one iteration, {batch}, got {self.total_timesteps}")
        if self.clip_vloss and math.isinf(self.clip_coef):
            raise ValueError("clip_vloss must be False where clip_coef is infinite: there is no ε to clip the value by")

    @property
    def batch_size(self) -> int:
        """Steps of a segment, those made up at the ends of episodes included."""
        return self.num_envs * self.num_steps

    @property
    def num_iterations(self) -> int:
        """How many segments the budget pays for."""
        return self.total_timesteps // self.batch_size
