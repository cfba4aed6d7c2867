"""Returns of trajectories: every estimator here is one affine recurrence, solved backwards in time.

Time is the last axis and runs over t = 0..T, so it has T+1 entries; r_t is the reward of the step from s_t to s_{t+1}.
NaN propagates: a NaN reward makes every earlier return NaN, unless a mask says that it does not count.
"""

from numbers import Real

import torch
from torch import Tensor

METHODS = ("auto", "loop")


def reverse_scan(a: float | Tensor, b: Tensor, init: Tensor | None = None, method: str = "auto") -> Tensor:
    """Solve an affine recurrence backwards in time.

    y_t = b_t + a_t · y_{t+1},  t = T..0,  y_{T+1} = init (0 if None)

    Shapes: b [..., T+1]; a a number or a tensor of b's shape; init [...], b's shape without time. Returns [..., T+1].
    Differentiable in a, b and init. `method` is "loop" ("auto" means the same until there is a faster one).
    Raises ValueError for shapes that differ (nothing is broadcast), an empty time axis, integers, a mix of dtypes or
    devices, an a that is neither number nor tensor, an unknown method.
    Tests hold it to the double sum y_t = Σ_{k≥t} (Π_{t≤j<k} a_j) b_k + (Π_{j≥t} a_j) init.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    _check_recurrence(a=a, b=b, init=init)
    coefficients = a.unbind(-1) if isinstance(a, Tensor) else [float(a)] * b.shape[-1]
    following = torch.zeros_like(b[..., 0]) if init is None else init
    solution = []
    for a_t, b_t in zip(reversed(coefficients), reversed(b.unbind(-1)), strict=True):
        following = b_t + a_t * following
        solution.append(following)
    return torch.stack(solution[::-1], dim=-1)


def discounted_returns(rewards: Tensor, discounts: float | Tensor, bootstrap: Tensor | None = None) -> Tensor:
    """Discounted sum of the rewards from each time on.

    y_t = r_t + d_t · y_{t+1},  y_{T+1} = bootstrap (0 if None);  with d = γ, y_0 = R(τ) = Σ_t γ^t r_t  (eq-return)

    Shapes: rewards [..., T+1]; discounts one number in [0, 1] or a tensor of rewards' shape (0 where an episode ends);
    bootstrap [...], the value of s_{T+1}. Returns [..., T+1], in the unit of the rewards. Differentiable in all three.
    Raises ValueError as `reverse_scan` does, and for a number outside [0, 1]; a tensor's values are not checked.
    Source: Sutton & Barto (2nd ed.), eq. 3.9, whose R_{t+1} is r_t here.
    Tests hold it to the double sum Σ_{k≥t} (Π_{t≤j<k} d_j) r_k + (Π_{j≥t} d_j) bootstrap.
    """
    if not isinstance(discounts, Tensor):
        check_discount("discounts", discounts)
    _check_recurrence(discounts=discounts, rewards=rewards, bootstrap=bootstrap)
    return reverse_scan(discounts, rewards, bootstrap)


def rewards_to_go(rewards: Tensor, mask: Tensor | None = None, gamma: float = 1.0) -> Tensor:
    """Discounted sum of the counted rewards from each time on: what the action at t can still influence.

    G_t = Σ_{t'≥t} γ^{t'-t} r_{t'}  (eq-phi-reward-to-go; γ counts positions on the time axis)

    Shapes: rewards and mask [..., T+1]; mask 1 or True where a step counts. Returns [..., T+1], 0 where it does not;
    whatever stands there, NaN included, changes nothing.
    Raises ValueError for shapes that differ, an empty time axis, integer rewards, a mask of other numbers than 0 and 1,
    gamma outside [0, 1].
    Source: Spinning Up, "Don't Let the Past Distract You". Tests hold it to the definition and to junk after the end.
    """
    counts = _counted(rewards, mask, gamma)
    return torch.where(counts, reverse_scan(gamma, torch.where(counts, rewards, 0.0)), 0.0)


def total_returns(rewards: Tensor, mask: Tensor | None = None, gamma: float = 1.0) -> Tensor:
    """Return of the whole trajectory, repeated at every time: the first and simplest weight of the policy gradient.

    Φ_t = R(τ) = Σ_{t'} γ^{t'} r_{t'}  for every t  (eq-return, eq-policy-gradient)

    Shapes: rewards and mask [..., T+1]; mask 1 or True where a step counts. Returns [..., T+1], 0 where it does not.
    Raises ValueError as `rewards_to_go` does, from which it differs only in looking back as well as ahead.
    Tests hold it to Σ_t γ^t r_t, written out.
    """
    counts = _counted(rewards, mask, gamma)
    total = reverse_scan(gamma, torch.where(counts, rewards, 0.0))[..., :1]
    return torch.where(counts, total, 0.0)


def _counted(rewards: Tensor, mask: Tensor | None, gamma: float) -> Tensor:
    """The mask as booleans, after the checks that the functions of rewards, mask and gamma share."""
    check_discount("gamma", gamma)
    _check_sequence("rewards", rewards)
    if mask is None:
        return torch.ones_like(rewards, dtype=torch.bool)
    if not isinstance(mask, Tensor) or mask.shape != rewards.shape or mask.device != rewards.device:
        given = _describe(mask) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must have the shape and device of rewards, {_describe(rewards)}, got {given}")
    counts = mask.bool()
    other = mask != counts  # NaN too
    if other.any():
        raise ValueError(f"mask must hold nothing but 0 and 1, or False and True, got {mask[other][0].item()!r}")
    return counts


def check_discount(name: str, value: float) -> None:
    """Raise ValueError unless value is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError unless value is an integer, no boolean, from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limits = f">= {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}")


def _check_recurrence(**named: float | Tensor | None) -> None:
    """Raise ValueError, under the names given, unless factor, sequence and last value make one recurrence."""
    (a_name, a), (b_name, b), (init_name, init) = named.items()
    _check_sequence(b_name, b)
    if isinstance(a, Tensor):
        _check_like(a_name, a, b, b.shape)
    elif isinstance(a, bool) or not isinstance(a, Real):
        raise ValueError(f"{a_name} must be a number or a tensor of shape {tuple(b.shape)} as {b_name} is, got {a!r}")
    if init is not None:
        _check_like(init_name, init, b, b.shape[:-1])


def _check_sequence(name: str, values: Tensor) -> None:
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor [..., T+1], got {type(values).__name__}")
    if values.dim() == 0 or values.shape[-1] == 0:
        raise ValueError(f"{name} needs a last axis of time with at least one entry, got shape {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {values.dtype}; convert it, e.g. {name}.float()")


def _check_like(name: str, values: Tensor, like: Tensor, shape: torch.Size) -> None:
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor of shape {tuple(shape)}, got {type(values).__name__}")
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}; nothing is broadcast")
    if values.dtype != like.dtype or values.device != like.device:
        raise ValueError(f"{name} is {_describe(values)}, but it must agree with {_describe(like)} in dtype and device")


def _describe(values: Tensor) -> str:
    return f"{values.dtype} {tuple(values.shape)} on {values.device}"
