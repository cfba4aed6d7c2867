"""A run of PPO or GRPO on a language model: how it starts, is saved, loaded and taken up again."""

import copy
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from numbers import Real
from os import PathLike
from pathlib import Path

import torch

from rlbook.language.config import GRPOConfig, PPOConfig, field_names
from rlbook.language.distributed import Sharded, any_rank, gather, load_optimizer, make_learner, seed_of_rank, wait, whole, world
from rlbook.language.model import backbone_and_head
from rlbook.language.policy import Policy, as_policy, check_same_vocabulary, from_pretrained
from rlbook.language.rewards import RewardError, names
from rlbook.language.scalar import ScalarModel

STATE = ("algorithm", "config", "history", "seconds", "optimizer", "generators", "buffers", "trained")
CONFIGS = {"ppo": PPOConfig, "grpo": GRPOConfig}


@dataclass
class Result:
    """A run so far: the policy, the frozen reference and the critic, each None where the run has none (GRPO has no critic,
    and no reference unless one is given or its KL counts); one entry per step of every metric in `history`, the seconds it
    took, and what a later call needs to go on as if it had never stopped. `learner` is what is trained: the policy, or in
    GRPO with sharded=True a copy divided over the processes, whose parameters the policy gets after every step."""

    policy: Policy
    ref: Policy | None
    critic: ScalarModel | None
    config: PPOConfig | GRPOConfig
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    history: dict[str, list[float]]
    learner: Policy | Sharded
    seconds: float = 0.0
    processes: int = 1

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.history.get("num_tokens", []))

    def trained(self) -> dict[str, torch.nn.Module]:
        """The networks that are trained, by name."""
        return {"policy": self.policy.model} | ({} if self.critic is None else {"critic": self.critic})

    def models(self) -> dict[str, torch.nn.Module]:
        """All networks that the run holds, by name."""
        return self.trained() | ({} if self.ref is None else {"ref": self.ref.model})

    def record(self, metrics: dict[str, float]) -> None:
        """Add the metrics of a step to the history."""
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)

    def save(self, path: str | PathLike) -> None:
        """Write a folder which `load` reads: policy/ and ref/ as Transformers saves models (so policy/ can be used without
        rlbook), critic/ (ref/ and critic/ if the run has them), and run.pt with settings, history, optimizer, random state,
        which parameters are trained, and the models' buffers: Transformers saves no rotary frequencies, and
        model.to(bfloat16) rounds them.

        A run that is there already is replaced once the new one is complete. Every process of a run calls it; rank 0 writes, with
        the random state of each. Raises ValueError for a path that holds anything else.
        """
        optimizer, generators = whole(self.optimizer.state_dict()), gather(self.generator.get_state()[None])
        if world()[0] == 0:
            self._write(Path(path), optimizer, generators)
        wait()

    def _write(self, target: Path, optimizer: dict, generators: torch.Tensor) -> None:
        new = target.with_name(target.name + ".new")
        for folder in (target, new):
            if folder.exists() and not (folder.is_dir() and ((folder / "run.pt").is_file() or not any(folder.iterdir()))):
                raise ValueError(f"{folder} is there and holds no run: save to a new folder, or to that of a run")
            if folder == new and new.exists():
                shutil.rmtree(new)
        new.mkdir(parents=True)
        algorithm = next(name for name, kind in CONFIGS.items() if isinstance(self.config, kind))
        state = {"algorithm": algorithm, "config": asdict(self.config), "history": self.history, "seconds": self.seconds,
                 "optimizer": optimizer, "generators": generators,
                 "buffers": {name: dict(model.named_buffers()) for name, model in self.models().items()},
                 "trained": [name for name, parameter in self.policy.model.named_parameters() if parameter.requires_grad]}
        torch.save(state, new / "run.pt")
        for name in ("policy", "ref", "critic"):
            if getattr(self, name) is not None:
                getattr(self, name).save(new / name)
        if target.exists():
            shutil.rmtree(target)
        new.rename(target)


