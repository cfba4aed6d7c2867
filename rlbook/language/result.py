"""A run of PPO on a language model: how it starts, is saved, loaded and taken up again."""

import copy
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from os import PathLike
from pathlib import Path

import torch

from rlbook.language.config import NAMES, PPOConfig
from rlbook.language.model import backbone_and_head
from rlbook.language.policy import Policy, as_policy, check_same_vocabulary, from_pretrained
from rlbook.language.rewards import names
from rlbook.language.scalar import ScalarModel

STATE = ("config", "history", "seconds", "optimizer", "generator", "buffers", "trained")


@dataclass
class Result:
    """A run so far: the policy, the frozen reference, the critic, one entry per step of every metric in `history`, the
    seconds it took, and what a later call needs to go on as if it had never stopped."""

    policy: Policy
    ref: Policy
    critic: ScalarModel
    config: PPOConfig
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    history: dict[str, list[float]]
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.history.get("num_tokens", []))

    def models(self) -> dict[str, torch.nn.Module]:
        """The three networks by name."""
        return {"policy": self.policy.model, "ref": self.ref.model, "critic": self.critic}

    def record(self, metrics: dict[str, float]) -> None:
        """Add the metrics of a step to the history."""
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)

    def save(self, path: str | PathLike) -> None:
        """Write a folder which `load` reads: policy/ and ref/ as Transformers saves models (so policy/ can be used without
        rlbook), critic/, and run.pt with settings, history, optimizer, random state, which parameters are trained, and the
        models' buffers: Transformers saves no rotary frequencies, and model.to(bfloat16) rounds them.

        A run that is there already is replaced once the new one is complete. Raises ValueError for a path that holds
        anything else.
        """
        target = Path(path)
        new = target.with_name(target.name + ".new")
        for folder in (target, new):
            if folder.exists() and not (folder.is_dir() and ((folder / "run.pt").is_file() or not any(folder.iterdir()))):
                raise ValueError(f"{folder} is there and holds no run: save to a new folder, or to that of a run")
            if folder == new and new.exists():
                shutil.rmtree(new)
        new.mkdir(parents=True)
        state = {"config": asdict(self.config), "history": self.history, "seconds": self.seconds,
                 "optimizer": self.optimizer.state_dict(), "generator": self.generator.get_state(),
                 "buffers": {name: dict(model.named_buffers()) for name, model in self.models().items()},
                 "trained": [name for name, parameter in self.policy.model.named_parameters() if parameter.requires_grad]}
        torch.save(state, new / "run.pt")
        self.policy.save(new / "policy")
        self.ref.save(new / "ref")
        self.critic.save(new / "critic")
        if target.exists():
            shutil.rmtree(target)
        new.rename(target)


def begin(
    policy: Policy | str | PathLike, config: PPOConfig, ref: Policy | str | PathLike | None, critic: ScalarModel | None,
    functions: Sequence[Callable],
) -> Result:
    """A run before its first step: copies of the models, on the policy's device. A policy given by its path is loaded in
    float32, a reference in the policy's dtype. Raises ValueError for float16, and for models that do not fit each other."""
    given = as_policy(policy, dtype=torch.float32)
    ref = given if ref is None else as_policy(ref, dtype=next(given.model.parameters()).dtype)
    check_same_vocabulary(given, ref)
    trained = Policy(copy.deepcopy(given.model).eval(), given.tokenizer)
    frozen = Policy(copy.deepcopy(ref.model).eval().requires_grad_(False).to(given.device), ref.tokenizer)
    critic = ScalarModel.from_causal(given.model) if critic is None else copy.deepcopy(critic).requires_grad_(True)
    check_vocabularies(trained, critic, functions)
    check_precision(trained, critic)
    critic = critic.eval().to(given.device)
    generator = torch.Generator().manual_seed(config.seed)
    return Result(trained, frozen, critic, config, make_optimizer(trained, critic, config), generator, {})


