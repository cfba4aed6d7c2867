"""The checkers of PPO's terms: right answers in any style pass, near misses are caught by the smallest counterexample."""

import math
from functools import partial

import pytest
import torch

from rlbook import checks, kl, losses


def clip(ratio, advantages, epsilon):
    """The clipped surrogate by cases."""
    high, low = ratio > 1 + epsilon, ratio < 1 - epsilon
    clipped = torch.where(advantages > 0, high, low)
    bound = torch.where(advantages > 0, 1 + epsilon, 1 - epsilon)
    return -torch.where(clipped, bound, ratio) * advantages, clipped


def wrong_clip(ratio, advantages, epsilon, pick=torch.minimum, sign=-1, flag=None, bounds=None):
    """The clipped surrogate as it is printed, with one place to be wrong."""
    low, high = bounds or (1 - epsilon, 1 + epsilon)
    loss = sign * pick(ratio * advantages, ratio.clamp(low, high) * advantages)
    return loss, clip(ratio, advantages, epsilon)[1] if flag is None else flag(ratio, advantages, epsilon)


WRONG_CLIP = {  # the answer; the first counterexample's ratio and advantage; what it is about
    "the objective, not the loss": (partial(wrong_clip, sign=1), 1.0, 1.0, "loss"),
    "max for min": (partial(wrong_clip, pick=torch.maximum), 1.5, 1.0, "loss"),
    "the clip computed and not used": (partial(wrong_clip, pick=lambda x, y: x), 1.5, 1.0, "loss"),
    "always clipped": (partial(wrong_clip, pick=lambda x, y: y), 1.5, -1.0, "loss"),
    "only the upper bound": (lambda r, a, e: wrong_clip(r, a, e, bounds=(0.0, 1 + e)), 0.5, -1.0, "loss"),
    "only the lower bound": (lambda r, a, e: wrong_clip(r, a, e, bounds=(1 - e, math.inf)), 1.5, 1.0, "loss"),
    "the upper bound for a negative advantage": (
        lambda r, a, e: (torch.where(r > 1 + e, 1 + e, r) * -a, clip(r, a, e)[1]), 1.5, -1.0, "loss"),
    "clipped around 0": (lambda r, a, e: wrong_clip(r, a, e, bounds=(-e, e)), 1.0, 1.0, "loss"),
    "the mean": (lambda r, a, e: (clip(r, a, e)[0].mean(), clip(r, a, e)[1]), 1.0, 1.0, "wrong type or shape"),
    "the flag of the other side": (partial(wrong_clip, flag=lambda r, a, e: clip(r, -a, e)[1]), 1.5, 1.0, "gradient away"),
    "the flag of both sides": (partial(wrong_clip, flag=lambda r, a, e: (r - 1).abs() > e), 1.5, -1.0, "gradient away"),
    "no flag": (partial(wrong_clip, flag=lambda r, a, e: torch.zeros_like(r)), 1.5, 1.0, "gradient away"),
    "the flag where it is not clipped": (partial(wrong_clip, flag=lambda r, a, e: ~clip(r, a, e)[1]), 1.0, 1.0, "gradient away"),
    "a clip that lets the gradient through": (
        lambda r, a, e: (-(r + (-clip(r, a, e)[0] / a - r).detach()) * a, clip(r, a, e)[1]), 1.5, 1.0, "derivative"),
}


@pytest.mark.equation("clipped-surrogate")
@pytest.mark.parametrize("name", WRONG_CLIP)
def test_pitfall_19_wrong_clips_have_a_small_counterexample(name):
    answer, ratio, advantage, about = WRONG_CLIP[name]
    with pytest.raises(checks.CounterExample, match=about) as caught:
        checks.check_clip(answer)
    assert caught.value.inputs["ratio"].tolist() == [ratio]
    assert caught.value.inputs["advantages"].tolist() == [advantage]
    assert caught.value.inputs["epsilon"] == 0.25
    assert not torch.equal(torch.as_tensor(caught.value.got).double(), caught.value.expected)


@pytest.mark.parametrize("answer", [clip, wrong_clip, losses.clipped_surrogate, lambda *x: list(clip(*x))])
def test_right_clips_in_any_style_pass(answer, capsys):
    checks.exercise(checks.check_clip, answer)
    assert capsys.readouterr().out == "correct\n"


