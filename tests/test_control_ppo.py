"""PPO's loop: one step by hand, made-up steps that count for nothing, bootstrapping, stopping, and that it learns."""

import math
import re
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal

from rlbook.control import PPOConfig, Segment, VPGConfig, make_envs, ppo, ppo_step, solved, vpg
from rlbook.control.ppo import Steps, assess, learn, update
from rlbook.control.result import PPO_METRICS, start
from rlbook.control.vpg import iteration_seed

SMALL = PPOConfig(seed=3, total_timesteps=6 * 64, num_envs=4, num_steps=16, num_minibatches=2, update_epochs=2,
                  hidden_sizes=(8,), learning_rate=0.01, device="cpu")
MODULE = sys.modules["rlbook.control.ppo"]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_run(config: PPOConfig = SMALL, kind: str = "categorical"):
    """A run before its first iteration, for states of 4 numbers, with outputs that are not all but equal."""
    run = start("CartPole-v1", config, kind, (4, 3))
    for network in (run.policy.network, run.critic.network):
        torch.nn.init.normal_(network[-1].weight, generator=generator(1))
    return run


def some_steps(run, n: int = 40) -> Steps:
    random = generator(5)
    states = torch.randn(n, 4, generator=random)
    actions = run.policy.sample(states, random)
    with torch.no_grad():
        logprobs = run.policy.evaluate(states, actions)[0] + 0.4 * torch.randn(n, generator=random)
    values, advantages, returns = (torch.randn(n, generator=random) for _ in range(3))
    return Steps(states, actions, logprobs, values, 3 * advantages + 1, returns)


def by_hand(run, steps: Steps) -> torch.Tensor:
    """−L(θ, φ), written out with PyTorch's distributions and Python's if."""
    config, outputs = run.config, run.policy(steps.observations)
    if run.policy.kind == "gaussian":
        distribution = Independent(Normal(outputs, run.policy.log_std.exp()), 1)
    else:
        distribution = Categorical(logits=outputs)
    advantages = steps.advantages
    if config.norm_adv:
        advantages = (advantages - advantages.mean()) / advantages.std()
    ratios = (distribution.log_prob(steps.actions) - steps.old_logprobs).exp()
    values, total = run.critic(steps.observations), 0.0
    for i in range(len(ratios)):
        r, a = ratios[i], advantages[i]
        terms = [r * a, r.clamp(1 - config.clip_coef, 1 + config.clip_coef) * a]
        error = (values[i] - steps.returns[i]) ** 2
        if config.clip_vloss:
            change = (values[i] - steps.old_values[i]).clamp(-config.clip_coef, config.clip_coef)
            error = max(error, (steps.old_values[i] + change - steps.returns[i]) ** 2)
        total = total - min(terms) + config.vf_coef * error / 2 - config.ent_coef * distribution.entropy()[i]
    return total / len(ratios)


