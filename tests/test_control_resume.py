"""A run of PPO that is saved, stopped and taken up again equals one that never stopped, bit for bit (PITFALLS, row 25)."""

import math
import re
from dataclasses import replace

import pytest
import torch

from rlbook.control import PPOConfig, VPGConfig, load, ppo, vpg
from rlbook.control.result import Result

SMALL = PPOConfig(seed=3, total_timesteps=5 * 80, num_envs=5, num_steps=16, num_minibatches=2, update_epochs=2,
                  hidden_sizes=(8,), learning_rate=0.01, max_episode_steps=30, device="cpu")
RUNS = {
    "discrete": ("CartPole-v1", {}),
    "discrete, one after the other": ("Acrobot-v1", {"anneal_lr": False}),
    "gaussian": ("Pendulum-v1", {}),
    "gaussian, normalised": ("Pendulum-v1", {"norm_obs": True, "norm_reward": True, "clip_vloss": True}),
    "discrete, normalised": ("CartPole-v1", {"norm_obs": True, "norm_reward": True, "target_kl": 1e-3, "ent_coef": 0.1}),
}


def flat(value, path: str = "") -> dict:
    """Everything in nested dictionaries and lists, by its place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {key: x for name, part in items for key, x in flat(part, f"{path}/{name}").items()}


def assert_equal_runs(a: Result, b: Result) -> None:
    x, y = (flat({**run.state(), "history": run.history, "sizes": str(run.policy.sizes)}) for run in (a, b))
    assert x.keys() == y.keys()
    for name in x:
        if isinstance(x[name], torch.Tensor):
            assert torch.equal(x[name], y[name]), name
        else:
            assert x[name] == y[name] or math.isnan(x[name]) and math.isnan(y[name]), name


def stop_after(iterations: int):
    return lambda run: len(run.history["global_step"]) == iterations


@pytest.mark.parametrize("name", RUNS)
def test_row_25_a_resumed_run_equals_an_uninterrupted_one(name, tmp_path):
    env_id, change = RUNS[name]
    config = replace(SMALL, **change)
    whole = ppo(env_id, config)
    assert len(whole.history["global_step"]) == 5 and len(whole.episodes["return"]) > 3
    for k in (1, 2, 4):
        half = ppo(env_id, config, callback=stop_after(k))
        assert len(half.history["global_step"]) == k
        half.save(tmp_path / "half.pt")
        saved = load(tmp_path / "half.pt")
        assert_equal_runs(saved, half)
        assert (saved.seconds, saved.config, saved.env_id) == (half.seconds, config, env_id)
        assert_equal_runs(ppo(env_id, config, resume=saved), whole)
        assert_equal_runs(saved, half)  # resuming leaves the run it started from as it was
    assert_equal_runs(ppo(env_id, config, resume=half), whole)
    assert_equal_runs(ppo(env_id, config, resume=whole), whole)  # nothing left to do
    again = ppo(env_id, config, resume=load(tmp_path / "half.pt"), callback=lambda run: run.save(tmp_path / "end.pt"))
    assert_equal_runs(load(tmp_path / "end.pt"), again)


def test_a_run_can_be_continued_before_its_first_iteration(tmp_path):
    ppo("CartPole-v1", replace(SMALL, total_timesteps=0)).save(tmp_path / "start.pt")
    assert_equal_runs(ppo("CartPole-v1", SMALL, resume=load(tmp_path / "start.pt")), ppo("CartPole-v1", SMALL))


def test_a_longer_budget_goes_on_where_the_shorter_one_ended():
    config = replace(SMALL, anneal_lr=False)
    short = ppo("CartPole-v1", replace(config, total_timesteps=2 * 80))
    assert_equal_runs(ppo("CartPole-v1", config, resume=short), ppo("CartPole-v1", config))


def test_an_interrupted_run_goes_on_from_what_the_callback_saved(tmp_path):
    def save_and_fail(run):
        run.save(tmp_path / "last.pt")
        if len(run.history["global_step"]) == 3:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        ppo("CartPole-v1", SMALL, callback=save_and_fail)
    saved = load(tmp_path / "last.pt")
    assert len(saved.history["global_step"]) == 3
    assert_equal_runs(ppo("CartPole-v1", SMALL, resume=saved), ppo("CartPole-v1", SMALL))


def test_moments_are_restored_and_evaluation_leaves_them_alone(tmp_path):
    from rlbook.control import evaluate

    run = ppo("Pendulum-v1", replace(SMALL, norm_obs=True))
    run.save(tmp_path / "run.pt")
    again = load(tmp_path / "run.pt")
    moments = again.policy.moments
    assert again.critic.moments is moments and torch.equal(moments.mean, run.policy.moments.mean)
    assert moments.count.item() == run.history["global_step"][-1]
    first = evaluate(again.policy, "Pendulum-v1", 3, 0, max_episode_steps=5)
    assert torch.equal(first, evaluate(run.policy, "Pendulum-v1", 3, 0, max_episode_steps=5))
    assert moments.count.item() == run.history["global_step"][-1]


def test_resume_refuses_other_settings_and_another_algorithm():
    run = ppo("CartPole-v1", SMALL, callback=stop_after(1))
    for env_id, config in (("Acrobot-v1", SMALL), ("CartPole-v1", replace(SMALL, gamma=0.5))):
        with pytest.raises(ValueError, match="resume is a run of CartPole-v1"):
            ppo(env_id, config, resume=run)
    with pytest.raises(ValueError, match="resume must be a Result with a VPGConfig, as `vpg`"):
        vpg("CartPole-v1", VPGConfig(device="cpu"), resume=run)
    run.record.position.observation[0, 0] += 1e-6
    with pytest.raises(ValueError, match="cannot be brought back"):
        ppo("CartPole-v1", SMALL, resume=run)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a run of two iterations, with everything that a run can hold."""
    path = tmp_path_factory.mktemp("saved") / "run.pt"
    ppo("CartPole-v1", replace(SMALL, norm_obs=True, norm_reward=True), callback=stop_after(2)).save(path)
    return path


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


