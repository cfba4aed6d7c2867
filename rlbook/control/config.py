"""Settings of the vanilla policy gradient."""

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
