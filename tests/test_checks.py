"""The public checkers: right answers pass, near misses are caught with a counterexample that says what was expected."""

import math

import numpy as np
import pytest
import torch

from rlbook import checks, exact, losses
from rlbook.notebook import rounded, show
from rlbook.returns import gae


def coin(theta, x):
    return x - theta.sigmoid()


def at_temperature(logits, action, temperature):
    return (torch.eye(len(logits), dtype=logits.dtype)[action] - (logits / temperature).softmax(-1)) / temperature


def estimate(mdp, trajectories, logits):
    return exact.policy_gradient_estimates(mdp, trajectories, logits)


def sample_size(covariance, tolerance):
    return math.ceil(covariance.trace().item() / tolerance**2)


def to_go(rewards, gamma):
    """The definition, with powers of gamma."""
    times = torch.arange(rewards.shape[-1])
    later = times - times[:, None]
    weight = torch.where(later >= 0, torch.tensor(gamma, dtype=rewards.dtype) ** later.clamp(min=0), 0.0)
    return (weight * rewards[..., None, :]).sum(-1)


def recursive_values(mdp, logits, t=0):
    """V_t by recursion ahead in time, which visits every later table again: slow and plain."""
    if t == mdp.horizon + 1:
        return torch.zeros(1, mdp.num_states, dtype=logits.dtype)
    rest = recursive_values(mdp, logits, t + 1)
    now = torch.einsum("sa,sax,sax->s", logits.softmax(-1), mdp.transition, mdp.reward + mdp.gamma * rest[0])
    return torch.cat([now[None], rest])


def exchanged(p, f0, f1):
    return (1 - p) * f0 + p * f1


RIGHT = [
    (checks.check_coin_score, coin),
    (checks.check_temperature_score, at_temperature),
    (checks.check_policy_gradient_estimate, estimate),
    (checks.check_sample_size, sample_size),
    (checks.check_rewards_to_go, to_go),
    (checks.check_state_values, recursive_values),
    (checks.check_two_action_baseline, exchanged),
]
STEPS = ("rewards", "values", "next_values", "terminated", "truncated", "gamma", "lam")


def backwards(rewards, values, next_values, terminated, truncated, gamma, lam, delta=None, carry=None):
    """GAE as many write it, with one place to be wrong: delta(t) and carry(t) replace a TD error and a factor."""
    alive, goes_on = ~terminated, ~(terminated | truncated)
    out, following = torch.zeros_like(rewards), torch.zeros_like(rewards[..., 0])
    for t in reversed(range(rewards.shape[-1])):
        error = rewards[..., t] + gamma * next_values[..., t] * alive[..., t] - values[..., t]
        factor = gamma * lam * goes_on[..., t]
        error = error if delta is None else delta(t)
        out[..., t] = following = error + (factor if carry is None else carry(t)) * following
    return out


def as_a_matrix(rewards, values, next_values, terminated, truncated, gamma, lam):
    """GAE as one product of the TD errors with a matrix of weights: another style, no recurrence."""
    times = rewards.shape[-1]
    ends = (terminated | truncated).cumsum(-1)
    episode = torch.cat([torch.zeros_like(ends[..., :1]), ends[..., :-1]], dim=-1)  # ends before t
    later = torch.arange(times) - torch.arange(times)[:, None]
    same = (episode[..., None] == episode[..., None, :]) & (later >= 0)
    errors = rewards + gamma * torch.where(terminated, 0.0, next_values) - values
    return (same * torch.tensor(gamma * lam).to(rewards) ** later.clamp(min=0) * errors[..., None, :]).sum(-1)


def with_float_masks(rewards, values, next_values, terminated, truncated, gamma, lam):
    """GAE as many write it, with a factor in float32 whatever the rewards are."""
    return backwards(rewards, values, next_values, terminated, truncated, gamma, lam,
                     carry=lambda t: gamma * lam * (1 - (terminated | truncated)[..., t].float()))


