"""TD errors, advantages and λ-returns: against their definitions, the checked expressions, and known ways to be wrong."""

import math

import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook import scan
from rlbook.derive.language import Σ, Head, T, Vhat, l, n, r, s, t, γ, λ
from rlbook.derive.tensors import Tensors
from rlbook.returns import discounted_returns, gae, lambda_returns, td_errors

DOUBLE = torch.float64
NAMES = ("rewards", "values", "next_values", "terminated", "truncated")
LONG = (5, 60, 700)  # the loop; one level of chunks; two levels


def steps(times, rate, rows=2, seed=0, dtype=DOUBLE):
    """Random arguments of gae up to the flags; a share `rate` of the times ends an episode, in half of them by each kind."""
    draw = torch.Generator().manual_seed(seed)
    numbers = [torch.randn(rows, times, generator=draw, dtype=DOUBLE).to(dtype) for _ in range(3)]
    ends, kind = (torch.rand(rows, times, generator=draw) for _ in range(2))
    return [*numbers, (ends < rate) & (kind < 0.5), (ends < rate) & (kind >= 0.5)]


def definition(rewards, values, next_values, terminated, truncated, gamma, lam):
    """Â_t = Σ_l (γλ)^l δ_{t+l} up to the end of the episode, one term at a time."""
    rows = []
    for row in range(len(rewards)):
        out = []
        for time in range(rewards.shape[-1]):
            total = 0.0
            for k in range(time, rewards.shape[-1]):
                after = 0.0 if terminated[row, k] else next_values[row, k]
                total = total + (gamma * lam) ** (k - time) * (rewards[row, k] + gamma * after - values[row, k])
                if terminated[row, k] or truncated[row, k]:
                    break
            out.append(total)
        rows.append(torch.stack(out))
    return torch.stack(rows)


@pytest.fixture(params=["powers", "doubling"])
def path(request, monkeypatch):
    """Both ways of `scan`, whatever the size."""
    monkeypatch.setattr(scan, "SMALL", 0 if request.param == "powers" else 2**30)


def close(x, y, tolerance=1e-10):
    torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


fractions = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
cases = st.tuples(st.integers(1, 25), st.floats(0, 0.5), fractions, fractions, st.integers(0, 2**31))


# -- the definition, and what it implies ------------------------------------------------------------
@pytest.mark.equation("gae", "td-error")
@given(cases)
def test_gae_is_its_definition_values_and_derivatives(case):
    times, rate, gamma, lam, seed = case
    x = steps(times, rate, seed=seed)
    leaves = [y.requires_grad_() for y in x[:3]]
    ours, theirs = gae(*x, gamma, lam), definition(*x, gamma, lam)
    close(ours, theirs)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    pairs = [torch.autograd.grad((y * weight).sum(), leaves, allow_unused=True) for y in (ours, theirs)]
    for got, expected in zip(*pairs, strict=True):
        close(got, torch.zeros_like(got) if expected is None else expected)


@pytest.mark.parametrize("times", [1, 2, 7, 97, 128, 1000, 4099])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
def test_gae_is_the_loop_at_every_length(path, times, rate):
    x = steps(times, rate, seed=times)
    following, expected = torch.zeros(2, dtype=DOUBLE), []
    for rewards, values, next_values, terminated, truncated in zip(*(reversed(y.unbind(-1)) for y in x), strict=True):
        delta = rewards + 0.99 * torch.where(terminated, 0.0, next_values) - values
        following = torch.where(terminated | truncated, delta, delta + 0.99 * 0.95 * following)
        expected.append(following)
    close(gae(*x, 0.99, 0.95), torch.stack(expected[::-1], dim=-1), 1e-12)


