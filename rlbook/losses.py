"""Losses: the negatives of the book's objectives, one number per element, to be minimised.

What takes [..., T+1] and returns the same averages nothing: `aggregate` does that, or the caller, who divides by what the
equation divides by; `ppo_loss` and `grpo_loss` compose the functions here and divide once. NaN propagates, unless a mask says
that an element does not count: then it reaches neither the loss nor a gradient.
"""

import math
from numbers import Real

import torch
from torch import Tensor

from rlbook.kl import kl_k3, kl_loss
from rlbook.masked import check_floating, check_mask, masked_mean, masked_var, masked_whiten

__all__ = [
    "aggregate",
    "clipped_surrogate",
    "entropy_from_logits",
    "grpo_loss",
    "masked_mean",
    "masked_var",
    "masked_whiten",
    "policy_gradient_loss",
    "ppo_loss",
    "prob_ratio",
    "value_loss",
]
LEVELS = ("token", "sequence")
MODES = ("grpo", "dr_grpo", "dapo", "bnpo")
SURROGATES = ("clip", "cispo")


def policy_gradient_loss(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """Minus the weighted log-probability, whose gradient is minus one term of the policy gradient.

    loss_t = −Φ_t · log π_θ(a_t|s_t),  ∇_θ loss_t = −Φ_t · ∇_θ log π_θ(a_t|s_t)  (eq-policy-gradient, eq-general-form)

    The weights Φ_t (R(τ), rewards to go, advantages: whatever eq-general-form allows) are constants: they are detached,
    so no gradient reaches whatever computed them. The value of this loss is no measure of performance.
    Shapes: logprobs [..., T+1] = log π_θ(a_t|s_t), advantages the same. Returns [..., T+1]: summed over t and divided
    by the number of trajectories |D|, its gradient is −ĝ (eq-gradient-estimate).
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices.
    Source: Williams (1992), REINFORCE; Spinning Up, "Deriving the Simplest Policy Gradient".
    Tests hold it to the exact gradient of an enumerated MDP, once every trajectory is weighted by its probability.
    """
    _check_alike(logprobs=logprobs, advantages=advantages)
    return -advantages.detach() * logprobs


def prob_ratio(logprobs: Tensor, old_logprobs: Tensor, level: str = "token", mask: Tensor | None = None) -> Tensor:
    """How much more probable the actions have become since they were sampled.

    r_t(θ) = π_θ(a_t|s_t) / π_old(a_t|s_t)  (eq-ratio);  level="sequence": s(θ) = exp(mean_t log r_t(θ)) at every t (GSPO)

    Shapes: logprobs and old_logprobs [..., T+1]; mask the same, 1 or True where a step counts (None: all). Returns
    [..., T+1], without unit, and 1 where a step does not count, or no step of a row does; junk there reaches neither a
    ratio nor a gradient. Differentiable in logprobs; old_logprobs are constants: they are detached.
    Overflows to infinity where log r_t > 88 in float32; its gradient is then NaN, also where a clip removes it, which the
    training loops notice and refuse.
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices, another level.
    Source: Schulman et al. 2017 (arXiv 1707.06347), section 3; Zheng et al. 2025 (arXiv 2507.18071) for the sequence.
    Tests hold it to the quotient of probabilities and to the checked expression.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    _check_alike(logprobs=logprobs, old_logprobs=old_logprobs)
    counts = None if mask is None else check_mask(mask, logprobs, "logprobs")
    log_ratio = _select(counts, logprobs - old_logprobs.detach())
    if level == "token":
        return log_ratio.exp()
    if log_ratio.dim() == 0:
        raise ValueError("level 'sequence' needs a last axis of time, got a single number")
    lengths = log_ratio.shape[-1] if counts is None else counts.sum(-1, keepdim=True).clamp(min=1)
    ratio = (log_ratio.sum(-1, keepdim=True) / lengths).exp().expand_as(log_ratio)
    return ratio if counts is None else torch.where(counts, ratio, 1.0)


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, epsilon: float = 0.2, epsilon_high: float | None = None, delta: float | None = None
) -> tuple[Tensor, Tensor]:
    """Minus PPO's clipped surrogate objective, and where the clip takes the gradient away.

    loss_t = −min(r_t Â_t, clip(r_t, 1 − ε, 1 + ε) Â_t)  (eq-clipped-surrogate)

    The derivative with respect to r_t is −Â_t, except where clipped_t is True: there the loss is constant and the derivative
    is exactly 0. That is r_t > 1 + ε with Â_t > 0, and r_t < 1 − ε with Â_t < 0; on the other side of each interval the
    gradient stays. At a kink, r_t = 1 ± ε, and at Â_t = 0, the element counts as not clipped and the derivative is −Â_t.
    epsilon_high: 1 + ε_high above instead of 1 + ε (DAPO's clip-higher). delta: r_t is capped at delta before it is
    multiplied, which binds for Â_t < 0 and r_t > delta alone, where the loss is otherwise unbounded (TRL's two-sided
    clipping; dual clip, arXiv 1912.09729). epsilon=math.inf: no clip, loss_t = −r_t Â_t.
    Shapes: ratio and advantages [..., T+1]; advantages are constants: they are detached. Returns (loss, clipped), both
    [..., T+1], the loss in the unit of the advantages, clipped boolean.
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices, epsilon or
    epsilon_high < 0, delta <= 1 + epsilon_high.
    Source: Schulman et al. 2017 (arXiv 1707.06347), eq. 7. CleanRL's clipfrac counts |r_t − 1| > ε whatever the sign of Â_t.
    Tests hold value, derivative and flag to all regions, and to the checked expression.
    """
    _check_alike(ratio=ratio, advantages=advantages)
    high = epsilon if epsilon_high is None else epsilon_high
    _check_number("epsilon", epsilon, least=0)
    _check_number("epsilon_high", high, least=0)
    advantages = advantages.detach()
    clipped = (ratio > 1 + high) & (advantages > 0) | (ratio < 1 - epsilon) & (advantages < 0)
    capped = ratio
    if delta is not None:
        _check_number("delta", delta)
        if not delta > 1 + high:
            raise ValueError(f"delta must be > 1 + {'epsilon' if epsilon_high is None else 'epsilon_high'}, got {delta!r}")
        capped = ratio.clamp(max=delta)
        clipped = clipped | (ratio > delta) & (advantages < 0)
    objective = torch.minimum(capped * advantages, ratio.clamp(1 - epsilon, 1 + high) * advantages)
    return -objective, clipped.detach()


def value_loss(values: Tensor, returns: Tensor, old_values: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Half the squared error of the critic against targets that are held fixed.

    L^V_t = ½ (V_φ(s_t) − sg(R_t))²  (eq-critic-loss)

    With clip c: L^V_t = ½ max((V − R)², (V_old + clip(V − V_old, −c, c) − R)²), whose gradient is 0 where the critic has
    moved by more than c towards the target. This is what the code of baselines and CleanRL does; the PPO paper has no such
    clip, and Engstrom et al. 2020 (arXiv 2005.12729) print min in place of max. c is in the unit of the returns, so that what is
    clipped depends on their scale. Stable-Baselines3 minimises the squared error without the half.
    Shapes: values, returns and old_values [..., T+1]; returns and old_values are constants: they are detached. old_values are
    not used without clip. Returns [..., T+1], in the squared unit of the returns.
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices, clip <= 0, clip
    without old_values.
    Tests hold it to the formula, its gradient V − R, and the checked expression.
    """
    old = {} if old_values is None else {"old_values": old_values}
    _check_alike(values=values, returns=returns, **old)
    returns = returns.detach()
    error = (values - returns).square()
    if clip is None:
        return 0.5 * error
    _check_number("clip", clip, above=0)
    if old_values is None:
        raise ValueError("clip needs old_values, the critic's values when the actions were sampled")
    old_values = old_values.detach()
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum(error, (near - returns).square())


def entropy_from_logits(logits: Tensor) -> Tensor:
    """Entropy of a categorical distribution: how far from certain the policy is about its action.

    H[π](s) = −Σ_a π(a|s) log π(a|s),  ∂H/∂z_j = −π_j (log π_j + H)  (eq-entropy-bonus), from 0 to log |A|

    An action with logit −∞ has probability 0 and contributes 0, to the value and to the gradient. An objective: a loss
    subtracts it.
    Shapes: logits [..., actions], normalised or not. Returns [...], in nats.
    Raises ValueError for integers and for an empty last axis.
    Tests hold it to torch.distributions, and its gradient to the formula.
    """
    check_floating("logits", logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits needs a last axis of actions with at least one entry, got shape {tuple(logits.shape)}")
    logprobs = logits.log_softmax(-1)
    finite = torch.where(logits == -math.inf, 0.0, logprobs)
    return -(logprobs.exp() * finite).sum(-1)


def aggregate(loss: Tensor, mask: Tensor, mode: str = "grpo", denom: float | Tensor | None = None) -> Tensor:
    """One number from a loss per token: a sum over what counts, divided once.

        mode      sum over tokens                                      denom, default
        grpo      Σ_i (1/|o_i|) Σ_t m_{i,t} loss_{i,t}                 number of sequences, empty ones too
        dr_grpo   Σ_i Σ_t m_{i,t} loss_{i,t}                           number of sequences × length of the last axis
        dapo      Σ_i Σ_t m_{i,t} loss_{i,t}                           number of tokens that count, Σ m
        bnpo      the same as dapo; always divided by the Σ m at hand, so that it depends on how a batch is split

    with |o_i| = Σ_t m_{i,t}. When a batch is split into micro-batches, or over devices, give the denom of the whole batch:
    the sum of the parts, and of their gradients, is then exactly that of the whole.
    Shapes: loss and mask [..., T+1], where every leading index is a sequence; mask 1 or True where a token counts. Junk where
    it does not reaches neither the result nor the gradient; a row without tokens contributes 0, and nothing at all is 0.
    Returns a scalar. denom: a number > 0, or a tensor with one.
    Raises ValueError for a mask of another shape (nothing is broadcast), another device or other numbers than 0 and 1,
    integers, another mode, denom <= 0 or given to bnpo.
    Source: TRL's loss_type; verl's seq-mean-token-mean, seq-mean-token-sum-norm, token-mean.
    Tests hold it to the formulas and to every split of a batch, in float64.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    check_floating("loss", loss)
    if loss.dim() == 0:
        raise ValueError("loss needs a last axis of time, got a single number")
    counts = check_mask(mask, loss, "loss")
    if mode == "bnpo" and denom is not None:
        raise ValueError("bnpo divides by the tokens at hand and takes no denom; dapo is the same with a denom")
    lengths = counts.sum(-1)
    totals = _select(counts, loss).sum(-1)
    if mode == "grpo":
        totals = totals / lengths.clamp(min=1)
    if denom is None:
        denom = {"grpo": lengths.numel(), "dr_grpo": loss.numel()}.get(mode, lengths.sum())
        return totals.sum() / (denom.clamp(min=1) if isinstance(denom, Tensor) else max(denom, 1))
    return totals.sum() / _checked_denom(denom)


def ppo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    values: Tensor,
    returns: Tensor,
    entropy: Tensor,
    mask: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    *,
    epsilon: float,
    vf_coef: float,
    ent_coef: float,
    beta: float = 0.0,
    old_values: Tensor | None = None,
    vf_clip: float | None = None,
    denom: float | Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the objective of PPO: the clipped surrogate, the critic's loss, the entropy bonus and the KL penalty.

    loss = (1/denom) Σ_t m_t (L^clip_t + c_V L^V_t − c_H H_t + β KL_t)  (eq-ppo-objective)

    L^clip is `clipped_surrogate`, L^V `value_loss` (clipped by vf_clip around old_values), H the entropy given, and KL the
    ratio-weighted k3 of `kl_loss` (0 without ref_logprobs). c_V = vf_coef, c_H = ent_coef, β = beta.
    Shapes: all tensors [..., T+1]; mask the same, 1 or True where a step counts (None: all); junk where it does not reaches
    neither the loss, nor a metric, nor a gradient. Gradients reach logprobs, values and entropy; all else is constant.
    denom: a number > 0, by default the number of steps that count; give that of the whole batch when it is split.
    Returns (loss, metrics): a scalar, and detached scalars, each a mean over the steps that count here, 0 where none does:
    policy_loss (L^clip), value_loss, entropy, approx_kl (mean of r − 1 − log r: k3 of KL(π_old‖π_θ)), clipfrac
    (fraction with `clipped`), and kl (the term KL_t, unbiased for KL(π_θ‖π_ref)) when ref_logprobs is given.
    Leave ref_logprobs out where beta is 0 and they may be −∞: 0 · ∞ is NaN.
    Raises ValueError as these functions do, for coefficients that are no finite numbers, beta without ref_logprobs.
    Source: Schulman et al. 2017 (arXiv 1707.06347), eq. 9, which is maximised and has no KL term; Ouyang et al. 2022 (arXiv
    2203.02155) put the KL in the reward. Tests hold it to the checked expression, and each sign to its effect.
    """
    for name, value in (("vf_coef", vf_coef), ("ent_coef", ent_coef), ("beta", beta)):
        _check_number(name, value, below=math.inf, above=-math.inf)
    if beta != 0 and ref_logprobs is None:
        raise ValueError(f"beta = {beta!r} needs ref_logprobs")
    optional = {"ref_logprobs": ref_logprobs, "old_values": old_values}
    tensors = dict(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, values=values, returns=returns,
                   entropy=entropy, **{name: x for name, x in optional.items() if x is not None})
    _check_alike(**tensors)
    counts = None if mask is None else check_mask(mask, logprobs, "logprobs")
    x = {name: _select(counts, tensor) for name, tensor in tensors.items()}  # 0 under the mask, so every term is 0 there
    policy, clipped = clipped_surrogate(prob_ratio(x["logprobs"], x["old_logprobs"]), x["advantages"], epsilon)
    critic = value_loss(x["values"], x["returns"], x.get("old_values"), vf_clip)
    total = policy + vf_coef * critic - ent_coef * x["entropy"]
    terms = {"policy_loss": policy, "value_loss": critic, "entropy": x["entropy"], "clipfrac": clipped.to(policy.dtype),
             "approx_kl": kl_k3(x["old_logprobs"].detach(), x["logprobs"].detach())}
    if ref_logprobs is not None:
        terms["kl"] = kl_loss(x["logprobs"], x["ref_logprobs"], x["old_logprobs"])
        total = total + beta * terms["kl"]
    number = max(logprobs.numel(), 1) if counts is None else counts.sum().clamp(min=1)
    loss = total.sum() / (number if denom is None else _checked_denom(denom))
    return loss, {name: term.detach().sum() / number for name, term in terms.items()}


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    ref_logprobs: Tensor | None = None,
    *,
    beta: float = 0.0,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    delta: float | None = None,
    level: str = "token",
    surrogate: str = "clip",
    use_bias_correction_kl: bool = False,
    mode: str = "grpo",
    denom: float | Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the objective of GRPO, and of those that change one term of it: DAPO, Dr. GRPO, GSPO, CISPO.

    loss = (1/G) Σ_i (1/|o_i|) Σ_t (L_{i,t} + β k3_{i,t}),  L_{i,t} = −min(r_{i,t} Â_i, clip(r_{i,t}, 1 − ε, 1 + ε) Â_i)
    (eq-grpo-objective, eq-grpo-clip, eq-grpo-kl)

    Composed of `prob_ratio`, `clipped_surrogate`, `kl_k3` or `kl_loss`, and `aggregate`, which mode and denom go to.
    epsilon_high, delta: as `clipped_surrogate` (eq-dapo: clip-higher, and mode "dapo"). mode "dr_grpo" is (eq-dr-grpo), with
    denom the number of sequences × the maximum length. level "sequence": r_{i,t} is s_i(θ) (eq-gspo). With mode "grpo" the
    mean over |o_i| equal terms is the one term min(s_i Â_i, clip(s_i) Â_i) of the paper; other modes weight it by |o_i|.
    surrogate "cispo": L_{i,t} = −sg(clip(r_{i,t}, 1 − ε, 1 + ε_high)) Â_i log π_θ(a_t|s_t) (eq-cispo), so that no token loses its
    gradient; its value is no measure of performance. The paper divides by Σ_i |o_i| (mode "dapo") and sets the lower bound so
    low that it never binds: epsilon=math.inf. TRL's epsilon_high for CISPO is the upper bound itself, 1 + epsilon_high here.
    use_bias_correction_kl: k3 is weighted by π_θ/π_old of its token, `kl_loss`, which keeps the gradient that of
    KL(π_θ‖π_ref); TRL weights by the ratio of its level. With beta = 0 the KL is a metric alone, and may be infinite.
    Shapes: logprobs, old_logprobs and ref_logprobs [..., T+1], where every leading index is a completion; mask the same, 1 or
    True where a token counts; advantages [...], one for each completion, or [..., T+1]. Junk where a token does not count
    reaches neither the loss, nor a metric, nor a gradient; nothing at all is 0. Gradients reach logprobs alone.
    A ratio too large for the dtype (log r > 88 in float32) does no harm where Â_i is 0 or the clip or delta takes the gradient
    away. Elsewhere (Â_i < 0) the loss is infinite and its gradient is not finite; approx_kl and a weighted KL overflow, too.
    Returns (loss, metrics): a scalar, and detached scalars, each a mean over the tokens that count here, whatever the mode, 0
    where none does: policy_loss (L), approx_kl (mean of r − 1 − log r over tokens: k3 of KL(π_old‖π_θ)), kl (the KL term, if
    ref_logprobs is given), clip_ratio/region_mean (where the clip has taken the gradient away; CISPO: where the weight was
    cut), and its parts clip_ratio/low_mean (r < 1) and clip_ratio/high_mean (r > 1).
    Raises ValueError as these functions do, for another surrogate, delta with cispo, beta without ref_logprobs.
    Source: Shao et al. 2024 (arXiv 2402.03300), eq. 3; DAPO 2503.14476; Dr. GRPO 2503.20783; GSPO 2507.18071; CISPO: MiniMax-M1,
    2506.13585. All are maximised there. Tests hold it to these objectives, written out, and their gradients.
    """
    _check_number("beta", beta, below=math.inf, above=-math.inf)
    if beta != 0 and ref_logprobs is None:
        raise ValueError(f"beta = {beta!r} needs ref_logprobs")
    _check_alike(logprobs=logprobs)
    if isinstance(advantages, Tensor) and logprobs.dim() > 0 and advantages.shape == logprobs.shape[:-1]:
        advantages = advantages.unsqueeze(-1).expand_as(logprobs)
    given = dict(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    given |= {} if ref_logprobs is None else {"ref_logprobs": ref_logprobs}
    _check_alike(**given)
    counts = check_mask(mask, logprobs, "logprobs")
    x = {name: _select(counts, tensor) for name, tensor in given.items()}  # 0 under the mask, so every term is 0 there
    ratio = _kept_ratio(x, counts, level, epsilon if epsilon_high is None else epsilon_high, delta)
    policy, clipped = _surrogate(surrogate, ratio, x["logprobs"], x["advantages"], epsilon, epsilon_high, delta)
    terms = {"policy_loss": policy, "approx_kl": kl_k3(x["old_logprobs"].detach(), x["logprobs"].detach()),
             "clip_ratio/low_mean": clipped & (ratio < 1), "clip_ratio/high_mean": clipped & (ratio > 1),
             "clip_ratio/region_mean": clipped}
    total = policy
    if ref_logprobs is not None:
        new = x["logprobs"] if beta != 0 else x["logprobs"].detach()
        old = x["old_logprobs"] if use_bias_correction_kl else None
        terms["kl"] = kl_loss(new, x["ref_logprobs"], old, unbiased_grad=use_bias_correction_kl)
        total = policy + beta * terms["kl"] if beta != 0 else policy
    metrics = {name: masked_mean(term.detach().to(policy.dtype), counts) for name, term in terms.items()}
    return aggregate(total, counts, mode, denom), metrics


def _kept_ratio(x: dict[str, Tensor], counts: Tensor, level: str, high: float, delta: float | None) -> Tensor:
    """`prob_ratio`, with the largest number, a constant, for an infinite one whose gradient clip or advantage 0 removes."""
    new, old, advantages = x["logprobs"], x["old_logprobs"], x["advantages"]
    removed = (advantages == 0) | (advantages > 0) & (high != math.inf) | (advantages < 0) & (delta not in (None, math.inf))
    removed = removed & prob_ratio(new.detach(), old, level, counts).isinf()
    if level == "sequence":  # one ratio for all its tokens
        removed = (removed | ~counts).all(-1, keepdim=True) & counts
    ratio = prob_ratio(torch.where(removed, 0.0, new), torch.where(removed, 0.0, old), level, counts)
    return torch.where(removed, torch.finfo(ratio.dtype).max, ratio)


def _surrogate(
    surrogate: str, ratio: Tensor, logprobs: Tensor, advantages: Tensor, epsilon: float, high: float | None, delta: float | None
) -> tuple[Tensor, Tensor]:
    """The policy's loss per token and where it is clipped: PPO's, or CISPO's, whose clipped weight has no gradient."""
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, got {surrogate!r}")
    if surrogate == "clip":
        return clipped_surrogate(ratio, advantages, epsilon, high, delta)
    if delta is not None:
        raise ValueError(f"delta bounds the ratio of surrogate 'clip'; 'cispo' is bounded by epsilon_high, got delta = {delta!r}")
    high = epsilon if high is None else high
    _check_number("epsilon", epsilon, least=0)
    _check_number("epsilon_high", high, least=0)
    weight = ratio.detach().clamp(1 - epsilon, 1 + high)
    return policy_gradient_loss(logprobs, weight * advantages), weight != ratio.detach()


def _select(counts: Tensor | None, x: Tensor) -> Tensor:
    """x, with 0 where it does not count: not a product, as 0 · NaN is NaN."""
    return x if counts is None else torch.where(counts, x, 0.0)


def _check_number(
    name: str, value: float, least: float | None = None, above: float | None = None, below: float | None = None
) -> None:
    """Raise ValueError unless value is a real number, no NaN, within these limits."""
    wrong = isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value)
    limits = " and ".join(f"{sign} {limit}" for sign, limit in ((">=", least), (">", above), ("<", below)) if limit is not None)
    if wrong or (least is not None and value < least) or (above is not None and value <= above) or (
        below is not None and value >= below
    ):
        raise ValueError(f"{name} must be a number {limits}".rstrip() + f", got {value!r}")


def _checked_denom(denom: float | Tensor) -> float | Tensor:
    """The divisor, if it is a number > 0 or a tensor with one (not looked at on a GPU)."""
    if isinstance(denom, Tensor):
        if denom.numel() != 1 or (denom.device.type == "cpu" and not denom.item() > 0):
            raise ValueError(f"denom must be one number > 0, got {denom.tolist()}")
        return denom.detach().reshape(())
    _check_number("denom", denom, above=0, below=math.inf)
    return denom


def _check_alike(**named: Tensor) -> None:
    """Raise ValueError unless all are floating point tensors of one shape, dtype and device."""
    for name, values in named.items():
        if not isinstance(values, Tensor) or not values.is_floating_point():
            kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
            raise ValueError(f"{name} must be a floating point tensor, got {kind}")
    names, first = " and ".join(named), next(iter(named.values()))
    if any(values.shape != first.shape for values in named.values()):
        shapes = " and ".join(str(tuple(values.shape)) for values in named.values())
        raise ValueError(f"{names} must have one shape, got {shapes}; nothing is broadcast")
    if any(values.dtype != first.dtype or values.device != first.device for values in named.values()):
        kinds = " and ".join(f"{values.dtype} on {values.device}" for values in named.values())
        raise ValueError(f"{names} must have one dtype and device, got {kinds}")