def config_of(state: dict, **change) -> dict:
    return {**state, "config": {**state["config"], **change}}


def optimizer_of(state: dict, **change) -> dict:
    return {**state, "optimizer": {**state["optimizer"], 0: {**state["optimizer"][0], **change}}}


FOREIGN = {
    "no record": (lambda s: without(s, "record"), "must have ['record']"),
    "no algorithm": (lambda s: without(s, "algorithm"), "must have ['algorithm']"),
    "another algorithm": (lambda s: {**s, "algorithm": "sac"}, "algorithm must be one of ['vpg', 'ppo'], got 'sac'"),
    "vpg": (lambda s: {**s, "algorithm": "vpg"}, "config has ["),
    "another kind": (lambda s: {**s, "kind": "gaussian"}, "log_std"),
    "an unknown kind": (lambda s: {**s, "kind": "beta"}, "kind must be one of"),
    "a bad setting": (lambda s: config_of(s, clip_coef=-1.0), "clip_coef must be"),
    "no moments": (lambda s: config_of(s, norm_obs=False), "moments"),
    "no reward scale": (lambda s: config_of(s, norm_reward=False), "has ['reward_scale']"),
    "other environments": (lambda s: config_of(s, num_envs=6), "carried"),
    "no optimizer state": (lambda s: {**s, "optimizer": {}}, "optimizer must hold the state of Adam for 8 parameters"),
    "an optimizer of fewer": (lambda s: {**s, "optimizer": without(s["optimizer"], 0)}, "state of Adam"),
    "an optimizer of other shapes": (lambda s: optimizer_of(s, exp_avg=torch.zeros(2)), "state of Adam"),
    "half an optimizer": (lambda s: {**s, "optimizer": {**s["optimizer"], 0: {}}}, "state of Adam"),
    "episodes": (lambda s: {**s, "record": {**s["record"], "episodes": {}}}, "episodes must hold"),
    "a list as record": (lambda s: {**s, "record": []}, "cannot be restored"),
    "a record without returns": (lambda s: {**s, "record": without(s["record"], "returns")}, "cannot be restored"),
    "a metric missing": (lambda s: {**s, "history": without(s["history"], "losses/approx_kl")}, "history must hold"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_something_else_are_refused(name, saved, tmp_path):
    change, message = FOREIGN[name]
    path = tmp_path / "foreign.pt"
    torch.save(change(torch.load(saved, weights_only=True)), path)
    with pytest.raises(ValueError, match=f"foreign.pt.*{re.escape(message)}") as caught:
        load(path)
    assert "\n" not in str(caught.value)
