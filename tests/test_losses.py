"""Losses: value and gradient by hand, and against an enumerated MDP."""

import pytest
import torch

from rlbook import exact
from rlbook.losses import policy_gradient_loss
from rlbook.returns import total_returns


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
