"""A run of an algorithm of this package: how it starts, is saved, loaded and taken up again."""

import copy
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from os import PathLike

import numpy as np
import torch

from rlbook.control import arguments
from rlbook.control.config import PPOConfig, VPGConfig
from rlbook.control.critic import ValueNetwork
from rlbook.control.networks import RewardScale, RunningMoments
from rlbook.control.policies import POLICIES, Policy
from rlbook.control.record import Record
from rlbook.control.weights import uses_critic

METRICS = ("charts/episodic_return", "charts/episodic_length", "losses/policy_loss", "losses/entropy", "global_step")
CRITIC_METRICS = ("losses/value_loss", "losses/explained_variance")
PPO_METRICS = METRICS + CRITIC_METRICS + ("losses/approx_kl", "losses/clipfrac", "losses/max_ratio", "learning_rate")
CONFIGS = {"vpg": VPGConfig, "ppo": PPOConfig}
SAVED = ("algorithm", "env_id", "config", "history", "seconds", "sizes", "kind", "policy", "optimizer", "generator")
CRITIC_SAVED = ("critic", "critic_optimizer")
PPO_SAVED = ("critic", "record")
OPTIONAL = ("reward_scale",)


@dataclass
class Result:
    """A run so far: the policy, one entry per iteration of every metric in `history`, the seconds it took, and what a
    later call needs to go on as if it had never stopped.

    critic: None for weights without; critic_optimizer: None where one optimizer has the parameters of both; record: what
    happened in environments that go on from iteration to iteration, None where each starts anew; reward_scale: None
    unless rewards are normalised.
    """

    policy: Policy
    history: dict[str, list[float]]
    seconds: float
    env_id: str
    config: VPGConfig | PPOConfig
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    critic: ValueNetwork | None = None
    critic_optimizer: torch.optim.Optimizer | None = None
    record: Record | None = None
    reward_scale: RewardScale | None = None

    @property
    def episodes(self) -> dict[str, list]:
        """Of every episode that ended, in order: "global_step" of its end, "return" and "length"; see `Record`.

        Raises ValueError for a run of `vpg`, which keeps no more than the means in `history`.
        """
        if self.record is None:
            raise ValueError("a run of vpg has no list of episodes, but their means in history")
        return self.record.episodes

    @property
    def sps(self) -> float:
        """Environment steps per second, learning included (charts/SPS); 0 before the first. Not in `history`, which is
        the same for equal runs."""
        steps = self.history["global_step"]
        return steps[-1] / self.seconds if steps and self.seconds else 0.0

    def save(self, path: str | PathLike) -> None:
        """Write parameters, optimizers, random state, history and settings to one file, which `load` reads."""
        torch.save({"algorithm": _algorithm(self.config), "env_id": self.env_id, "config": asdict(self.config),
                    "history": self.history, "seconds": self.seconds, "sizes": self.policy.sizes, "kind": self.policy.kind,
                    **self.state()}, path)

    def networks(self) -> dict[str, torch.nn.Module]:
        """What has a state_dict and is no optimizer, by name."""
        parts = {"policy": self.policy, "critic": self.critic, "reward_scale": self.reward_scale}
        return {name: part for name, part in parts.items() if part is not None}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers, by name."""
        parts = {"optimizer": self.optimizer, "critic_optimizer": self.critic_optimizer}
        return {name: part for name, part in parts.items() if part is not None}

    def state(self) -> dict:
        """The parameters and random state of the run as they are now, not copied. Of an optimizer, what it has summed up:
        its settings are those of the config."""
        record = {} if self.record is None else {"record": self.record.state()}
        return {**{name: part.state_dict() for name, part in self.networks().items()},
                **{name: part.state_dict()["state"] for name, part in self.optimizers().items()},
                "generator": self.generator.get_state(), **record}

    def set_state(self, state: dict) -> None:
        """Take over the parameters and random state that `state` gave of another run, whose history this one has already.

        Raises ValueError for an optimizer of other parameters, and what PyTorch raises for other networks.
        """
        for name, part in self.networks().items():
            part.load_state_dict(state[name])
        for name, part in self.optimizers().items():
            arguments.check_adam(name, state[name], part.param_groups[0]["params"], len(self.history["global_step"]) > 0)
            part.load_state_dict({"state": state[name], "param_groups": part.state_dict()["param_groups"]})
        self.generator.set_state(state["generator"])
        if self.record is not None:
            self.record.set_state(state["record"])


def metrics(config: VPGConfig | PPOConfig) -> tuple[str, ...]:
    """The names of what a run with these settings records."""
    if isinstance(config, PPOConfig):
        return PPO_METRICS
    return METRICS + CRITIC_METRICS if uses_critic(config.weights) else METRICS


def start(env_id: str, config: VPGConfig | PPOConfig, kind: str, sizes: tuple[int, int]) -> Result:
    """A run before its first iteration, with a policy of that kind, which takes and gives so many numbers.

    The policy's start and the actions do not depend on whether there is a critic, whose start has a seed of its own.
    """
    device = arguments.usable_device(config.device)
    generator = torch.Generator().manual_seed(config.seed)
    own = torch.Generator().manual_seed(int(np.random.SeedSequence(config.seed, spawn_key=(1,)).generate_state(1)[0]))
    history = {name: [] for name in metrics(config)}
    begin = _start_ppo if isinstance(config, PPOConfig) else _start_vpg
    return replace(begin(config, kind, sizes, generator, own, device), history=history, env_id=env_id)


def _start_vpg(config, kind, sizes, generator, own, device) -> Result:
    policy = POLICIES[kind](*sizes, config.hidden_sizes, generator).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    result = Result(policy, {}, 0.0, "", config, optimizer, generator)
    if not uses_critic(config.weights):
        return result
    critic = ValueNetwork(sizes[0], config.hidden_sizes, own).to(device)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=config.critic_learning_rate)
    return replace(result, critic=critic, critic_optimizer=critic_optimizer)


def _start_ppo(config, kind, sizes, generator, own, device) -> Result:
    options = {"orthogonal_init": config.orthogonal_init, "moments": RunningMoments(sizes[0]) if config.norm_obs else None}
    policy = POLICIES[kind](*sizes, config.hidden_sizes, generator, **options).to(device)
    critic = ValueNetwork(sizes[0], config.hidden_sizes, own, **options).to(device)
    optimizer = _adam([*policy.parameters(), *critic.parameters()], config.learning_rate, device)
    scale = RewardScale(config.num_envs, config.gamma) if config.norm_reward else None
    return Result(policy, {}, 0.0, "", config, optimizer, generator, critic, None, Record(config.num_envs), scale)


def _adam(parameters: list, learning_rate: float, device: torch.device) -> torch.optim.Optimizer:
    """Adam with CleanRL's ε, in one kernel where this PyTorch has that for the device."""
    try:
        return torch.optim.Adam(parameters, lr=learning_rate, eps=1e-5, fused=device.type in ("cpu", "cuda"))
    except RuntimeError:
        return torch.optim.Adam(parameters, lr=learning_rate, eps=1e-5)


