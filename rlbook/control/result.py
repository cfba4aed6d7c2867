"""A run of the vanilla policy gradient: how it starts, is saved, loaded and taken up again."""

import copy
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from os import PathLike

import numpy as np
import torch

from rlbook.control import arguments
from rlbook.control.config import VPGConfig
from rlbook.control.critic import ValueNetwork
from rlbook.control.policies import CategoricalPolicy
from rlbook.control.weights import uses_critic

METRICS = ("charts/episodic_return", "charts/episodic_length", "losses/policy_loss", "losses/entropy", "global_step")
CRITIC_METRICS = ("losses/value_loss", "losses/explained_variance")
SAVED = ("env_id", "config", "history", "seconds", "sizes", "policy", "optimizer", "generator")
CRITIC_SAVED = ("critic", "critic_optimizer")


@dataclass
class Result:
    """A run so far: the policy, one entry per iteration of every metric in `history`, the seconds it took, and what a
    later call needs to go on as if it had never stopped. The critic and its optimizer are None for weights without."""

    policy: CategoricalPolicy
    history: dict[str, list[float]]
    seconds: float
    env_id: str
    config: VPGConfig
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    critic: ValueNetwork | None = None
    critic_optimizer: torch.optim.Optimizer | None = None

    def save(self, path: str | PathLike) -> None:
        """Write parameters, optimizers, random state, history and settings to one file, which `load` reads."""
        torch.save({"env_id": self.env_id, "config": asdict(self.config), "history": self.history,
                    "seconds": self.seconds, "sizes": self.policy.sizes, **self.state()}, path)

    def parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
        """What learns, by name: networks and optimizers."""
        parts = {"policy": self.policy, "optimizer": self.optimizer}
        return parts if self.critic is None else {**parts, "critic": self.critic, "critic_optimizer": self.critic_optimizer}

    def state(self) -> dict:
        """The parameters and random state of the run as they are now, not copied."""
        return {**{name: part.state_dict() for name, part in self.parts().items()}, "generator": self.generator.get_state()}

    def set_state(self, state: dict) -> None:
        """Take over the parameters and random state of another run, as `state` gives them."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.generator.set_state(state["generator"])


def metrics(config: VPGConfig) -> tuple[str, ...]:
    """The names of what a run with these settings records."""
    return METRICS + CRITIC_METRICS if uses_critic(config.weights) else METRICS


def start(env_id: str, config: VPGConfig, observation_size: int, num_actions: int) -> Result:
    """A run before its first iteration. The policy's start and the actions do not depend on whether there is a critic."""
    device = arguments.usable_device(config.device)
    generator = torch.Generator().manual_seed(config.seed)
    policy = CategoricalPolicy(observation_size, num_actions, config.hidden_sizes, generator).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    history = {name: [] for name in metrics(config)}
    result = Result(policy, history, 0.0, env_id, config, optimizer, generator)
    if not uses_critic(config.weights):
        return result
    own = np.random.SeedSequence(config.seed, spawn_key=(1,)).generate_state(1)[0]
    critic = ValueNetwork(observation_size, config.hidden_sizes, torch.Generator().manual_seed(int(own))).to(device)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=config.critic_learning_rate)
    return replace(result, critic=critic, critic_optimizer=critic_optimizer)


def load(path: str | PathLike, device: str | None = None) -> Result:
    """Read a run that `Result.save` wrote, onto `device` if given, else where its config puts it.

    Raises ValueError, naming the file, for one that is damaged, holds something else or comes from a newer version, and
    for a device that is not there.
    """
    state = arguments.read_state(path, SAVED, SAVED + CRITIC_SAVED)
    try:
        return _restore(state, device)
    except Exception as error:
        reason = error if isinstance(error, ValueError) else arguments.in_one_line(error)
        raise ValueError(f"{path} cannot be restored: {reason}") from error


def check_run(config: VPGConfig, resume: Result | None) -> None:
    """Raise ValueError unless config is a VPGConfig and resume None or a run with a whole history."""
    if not isinstance(config, VPGConfig):
        raise ValueError(f"config must be a VPGConfig, got {config!r}")
    if resume is not None and not isinstance(resume, Result):
        raise ValueError(f"resume must be a Result, as `vpg` or `load` returns it, got {resume!r}")
    if resume is not None:
        arguments.check_history(resume.history, metrics(resume.config))


def continued(env_id: str, config: VPGConfig, resume: Result) -> Result:
    """A copy of a run, ready to go on to config.num_iterations. Raises ValueError if anything else has changed."""
    settings = replace(resume.config, num_iterations=config.num_iterations)
    if (env_id, config) != (resume.env_id, settings):
        raise ValueError(f"resume is a run of {resume.env_id} with {settings}, not of {env_id} with {config}")
    run = start(env_id, config, resume.policy.sizes[0], resume.policy.sizes[-1])
    run.set_state(copy.deepcopy(resume.state()))
    return replace(run, history=copy.deepcopy(resume.history), seconds=resume.seconds)


def _restore(state: dict, device: str | None) -> Result:
    names = [field.name for field in fields(VPGConfig)]
    arguments.check_names("config", state["config"], (), names)
    config = VPGConfig(**{**state["config"], **({} if device is None else {"device": device})})
    sizes, seconds = tuple(state["sizes"]), state["seconds"]
    arguments.check_env_id(state["env_id"])
    arguments.check_sizes("sizes", sizes)
    arguments.check_history(state["history"], metrics(config))
    parts = SAVED + CRITIC_SAVED if uses_critic(config.weights) else SAVED
    arguments.check_names(f"a run with weights {config.weights!r}", state, parts, parts)
    if len(sizes) < 2 or sizes[1:-1] != config.hidden_sizes:
        raise ValueError(f"the policy has sizes {sizes}, but its config has hidden_sizes {config.hidden_sizes}")
    if not isinstance(seconds, Real):
        raise ValueError(f"seconds must be a number, got {seconds!r}")
    result = start(state["env_id"], config, sizes[0], sizes[-1])
    result.set_state(state)
    return replace(result, history=state["history"], seconds=seconds)
