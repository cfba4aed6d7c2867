"""What data of an older policy says about a newer one: importance weights and PPO's surrogate, exactly."""

import math

from torch import Tensor

from rlbook.exact.arguments import log_policy
from rlbook.exact.enumeration import log_probs
from rlbook.exact.estimates import Moments, moments, returns
from rlbook.exact.mdp import MDP, Trajectories
from rlbook.exact.values import advantages, occupancies
from rlbook.exact.weights import discounts
from rlbook.losses import clipped_surrogate


def surrogate(mdp: MDP, logits: Tensor, old_logits: Tensor, epsilon: float = math.inf) -> Tensor:
    """The surrogate objective of a policy, judged by an older policy's states and advantages, a scalar, differentiable.

    L(θ) = E_{τ∼π_old}[Σ_t γ^t min(r_t(θ) A_t, clip(r_t(θ), 1−ε, 1+ε) A_t)],  r_t(θ) = π_θ(a_t|s_t) / π_old(a_t|s_t)
    (eq-surrogate with ε = ∞, eq-clipped-surrogate otherwise), A_t the old policy's true advantage

    Constant in old_logits: everything old is detached. The old policy's probabilities must be positive; those of
    softmax with finite logits are. Raises ValueError for logits that are not [S, A], finite and in the MDP's dtype and
    device, and for ε <= 0. Tests hold it to the sum over all trajectories, and its gradient at θ = θ_old to
    `exact.gradient`.
    """
    old_logits = _finite(mdp, "old_logits", old_logits)
    old = log_policy(mdp, old_logits)
    ratio = (log_policy(mdp, _finite(mdp, "logits", logits, detach=False)) - old).exp()
    judged = advantages(mdp, old_logits)
    loss, _ = clipped_surrogate(ratio.expand_as(judged), judged, epsilon)
    return -(discounts(mdp)[:, None, None] * occupancies(mdp, old_logits) * loss).sum()


def importance_moments(mdp: MDP, logits: Tensor, old_logits: Tensor) -> Moments:
    """Mean and variance, under the old policy, of the return of one trajectory weighted by its ratio.

    E_old[w R] = J(θ),  w = Π_t r_t(θ)  (eq-importance-sampling);  Var_old[w R] = E_old[(w R)²] − J(θ)²

    Both are tensors of one entry. Raises ValueError as `surrogate` does. Tests hold the mean to `expected_return`.
    """
    new = _finite(mdp, "logits", logits)

    def weighted_return(batch: Trajectories, old: Tensor) -> Tensor:
        ratio = (log_probs(mdp, batch, new) - log_probs(mdp, batch, old)).exp()
        return (ratio * returns(mdp, batch))[:, None]

    return moments(mdp, _finite(mdp, "old_logits", old_logits), weighted_return)


def _finite(mdp: MDP, name: str, logits: Tensor, detach: bool = True) -> Tensor:
    log_policy(mdp, logits)
    if not logits.isfinite().all():
        raise ValueError(f"{name} must be finite, got {logits[~logits.isfinite()][0].item()}")
    return logits.detach() if detach else logits
