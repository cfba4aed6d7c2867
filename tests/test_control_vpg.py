"""The vanilla policy gradient: one update by hand, reproducible, resumable, and it learns."""

import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from rlbook.control import CategoricalPolicy, VPGConfig, collect, load, make_envs, vpg
from rlbook.control.result import METRICS
from rlbook.control.vpg import iteration_seed
from rlbook.control.weights import scale_to_unit_std

SMALL = VPGConfig(seed=3, num_iterations=6, num_envs=4, hidden_sizes=(8,), gamma=0.97, device="cpu")


class Match(gymnasium.Env):
    """Three steps; each pays 1 if the action repeats the bit that is shown."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,), dtype=np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def observe(self):
        self.bit = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.bit]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        reward = float(action == self.bit)
        self.time += 1
        return self.observe(), reward, self.time == 3, False, {}


gymnasium.register("rlbook/Match-v0", Match, max_episode_steps=10)


@pytest.mark.equation("policy-gradient", "gradient-estimate")
@pytest.mark.parametrize("normalize", [False, True])
def test_one_update_by_hand(normalize):
    """ĝ from the definition: for each trajectory, R(τ) times the gradient of its log-probability; then Adam."""
    config = replace(SMALL, num_iterations=1, normalize_weights=normalize)
    generator = torch.Generator().manual_seed(config.seed)
    policy = CategoricalPolicy(4, 2, config.hidden_sizes, generator)
    envs = make_envs("CartPole-v1", config.num_envs)
    episodes = collect(envs, policy, generator, iteration_seed(config.seed, 0))
    envs.close()
    assert len(set(episodes.lengths.tolist())) > 1  # of different lengths, so that the mask matters
    estimate = [torch.zeros_like(p) for p in policy.parameters()]
    totals = [sum(config.gamma**t * r for t, r in enumerate(row)) for row in episodes.rewards.tolist()]
    per_step = np.repeat(totals, episodes.lengths.numpy())
    scale = per_step.std() if normalize else 1.0
    for i, length in enumerate(episodes.lengths.tolist()):
        log_policy = policy(episodes.observations[i, :length]).log_softmax(-1)
        log_probability = log_policy[torch.arange(length), episodes.actions[i, :length]].sum()
        gradients = torch.autograd.grad(log_probability, list(policy.parameters()))
        estimate = [e + g * totals[i] / scale / config.num_envs for e, g in zip(estimate, gradients, strict=True)]
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)  # Adam's first step is α g/(|g| + ε): compare what it sees
    result = vpg("CartPole-v1", config)
    for parameter, e in zip(result.policy.parameters(), estimate, strict=True):
        torch.testing.assert_close(-parameter.grad, e, rtol=1e-4, atol=1e-5)
    for parameter, e in zip(policy.parameters(), estimate, strict=True):
        parameter.grad = -config.learning_rate * e / (e.abs() + 1e-8)
    optimizer.step()
    for got, expected in zip(result.policy.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    history = result.history
    assert history["charts/episodic_return"] == [episodes.rewards.sum().item() / config.num_envs]
    assert history["charts/episodic_length"] == [episodes.lengths.float().mean().item()]
    assert history["global_step"] == [episodes.mask.sum().item()]
    assert history["losses/entropy"][0] == pytest.approx(np.log(2), abs=1e-3)
    assert history["losses/policy_loss"][0] > 0


def assert_equal_runs(a, b) -> None:
    assert a.history == b.history
    for x, y in zip(a.policy.state_dict().values(), b.policy.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(a.generator.get_state(), b.generator.get_state())
    x, y = (run.optimizer.state_dict()["state"] for run in (a, b))
    assert all(torch.equal(x[i][name], y[i][name]) for i in x for name in x[i]) and x.keys() == y.keys()


def test_same_seed_same_run_whatever_the_global_random_state():
    torch.manual_seed(1)
    a = vpg("CartPole-v1", SMALL)
    torch.manual_seed(2)
    np.random.seed(2)
    b = vpg("CartPole-v1", SMALL)
    assert_equal_runs(a, b)
    assert vpg("CartPole-v1", replace(SMALL, seed=4)).history != a.history
    assert {len(a.history[name]) for name in METRICS} == {6}


def test_global_random_state_is_left_alone():
    before = torch.manual_seed(9).get_state()
    vpg("CartPole-v1", replace(SMALL, num_iterations=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "rlbook/Match-v0"])
def test_row_25_a_resumed_run_equals_an_uninterrupted_one(env_id, tmp_path):
    whole = vpg(env_id, SMALL)
    half = vpg(env_id, replace(SMALL, num_iterations=3))
    half.save(tmp_path / "half.pt")
    saved = load(tmp_path / "half.pt")
    assert_equal_runs(saved, half)
    assert saved.seconds == half.seconds and saved.config == half.config and saved.env_id == env_id
    assert_equal_runs(vpg(env_id, SMALL, resume=saved), whole)
    assert_equal_runs(vpg(env_id, SMALL, resume=half), whole)
    untouched = load(tmp_path / "half.pt")
    assert_equal_runs(half, untouched)  # resuming leaves the run it started from as it was
    assert_equal_runs(saved, untouched)
    assert_equal_runs(vpg(env_id, SMALL, resume=whole), whole)  # nothing left to do


def test_resume_refuses_other_settings():
    run = vpg("rlbook/Match-v0", replace(SMALL, num_iterations=1))
    for env_id, config in (("CartPole-v1", SMALL), ("rlbook/Match-v0", replace(SMALL, learning_rate=0.5))):
        with pytest.raises(ValueError, match="resume"):
            vpg(env_id, config, resume=run)


def test_every_iteration_has_environments_of_its_own(monkeypatch):
    seeds = {iteration_seed(seed, k) for seed in range(20) for k in range(100)}
    assert len(seeds) == 2000 and all(0 <= s < 2**31 for s in seeds)
    used, module = [], sys.modules["rlbook.control.vpg"]
    monkeypatch.setattr(module, "collect", lambda *arguments: used.append(arguments[-1]) or collect(*arguments))
    vpg("rlbook/Match-v0", SMALL)
    assert used == [iteration_seed(SMALL.seed, k) for k in range(6)]
    envs = make_envs("CartPole-v1", 2)
    first = [envs.reset(seed=iteration_seed(0, k))[0] for k in range(2)]
    envs.close()
    assert not np.array_equal(*first)


def test_it_learns_a_small_task():
    result = vpg("rlbook/Match-v0", VPGConfig(num_iterations=60, num_envs=16, hidden_sizes=(), device="cpu",
                                              learning_rate=0.05))
    returns = result.history["charts/episodic_return"]
    assert np.mean(returns[:3]) < 2 and np.mean(returns[-5:]) > 2.7
    assert result.history["losses/entropy"][-1] < 0.5 < result.history["losses/entropy"][0]


def test_scaling_divides_by_one_number_and_survives_equal_weights():
    weights, mask = torch.tensor([[1.0, 3.0, 50.0]]), torch.tensor([[True, True, False]])
    assert scale_to_unit_std(weights, mask)[mask].tolist() == pytest.approx([1.0, 3.0])  # their deviation is 1
    assert scale_to_unit_std(10 * weights, mask)[mask].tolist() == pytest.approx([1.0, 3.0])
    equal = torch.full((2, 3), 7.3)
    assert torch.equal(scale_to_unit_std(equal, torch.ones(2, 3, dtype=torch.bool)), equal)
    assert torch.equal(scale_to_unit_std(0 * equal, torch.ones(2, 3, dtype=torch.bool)), 0 * equal)


@pytest.mark.parametrize(
    "change",
    [{"seed": -1}, {"num_envs": 0}, {"num_iterations": 1.5}, {"learning_rate": 0.0}, {"gamma": 1.1},
     {"hidden_sizes": (0,)}, {"max_episode_steps": 0}, {"num_envs": True}, {"learning_rate": None}, {"learning_rate": "x"},
     {"learning_rate": np.inf}, {"learning_rate": np.nan}, {"gamma": None}, {"gamma": "x"}, {"gamma": np.nan},
     {"hidden_sizes": 32}, {"hidden_sizes": None}, {"hidden_sizes": (True,)}, {"hidden_sizes": "ab"}, {"seed": 2**70},
     {"seed": 2**64}, {"seed": None}, {"device": "gpu0"}, {"device": 0}, {"device": ""}, {"normalize_weights": "no"},
     {"normalize_weights": 0}, {"max_episode_steps": 1.5}, {"weights": "td"}, {"weights": None}, {"weights": ["gae"]},
     {"discount_time": 1}, {"discount_time": None}, {"gae_lambda": 1.01}, {"gae_lambda": -0.1}, {"gae_lambda": "x"},
     {"gae_lambda": np.nan}, {"critic_learning_rate": 0}, {"critic_learning_rate": np.inf}, {"critic_learning_rate": None},
     {"critic_epochs": 0}, {"critic_epochs": 2.5}, {"critic_epochs": True}],
)
def test_settings_out_of_range_are_refused(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"^{name} must be .*got {re.escape(repr(value))}$"):
        VPGConfig(**change)


def test_settings_are_kept_as_plain_values():
    config = VPGConfig(learning_rate=np.float64(0.5), gamma=1, hidden_sizes=[4], device=torch.device("cpu"), seed=2**64 - 1)
    assert repr(config) == repr(VPGConfig(learning_rate=0.5, gamma=1.0, hidden_sizes=(4,), device="cpu", seed=2**64 - 1))
    assert vpg("rlbook/Match-v0", replace(config, num_iterations=1)).history["global_step"] == [3 * 32]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vpg(None), "env_id must be the name of an environment"),
        (lambda: vpg("rlbook/Match-v0", {}), "config must be a VPGConfig, got {}"),
        (lambda: vpg("rlbook/Match-v0", {"seed": 1}), "config must be a VPGConfig"),
        (lambda: vpg("rlbook/Match-v0", SMALL, resume="half.pt"), "resume must be a Result.*got 'half.pt'"),
        (lambda: vpg("rlbook/Match-v0", replace(SMALL, device="meta")), "device 'meta' cannot be used here"),
        (lambda: vpg("rlbook/Match-v0", replace(SMALL, device="cuda:99")), "device 'cuda:99' cannot be used here"),
        (lambda: scale_to_unit_std(torch.ones(2, 3), torch.ones(2, 3).long()), "mask must be boolean.*torch.int64"),
        (lambda: scale_to_unit_std(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)), "True somewhere"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_default_device_is_refused(monkeypatch):
    monkeypatch.setenv("RLBOOK_DEVICE", "gpu0")
    with pytest.raises(ValueError, match="cannot be used here.*gpu0"):
        vpg("rlbook/Match-v0", replace(SMALL, device=None))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a run of two iterations."""
    path = tmp_path_factory.mktemp("saved") / "run.pt"
    vpg("rlbook/Match-v0", replace(SMALL, num_iterations=2)).save(path)
    return path