def wrong_gae(name, x):
    """Ways to be wrong that projects of the field have had, and four more; x holds gae's arguments by name."""
    r, v, after, terminated, truncated, gamma, lam = (x[key] for key in STEPS)
    last, ends = r.shape[-1] - 1, terminated | truncated
    on = (~ends).to(r)
    td = r + gamma * after * ~terminated - v
    call = {
        "truncation as termination": lambda: gae(r, v, after, ends, torch.zeros_like(ends), gamma, lam),
        "done index off by one": lambda: backwards(
            *x.values(),
            lambda t: r[..., t] + gamma * after[..., t] * (1 if t == last else ~terminated[..., t + 1]) - v[..., t],
            lambda t: gamma * lam * (1 if t == last else on[..., t + 1])),
        "no mask in the carry": lambda: backwards(*x.values(), None, lambda t: gamma * lam),
        "no mask in the TD error": lambda: backwards(*x.values(), lambda t: r[..., t] + gamma * after[..., t] - v[..., t]),
        "exponent one too large": lambda: backwards(*x.values(), lambda t: gamma * lam * td[..., t]),
        "lambda on the next value": lambda: backwards(
            *x.values(), lambda t: r[..., t] + lam * gamma * after[..., t] * ~terminated[..., t] - v[..., t],
            lambda t: gamma * on[..., t]),
        "no lambda": lambda: backwards(*x.values(), None, lambda t: gamma * on[..., t]),
        "the last value always bootstrapped": lambda: backwards(
            *x.values(), lambda t: td[..., t] + (t == last) * gamma * after[..., t] * terminated[..., t]),
        "the last value never bootstrapped": lambda: backwards(
            *x.values(), lambda t: td[..., t] - (t == last) * gamma * after[..., t] * ~terminated[..., t]),
        "the next trajectory leaks after truncation": lambda: backwards(
            *x.values(), None, lambda t: gamma * lam * ~terminated[..., t]),
        "forwards": lambda: backwards(*(y.flip(-1) for y in list(x.values())[:5]), gamma, lam).flip(-1),
        "values added": lambda: gae(*x.values()) + v,
        "the next row's value": lambda: backwards(
            *x.values(), lambda t: r[..., t] - v[..., t] + gamma * ~terminated[..., t] * (
                after[..., t] if t == last else v[..., t + 1])),
        "both flags count as truncated": lambda: gae(r, v, after, terminated & ~truncated, truncated, gamma, lam),
        "both flags let the sum go on": lambda: backwards(
            *x.values(), None, lambda t: gamma * lam * ~(terminated ^ truncated)[..., t]),
        "time is the first axis": lambda: gae(*(y.t() for y in list(x.values())[:5]), gamma, lam).t()
        if r.dim() == 2 else gae(*x.values()),
    }
    return call[name]()


WRONG_GAE = {  # how many times the first counterexample has
    "truncation as termination": 1,
    "done index off by one": 1,
    "no mask in the carry": 2,
    "no mask in the TD error": 1,
    "exponent one too large": 1,
    "lambda on the next value": 1,
    "no lambda": 2,
    "the last value always bootstrapped": 1,
    "the last value never bootstrapped": 1,
    "the next trajectory leaks after truncation": 2,
    "forwards": 2,
    "values added": 1,
    "the next row's value": 2,
    "both flags count as truncated": 1,
    "both flags let the sum go on": 2,
    "time is the first axis": 3,
}


@pytest.mark.equation("gae")
@pytest.mark.parametrize("name", WRONG_GAE)
def test_wrong_advantages_have_a_small_counterexample(name):
    for checker, add in ((checks.check_gae, 0), (checks.check_lambda_returns, 1)):
        with pytest.raises(checks.CounterExample) as caught:
            checker(lambda *args, add=add: wrong_gae(name, dict(zip(STEPS, args, strict=True))) + add * args[1])
        found = caught.value
        rewards = found.inputs["rewards"]
        assert rewards.shape[-1] == WRONG_GAE[name]
        assert rewards.dim() == (2 if "axis" in name else 1)
        assert not torch.allclose(found.got, found.expected)
        ends = found.inputs["terminated"] | found.inputs["truncated"]
        assert "axis" in name or ends.sum() <= 1
        assert str(rewards.tolist()) in str(found) or rewards.dim() > 1


