"""Bias and variance of generalized advantage estimation with right and wrong critics, by enumeration."""

import pytest
import torch

from rlbook import exact
from rlbook.exact import weights
from rlbook.experiments.variances import random_mdp

LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
UNIFORM = torch.zeros(2, 2, dtype=torch.float64)
MDP = exact.two_state_mdp()
LAMBDAS = [0.0, 0.3, 0.7, 0.95, 1.0]


def problems(count: int = 6) -> list[tuple[exact.MDP, torch.Tensor, torch.Tensor]]:
    """MDPs, logits and the error [T+2, S] of a critic, 0 at the end."""
    g = torch.Generator().manual_seed(11)
    sizes = [(2, 2, 2, 0.9), (3, 2, 1, 0.5), (2, 3, 1, 1.0), (1, 3, 2, 0.8), (2, 2, 3, 1.0), (3, 3, 0, 0.9)]
    pairs = [(MDP, LOGITS), *(random_mdp(*sizes[i % len(sizes)], "normal", g) for i in range(count))]
    return [(mdp, logits, error(mdp, g)) for mdp, logits in pairs]


def error(mdp: exact.MDP, g: torch.Generator) -> torch.Tensor:
    values = torch.randn(mdp.horizon + 2, mdp.num_states, dtype=torch.float64, generator=g)
    values[-1] = 0
    return values


def close(got, expected, atol=1e-12):
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=atol)


def by_pair(mdp, logits, values: torch.Tensor) -> torch.Tensor:
    """Conditional means [T+1, S, A] of values [N, T+1] given the state and the action of the same time."""
    every = exact.trajectories(mdp)
    chance, size = exact.log_probs(mdp, every, logits).exp(), mdp.num_states * mdp.num_actions
    rows = []
    for t in range(mdp.horizon + 1):
        pair = every.states[:, t] * mdp.num_actions + every.actions[:, t]
        total = torch.zeros(size, dtype=chance.dtype).index_add(0, pair, chance)
        rows.append(torch.zeros(size, dtype=chance.dtype).index_add(0, pair, chance * values[:, t]) / total)
    return torch.stack(rows).unflatten(1, (mdp.num_states, mdp.num_actions))


def closed_form_bias(mdp, logits, e: torch.Tensor, lam: float) -> torch.Tensor:
    """−e_t(s) + γ(1 − λ) Σ_l (γλ)^l E[e_{t+l+1}(s_{t+l+1}) | s, a], with the sum written out."""
    policy = logits.softmax(-1)
    step = torch.einsum("sa,sax->sx", policy, mdp.transition)
    rows = []
    for t in range(mdp.horizon + 1):
        total, reach = -e[t, :, None].expand(mdp.num_states, mdp.num_actions), mdp.transition
        for l in range(mdp.horizon + 1 - t):
            total = total + mdp.gamma * (1 - lam) * (mdp.gamma * lam) ** l * reach @ e[t + l + 1]
            reach = reach @ step
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.equation("gae", "gae-bias", "td-error")
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize(("mdp", "logits", "e"), problems())
def test_bias_of_every_term_has_its_closed_form(mdp, logits, e, lam):
    critic = exact.state_values(mdp, logits) + e
    every = exact.trajectories(mdp)
    enumerated = by_pair(mdp, logits, weights.gae(mdp, every, critic, lam) / weights.discounts(mdp))
    got = exact.expected_gae(mdp, logits, critic, lam)
    close(got, enumerated)
    close(got - exact.advantages(mdp, logits), closed_form_bias(mdp, logits, e, lam))


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize(("mdp", "logits", "e"), problems())
def test_bias_and_variance_of_the_gradient(mdp, logits, e, lam):
    values, every = exact.state_values(mdp, logits), exact.trajectories(mdp)
    got = exact.gae_bias_variance(mdp, logits, values + e, lam)
    wrong = exact.expected_gae(mdp, logits, values + e, lam) - exact.advantages(mdp, logits)
    weighted = weights.discounts(mdp)[:, None, None] * exact.occupancies(mdp, logits) * wrong
    close(got.bias, (weighted - logits.softmax(-1) * weighted.sum(-1, keepdim=True)).sum(0).flatten())
    close(got.squared_bias, got.bias.square().sum())
    close(got.variance, exact.total_variance(mdp, logits, weights.gae(mdp, every, values + e, lam)))
    assert got.squared_bias < 1e-24 or (lam < 1 and mdp.horizon > 0 and mdp.num_states > 1)
    doubled = exact.gae_bias_variance(mdp, logits, values + 2 * e, lam)
    close(doubled.bias, 2 * got.bias)
    for n in (1, 40):
        close(got.mean_squared_error(n), got.squared_bias + got.variance / n)