BROKEN_FILES = {
    "empty": (lambda content: b"", "it is empty"),
    "truncated": (lambda content: content[:-100], "is damaged"),
    "cut in half": (lambda content: content[: len(content) // 2], "is damaged"),
    "text": (lambda content: b"hello, world\n" * 100, "is damaged"),
    "another pickle": (lambda content: pickle.dumps({"a": 1}, protocol=2), "is damaged|does not know"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_files_that_hold_no_run_are_refused(name, saved, tmp_path):
    damage, message = BROKEN_FILES[name]
    path = tmp_path / "broken.pt"
    path.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(ValueError, match=f"broken.pt .*({message})") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


def history_of(state: dict, **change) -> dict:
    return {**state, "history": {**state["history"], **change}}


FOREIGN = {
    "a tensor": (lambda s: torch.ones(3), "holds no run, but a Tensor"),
    "weights alone": (lambda s: s["policy"], "does not know"),
    "no optimizer": (lambda s: without(s, "optimizer"), r"must have \['optimizer'\]"),
    "a newer part": (lambda s: {**s, "reward_model": {}}, r"has \['reward_model'\], which this version"),
    "a critic that is not used": (lambda s: {**s, "critic": {}}, r"has \['critic'\], which this version"),
    "a newer setting": (lambda s: {**s, "config": {**s["config"], "clip_coef": 0.2}}, r"config has \['clip_coef'\], which this"),
    "a bad setting": (lambda s: {**s, "config": {**s["config"], "gamma": 2.0}}, "gamma must be"),
    "config": (lambda s: {**s, "config": 3}, "cannot be restored"),
    "another env": (lambda s: {**s, "env_id": None}, "env_id must be"),
    "other sizes": (lambda s: {**s, "sizes": (2, 7, 2)}, "sizes .2, 7, 2., but its config has hidden_sizes"),
    "no sizes": (lambda s: {**s, "sizes": ()}, "sizes"),
    "other weights": (lambda s: {**s, "policy": without(s["policy"], "network.0.bias")}, "network.0.bias"),
    "other optimizer": (lambda s: {**s, "optimizer": {}}, "cannot be restored"),
    "other generator": (lambda s: {**s, "generator": torch.ones(3)}, "cannot be restored"),
    "seconds": (lambda s: {**s, "seconds": "x"}, "seconds must be a number"),
    "no history": (lambda s: {**s, "history": []}, "history must hold.*got list"),
    "a metric missing": (lambda s: {**s, "history": without(s["history"], "losses/entropy")}, "history must hold"),
    "another metric": (lambda s: history_of(s, extra=[1, 2]), "history must hold.*extra"),
    "a shorter metric": (lambda s: history_of(s, **{"losses/entropy": [1.0]}), "one entry per iteration"),
    "a metric of text": (lambda s: history_of(s, **{"losses/entropy": ["a", "b"]}), "list of numbers"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_something_else_are_refused(name, saved, tmp_path):
    change, message = FOREIGN[name]
    path = tmp_path / "foreign.pt"
    torch.save(change(torch.load(saved, weights_only=True)), path)
    with pytest.raises(ValueError, match=f"foreign.pt.*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_loading_onto_a_device(saved, tmp_path):
    with pytest.raises(ValueError, match="run.pt cannot be restored: device must be .*'gpu0'"):
        load(saved, device="gpu0")
    state = torch.load(saved, weights_only=True)
    torch.save({**state, "config": {**state["config"], "device": "cuda:99"}}, tmp_path / "elsewhere.pt")
    with pytest.raises(ValueError, match="elsewhere.pt cannot be restored: device 'cuda:99' cannot be used here"):
        load(tmp_path / "elsewhere.pt")
    assert load(tmp_path / "elsewhere.pt", device="cpu").config == replace(SMALL, num_iterations=2)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.pt")


def test_resume_refuses_a_broken_history(saved):
    run = load(saved)
    del run.history["losses/entropy"]
    with pytest.raises(ValueError, match="history must hold"):
        vpg("rlbook/Match-v0", SMALL, resume=run)


def test_progress_bar_counts_iterations(monkeypatch):
    bars = []
    module = sys.modules["rlbook.control.vpg"]
    monkeypatch.setattr(module, "tqdm", lambda steps, desc: bars.append((steps, desc)) or steps)
    vpg("rlbook/Match-v0", SMALL)
    assert bars == [(range(0, 6), "vpg rlbook/Match-v0")]


def test_progress_bar_can_be_silenced():
    code = ("from rlbook.control import vpg, VPGConfig;"
            "vpg('CartPole-v1', VPGConfig(num_iterations=2, num_envs=2, device='cpu'))")
    env = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout == shown.stderr == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_starts_from_the_same_policy_and_episodes(tmp_path):
    gpu, cpu = (vpg("CartPole-v1", replace(SMALL, num_iterations=1, device=d)) for d in ("cuda", "cpu"))
    assert next(gpu.policy.parameters()).is_cuda
    assert gpu.history["charts/episodic_return"] == cpu.history["charts/episodic_return"]
    gpu.save(tmp_path / "gpu.pt")
    vpg("CartPole-v1", replace(SMALL, device="cuda"), resume=load(tmp_path / "gpu.pt"))
