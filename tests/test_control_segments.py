"""Segments of fixed length against single environments stepped by hand, over several calls (PITFALLS, row 4)."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode

from rlbook.control import CategoricalPolicy, GaussianPolicy, Position, collect_segment, make_envs, reset_position
from rlbook.returns import gae

NEXT_STEP = {"autoreset_mode": AutoresetMode.NEXT_STEP}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def policy_for(envs) -> CategoricalPolicy:
    return CategoricalPolicy(envs.single_observation_space.shape[0], int(envs.single_action_space.n), (8,), generator(0))


def roll(envs, seed: int, sizes: list[int]) -> list:
    """Consecutive segments of these numbers of steps; the position handed on is checked on the way."""
    draws, position, segments = generator(1), reset_position(envs, seed), []
    for size in sizes:
        segment, position = collect_segment(envs, policy_for(envs), draws, position, size)
        segments.append(segment)
        assert np.array_equal(position.ended, (segment.terminated | segment.truncated)[:, -1].numpy())
        assert np.array_equal(position.observation.astype(np.float32), segment.next_observations[:, -1].numpy())
    envs.close()
    return segments


def check_by_hand(segments: list, singles: list[gymnasium.Env], restart, same) -> None:
    """Step one environment for each row; restart(rows) resets those rows and returns their first observations."""
    now = dict(zip(range(len(singles)), restart(range(len(singles))), strict=True))
    ended = []
    for segment in segments:
        for t in range(segment.actions.shape[1]):
            fresh = dict(zip(ended, restart(ended), strict=True))
            running = []
            for i, env in enumerate(singles):
                row = [field[i, t].numpy() for field in segment]
                observation, following, action, reward, terminated, truncated, valid = row
                assert same(observation, now[i]) and valid == (i not in fresh)
                if valid:
                    now[i], *got, _ = env.step(int(action))
                    assert (np.float32(got[0]), got[1], got[2]) == (reward, terminated, truncated)
                else:
                    now[i] = fresh[i]
                    assert (action, reward, terminated, truncated) == (0, 0, False, False)
                assert same(following, now[i])
                running += [i] if terminated or truncated else []
            ended = running


def exactly(a, b) -> bool:
    return np.array_equal(a, np.asarray(b, dtype=np.float32))


def nearly(a, b) -> bool:
    return np.allclose(a, b, rtol=0, atol=1e-6)


def ends(segments: list, name: str) -> list[bool]:
    """Whether an episode ends so anywhere, and whether one does in the last step of a segment that another follows."""
    flags = [getattr(segment, name) for segment in segments]
    return [any(f.any() for f in flags), any(f[:, -1].any() for f in flags[:-1])]


@pytest.mark.parametrize(
    ("env_id", "limit", "sizes"),
    [("CartPole-v1", 17, [17, 8, 30, 1, 1, 25]), ("Acrobot-v1", 7, [15, 1, 9]), ("MountainCar-v0", 5, [5, 5, 5])],
)
def test_row_4_sync_segments_equal_single_environments(env_id, limit, sizes):
    n, seed = 10, 31
    envs = gymnasium.make_vec(env_id, n, "sync", vector_kwargs=NEXT_STEP, max_episode_steps=limit)
    segments = roll(envs, seed, sizes)
    singles = [gymnasium.make(env_id, max_episode_steps=limit) for _ in range(n)]
    seeds = {i: seed + i for i in range(n)}
    check_by_hand(segments, singles, lambda rows: [singles[i].reset(seed=seeds.pop(i, None))[0] for i in rows], exactly)
    assert ends(segments, "truncated") == [True, True]
    if env_id == "CartPole-v1":
        assert ends(segments, "terminated") == [True, True]


def test_row_4_vector_segments_equal_single_environments():
    n, seed, limit, sizes = 12, 5, 17, [17, 8, 30, 1, 1, 25]
    envs = make_envs("CartPole-v1", n, limit)
    assert type(envs).__name__ == "CartPoleVectorEnv"  # its own class, whose rows share one random state
    segments = roll(envs, seed, sizes)
    singles = [gymnasium.make("CartPole-v1", max_episode_steps=limit) for _ in range(n)]
    random = seeding.np_random(seed)[0]

    def restart(rows):
        starts = random.uniform(-0.05, 0.05, size=(4, len(rows)))
        for i, start in zip(rows, starts.T, strict=True):
            singles[i].reset()
            singles[i].unwrapped.state = start
        return list(starts.T)

    check_by_hand(segments, singles, restart, nearly)
    assert ends(segments, "truncated") == ends(segments, "terminated") == [True, True]


def test_cartpole_is_truncated_after_500_steps_as_a_single_environment_is():
    """A policy that balances, so that the environment's own limit ends the episodes."""
    envs, n = make_envs("CartPole-v1", 4), 4
    policy = CategoricalPolicy(4, 2, ())
    policy.network[0].weight.data = 200 * torch.tensor([[0.0] * 4, [0.05, 0.2, 1.0, 0.5]])
    position = reset_position(envs, 3)
    singles = [gymnasium.make("CartPole-v1") for _ in range(n)]
    segment, _ = collect_segment(envs, policy, generator(0), position, 505)
    envs.close()
    for i, env in enumerate(singles):
        env.reset()
        env.unwrapped.state = seeding.np_random(3)[0].uniform(-0.05, 0.05, size=(4, n))[:, i]
        for t in range(500):
            observation, reward, terminated, truncated, _ = env.step(int(segment.actions[i, t]))
            assert nearly(segment.next_observations[i, t], observation) and segment.rewards[i, t] == reward == 1
            assert (segment.terminated[i, t], segment.truncated[i, t]) == (terminated, truncated) == (False, t == 499)
    assert not segment.valid[:, 500].any() and segment.valid.sum() == 504 * n


