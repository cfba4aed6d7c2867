"""Checks of what the loop is given: settings, devices, saved runs. Each raises ValueError, which says what is needed."""

import io
import sys
from collections.abc import Sequence
from numbers import Real
from os import PathLike
from pathlib import Path

import torch

import rlbook
from rlbook.returns import check_integer


def check_rate(name: str, value: float) -> None:
    """Raise ValueError unless value is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} must be a positive, finite number, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless value is a positive number, infinity included."""
    if isinstance(value, bool) or not isinstance(value, Real) or not value > 0:
        raise ValueError(f"{name} must be a positive number, or math.inf, got {value!r}")


def check_weight(name: str, value: float) -> None:
    """Raise ValueError unless value is a finite number >= 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")


def check_sizes(name: str, sizes: Sequence[int]) -> None:
    """Raise ValueError unless sizes is a tuple or list of positive integers, perhaps none."""
    good = isinstance(sizes, tuple | list) and all(type(size) is int and size >= 1 for size in sizes)
    if not good:
        raise ValueError(f"{name} must be a tuple of positive integers, as (32,), got {sizes!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")


def check_bool(name: str, value: bool) -> None:
    """Raise ValueError unless value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_observations(observations: torch.Tensor, size: int, dtype: torch.dtype) -> None:
    """Raise ValueError unless observations are a tensor [..., size] of that dtype."""
    if not isinstance(observations, torch.Tensor) or observations.dtype != dtype:
        given = observations.dtype if isinstance(observations, torch.Tensor) else type(observations).__name__
        raise ValueError(f"observations must be a tensor of {dtype}, got {given}")
    if observations.dim() == 0 or observations.shape[-1] != size:
        raise ValueError(f"observations must be [..., D] with D = {size}, got {tuple(observations.shape)}")


def check_device_name(device: str | torch.device | None) -> None:
    """Raise ValueError unless device is None or names a kind of device that torch knows, here or elsewhere."""
    try:
        known = device is None or isinstance(device, str | torch.device) and torch.device(device)
    except RuntimeError:
        known = False
    if not known:
        raise ValueError(f"device must be None or a name such as 'cpu', 'cuda' or 'mps', got {device!r}")


def usable_device(name: str | None) -> torch.device:
    """The device of that name, or `rlbook.device()` for None; ValueError unless this machine has it."""
    try:
        device = rlbook.device() if name is None else torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:
        asked = "rlbook.device()" if name is None else f"device {name!r}"
        raise ValueError(f"{asked} cannot be used here: {in_one_line(error)}") from error
    return device


def check_generator(generator: torch.Generator) -> None:
    """Raise ValueError unless generator is one on the CPU."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator must be a torch.Generator on the CPU, got {generator!r}")


def check_env_id(env_id: str) -> None:
    """Raise ValueError unless env_id is a string."""
    if not isinstance(env_id, str):
        raise ValueError(f"env_id must be the name of an environment, as 'CartPole-v1', got {env_id!r}")


def check_history(history: dict[str, list[float]], metrics: tuple[str, ...]) -> None:
    """Raise ValueError unless history has a list of numbers for each of the metrics, all equally long."""
    if not isinstance(history, dict) or set(history) != set(metrics):
        given = sorted(map(str, history)) if isinstance(history, dict) else type(history).__name__
        raise ValueError(f"history must hold {sorted(metrics)}, got {given}")
    for name, values in history.items():
        if not isinstance(values, list) or any(isinstance(x, bool) or not isinstance(x, Real) for x in values):
            raise ValueError(f"history of {name} must be a list of numbers, got {values!r:.60}")
    lengths = {name: len(values) for name, values in history.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"history must have one entry per iteration of every metric, got {lengths}")


def check_adam(name: str, state: dict, parameters: Sequence[torch.nn.Parameter], begun: bool) -> None:
    """Raise ValueError unless state is Adam's for these parameters: of each, or of none before its first step."""
    entries = {"step", "exp_avg", "exp_avg_sq"}
    good = isinstance(state, dict) and set(state) == set(range(len(parameters) if begun else 0))
    for i, parameter in enumerate(parameters if good and begun else ()):
        good = good and isinstance(state[i], dict) and set(state[i]) == entries
        good = good and all(isinstance(x, torch.Tensor) for x in state[i].values()) and state[i]["step"].numel() == 1
        good = good and all(state[i][x].shape == parameter.shape for x in ("exp_avg", "exp_avg_sq"))
    if not good:
        raise ValueError(f"{name} must hold the state of Adam for {len(parameters)} parameters, each of its parameter's shape")


def read_state(path: str | PathLike, needed: tuple[str, ...], known: tuple[str, ...]) -> dict:
    """The dictionary that torch.save wrote to a file, with all needed and no unknown parts; else ValueError."""
    content = Path(path).read_bytes()
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = in_one_line(error) if content else "it is empty"
        raise ValueError(f"{path} is damaged, or Result.save did not write it: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no run, but a {type(state).__name__}: Result.save did not write it")
    check_names(f"{path}, as a saved run,", state, needed, known)
    return state


def check_names(what: str, given: dict, needed: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError unless the keys hold all that is needed and nothing unknown, as a newer version's file may."""
    missing, unknown = sorted(set(needed) - set(given)), sorted(str(name) for name in set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} has {unknown}, which this version of rlbook does not know")
    if missing:
        raise ValueError(f"{what} must have {missing}")


def check_seed(seed: int) -> None:
    """Raise ValueError unless seed is an integer that torch.Generator accepts and is not negative."""
    check_integer("seed", seed, 0, 2**64 - 1)


def in_one_line(error: Exception, most: int = 200) -> str:
    """Type and text of an error, without line breaks and cut where it grows long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else text[:most] + "..."
