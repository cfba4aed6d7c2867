"""Public checkers: each takes *anyone's* implementation and compares it with the book's.

    checks.check_temperature_score(my_function)      # silent if it is right

A checker tries inputs that are always the same, round numbers or random ones from a fixed seed, and raises
`CounterExample` with the first that fails; the smallest cases come first. An answer that raises, or that is no
function, is such a failure too. `exercise` runs a checker in a chapter and prints the result.
"""

from rlbook.checks.advantages import check_gae, check_lambda_returns
from rlbook.checks.compare import CounterExample, exercise
from rlbook.checks.divergences import check_kl, check_kl_gradient
from rlbook.checks.gradients import (
    check_coin_score,
    check_policy_gradient_estimate,
    check_rewards_to_go,
    check_sample_size,
    check_state_values,
    check_temperature_score,
    check_two_action_baseline,
)
from rlbook.checks.groups import check_aggregate, check_group, check_microbatch_invariance
from rlbook.checks.masks import check_padding_invariance
from rlbook.checks.objectives import check_clip, check_entropy_gradient, check_value_clip

__all__ = [
    "CounterExample",
    "check_aggregate",
    "check_clip",
    "check_coin_score",
    "check_entropy_gradient",
    "check_gae",
    "check_group",
    "check_kl",
    "check_kl_gradient",
    "check_lambda_returns",
    "check_microbatch_invariance",
    "check_padding_invariance",
    "check_policy_gradient_estimate",
    "check_rewards_to_go",
    "check_sample_size",
    "check_state_values",
    "check_temperature_score",
    "check_two_action_baseline",
    "check_value_clip",
    "exercise",
]
