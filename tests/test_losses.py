"""Losses of one element each: value and gradient by hand, and against an enumerated MDP."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook import exact
from rlbook.losses import clipped_surrogate, entropy_from_logits, policy_gradient_loss, prob_ratio, value_loss
from rlbook.returns import total_returns

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf


def double(*numbers):
    return torch.tensor(numbers, dtype=DOUBLE)


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def slope(fn, x):
    """The gradient of the sum of fn(x)."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(fn(x).sum(), x)[0]


# -- the policy gradient -----------------------------------------------------------------------------


def test_value_and_gradient_of_each_element():
    logprobs = torch.tensor([[-0.5, -1.0], [-2.0, -0.25]], requires_grad=True)
    advantages = torch.tensor([[2.0, -3.0], [0.5, 4.0]], requires_grad=True)
    loss = policy_gradient_loss(logprobs, advantages)
    assert loss.tolist() == [[1.0, -3.0], [1.0, 1.0]]
    loss.sum().backward()
    assert torch.equal(logprobs.grad, -advantages.detach())
    assert advantages.grad is None  # the weights are constants


@pytest.mark.equation("policy-gradient")
def test_probability_weighted_loss_has_minus_the_exact_gradient():
    mdp = exact.two_state_mdp()
    logits = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    every = exact.trajectories(mdp)
    logprobs = logits.log_softmax(-1)[every.states[:, :-1], every.actions]
    loss = policy_gradient_loss(logprobs, total_returns(every.rewards, gamma=mdp.gamma)).sum(dim=1)
    probabilities = exact.log_probs(mdp, every, logits).exp().detach()
    (probabilities * loss).sum().backward()
    torch.testing.assert_close(-logits.grad, exact.gradient(mdp, logits), rtol=0, atol=1e-12)


@pytest.mark.equation("gradient-estimate", "policy-gradient")
def test_each_trajectory_has_minus_its_closed_form_estimate():
    mdp = exact.two_state_mdp()
    logits = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    batch = exact.sample(mdp, logits, 20, torch.Generator().manual_seed(0))
    logprobs = logits.log_softmax(-1)[batch.states[:, :-1], batch.actions]
    loss = policy_gradient_loss(logprobs, total_returns(batch.rewards, gamma=mdp.gamma)).sum(dim=1)
    closed = exact.policy_gradient_estimates(mdp, batch, logits.detach())
    for i in range(20):
        (autograd,) = torch.autograd.grad(loss[i], logits, retain_graph=True)
        torch.testing.assert_close(-autograd.flatten(), closed[i], rtol=0, atol=1e-12)


def test_nan_propagates():
    assert policy_gradient_loss(torch.tensor([-1.0, -1.0]), torch.tensor([float("nan"), 1.0])).isnan().tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("logprobs", "advantages", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2), "nothing is broadcast"),
        (torch.zeros(2, 3), torch.zeros(2, 1), "nothing is broadcast"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "advantages must be a floating"),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2), "logprobs must be a floating"),
        (torch.zeros(2), 1.0, "advantages must be a floating"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), "dtype"),
        (torch.zeros(2), torch.zeros(2, device="meta"), "device"),
    ],
)
def test_bad_input_is_refused(logprobs, advantages, message):
    with pytest.raises(ValueError, match=message):
        policy_gradient_loss(logprobs, advantages)


# -- the ratio ---------------------------------------------------------------------------------------
@pytest.mark.equation("ratio")
def test_the_ratio_is_a_quotient_of_probabilities():
    new, old = rand(2, 3, 4).log_softmax(-1), rand(2, 3, 4, seed=1).log_softmax(-1)
    torch.testing.assert_close(prob_ratio(new, old), new.exp() / old.exp(), rtol=1e-14, atol=0)
    torch.testing.assert_close(slope(lambda x: prob_ratio(x, old), new), new.exp() / old.exp(), rtol=1e-14, atol=0)


