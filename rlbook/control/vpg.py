"""The vanilla policy gradient, the loop that the rest of the book changes one line at a time."""

import copy
import time
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from os import PathLike

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rlbook.control import arguments
from rlbook.control.policies import CategoricalPolicy
from rlbook.control.rollouts import Episodes, collect, make_envs
from rlbook.losses import policy_gradient_loss
from rlbook.returns import check_discount, check_integer, total_returns

METRICS = ("charts/episodic_return", "charts/episodic_length", "losses/policy_loss", "losses/entropy", "global_step")
SAVED = ("env_id", "config", "history", "seconds", "sizes", "policy", "optimizer", "generator")


@dataclass(frozen=True)
class VPGConfig:
    """Settings of `vpg`, under CleanRL's names.

    seed: of the start, the actions and the environments; num_iterations: updates, one batch of episodes each;
    num_envs: |D|, episodes per update; learning_rate: α, of Adam; gamma: discount; hidden_sizes: of the policy's tanh
    layers; normalize_weights: divide Φ_t by its standard deviation over the steps of the batch, without centring it;
    max_episode_steps: None keeps the environment's limit; device: None asks `rlbook.device()`.
    Raises ValueError for settings of another type, outside their range or not finite, and for an unknown device.
    """

    seed: int = 0
    num_iterations: int = 100
    num_envs: int = 32
    learning_rate: float = 1e-2
    gamma: float = 1.0
    hidden_sizes: tuple[int, ...] = (32,)
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
        if not isinstance(self.normalize_weights, bool):
            raise ValueError(f"normalize_weights must be True or False, got {self.normalize_weights!r}")
        if self.max_episode_steps is not None:
            check_integer("max_episode_steps", self.max_episode_steps, 1)
        arguments.check_device_name(self.device)
        plain = {"hidden_sizes": tuple(self.hidden_sizes), "learning_rate": float(self.learning_rate),
                 "gamma": float(self.gamma), "device": None if self.device is None else str(self.device)}
        for name, value in plain.items():  # what `Result.save` can write
            object.__setattr__(self, name, value)


@dataclass
class Result:
    """A run so far: the policy, one entry per iteration of every metric in `history`, the seconds it took, and what a
    later call needs to go on as if it had never stopped."""

    policy: CategoricalPolicy
    history: dict[str, list[float]]
    seconds: float
    env_id: str
    config: VPGConfig
    optimizer: torch.optim.Optimizer
    generator: torch.Generator

    def save(self, path: str | PathLike) -> None:
        """Write parameters, optimizer, random state, history and settings to one file, which `load` reads."""
        state = {"env_id": self.env_id, "config": asdict(self.config), "history": self.history, "seconds": self.seconds,
                 "sizes": self.policy.sizes, "policy": self.policy.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "generator": self.generator.get_state()}
        torch.save(state, path)


def load(path: str | PathLike, device: str | None = None) -> Result:
    """Read a run that `Result.save` wrote, onto `device` if given, else where its config puts it.

    Raises ValueError, naming the file, for one that is damaged, holds something else or comes from a newer version, and
    for a device that is not there.
    """
    state = arguments.read_state(path, SAVED)
    try:
        return _restore(state, device)
    except Exception as error:
        reason = error if isinstance(error, ValueError) else arguments.in_one_line(error)
        raise ValueError(f"{path} cannot be restored: {reason}") from error


def vpg(env_id: str, config: VPGConfig | None = None, resume: Result | None = None) -> Result:
    """Maximise J(π_θ) by gradient ascent on sample means.

    ĝ = 1/|D| Σ_{τ∈D} Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t,  Φ_t = R(τ)  (eq-gradient-estimate, eq-policy-gradient)
    θ ← θ + α ĝ, each component rescaled by Adam  (eq-gradient-ascent)

    With `resume`, a copy of that run goes on to config.num_iterations; the result equals an uninterrupted run bit for
    bit, since environments are seeded anew in every iteration. Raises ValueError for an environment that `make_envs`
    refuses, for a `resume` with other settings or a broken history, and for a device that is not there. Metrics of an
    iteration: mean undiscounted return and length of its episodes, the loss, the mean entropy over their steps, and
    the steps taken so far.
    """
    config = VPGConfig() if config is None else config
    _check_run(config, resume)
    started = time.perf_counter()
    with closing(make_envs(env_id, config.num_envs, config.max_episode_steps)) as envs:
        run = _begin(env_id, config, envs) if resume is None else _continue(env_id, config, resume)
        device = next(run.policy.parameters()).device
        for iteration in tqdm(range(len(run.history["global_step"]), config.num_iterations), desc=f"vpg {env_id}"):
            seed = iteration_seed(config.seed, iteration)
            episodes = collect(envs, run.policy, run.generator, seed)
            loss, entropy = policy_gradient_step(run.policy, run.optimizer, episodes.to(device), config)
            _record(run.history, episodes, loss, entropy)
    run.seconds += time.perf_counter() - started
    return run