def test_real_actions_are_clipped_on_the_way_to_the_environment_and_kept_as_drawn():
    n, seed = 3, 4
    envs = make_envs("Pendulum-v1", n, 6)
    policy, draws = GaussianPolicy(3, 1, (8,), generator(0)), generator(1)
    policy.log_std.data.fill_(1.0)
    segment, position = collect_segment(envs, policy, draws, reset_position(envs, seed), 20)
    envs.close()
    assert segment.actions.shape == (n, 20, 1) and segment.actions.abs().max() > 2 and segment.actions.dtype == torch.float32
    draws = generator(1)
    for t in range(20):
        drawn = policy.sample(segment.observations[:, t], draws)
        assert torch.equal(segment.actions[:, t], torch.where(segment.valid[:, t, None], drawn, 0.0))
    for i in range(n):
        env = gymnasium.make("Pendulum-v1", max_episode_steps=6)
        observation, _ = env.reset(seed=seed + i)
        for t in range(20):
            assert exactly(segment.observations[i, t], observation) and segment.valid[i, t] == (t % 7 != 6)
            if t % 7 == 6:
                observation, _ = env.reset()
                assert segment.rewards[i, t] == 0 and not segment.actions[i, t].any()
                continue
            observation, reward, _, truncated, _ = env.step(segment.actions[i, t].clamp(-2, 2).numpy())
            assert np.float32(reward) == segment.rewards[i, t] and truncated == segment.truncated[i, t] == (t % 7 == 5)
            assert exactly(segment.next_observations[i, t], observation)
    assert not segment.terminated.any() and np.array_equal(position.ended, [True] * n)


