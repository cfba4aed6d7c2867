"""The Kullback-Leibler divergence KL(π‖π_ref), exact and estimated from samples of π, and as a loss.

Every function is per element: nothing is averaged here. The forms that take log-probabilities speak of one action, or of
one token given its prefix; their sum over the tokens is not the divergence of the sequences as far as the gradient goes
(eq-k-sequence).
"""

import torch
from torch import Tensor

from rlbook.masked import check_floating
from rlbook.scan import check_like

__all__ = ["kl_exact", "kl_k1", "kl_k2", "kl_k3", "kl_loss"]
ESTIMATORS = ("k1", "k2", "k3")


def kl_exact(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """Divergence of two categorical distributions, summed over all actions.

    KL(π‖π_ref) = Σ_a π(a) (log π(a) − log π_ref(a)),  π = softmax(logits)  (eq-kl-penalty)

    Shapes: both [..., actions], normalised or not. Returns [...], in nats. An action with π(a) = 0 (logit −∞) contributes 0,
    one with π_ref(a) = 0 < π(a) makes it infinite. Rounding leaves an absolute error of about 1e-7 in float32.
    Differentiable in both. Raises ValueError for shapes that differ, an empty last axis, integers, a mix of dtypes or devices.
    Tests hold it to torch.distributions and its gradient to Σ_a ∇π(a) (log π(a) − log π_ref(a)).
    """
    _check("logits", logits, ref_logits=ref_logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits needs a last axis of actions with at least one entry, got shape {tuple(logits.shape)}")
    impossible = logits == -torch.inf
    logprobs = logits.log_softmax(-1)
    log_ratio = torch.where(impossible, 0.0, logprobs - ref_logits.log_softmax(-1))
    return (logprobs.exp() * log_ratio).sum(-1)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The log-ratio: unbiased, of either sign, and the noisiest of the three close to π_ref.

    k1 = log π(a|s) − log π_ref(a|s),  E_{a~π}[k1] = KL(π‖π_ref)  (eq-k1)

    Shapes: both [...], of one action each, drawn from π. Returns [...], in nats. Differentiable in both; as a loss see
    `kl_loss`. Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices.
    NaN propagates. Source: Schulman, "Approximating KL Divergence" (2020), whose q is π and p is π_ref and whose r is
    π_ref/π. Tests hold its mean to `kl_exact` by enumeration.
    """
    _check("logprobs", logprobs, ref_logprobs=ref_logprobs)
    return logprobs - ref_logprobs


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Half the squared log-ratio: never negative, biased.

    k2 = ½ (log π(a|s) − log π_ref(a|s))²  (eq-k2)

    Its mean is no divergence, but agrees with KL(π‖π_ref) to second order at π = π_ref, and its gradient is right:
    E_{a~π}[∇k2] = ∇KL(π‖π_ref) (eq-k-gradients). Arguments and errors are those of `kl_k1`. Returns [...], in nats squared.
    Tests hold its mean and its gradient to enumeration.
    """
    _check("logprobs", logprobs, ref_logprobs=ref_logprobs)
    return 0.5 * (logprobs - ref_logprobs).square()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """The log-ratio and a control variate of mean 0: unbiased and never negative.

    k3 = e^x − 1 − x,  x = log π_ref(a|s) − log π(a|s),  E_{a~π}[k3] = KL(π‖π_ref)  (eq-k3)

    The exponent is that of π_ref/π: with the sign reversed the mean is χ²(π‖π_ref) − KL(π‖π_ref). It overflows where
    π_ref/π does. The difference is taken in float64, where expm1(x) − x keeps its digits: from log-probabilities in
    float32 with |x| >= 1e-8 the relative error is 1e-7, while the plain form has no correct digit below |x| = 1e-4.
    Unbiased only where π_ref(a) > 0 implies π(a) > 0. Arguments and errors are those
    of `kl_k1`. Source: the same. Tests hold its mean to `kl_exact` by enumeration, and float32 to float64.
    """
    _check("logprobs", logprobs, ref_logprobs=ref_logprobs)
    x = ref_logprobs - logprobs
    wide = x if x.device.type == "mps" else x.double()  # Metal has no float64
    return (wide.expm1() - wide).to(x.dtype)


def kl_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    old_logprobs: Tensor | None = None,
    estimator: str = "k3",
    unbiased_grad: bool = True,
) -> Tensor:
    """A KL penalty per element, to be minimised: which divergence it holds down depends on the estimator (eq-k-gradients).

    With a ~ π_old, w = π(a|s)/π_old(a|s) and differentiable (old_logprobs=None: a ~ π, w = π/sg(π), of value 1):

        estimator   unbiased_grad=True: loss, its expected gradient    unbiased_grad=False (needs a ~ π)
        k1          w k1        ∇KL(π‖π_ref)                           k1      0: no penalty at all
        k2          k2          ∇KL(π‖π_ref), for a ~ π                k2      the same
        k3          w k3        ∇KL(π‖π_ref)                           k3      ∇KL(π_ref‖π), the other direction

    Why: ∇E_{a~π}[f] = E_{a~π}[f ∇log π + ∇f]. The weight supplies the first term, which a plain sample of f leaves out. Of k1
    that is all there is, as E[∇k1] = E[∇log π] = 0; ∇k2 = k1 ∇log π is the first term of k1 already, so k2 is never weighted;
    ∇k3 = (1 − π_ref/π) ∇log π averages to −Σ_a π_ref ∇log π. The value of w k1 and of w k3 is unbiased for KL(π‖π_ref)
    under a ~ π_old. With unbiased_grad=False and old_logprobs the table's last column holds at π = π_old alone.
    Shapes: all [...]; ref_logprobs and old_logprobs are constants: they are detached. Returns [...], in nats.
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices, another estimator,
    and for k2 with old_logprobs: off-policy its gradient is no divergence's.
    Source: the default of TRL since 1.16 for k3; the derivation is in the chapter on KL. Tests hold every row of the
    table to enumeration in float64.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    if estimator == "k2" and old_logprobs is not None:
        raise ValueError("k2 needs samples of the policy itself and is never weighted; got old_logprobs: use k1 or k3")
    old = {} if old_logprobs is None else {"old_logprobs": old_logprobs}
    _check("logprobs", logprobs, ref_logprobs=ref_logprobs, **old)
    estimate = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}[estimator](logprobs, ref_logprobs.detach())
    if estimator == "k2" or not unbiased_grad:
        return estimate
    sampled_from = logprobs if old_logprobs is None else old_logprobs
    return (logprobs - sampled_from.detach()).exp() * estimate


def _check(name: str, x: Tensor, **others: Tensor) -> None:
    check_floating(name, x)
    for other, values in others.items():
        check_like(other, values, x, x.shape)
