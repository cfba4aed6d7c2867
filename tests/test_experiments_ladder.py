"""The logs of the four weights and of γ^t, and the noise of the gradient estimate on cases that can be done by hand."""

import math

import numpy as np
import pytest
import torch

from rlbook import experiments
from rlbook.control import WEIGHTS, CategoricalPolicy, Episodes, VPGConfig, collect, make_envs, vpg
from rlbook.experiments import cartpole
from rlbook.experiments import gradient_variance as noise
from rlbook.experiments.source import reachable

LADDER = [f"ladder_{name}" for name in WEIGHTS]
SMALL = VPGConfig(seed=3, num_iterations=2, num_envs=3, hidden_sizes=(4,), weights="baseline", max_episode_steps=9, device="cpu")


# ---- gradient contributions

def one_state_episodes(actions: list[list[int]], lengths: list[int]) -> Episodes:
    """Episodes in which every observation is the number 1, padded as `collect` pads them."""
    actions = torch.tensor(actions)
    mask = torch.arange(actions.shape[1]) < torch.tensor(lengths)[:, None]
    observations = torch.cat([torch.ones(len(actions), 1), mask.float()], dim=1)[..., None]
    nothing = torch.zeros_like(mask)
    return Episodes(observations, actions, mask.float(), nothing, nothing, mask)


def test_contributions_of_a_linear_policy_by_hand():
    """With logits w s + b and s = 1, the gradient of log π(a) in w and in b is 1[a = k] − π(k)."""
    policy = CategoricalPolicy(1, 2, ())
    with torch.no_grad():
        policy.network[0].weight.copy_(torch.tensor([[0.0], [math.log(3.0)]]))  # π = (1/4, 3/4)
    episodes = one_state_episodes([[0, 1, 1], [1, 0, 0]], [3, 1])
    weights = torch.tensor([[2.0, 1.0, 4.0], [8.0, 99.0, 99.0]])  # what lies behind an end does not count
    # scores: (3/4, −3/4) for action 0 and (−1/4, 1/4) for action 1
    expected = [2 * 0.75 - 1 * 0.25 - 4 * 0.25, -8 * 0.25]
    contributions = noise.gradient_contributions(policy, episodes, weights)
    torch.testing.assert_close(contributions, torch.tensor([[x, -x, x, -x] for x in expected]))
    assert not contributions.requires_grad
    variance = 4 * np.var(expected, ddof=1)
    assert noise.total_variance(contributions) == pytest.approx(variance)
    assert noise.squared_mean(contributions) == pytest.approx(4 * np.mean(expected) ** 2 - variance / 2)


def test_the_mean_contribution_is_the_step_that_vpg_takes():
    from rlbook.control.critic import episode_values
    from rlbook.control.vpg import policy_gradient_step

    run = vpg("CartPole-v1", SMALL)
    envs = make_envs("CartPole-v1", 6, 9)
    episodes = collect(envs, run.policy, torch.Generator().manual_seed(0), 0)
    envs.close()
    values = episode_values(run.critic, episodes)
    contributions = noise.gradient_contributions(run.policy, episodes, WEIGHTS["baseline"](episodes, values, SMALL))
    policy_gradient_step(run.policy, torch.optim.SGD(run.policy.parameters(), lr=0.0), episodes, values, SMALL)
    gradient = torch.cat([parameter.grad.flatten() for parameter in run.policy.parameters()])
    torch.testing.assert_close(contributions.mean(0), -gradient, rtol=1e-4, atol=1e-5)


def test_variance_and_squared_mean_estimate_what_they_name():
    samples = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0]) + 1.0
    assert noise.total_variance(samples) == pytest.approx(14.0, rel=0.01)
    assert noise.squared_mean(samples) == pytest.approx(3.0, rel=0.02)
    pairs = samples.reshape(-1, 2, 3)[:20_000]
    assert np.mean([noise.squared_mean(pair) for pair in pairs]) == pytest.approx(3.0, rel=0.05)  # unbiased also for two


def test_noise_along_a_run_is_that_of_its_policies():
    found = noise.noise_along_a_run("CartPole-v1", SMALL, [0, 2], 5)
    keys = {"return", *(f"{kind}/{name}" for kind in ("variance", "squared_mean") for name in WEIGHTS)}
    assert set(found) == keys and all(len(values) == 2 and np.isfinite(values).all() for values in found.values())
    assert found == noise.noise_along_a_run("CartPole-v1", SMALL, [0, 2], 5)
    whole = vpg("CartPole-v1", SMALL)
    again = noise.noise_of_weights(whole, 5, noise.iteration_seed(SMALL.seed, 10_002))
    assert again == {name: values[1] for name, values in found.items()}