def test_the_old_policy_is_a_constant():
    logprobs = double(-1.0, -2.0).requires_grad_()
    ratio = prob_ratio(logprobs, logprobs)
    assert ratio.tolist() == [1.0, 1.0]
    assert torch.autograd.grad(ratio.sum(), logprobs)[0].tolist() == [1.0, 1.0]  # not 0: the gradient is the score


def test_the_ratio_of_a_sequence_is_the_geometric_mean_of_its_tokens():
    new, old = rand(3, 4), rand(3, 4, seed=1)
    tokens = prob_ratio(new, old)
    ratio = prob_ratio(new, old, "sequence")
    torch.testing.assert_close(ratio, (tokens.prod(-1, keepdim=True) ** 0.25).expand(3, 4), rtol=1e-12, atol=0)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    masked = prob_ratio(new, old, "sequence", mask)
    torch.testing.assert_close(masked[0, :2], tokens[0, :2].prod().sqrt().expand(2), rtol=1e-12, atol=0)
    torch.testing.assert_close(masked[1], ratio[1])
    assert masked[0, 2:].tolist() == [1, 1] and masked[2].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_junk_under_the_mask_reaches_no_ratio_and_no_gradient(level):
    new, old, mask = double(-1.0, NAN, -INF, 5.0), double(-2.0, INF, 0.0, NAN), torch.tensor([1, 0, 0, 0])
    assert prob_ratio(new, old, level, mask).tolist() == [math.e, 1, 1, 1]
    assert slope(lambda x: prob_ratio(x, old, level, mask), new).tolist() == [math.e, 0, 0, 0]


# -- the clipped surrogate ---------------------------------------------------------------------------
REGIONS = [  # ratio, advantage: loss, derivative with respect to the ratio, clipped; with epsilon = 0.25
    (1.5, 2.0, -2.5, 0.0, True),
    (1.5, -2.0, 3.0, 2.0, False),
    (1.125, 2.0, -2.25, -2.0, False),
    (1.125, -2.0, 2.25, 2.0, False),
    (0.5, 2.0, -1.0, -2.0, False),
    (0.5, -2.0, 1.5, 0.0, True),
    (1.0, 2.0, -2.0, -2.0, False),
    (1.0, -2.0, 2.0, 2.0, False),
    (1.25, 2.0, -2.5, -2.0, False),  # the kinks, and no advantage
    (0.75, -2.0, 1.5, 2.0, False),
    (1.5, 0.0, 0.0, 0.0, False),
    (0.5, 0.0, 0.0, 0.0, False),
]


@pytest.mark.equation("clipped-surrogate")
@pytest.mark.parametrize(("ratio", "advantage", "loss", "derivative", "clipped"), REGIONS)
def test_pitfall_19_the_clip_is_used_value_gradient_and_flag(ratio, advantage, loss, derivative, clipped):
    ratio, advantage = double(ratio), double(advantage)
    value, flag = clipped_surrogate(ratio, advantage, 0.25)
    assert value.item() == loss and flag.tolist() == [clipped] and flag.dtype == torch.bool
    assert slope(lambda x: clipped_surrogate(x, advantage, 0.25)[0], ratio).item() == derivative


def test_pitfall_19_the_clip_fraction_counts_one_side_for_each_sign():
    ratio, advantages = double(1.5, 1.5, 0.5, 0.5, 1.0), double(1.0, -1.0, 1.0, -1.0, 1.0)
    assert clipped_surrogate(ratio, advantages)[1].tolist() == [True, False, False, True, False]