@pytest.mark.equation("td-lambda")
@given(cases)
def test_lambda_returns_obey_their_recurrence(case):
    times, rate, gamma, lam, seed = case
    rewards, values, _, terminated, truncated = steps(times, rate, seed=seed)
    last = torch.randn(2, times, generator=torch.Generator().manual_seed(seed + 1), dtype=DOUBLE)
    ends = terminated | truncated
    ends[:, -1] = True
    next_values = torch.where(ends, last, values.roll(-1, -1))  # V(s_{t+1}) is the next entry, except where a row is cut
    got = lambda_returns(rewards, values, next_values, terminated, truncated, gamma, lam)
    assert torch.equal(got, gae(rewards, values, next_values, terminated, truncated, gamma, lam) + values)
    after = torch.where(ends, next_values, got.roll(-1, -1))
    close(got, rewards + torch.where(terminated, 0.0, gamma * ((1 - lam) * next_values + lam * after)))


@pytest.mark.equation("gae-lambda-0", "gae-lambda-1")
@given(cases)
def test_lambda_0_and_1(case):
    times, rate, gamma, _, seed = case
    x = steps(times, rate, seed=seed)
    rewards, values, _, terminated, truncated = x
    ends = terminated | truncated
    ends[:, -1] = True
    next_values = torch.where(ends, x[2], values.roll(-1, -1))
    x = (rewards, values, next_values, terminated, truncated, gamma)
    assert torch.equal(gae(*x, 0.0), td_errors(*x[:4], gamma))
    with_last = rewards + gamma * torch.where(ends & ~terminated, next_values, 0.0)
    close(lambda_returns(*x, 1.0), discounted_returns(with_last, gamma * (~ends).to(DOUBLE)))


def test_by_hand():
    x = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor([20.0, 50.0])
    no, end = torch.tensor([False, False]), torch.tensor([False, True])
    assert td_errors(*x, end, 0.5).tolist() == [1.0, -18.0]
    assert gae(*x, end, no, 0.5, 0.5).tolist() == [1 - 18 / 4, -18.0]
    assert gae(*x, no, end, 0.5, 0.5).tolist() == [1 + 7 / 4, 7.0]
    assert gae(*x, no, no, 0.5, 0.5).tolist() == [1 + 7 / 4, 7.0]
    assert lambda_returns(*x, end, no, 0.5, 0.5).tolist() == [11 - 18 / 4, 2.0]


# -- the checked expressions, read with tensors ------------------------------------------------------
class NStep(Head):
    """Â_t^(n): the advantage from n rewards and one value."""


δ = sp.IndexedBase("delta")
error = r[t] + γ * Vhat(s[t + 1]) - Vhat(s[t])
as_sum = Σ((γ * λ) ** l * δ[t + l], (l, 0, T - t))
as_average = (1 - λ) * Σ(λ ** (n - 1) * NStep(n, t), (n, 1, T - t)) + λ ** (T - t) * NStep(T - t + 1, t)
n_step = Σ(γ**l * r[t + l], (l, 0, n - 1)) + γ**n * Vhat(s[t + n]) - Vhat(s[t])


@pytest.mark.equation("gae", "td-error", "td-lambda")
@given(st.integers(1, 8), st.integers(1, 3), fractions, fractions, st.booleans(), st.integers(0, 2**31))
def test_the_checked_expressions_are_what_is_computed(times, rows, gamma, lam, ends, seed):
    """One episode, terminated or not at its last step: TD errors, and the advantage as a sum and as an average."""
    draw = torch.Generator().manual_seed(seed)
    rewards = torch.randn(rows, times, generator=draw, dtype=DOUBLE, requires_grad=True)
    critic = torch.randn(rows, times + 1, generator=draw, dtype=DOUBLE, requires_grad=True)
    true = torch.cat([critic[:, :-1], critic[:, -1:] * (not ends)], dim=-1)  # the value of a terminal state is 0
    world = Tensors({r: rewards, γ: gamma, λ: lam, T: times - 1, s: torch.arange(times + 1), Vhat: lambda at: true[:, at]})
    read = lambda tree, reader: torch.stack([reader(tree, {t: time}) for time in range(times)], dim=-1)  # noqa: E731
    errors = read(error, world)
    averaged = Tensors({**world.values, NStep: lambda number, at: world(n_step, {n: number, t: at})})
    terminated = torch.zeros(rows, times, dtype=torch.bool)
    terminated[:, -1] = ends
    x = rewards, critic[:, :-1], critic[:, 1:], terminated
    none = torch.zeros_like(terminated)
    pairs = [
        (td_errors(*x, gamma), errors),
        (gae(*x, none, gamma, lam), read(as_sum, Tensors({**world.values, δ: errors}))),
        (gae(*x, none, gamma, lam), read(as_average, averaged)),
        (lambda_returns(*x, none, gamma, lam), read(as_average + Vhat(s[t]), averaged)),
    ]
    weight = torch.randn(rows, times, generator=draw, dtype=DOUBLE)
    for ours, tree in pairs:
        close(ours, tree)
        derivatives = [torch.autograd.grad((y * weight).sum(), [rewards, critic], retain_graph=True) for y in (ours, tree)]
        for got, expected in zip(*derivatives, strict=True):
            close(got, expected)


