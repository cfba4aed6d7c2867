"""The logs of PPO: what is in them, the numbers drawn from them, and runs that end early."""

import math
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
import torch

from rlbook import experiments
from rlbook.control import PPOConfig, make_envs
from rlbook.experiments import ppo, ppo_details, ppo_published

CLIP = ("clip_kept", "clip_dropped", "clip_kept_few_epochs", "clip_dropped_few_epochs")
TRAINED = ("ppo_cartpole", "ppo_acrobot", "ppo_pendulum", "ppo_lunarlander")
SMALL = {"device": "cpu", "num_envs": 4, "num_steps": 16, "num_minibatches": 2, "update_epochs": 2, "hidden_sizes": (8,)}


def curve(*returns: float, kl: float | None = 0.01, ratio: float | None = 1.5, diverged: bool = False) -> dict:
    return {"recent_return": list(returns), "losses/approx_kl": [kl] * len(returns), "losses/max_ratio": [ratio] * len(returns),
            "diverged": diverged}


# ---- the numbers drawn from logs

def test_a_collapse_comes_after_a_high():
    log = {"runs": [curve(10, 400, 199), curve(10, 399, 20), curve(450, 200, 450), curve(20, 30, 40), curve(401, 300, 500)]}
    assert ppo.collapses(log) == [True, False, False, False, False]
    assert ppo.collapses(log, high=399, low=201) == [True, True, True, False, False]


def test_clip_summary():
    log = {"runs": [curve(10, 480, 100, kl=None, diverged=True), curve(20, 475, 475), curve(1, 2, 3, kl=0.5, ratio=None)]}
    found = ppo.clip_summary(log, last=2)
    assert found == {"runs": 3, "diverged": 1, "reached": 2, "collapsed": 1, "halved": 0, "peak": [3, 475, 480],
                     "final": [2.5, 290, 475], "median_kl": 0.5, "max_kl": math.inf, "max_ratio": math.inf}
    assert ppo.clip_summary(log, last=1)["halved"] == 1
    with pytest.raises(ValueError, match="last"):
        ppo.clip_summary(log, last=0)


def test_details_summary():
    rows = [(100, 150, 476.0), (100, None, 20.0), (200, 100, 475.0), (None, 80, None)]
    runs = [{"seed": seed, "solved_at": {"default": base, "other": other}, "final_return": {"default": 480.0, "other": final}}
            for seed, (base, other, final) in enumerate(rows)]
    found = ppo_details.details_summary({"details": {"default": {}, "other": {}}, "runs": runs})
    assert found["default"] == {"solved": 3, "steps": [100, 150, math.inf], "ratio": 1.0, "slower": 0, "final_return": 480.0}
    assert found["other"] == {"solved": 3, "steps": [80, 125, math.inf], "ratio": 1.5, "slower": 2, "final_return": 475.0}


def test_evaluation_summary():
    rows = [([500.0, 0.0], [480.0, 10.0]), ([490.0, 4.0], [1.0, 2.0]), ([10.0, 1.0], [2.0, 3.0])]
    log = {"runs": [{"deterministic": deterministic, "sampled": sampled} for deterministic, sampled in rows]}
    assert ppo_published.evaluation_summary(log) == {"runs": 3, "mean": [10.0, 490.0, 500.0], "deviation": 1.0}
    assert ppo_published.evaluation_summary(log, "sampled")["mean"] == [1.0, 2.0, 480.0]
    with pytest.raises(ValueError, match="'greedy'"):
        ppo_published.evaluation_summary(log, "greedy")


# ---- runs

def test_a_curve_has_an_entry_for_every_iteration():
    log = ppo.ppo_curves(PPOConfig(**SMALL, total_timesteps=4 * 64, clip_coef=math.inf), seeds=[3, 4])
    assert log["seeds"] == [3, 4] and [run["seed"] for run in log["runs"]] == [3, 4]
    assert log["config"]["clip_coef"] is None and "seed" not in log["config"]
    for run in log["runs"]:
        assert not run["diverged"] and run["global_step"] == sorted(run["global_step"]) and len(run["global_step"]) == 4
        assert {len(run[name]) for name in ("recent_return", *ppo.LOGGED)} == {4}
        assert run["losses/clipfrac"] == [0, 0, 0, 0]


def test_running_mean_is_of_the_last_episodes(monkeypatch):
    monkeypatch.setattr(ppo, "WINDOW", 3)
    kept = []
    real = ppo.ppo

    def watched(env_id, config, callback):
        kept.append(real(env_id, config, callback=callback))

    monkeypatch.setattr(ppo, "ppo", watched)
    found = ppo.ppo_curve("CartPole-v1", PPOConfig(**SMALL, total_timesteps=5 * 64))
    assert found["recent_return"][-1] == pytest.approx(np.mean(kept[0].episodes["return"][-3:]), rel=6e-3)


def test_a_run_that_diverges_ends_there_and_says_so():
    config = PPOConfig(**SMALL, total_timesteps=20 * 64, learning_rate=1e30, clip_coef=math.inf, max_grad_norm=math.inf)
    run = ppo.ppo_curve("CartPole-v1", config)
    assert run["diverged"] and len(run["recent_return"]) < 20
    assert len({len(run[name]) for name in ("global_step", "recent_return", *ppo.LOGGED)}) == 1
    with pytest.raises(ValueError, match="nothing"):
        ppo.ppo_curve("nothing", config)


