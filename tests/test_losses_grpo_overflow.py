"""The loss of GRPO where the ratio is too large for its dtype: no harm where the clip, delta or advantage 0 removes the token."""

import math

import pytest
import torch

from rlbook.losses import grpo_loss

INF = math.inf
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])
REMOVED = {  # advantages of two completions, settings: the first one's second token, or its sequence, overflows
    "clipped": ([1.0, 0.5], {}),
    "a large advantage": ([1e30, 0.5], {}),
    "advantage 0": ([0.0, 0.5], {}),
    "advantage 0 without a clip": ([0.0, 0.5], {"epsilon": INF}),
    "delta": ([-1.0, 0.5], {"delta": 3.0}),
    "delta without a clip": ([0.0, -0.5], {"epsilon": INF, "epsilon_high": 0.2, "delta": 3.0}),
    "clip higher": ([1.0, 0.5], {"epsilon_high": 0.28, "mode": "dapo"}),
    "a sequence": ([1.0, 0.5], {"level": "sequence", "mode": "dapo"}),
    "a sequence of advantage 0": ([0.0, 0.5], {"level": "sequence", "epsilon": INF}),
    "a sequence above delta": ([-1.0, 0.5], {"level": "sequence", "delta": 3.0}),
    "cispo": ([-1.0, 0.5], {"surrogate": "cispo"}),
    "cispo, advantage 0 and no bound": ([0.0, 0.5], {"surrogate": "cispo", "epsilon": INF}),
}


def inputs(excess, dtype, level="token"):
    """Log-probabilities whose ratio is e^excess: at one token, or, for a level of sequences, at all of the first one's."""
    old = torch.tensor([[-0.5, -400.0, -2.0], [-1.0, -0.7, -300.0]], dtype=dtype)
    change = torch.tensor([[0.05, excess, -0.1], [0.1, -0.3, 250.0]], dtype=dtype)
    if level == "sequence":
        change[0] = excess
    return (old + change).requires_grad_(), old


@pytest.mark.parametrize("excess", [89.0, 390.0])
@pytest.mark.parametrize("name", REMOVED)
def test_value_and_gradient_are_those_of_float64(name, excess):
    """In float64 e^390 is a number like others."""
    advantages, settings = REMOVED[name]
    found = []
    for dtype in (torch.float32, torch.float64):
        logprobs, old = inputs(excess, dtype, settings.get("level", "token"))
        loss, metrics = grpo_loss(logprobs, old, torch.tensor(advantages, dtype=dtype), MASK, **settings)
        regions = [metrics[f"clip_ratio/{part}_mean"].double() for part in ("low", "high", "region")]
        found.append((loss.detach().double(), torch.autograd.grad(loss, logprobs)[0].double(), torch.stack(regions)))
    assert found[0][0].isfinite() and found[0][1].isfinite().all()
    for single, double in zip(*found, strict=True):
        torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-5)
    assert found[0][1][1].abs().sum() > 0  # the other completion learns


@pytest.mark.parametrize("settings", [{}, {"level": "sequence"}, {"delta": INF}])
def test_a_loss_that_is_infinite_is_not_hidden(settings):
    logprobs, old = inputs(390.0, torch.float32, settings.get("level", "token"))
    for advantages, more in (([-1e-3, 0.5], {}), ([1e-3, 0.5], {"epsilon": INF, "delta": None})):
        loss, metrics = grpo_loss(logprobs, old, torch.tensor(advantages), MASK, **{**settings, **more})
        assert loss.isinf() and (loss > 0) == (advantages[0] < 0) and metrics["approx_kl"] == INF
        assert not torch.autograd.grad(loss, logprobs, retain_graph=True)[0][0].isfinite().all()


def test_advantages_of_tokens_and_one_ratio_of_a_sequence():
    """A sequence is removed only if all its tokens are: here one has a negative advantage and an infinite loss."""
    logprobs, old = inputs(390.0, torch.float32, "sequence")
    advantages = torch.tensor([[1.0, 1.0, -1.0], [0.5, 0.5, 0.5]])
    assert grpo_loss(logprobs, old, advantages, MASK, level="sequence")[0] == INF
    advantages[0, 2] = 0.0
    assert torch.autograd.grad(grpo_loss(logprobs, old, advantages, MASK, level="sequence")[0], logprobs)[0].isfinite().all()


def test_a_token_that_was_impossible():
    """log π_old = −∞: no sampler draws it, and an advantage of 0 removes it all the same."""
    logprobs, old = inputs(0.0, torch.float32)
    old[0, 1] = -INF
    loss, _ = grpo_loss(logprobs, old, torch.tensor([0.0, 0.5]), MASK)
    assert loss.isfinite() and torch.autograd.grad(loss, logprobs)[0].isfinite().all()
