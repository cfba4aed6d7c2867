"""Variances of policy gradient estimates, the baselines that minimise them, and the examples of the chapters."""

import itertools
import math

import pytest
import torch

from rlbook import exact
from rlbook.exact import weights
from rlbook.experiments import variances
from rlbook.experiments.variances import random_mdp

LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
UNIFORM = torch.zeros(2, 2, dtype=torch.float64)
MDP = exact.two_state_mdp()
EVERY = exact.trajectories(MDP)


def problems(count: int = 10) -> list[tuple[exact.MDP, torch.Tensor]]:
    g = torch.Generator().manual_seed(3)
    sizes = [(2, 2, 2, 0.9), (3, 2, 1, 0.5), (2, 3, 1, 1.0), (1, 3, 2, 0.8), (2, 2, 3, 1.0)]
    return [(MDP, LOGITS), *(random_mdp(*sizes[i % len(sizes)], "normal", g) for i in range(count))]


def close(got, expected, atol=1e-12):
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


def variance(mdp, logits, phi) -> torch.Tensor:
    """tr Cov by `moments`."""
    return exact.moments(mdp, logits, lambda b, x: exact.policy_gradient_estimates(mdp, b, x, phi)).covariance.trace()


def chain(steps: int, seed: int) -> tuple[exact.MDP, torch.Tensor]:
    """A world in which time t has two states of its own, so that scores at different times are orthogonal."""
    g = torch.Generator().manual_seed(seed)
    size = 2 * (steps + 1)
    transition = torch.zeros(size, 2, size, dtype=torch.float64)
    for s in range(size):
        after = min(2 * (s // 2 + 1), size - 2)
        transition[s, :, after : after + 2] = torch.rand(2, 2, dtype=torch.float64, generator=g).softmax(-1)
    initial = torch.zeros(size, dtype=torch.float64)
    initial[:2] = 0.5
    reward = torch.randn(size, 2, size, dtype=torch.float64, generator=g)
    return exact.MDP(initial, transition, reward, 0.9, steps - 1), torch.randn(size, 2, dtype=torch.float64, generator=g)


# ---- variances

@pytest.mark.equation("sample-mean-variance")
@pytest.mark.parametrize(("mdp", "logits"), problems())
def test_variance_of_the_sum_and_of_its_terms(mdp, logits):
    every = exact.trajectories(mdp)
    phi = torch.randn(every.actions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total, table = exact.total_variance(mdp, logits, phi), exact.term_covariances(mdp, logits, phi)
    close(total, variance(mdp, logits, phi))
    close(table.sum(), total)
    close(table, table.T)
    for t in range(mdp.horizon + 1):
        alone = torch.zeros_like(phi)
        alone[:, t] = phi[:, t]
        close(table[t, t], variance(mdp, logits, alone))
    close(exact.term_covariances(mdp, logits, phi[:, 0]).sum(), variance(mdp, logits, phi[:, 0]))
    close(exact.total_variance(mdp, logits), variance(mdp, logits, exact.returns(mdp, every)))


@pytest.mark.parametrize(("mdp", "logits"), problems(4))
def test_scores_of_steps(mdp, logits):
    every = exact.trajectories(mdp)
    steps, norms = exact.step_scores(mdp, every, logits), exact.squared_scores(mdp, logits)
    close(steps.sum(dim=1), exact.score(mdp, every, logits))
    close(steps.square().sum(-1), norms[every.states[:, :-1], every.actions])


@pytest.mark.equation("phi-reward-to-go", "action-value")
@pytest.mark.parametrize(("mdp", "logits"), [*problems(), chain(3, 0)])
def test_variance_of_the_reward_to_go_in_two_parts(mdp, logits):
    every = exact.trajectories(mdp)
    parts = exact.to_go_variance(mdp, logits)
    togo, q = weights.reward_to_go(mdp, every), weights.action_value(mdp, every, logits)
    close(parts.action_value, exact.term_covariances(mdp, logits, q).diagonal())
    close(parts.action_value + parts.added, exact.term_covariances(mdp, logits, togo).diagonal())
    assert (parts.added > -1e-12).all() and parts.added.sum() > 1e-6


@pytest.mark.parametrize("steps", [2, 3])
def test_with_distinct_states_the_parts_add_up_for_the_sum_and_else_they_need_not(steps):
    def difference(mdp, logits):
        every = exact.trajectories(mdp)
        values = (weights.reward_to_go(mdp, every), weights.action_value(mdp, every, logits))
        togo, q = (exact.total_variance(mdp, logits, phi) for phi in values)
        return togo - q, exact.to_go_variance(mdp, logits).added.sum()

    close(*difference(*chain(steps, 1)))
    got, added = difference(exact.stopping_mdp(0.0, 4.0), UNIFORM)
    close(got, -1.0)  # the reward-to-go has less variance than Q, although each of its terms has at least as much
    assert added > 0


# ---- baselines

@pytest.mark.equation("optimal-baseline")
@pytest.mark.parametrize(("mdp", "logits"), problems())
def test_optimal_baseline_minimises_every_term_and_the_saving_is_exact(mdp, logits):
    every, best = exact.trajectories(mdp), exact.optimal_baseline(mdp, logits)
    least = exact.term_covariances(mdp, logits, weights.reward_to_go(mdp, every, best)).diagonal()
    norms = (exact.occupancies(mdp, logits) * exact.squared_scores(mdp, logits)).sum(-1)
    g = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1.0, 10.0):
        other = best + scale * torch.randn(best.shape, dtype=torch.float64, generator=g)
        got = exact.term_covariances(mdp, logits, weights.reward_to_go(mdp, every, other)).diagonal()
        excess = weights.discounts(mdp).square() * (norms * (other - best).square()).sum(-1)
        torch.testing.assert_close(got - least, excess, rtol=1e-9, atol=1e-12)
        assert (got >= least - 1e-12).all()
    for index in itertools.product(range(mdp.horizon + 1), range(mdp.num_states)):
        other = best.clone()
        other[index] += 0.1
        got = exact.term_covariances(mdp, logits, weights.reward_to_go(mdp, every, other)).diagonal()
        assert got[index[0]] > least[index[0]]


def test_optimal_baseline_where_nothing_is_random_is_the_value():
    g = torch.Generator().manual_seed(0)
    mdp, logits = random_mdp(2, 1, 1, 0.9, "normal", g)
    close(exact.optimal_baseline(mdp, logits), exact.state_values(mdp, logits)[:-1])
    never = torch.tensor([[0.0, -math.inf], [0.0, 0.0]], dtype=torch.float64)
    got = exact.optimal_baseline(MDP, never)
    close(got[:, 0], exact.state_values(MDP, never)[:-1, 0])
    assert got.isfinite().all()


@pytest.mark.parametrize("sharing", ["none", "time", "all"])
@pytest.mark.parametrize(("mdp", "logits"), problems(5))
def test_the_quadratic_is_the_total_variance(mdp, logits, sharing):
    every, form = exact.trajectories(mdp), exact.baseline_quadratic(mdp, logits, sharing)
    steps, states = mdp.horizon + 1, mdp.num_states
    size = {"none": steps * states, "time": states, "all": 1}[sharing]
    assert form.linear.shape == (size,) and form.matrix.shape == (size, size)
    table = exact.total_optimal_baseline(mdp, logits, sharing)
    assert table.shape == (steps, states)
    least = exact.total_variance(mdp, logits, weights.reward_to_go(mdp, every, table))
    g = torch.Generator().manual_seed(0)
    for _ in range(3):
        b = torch.randn(size, dtype=torch.float64, generator=g)
        wide = b.reshape(-1, states if size > 1 else 1).expand(steps, states)
        got = exact.total_variance(mdp, logits, weights.reward_to_go(mdp, every, wide))
        close(form(b), got)
        assert got > least + 1e-6
    if sharing == "none":
        close(form.matrix, form.matrix.diagonal().diag())
        best = exact.optimal_baseline(mdp, logits)
        assert least <= exact.total_variance(mdp, logits, weights.reward_to_go(mdp, every, best)) + 1e-12
        close(form(table.flatten()), least)


@pytest.mark.equation("optimal-baseline")
@pytest.mark.parametrize("seed", range(3))
def test_termwise_and_total_agree_in_a_bandit_with_distinct_states_and_where_actions_do_not_move(seed):
    g = torch.Generator().manual_seed(seed)
    one_state = random_mdp(1, 3, 2, 0.8, "normal", g)  # visited three times, but whatever one does
    for mdp, logits in (random_mdp(1, 4, 0, 1.0, "normal", g), chain(3, seed), one_state):
        every, reached = exact.trajectories(mdp), exact.occupancies(mdp, logits).sum(-1) > 0
        terms, total = exact.optimal_baseline(mdp, logits), exact.total_optimal_baseline(mdp, logits)
        close(terms[reached], total[reached], atol=1e-10)
        close(exact.look_up(mdp, every, terms), exact.look_up(mdp, every, total), atol=1e-10)


@pytest.mark.equation("optimal-baseline")
@pytest.mark.parametrize(
    ("go_on", "stop", "expected"),  # with the return, reward-to-go, V, termwise b*, best for the sum
    [(1.0, 0.0, [3 / 2, 3 / 4, 3 / 32, 3 / 32, 0]), (-1.0, 2.0, [2, 1 / 4, 27 / 32, 27 / 32, 0]),
     (-1.0, 1.0, [11 / 8, 3 / 8, 3 / 8, 3 / 8, 0])],
)
def test_the_best_baseline_of_the_sum_is_not_that_of_its_terms(go_on, stop, expected):
    mdp = exact.stopping_mdp(go_on, stop)
    every, logits = exact.trajectories(mdp), torch.zeros(2, 2, dtype=torch.float64)
    terms, total = exact.optimal_baseline(mdp, logits), exact.total_optimal_baseline(mdp, logits)
    phis = [weights.total_return(mdp, every), *(weights.reward_to_go(mdp, every, b) for b in
            (None, exact.state_values(mdp, logits), terms, total))]
    close(torch.stack([exact.total_variance(mdp, logits, phi) for phi in phis]), expected)
    q = [(go_on + (go_on + stop) / 2, stop), (go_on, stop)]  # of going on and of stopping, at t = 0 and 1
    close(terms[:, 0], [sum(pair) / 2 for pair in q])
    gap = (go_on - stop) / 2
    close(total[:, 0] - terms[:, 0], [gap / 2, gap])


def test_a_fee_makes_the_return_less_noisy_than_the_reward_to_go():
    mdp = exact.entrance_fee_mdp()
    every, logits = exact.trajectories(mdp), torch.zeros(2, 2, dtype=torch.float64)
    close(exact.total_variance(mdp, logits, weights.total_return(mdp, every)), 1 / 2)
    close(exact.total_variance(mdp, logits, weights.reward_to_go(mdp, every)), 5 / 2)


@pytest.mark.equation("optimal-baseline")
def test_the_value_as_baseline_can_increase_the_variance():
    mdp = exact.bandit(torch.tensor([1.0, -3.0], dtype=torch.float64))
    logits = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log()
    every = exact.trajectories(mdp)
    for baseline, value, expected in (
        (torch.zeros(1, dtype=torch.float64), 0.0, 1.2168),
        (exact.state_values(mdp, logits), 0.6, 1.8432),
        (exact.optimal_baseline(mdp, logits), -2.6, 0.0),
    ):
        close(baseline.flatten()[0], value)
        phi = weights.reward_to_go(mdp, every, baseline)
        close(exact.total_variance(mdp, logits, phi), expected)
        covariance = exact.moments(mdp, logits, lambda b, x, w=phi: exact.policy_gradient_estimates(mdp, b, x, w)).covariance
        close(covariance.diagonal(), [expected / 2] * 2)


# ---- the survey

@pytest.mark.parametrize("rewards", variances.REWARDS)
def test_survey_counts_what_it_says(rewards):
    shares, table = variances.survey(20, rewards, seed=5)
    assert table.shape == (20, 6) and len(shares) == 30
    again = torch.Generator().manual_seed(5)
    for i in range(4):
        mdp, logits = random_mdp(2, 2 + i % 2, 2, 0.9, rewards, again)
        every, square = exact.trajectories(mdp), exact.gradient(mdp, logits).square().sum()
        close(table[i, 0], exact.total_variance(mdp, logits) + square, atol=1e-10)
        baseline = weights.reward_to_go(mdp, every, exact.optimal_baseline(mdp, logits))
        close(table[i, 3], exact.total_variance(mdp, logits, baseline) + square, atol=1e-10)
        close(table[i, 5], exact.total_variance(mdp, logits, weights.advantage(mdp, every, logits)) + square, atol=1e-10)
        assert rewards != "positive" or mdp.reward.min() > 0
    v, togo = table[:, 2], table[:, 1]
    assert shares["to-go − V", "to-go"] == pytest.approx((v > togo).double().mean().item())
    assert torch.equal(variances.survey(20, rewards, seed=5)[1], table)


def test_rewards_by_state_share_a_number_at_each_state():
    tables = [random_mdp(3, 2, 1, 0.9, rewards, torch.Generator().manual_seed(1))[0].reward for rewards in ("by state", "normal")]
    shift = tables[0] - tables[1]
    close(shift, shift[:, :1, :1].expand_as(shift), atol=1e-12)
    assert 1 < shift.std() < 9 and len(set(shift[:, 0, 0].tolist())) == 3


def test_survey_finds_that_less_noise_in_the_weight_is_no_guarantee():
    shares, _ = variances.survey(200)
    assert shares["to-go", "return"] < 0.02 and 0.1 < shares["to-go − V", "to-go"] < 0.3 and 0.1 < shares["A", "Q"] < 0.3
    positive, _ = variances.survey(200, "positive")
    assert positive["to-go", "return"] == positive["to-go − V", "to-go"] == positive["A", "Q"] == 0


G = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.total_variance(MDP, LOGITS, torch.ones(3)), "weights must be"),
        (lambda: exact.total_variance(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.term_covariances(MDP, LOGITS, [1.0]), "weights must be a tensor.*list"),
        (lambda: exact.term_covariances(MDP, LOGITS, torch.ones(128, 3)), "weights are torch.float32"),
        (lambda: exact.step_scores(MDP, EVERY._replace(actions=EVERY.actions - 1), LOGITS), "actions must be from 0"),
        (lambda: exact.squared_scores(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.to_go_variance(MDP, None), "logits must be"),
        (lambda: exact.optimal_baseline(MDP, LOGITS.float()), "float32"),
        (lambda: exact.baseline_quadratic(MDP, LOGITS, "state"), "sharing must be one of .*got 'state'"),
        (lambda: exact.total_optimal_baseline(MDP, LOGITS, None), "sharing must be one of .*got None"),
        (lambda: exact.baseline_quadratic(MDP, LOGITS, "all")(torch.zeros(2)), r"a tensor of 1 numbers, got \(2,\)"),
        (lambda: exact.baseline_quadratic(MDP, LOGITS, "all")(0.0), "baseline must be a tensor.*float"),
        (lambda: random_mdp(2, 2, 1, 0.9, "uniform", G), "rewards must be one of"),
        (lambda: random_mdp(0, 2, 1, 0.9, "normal", G), "states must be an integer >= 1"),
        (lambda: random_mdp(2, 1.5, 1, 0.9, "normal", G), "actions must be an integer >= 1"),
        (lambda: random_mdp(2, 2, 1, 0.9, "normal", 0), "generator must be a torch.Generator, got 0"),
        (lambda: variances.survey(0), "count must be"),
        (lambda: variances.survey(1, seed=-1), "seed must be"),
        (lambda: variances.survey(1, gamma=2.0), "gamma must be"),
        (lambda: variances.survey(1, horizon=-1), "horizon"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
