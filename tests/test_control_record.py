"""Episodes across segments, environments brought back by replay, evaluation, and when a run counts as solved."""

import gymnasium
import numpy as np
import pytest
import torch

from rlbook.control import (
    CategoricalPolicy,
    GaussianPolicy,
    Position,
    Record,
    collect,
    collect_segment,
    evaluate,
    make_envs,
    reset_position,
    solved,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policy_for(env_id: str):
    return GaussianPolicy(3, 1, (4,), generator(0)) if env_id == "Pendulum-v1" else CategoricalPolicy(4, 2, (4,), generator(0))


def play(env_id: str, sizes: list[int], n: int = 5, limit: int = 13, seed: int = 3) -> tuple[Record, list]:
    """A record of segments of these lengths, and the segments."""
    envs, draws, segments, record = make_envs(env_id, n, limit), generator(1), [], Record(n)
    position = reset_position(envs, seed)
    for size in sizes:
        segment, position = collect_segment(envs, policy_for(env_id), draws, position, size)
        record.add(segment, position)
        segments.append(segment)
    envs.close()
    return record, segments


class Jitter(gymnasium.Env):
    """Not deterministic once seeded: what it shows comes from a random state that no seed reaches."""

    observation_space = gymnasium.spaces.Box(0, 1, (4,))
    action_space = gymnasium.spaces.Discrete(2)
    random = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.random.random(4, dtype=np.float32), {}

    def step(self, action):
        return self.random.random(4, dtype=np.float32), 0.0, False, False, {}


gymnasium.register("rlbook/Jitter-v0", Jitter, max_episode_steps=5)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("sizes", [[60], [1] * 7 + [13, 40], [5, 14, 14, 27]])
def test_episodes_are_counted_across_segments(env_id, sizes):
    record, segments = play(env_id, sizes)
    rewards, valid, ended = (torch.cat(fields, dim=1).numpy() for fields in (
        [s.rewards for s in segments], [s.valid for s in segments], [s.terminated | s.truncated for s in segments]))
    steps, expected, returns, lengths = 0, [], np.zeros(5), np.zeros(5, dtype=int)
    for t in range(60):
        steps += valid[:, t].sum()
        for i in range(5):
            returns[i] += rewards[i, t]
            lengths[i] += valid[i, t]
            if ended[i, t]:
                expected.append((steps, returns[i], lengths[i]))
                returns[i], lengths[i] = 0.0, 0
    got = list(zip(*(record.episodes[name] for name in ("global_step", "return", "length")), strict=True))
    assert len(got) == len(expected) > 10 and record.global_step == steps < 300
    for a, b in zip(got, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    assert record.returns == pytest.approx(returns) and record.lengths.tolist() == lengths.tolist()
    if env_id == "CartPole-v1":
        assert record.episodes["return"] == record.episodes["length"] and max(record.episodes["length"]) <= 13
    assert record.actions[0].dtype == (np.uint8 if env_id == "CartPole-v1" else np.float32)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "rlbook/SlowCartPole-v0"])
def test_replay_brings_equal_environments_to_the_same_place(env_id):
    if env_id not in gymnasium.registry:  # without a vector class of its own
        gymnasium.register(env_id, "gymnasium.envs.classic_control.cartpole:CartPoleEnv", max_episode_steps=500)
    whole, segments = play(env_id, [17, 9, 30])
    record, _ = play(env_id, [17, 9])
    envs = make_envs(env_id, 5, 13)
    position = record.replay(envs, 3)
    draws = generator(1)
    for t in range(26):  # the draws that the first segments took
        policy_for(env_id).sample(torch.cat([s.observations for s in segments], 1)[:, t], draws)
    segment, position = collect_segment(envs, policy_for(env_id), draws, position, 30)
    envs.close()
    for got, expected in zip(segment, segments[2], strict=True):
        assert torch.equal(got, expected)
    assert np.array_equal(position.observation, whole.position.observation)