@given(st.floats(0.01, 10), st.floats(-5, 5), st.floats(0, 2), st.none() | st.floats(0, 2), st.booleans())
def test_the_loss_is_minus_the_objective_and_flat_where_it_is_clipped(ratio, advantage, low, high, capped):
    ratio, advantage, top = double(ratio), double(advantage), 1 + (low if high is None else high)
    delta = top + 1 if capped else None
    loss, clipped = clipped_surrogate(ratio, advantage, low, high, delta)
    kept = ratio if delta is None else ratio.clamp(max=delta)
    objective = torch.minimum(kept * advantage, ratio.clamp(1 - low, top) * advantage)
    assert torch.equal(loss, -objective)
    assert loss.item() >= -(ratio * advantage).item() or delta is not None
    derivative = slope(lambda x: clipped_surrogate(x, advantage, low, high, delta)[0], ratio).item()
    assert derivative == (0 if clipped else -advantage.item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_flag_and_the_gradient_agree_next_to_the_kink(dtype, sign):
    edge = torch.tensor([1.2 if sign > 0 else 0.8], dtype=dtype)
    for ratio in (edge, torch.nextafter(edge, edge + 1), torch.nextafter(edge, edge - 1)):
        advantage = torch.tensor([sign], dtype=dtype)
        clipped = clipped_surrogate(ratio, advantage)[1].item()
        assert (slope(lambda x, a=advantage: clipped_surrogate(x, a)[0], ratio).item() == 0) == clipped


def test_without_a_clip_the_loss_is_the_surrogate():
    ratio, advantages = rand(50).exp(), rand(50, seed=1)
    loss, clipped = clipped_surrogate(ratio, advantages, INF)
    assert torch.equal(loss, -ratio * advantages) and not clipped.any()


def test_a_higher_upper_bound_and_a_cap_for_negative_advantages():
    ratio, up, down = double(1.25, 1.5, 3.0, 0.5), torch.ones(4, dtype=DOUBLE), -torch.ones(4, dtype=DOUBLE)
    assert clipped_surrogate(ratio, up, 0.2, 0.375)[1].tolist() == [False, True, True, False]
    assert clipped_surrogate(ratio, up, 0.2, 0.375)[0].tolist() == [-1.25, -1.375, -1.375, -0.5]
    assert clipped_surrogate(ratio, down, 0.2, 0.375)[1].tolist() == [False, False, False, True]
    loss, clipped = clipped_surrogate(ratio, down, 0.25, delta=2.0)
    assert loss.tolist() == [1.25, 1.5, 2.0, 0.75] and clipped.tolist() == [False, False, True, True]
    assert slope(lambda x: clipped_surrogate(x, down, 0.25, delta=2.0)[0], ratio).tolist() == [1, 1, 0, 0]
    assert torch.equal(clipped_surrogate(ratio, up, 0.25, delta=2.0)[0], clipped_surrogate(ratio, up, 0.25)[0])
    assert not clipped_surrogate(ratio, 0 * up, 0.25, delta=2.0)[1].any()


def test_advantages_and_the_flag_carry_no_gradient():
    ratio, advantages = double(1.0).requires_grad_(), double(2.0).requires_grad_()
    loss, clipped = clipped_surrogate(ratio, advantages)
    loss.sum().backward()
    assert advantages.grad is None and ratio.grad.item() == -2 and not clipped.requires_grad


# -- the critic --------------------------------------------------------------------------------------
@pytest.mark.equation("critic-loss")
def test_the_value_loss_moves_the_critic_and_not_its_target():
    values, returns = double(1.0, 3.0).requires_grad_(), double(2.0, -1.0).requires_grad_()
    loss = value_loss(values, returns)
    assert loss.tolist() == [0.5, 8.0]
    loss.sum().backward()
    assert values.grad.tolist() == [-1.0, 4.0] and returns.grad is None


CLIPPED_VALUES = [  # value, return, with old value 0 and clip 0.5: loss, derivative
    (0.25, 2.0, 0.5 * 1.75**2, -1.75),  # inside: as without a clip
    (1.0, 2.0, 0.5 * 1.5**2, 0.0),      # moved too far, towards the target: no gradient
    (1.0, -1.0, 0.5 * 2.0**2, 2.0),     # moved too far, away from it: the gradient stays
    (3.0, 1.0, 0.5 * 2.0**2, 2.0),      # beyond the target
    (-1.0, -2.0, 0.5 * 1.5**2, 0.0),
]


@pytest.mark.parametrize(("value", "target", "loss", "derivative"), CLIPPED_VALUES)
def test_value_clipping_as_it_is_coded(value, target, loss, derivative):
    old, target = double(0.0), double(target)
    assert value_loss(double(value), target, old, 0.5).item() == loss
    assert slope(lambda x: value_loss(x, target, old, 0.5), double(value)).item() == derivative
    assert value_loss(double(value), target, old).item() == 0.5 * (value - target.item()) ** 2  # not used without clip


# -- entropy -----------------------------------------------------------------------------------------
@pytest.mark.equation("entropy-bonus", "log-softmax")
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_entropy_and_its_gradient(actions, seed):
    logits = 3 * rand(2, actions, seed=seed)
    entropy = entropy_from_logits(logits)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logits).entropy(), rtol=1e-12, atol=1e-14)
    logprobs = logits.log_softmax(-1)
    closed = -logprobs.exp() * (logprobs + entropy[:, None])
    torch.testing.assert_close(slope(entropy_from_logits, logits), closed, rtol=1e-10, atol=1e-14)
    assert (entropy <= math.log(actions) + 1e-12).all() and (entropy >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_impossible_actions_contribute_nothing_to_the_entropy(dtype):
    logits = torch.tensor([[0.0, -INF, 0.0], [-INF, 5.0, -INF], [0.0, -1e4, -INF]], dtype=dtype)
    torch.testing.assert_close(entropy_from_logits(logits), torch.tensor([math.log(2), 0.0, 0.0], dtype=dtype))
    gradient = slope(entropy_from_logits, logits)
    assert gradient.isfinite().all() and gradient.abs().max() < 1e-6  # each row is at its maximum, or certain
    assert entropy_from_logits(torch.tensor([NAN, 0.0])).isnan()


# -- bad input ---------------------------------------------------------------------------------------
two, three, whole = torch.zeros(2), torch.zeros(3), torch.zeros(2, dtype=torch.int64)
REFUSED = [
    (lambda: prob_ratio(two, three), "logprobs and old_logprobs must have one shape"),
    (lambda: prob_ratio(two, whole), "old_logprobs must be a floating point tensor, got torch.int64"),
    (lambda: prob_ratio(two, two, "word"), "level must be one of token, sequence, got 'word'"),
    (lambda: prob_ratio(two, two, mask=torch.ones(3)), "mask must have the shape and device of logprobs"),
    (lambda: prob_ratio(torch.zeros(()), torch.zeros(()), "sequence"), "last axis of time, got a single number"),
    (lambda: clipped_surrogate(two, three), "ratio and advantages must have one shape"),
    (lambda: clipped_surrogate(two, two.double()), "dtype"),
    (lambda: clipped_surrogate(two, two, -0.1), "epsilon must be a number >= 0, got -0.1"),
    (lambda: clipped_surrogate(two, two, NAN), "epsilon must be a number >= 0, got nan"),
    (lambda: clipped_surrogate(two, two, True), "epsilon must be a number >= 0, got True"),
    (lambda: clipped_surrogate(two, two, 0.2, -1), "epsilon_high must be a number >= 0, got -1"),
    (lambda: clipped_surrogate(two, two, 0.2, delta=1.2), "delta must be > 1 \\+ epsilon, got 1.2"),
    (lambda: clipped_surrogate(two, two, 0.2, 0.5, delta=1.3), "delta must be > 1 \\+ epsilon_high, got 1.3"),
    (lambda: clipped_surrogate(two, two, delta="2"), "delta must be a number, got '2'"),
    (lambda: value_loss(two, three), "values and returns must have one shape"),
    (lambda: value_loss(two, two, three), "values and returns and old_values must have one shape"),
    (lambda: value_loss(two, two, two, 0.0), "clip must be a number > 0, got 0.0"),
    (lambda: value_loss(two, two, None, 0.2), "clip needs old_values"),
    (lambda: entropy_from_logits(whole), "logits must be a floating point tensor"),
    (lambda: entropy_from_logits(torch.zeros(())), "last axis of actions with at least one entry"),
    (lambda: entropy_from_logits(torch.zeros(2, 0)), "last axis of actions with at least one entry"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
