"""The public checkers: right answers pass, near misses are caught with a counterexample that says what was expected."""

import math

import numpy as np
import pytest
import torch

from rlbook import checks, exact, losses
from rlbook.notebook import rounded, show


def coin(theta, x):
    return x - theta.sigmoid()


def at_temperature(logits, action, temperature):
    return (torch.eye(len(logits), dtype=logits.dtype)[action] - (logits / temperature).softmax(-1)) / temperature


def estimate(mdp, trajectories, logits):
    return exact.policy_gradient_estimates(mdp, trajectories, logits)


def sample_size(covariance, tolerance):
    return math.ceil(covariance.trace().item() / tolerance**2)


RIGHT = [
    (checks.check_coin_score, coin),
    (checks.check_temperature_score, at_temperature),
    (checks.check_policy_gradient_estimate, estimate),
    (checks.check_sample_size, sample_size),
]
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
}


@pytest.mark.equation("score-function", "softmax-score", "gradient-estimate", "sample-mean-variance")
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
