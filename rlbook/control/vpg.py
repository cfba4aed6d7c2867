"""The vanilla policy gradient, the loop that the rest of the book changes one line at a time."""

import copy
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from os import PathLike

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import rlbook
from rlbook.control.policies import CategoricalPolicy
from rlbook.control.rollouts import Episodes, collect, make_envs
from rlbook.losses import policy_gradient_loss
from rlbook.returns import total_returns

METRICS = ("charts/episodic_return", "charts/episodic_length", "losses/policy_loss", "losses/entropy", "global_step")


@dataclass(frozen=True)
class VPGConfig:
    """Settings of `vpg`, under CleanRL's names.

    seed: of the start, the actions and the environments; num_iterations: updates, one batch of episodes each;
    num_envs: |D|, episodes per update; learning_rate: α, of Adam; gamma: discount; hidden_sizes: of the policy's tanh
    layers; normalize_weights: divide Φ_t by its standard deviation over the steps of the batch, without centring it;
    max_episode_steps: None keeps the environment's limit; device: None asks `rlbook.device()`.
    Raises ValueError for settings outside their range.
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
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        for name, least in (("seed", 0), ("num_iterations", 0), ("num_envs", 1), ("max_episode_steps", 1)):
            value = getattr(self, name)
            optional = name == "max_episode_steps" and value is None
            if not optional and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate!r}")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], got {self.gamma!r}")
        if any(not isinstance(size, int) or size < 1 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive integers, got {self.hidden_sizes!r}")


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
    """Read a run that `Result.save` wrote, onto `device` if given, else where its config puts it."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    config = VPGConfig(**state["config"])
    config = config if device is None else replace(config, device=device)
    result = _start(state["env_id"], config, state["sizes"][0], state["sizes"][-1])
    result.policy.load_state_dict(state["policy"])
    result.optimizer.load_state_dict(state["optimizer"])
    result.generator.set_state(state["generator"])
    return replace(result, history=state["history"], seconds=state["seconds"])


def vpg(env_id: str, config: VPGConfig | None = None, resume: Result | None = None) -> Result:
    """Maximise J(π_θ) by gradient ascent on sample means.

    ĝ = 1/|D| Σ_{τ∈D} Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t,  Φ_t = R(τ)  (eq-gradient-estimate, eq-policy-gradient)
    θ ← θ + α ĝ, each component rescaled by Adam  (eq-gradient-ascent)

    With `resume`, a copy of that run goes on to config.num_iterations; the result equals an uninterrupted run bit for
    bit, since environments are seeded anew in every iteration. Raises ValueError for an environment that `make_envs`
    refuses and for a `resume` with other settings. Metrics of an iteration: mean undiscounted return and length of its
    episodes, the loss, the mean entropy over their steps, and the steps taken so far.
    """
    config = config or VPGConfig()
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
    # θ ← θ + α ĝ, each component rescaled by Adam
    optimizer.step()
    return loss.item(), entropy.detach()


def scale_to_unit_std(weights: Tensor, mask: Tensor) -> Tensor:
    """Weights divided by their population standard deviation over the counted steps, not centred.

    Every weight is divided by one positive number, so ĝ keeps its direction and only its length changes from batch to
    batch. Where all counted weights are equal up to rounding, they are returned as they are: there is no scale.
    """
    counted = weights[mask]
    spread = counted.std(correction=0)
    rounding = 10 * torch.finfo(weights.dtype).eps * counted.abs().max()
    return torch.where(spread > rounding, weights / spread, weights)


def iteration_seed(seed: int, iteration: int) -> int:
    """The environments' seed in one iteration, below 2^31: another for each run and iteration, and no state to save."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0] >> 1)


def _start(env_id: str, config: VPGConfig, observation_size: int, num_actions: int) -> Result:
    generator = torch.Generator().manual_seed(config.seed)
    device = rlbook.device() if config.device is None else torch.device(config.device)
    policy = CategoricalPolicy(observation_size, num_actions, config.hidden_sizes, generator).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    return Result(policy, {name: [] for name in METRICS}, 0.0, env_id, config, optimizer, generator)


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