def begin(
    policy: Policy | str | PathLike, config: PPOConfig | GRPOConfig, ref: Policy | str | PathLike | None,
    critic: ScalarModel | None, functions: Sequence[Callable],
) -> Result:
    """A run before its first step: copies of the models, on the policy's device. A policy given by its path is loaded in
    float32, a reference in the policy's dtype. PPO has a critic, GRPO none; a reference is a copy of the policy unless one is
    given, and GRPO holds one only if it is given or beta is not 0. Raises ValueError for float16, and for models that do not
    fit each other."""
    given = as_policy(policy, dtype=torch.float32)
    if ref is not None:
        ref = as_policy(ref, dtype=next(given.model.parameters()).dtype)
        check_same_vocabulary(given, ref)
    elif isinstance(config, PPOConfig) or config.beta:
        ref = given
    trained = Policy(copy.deepcopy(given.model).eval(), given.tokenizer)
    frozen = ref and Policy(copy.deepcopy(ref.model).eval().requires_grad_(False).to(given.device), ref.tokenizer)
    if isinstance(config, PPOConfig):
        critic = ScalarModel.from_causal(given.model) if critic is None else copy.deepcopy(critic).requires_grad_(True)
        critic = critic.eval().to(given.device)
    check_vocabularies(trained, critic, functions)
    check_precision(trained, critic)
    learner = make_learner(trained, config)
    generator = torch.Generator().manual_seed(seed_of_rank(config.seed))
    return Result(trained, frozen, critic, config, make_optimizer(learner, critic, config), generator, {}, learner,
                  processes=world()[1])


def continued(
    policy: object, config: PPOConfig | GRPOConfig, ref: object, critic: object, functions: Sequence[Callable], resume: Result
) -> Result:
    """A copy of a run, ready to go on to config.max_steps. Raises ValueError if other settings or models are given, or reward
    functions of other names; what prompts and functions hold is not checked. max_steps may differ, unless the learning rate
    depends on it."""
    if not isinstance(resume, Result):
        raise ValueError(f"resume must be a Result, as `ppo`, `grpo` or `load` returns it, got {resume!r:.80}")
    if ref is not None or critic is not None or not (policy is None or policy is resume.policy):
        raise ValueError("a resumed run has its own policy, ref and critic: give None for each")
    falls = getattr(resume.config, "lr_scheduler_type", "constant") != "constant"
    settings = resume.config if falls else replace(resume.config, max_steps=config.max_steps)
    if config != settings:
        reason = "; a learning rate that falls to 0 at max_steps keeps its max_steps" if falls else ""
        raise ValueError(f"resume is a run with {settings}, not with {config}{reason}")
    if resume.processes != world()[1]:
        raise ValueError(f"resume is a run on {resume.processes} processes, each with random numbers of its own, and this is one "
                         f"on {world()[1]}: a new run may start from its policy")
    check_vocabularies(resume.policy, resume.critic, functions)
    recorded = {f"rewards/{name}/mean" for name in names(functions)}
    if resume.steps and recorded != {name for name in resume.history if name.startswith("rewards/")}:
        raise ValueError(f"resume is a run with other reward functions: its history lacks, or has more than, {sorted(recorded)}")
    own, frozen = (one and Policy(copy.deepcopy(one.model), one.tokenizer) for one in (resume.policy, resume.ref))
    critic = copy.deepcopy(resume.critic)
    learner = make_learner(own, config)
    optimizer = make_optimizer(learner, critic, config)
    load_optimizer(optimizer, whole(resume.optimizer.state_dict()))
    generator = torch.Generator()
    generator.set_state(resume.generator.get_state())
    return Result(own, frozen, critic, config, optimizer, generator, copy.deepcopy(resume.history), learner, resume.seconds,
                  resume.processes)


@contextmanager
def resumable(run: Result) -> Iterator[None]:
    """Gives a RewardError raised inside the run up to its last complete step, with the random state of that time.

    Nothing else may have changed by then: rewards are computed before anything is learned. An error in one process is
    raised in all of them.
    """
    state, failed = run.generator.get_state(), None
    try:
        yield
    except RewardError as error:
        failed = error
    if any_rank(failed is not None):
        run.generator.set_state(state)
        failed = failed or RewardError("a reward function raised an error in another process")
        failed.result = run
        raise failed


def load(path: str | PathLike, device: str | torch.device | None = None) -> Result:
    """Read a run that `Result.save` wrote, onto the CPU or `device`.

    Raises ValueError, naming the folder, for one without a run, one whose files are cut short or missing, and one that comes
    from another version. A single byte that has changed may go unnoticed.
    """
    folder = Path(path)
    if not (folder / "run.pt").is_file():
        raise ValueError(f"{path} holds no run: there must be run.pt and policy/ in it, and ref/ and critic/ if it had them")
    try:
        state = torch.load(folder / "run.pt", map_location="cpu", weights_only=True)
        return _restore(folder, state, device)
    except Exception as error:
        raise ValueError(f"{path} cannot be restored: {' '.join(str(error).split()) or type(error).__name__:.200}") from error


