"""Returns and advantages of trajectories: every estimator here is one affine recurrence, solved backwards in time.

Time is the last axis and runs over t = 0..T, so it has T+1 entries; r_t is the reward of the step from s_t to s_{t+1}.
NaN propagates: a NaN reward makes every earlier return NaN, unless a mask says that it does not count or an episode
ends in between. The two functions of groups have no time axis: their last axis is the completions of one prompt, and NaN
is a reward that is missing.
"""

import math
from numbers import Real

import torch
from torch import Tensor

from rlbook.masked import check_floating, check_mask, masked_mean, masked_var
from rlbook.scan import HALF, check_like, check_recurrence, check_sequence, describe, loop, reverse_scan, unset

__all__ = [
    "check_discount",
    "check_integer",
    "discounted_returns",
    "gae",
    "group_advantages",
    "lambda_returns",
    "reverse_scan",
    "rewards_to_go",
    "rloo_advantages",
    "td_errors",
    "total_returns",
]
SCALES = ("group", "batch", "none")


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
    check_recurrence(discounts=discounts, rewards=rewards, bootstrap=bootstrap)
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
    return torch.where(counts, _masked_returns(rewards, counts, gamma), 0.0)


def total_returns(rewards: Tensor, mask: Tensor | None = None, gamma: float = 1.0) -> Tensor:
    """Return of the whole trajectory, repeated at every time: the first and simplest weight of the policy gradient.

    Φ_t = R(τ) = Σ_{t'} γ^{t'} r_{t'}  for every t  (eq-return, eq-policy-gradient)

    Shapes: rewards and mask [..., T+1]; mask 1 or True where a step counts. Returns [..., T+1], 0 where it does not.
    Raises ValueError as `rewards_to_go` does, from which it differs only in looking back as well as ahead.
    Tests hold it to Σ_t γ^t r_t, written out.
    """
    counts = _counted(rewards, mask, gamma)
    total = _masked_returns(rewards, counts, gamma)[..., :1]
    return torch.where(counts, total, 0.0)


def _masked_returns(rewards: Tensor, counts: Tensor, gamma: float) -> Tensor:
    """By the loop, whose rounding does not depend on the length of the axis: padding changes no bit."""
    counted = torch.where(counts, rewards, 0.0)
    wide = counted.float() if rewards.dtype in HALF else counted
    return loop(torch.full_like(wide, gamma), wide, wide.new_zeros(wide.shape[:-1])).to(rewards.dtype)