class Strict(gymnasium.Env):
    """Shows the last action, and refuses any outside its box."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(np.float32([-0.5, 0.2]), np.float32([0.5, 0.3]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action):
        if not self.action_space.contains(action):
            raise AssertionError(f"{action} is not in {self.action_space}")
        return action, 0.0, False, False, {}


gymnasium.register("rlbook/Strict-v0", Strict, max_episode_steps=9)


def test_each_number_of_an_action_is_clipped_to_its_own_bounds():
    envs = make_envs("rlbook/Strict-v0", 2)
    segment, _ = collect_segment(envs, GaussianPolicy(2, 2, (4,), generator(0)), generator(1), reset_position(envs, 0), 9)
    envs.close()
    expected = segment.actions.clamp(torch.tensor([-0.5, 0.2]), torch.tensor([0.5, 0.3]))
    assert torch.equal(segment.next_observations, expected) and not torch.equal(expected, segment.actions)


def test_cutting_a_rollout_changes_nothing():
    whole = roll(make_envs("CartPole-v1", 6, 20), 3, [60])[0]
    parts = roll(make_envs("CartPole-v1", 6, 20), 3, [1, 19, 33, 7])
    for name, field in whole._asdict().items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), field), name
    assert not whole.valid.all() and whole.actions.dtype == torch.int64
    assert whole.rewards.dtype == whole.observations.dtype == torch.float32


def test_made_up_steps_stand_exactly_behind_the_ends():
    segment = roll(make_envs("CartPole-v1", 6, 20), 3, [60])[0]
    ended = segment.terminated | segment.truncated
    assert torch.equal(segment.valid[:, 1:], ~ended[:, :-1]) and segment.valid[:, 0].all()
    assert torch.equal(segment.observations[:, 1:], segment.next_observations[:, :-1])
    assert (segment.rewards == segment.valid).all()  # CartPole pays 1 a step, and the made-up step pays nothing


def pieces(segment, i: int) -> list[range]:
    """The steps of row i of each episode, or part of one, that lie in the segment."""
    steps, start = segment.valid.shape[1], 0
    cut = []
    for t in range(steps):
        if not segment.valid[i, t]:
            start = t + 1
        elif segment.terminated[i, t] or segment.truncated[i, t] or t == steps - 1:
            cut.append(range(start, t + 1))
    return cut


@pytest.mark.equation("gae")
@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_gae_of_a_segment_is_gae_of_each_episode(lam):
    """Row 3 of PITFALLS on real environments, with a function of the state as critic."""
    counted = 0
    for segment in roll(make_envs("CartPole-v1", 8, 17), 9, [17, 40, 11]):
        values = (segment.observations.double() @ torch.tensor([3.0, -1.0, 5.0, 2.0], dtype=torch.float64)).exp()
        next_values = (segment.next_observations.double() @ torch.tensor([3.0, -1.0, 5.0, 2.0], dtype=torch.float64)).exp()
        fields = (segment.rewards.double(), values, next_values, segment.terminated, segment.truncated)
        together = gae(*fields, 0.97, lam)
        for i in range(8):
            for piece in pieces(segment, i):
                alone = gae(*(field[i, piece.start : piece.stop] for field in fields), 0.97, lam)
                torch.testing.assert_close(together[i, piece.start : piece.stop], alone, rtol=1e-12, atol=1e-12)
                counted += len(piece)
        counted -= segment.valid.sum().item()
    assert counted == 0  # every valid step belongs to one piece


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": CategoricalPolicy(3, 2)}, "takes 3 numbers and chooses among 2 actions.*gives 4 and has 2"),
        ({"policy": None}, "policy must be a CategoricalPolicy or a GaussianPolicy, got NoneType"),
        ({"policy": GaussianPolicy(4, 2)}, "has actions Discrete.2. and needs a categorical policy, got a gaussian one"),
        ({"generator": None}, "generator must be a torch.Generator on the CPU, got None"),
        ({"num_steps": 0}, "num_steps must be an integer >= 1, got 0"),
        ({"num_steps": 2.0}, "num_steps must be an integer >= 1, got 2.0"),
        ({"position": None}, "position must be a Position, as reset_position returns it, got NoneType"),
        ({"position": Position(np.zeros((3, 4)), np.zeros(3, bool))}, r"observations \(2, 4\) and booleans \(2,\), got \(3, 4\)"),
        ({"position": Position(np.zeros((2, 4)), np.zeros(3, bool))}, r"booleans \(2,\), got .* and bool \(3,\)"),
        ({"position": Position(np.zeros((2, 4)), np.zeros(2))}, "and float64"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    envs = make_envs("CartPole-v1", 2)
    given = {"policy": policy_for(envs), "generator": generator(0), "position": reset_position(envs, 0), "num_steps": 3}
    with pytest.raises(ValueError, match=message):
        collect_segment(envs, **{**given, **change})
    envs.close()


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [(1, np.full(2, np.inf), "reward that is not finite"), (0, np.full((2, 4), np.nan), "an observation that is not finite"),
     (2, np.ones(2, bool), "an end with a made-up step: its autoreset is not NEXT_STEP")],
)
def test_what_an_environment_must_not_return_is_refused(which, value, message, monkeypatch):
    envs = make_envs("CartPole-v1", 2)
    position, step = reset_position(envs, 0), envs.step
    monkeypatch.setattr(envs, "step", lambda actions: (*(got := step(actions))[:which], value, *got[which + 1 :]))
    with pytest.raises(ValueError, match=message):
        collect_segment(envs, policy_for(envs), generator(0), position, 2)
    envs.close()


def test_a_negative_seed_is_refused():
    envs = make_envs("CartPole-v1", 2)
    for seed in (-1, None, 1.0):
        with pytest.raises(ValueError, match="seed must be an integer >= 0"):
            reset_position(envs, seed)
    envs.close()
