"""Small decision processes, enumerated: the exact answer that every estimator of the book is held to.

Every trajectory τ = (s_0, a_0, ..., s_{T+1}) of a small MDP is written down once, so an expectation is a finite sum,
differentiable and exact up to rounding. Time is the last axis of a batch: actions and rewards have T+1 entries, states
T+2; a table over times and states has time first, [T+1, S]. The policy is a table of logits [S, A],
π_θ(a|s) = softmax(logits[s])_a, and a gradient is flattened to S·A numbers, state by state. Everything takes dtype
(float64, please) and device from the MDP. NaN in the logits propagates.
"""

from rlbook.exact import weights
from rlbook.exact.critics import BiasVariance, expected_gae, gae_bias_variance
from rlbook.exact.enumeration import MOST_TRAJECTORIES, log_probs, sample, trajectories
from rlbook.exact.estimates import (
    Moments,
    expected_return,
    gradient,
    kl,
    moments,
    policy_gradient_estimates,
    returns,
    score,
)
from rlbook.exact.mdp import MDP, Trajectories, bandit, entrance_fee_mdp, stopping_mdp, two_state_mdp
from rlbook.exact.surrogates import importance_moments, surrogate
from rlbook.exact.values import (
    action_values,
    advantages,
    look_up,
    occupancies,
    return_variances,
    state_values,
)
from rlbook.exact.variances import (
    Quadratic,
    ToGoVariance,
    baseline_quadratic,
    optimal_baseline,
    squared_scores,
    step_scores,
    term_covariances,
    to_go_variance,
    total_optimal_baseline,
    total_variance,
)

__all__ = [
    "BiasVariance",
    "MDP",
    "MOST_TRAJECTORIES",
    "Moments",
    "Quadratic",
    "ToGoVariance",
    "Trajectories",
    "action_values",
    "advantages",
    "bandit",
    "baseline_quadratic",
    "entrance_fee_mdp",
    "expected_gae",
    "expected_return",
    "gae_bias_variance",
    "gradient",
    "importance_moments",
    "kl",
    "log_probs",
    "look_up",
    "moments",
    "occupancies",
    "optimal_baseline",
    "policy_gradient_estimates",
    "return_variances",
    "returns",
    "sample",
    "score",
    "squared_scores",
    "state_values",
    "step_scores",
    "stopping_mdp",
    "surrogate",
    "term_covariances",
    "to_go_variance",
    "total_optimal_baseline",
    "total_variance",
    "trajectories",
    "two_state_mdp",
    "weights",
]
