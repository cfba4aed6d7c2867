"""The enumerated MDP against nested loops, automatic differentiation, backward induction and simulation."""

import dataclasses
import itertools
import math

import pytest
import torch

from rlbook import exact

LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
OTHER = torch.tensor([[-0.5, 0.3], [0.1, 0.9]], dtype=torch.float64)


def random_problem(states: int, actions: int, horizon: int, seed: int = 0) -> tuple[exact.MDP, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (states, actions, states)
    initial = torch.rand(states, dtype=torch.float64, generator=g) + 0.1
    transition = torch.rand(shape, dtype=torch.float64, generator=g) + 0.1
    reward = torch.randn(shape, dtype=torch.float64, generator=g)
    mdp = exact.MDP(initial / initial.sum(), transition / transition.sum(-1, keepdim=True), reward, 0.8, horizon)
    return mdp, torch.randn(states, actions, dtype=torch.float64, generator=g)


PROBLEMS = [(exact.two_state_mdp(), LOGITS), random_problem(3, 2, 2), random_problem(2, 3, 1), random_problem(1, 3, 0)]


def by_hand(mdp: exact.MDP, logits: torch.Tensor) -> list[tuple]:
    """(states, actions, rewards, probability) of every trajectory, by nested loops in plain Python."""
    policy = logits.softmax(-1).tolist()
    rho, dynamics, reward = mdp.initial.tolist(), mdp.transition.tolist(), mdp.reward.tolist()
    steps, out = mdp.horizon + 1, []
    for s0 in range(mdp.num_states):
        pairs = itertools.product(range(mdp.num_actions), range(mdp.num_states))
        for path in itertools.product(list(pairs), repeat=steps):
            states, actions, rewards, p = [s0], [], [], rho[s0]
            for a, s in path:
                p *= policy[states[-1]][a] * dynamics[states[-1]][a][s]
                rewards.append(reward[states[-1]][a][s])
                actions.append(a)
                states.append(s)
            out.append((states, actions, rewards, p))
    return out


@pytest.mark.equation("trajectory-probability", "trajectory-probability-sum")
@pytest.mark.parametrize(("mdp", "logits"), PROBLEMS)
def test_trajectories_equal_nested_loops(mdp, logits):
    every, expected = exact.trajectories(mdp), by_hand(mdp, logits)
    assert every.states.tolist() == [row[0] for row in expected]
    assert every.actions.tolist() == [row[1] for row in expected]
    assert every.rewards.tolist() == [row[2] for row in expected]
    probabilities = exact.log_probs(mdp, every, logits).exp()
    torch.testing.assert_close(probabilities.tolist(), [row[3] for row in expected], rtol=1e-12, atol=0)
    assert abs(probabilities.sum().item() - 1) < 1e-12
    total = [math.fsum(mdp.gamma**t * r for t, r in enumerate(row[2])) for row in expected]
    torch.testing.assert_close(exact.returns(mdp, every).tolist(), total, rtol=1e-12, atol=1e-12)


def test_impossible_trajectories_are_left_out():
    mdp = exact.two_state_mdp()
    transition = mdp.transition.clone()
    transition[0, 0] = torch.tensor([1.0, 0.0])
    mdp = dataclasses.replace(mdp, transition=transition, initial=torch.tensor([1.0, 0.0], dtype=torch.float64))
    every = exact.trajectories(mdp)
    assert len(every.actions) == sum(row[3] > 0 for row in by_hand(mdp, LOGITS)) < 64
    assert exact.log_probs(mdp, every, LOGITS).isfinite().all()
    assert exact.gradient(mdp, LOGITS).isfinite().all()


def bellman(mdp: exact.MDP, logits: torch.Tensor) -> torch.Tensor:
    """J by backward induction: V_t(s) = Σ_a π(a|s) Σ_s' P(s'|s,a) [r + γ V_{t+1}(s')]."""
    value = torch.zeros(mdp.num_states, dtype=torch.float64)
    for _ in range(mdp.horizon + 1):
        value = (logits.softmax(-1) * (mdp.transition * (mdp.reward + mdp.gamma * value)).sum(-1)).sum(-1)
    return mdp.initial @ value


@pytest.mark.equation("expected-return", "value-to-go-total")
@pytest.mark.parametrize(("mdp", "logits"), PROBLEMS)
def test_objective_and_gradient_equal_backward_induction(mdp, logits):
    torch.testing.assert_close(exact.expected_return(mdp, logits), bellman(mdp, logits), rtol=0, atol=1e-12)
    logits = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(bellman(mdp, logits), logits)
    got = exact.gradient(mdp, logits)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert not got.requires_grad and got.abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda x: exact.expected_return(mdp, x), (logits,))