@pytest.mark.parametrize("lam", LAMBDAS)
def test_a_critic_that_is_wrong_by_a_number_for_each_time_gives_no_bias(lam):
    shift = torch.tensor([[3.0], [-1.0], [2.0], [0.0]], dtype=torch.float64)
    assert exact.gae_bias_variance(MDP, LOGITS, exact.state_values(MDP, LOGITS) + shift, lam).bias.abs().max() < 1e-12


def test_mean_squared_error_is_that_of_sample_means():
    half = exact.state_values(MDP, LOGITS) / 2
    expected = exact.gae_bias_variance(MDP, LOGITS, half, 0.5).mean_squared_error(20)
    batch = exact.sample(MDP, LOGITS, 20 * 4000, torch.Generator().manual_seed(0))
    phi = weights.gae(MDP, batch, half, 0.5)
    means = exact.policy_gradient_estimates(MDP, batch, LOGITS, phi).unflatten(0, (4000, 20)).mean(1)
    squares = (means - exact.gradient(MDP, LOGITS).flatten()).square().sum(1)
    assert abs(squares.mean() - expected) < 4 * squares.std() / 4000**0.5


def test_a_critic_of_half_the_value_has_its_best_lambda_inside_and_higher_with_more_data():
    mdp = exact.two_state_mdp(horizon=3)
    half = exact.state_values(mdp, UNIFORM) / 2
    grid = [i / 20 for i in range(21)]
    results = [exact.gae_bias_variance(mdp, UNIFORM, half, lam) for lam in grid]
    bias, variance = ([getattr(r, name).item() for r in results] for name in ("squared_bias", "variance"))
    assert bias == sorted(bias, reverse=True) and variance == sorted(variance)
    best = [min(grid, key=dict(zip(grid, (r.mean_squared_error(n).item() for r in results), strict=True)).get)
            for n in (10, 100, 1000)]
    assert best == [0.25, 0.75, 0.95]


@pytest.mark.parametrize(("mdp", "logits", "e"), problems())
def test_with_the_true_critic_the_spread_of_a_term_grows_with_lambda(mdp, logits, e):
    """Var[Σ_l (γλ)^l δ_{t+l} | s_t, a_t] = Σ_l (γλ)^{2l} Var[δ_{t+l} | s_t, a_t]: later errors are uncorrelated."""
    every, values = exact.trajectories(mdp), exact.state_values(mdp, logits)
    delta, steps = weights.td_errors(mdp, every, values), mdp.horizon + 1

    def spread(x):
        return by_pair(mdp, logits, x.square()) - by_pair(mdp, logits, x).square()

    before = torch.zeros(())
    for lam in LAMBDAS:
        got = spread(weights.gae(mdp, every, values, lam) / weights.discounts(mdp))
        expected = torch.zeros_like(got)
        for l in range(steps):
            later = torch.cat([delta[:, l:], torch.zeros_like(delta[:, :l])], dim=1)
            expected = expected + (mdp.gamma * lam) ** (2 * l) * spread(later)
        close(got, expected)
        assert (got >= before - 1e-12).all()
        before = got


def test_the_variance_of_the_gradient_may_fall_as_lambda_rises_with_the_true_critic():
    mdp = exact.stopping_mdp(0.0, 1.0, horizon=2)
    going_on = torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64).log()  # with probability 3/4
    falling = [exact.gae_bias_variance(mdp, going_on, exact.state_values(mdp, going_on), lam) for lam in LAMBDAS]
    variances = [one.variance.item() for one in falling]
    assert variances == sorted(variances, reverse=True)
    assert variances[0] == pytest.approx(0.0626, abs=1e-4) and variances[-1] < 1e-12
    assert all(one.squared_bias < 1e-24 for one in falling)
    rising = [exact.gae_bias_variance(MDP, UNIFORM, exact.state_values(MDP, UNIFORM), lam).variance.item() for lam in LAMBDAS]
    assert rising == sorted(rising)


V = exact.state_values(MDP, LOGITS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.gae_bias_variance(MDP, LOGITS, V, -0.1), "lam must be"),
        (lambda: exact.gae_bias_variance(MDP, LOGITS[0], V, 0.5), "logits must be"),
        (lambda: exact.gae_bias_variance(MDP, LOGITS, V + 1, 0.5), "last row of a critic"),
        (lambda: exact.gae_bias_variance(MDP, LOGITS, V.float(), 0.5), "critic is torch.float32"),
        (lambda: exact.gae_bias_variance(MDP, LOGITS, None, 0.5), "critic must be a table.*NoneType"),
        (lambda: exact.expected_gae(MDP, LOGITS, V[:, 0], 0.5), "critic must be a table"),
        (lambda: exact.expected_gae(MDP, LOGITS, V, "x"), "lam must be a number"),
        (lambda: exact.expected_gae(MDP, None, V, 0.5), "logits must be"),
        (lambda: exact.gae_bias_variance(MDP, LOGITS, V, 0.5).mean_squared_error(0), "n must be an integer >= 1, got 0"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