@pytest.mark.equation("ppo-objective", "clipped-surrogate", "ratio")
@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
@pytest.mark.parametrize(
    "change",
    [{}, {"norm_adv": False}, {"clip_coef": math.inf}, {"clip_vloss": True}, {"ent_coef": 0.3, "vf_coef": 2.0},
     {"max_grad_norm": 0.05}],
)
def test_one_step_by_hand(kind, change):
    """The gradient of the objective from its definition, cut to its greatest length; then Adam's first step."""
    config = replace(SMALL, **{"max_grad_norm": math.inf, **change})
    run = a_run(config, kind)
    steps, parameters = some_steps(run), run.optimizer.param_groups[0]["params"]
    assert len(parameters) == len(list(run.policy.parameters())) + len(list(run.critic.parameters()))
    loss = by_hand(run, steps)
    gradients = torch.autograd.grad(loss, parameters)
    length = torch.cat([g.flatten() for g in gradients]).norm()
    assert length > 0.05
    scale = min(1.0, config.max_grad_norm / length.item())
    before = [p.detach().clone() for p in parameters]
    metrics = ppo_step(run.policy, run.critic, run.optimizer, steps, config)
    for p, old, g in zip(parameters, before, gradients, strict=True):
        torch.testing.assert_close(p.grad, scale * g, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(p.detach(), old - config.learning_rate * p.grad / (p.grad.abs() + 1e-5), rtol=0, atol=1e-5)
    total = metrics["policy_loss"] + config.vf_coef * metrics["value_loss"] - config.ent_coef * metrics["entropy"]
    torch.testing.assert_close(total, loss.detach(), rtol=1e-4, atol=1e-4)


def test_metrics_of_a_step_by_hand():
    run = a_run()
    steps = some_steps(run)
    with torch.no_grad():
        log_ratio = run.policy.evaluate(steps.observations, steps.actions)[0] - steps.old_logprobs
    ratio = log_ratio.exp()
    whitened = steps.advantages - steps.advantages.mean()
    clipped = ((ratio > 1.2) & (whitened > 0)) | ((ratio < 0.8) & (whitened < 0))
    got = ppo_step(run.policy, run.critic, run.optimizer, steps, run.config)
    assert got["max_ratio"].item() == pytest.approx(ratio.max().item(), rel=1e-5)
    assert got["clipfrac"].item() == pytest.approx(clipped.float().mean().item()) and 0 < got["clipfrac"] < 1
    assert got["approx_kl"].item() == pytest.approx((ratio - 1 - log_ratio).mean().item(), rel=1e-4)
    assert all(not value.requires_grad and value.dim() == 0 for value in got.values())


def test_the_first_ratios_are_one():
    """Row 12 of PITFALLS: what scores the actions is what drew them, so the first step's ratios are 1."""
    for change in ({}, {"norm_obs": True}):
        run = ppo("CartPole-v1", replace(SMALL, update_epochs=1, num_minibatches=1, total_timesteps=4 * 64, **change))
        assert max(abs(x - 1) for x in run.history["losses/max_ratio"]) < 1e-5
        assert run.history["losses/clipfrac"] == [0.0] * 4 and max(map(abs, run.history["losses/approx_kl"])) < 1e-6


def a_segment(n: int = 3, steps: int = 12, seed: int = 0) -> Segment:
    """A segment made up at random, in which episodes end, with junk where nothing happened."""
    random = generator(seed)
    states = torch.randn(n, steps + 1, 4, generator=random)
    ended = torch.rand(n, steps, generator=random) < 0.25
    ended[:, 1:] &= ~ended[:, :-1]
    ended[:, 2:] &= ~ended[:, :-2]
    terminated = ended & (torch.rand(n, steps, generator=random) < 0.5)
    valid = torch.ones(n, steps, dtype=torch.bool)
    valid[:, 1:] = ~ended[:, :-1]
    ended &= valid
    actions = torch.randint(0, 3, (n, steps), generator=random)
    rewards = torch.randn(n, steps, generator=random)
    return Segment(states[:, :-1], states[:, 1:], actions, rewards, terminated & valid, ended & ~terminated, valid)


def test_rows_4_and_5_made_up_steps_contribute_nothing():
    """Another action and reward in the made-up steps: the same advantages, the same losses, the same parameters."""
    for change in ({}, {"norm_obs": True, "norm_reward": True}):
        config, runs = replace(SMALL, num_envs=3, num_steps=12, total_timesteps=36, **change), []
        for junk in (0.0, 1e6):
            segment = a_segment()
            assert not segment.valid.all() and segment.terminated.any() and segment.truncated.any()
            rewards = torch.where(segment.valid, segment.rewards, junk)
            actions = torch.where(segment.valid, segment.actions, 2 if junk else 0)
            run = a_run(config)
            update(run, segment._replace(rewards=rewards, actions=actions), slice(0, 0))
            runs.append(run)
        a, b = runs
        for x, y in zip(a.policy.state_dict().values(), b.policy.state_dict().values(), strict=True):
            assert torch.equal(x, y)
        assert {k: v for k, v in a.history.items() if "charts" not in k} == {
            k: v for k, v in b.history.items() if "charts" not in k}
        if config.norm_obs:
            assert a.policy.moments.count == a.reward_scale.moments.count == segment.valid.sum()


def test_a_segment_without_any_step_changes_nothing():
    run = a_run()
    before = [p.detach().clone() for p in run.policy.parameters()]
    segment = a_segment()
    nothing = torch.zeros_like(segment.valid)
    update(run, segment._replace(valid=nothing, terminated=nothing, truncated=nothing), slice(0, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, run.policy.parameters(), strict=True))
    assert math.isnan(run.history["losses/policy_loss"][0])


@pytest.mark.equation("gae", "lambda-return")
def test_advantages_and_targets_by_definition():
    run = a_run()
    segment, config = a_segment(), run.config
    steps = assess(run, segment)
    with torch.no_grad():
        values, following = run.critic(segment.observations), run.critic(segment.next_observations)
    expected = []
    for i in range(3):
        for t in range(12):
            if not segment.valid[i, t]:
                continue
            total, factor = 0.0, 1.0
            for k in range(t, 12):
                delta = segment.rewards[i, k] + config.gamma * following[i, k] * ~segment.terminated[i, k] - values[i, k]
                total, factor = total + factor * delta, factor * config.gamma * config.gae_lambda
                if segment.terminated[i, k] or segment.truncated[i, k]:
                    break
            expected.append(total)
    torch.testing.assert_close(steps.advantages, torch.stack(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(steps.returns, steps.advantages + steps.old_values)
    assert torch.equal(steps.observations, segment.observations[segment.valid])


class Forever(gymnasium.Env):
    """Pays 1 in every step and never terminates: with V = 1/(1 − γ), no action is better than expected."""

    observation_space = gymnasium.spaces.Box(0, 1, (4,))
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(4, dtype=np.float32), {}

    def step(self, action):
        return self.np_random.random(4, dtype=np.float32), 1.0, False, False, {}


gymnasium.register("rlbook/Forever-v0", Forever, max_episode_steps=5)


def test_row_1_truncation_bootstraps(monkeypatch):
    seen = []
    monkeypatch.setattr(MODULE, "learn", lambda run, steps: seen.append((run, steps)) or [])
    def true_value(*arguments):
        run = start(*arguments)
        torch.nn.init.zeros_(run.critic.network[-1].weight)
        torch.nn.init.constant_(run.critic.network[-1].bias, 1 / (1 - SMALL.gamma))
        return run
    monkeypatch.setattr(MODULE, "start", true_value)
    run = ppo("rlbook/Forever-v0", replace(SMALL, num_steps=17, total_timesteps=3 * 4 * 17))
    assert len(run.episodes["return"]) > 10 and set(run.episodes["return"]) == {5.0}
    assert len(seen) == 3 and all(steps.advantages.abs().max() < 1e-4 for _, steps in seen)


def test_an_unlimited_kl_is_no_limit_and_a_small_one_stops_early():
    run = a_run(replace(SMALL, update_epochs=5))
    steps = some_steps(run)
    assert len(learn(run, steps)) == 10
    for limit, epochs in ((1e-9, 1), (1e9, 5)):
        run = a_run(replace(SMALL, update_epochs=5, target_kl=limit))
        assert len(learn(run, steps)) == 2 * epochs


def test_minibatches_are_all_steps_once_an_epoch(monkeypatch):
    seen = []
    def note(policy, critic, optimizer, steps, config):
        seen.append(steps.returns.tolist())
        return {"approx_kl": torch.tensor(0.0)}
    monkeypatch.setattr(MODULE, "ppo_step", note)
    run = a_run(replace(SMALL, num_minibatches=3))
    steps = some_steps(run, 40)
    learn(run, steps)
    assert [len(part) for part in seen] == [14, 14, 12] * 2
    first, second = (sum(seen[k : k + 3], []) for k in (0, 3))
    assert sorted(first) == sorted(second) == sorted(steps.returns.tolist()) and first != second


def test_the_learning_rate_falls_to_zero_or_stays(monkeypatch):
    annealed = ppo("CartPole-v1", SMALL).history["learning_rate"]
    assert annealed == pytest.approx([0.01 * (1 - k / 6) for k in range(6)])
    assert ppo("CartPole-v1", replace(SMALL, anneal_lr=False)).history["learning_rate"] == [0.01] * 6


def test_history_and_episodes():
    run = ppo("CartPole-v1", SMALL)
    history, episodes = run.history, run.episodes
    assert set(history) == set(PPO_METRICS) and {len(values) for values in history.values()} == {6}
    starts = [0, *history["global_step"]]
    for k in range(6):
        own = [i for i, step in enumerate(episodes["global_step"]) if starts[k] < step <= starts[k + 1]]
        for name, metric in (("return", "charts/episodic_return"), ("length", "charts/episodic_length")):
            expected = np.mean([episodes[name][i] for i in own]) if own else math.nan
            assert history[metric][k] == pytest.approx(expected, nan_ok=True)
    assert history["global_step"][-1] == 6 * 64 - len([s for s in episodes["global_step"]]) + run.record.position.ended.sum()
    assert run.sps == history["global_step"][-1] / run.seconds > 0
    assert history["losses/entropy"][0] == pytest.approx(math.log(2), abs=1e-2)
    with pytest.raises(ValueError, match="a run of vpg has no list of episodes"):
        assert vpg("CartPole-v1", VPGConfig(num_iterations=1, num_envs=2, device="cpu")).episodes


def test_same_seed_same_run_whatever_the_global_random_state():
    torch.manual_seed(1)
    a = ppo("CartPole-v1", SMALL)
    before = torch.manual_seed(2).get_state()
    np.random.seed(2)
    b = ppo("CartPole-v1", SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert a.episodes == b.episodes and str(a.history) == str(b.history)
    assert ppo("CartPole-v1", replace(SMALL, seed=4)).episodes != a.episodes


def test_the_environments_are_seeded_by_the_run(monkeypatch):
    seeds = []
    reset = sys.modules["rlbook.control.record"].reset_position
    monkeypatch.setattr(sys.modules["rlbook.control.record"], "reset_position",
                        lambda envs, seed: seeds.append(seed) or reset(envs, seed))
    ppo("CartPole-v1", SMALL)
    assert seeds == [iteration_seed(3, 0)]


def test_progress_bar_counts_iterations(monkeypatch):
    bars = []
    monkeypatch.setattr(MODULE, "tqdm", lambda steps, desc: bars.append((steps, desc)) or steps)
    ppo("CartPole-v1", SMALL)
    assert bars == [(range(0, 6), "ppo CartPole-v1")]


def test_it_solves_cartpole():
    run = ppo("CartPole-v1", PPOConfig(seed=1, device="cpu"), callback=lambda run: solved(run.episodes, 475) is not None)
    step = solved(run.episodes, 475)
    assert step is not None and step <= run.history["global_step"][-1] < 200_000


def test_it_learns_with_real_actions():
    """Pay −(a − s)²: the mean must become s, and the deviation must fall."""
    run = ppo("rlbook/Follow-v0", PPOConfig(
        device="cpu", total_timesteps=20 * 512, num_envs=8, num_steps=64, hidden_sizes=(16,), gamma=0.0, learning_rate=0.02))
    states = torch.tensor([[-0.8], [0.0], [0.8]])
    assert (run.policy.mode(states) - states).abs().max() < 0.2
    assert run.policy.log_std.item() < -0.4
    assert np.mean(run.episodes["return"][-20:]) > 0.4 * np.mean(run.episodes["return"][:20])


class Follow(gymnasium.Env):
    """Ten steps; each pays minus the squared distance of the action from the number shown."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-3, 3, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.shown, {}

    def step(self, action):
        reward = -float((action[0] - self.shown[0]) ** 2)
        self.shown = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.shown, reward, False, False, {}


gymnasium.register("rlbook/Follow-v0", Follow, max_episode_steps=10)


def test_losses_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        ppo("CartPole-v1", replace(SMALL, learning_rate=1e30, max_grad_norm=math.inf))


@pytest.mark.parametrize(
    "change",
    [{"seed": -1}, {"num_envs": 0}, {"num_steps": 0}, {"num_steps": 1.5}, {"update_epochs": 0}, {"num_minibatches": 0},
     {"total_timesteps": -1}, {"total_timesteps": 1e5}, {"learning_rate": 0.0}, {"learning_rate": np.inf}, {"gamma": 1.1},
     {"gae_lambda": -0.1}, {"clip_coef": 0.0}, {"clip_coef": np.nan}, {"clip_coef": "0.2"}, {"max_grad_norm": 0},
     {"ent_coef": -0.1}, {"ent_coef": np.inf}, {"vf_coef": None}, {"vf_coef": True}, {"anneal_lr": 1}, {"norm_adv": None},
     {"clip_vloss": 0.2}, {"orthogonal_init": "yes"}, {"norm_obs": 0}, {"norm_reward": 1}, {"target_kl": 0.0},
     {"target_kl": np.nan}, {"hidden_sizes": 64}, {"max_episode_steps": 0}, {"device": "gpu0"}],
)
def test_settings_out_of_range_are_refused(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"^{name} must be .*got {re.escape(repr(value))}$"):
        PPOConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_minibatches": 65}, "num_minibatches must be at most num_envs · num_steps = 64, got 65"),
        ({"total_timesteps": 63}, "total_timesteps must be 0, or at least one iteration, num_envs · num_steps = 64, got 63"),
        ({"clip_vloss": True, "clip_coef": math.inf}, "clip_vloss must be False where clip_coef is infinite"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ppo("NoSuch-v0"), "unknown environment 'NoSuch-v0'"),
        (lambda: ppo("CartPole-v1", VPGConfig()), "config must be a PPOConfig, got VPGConfig"),
        (lambda: ppo("CartPole-v1", SMALL, resume="half.pt"), "resume must be a Result with a PPOConfig.*got 'half.pt'"),
        (lambda: ppo("FrozenLake-v1", SMALL), "Box with one axis"),
        (lambda: ppo("CartPole-v1", replace(SMALL, device="cuda:99")), "device 'cuda:99' cannot be used here"),
        (lambda: vpg("Pendulum-v1", VPGConfig(num_iterations=1, device="cpu")), "vpg is for Discrete ones, ppo for both"),
    ],
)
def test_bad_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_iteration_is_a_run_too():
    run = ppo("CartPole-v1", replace(SMALL, total_timesteps=0))
    assert run.history == {name: [] for name in PPO_METRICS} and run.episodes["return"] == [] and run.sps == 0
    envs = make_envs("CartPole-v1", 1)
    assert run.policy.sizes == (4, 8, 2) and envs.single_action_space.n == 2
    envs.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_starts_from_the_same_policy_and_steps():
    gpu, cpu = (ppo("CartPole-v1", replace(SMALL, total_timesteps=64, device=device)) for device in ("cuda", "cpu"))
    assert next(gpu.policy.parameters()).is_cuda and gpu.episodes == cpu.episodes
    for name in PPO_METRICS:
        assert gpu.history[name] == pytest.approx(cpu.history[name], rel=1e-3, abs=1e-4, nan_ok=True)