def td_errors(rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """One-step errors of a value function: what a step gave and led to, beyond what was expected.

    δ_t = r_t + γ (1 - terminated_t) V(s_{t+1}) - V(s_t)  (eq-td-error)

    Shapes: all [..., T+1]; values_t = V(s_t), next_values_t = V(s_{t+1}), where s_{t+1} is the state that step t led to
    and not the first of the next episode. terminated is True or 1 where s_{t+1} is terminal: its value is 0, and
    whatever next_values holds there, NaN included, changes nothing. A truncated step is no special case: it led to
    s_{t+1}. Returns [..., T+1], in the unit of the rewards. Differentiable in rewards, values and next_values.
    Raises ValueError for shapes that differ, an empty time axis, integers, a mix of dtypes or devices, flags other than
    0 and 1 (not looked at on a GPU), gamma outside [0, 1]. NaN stays at its own time.
    Source: Sutton & Barto (2nd ed.), eq. 6.5, whose R_{t+1} is r_t here. Tests hold it to the definition.
    """
    (terminated,) = _check_steps(rewards, values, next_values, gamma, terminated=terminated)
    return _td_errors(rewards, values, next_values, terminated, gamma)


def gae(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, lam: float
) -> Tensor:
    """Generalized advantage estimates: the discounted sum of the TD errors up to the end of the episode.

    Â_t = Σ_{l≥0} (γλ)^l δ_{t+l}, that is Â_t = δ_t + γλ (1 - end_t) Â_{t+1}, Â_{T+1} = 0  (eq-gae)

    with δ_t = r_t + γ (1 - terminated_t) V(s_{t+1}) - V(s_t) and end_t = terminated_t or truncated_t. Either end cuts
    the sum; only termination makes V(s_{t+1}) zero, a truncated step and the last one, T, bootstrap from next_values.
    Shapes: all [..., T+1]; values_t = V(s_t), next_values_t = V(s_{t+1}) of the true last observation where an episode
    ends; flags boolean, or 0 and 1. A row may hold any number of episodes. A step with both flags is terminated.
    Returns [..., T+1], in the unit of the rewards. Differentiable in rewards, values and next_values.
    NaN reaches earlier times of its own episode and no further, and none at all from next_values of a terminated step.
    Raises ValueError as `td_errors` does, and for lam outside [0, 1].
    Source: Schulman et al. 2016 (arXiv 1506.02438), eq. 16. Tests hold it to both forms and to the checked expressions:
    λ = 0 gives δ_t, λ = 1 the bootstrapped return minus V(s_t).
    """
    check_discount("lam", lam)
    flags = _check_steps(rewards, values, next_values, gamma, terminated=terminated, truncated=truncated)
    if rewards.dtype in HALF:
        wide = (x.float() for x in (rewards, values, next_values))
        return gae(*wide, *flags, gamma, lam).to(rewards.dtype)
    terminated, truncated = flags
    errors = _td_errors(rewards, values, next_values, terminated, gamma)
    return reverse_scan(float(gamma) * float(lam), errors, cut=terminated | truncated)


def lambda_returns(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, lam: float
) -> Tensor:
    """λ-returns: averages of the n-step returns, the targets that a value function learns from.

    R^λ_t = Â_t + V(s_t), that is R^λ_t = r_t + γ (1 - terminated_t) ((1 - λ) V(s_{t+1}) + λ R^λ_{t+1})  (eq-lambda-return)

    where at an end, and at t = T, V(s_{t+1}) stands for R^λ_{t+1}. Arguments, shapes, NaN and errors are those of `gae`.
    Returns [..., T+1], in the unit of the rewards.
    Source: Sutton & Barto (2nd ed.), eq. 12.3 and 12.18. Tests hold it to gae + values and to the recurrence.
    """
    return gae(rewards, values, next_values, terminated, truncated, gamma, lam) + values


def group_advantages(
    rewards: Tensor, scale: str = "group", mask: Tensor | None = None, ddof: int = 1, eps: float = 1e-4
) -> Tensor:
    """How much better each completion of a prompt is than its group, in units of the group's standard deviation.

    Â_i = (r_i − mean(r)) / (std(r) + ε),  r = (r_1, ..., r_G), the rewards of one prompt's G completions  (eq-grpo-advantage)

    The equation is printed with ddof=0 and eps=0. The defaults are TRL's, ddof 1 and eps 1e-4: Â_i is then smaller by the
    factor √((G−1)/G), and by std/(std + ε). scale="batch": the mean is the group's and the standard deviation that of all
    rewards given, whatever their group; "none": divided by 1 (Dr. GRPO). Each row is a group: two rows of equal prompts stay two.
    NaN is a completion without a score: it counts neither in a mean nor in a standard deviation, and its advantage is 0. The
    same holds where the mask is 0, whatever stands there. A group whose scores are all equal, or that has one, or none, gets
    exactly 0 under every scale, eps = 0 included: its least reward is subtracted before anything is averaged. Rewards that
    ought to be equal and differ in the last digit are not equal: there it is eps that keeps the advantages small.
    Shapes: rewards [..., G]; mask the same, 1 or True where there is a score (None: all). Returns rewards' shape, without unit
    ("none": in that of the rewards). float16 and bfloat16 are computed in float32. Differentiable in rewards.
    Raises ValueError for no last axis or an empty one, integers, a reward that counts and is infinite, a mask of another shape,
    device or other numbers than 0 and 1, another scale, a ddof that is neither 0 nor 1, eps that is no finite number >= 0,
    rewards whose variance overflows (differences of 1e19 in float32) or, for "none", their sum.
    Source: Shao et al. 2024 (arXiv 2402.03300), section 4.1.2; Liu et al. 2025 (arXiv 2503.20783) for "none"; TRL's
    scale_rewards. Tests hold it to the definition, its invariances, and to 1e4 + {0, 1} in float32.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    if ddof not in (0, 1) or isinstance(ddof, bool):
        raise ValueError(f"ddof must be 0 or 1, got {ddof!r}")
    if isinstance(eps, bool) or not isinstance(eps, Real) or not 0 <= eps < math.inf:
        raise ValueError(f"eps must be a finite number >= 0, got {eps!r}")
    scored = _scored(rewards, mask)
    shifted, centred = _group_centred(rewards, scored)
    if scale == "group":
        variance = masked_var(shifted, scored, -1, ddof).unsqueeze(-1)
    elif scale == "batch":
        variance = masked_var(rewards.to(shifted.dtype), scored, None, ddof)
    else:
        return _within_range(centred, rewards, scored)
    if (variance.isinf() & (centred != 0)).any():
        limit = torch.finfo(variance.dtype).max
        raise ValueError(f"rewards must lie so close together that the squares of their differences sum to less than "
                         f"{limit:.1e}, the largest number in {variance.dtype}, got {_range(rewards, scored)}")
    varies = scored & (variance > 0)
    spread = torch.where(varies, variance, 1.0).sqrt() + eps  # selected before the root, whose slope at 0 is infinite
    return torch.where(varies, centred / spread, 0.0).to(rewards.dtype)


def rloo_advantages(rewards: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much better each completion of a prompt is than the others of its group, on average.

    Â_i = r_i − (1/(G−1)) Σ_{j≠i} r_j = G/(G−1) · (r_i − mean(r))  (eq-rloo)

    G counts the completions that have a score: NaN, or a mask of 0, means none, and an advantage of 0. One score alone
    has no others and gets 0; equal scores get exactly 0. Nothing divides by a standard deviation. The reward of a completion
    is not part of its own baseline, so that the policy gradient is not shrunk by (G−1)/G (eq-grpo-bias).
    Shapes, NaN, precision and errors as `group_advantages`. Returns rewards' shape, in the unit of the rewards.
    Source: Kool et al. 2019; Ahmadian et al. 2024 (arXiv 2402.14740), section 2; verl's adv_estimator "rloo".
    Tests hold it to the sum over the others, written out.
    """
    scored = _scored(rewards, mask)
    number = scored.sum(-1, keepdim=True)
    return _within_range(_group_centred(rewards, scored)[1] * number / (number - 1).clamp(min=1), rewards, scored)


def _td_errors(rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """`td_errors`, checked. Multiplies by 0 where it may; 0 · NaN is NaN, so otherwise it selects, which takes twice as long."""
    gamma, goes_on = float(gamma), unset(terminated, rewards.dtype)
    if rewards.device.type == "cpu":
        differentiated = torch.is_grad_enabled() and any(x.requires_grad for x in (rewards, values, next_values))
        out = None if differentiated else goes_on  # new memory costs as much time as the sum
        errors = torch.addcmul(rewards, goes_on, next_values, value=gamma, out=out).sub_(values)
        if math.isfinite(errors.sum().item()):
            return errors
        goes_on = unset(terminated, rewards.dtype)
    following = torch.where(terminated, 0.0, next_values)
    return torch.addcmul(rewards, goes_on, following, value=gamma).sub_(values)


def _check_steps(rewards: Tensor, values: Tensor, next_values: Tensor, gamma: float, **flags: Tensor) -> list[Tensor]:
    """The flags as booleans, after the checks that the functions of steps share."""
    check_discount("gamma", gamma)
    check_sequence("rewards", rewards)
    check_like("values", values, rewards, rewards.shape)
    check_like("next_values", next_values, rewards, rewards.shape)
    return [_booleans(name, flag, rewards) for name, flag in flags.items()]


def _scored(rewards: Tensor, mask: Tensor | None) -> Tensor:
    """Where a group's reward is there: counted by the mask and not NaN. An infinite one is an error."""
    check_floating("rewards", rewards)
    if rewards.dim() == 0 or rewards.shape[-1] == 0:
        raise ValueError(f"rewards needs a last axis of completions with at least one, got shape {tuple(rewards.shape)}")
    scored = ~rewards.isnan()
    if mask is not None:
        scored = scored & check_mask(mask, rewards, "rewards")
    infinite = scored & rewards.isinf()
    if infinite.any():
        where = tuple(infinite.nonzero()[0].tolist())
        raise ValueError(f"rewards must be finite, or NaN where there is no score, got {rewards[where].item()} at {where}")
    return scored


def _group_centred(rewards: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """Rewards less the least of their group, and less the mean of their group; 0 without a score. In float32 at least."""
    wide = rewards.float() if rewards.dtype in HALF else rewards
    least = torch.where(scored, wide, math.inf).amin(-1, keepdim=True).detach()
    shifted = torch.where(scored, wide - least, 0.0)
    centred = torch.where(scored, shifted - masked_mean(shifted, scored, -1).unsqueeze(-1), 0.0)
    return shifted, _within_range(centred, rewards, scored, wide.dtype)


def _within_range(x: Tensor, rewards: Tensor, scored: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x in this dtype, that of rewards; ValueError where it cannot hold the differences of the rewards or their sum."""
    dtype = rewards.dtype if dtype is None else dtype
    if not x.to(dtype).isfinite().all():
        raise ValueError(f"rewards must lie so close together that a group's differences sum to less than "
                         f"{torch.finfo(dtype).max:.1e}, the largest number in {dtype}, got {_range(rewards, scored)}")
    return x.to(dtype)


def _range(rewards: Tensor, scored: Tensor) -> str:
    """From the least to the greatest score."""
    return f"rewards from {rewards[scored].min().item():.3g} to {rewards[scored].max().item():.3g}"


def _counted(rewards: Tensor, mask: Tensor | None, gamma: float) -> Tensor:
    """The mask as booleans, after the checks that the functions of rewards, mask and gamma share."""
    check_discount("gamma", gamma)
    check_sequence("rewards", rewards)
    return torch.ones_like(rewards, dtype=torch.bool) if mask is None else _booleans("mask", mask, rewards)


def _booleans(name: str, flags: Tensor, rewards: Tensor) -> Tensor:
    """Flags given as False and True, or 0 and 1, as booleans; on a GPU their values are not looked at."""
    if not isinstance(flags, Tensor) or flags.shape != rewards.shape or flags.device != rewards.device:
        given = describe(flags) if isinstance(flags, Tensor) else type(flags).__name__
        raise ValueError(f"{name} must have the shape and device of rewards, {describe(rewards)}, got {given}")
    if flags.dtype == torch.bool:
        return flags
    booleans = flags.bool()
    if flags.device.type == "cpu":
        other = flags != booleans  # NaN too
        if other.any():
            raise ValueError(f"{name} must hold nothing but 0 and 1, or False and True, got {flags[other][0].item()!r}")
    return booleans


def check_discount(name: str, value: float) -> None:
    """Raise ValueError unless value is a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError unless value is an integer, no boolean, from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limits = f">= {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}")