RAISES = {
    "one result": (checks.check_clip, lambda r, a, e: clip(r, a, e)[0], "two results are needed, (loss, clipped), got Tensor"),
    "no gradient": (checks.check_clip, lambda r, a, e: (clip(r, a, e)[0].detach(), clip(r, a, e)[1]), "for its gradient to be"),
    "two results for three": (checks.check_value_clip, lambda v, r, o, c: (v, r, o), "wrong type or shape"),
    "a value loss of constants": (checks.check_value_clip, lambda *x: losses.value_loss(*x).detach(), "for its gradient to be"),
    "a broken estimator": (checks.check_kl, lambda x, y: x @ "y", "your function raised TypeError"),
    "a broken masked mean": (checks.check_padding_invariance, lambda x, m: x.nonsense, "your function raised AttributeError"),
    "a masked mean of rows": (checks.check_padding_invariance, lambda x, m: x[:, :1].repeat(3, 2), "is needed, got (3, 2)"),
}


@pytest.mark.parametrize("name", RAISES)
def test_answers_of_the_wrong_kind_are_told_what_is_needed(name, capsys):
    checker, answer, message = RAISES[name]
    checks.exercise(checker, answer)
    assert message in capsys.readouterr().out
    with pytest.raises(checks.CounterExample) as caught:
        checker(answer)
    assert caught.value.inputs


# -- the critic and the entropy ----------------------------------------------------------------------
def clipped_error(pick, values, returns, old_values, clip):
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * pick((values - returns) ** 2, (near - returns) ** 2)


@pytest.mark.parametrize(("answer", "error"), [
    (partial(clipped_error, torch.minimum), "the clipped value loss"),  # as Engstrom et al. print it
    (lambda *x: 2 * clipped_error(torch.maximum, *x), "the clipped value loss"),
    (lambda v, r, o, c: 0.5 * (v - r) ** 2, "the clipped value loss"),
    (lambda v, r, o, c: clipped_error(torch.maximum, v, r, torch.zeros_like(v) + v.detach(), c), "the clipped value loss"),
    (lambda v, r, o, c: clipped_error(lambda x, y: x + (torch.maximum(x, y) - x).detach(), v, r, o, c), "the derivative"),
])
def test_wrong_value_losses(answer, error):
    with pytest.raises(checks.CounterExample, match=f"^{error}") as caught:
        checks.check_value_clip(answer)
    assert caught.value.inputs["values"].shape == (1,)


@pytest.mark.equation("entropy-bonus", "log-softmax")
def test_the_gradient_of_the_entropy():
    def right(logits):
        logprobs = logits.log_softmax(-1)
        return -logprobs.exp() * (logprobs - (logprobs.exp() * logprobs).sum(-1, keepdim=True))

    def sums_everything(logits):
        logprobs = logits.log_softmax(-1)
        return -logprobs.exp() * (logprobs - (logprobs.exp() * logprobs).sum())

    checks.check_entropy_gradient(right)
    for wrong, shape in ((lambda z: -right(z), (2,)), (lambda z: -z.softmax(-1) * z.log_softmax(-1), (2,)),
                         (lambda z: -z.log_softmax(-1) - 1, (2,)), (sums_everything, (2, 4))):
        with pytest.raises(checks.CounterExample) as caught:
            checks.check_entropy_gradient(wrong)
        assert caught.value.inputs["logits"].shape == shape


# -- divergences -------------------------------------------------------------------------------------
RIGHT_KL = {
    "k1": lambda x, ref: x - ref,
    "k2": lambda x, ref: (x - ref) ** 2 / 2,
    "k3": lambda x, ref: (ref - x).exp() - 1 - (ref - x),
    "exact": lambda z, ref: (z.softmax(-1) * (z.log_softmax(-1) - ref.log_softmax(-1))).sum(-1),
}
WRONG_KL = {
    "k1 with reversed sign": ("k1", lambda x, ref: ref - x),
    "k1 of absolute values": ("k1", lambda x, ref: (x - ref).abs()),
    "k2 without the half": ("k2", lambda x, ref: (x - ref) ** 2),
    "k3 with reversed exponent": ("k3", lambda x, ref: (x - ref).exp() - 1 - (x - ref)),
    "k3 with a sign reversed": ("k3", lambda x, ref: (ref - x).exp() - 1 + (ref - x)),
    "k3 negated": ("k3", lambda x, ref: 1 + (ref - x) - (ref - x).exp()),
    "k3 without its gradient": ("k3", lambda x, ref: RIGHT_KL["k3"](x, ref) * (1 + x - x.detach())),
    "the other direction": ("exact", lambda z, ref: RIGHT_KL["exact"](ref, z)),
    "over a mean": ("exact", lambda z, ref: RIGHT_KL["exact"](z, ref) / z.shape[-1]),
    "logits taken for log-probabilities": ("exact", lambda z, ref: (z.softmax(-1) * (z - ref)).sum(-1)),
}


