"""Rollouts against single environments stepped by hand, transition by transition (PITFALLS, row 4)."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils import seeding

from rlbook.control import CategoricalPolicy, collect, make_envs

TOY = "rlbook/Counter-v0"


class Counter(gymnasium.Env):
    """Episodes of random length; every observation, reward and end says which episode and which step it belongs to."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, bad_reward: bool = False):
        self.episode, self.bad_reward = 0, bad_reward

    def observe(self):
        return np.array([self.episode, self.time, self.length], dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode = 1 if seed is not None else self.episode + 1
        self.time, self.length = 0, int(self.np_random.integers(1, 12))
        return self.observe(), {}

    def step(self, action):
        self.time += 1
        reward = np.nan if self.bad_reward else 100.0 * self.episode + 10 * self.time + int(action)
        return self.observe(), reward, self.time == self.length, False, {}


gymnasium.register(TOY, Counter, max_episode_steps=8)
gymnasium.register("rlbook/CounterUnlimited-v0", Counter)
gymnasium.register("rlbook/CounterBad-v0", Counter, max_episode_steps=8, kwargs={"bad_reward": True})
for name, space in {
    "Many": gymnasium.spaces.MultiDiscrete([2, 3]),
    "FromOne": gymnasium.spaces.Discrete(2, start=1),
    "Grid": gymnasium.spaces.Box(-1, 1, (2, 2)),
}.items():
    kind = type(name, (Counter,), {"action_space": space})
    gymnasium.register(f"rlbook/Counter{name}-v0", kind, max_episode_steps=8)


def needs_box2d():
    raise gymnasium.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')


gymnasium.register("rlbook/CounterNeedsMore-v0", needs_box2d, max_episode_steps=8)
gymnasium.register("rlbook/CounterNeedsModule-v0", "rlbook_has_no_such_module:Env", max_episode_steps=8)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def roll(env_id: str, n: int, seed: int, limit: int | None = None):
    envs = make_envs(env_id, n, limit)
    size, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    policy = CategoricalPolicy(size, actions, (8,), generator(0))
    episodes = collect(envs, policy, generator(1), seed)
    envs.close()
    return episodes


def check_against(env: gymnasium.Env, first: np.ndarray, episodes, i: int, exact: bool = True) -> None:
    """Step `env`, already at `first`, through row i's actions; every recorded number must be what it returns."""
    same = np.array_equal if exact else lambda a, b: np.allclose(a, b, rtol=0, atol=1e-6)
    length = int(episodes.lengths[i])
    row = [field[i].numpy() for field in episodes]
    observations, actions, rewards, terminated, truncated, mask = row
    assert same(observations[0], first.astype(np.float32))
    assert mask[:length].all() and not mask[length:].any()
    for t in range(length):
        got = env.step(actions[t])
        assert same(observations[t + 1], got[0].astype(np.float32))
        assert (rewards[t], terminated[t], truncated[t]) == (np.float32(got[1]), got[2], got[3])
        assert (got[2] or got[3]) == (t == length - 1)  # the episode ends there, and not before
    assert not observations[length + 1 :].any() and not rewards[length:].any() and not actions[length:].any()
    assert not terminated[length:].any() and not truncated[length:].any()


@pytest.mark.parametrize(
    ("env_id", "limit"), [(TOY, None), ("MountainCar-v0", 9), ("Acrobot-v1", 7)]
)
def test_row_4_sync_rollout_equals_single_environments(env_id, limit):
    n, seed = 12, 123
    episodes = roll(env_id, n, seed, limit)
    for i in range(n):
        env = gymnasium.make(env_id, max_episode_steps=limit)
        first, _ = env.reset(seed=seed + i)
        check_against(env, first, episodes, i)
        env.close()


def test_row_4_vector_rollout_equals_single_environments():
    n, seed, limit = 12, 5, 25
    envs = make_envs("CartPole-v1", n, limit)
    assert type(envs).__name__ == "CartPoleVectorEnv"  # not a SyncVectorEnv: its own, NEXT_STEP by construction
    envs.close()
    episodes = roll("CartPole-v1", n, seed, limit)
    starts = seeding.np_random(seed)[0].uniform(-0.05, 0.05, size=(4, n))
    for i in range(n):
        env = gymnasium.make("CartPole-v1", max_episode_steps=limit)
        env.reset()
        env.unwrapped.state = starts[:, i]
        check_against(env, starts[:, i], episodes, i, exact=False)
        env.close()
    assert episodes.truncated.any() and episodes.terminated.any()


def test_ends_are_told_apart_and_only_first_episodes_count():
    episodes = roll(TOY, 40, seed=7)
    ends = (episodes.terminated | episodes.truncated) & episodes.mask
    assert torch.equal(ends.sum(1), torch.ones(40, dtype=torch.int64))
    length, limit = episodes.observations[:, 0, 2], 8
    assert torch.equal(episodes.lengths, length.clamp(max=limit).long())
    assert torch.equal(episodes.terminated.any(1), length <= limit)
    assert torch.equal(episodes.truncated.any(1), length >= limit)  # at the limit both are reported, and both are kept
    first_episode = episodes.observations[:, 1:, 0][episodes.mask]
    assert (first_episode == 1).all() and (episodes.observations[:, 0, 0] == 1).all()
    assert episodes.mask.shape[1] == episodes.lengths.max()


def test_seed_and_generator_decide_everything():
    a, b, c = roll(TOY, 6, 3), roll(TOY, 6, 3), roll(TOY, 6, 4)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(a.lengths, c.lengths)


def test_actions_follow_the_policy():
    policy = CategoricalPolicy(2, 3, (4,), generator(0))
    with torch.no_grad():
        policy.network[-1].bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    observations = torch.zeros(30_000, 2)
    frequencies = torch.bincount(policy.sample(observations, generator(2)), minlength=3) / 30_000
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    torch.testing.assert_close(frequencies, expected, rtol=0, atol=0.012)  # four standard deviations
    logprobs, entropy = policy.evaluate(observations[:3], torch.tensor([0, 1, 2]))
    torch.testing.assert_close(logprobs.detach(), expected.log())
    torch.testing.assert_close(entropy.detach(), -(expected * expected.log()).sum().expand(3))


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("NoSuchEnv-v0", "unknown environment 'NoSuchEnv-v0'"),
        ("CartPole-v99", "unknown environment"),
        ("rlbook/CounterMany-v0", r"actions MultiDiscrete\(\[2 3\]\); policies here are categorical and need Discrete"),
        ("rlbook/CounterFromOne-v0", r"actions Discrete\(2, start=1\)"),
        ("rlbook/CounterGrid-v0", "Gaussian and need a Box with one axis, float32"),
        ("FrozenLake-v1", "Box with one axis"),
        ("rlbook/CounterUnlimited-v0", "max_episode_steps"),
    ],
)
def test_environments_that_do_not_fit_are_refused(env_id, message):
    with pytest.raises(ValueError, match=message):
        make_envs(env_id, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2), "env_id must be the name of an environment.*got None"),
        (("CartPole-v1", 0), "num_envs must be an integer >= 1, got 0"),
        (("CartPole-v1", 2.0), "num_envs must be an integer"),
        (("CartPole-v1", 2, -3), "max_episode_steps must be an integer >= 1, got -3"),
        (("CartPole-v1", 2, "x"), "max_episode_steps must be an integer"),
        (("rlbook/CounterNeedsMore-v0", 2), 'cannot be made: Box2D is not installed, run `pip install "gymnasium.box2d."`'),
        (("rlbook/CounterNeedsModule-v0", 2), "cannot be made: No module named"),
    ],
)
def test_bad_arguments_of_make_envs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_envs(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": CategoricalPolicy(3, 2)}, "takes 3 numbers and chooses among 2 actions.*gives 4 and has 2"),
        ({"policy": CategoricalPolicy(4, 1)}, "chooses among 1 actions"),
        ({"policy": CategoricalPolicy(4, 3)}, "chooses among 3 actions"),
        ({"policy": None}, "policy must be a CategoricalPolicy, got NoneType"),
        ({"policy": "nan"}, "outputs are not finite"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": None}, "seed must be an integer >= 0"),
        ({"generator": None}, "generator must be a torch.Generator on the CPU, got None"),
        ({"generator": 1}, "generator must be"),
    ],
)
def test_bad_arguments_of_collect_are_refused(change, message):
    given = {"policy": CategoricalPolicy(4, 2), "generator": generator(0), "seed": 0, **change}
    if given["policy"] == "nan":
        given["policy"] = CategoricalPolicy(4, 2)
        torch.nn.init.constant_(given["policy"].network[0].weight, torch.nan)
    envs = make_envs("CartPole-v1", 2)
    with pytest.raises(ValueError, match=message):
        collect(envs, **given)
    envs.close()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.evaluate(torch.ones(2, 3, 4), torch.ones(2, 2).long()), r"actions must be \(2, 3\).*got \(2, 2\)"),
        (lambda p: p.evaluate(torch.ones(2, 3, 5), torch.ones(2, 3).long()), r"D = 4, got \(2, 3, 5\)"),
        (lambda p: p.evaluate(torch.ones(2, 4), torch.ones(2)), "actions must be a tensor of int64, got torch.float32"),
        (lambda p: p.evaluate(torch.ones(2, 4), [0, 1]), "actions must be a tensor of int64, got list"),
        (lambda p: p.evaluate(torch.ones(2, 4), torch.tensor([0, 2])), "actions must be from 0 to 1, got 2"),
        (lambda p: p.evaluate(torch.ones(2, 4), torch.tensor([0, -1])), "actions must be from 0 to 1, got -1"),
        (lambda p: p.evaluate(torch.ones(2, 4).double(), torch.ones(2).long()), "observations must be.*float32, got.*float64"),
        (lambda p: p.sample(torch.ones(4)), r"observations must be \[N, D\]"),
        (lambda p: p.sample(np.ones((2, 4))), "observations must be a tensor.*got ndarray"),
        (lambda p: p.sample(torch.full((2, 4), torch.nan)), "not finite"),
        (lambda p: CategoricalPolicy(4, 2, 32), "hidden_sizes must be a tuple of positive integers.*got 32"),
        (lambda p: CategoricalPolicy(0, 2), "observation_size and num_actions must be"),
    ],
)
def test_what_a_policy_cannot_take_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(CategoricalPolicy(4, 2, (8,), generator(0)))


def test_a_reward_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        roll("rlbook/CounterBad-v0", 2, 0)