def load(path: str | PathLike, device: str | None = None) -> Result:
    """Read a run that `Result.save` wrote, onto `device` if given, else where its config puts it.

    Raises ValueError, naming the file, for one that is cut short, holds something else or comes from a newer version, and
    for a device that is not there.
    """
    state = arguments.read_state(path, SAVED, SAVED + CRITIC_SAVED + PPO_SAVED + OPTIONAL)
    try:
        return _restore(state, device)
    except Exception as error:
        reason = error if isinstance(error, ValueError) else arguments.in_one_line(error)
        raise ValueError(f"{path} cannot be restored: {reason}") from error


def check_run(config: VPGConfig | PPOConfig, needed: type, resume: Result | None) -> None:
    """Raise ValueError unless config has the type needed and resume is None or a run of it with a whole history."""
    if not isinstance(config, needed):
        raise ValueError(f"config must be a {needed.__name__}, got {config!r}")
    if resume is None:
        return
    if not isinstance(resume, Result) or not isinstance(resume.config, needed):
        raise ValueError(f"resume must be a Result with a {needed.__name__}, as `{_algorithm(config)}` or `load` returns it, "
                         f"got {resume!r}")
    arguments.check_history(resume.history, metrics(resume.config))


def continued(env_id: str, config: VPGConfig | PPOConfig, resume: Result) -> Result:
    """A copy of a run, ready to go on to config's budget. Raises ValueError if anything but that has changed."""
    budget = "total_timesteps" if isinstance(config, PPOConfig) else "num_iterations"
    settings = replace(resume.config, **{budget: getattr(config, budget)})
    if (env_id, config) != (resume.env_id, settings):
        raise ValueError(f"resume is a run of {resume.env_id} with {settings}, not of {env_id} with {config}")
    run = start(env_id, config, resume.policy.kind, (resume.policy.sizes[0], resume.policy.sizes[-1]))
    run = replace(run, history=copy.deepcopy(resume.history), seconds=resume.seconds)
    run.set_state(copy.deepcopy(resume.state()))
    return run


def _algorithm(config: VPGConfig | PPOConfig) -> str:
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def _restore(state: dict, device: str | None) -> Result:
    for name, choices in (("algorithm", CONFIGS), ("kind", POLICIES)):
        arguments.check_choice(name, state[name], tuple(choices))
    kind = CONFIGS[state["algorithm"]]
    arguments.check_names("config", state["config"], (), [field.name for field in fields(kind)])
    config = kind(**{**state["config"], **({} if device is None else {"device": device})})
    sizes, seconds = tuple(state["sizes"]), state["seconds"]
    arguments.check_env_id(state["env_id"])
    arguments.check_sizes("sizes", sizes)
    arguments.check_history(state["history"], metrics(config))
    _check_parts(config, state)
    if len(sizes) < 2 or sizes[1:-1] != config.hidden_sizes:
        raise ValueError(f"the policy has sizes {sizes}, but its config has hidden_sizes {config.hidden_sizes}")
    if not isinstance(seconds, Real):
        raise ValueError(f"seconds must be a number, got {seconds!r}")
    result = start(state["env_id"], config, state["kind"], (sizes[0], sizes[-1]))
    result = replace(result, history=state["history"], seconds=seconds)
    result.set_state(state)
    return result


def _check_parts(config: VPGConfig | PPOConfig, state: dict) -> None:
    if isinstance(config, PPOConfig):
        parts, what = SAVED + PPO_SAVED + (OPTIONAL if config.norm_reward else ()), "a run of ppo"
    else:
        parts = SAVED + CRITIC_SAVED if uses_critic(config.weights) else SAVED
        what = f"a run with weights {config.weights!r}"
    arguments.check_names(what, state, parts, parts)