def test_a_counterexample_reads_like_an_exercise():
    with pytest.raises(checks.CounterExample) as caught:
        checks.check_gae(lambda *args: wrong_gae("no mask in the carry", dict(zip(STEPS, args, strict=True))))
    assert str(caught.value).splitlines() == [
        "generalized advantage estimates",
        "    given     rewards = [1.0, 2.0], values = [10.0, 20.0], next_values = [50.0, 30.0], terminated = [1, 0], "
        "truncated = [0, 0], gamma = 1.0, lam = 1.0",
        "    expected  [-9.0, 12.0]",
        "    got       [3.0, 12.0]",
    ]


@pytest.mark.parametrize("answer", [gae, backwards, as_a_matrix, with_float_masks])
def test_right_advantages_in_any_style_pass(answer, capsys):
    checks.exercise(checks.check_gae, answer)
    checks.exercise(checks.check_lambda_returns, lambda *args: answer(*args) + args[1])
    checks.exercise(checks.check_gae, lambda *args: answer(*args).numpy())
    assert capsys.readouterr().out == "correct\n" * 3


def test_advantages_in_float32_are_told_so():
    with pytest.raises(checks.CounterExample, match="agrees to 4 digits, but in float32; the check is in float64"):
        checks.check_gae(lambda *args: (gae(*args) / 3).float() * 3)


WRONG = {
    "sign": (checks.check_coin_score, lambda theta, x: theta.sigmoid() - x),
    "probability instead of score": (checks.check_coin_score, lambda theta, x: theta.sigmoid()),
    "no temperature outside": (checks.check_temperature_score, lambda z, a, c: at_temperature(z, a, c) * c),
    "no temperature inside": (checks.check_temperature_score, lambda z, a, c: at_temperature(z, a, 1.0) / c),
    "no return": (checks.check_policy_gradient_estimate, lambda m, b, z: exact.score(m, b, z)),
    "undiscounted": (checks.check_policy_gradient_estimate,
                     lambda m, b, z: exact.policy_gradient_estimates(m, b, z, b.rewards.sum(-1))),
    "one number instead of rows": (checks.check_policy_gradient_estimate, lambda m, b, z: estimate(m, b, z).mean(0)),
    "rounded down": (checks.check_sample_size, lambda c, e: math.floor(c.trace().item() / e**2)),
    "standard error of one component": (checks.check_sample_size, lambda c, e: math.ceil(c[0, 0].item() / e**2)),
    "nothing": (checks.check_sample_size, lambda c, e: None),
    "undiscounted to go": (checks.check_rewards_to_go, lambda r, gamma: to_go(r, 1.0)),
    "discounted from the start": (checks.check_rewards_to_go,
                                  lambda r, gamma: to_go(r, gamma) * gamma ** torch.arange(r.shape[-1])),
    "what came before": (checks.check_rewards_to_go, lambda r, gamma: to_go(r.flip(-1), gamma).flip(-1)),
    "no row for the end": (checks.check_state_values, lambda m, z: recursive_values(m, z)[:-1]),
    "the best action": (checks.check_state_values,
                        lambda m, z: torch.cat([exact.action_values(m, z).max(-1).values, m.initial[None] * 0])),
    "the mean payoff": (checks.check_two_action_baseline, lambda p, f0, f1: p * f0 + (1 - p) * f1),
}


@pytest.mark.equation("score-function", "softmax-score", "gradient-estimate", "sample-mean-variance", "reward-to-go",
                      "state-value", "optimal-baseline")