def test_a_detail_stops_where_it_is_solved_or_at_the_limit(monkeypatch):
    assert ppo_details.until_solved("ent_coef 0.01", 0, {**SMALL, "ent_coef": 0.01}, 200)[0] is None
    monkeypatch.setattr(ppo_details, "THRESHOLD", 5.0)
    at, final = ppo_details.until_solved("default", 0, SMALL, 100_000)
    assert 500 < at < 10_000 and 5 <= final < 100
    wild = {**SMALL, "learning_rate": 1e30, "clip_coef": math.inf, "max_grad_norm": math.inf}
    monkeypatch.setattr(ppo_details, "THRESHOLD", 475.0)
    assert ppo_details.until_solved("default", 0, wild, 10_000) == (None, None)
    with pytest.raises(ValueError, match="num_envs"):
        ppo_details.until_solved("default", 0, {"num_envs": 0}, 100)


def test_every_detail_is_one_change_of_the_default():
    default = PPOConfig(device="cpu")
    for name, change in ppo_details.details().items():
        assert len(change) == (0 if name in ("default", "truncated as terminated") else 1)
        assert all(getattr(default, key) != value for key, value in change.items())
        assert PPOConfig(device="cpu", **change)


@pytest.fixture
def terminating() -> Iterator[gymnasium.vector.VectorEnv]:
    envs = make_envs(ppo_details.terminating_cartpole(), 2, max_episode_steps=6)
    yield envs
    envs.close()


def test_terminating_cartpole_differs_in_the_last_flag_alone(terminating):
    usual, seen = make_envs("CartPole-v1", 2, max_episode_steps=6), 0
    a, b = terminating.reset(seed=0)[0], usual.reset(seed=0)[0]
    for t in range(20):
        np.testing.assert_array_equal(a, b)
        action = np.array([t % 2, (t + 1) % 2])
        a, reward, terminated, truncated, _ = terminating.step(action)
        b, expected, fell, cut, _ = usual.step(action)
        np.testing.assert_array_equal(reward, expected)
        np.testing.assert_array_equal(terminated, fell | cut)
        assert not truncated.any()
        seen += cut.sum()
    usual.close()
    assert seen > 0 and ppo_details.terminating_cartpole() == ppo_details.TERMINATING


def test_evaluation_after_training():
    log = ppo_published.trained("CartPole-v1", PPOConfig(**SMALL, total_timesteps=3 * 64), [5])
    run = log["runs"][0]
    assert len(run["global_step"]) == len(run["recent_return"]) <= 3 and run["seed"] == 5
    for name in ("deterministic", "sampled"):
        mean, deviation = run[name]
        assert 5 < mean < 200 and deviation > 0
    again = ppo_published.trained_once("CartPole-v1", PPOConfig(**SMALL, total_timesteps=3 * 64, seed=5))
    assert run == {"seed": 5, **again}


def test_settings_are_the_zoos(monkeypatch):
    given = {}
    monkeypatch.setattr(ppo_published, "trained", lambda env_id, config, seeds: given.update({env_id: (config, list(seeds))}))
    for name in TRAINED:
        getattr(ppo_published, name)()
    assert list(given) == ["CartPole-v1", "Acrobot-v1", "Pendulum-v1", "LunarLander-v3"]
    for env_id, (config, seeds) in given.items():
        assert config.total_timesteps % config.batch_size == 0 and config.device == "cpu" and len(seeds) >= 3
        if env_id != "CartPole-v1":
            assert config.batch_size // config.num_minibatches == 64 and config.vf_coef == 1.0 and not config.anneal_lr
    assert len({seed for _, seeds in given.values() for seed in seeds}) == sum(len(seeds) for _, seeds in given.values())


# ---- the committed logs

@pytest.mark.parametrize("name", CLIP)
def test_clip_logs_are_complete(name):
    log = experiments.load(name)
    assert len(log["runs"]) >= 10 and log["seeds"] == [run["seed"] for run in log["runs"]]
    for run in log["runs"]:
        lengths = {len(run[key]) for key in ("global_step", "recent_return", *ppo.LOGGED)}
        assert len(lengths) == 1 and (run["diverged"] or lengths == {49})
    assert len((experiments.DATA / f"{name}.json").read_text()) < 150_000


def test_clip_logs_differ_in_the_clip_alone():
    logs = [experiments.load(name) for name in CLIP]
    for key, values in {key: [log["config"][key] for log in logs] for key in logs[0]["config"]}.items():
        expected = {"clip_coef": [0.2, None] * 2, "update_epochs": [ppo.MANY_EPOCHS] * 2 + [ppo.FEW_EPOCHS] * 2}
        assert values == expected.get(key, values[:1] * 4)
    assert len({tuple(log["seeds"]) for log in logs}) == 1


def test_one_seed_run_again_starts_as_logged():
    log = experiments.load("clip_dropped")
    config = PPOConfig(seed=log["seeds"][0], **{**log["config"], "clip_coef": math.inf, "total_timesteps": 2 * 2048})
    torch.set_num_threads(1)
    found = ppo.ppo_curve(log["env_id"], config)
    for name in ("recent_return", "losses/entropy"):
        np.testing.assert_allclose(found[name], log["runs"][0][name][:2], rtol=0.05)