@pytest.mark.equation("k1", "k2", "k3", "kl-penalty")
@pytest.mark.parametrize("estimator", RIGHT_KL)
def test_right_estimators_pass(estimator, capsys):
    checks.exercise(partial(checks.check_kl, estimator=estimator), RIGHT_KL[estimator])
    assert capsys.readouterr().out == "correct\n"
    for other in set(RIGHT_KL) - {estimator, "exact"}:
        with pytest.raises(checks.CounterExample):
            checks.check_kl(RIGHT_KL[other], estimator)


@pytest.mark.parametrize("name", WRONG_KL)
def test_pitfall_18_wrong_estimators_have_a_small_counterexample(name):
    estimator, answer = WRONG_KL[name]
    with pytest.raises(checks.CounterExample) as caught:
        checks.check_kl(answer, estimator)
    first = next(iter(caught.value.inputs.values()))
    assert first.shape == ((2,) if estimator == "exact" else (1,))


def test_the_default_is_k3_and_other_names_are_refused():
    checks.check_kl(kl.kl_k3)
    with pytest.raises(checks.CounterExample):
        checks.check_kl(kl.kl_k1)
    with pytest.raises(ValueError, match="estimator must be one of k1, k2, k3, exact, got 'k4'"):
        checks.check_kl(kl.kl_k3, "k4")


@pytest.mark.equation("k-gradients")
def test_losses_with_the_gradient_of_the_divergence():
    for right in (kl.kl_k2, kl.kl_loss, partial(kl.kl_loss, estimator="k1"), lambda x, ref: x * (x - ref).detach()):
        checks.check_kl_gradient(right)
    for wrong in (kl.kl_k1, kl.kl_k3, lambda x, ref: -kl.kl_k2(x, ref), lambda x, ref: x * (ref - x).detach()):
        with pytest.raises(checks.CounterExample, match="the expected gradient") as caught:
            checks.check_kl_gradient(wrong)
        assert caught.value.inputs["logits"].tolist() == [1.0, 0.0]


# -- padding -----------------------------------------------------------------------------------------
PADDED = {  # the answer; the shape of the first counterexample; what it is about
    "a product with the mask": (lambda x, m: (x * m).sum() / m.sum(), (1, 2), "result"),
    "a mean over everything": (lambda x, m: torch.where(m, x, 0.0).mean(), (1, 2), "result"),
    "a select after the exponential": (lambda x, m: torch.where(m, x.exp(), 0.0).sum(), (1, 2), "derivative"),
    "the mean of a row's length": (lambda x, m: torch.where(m, x, 0.0).sum(-1).mean() / m.shape[1], (1, 2), "result"),
    "nan to num": (lambda x, m: (x.nan_to_num(0, 0, 0) * m).sum() + 1e-40 * x.nan_to_num(0, 0, 0).sum(), (1, 5), "result"),
    "the last column": (lambda x, m: x.nan_to_num(0, 0, 0)[:, -1].sum(), (1, 2), "result"),
    "whitened with the padding": (lambda x, m: x - torch.where(m, x, 0.0).mean(), (1, 2), "result"),
}


@pytest.mark.parametrize("name", PADDED)
def test_pitfall_17_padding_that_changes_something(name):
    answer, shape, about = PADDED[name]
    with pytest.raises(checks.CounterExample, match=f"junk under the mask changes the {about}") as caught:
        checks.check_padding_invariance(answer)
    assert caught.value.inputs["mask"].shape == shape


def test_right_functions_of_masks_pass():
    for right in (lambda x, m: x[m].sum(), lambda x, m: torch.where(m, x, 0.0).exp(), lambda x, m: x.detach()[m].mean(),
                  lambda x, m: float(x.detach()[m].min())):
        checks.check_padding_invariance(right)
    checks.check_padding_invariance(lambda x, y, m: torch.where(m, x, 0.0) * torch.where(m, y, 1.0), inputs=2)
    with pytest.raises(checks.CounterExample, match="with respect to input 2"):
        checks.check_padding_invariance(lambda x, y, m: torch.where(m, x, 0) + torch.where(m, y.exp(), 0), inputs=2)


@pytest.mark.parametrize("inputs", [0, 1.0, True, "2"])
def test_the_number_of_inputs_is_an_integer(inputs):
    with pytest.raises(ValueError, match="inputs must be an integer >= 1"):
        checks.check_padding_invariance(losses.masked_mean, inputs)