# -- known ways to be wrong --------------------------------------------------------------------------
@pytest.mark.parametrize("times", LONG)
def test_pitfall_1_truncation_is_not_termination(times):
    """Reward 1 for ever, V = 1/(1 - γ): right values leave every advantage 0, wherever the time limit cuts."""
    gamma = 0.75
    ones = torch.ones(2, times, dtype=DOUBLE)
    none = torch.zeros(2, times, dtype=torch.bool)
    cut = none.clone()
    cut[:, 3::4] = True
    values = ones / (1 - gamma)
    assert torch.equal(gae(ones, values, values, none, cut, gamma, 0.9), 0 * ones)
    assert torch.equal(lambda_returns(ones, values, values, none, cut, gamma, 0.9), values)
    assert (gae(ones, values, values, cut, none, gamma, 0.9)[:, : times // 4 * 4] < 0).all()  # the bug


@pytest.mark.parametrize("times", LONG)
def test_pitfall_2_a_terminal_state_at_the_end_is_not_bootstrapped(path, times):
    x = steps(times, 0.0)
    x[3][:, -1] = True
    clean = [f(*x, 0.99, 0.95) for f in (gae, lambda_returns)]
    assert torch.equal(clean[0][:, -1], x[0][:, -1] - x[1][:, -1])
    for junk in (0.0, 1e3, math.nan, math.inf):
        x[2][:, -1] = junk
        assert all(torch.equal(f(*x, 0.99, 0.95), y) for f, y in zip((gae, lambda_returns), clean, strict=True))


@pytest.mark.parametrize("times", LONG)
@pytest.mark.parametrize("kind", [3, 4])
def test_pitfall_3_two_episodes_in_a_row_equal_two_calls(path, times, kind):
    for boundary in range(1, times, 1 if times < 100 else 23):
        x = steps(times, 0.0, seed=boundary)
        x[kind][:, boundary - 1] = True
        for f in (gae, lambda_returns):
            apart = [f(*(y[:, part] for y in x), 0.99, 0.95) for part in (slice(boundary), slice(boundary, None))]
            close(f(*x, 0.99, 0.95), torch.cat(apart, dim=-1), 1e-12)


@pytest.mark.parametrize("times", LONG)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e6])
def test_pitfall_5_the_next_trajectory_does_not_leak(path, times, dtype, kind, junk):
    """Whatever stands after a boundary, every advantage before it is equal bit for bit."""
    for boundary in range(1, times, 1 if times < 10 else 7 if times < 100 else 149):
        x = steps(times, 0.02, dtype=dtype)
        x[kind][:, boundary - 1] = True
        clean = gae(*x, 0.99, 0.95)
        for which in range(3):
            spoilt = [y.clone() for y in x]
            spoilt[which][:, boundary:] = junk
            assert torch.equal(gae(*spoilt, 0.99, 0.95)[:, :boundary], clean[:, :boundary])
            with_graph = [y.requires_grad_() for y in spoilt[:3]] + spoilt[3:]
            assert torch.equal(gae(*with_graph, 0.99, 0.95)[:, :boundary], clean[:, :boundary])