@pytest.mark.equation("trajectory-score", "log-derivative")
@pytest.mark.parametrize(("mdp", "logits"), PROBLEMS)
def test_score_is_the_gradient_of_the_log_probability(mdp, logits):
    every = exact.trajectories(mdp)
    few = exact.Trajectories(*(field[:: max(1, len(every.actions) // 25)] for field in every))
    rows = torch.autograd.functional.jacobian(lambda x: exact.log_probs(mdp, few, x), logits).flatten(1)
    torch.testing.assert_close(exact.score(mdp, few, logits), rows, rtol=0, atol=1e-12)


@pytest.mark.equation("score-mean-zero", "policy-gradient")
@pytest.mark.parametrize(("mdp", "logits"), PROBLEMS)
def test_score_has_mean_zero_and_the_estimator_the_gradient(mdp, logits):
    score = exact.moments(mdp, logits, lambda batch, x: exact.score(mdp, batch, x))
    assert score.mean.abs().max() < 1e-12 and score.covariance.diagonal().min() > 1e-3
    estimator = exact.moments(mdp, logits, lambda batch, x: exact.policy_gradient_estimates(mdp, batch, x))
    torch.testing.assert_close(estimator.mean, exact.gradient(mdp, logits).flatten(), rtol=0, atol=1e-12)


def test_weights_per_step_and_per_trajectory():
    mdp = exact.two_state_mdp()
    every = exact.trajectories(mdp)
    weights = torch.randn(every.actions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    got = exact.policy_gradient_estimates(mdp, every, LOGITS, weights)
    one_hot = torch.nn.functional.one_hot
    for i in (0, 17, 99):
        expected = torch.zeros(2, 2, dtype=torch.float64)
        for t in range(3):
            s, a = every.states[i, t], every.actions[i, t]
            expected[s] += weights[i, t] * (one_hot(a, 2) - LOGITS[s].softmax(-1))
        torch.testing.assert_close(got[i], expected.flatten(), rtol=0, atol=1e-12)
    per_trajectory = exact.policy_gradient_estimates(mdp, every, LOGITS, weights[:, 0])
    repeated = exact.policy_gradient_estimates(mdp, every, LOGITS, weights[:, :1].expand(-1, 3))
    assert torch.equal(per_trajectory, repeated)


def test_moments_by_hand():
    mdp = exact.bandit(torch.tensor([1.0, 3.0], dtype=torch.float64))
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # probabilities 1/4 and 3/4
    mean, covariance = exact.moments(mdp, logits, lambda batch, _: torch.stack([batch.rewards[:, 0]] * 2, 1))
    torch.testing.assert_close(mean, torch.tensor([2.5, 2.5], dtype=torch.float64))
    torch.testing.assert_close(covariance, torch.full((2, 2), 0.75, dtype=torch.float64))
    grad = exact.gradient(mdp, logits)  # π_a (r_a − J)
    torch.testing.assert_close(grad, torch.tensor([[0.25 * -1.5, 0.75 * 0.5]], dtype=torch.float64))


@pytest.mark.parametrize(("mdp", "logits"), PROBLEMS)
def test_kl_obeys_the_chain_rule(mdp, logits):
    other = logits.flip(-1) + 0.3 * logits
    expected = torch.tensor(0.0, dtype=torch.float64)
    occupancy, policy = mdp.initial, logits.softmax(-1)
    per_state = (policy * (logits.log_softmax(-1) - other.log_softmax(-1))).sum(-1)
    for _ in range(mdp.horizon + 1):
        expected = expected + occupancy @ per_state
        occupancy = torch.einsum("s,sa,sax->x", occupancy, policy, mdp.transition)
    got = exact.kl(mdp, logits, other)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert got > 0.01 and abs(exact.kl(mdp, logits, logits).item()) < 1e-14
    assert (exact.kl(mdp, other, logits) - got).abs() > 1e-6 or mdp.num_actions == 2


def test_kl_where_a_policy_never_takes_an_action():
    never = torch.tensor([[0.2, -math.inf], [-0.3, 0.4]], dtype=torch.float64, requires_grad=True)
    nearly = torch.tensor([[0.2, -60.0], [-0.3, 0.4]], dtype=torch.float64)
    got = exact.kl(MDP, never, LOGITS)
    torch.testing.assert_close(got.detach(), exact.kl(MDP, nearly, LOGITS), rtol=1e-12, atol=0)
    got.backward()
    assert never.grad.isfinite().all() and never.grad[1].abs().max() > 0.01
    assert exact.kl(MDP, never.detach(), never.detach()) == 0
    assert exact.kl(MDP, LOGITS, never.detach()) == math.inf
    assert exact.kl(MDP, LOGITS * math.nan, LOGITS).isnan()


@pytest.mark.equation("trajectory-probability")
def test_samples_follow_the_enumerated_probabilities():
    mdp, n = exact.two_state_mdp(), 200_000
    batch = exact.sample(mdp, LOGITS, n, torch.Generator().manual_seed(0))
    every = exact.trajectories(mdp)

    def code(b):
        digits = torch.cat([b.states, b.actions], dim=1)
        return (digits * 2 ** torch.arange(digits.shape[1])).sum(1)

    order = code(every).argsort()
    index = torch.searchsorted(code(every)[order], code(batch))
    assert torch.equal(code(every)[order][index], code(batch))
    assert torch.equal(every.rewards[order][index], batch.rewards)
    expected = n * exact.log_probs(mdp, every, LOGITS).exp()[order]
    chi2 = ((torch.bincount(index, minlength=128) - expected) ** 2 / expected).sum().item()
    assert 70 < chi2 < 200  # 127 degrees of freedom: both tails beyond 1e-4


def test_sampling_is_reproducible_and_never_impossible():
    mdp = dataclasses.replace(exact.two_state_mdp(), initial=torch.tensor([0.0, 1.0], dtype=torch.float64))
    a, b = (exact.sample(mdp, LOGITS, 500, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert (a.states[:, 0] == 1).all() and a.states.shape == (500, 4) and a.actions.shape == (500, 3)


def test_dtype_follows_the_mdp():
    mdp = exact.two_state_mdp()
    mdp = exact.MDP(mdp.initial.float(), mdp.transition.float(), mdp.reward.float(), mdp.gamma, mdp.horizon)
    assert exact.gradient(mdp, LOGITS.float()).dtype == torch.float32
    torch.testing.assert_close(exact.gradient(mdp, LOGITS.float()).double(),
                               exact.gradient(exact.two_state_mdp(), LOGITS), rtol=0, atol=1e-5)


MDP = exact.two_state_mdp()
EVERY = exact.trajectories(MDP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": MDP.initial[:1] * 0 + 1}, "transition must be"),
        ({"initial": MDP.initial[None]}, "initial must be"),
        ({"transition": MDP.transition[0]}, "transition must be"),
        ({"reward": MDP.reward[:, 0]}, "reward must be"),
        ({"reward": MDP.reward.long()}, "floating"),
        ({"reward": MDP.reward.float()}, "float32"),
        ({"reward": MDP.reward * math.nan}, "finite"),
        ({"transition": MDP.transition * 0.5}, "sum to one"),
        ({"transition": 1 - 2 * MDP.transition}, "negative"),
        ({"gamma": 1.5}, "gamma"),
        ({"gamma": None}, "gamma must be a number"),
        ({"gamma": "x"}, "gamma must be a number"),
        ({"horizon": True}, "horizon"),
        ({"horizon": -1}, "horizon"),
        ({"horizon": 2.0}, "horizon"),
    ],
)
def test_a_bad_mdp_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MDP, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.expected_return(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.expected_return(MDP, LOGITS.float()), "float32"),
        (lambda: exact.expected_return(MDP, [[0.0, 0.0]] * 2), "logits must be.*got list"),
        (lambda: exact.gradient(MDP, [[0.0, 0.0]] * 2), "logits must be.*got list"),
        (lambda: exact.sample(MDP, LOGITS, 0), "n must be"),
        (lambda: exact.sample(MDP, LOGITS, 1.5), "n must be an integer >= 1, got 1.5"),
        (lambda: exact.sample(MDP, LOGITS, True), "n must be an integer"),
        (lambda: exact.sample(MDP, LOGITS, None), "n must be an integer"),
        (lambda: exact.sample(MDP, [[0.0, 0.0]] * 2, 5), "logits must be.*got list"),
        (lambda: exact.sample(MDP, LOGITS * math.nan, 5), "logits must be finite.*got nan"),
        (lambda: exact.sample(MDP, LOGITS * math.inf, 5), "logits must be finite.*got inf"),
        (lambda: exact.sample(MDP, LOGITS, 5, 0), "generator must be a torch.Generator on cpu, got 0"),
        (lambda: exact.log_probs(MDP, EVERY._replace(actions=EVERY.actions - 1), LOGITS), "actions must be from 0 to 1, got -1"),
        (lambda: exact.log_probs(MDP, EVERY._replace(states=EVERY.states - 1), LOGITS), "states must be from 0 to 1, got -1"),
        (lambda: exact.log_probs(MDP, EVERY._replace(states=EVERY.states + 1), LOGITS), "states must be from 0 to 1, got 2"),
        (lambda: exact.log_probs(MDP, EVERY._replace(states=EVERY.states[:, 1:]), LOGITS), "disagree"),
        (lambda: exact.log_probs(MDP, EVERY._replace(actions=EVERY.actions.double()), LOGITS), "actions must be.*int64"),
        (lambda: exact.log_probs(MDP, EVERY._replace(actions=EVERY.actions[0]), LOGITS), "actions must be"),
        (lambda: exact.log_probs(MDP, EVERY.states, LOGITS), "states must be.*got NoneType"),
        (lambda: exact.score(MDP, EVERY._replace(actions=EVERY.actions - 1), LOGITS), "actions must be from 0 to 1"),
        (lambda: exact.returns(MDP, EVERY._replace(rewards=EVERY.rewards[0])), "rewards must be"),
        (lambda: exact.policy_gradient_estimates(MDP, EVERY, LOGITS, [1.0] * 128), "weights must be a tensor.*got list"),
        (lambda: exact.policy_gradient_estimates(MDP, EVERY, LOGITS, torch.ones(128).long()), "weights are torch.int64"),
        (lambda: exact.policy_gradient_estimates(MDP, EVERY, LOGITS, torch.ones(128)), "weights are torch.float32"),
        (lambda: exact.bandit(torch.ones(2).long()), "rewards must be a floating point"),
        (lambda: exact.moments(MDP, LOGITS, None), "estimator must be a function"),
        (lambda: exact.moments(MDP, LOGITS, lambda batch, _: None), "estimator must return.*got NoneType"),
        (lambda: exact.moments(MDP, LOGITS, lambda batch, _: batch.rewards.float()), "estimator must return.*float32"),
        (lambda: exact.trajectories(exact.two_state_mdp(horizon=12)), "too large"),
        (lambda: exact.bandit(torch.ones(2, 2)), r"\[A\]"),
        (lambda: exact.moments(MDP, LOGITS, lambda batch, _: batch.rewards[:, 0]), "estimator"),
        (lambda: exact.policy_gradient_estimates(MDP, exact.trajectories(MDP), LOGITS, torch.ones(3)), "weights"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    mdp = exact.MDP(MDP.initial.cuda(), MDP.transition.cuda(), MDP.reward.cuda(), MDP.gamma, MDP.horizon)
    torch.testing.assert_close(exact.gradient(mdp, LOGITS.cuda()).cpu(), exact.gradient(MDP, LOGITS))
    batch = exact.sample(mdp, LOGITS.cuda(), 100, torch.Generator("cuda").manual_seed(0))
    assert batch.rewards.is_cuda and exact.score(mdp, batch, LOGITS.cuda()).is_cuda