def test_state_comes_back():
    record, _ = play("CartPole-v1", [17, 9])
    other = Record(5)
    other.set_state(record.state())
    assert other.episodes == record.episodes and other.global_step == record.global_step
    assert all(np.array_equal(a, b) for a, b in zip(other.actions, record.actions, strict=True))
    other.returns[0], other.episodes["return"][0] = -1.0, -1.0
    assert record.returns[0] != -1.0 and record.episodes["return"][0] != -1.0
    fresh = Record(5)
    fresh.set_state(Record(5).state())
    assert fresh.position is None and fresh.global_step == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "episodes": {"return": []}}, "episodes must hold"),
        (lambda s: {**s, "episodes": {**s["episodes"], "return": []}}, "equally many"),
        (lambda s: {**s, "returns": torch.zeros(3)}, "a record of 5 environments must have one return"),
        (lambda s: {k: v for k, v in s.items() if k != "observation"}, "must say where they led"),
    ],
)
def test_states_of_something_else_are_refused(change, message):
    record, _ = play("CartPole-v1", [17])
    with pytest.raises(ValueError, match=message):
        Record(5).set_state(change(record.state()))


def test_environments_that_end_elsewhere_are_refused():
    record, _ = play("CartPole-v1", [17])
    envs = make_envs("CartPole-v1", 5, 13)
    with pytest.raises(ValueError, match="cannot be brought back to where the run stopped"):
        record.replay(envs, 4)  # another seed
    record.position = Position(record.position.observation, ~record.position.ended)
    with pytest.raises(ValueError, match="cannot be brought back"):
        record.replay(envs, 3)
    envs.close()
    record, _ = play("rlbook/Jitter-v0", [3], limit=5)
    envs = make_envs("rlbook/Jitter-v0", 5)
    with pytest.raises(ValueError, match="not deterministic once seeded"):
        record.replay(envs, 3)
    envs.close()


def test_solved_is_the_first_step_of_a_high_enough_mean():
    episodes = {"global_step": [10, 20, 30, 40, 50], "return": [1.0, 3.0, 5.0, 7.0, 0.0], "length": [1] * 5}
    assert solved(episodes, 4.0, window=2) == 30
    assert solved(episodes, 6.0, window=2) == 40
    assert solved(episodes, 6.1, window=2) is None
    assert solved(episodes, 1.0, window=1) == 10
    assert solved(episodes, 3.2, window=5) == 50
    assert solved(episodes, 0.0, window=6) is None and solved(episodes, 0.0) is None
    assert solved({name: [] for name in episodes}, 0.0, window=1) is None
    with pytest.raises(ValueError, match="window must be an integer >= 1, got 0"):
        solved(episodes, 1.0, window=0)


def test_evaluation_takes_the_first_episode_of_every_environment():
    policy = policy_for("CartPole-v1")
    torch.nn.init.normal_(policy.network[-1].weight, generator=generator(2))
    returns = evaluate(policy, "CartPole-v1", 20, seed=4)
    assert returns.shape == (20,) and returns.dtype == torch.float64
    assert torch.equal(returns, evaluate(policy, "CartPole-v1", 20, seed=4))
    assert not torch.equal(returns, evaluate(policy, "CartPole-v1", 20, seed=5))
    assert evaluate(policy, "CartPole-v1", 20, 4, max_episode_steps=3).tolist() == [3.0] * 20
    env_seed = int(np.random.SeedSequence(4, spawn_key=(2,)).generate_state(1)[0] >> 1)
    envs = make_envs("CartPole-v1", 20)
    expected = collect(envs, policy, generator(4), env_seed).rewards.sum(1)
    envs.close()
    assert torch.equal(returns, expected.double())


def test_deterministic_evaluation_draws_nothing():
    policy = GaussianPolicy(3, 1, (4,), generator(0))
    policy.log_std.data.fill_(torch.nan)  # whatever is drawn with it is NaN
    returns = evaluate(policy, "Pendulum-v1", 2, seed=1, deterministic=True, max_episode_steps=5)
    assert returns.isfinite().all() and (returns < 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CategoricalPolicy(4, 2), "CartPole-v1", 0, 0), "episodes must be an integer >= 1, got 0"),
        ((CategoricalPolicy(4, 2), "CartPole-v1", 1, -1), "seed must be an integer"),
        ((CategoricalPolicy(4, 2), "CartPole-v1", 1, 0, 1), "deterministic must be True or False, got 1"),
        ((CategoricalPolicy(3, 2), "CartPole-v1", 1, 0), "takes 3 numbers"),
        ((CategoricalPolicy(3, 1), "Pendulum-v1", 1, 0), "needs a gaussian policy, got a categorical one"),
        ((GaussianPolicy(3, 2), "Pendulum-v1", 1, 0), "draws vectors of 2 actions.* gives 3 and has 1"),
        ((CategoricalPolicy(4, 2), "NoSuch-v0", 1, 0), "unknown environment"),
    ],
)
def test_bad_arguments_of_evaluate_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)