@pytest.mark.parametrize("times", LONG)
def test_nan_reaches_earlier_times_of_its_own_episode_only(path, times):
    x = steps(times, 0.0)
    x[3][0, 0] = x[4][1, 1] = True
    at = times - 2
    x[0][:, at] = math.nan
    expected = torch.zeros(2, times, dtype=torch.bool)
    expected[0, 1 : at + 1] = expected[1, 2 : at + 1] = True
    assert torch.equal(gae(*x, 0.99, 0.95).isnan(), expected)
    assert torch.equal(lambda_returns(*x, 0.99, 0.95).isnan(), expected)
    assert torch.equal(td_errors(*x[:4], 0.99).isnan(), (torch.arange(times) == at).expand(2, times))
    x[2][0, at] = math.inf
    assert td_errors(*x[:4], 0.0).isnan().sum() == 2


def test_a_terminated_step_ignores_the_next_value_and_its_derivative():
    x = steps(50, 0.3)
    clean = td_errors(*x[:4], 0.9)
    for junk in (math.nan, math.inf, -7.0):
        x[2] = torch.where(x[3], junk, x[2]).requires_grad_()
        got = td_errors(*x[:4], 0.9)
        assert torch.equal(got, clean)
        (grad,) = torch.autograd.grad(got.sum(), x[2])
        assert torch.equal(grad, 0.9 * (~x[3]).to(DOUBLE))
        x[2] = x[2].detach()


def test_both_flags_mean_terminated():
    x = steps(20, 0.0)
    x[3][:, 7] = True
    expected = gae(*x, 0.9, 0.8)
    x[4][:, 7] = True
    assert torch.equal(gae(*x, 0.9, 0.8), expected)


# -- forms of input ----------------------------------------------------------------------------------
@pytest.mark.parametrize("flag", [torch.uint8, torch.int64, torch.float32, DOUBLE])
def test_flags_may_be_numbers(flag):
    x = steps(40, 0.3)
    as_numbers = [*x[:3], *(y.to(flag) for y in x[3:])]
    assert torch.equal(gae(*as_numbers, 0.9, 0.8), gae(*x, 0.9, 0.8))


@pytest.mark.parametrize("shape", [(1,), (30,), (2, 30), (3, 2, 30), (0, 30)])
def test_leading_shapes(shape):
    x = [y.reshape(6, 30)[: math.prod(shape[:-1]), : shape[-1]].reshape(shape) for y in steps(30, 0.2, rows=6)]
    for f in (gae, lambda_returns):
        got = f(*x, 0.9, 0.8)
        assert got.shape == shape
        rows = [f(*row, 0.9, 0.8) for row in zip(*(y.reshape(-1, shape[-1]) for y in x), strict=True)]
        close(got.reshape(-1, shape[-1]), torch.stack(rows) if rows else got)