def continued(
    policy: object, config: PPOConfig, ref: object, critic: object, functions: Sequence[Callable], resume: Result
) -> Result:
    """A copy of a run, ready to go on to config.max_steps. Raises ValueError if other settings or models are given, or reward
    functions of other names; what prompts and functions hold is not checked."""
    if not isinstance(resume, Result):
        raise ValueError(f"resume must be a Result, as `ppo` or `load` returns it, got {resume!r:.80}")
    if ref is not None or critic is not None or not (policy is None or policy is resume.policy):
        raise ValueError("a resumed run has its own policy, ref and critic: give None for each")
    settings = replace(resume.config, max_steps=config.max_steps)
    if config != settings:
        raise ValueError(f"resume is a run with {settings}, not with {config}")
    check_vocabularies(resume.policy, resume.critic, functions)
    recorded = {f"rewards/{name}/mean" for name in names(functions)}
    if resume.steps and recorded != {name for name in resume.history if name.startswith("rewards/")}:
        raise ValueError(f"resume is a run with other reward functions: its history lacks, or has more than, {sorted(recorded)}")
    own, frozen = (Policy(copy.deepcopy(one.model), one.tokenizer) for one in (resume.policy, resume.ref))
    critic = copy.deepcopy(resume.critic)
    optimizer = make_optimizer(own, critic, config)
    optimizer.load_state_dict(copy.deepcopy(resume.optimizer.state_dict()))
    generator = torch.Generator()
    generator.set_state(resume.generator.get_state())
    return Result(own, frozen, critic, config, optimizer, generator, copy.deepcopy(resume.history), resume.seconds)


def load(path: str | PathLike, device: str | torch.device | None = None) -> Result:
    """Read a run that `Result.save` wrote, onto the CPU or `device`.

    Raises ValueError, naming the folder, for one without a run, one whose files are cut short or missing, and one that comes
    from another version. A single byte that has changed may go unnoticed.
    """
    folder = Path(path)
    if not (folder / "run.pt").is_file():
        raise ValueError(f"{path} holds no run: there must be run.pt, policy/, ref/ and critic/ in it")
    try:
        state = torch.load(folder / "run.pt", map_location="cpu", weights_only=True)
        return _restore(folder, state, device)
    except Exception as error:
        raise ValueError(f"{path} cannot be restored: {' '.join(str(error).split()) or type(error).__name__:.200}") from error


def make_optimizer(policy: Policy, critic: ScalarModel, config: PPOConfig) -> torch.optim.Optimizer:
    """Adam on both networks, each at its own rate. Raises ValueError for a policy with nothing to train."""
    trainable = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError("the policy has no parameter that requires a gradient: nothing can be trained")
    groups = [{"params": trainable, "lr": config.learning_rate},
              {"params": list(critic.parameters()), "lr": config.critic_learning_rate}]
    return torch.optim.Adam(groups)


def check_config(config: object) -> PPOConfig:
    """The config, if it is one; else ValueError."""
    if not isinstance(config, PPOConfig):
        raise ValueError(f"config must be a PPOConfig, got {config!r}")
    return config


def check_vocabularies(policy: Policy, critic: ScalarModel, functions: Sequence[Callable]) -> None:
    """Raise ValueError unless critic and reward models have as many tokens as the policy."""
    if not isinstance(critic, ScalarModel):
        raise ValueError(f"critic must be a ScalarModel, got {type(critic).__name__}")
    size = backbone_and_head(policy.model)[1].weight.shape[0]
    models = {"critic": critic, **{f"reward model {k}": f for k, f in enumerate(functions) if isinstance(f, ScalarModel)}}
    for name, model in models.items():
        if model.vocab_size != size:
            raise ValueError(f"policy and {name} must have one vocabulary, got {size} and {model.vocab_size} tokens")


def check_precision(policy: Policy, critic: ScalarModel) -> None:
    """Raise ValueError for parameters to be trained in float16: there Adam's ε = 1e-8 is 0, and a step 0 / 0."""
    for name, model in (("policy", policy.model), ("critic", critic)):
        if any(parameter.dtype == torch.float16 and parameter.requires_grad for parameter in model.parameters()):
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
    if not isinstance(state, dict) or set(state) != set(STATE) or set(state["config"]) != set(NAMES):
        raise ValueError("run.pt does not hold what this version of rlbook saves")
    check_history(state["history"])
    if not isinstance(state["seconds"], Real) or not math.isfinite(state["seconds"]):
        raise ValueError(f"seconds must be a number, got {state['seconds']!r}")
    config = PPOConfig(**state["config"])
    policy, ref = (from_pretrained(folder / name, device=device) for name in ("policy", "ref"))
    critic = ScalarModel.load(folder / "critic").to(policy.device)
    ref.model.requires_grad_(False)
    mark_trained(policy.model, state["trained"])
    optimizer = make_optimizer(policy, critic, config)
    optimizer.load_state_dict(state["optimizer"])
    generator = torch.Generator()
    generator.set_state(state["generator"])
    result = Result(policy, ref, critic, config, optimizer, generator, state["history"], state["seconds"])
    for part, model in result.models().items():
        for name, values in state["buffers"][part].items():
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, values.to(policy.device))
    return result
