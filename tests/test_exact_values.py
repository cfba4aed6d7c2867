"""Values, occupancies and weights of the exact MDP against conditional means over the enumerated trajectories."""

import dataclasses

import pytest
import torch

from rlbook import exact
from rlbook.exact import weights
from rlbook.experiments.variances import random_mdp

LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
MDP = exact.two_state_mdp()
EVERY = exact.trajectories(MDP)


def problems(count: int = 30) -> list[tuple[exact.MDP, torch.Tensor]]:
    """The running example and random MDPs of several sizes and discounts."""
    g = torch.Generator().manual_seed(7)
    sizes = [(1, 3, 2, 1.0), (2, 2, 2, 0.9), (3, 2, 1, 0.5), (2, 3, 1, 1.0), (2, 2, 3, 0.8), (3, 3, 0, 0.9)]
    return [(MDP, LOGITS), *(random_mdp(*sizes[i % len(sizes)], "normal", g) for i in range(count))]


def conditional(values: torch.Tensor, chance: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
    """Means of values [N] in each of `count` groups of the trajectories."""
    total = torch.zeros(count, dtype=chance.dtype).index_add(0, groups, chance)
    return torch.zeros(count, dtype=chance.dtype).index_add(0, groups, chance * values) / total


def to_go(mdp: exact.MDP, every: exact.Trajectories) -> torch.Tensor:
    """G_t [N, T+1], as the definition's double sum."""
    steps = range(mdp.horizon + 1)
    columns = [sum(mdp.gamma ** (k - t) * every.rewards[:, k] for k in steps if k >= t) for t in steps]
    return torch.stack(columns, dim=1)


@pytest.mark.equation("state-value", "action-value", "advantage", "bellman")
@pytest.mark.parametrize(("mdp", "logits"), problems(12))
def test_values_are_conditional_expectations(mdp, logits):
    every = exact.trajectories(mdp)
    chance, togo = exact.log_probs(mdp, every, logits).exp(), to_go(mdp, every)
    v, q, a = (f(mdp, logits) for f in (exact.state_values, exact.action_values, exact.advantages))
    spread, occupied = exact.return_variances(mdp, logits), exact.occupancies(mdp, logits)
    states, actions = mdp.num_states, mdp.num_actions
    assert v.shape == (mdp.horizon + 2, states) and q.shape == a.shape == (mdp.horizon + 1, states, actions)
    assert (v[-1] == 0).all()
    for t in range(mdp.horizon + 1):
        s, pair = every.states[:, t], every.states[:, t] * actions + every.actions[:, t]
        torch.testing.assert_close(v[t], conditional(togo[:, t], chance, s, states), rtol=0, atol=1e-12)
        torch.testing.assert_close(q[t].flatten(), conditional(togo[:, t], chance, pair, states * actions), rtol=0, atol=1e-12)
        centred = (togo[:, t] - q[t].flatten()[pair]).square()
        torch.testing.assert_close(spread[t].flatten(), conditional(centred, chance, pair, states * actions), rtol=0, atol=1e-12)
        share = torch.zeros(states * actions, dtype=chance.dtype).index_add(0, pair, chance)
        torch.testing.assert_close(occupied[t].flatten(), share, rtol=0, atol=1e-12)
    policy = logits.softmax(-1)
    assert (policy * a).sum(-1).abs().max() < 1e-12 and torch.equal(a, q - v[:-1, :, None])
    torch.testing.assert_close(mdp.initial @ v[0], exact.expected_return(mdp, logits), rtol=0, atol=1e-12)


def test_values_are_differentiable():
    logits = LOGITS.clone().requires_grad_()
    (got,) = torch.autograd.grad(MDP.initial @ exact.state_values(MDP, logits)[0], logits)
    torch.testing.assert_close(got, exact.gradient(MDP, LOGITS), rtol=0, atol=1e-12)
    for table in (exact.action_values, exact.advantages, exact.occupancies):
        assert torch.autograd.gradcheck(lambda x, f=table: f(MDP, x), (logits,))


def test_look_up_reads_tables_along_trajectories():
    table = torch.randn(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    of_pairs, of_states = exact.look_up(MDP, EVERY, table), exact.look_up(MDP, EVERY, table[..., 0])
    constant = exact.look_up(MDP, EVERY, table[0, 0])
    assert torch.equal(exact.look_up(MDP, EVERY, torch.cat([table[..., 0], table[:1, :, 0]])), of_states)
    for i in (0, 31, 90):
        for t in range(3):
            s, a = EVERY.states[i, t], EVERY.actions[i, t]
            assert of_pairs[i, t] == table[t, s, a] and of_states[i, t] == table[t, s, 0] and constant[i, t] == table[0, 0, s]


@pytest.mark.equation("general-form", "phi-return", "phi-reward-to-go", "phi-baseline", "gae")
@pytest.mark.parametrize(("mdp", "logits"), problems())
def test_every_weight_gives_the_gradient(mdp, logits):
    every, g = exact.trajectories(mdp), torch.Generator().manual_seed(1)
    wrong = torch.randn(mdp.horizon + 1, mdp.num_states, dtype=torch.float64, generator=g)
    values = exact.state_values(mdp, logits)
    phis = [weights.total_return(mdp, every), weights.reward_to_go(mdp, every), weights.reward_to_go(mdp, every, wrong),
            weights.reward_to_go(mdp, every, wrong[0]), weights.reward_to_go(mdp, every, values),
            weights.action_value(mdp, every, logits), weights.advantage(mdp, every, logits),
            weights.gae(mdp, every, values, 0.0), weights.gae(mdp, every, values[:-1], 0.4), weights.gae(mdp, every, wrong, 1.0)]
    truth = exact.gradient(mdp, logits).flatten()
    for phi in phis:
        assert phi.shape == every.actions.shape
        mean = exact.moments(mdp, logits, lambda b, x, w=phi: exact.policy_gradient_estimates(mdp, b, x, w)).mean
        torch.testing.assert_close(mean, truth, rtol=0, atol=1e-12)
    pairs = zip(phis[1:6], phis[2:6], strict=False)
    assert mdp.horizon == 0 or all((a - b).abs().max() > 1e-3 for a, b in pairs)


def test_weights_are_what_their_formulas_say():
    critic = torch.tensor([[0.3, -0.2], [0.5, 0.1], [-0.4, 0.7]], dtype=torch.float64)
    g, lam, r, s = 0.9, 0.4, EVERY.rewards[77].tolist(), EVERY.states[77].tolist()
    v = [critic[t, s[t]].item() for t in range(3)] + [0.0]
    delta = [r[t] + g * v[t + 1] - v[t] for t in range(3)]
    gae = [sum((g * lam) ** (k - t) * delta[k] for k in range(t, 3)) for t in range(3)]
    for got, expected in (
        (weights.total_return(MDP, EVERY), [r[0] + g * r[1] + g**2 * r[2]] * 3),
        (weights.reward_to_go(MDP, EVERY), [r[0] + g * r[1] + g**2 * r[2], g * r[1] + g**2 * r[2], g**2 * r[2]]),
        (weights.td_errors(MDP, EVERY, critic), delta),
        (weights.gae(MDP, EVERY, critic, lam), [g**t * x for t, x in enumerate(gae)]),
    ):
        assert got[77].tolist() == pytest.approx(expected, abs=1e-14)


def test_lambda_one_is_the_reward_to_go_less_the_critic():
    critic = torch.randn(2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(weights.gae(MDP, EVERY, critic, 1.0), weights.reward_to_go(MDP, EVERY, critic), rtol=0, atol=1e-14)


SHORT = exact.trajectories(exact.two_state_mdp(1))
TABLE = torch.zeros(4, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.state_values(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.action_values(MDP, LOGITS.float()), "float32"),
        (lambda: exact.advantages(MDP, None), "logits must be.*NoneType"),
        (lambda: exact.return_variances(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.occupancies(MDP, LOGITS[0]), "logits must be"),
        (lambda: exact.look_up(MDP, SHORT, TABLE), r"actions must be \[N, T\+1\] = \(32, 3\) for a horizon of T = 2"),
        (lambda: exact.look_up(MDP, EVERY, TABLE[:, :1]), r"table must be a table \[S\] = \(2,\), \[T\+1, S\] = \(3, 2\)"),
        (lambda: exact.look_up(MDP, EVERY, TABLE[:2]), "table must be a table"),
        (lambda: exact.look_up(MDP, EVERY, [0.0, 0.0]), "table must be a table.*got list"),
        (lambda: exact.look_up(MDP, EVERY, TABLE.float()), "table is torch.float32"),
        (lambda: exact.look_up(MDP, EVERY, TABLE[..., None]), r"table must be \[T\+1, S, A\] = \(3, 2, 2\)"),
        (lambda: exact.look_up(MDP, EVERY, torch.zeros(3, 2, 2)), "float64.*got torch.float32"),
        (lambda: weights.total_return(MDP, EVERY._replace(rewards=EVERY.rewards[:, 1:])), "rewards must be"),
        (lambda: weights.total_return(MDP, EVERY._replace(rewards=None)), "rewards must be.*NoneType"),
        (lambda: weights.total_return(MDP, EVERY._replace(rewards=EVERY.rewards.float())), "rewards are torch.float32"),
        (lambda: weights.reward_to_go(MDP, EVERY, 0.5), "baseline must be a table.*got float"),
        (lambda: weights.reward_to_go(MDP, SHORT), "actions must be"),
        (lambda: weights.action_value(MDP, EVERY, LOGITS[0]), "logits must be"),
        (lambda: weights.advantage(MDP, SHORT, LOGITS), "actions must be"),
        (lambda: weights.gae(MDP, EVERY, TABLE, 1.5), "lam must be"),
        (lambda: weights.gae(MDP, EVERY, TABLE, None), "lam must be a number"),
        (lambda: weights.gae(MDP, EVERY, TABLE + 1, 0.5), r"last row of a critic \[T\+2, S\].*must be 0, got \[1.0, 1.0\]"),
        (lambda: weights.td_errors(MDP, EVERY, TABLE[0, :1]), "critic must be a table"),
        (lambda: exact.stopping_mdp(float("nan"), 1.0), "go_on must be a finite number, got nan"),
        (lambda: exact.stopping_mdp(1.0, None), "stop must be a finite number, got None"),
        (lambda: exact.stopping_mdp(1.0, 1.0, -1), "horizon"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dtype_follows_the_mdp():
    single = dataclasses.replace(MDP, initial=MDP.initial.float(), transition=MDP.transition.float(), reward=MDP.reward.float())
    every, logits = exact.trajectories(single), LOGITS.float()
    phi = weights.gae(single, every, exact.state_values(single, logits), 0.5)
    assert phi.dtype == torch.float32
    torch.testing.assert_close(phi.double(), weights.gae(MDP, EVERY, exact.state_values(MDP, LOGITS), 0.5), rtol=0, atol=1e-5)
    assert exact.optimal_baseline(single, logits).dtype == exact.total_variance(single, logits, phi).dtype == torch.float32
