"""Checkers of estimators of KL(π‖π_ref), and of losses that are to hold it down."""

from collections.abc import Callable
from functools import partial

import torch

from rlbook import kl
from rlbook.checks.compare import compare, derivative, differentiated

FUNCTIONS = {"k1": kl.kl_k1, "k2": kl.kl_k2, "k3": kl.kl_k3, "exact": kl.kl_exact}


def check_kl(fn: Callable, estimator: str = "k3") -> None:
    """fn must be one of Schulman's estimators of KL(π‖π_ref), or the exact divergence, and have its derivative.

    estimator "k1", "k2", "k3": fn(logprobs, ref_logprobs), elementwise, of actions drawn from π (eq-k1, eq-k2, eq-k3);
    "exact": fn(logits, ref_logits) -> [...], a sum over the last axis of [..., actions] (eq-kl-penalty).
    Raises ValueError for another estimator.
    """
    if estimator not in FUNCTIONS:
        raise ValueError(f"estimator must be one of {', '.join(FUNCTIONS)}, got {estimator!r}")
    generator = torch.Generator().manual_seed(12)
    ours, exact = FUNCTIONS[estimator], estimator == "exact"
    names = ("logits", "ref_logits") if exact else ("logprobs", "ref_logprobs")
    cases = [([1.0, 0.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 0.0])] if exact else [([-1.0], [-2.0]), ([-2.0], [-1.0])]
    for shape in ((3,), (2, 3), (2, 3, 4)):
        numbers = torch.randn((2, *shape), generator=generator, dtype=torch.float64).round(decimals=1)
        cases.append(numbers if exact else -numbers.abs())
    what = "the divergence" if exact else estimator
    for case in cases:
        inputs = dict(zip(names, (torch.as_tensor(x, dtype=torch.float64) for x in case), strict=True))
        compare(what, inputs, ours(**inputs), fn)
        first, second = inputs.values()
        slope = derivative(lambda x, y=second: ours(x, y).sum(), first)
        compare(f"the derivative of {what} with respect to {names[0]}", inputs, slope, differentiated(fn))


def check_kl_gradient(fn: Callable) -> None:
    """fn(logprobs, ref_logprobs), a loss per sampled action, must have the expected gradient ∇KL(π‖π_ref) (eq-k-gradients).

    One softmax policy; every action counts with its probability, so the mean over samples is exact. The value of the loss
    is not looked at.
    """
    generator = torch.Generator().manual_seed(13)
    cases = [([1.0, 0.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 0.0])]
    cases += [torch.randn((2, size), generator=generator, dtype=torch.float64).round(decimals=1) for size in (3, 5)]
    for case in cases:
        logits, ref_logits = (torch.as_tensor(x, dtype=torch.float64) for x in case)
        expected = derivative(partial(kl.kl_exact, ref_logits=ref_logits), logits)
        inputs = {"logits": logits, "ref_logits": ref_logits}

        def weighted(z, ref):
            logprobs = z.log_softmax(-1)
            return logprobs.exp().detach() * fn(logprobs, ref.log_softmax(-1))

        compare("the expected gradient, with respect to the policy's logits", inputs, expected, differentiated(weighted))
