"""Checkers of the terms of PPO's objective: the clipped surrogate, the critic's loss, the entropy."""

from collections.abc import Callable

import torch
from torch import Tensor

from rlbook import losses
from rlbook.checks.compare import compare, derivative, differentiated


def check_clip(fn: Callable) -> None:
    """fn(ratio, advantages, epsilon) -> (loss, clipped) must be minus the clipped surrogate (eq-clipped-surrogate).

    Elementwise: the loss, its derivative with respect to the ratio, and where that is 0 because of the clip: for ratios
    inside and outside of [1 − ε, 1 + ε], advantages of both signs. Kinks, and advantages of 0, are not tried: what the
    derivative is there is a convention. Every ε is exact in float32 too.
    """
    generator = torch.Generator().manual_seed(9)
    cases = [([ratio], [advantage], 0.25) for ratio in (1.0, 1.1, 0.9, 1.5, 0.5) for advantage in (1.0, -1.0)]
    cases += [([1.4, 0.6], [-2.0, 3.0], 0.5), ([1.6, 0.4], [2.0, -3.0], 0.5)]
    for shape, epsilon in (((4,), 0.125), ((3, 5), 0.25), ((2, 3, 4), 0.5)):
        numbers = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
        cases.append(((0.5 * numbers[0]).exp(), numbers[1], epsilon))
    for ratio, advantages, epsilon in cases:
        ratio, advantages = (torch.as_tensor(x, dtype=torch.float64) for x in (ratio, advantages))
        inputs = {"ratio": ratio, "advantages": advantages, "epsilon": epsilon}
        loss, clipped = losses.clipped_surrogate(**inputs)
        slope = derivative(lambda x, a=advantages, e=epsilon: losses.clipped_surrogate(x, a, e)[0].sum(), ratio)
        compare("the clipped surrogate's loss", inputs, loss, lambda *args: _pair(fn(*args))[0])
        what = "the derivative of the clipped surrogate's loss with respect to the ratio"
        compare(what, inputs, slope, differentiated(lambda *args: _pair(fn(*args))[0]))
        compare("where the clip takes the gradient away", inputs, clipped.double(), lambda *args: _pair(fn(*args))[1])


def check_value_clip(fn: Callable) -> None:
    """fn(values, returns, old_values, clip) must be the clipped value loss as it is coded, elementwise (eq-critic-loss).

    That is ½ max((V − R)², (V_old + clip(V − V_old, −c, c) − R)²), and its derivative with respect to V.
    """
    generator = torch.Generator().manual_seed(10)
    cases = [([value], [target], [0.0], 0.5) for value in (0.25, 1.0, -1.0) for target in (0.0, 2.0, -2.0)]
    for shape, clip in (((4,), 0.25), ((2, 3), 1.0)):
        cases.append((*torch.randn((3, *shape), generator=generator, dtype=torch.float64), clip))
    for *tensors, clip in cases:
        values, targets, old_values = (torch.as_tensor(x, dtype=torch.float64) for x in tensors)
        inputs = {"values": values, "returns": targets, "old_values": old_values, "clip": clip}
        compare("the clipped value loss", inputs, losses.value_loss(**inputs), fn)
        rest = (targets, old_values, clip)
        slope = derivative(lambda x, rest=rest: losses.value_loss(x, *rest).sum(), values)
        compare("the derivative of the clipped value loss", inputs, slope, differentiated(fn))


def check_entropy_gradient(fn: Callable) -> None:
    """fn(logits) must be ∂H/∂z, the gradient of the entropy of softmax(z) with respect to z [..., actions] (eq-log-softmax)."""
    generator = torch.Generator().manual_seed(11)
    cases = [torch.tensor(x, dtype=torch.float64) for x in ([0.0, 0.0], [1.0, 0.0])]
    cases += [torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1) for shape in ((3,), (2, 4))]
    for logits in cases:
        expected = derivative(lambda z: losses.entropy_from_logits(z).sum(), logits)
        compare("the gradient of the entropy", {"logits": logits}, expected, fn)


def _pair(answer: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise TypeError(f"two results are needed, (loss, clipped), got {type(answer).__name__}")
    return answer
