"""Equations of the chapters, held by the package's functions at sizes that no prover has seen."""

import pytest
import torch

from rlbook import exact, returns

torch64 = torch.float64


def random_mdp(seed, states=3, actions=3, horizon=2, gamma=0.9):
    """An MDP and logits with every number drawn at random."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch64)

    mdp = exact.MDP(draw(states).softmax(-1), draw(states, actions, states).softmax(-1), draw(states, actions, states),
                    gamma, horizon)
    return mdp, draw(states, actions)


@pytest.mark.equation("bandit-gradient", "softmax-score")
@pytest.mark.parametrize("actions", [2, 3, 7])
def test_gradient_of_a_bandit_is_its_closed_form(actions):
    generator = torch.Generator().manual_seed(actions)
    payoffs, logits = torch.randn(2, actions, generator=generator, dtype=torch64)
    policy = logits.softmax(-1)
    closed = policy * (payoffs - policy @ payoffs)
    assert torch.allclose(exact.gradient(exact.bandit(payoffs), logits[None])[0], closed, atol=1e-12)


@pytest.mark.equation("general-form")
@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_all_weights_of_the_general_form_have_one_mean_and_different_variances(horizon):
    mdp, logits = random_mdp(5, states=2, actions=3, horizon=horizon)
    every = exact.trajectories(mdp)
    discount = mdp.gamma ** torch.arange(horizon + 1, dtype=torch64)
    togo = returns.rewards_to_go(every.rewards, gamma=mdp.gamma)
    baseline = 3 * torch.randn(horizon + 1, mdp.num_states, generator=torch.Generator().manual_seed(1), dtype=torch64)
    b = baseline[torch.arange(horizon + 1), every.states[:, :-1]]
    weights = [returns.total_returns(every.rewards, gamma=mdp.gamma), discount * togo, discount * (togo - b)]
    moments = [exact.moments(mdp, logits, lambda batch, x, w=w: exact.policy_gradient_estimates(mdp, batch, x, w))
               for w in weights]
    truth = exact.gradient(mdp, logits).flatten()
    for one in moments:
        assert torch.allclose(one.mean, truth, atol=1e-12)
    spreads = [one.covariance.trace().item() for one in moments]
    assert abs(spreads[1] - spreads[2]) > 1e-3
    assert horizon == 0 or abs(spreads[0] - spreads[1]) > 1e-3


@pytest.mark.equation("sample-mean", "sample-mean-variance", "gradient-estimate")
def test_mean_and_variance_of_the_mean_of_two_trajectories():
    mdp, logits = random_mdp(6, states=2, actions=2, horizon=1)
    every = exact.trajectories(mdp)
    chance = exact.log_probs(mdp, every, logits).exp()
    one = exact.policy_gradient_estimates(mdp, every, logits)
    pair = (one[:, None] + one[None]).flatten(0, 1) / 2
    weight = (chance[:, None] * chance[None]).flatten()
    mean = weight @ pair
    covariance = (pair - mean).T @ (weight[:, None] * (pair - mean))
    moments = exact.moments(mdp, logits, lambda batch, x: exact.policy_gradient_estimates(mdp, batch, x))
    assert torch.allclose(mean, exact.gradient(mdp, logits).flatten(), atol=1e-12)
    assert torch.allclose(covariance, moments.covariance / 2, atol=1e-12)


@pytest.mark.equation("gradient-ascent", "ascent-step")
def test_slope_of_a_step_is_the_squared_gradient():
    mdp, logits = random_mdp(7)
    direction = exact.gradient(mdp, logits)
    step = 1e-5
    ahead, behind = (exact.expected_return(mdp, logits + sign * step * direction) for sign in (1, -1))
    assert torch.allclose((ahead - behind) / (2 * step), direction.square().sum(), rtol=1e-6)


@pytest.mark.equation("state-value-to-go", "state-value-total", "expected-return")
@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_recursion_over_steps_to_go_is_the_sum_over_trajectories(horizon):
    mdp, logits = random_mdp(8, states=2, actions=2, horizon=horizon)
    policy = logits.softmax(-1)
    value = torch.zeros(2, dtype=torch64)
    for _ in range(horizon + 1):
        value = (policy[:, :, None] * mdp.transition * (mdp.reward + mdp.gamma * value)).sum((1, 2))
    assert torch.allclose(mdp.initial @ value, exact.expected_return(mdp, logits), atol=1e-12)


@pytest.mark.equation("score-mean-zero", "policy-gradient")
@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_recursions_of_score_and_product_give_zero_and_the_gradient(horizon):
    mdp, logits = random_mdp(9, states=2, actions=2, horizon=horizon)
    policy = logits.softmax(-1)
    score = torch.zeros(2, 2, 4, dtype=torch64)                    # [s, a, component]
    for s in range(2):
        for a in range(2):
            score[s, a, 2 * s + a] += 1
            score[s, a, 2 * s:2 * s + 2] -= policy[s]
    chance = (policy[:, :, None] * mdp.transition)[..., None]
    value, scores, product = torch.zeros(2, dtype=torch64), *torch.zeros(2, 2, 4, dtype=torch64)
    for _ in range(horizon + 1):
        ahead = (mdp.reward + mdp.gamma * value)[..., None]
        product = (chance * (score[:, :, None] * ahead + mdp.reward[..., None] * scores + mdp.gamma * product)).sum((1, 2))
        scores = (chance * (score[:, :, None] + scores)).sum((1, 2))
        value = (chance * ahead).sum((1, 2))[:, 0]
    assert torch.allclose(scores, torch.zeros_like(scores), atol=1e-12)
    assert torch.allclose(mdp.initial @ product, exact.gradient(mdp, logits).flatten(), atol=1e-12)


@pytest.mark.equation("fisher-information", "score-mean-zero")
def test_mean_curvature_of_the_log_policy_is_minus_the_mean_squared_score():
    logits = torch.randn(4, generator=torch.Generator().manual_seed(3), dtype=torch64)
    policy = logits.softmax(-1)
    scores = torch.eye(4, dtype=torch64) - policy
    curvature = sum(p * torch.autograd.functional.hessian(lambda x, a=a: x.log_softmax(-1)[a], logits)
                    for a, p in enumerate(policy))
    assert torch.allclose(policy @ scores, torch.zeros(4, dtype=torch64), atol=1e-14)
    assert torch.allclose(curvature, -scores.T @ (policy[:, None] * scores), atol=1e-12)


@pytest.mark.equation("trajectory-probability-sum", "trajectory-probability-every-horizon", "probability-to-go")
@pytest.mark.parametrize("horizon", [0, 2, 5])
def test_probabilities_of_all_trajectories_sum_to_one(horizon):
    mdp, logits = random_mdp(10, states=2, actions=3, horizon=horizon)
    total = exact.log_probs(mdp, exact.trajectories(mdp), logits).exp().sum()
    assert abs(total.item() - 1) < 1e-12


@pytest.mark.equation("log-derivative", "log-derivative-outcome", "score-function")
def test_gradient_of_a_mean_is_the_mean_of_payoff_times_score():
    generator = torch.Generator().manual_seed(11)
    network = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)).double()
    theta = [0.5 * torch.randn(p.shape, generator=generator, dtype=torch64).requires_grad_() for p in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    payoff = torch.randn(4, generator=generator, dtype=torch64)
    parameters = dict(zip(names, theta, strict=True))
    log_p = torch.func.functional_call(network, parameters, torch.ones(2, dtype=torch64)).log_softmax(-1)
    direct = torch.autograd.grad(log_p.exp() @ payoff, theta, retain_graph=True)
    scores = [torch.autograd.grad(log_p[x], theta, retain_graph=True) for x in range(4)]
    for part, whole in enumerate(direct):
        by_scores = sum(log_p[x].exp() * payoff[x] * scores[x][part] for x in range(4))
        assert torch.allclose(by_scores, whole, atol=1e-12)