def policy_gradient_step(policy, optimizer, episodes, config):
    """One step of gradient ascent on a batch of episodes; returns the loss and the entropy [N, T+1], detached.

    θ ← θ + α ĝ,  ĝ = 1/|D| Σ_{τ∈D} Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t,  Φ_t = R(τ)  (eq-gradient-estimate)
    """
    # the data set D: N episodes, padded to the longest; mask says which
    # steps happened
    observations, actions, rewards, _, _, mask = episodes
    # Φ_t = R(τ), the same for each step of an episode
    weights = total_returns(rewards, mask, config.gamma)
    if config.normalize_weights:
        weights = scale_to_unit_std(weights, mask)
    # log π_θ(a_t | s_t), the one thing that is differentiated
    logprobs, entropy = policy.evaluate(observations[:, :-1], actions)
    # -log π_θ(a_t | s_t) Φ_t, summed over t, averaged over D:
    # its gradient is -ĝ
    terms = policy_gradient_loss(logprobs, weights) * mask
    loss = terms.sum() / len(mask)
    optimizer.zero_grad()
    loss.backward()
    # θ ← θ + α ĝ, as Adam averages and rescales it
    optimizer.step()
    return loss.item(), entropy.detach()


def scale_to_unit_std(weights: Tensor, mask: Tensor) -> Tensor:
    """Weights divided by their population standard deviation over the counted steps, not centred.

    Every weight is divided by one positive number, so ĝ keeps its direction and only its length changes from batch to
    batch. Where all counted weights are equal up to rounding, they are returned as they are: there is no scale.
    Raises ValueError for a mask that is not boolean, of the weights' shape and True somewhere.
    """
    if mask.dtype != torch.bool or mask.shape != weights.shape or not mask.any():
        raise ValueError(f"mask must be boolean, {tuple(weights.shape)} as the weights are, and True somewhere, "
                         f"got {mask.dtype} {tuple(mask.shape)} with {mask.sum().item()} steps")
    counted = weights[mask]
    spread = counted.std(correction=0)
    rounding = 10 * torch.finfo(weights.dtype).eps * counted.abs().max()
    return torch.where(spread > rounding, weights / spread, weights)


def iteration_seed(seed: int, iteration: int) -> int:
    """The environments' seed in one iteration, below 2^31: another for each run and iteration, and no state to save."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0] >> 1)


def _start(env_id: str, config: VPGConfig, observation_size: int, num_actions: int) -> Result:
    generator = torch.Generator().manual_seed(config.seed)
    device = arguments.usable_device(config.device)
    policy = CategoricalPolicy(observation_size, num_actions, config.hidden_sizes, generator).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    return Result(policy, {name: [] for name in METRICS}, 0.0, env_id, config, optimizer, generator)


def _restore(state: dict, device: str | None) -> Result:
    names = [field.name for field in fields(VPGConfig)]
    arguments.check_names("config", state["config"], (), names)
    config = VPGConfig(**{**state["config"], **({} if device is None else {"device": device})})
    sizes, seconds = tuple(state["sizes"]), state["seconds"]
    arguments.check_env_id(state["env_id"])
    arguments.check_sizes("sizes", sizes)
    arguments.check_history(state["history"], METRICS)
    if len(sizes) < 2 or sizes[1:-1] != config.hidden_sizes:
        raise ValueError(f"the policy has sizes {sizes}, but its config has hidden_sizes {config.hidden_sizes}")
    if not isinstance(seconds, Real):
        raise ValueError(f"seconds must be a number, got {seconds!r}")
    result = _start(state["env_id"], config, sizes[0], sizes[-1])
    result.policy.load_state_dict(state["policy"])
    result.optimizer.load_state_dict(state["optimizer"])
    result.generator.set_state(state["generator"])
    return replace(result, history=state["history"], seconds=seconds)


def _check_run(config: VPGConfig, resume: Result | None) -> None:
    if not isinstance(config, VPGConfig):
        raise ValueError(f"config must be a VPGConfig, got {config!r}")
    if resume is not None and not isinstance(resume, Result):
        raise ValueError(f"resume must be a Result, as `vpg` or `load` returns it, got {resume!r}")
    if resume is not None:
        arguments.check_history(resume.history, METRICS)


def _begin(env_id: str, config: VPGConfig, envs) -> Result:
    return _start(env_id, config, envs.single_observation_space.shape[0], int(envs.single_action_space.n))


def _continue(env_id: str, config: VPGConfig, resume: Result) -> Result:
    settings = replace(resume.config, num_iterations=config.num_iterations)
    if (env_id, config) != (resume.env_id, settings):
        raise ValueError(f"resume is a run of {resume.env_id} with {settings}, not of {env_id} with {config}")
    run = _start(env_id, config, resume.policy.sizes[0], resume.policy.sizes[-1])
    run.policy.load_state_dict(resume.policy.state_dict())
    run.optimizer.load_state_dict(copy.deepcopy(resume.optimizer.state_dict()))
    run.generator.set_state(resume.generator.get_state())
    return replace(run, history=copy.deepcopy(resume.history), seconds=resume.seconds)


def _record(history: dict, episodes: Episodes, loss: float, entropy: Tensor) -> None:
    mask, steps = episodes.mask, episodes.mask.sum().item()
    values = (episodes.rewards.sum().item() / len(mask), steps / len(mask), loss,
              (entropy.cpu() * mask).sum().item() / steps, steps + (history["global_step"] or [0])[-1])
    for name, value in zip(METRICS, values, strict=True):
        history[name].append(value)
