"""The four weights of the policy gradient, the factor γ^t and the critic, each against its definition written out."""

import ast
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlbook.control import WEIGHTS, CategoricalPolicy, Episodes, ValueNetwork, VPGConfig, collect, load, make_envs, vpg
from rlbook.control.critic import critic_step, critic_targets, episode_values, explained_variance
from rlbook.control.result import CRITIC_METRICS, METRICS, metrics
from rlbook.control.vpg import policy_gradient_step
from rlbook.control.weights import discounted_in_time, uses_critic

SMALL = VPGConfig(seed=3, num_iterations=6, num_envs=5, hidden_sizes=(8,), gamma=0.9, gae_lambda=0.8, device="cpu",
                  critic_epochs=3, max_episode_steps=25)
CRITICS = [name for name in WEIGHTS if uses_critic(name)]


def episodes_and_values() -> tuple[Episodes, torch.Tensor]:
    """Episodes of CartPole, some terminated and some truncated, in float64, and values made up at random."""
    envs, generator = make_envs("CartPole-v1", 8, 20), torch.Generator().manual_seed(1)
    episodes = collect(envs, CategoricalPolicy(4, 2, (8,), generator), generator, seed=2)
    envs.close()
    assert episodes.terminated.any() and episodes.truncated.any() and not episodes.mask.all()
    rewards = torch.rand(episodes.rewards.shape, generator=generator, dtype=torch.float64) * episodes.mask
    values = torch.randn(8, episodes.observations.shape[1], generator=generator, dtype=torch.float64)
    return episodes._replace(rewards=rewards), values


def by_definition(name: str, rewards: list[float], values: list[float], terminated: bool, config: VPGConfig) -> list[float]:
    """Φ_0, ..., Φ_T of one episode, from sums written out; values are V(s_0), ..., V(s_{T+1})."""
    gamma, times = config.gamma, range(len(rewards))
    to_go = [sum(gamma ** (k - t) * rewards[k] for k in times if k >= t) for t in times]
    last = [0.0 if terminated and t == len(rewards) - 1 else values[t + 1] for t in times]
    deltas = [rewards[t] + gamma * last[t] - values[t] for t in times]
    decay = gamma * config.gae_lambda
    return {
        "return": [to_go[0] for t in times],
        "reward_to_go": to_go,
        "baseline": [to_go[t] - values[t] for t in times],
        "gae": [sum(decay ** (k - t) * deltas[k] for k in times if k >= t) for t in times],
    }[name]