@pytest.mark.parametrize(("checker", "answer"), RIGHT)
def test_right_answers_pass(checker, answer, capsys):
    checker(answer)
    checks.exercise(checker, answer)
    assert capsys.readouterr().out == "correct\n"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_raise_a_counterexample(name, capsys):
    checker, answer = WRONG[name]
    with pytest.raises(checks.CounterExample) as caught:
        checker(answer)
    assert caught.value.inputs
    assert not isinstance(caught.value.got, torch.Tensor) or not torch.equal(caught.value.got, caught.value.expected)
    assert "expected" in str(caught.value)
    assert "given" in str(caught.value)
    checks.exercise(checker, answer)
    assert capsys.readouterr().out.startswith("not yet: ")


def test_an_answer_that_changes_its_inputs_is_still_compared():
    def spoils(theta, x):
        out = coin(theta, x)
        theta.zero_()
        return out

    checks.check_coin_score(spoils)


def two_lines(theta, x):
    raise ValueError("one line\nand another")


ANSWERS_THAT_RAISE = {
    "wrong arity": (lambda theta: theta, "your function raised TypeError: "),
    "no function": (3, "your function raised TypeError: 'int' object is not callable"),
    "an error of its own": (lambda theta, x: theta.reshape(7, 7), "your function raised RuntimeError: shape '[7, 7]'"),
    "several lines": (two_lines, "your function raised ValueError: one line and another"),
}


@pytest.mark.parametrize("name", ANSWERS_THAT_RAISE)
def test_an_answer_that_raises_is_told_in_one_line(name, capsys):
    answer, message = ANSWERS_THAT_RAISE[name]
    checks.exercise(checks.check_coin_score, answer)
    shown = capsys.readouterr().out
    assert shown.startswith(f"not yet: {message}") and shown.count("\n") == 1
    with pytest.raises(checks.CounterExample) as caught:
        checks.check_coin_score(answer)
    assert isinstance(caught.value.got, Exception) and caught.value.inputs


@pytest.mark.parametrize(
    "value", ["text", ["a", "b"], [[1.0], [1.0, 2.0]], object(), 1j, torch.ones(1, dtype=torch.complex128),
              torch.ones(1, device="meta"), np.ones(1, dtype=complex), {}]
)
def test_an_answer_that_is_no_number_is_a_counterexample(value, capsys):
    checks.exercise(checks.check_coin_score, lambda theta, x: value)
    assert capsys.readouterr().out.startswith("not yet: the score of a coin: wrong type or shape\n")


@pytest.mark.parametrize("convert", [torch.Tensor.float, lambda y: y.float().numpy()])
def test_an_answer_in_another_precision_is_told_so(convert, capsys):
    checks.exercise(checks.check_coin_score, lambda theta, x: convert(coin(theta, x)))
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "not yet: the score of a coin: agrees to 4 digits, but in float32; the check is in float64"
    checks.exercise(checks.check_coin_score, lambda theta, x: convert(-coin(theta, x)))
    assert capsys.readouterr().out.splitlines()[0] == "not yet: the score of a coin"


@pytest.mark.parametrize("convert", [list, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.to_sparse])
def test_answers_may_be_lists_and_arrays(convert):
    checks.check_coin_score(lambda theta, x: convert(coin(theta, x)))


def test_no_answer_yet(capsys):
    checks.exercise(checks.check_coin_score, None)
    assert capsys.readouterr().out == "no answer yet\n"


def test_show_gives_the_source_without_docstrings():
    shown = repr(show(losses.policy_gradient_loss))
    assert shown.startswith("def policy_gradient_loss(")
    assert '"""' not in shown
    assert '"""' in repr(show(losses.policy_gradient_loss, docstrings=True))
    assert show(checks.exercise, checks.check_coin_score)._repr_markdown_().count("def ") >= 2
    with pytest.raises(TypeError):
        show(1)


def test_rounded_has_no_negative_zeros():
    assert str(rounded(torch.tensor([[-1e-9, 1.23456]]))) == "[0.0, 1.2346]"