def test_memory_formats_and_inputs_left_alone(path, monkeypatch):
    x = steps(90, 0.1, rows=6)
    expected = gae(*x, 0.99, 0.95)
    monkeypatch.setattr(scan, "NUMBER_BLOCK", 180)
    close(gae(*x, 0.99, 0.95), expected)
    for change in (lambda y: y.t().contiguous().t(), lambda y: y.repeat_interleave(2, -1)[:, ::2]):
        changed = [change(y) for y in x]
        copies = [y.clone() for y in changed]
        close(gae(*changed, 0.99, 0.95), expected)
        assert all(torch.equal(y, z) for y, z in zip(changed, copies, strict=True))
    expanded = [y[:1].expand_as(y) for y in x]
    close(gae(*expanded, 0.99, 0.95), expected[:1].expand_as(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision(path, dtype):
    x = steps(300, 0.02, dtype=dtype)
    exact = gae(*(y.double() if y.is_floating_point() else y for y in x), 0.99, 0.95)
    got = gae(*x, 0.99, 0.95)
    assert got.dtype == dtype
    ulps = 4 if dtype == torch.float32 else 1  # half precision is computed in float32 and rounded once
    assert (got.double() - exact).abs().max() <= ulps * torch.finfo(dtype).eps * exact.abs().max()


def test_no_value_is_looked_at_on_other_devices():
    x = [y.to("meta") for y in steps(100, 0.1)]
    assert gae(*x, 0.9, 0.8).shape == lambda_returns(*x, 0.9, 0.8).shape == (2, 100)
    assert gae(*x[:3], *(y.double() for y in x[3:]), 0.9, 0.8).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu():
    x = steps(1000, 0.05)
    close(gae(*(y.cuda() for y in x), 0.99, 0.95).cpu(), gae(*x, 0.99, 0.95))


# -- bad input ---------------------------------------------------------------------------------------
FUNCTIONS = {
    "td_errors": lambda x: td_errors(x["rewards"], x["values"], x["next_values"], x["terminated"], x["gamma"]),
    "gae": lambda x: gae(**x),
    "lambda_returns": lambda x: lambda_returns(**x),
}
ones = torch.ones(2, 3)
BAD = [
    ("rewards", torch.ones(2, 0), "^rewards needs a last axis of time"),
    ("rewards", torch.tensor(1.0), "^rewards needs a last axis of time"),
    ("rewards", ones.long(), "^rewards must be floating point, got torch.int64"),
    ("rewards", [1.0], "^rewards must be a tensor"),
    ("rewards", torch.ones(3, 2), "^values must have shape .3, 2., got .2, 3."),
    ("values", torch.ones(3), "^values must have shape .2, 3., got .3,."),
    ("values", torch.ones(2, 4), "^values must have shape .2, 3., got .2, 4."),
    ("values", ones.double(), "^values is torch.float64.*dtype and device"),
    ("values", ones.to("meta"), "^values is torch.float32 .2, 3. on meta"),
    ("values", 0.0, "^values must be a tensor"),
    ("next_values", torch.ones(2, 1), "^next_values must have shape .2, 3., got .2, 1."),
    ("next_values", ones.half(), "^next_values is torch.float16"),
    ("next_values", ones.to("meta"), "^next_values is torch.float32 .2, 3. on meta"),
    ("next_values", None, "^next_values must be a tensor"),
    ("terminated", torch.zeros(3), "^terminated must have the shape and device of rewards.*got torch.float32 .3,."),
    ("terminated", ones.to("meta"), "^terminated must have the shape and device"),
    ("terminated", None, "^terminated must have the shape.*got NoneType"),
    ("terminated", 0.5 * ones, "^terminated must hold nothing but 0 and 1, or False and True, got 0.5"),
    ("terminated", math.nan * ones, "^terminated must hold.*got nan"),
    ("truncated", torch.zeros(2, 4), "^truncated must have the shape and device of rewards"),
    ("truncated", ones.to("meta"), "^truncated must have the shape and device"),
    ("truncated", -ones.long(), "^truncated must hold.*got -1"),
    ("truncated", False, "^truncated must have the shape.*got bool"),
    *((name, value, f"^{name} must be a number in .0, 1., got")
      for name in ("gamma", "lam") for value in (1.01, -0.1, math.nan, math.inf, True, "1", None, torch.tensor(0.9))),
]


@pytest.mark.parametrize(
    ("function", "name", "value", "message"),
    [(function, *bad) for function in FUNCTIONS for bad in BAD if function != "td_errors" or bad[0] not in ("truncated", "lam")],
)
def test_bad_input_is_refused(function, name, value, message):
    none = torch.zeros(2, 3, dtype=torch.bool)
    right = dict(zip(NAMES, (ones, ones, ones, none, none), strict=True), gamma=0.9, lam=0.9)
    FUNCTIONS[function](right)
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[function]({**right, name: value})