@pytest.mark.equation("phi-return", "phi-reward-to-go", "phi-baseline", "gae")
@pytest.mark.parametrize("name", WEIGHTS)
def test_each_weight_by_its_definition(name):
    episodes, values = episodes_and_values()
    config = replace(SMALL, weights=name)
    weights = WEIGHTS[name](episodes, values if uses_critic(name) else None, config)
    assert weights.shape == episodes.mask.shape
    for i, length in enumerate(episodes.lengths.tolist()):
        ended = episodes.terminated[i].any().item()
        expected = by_definition(name, episodes.rewards[i, :length].tolist(), values[i].tolist(), ended, config)
        torch.testing.assert_close(weights[i, :length].tolist(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CRITICS)
def test_what_lies_behind_an_end_reaches_no_weight(name):
    episodes, values = episodes_and_values()
    steps = torch.arange(values.shape[1])
    junk = torch.where(steps > episodes.lengths[:, None], 1e6, values)
    a, b = (WEIGHTS[name](episodes, v, SMALL)[episodes.mask] for v in (values, junk))
    assert torch.equal(a, b)


def test_names_are_four_and_two_need_a_critic():
    assert list(WEIGHTS) == ["return", "reward_to_go", "baseline", "gae"] and CRITICS == ["baseline", "gae"]
    assert metrics(SMALL) == METRICS and metrics(replace(SMALL, weights="gae")) == METRICS + CRITIC_METRICS


def test_each_rung_is_one_statement():
    """What a chapter shows as a difference is one line and nothing else."""
    for weight in WEIGHTS.values():
        docstring, *body = ast.parse(inspect.getsource(weight)).body[0].body
        assert isinstance(docstring, ast.Expr) and [type(statement) for statement in body] == [ast.Return]
        assert list(inspect.signature(weight).parameters) == ["episodes", "values", "config"]


@pytest.mark.parametrize("values", [None, torch.zeros(8, 3), torch.zeros(22), [0.0]])
@pytest.mark.parametrize("name", CRITICS)
def test_values_of_other_shapes_are_refused(name, values):
    episodes, good = episodes_and_values()
    for bad in (values, good[:1], good[:, :-1]):
        with pytest.raises(ValueError, match=r"values must be a tensor \(8, \d+\), V of every state.*got"):
            WEIGHTS[name](episodes, bad, SMALL)


@pytest.mark.equation("general-form")
@pytest.mark.parametrize("discount_time", [True, False])
@pytest.mark.parametrize("name", WEIGHTS)
def test_one_update_by_hand(name, discount_time):
    """ĝ = 1/|D| Σ_τ Σ_t γ^t ∇ log π(a_t|s_t) Φ_t, each gradient on its own; R(τ) never carries γ^t."""
    episodes, values = episodes_and_values()
    config = replace(SMALL, weights=name, discount_time=discount_time)
    policy = CategoricalPolicy(4, 2, (8,), torch.Generator().manual_seed(5)).double()
    episodes = episodes._replace(observations=episodes.observations.double())
    expected = [torch.zeros_like(p) for p in policy.parameters()]
    for i, length in enumerate(episodes.lengths.tolist()):
        ended = episodes.terminated[i].any().item()
        phi = by_definition(name, episodes.rewards[i, :length].tolist(), values[i].tolist(), ended, config)
        for t in range(length):
            factor = config.gamma**t if discount_time and name != "return" else 1.0
            logprob = policy(episodes.observations[i, t]).log_softmax(-1)[episodes.actions[i, t]]
            gradients = torch.autograd.grad(logprob, list(policy.parameters()))
            expected = [e + factor * phi[t] * g / 8 for e, g in zip(expected, gradients, strict=True)]
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
    before = [p.detach().clone() for p in policy.parameters()]
    loss, entropy = policy_gradient_step(policy, optimizer, episodes, values, config)
    for parameter, old, e in zip(policy.parameters(), before, expected, strict=True):
        torch.testing.assert_close(-parameter.grad, e, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(parameter.detach(), old + 0.5 * e)
    assert np.isfinite(loss) and entropy.shape == episodes.mask.shape and not entropy.requires_grad


def test_time_is_discounted_from_zero_and_not_at_gamma_one():
    weights, config = torch.ones(2, 4, dtype=torch.float64), replace(SMALL, weights="gae")
    assert discounted_in_time(weights, config).tolist() == [pytest.approx([1, 0.9, 0.81, 0.729])] * 2
    assert torch.equal(discounted_in_time(weights, replace(config, gamma=1.0)), weights)
    assert discounted_in_time(weights, replace(config, gamma=0.0)).tolist() == [[1, 0, 0, 0]] * 2
    assert torch.equal(discounted_in_time(weights, SMALL), weights)  # R(τ)


# ---- the critic

def test_values_are_those_of_the_network_one_for_each_state():
    episodes, _ = episodes_and_values()
    critic = ValueNetwork(4, (8,), torch.Generator().manual_seed(0))
    values = episode_values(critic, episodes)
    assert values.shape == episodes.observations.shape[:2] and not values.requires_grad
    torch.testing.assert_close(values[2, 3], critic.network(episodes.observations[2, 3])[0].detach())
    assert episode_values(None, episodes) is None
    weight = critic.network[-1].weight
    assert weight.norm().item() == pytest.approx(1.0) and not critic.network[-1].bias.any()  # orthogonal, gain 1


@pytest.mark.equation("td-lambda")
def test_targets_are_returns_or_lambda_returns():
    episodes, values = episodes_and_values()
    to_go = critic_targets(episodes, values, replace(SMALL, weights="baseline"))
    one = critic_targets(episodes, values, replace(SMALL, weights="gae", gae_lambda=1.0))
    zero = critic_targets(episodes, values, replace(SMALL, weights="gae", gae_lambda=0.0))
    bootstrapped = episodes.rewards + SMALL.gamma * ~episodes.terminated * values[:, 1:]
    torch.testing.assert_close(zero[episodes.mask], bootstrapped[episodes.mask])
    rows = episodes.terminated.any(1)  # where nothing is bootstrapped, λ = 1 gives the return itself
    torch.testing.assert_close(one[rows][episodes.mask[rows]], to_go[rows][episodes.mask[rows]])
    assert (one - to_go)[~rows][:, :20].abs().min() > 0


@pytest.mark.parametrize("name", CRITICS)
def test_one_step_of_the_critic_by_hand(name):
    episodes, _ = episodes_and_values()
    episodes = episodes._replace(rewards=episodes.rewards.float())
    config = replace(SMALL, weights=name, critic_epochs=1)
    critic = ValueNetwork(4, (8,), torch.Generator().manual_seed(0))
    values, optimizer = episode_values(critic, episodes), torch.optim.SGD(critic.parameters(), lr=0.0)
    loss, explained = critic_step(critic, optimizer, episodes, values, config)
    errors, targets, gradient = [], [], 0.0
    for i, length in enumerate(episodes.lengths.tolist()):
        ended, rewards = episodes.terminated[i].any().item(), episodes.rewards[i, :length].tolist()
        phi = by_definition(name, rewards, values[i].tolist(), ended, config)
        for t in range(length):
            targets.append(phi[t] + values[i, t].item())  # G_t, or the λ-return
            error = critic(episodes.observations[i, t]) - targets[-1]
            gradient = gradient + error.detach() * torch.autograd.grad(error, critic.network[-1].weight)[0]
            errors.append(error.item())
    assert loss == pytest.approx(np.mean(np.square(errors)) / 2, rel=1e-5)
    assert explained == pytest.approx(1 - np.var(errors) / np.var(targets), rel=1e-4)
    torch.testing.assert_close(critic.network[-1].weight.grad, gradient / len(errors), rtol=1e-4, atol=1e-5)


def test_the_critic_learns_and_is_judged_before_it_does():
    episodes, _ = episodes_and_values()
    episodes, config = episodes._replace(rewards=episodes.mask.float()), replace(SMALL, weights="baseline", critic_epochs=300)
    critic = ValueNetwork(4, (16,), torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    judged = [critic_step(critic, optimizer, episodes, episode_values(critic, episodes), config) for _ in range(3)]
    assert judged[1][0] < judged[0][0] / 10 and judged[1][1] > 0.3 > judged[0][1]


@pytest.mark.parametrize("name", CRITICS)
def test_the_weight_comes_from_the_critic_before_its_own_regression(name, monkeypatch):
    """The first policy step uses V_φ as it started, whatever the critic's settings; the second does not."""
    config = replace(SMALL, weights=name, num_iterations=2)
    a, b = (vpg("CartPole-v1", replace(config, critic_epochs=epochs)) for epochs in (1, 50))
    losses = [run.history["losses/policy_loss"] for run in (a, b)]
    assert losses[0][0] == losses[1][0] and losses[0][1] != losses[1][1]
    assert a.history["charts/episodic_return"] == b.history["charts/episodic_return"]  # the second batch: same policy
    assert a.history["losses/value_loss"][0] == b.history["losses/value_loss"][0]


def test_all_rungs_start_from_the_same_policy_and_episodes():
    runs = {name: vpg("CartPole-v1", replace(SMALL, weights=name, num_iterations=1)) for name in WEIGHTS}
    first = runs["return"].history
    for name, run in runs.items():
        assert run.history["charts/episodic_return"] == first["charts/episodic_return"], name
        assert torch.equal(run.generator.get_state(), runs["return"].generator.get_state())
        assert (run.critic is None) == (name not in CRITICS) == (run.critic_optimizer is None)
        assert set(run.history) == set(metrics(run.config))
    assert len({run.history["losses/policy_loss"][0] for run in runs.values()}) == 4
    policy, critic = runs["gae"].policy.network[0].weight, runs["gae"].critic.network[0].weight
    assert policy.shape == critic.shape and not torch.allclose(policy, critic, atol=0.05)  # not one draw used twice


def test_explained_variance_by_hand():
    targets = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert explained_variance(targets, targets) == 1.0
    assert explained_variance(torch.zeros(4), targets) == explained_variance(torch.full((4,), 9.0), targets) == 0.0
    assert explained_variance(-targets, targets) == pytest.approx(-3.0)
    assert explained_variance(targets / 2, targets) == pytest.approx(0.75)
    for equal in (1.0, 7.3, 1e6 / 3, 0.0):  # nothing to explain, whatever rounding leaves of the variance
        assert explained_variance(targets, torch.full((4,), equal)) == 0
        assert explained_variance(targets.repeat(9), torch.full((36,), equal)) == 0
    assert explained_variance(torch.tensor([2.0]), torch.tensor([5.0])) == 0.0


# ---- saved and taken up again

def assert_equal_runs(a, b) -> None:
    assert a.history == b.history and a.config == b.config
    x, y = a.state(), b.state()
    assert set(x) == set(y) == {"policy", "optimizer", "generator", *(["critic", "critic_optimizer"] if a.critic else [])}
    assert torch.equal(x.pop("generator"), y.pop("generator"))
    for name in x:
        for left, right in zip(leaves(x[name]), leaves(y[name]), strict=True):
            assert torch.equal(torch.as_tensor(left), torch.as_tensor(right)), name


def leaves(value) -> list:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [value]


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
@pytest.mark.parametrize("name", WEIGHTS)
def test_row_25_a_resumed_run_equals_an_uninterrupted_one(name, stop, tmp_path):
    config = replace(SMALL, weights=name)
    whole, part = vpg("CartPole-v1", config), vpg("CartPole-v1", replace(config, num_iterations=stop))
    part.save(tmp_path / "part.pt")
    saved = load(tmp_path / "part.pt")
    assert_equal_runs(saved, part)
    assert_equal_runs(vpg("CartPole-v1", config, resume=saved), whole)
    assert_equal_runs(vpg("CartPole-v1", config, resume=part), whole)
    assert_equal_runs(part, load(tmp_path / "part.pt"))  # resuming leaves the run it started from as it was


@pytest.mark.parametrize("name", ["return", "gae"])
def test_a_file_from_before_there_were_critics(name, tmp_path):
    """It loads where the weight needs no critic; else it says what is missing."""
    run = vpg("CartPole-v1", replace(SMALL, weights=name, num_iterations=2))
    run.save(tmp_path / "new.pt")
    state = torch.load(tmp_path / "new.pt", weights_only=True)
    new = ("gae_lambda", "discount_time", "critic_learning_rate", "critic_epochs") + (("weights",) if name == "return" else ())
    for field in new:
        del state["config"][field]
    state = {key: value for key, value in state.items() if not key.startswith("critic")}
    torch.save(state, tmp_path / "old.pt")
    if name == "return":
        old = load(tmp_path / "old.pt")
        assert old.config.weights == "return" and old.history == run.history and old.critic is None
    else:
        with pytest.raises(ValueError, match=r"old.pt.*a run with weights 'gae' must have \['critic', 'critic_optimizer'\]"):
            load(tmp_path / "old.pt")


def test_a_run_without_critic_must_not_bring_one(tmp_path):
    vpg("CartPole-v1", replace(SMALL, weights="gae", num_iterations=1)).save(tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    state["config"]["weights"] = "return"
    state["history"] = {name: state["history"][name] for name in METRICS}
    torch.save(state, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"run.pt.*has \['critic', 'critic_optimizer'\]"):
        load(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uses_critic("td"), r"weights must be one of \['return', 'reward_to_go', 'baseline', 'gae'\], got 'td'"),
        (lambda: ValueNetwork(4, 32), "hidden_sizes must be a tuple of positive integers.*got 32"),
        (lambda: ValueNetwork(0), "observation_size must be a tuple of positive integers"),
        (lambda: ValueNetwork(4)(torch.ones(3, 5)), r"observations must be \[..., D\] with D = 4, got \(3, 5\)"),
        (lambda: ValueNetwork(4)(np.ones((3, 4))), "observations must be a tensor of torch.float32, got ndarray"),
        (lambda: ValueNetwork(4)(torch.ones(4).double()), "observations must be a tensor of torch.float32, got torch.float64"),
        (lambda: explained_variance(torch.ones(3), torch.ones(4)), r"of one shape, not empty, got \[\(3,\), \(4,\)\]"),
        (lambda: explained_variance(torch.ones(0), torch.ones(0)), "not empty"),
        (lambda: explained_variance([1.0], torch.ones(1)), "got .'list', .1,.."),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_observations_a_critic_takes_may_have_any_leading_axes():
    critic = ValueNetwork(4, ())
    assert critic(torch.ones(4)).shape == () and critic(torch.ones(2, 3, 4)).shape == (2, 3)