def test_noise_counts_time_as_the_config_says():
    kept = vpg("CartPole-v1", VPGConfig(**{**vars(SMALL), "gamma": 0.5}))
    dropped = vpg("CartPole-v1", VPGConfig(**{**vars(SMALL), "gamma": 0.5, "discount_time": False, "num_iterations": 0}))
    dropped.history = kept.history
    dropped.set_state(kept.state())
    a, b = (noise.noise_of_weights(run, 5, 1) for run in (kept, dropped))
    assert a["variance/return"] == b["variance/return"] and a["variance/gae"] < b["variance/gae"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.gradient_contributions(CategoricalPolicy(1, 2), one_state_episodes([[0, 1]], [2]), torch.ones(2)),
         r"weights must be \(1, 2\), one for each step, got \(2,\)"),
        (lambda: noise.gradient_contributions(CategoricalPolicy(1, 2), one_state_episodes([[0]], [1]), None), "got NoneType"),
        (lambda: noise.total_variance(torch.ones(1, 3)), r"\[N, P\] with N >= 2, got \(1, 3\)"),
        (lambda: noise.squared_mean([1.0]), "got list"),
        (lambda: noise.noise_of_weights(None, 5, 0), "run must be a Result with a critic"),
        (lambda: noise.noise_of_weights(vpg("CartPole-v1", VPGConfig(num_iterations=0, device="cpu")), 5, 0), "with a critic"),
        (lambda: noise.noise_of_weights(vpg("CartPole-v1", SMALL), 1, 0), "num_episodes must be an integer >= 2, got 1"),
        (lambda: cartpole.quartiles_at({"runs": [{"m": [1.0]}] * 2}, [2], "m"), r"from 1 to 1.*got \[2\] of 2"),
        (lambda: cartpole.quartiles_at({"runs": [{"m": [1.0]}]}, [1], "m"), "at least two runs"),
        (lambda: cartpole.quartiles_at({"runs": []}, [1], "m"), "at least two runs"),
        (lambda: cartpole.quartiles_at({"runs": [{"m": [1.0]}] * 2}, [1.0], "m"), "iterations must be"),
        (lambda: cartpole.return_after_steps({"runs": []}, 0), "steps must be an integer >= 1, got 0"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- reading logs

def test_quartiles_and_steps_by_hand():
    curves = [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0], [5.0, 50.0]]
    log = {"runs": [{"charts/episodic_return": c, "global_step": [100 * i, 250 * i]} for i, c in enumerate(curves, 1)]}
    assert cartpole.quartiles_at(log, [1, 2]) == [[2.0, 3.0, 4.0], [20.0, 30.0, 40.0]]
    after = cartpole.return_after_steps(log, 150)  # the first run has no iteration that begins so late
    assert math.isnan(after[0]) and after[1:] == [20.0, 30.0, 40.0, 50.0]


# ---- the logs

def test_hash_of_the_ladder_reaches_every_weight_and_the_critic():
    for name in LADDER:
        names = {part.split(".")[-1] for part in reachable(experiments.EXPERIMENTS[name])}
        assert {"total_return", "reward_to_go", "baseline", "advantage", "gae", "critic_step", "ValueNetwork",
                "discounted_in_time", "ladder_config", "VPGConfig", "policy_gradient_step"} <= names
        assert "ladder_curves LADDER_SEEDS" in names
    names = {part.split(".")[-1] for part in reachable(experiments.EXPERIMENTS["gradient_variance"])}
    assert {"gradient_contributions", "total_variance", "squared_mean", "gae", "vpg", "gradient_variance NOISE_SEEDS"} <= names


def test_rungs_differ_in_the_weight_alone_and_seeds_are_fresh():
    configs = [experiments.load(name)["config"] for name in LADDER]
    assert [config.pop("weights") for config in configs] == list(WEIGHTS)
    assert all(config == configs[0] for config in configs)
    kept, dropped = (experiments.load(name)["config"] for name in ("discount_kept", "discount_dropped"))
    assert kept.pop("discount_time") and not dropped.pop("discount_time") and kept == dropped
    assert kept["gamma"] == 0.99 and kept["weights"] == "reward_to_go"
    for name in (*LADDER, "discount_kept", "discount_dropped"):
        assert experiments.load(name)["seeds"] == list(range(20, 40))
    assert experiments.load("gradient_variance")["seeds"] == list(range(40, 45))


@pytest.mark.parametrize("name", [*LADDER, "discount_kept", "discount_dropped"])
def test_one_seed_run_again_starts_as_logged(name):
    log = experiments.load(name)
    history = vpg(log["env_id"], VPGConfig(seed=21, **{**log["config"], "num_iterations": 3})).history
    logged = next(run for run in log["runs"] if run["seed"] == 21)
    assert set(history) - {"charts/episodic_length", "losses/policy_loss"} == set(logged) - {"seed"}
    for metric in set(logged) - {"seed"}:
        np.testing.assert_allclose(experiments.rounded(history[metric]), logged[metric][:3], rtol=0.03, atol=0.01)
    assert len({len(values) for metric, values in logged.items() if metric != "seed"}) == 1


def test_one_policy_measured_again_is_as_logged():
    log = experiments.load("gradient_variance")
    config = VPGConfig(seed=41, **log["config"])
    found = noise.noise_along_a_run("CartPole-v1", config, log["iterations"][:1], log["num_episodes"])
    logged = next(run for run in log["runs"] if run["seed"] == 41)
    for name, values in found.items():
        assert values[0] == pytest.approx(logged[name][0], rel=0.02)


def test_logs_support_the_order_of_the_rungs():
    ends = {name: sorted(np.mean(run["charts/episodic_return"][-10:]) for run in experiments.load(f"ladder_{name}")["runs"])
            for name in WEIGHTS}
    medians = [np.median(ends[name]) for name in WEIGHTS]
    assert medians == sorted(medians) and medians[0] < 200 and medians[1] > 400 and medians[3] > 490
    assert ends["gae"][0] > ends["baseline"][0] > ends["reward_to_go"][0] > ends["return"][0]  # the worst seeds, too
    after = {name: np.median(cartpole.return_after_steps(experiments.load(f"ladder_{name}"), 20_000)) for name in WEIGHTS}
    assert after["return"] < after["reward_to_go"] < min(after["baseline"], after["gae"])
    assert abs(after["baseline"] - after["gae"]) < 50  # what less variance does not buy


def test_log_supports_the_order_of_the_variances():
    for run in experiments.load("gradient_variance")["runs"]:
        first, second, third, fourth = (np.array(run[f"variance/{name}"]) for name in WEIGHTS)
        assert (second < first / 3).all() and (fourth < third).all()
        assert third[0] == pytest.approx(second[0], rel=0.02)  # an untrained critic saves nothing
        assert (third[2:] < second[2:]).all()