def make_optimizer(
    policy: Policy | Sharded, critic: ScalarModel | None, config: PPOConfig | GRPOConfig
) -> torch.optim.Optimizer:
    """Adam on policy and critic, each at its own rate. Raises ValueError for a policy with nothing to train."""
    trainable = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("the policy has no parameter that requires a gradient: nothing can be trained")
    groups = [{"params": trainable, "lr": config.learning_rate}]
    if critic is not None:
        groups.append({"params": list(critic.parameters()), "lr": config.critic_learning_rate})
    return torch.optim.Adam(groups)


def check_config(config: object, kind: type) -> PPOConfig | GRPOConfig:
    """The config, if it is one of this kind; else ValueError."""
    if not isinstance(config, kind):
        raise ValueError(f"config must be a {kind.__name__}, got {config!r}")
    return config


def check_vocabularies(policy: Policy, critic: ScalarModel | None, functions: Sequence[Callable]) -> None:
    """Raise ValueError unless critic and reward models have as many tokens as the policy."""
    if critic is not None and not isinstance(critic, ScalarModel):
        raise ValueError(f"critic must be a ScalarModel, got {type(critic).__name__}")
    size = backbone_and_head(policy.model)[1].weight.shape[0]
    models = {"critic": critic, **{f"reward model {k}": f for k, f in enumerate(functions) if isinstance(f, ScalarModel)}}
    for name, model in models.items():
        if model is not None and model.vocab_size != size:
            raise ValueError(f"policy and {name} must have one vocabulary, got {size} and {model.vocab_size} tokens")


def check_precision(policy: Policy, critic: ScalarModel | None) -> None:
    """Raise ValueError for parameters to be trained in float16: there Adam's ε = 1e-8 is 0, and a step 0 / 0."""
    for name, model in {"policy": policy.model, "critic": critic}.items():
        parameters = () if model is None else model.parameters()
        if any(parameter.dtype == torch.float16 and parameter.requires_grad for parameter in parameters):
            raise ValueError(f"the {name} has parameters in float16, where Adam's epsilon underflows to 0: "
                             "use float32 or bfloat16")


def check_history(history: object) -> None:
    """Raise ValueError unless history holds lists of numbers, all equally long."""
    good = isinstance(history, dict) and all(
        isinstance(values, list) and all(isinstance(x, Real) and not isinstance(x, bool) for x in values)
        for values in history.values())
    if not good or len({len(values) for values in history.values()}) > 1:
        raise ValueError("history must hold one number per step of every metric")


def mark_trained(model: torch.nn.Module, trained: object) -> None:
    """Let the parameters of these names be trained, and no other. Raises ValueError for names that the model has not."""
    parameters = dict(model.named_parameters())
    if not isinstance(trained, list) or not all(name in parameters for name in trained):
        raise ValueError(f"trained must be a list of names of the policy's parameters, got {trained!r:.80}")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)


def _restore(folder: Path, state: dict, device: str | torch.device | None) -> Result:
    kind = CONFIGS.get(state.get("algorithm")) if isinstance(state, dict) and set(state) == set(STATE) else None
    if kind is None or set(state["config"]) != set(field_names(kind)):
        raise ValueError("run.pt does not hold what this version of rlbook saves")
    check_history(state["history"])
    if not isinstance(state["seconds"], Real) or not math.isfinite(state["seconds"]):
        raise ValueError(f"seconds must be a number, got {state['seconds']!r}")
    config, held = kind(**state["config"]), state["buffers"]
    policy = from_pretrained(folder / "policy", device=device)
    ref = from_pretrained(folder / "ref", device=device) if "ref" in held else None
    critic = ScalarModel.load(folder / "critic").to(policy.device) if "critic" in held else None
    if ref is not None:
        ref.model.requires_grad_(False)
    mark_trained(policy.model, state["trained"])
    for part, model in {"policy": policy.model, "ref": ref and ref.model, "critic": critic}.items():
        for name, values in held.get(part, {}).items():
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, values.to(policy.device))
    learner = make_learner(policy, config)
    optimizer = make_optimizer(learner, critic, config)
    load_optimizer(optimizer, state["optimizer"])
    generator, states = torch.Generator(), state["generators"]
    generator.set_state(states[world()[0] % len(states)].clone())  # a row of a tensor would crash the process
    return Result(policy, ref, critic, config, optimizer, generator, state["history"], learner, state["seconds"], len(states))
