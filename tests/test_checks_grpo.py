"""The checkers of GRPO's parts: right answers in any style pass, near misses are caught by the smallest counterexample."""

import math
from functools import partial

import pytest
import torch

from rlbook import checks
from rlbook.losses import aggregate
from rlbook.returns import group_advantages, rloo_advantages

NAN = math.nan


# -- advantages of groups ----------------------------------------------------------------------------
def standardized(rewards, ddof=1, eps=1e-6, axis=1):
    """As most write it, with one place to be wrong."""
    centred = rewards - rewards.mean(axis, keepdim=True)
    number = max(rewards.numel() if axis is None else rewards.shape[axis], 1 + ddof)
    return centred / ((centred.square().sum(axis, keepdim=True) / (number - ddof)).sqrt() + eps)


def keyed(rewards, key):
    """Rows with the same key as one group."""
    out = torch.zeros_like(rewards)
    for row in rewards:
        same = torch.tensor([key(other) == key(row) for other in rewards])
        out[same] = group_advantages(rewards[same], "batch")
    return out


def by_rows(rewards):
    rows = []
    for row in rewards.tolist():
        mean = math.fsum(row) / len(row)
        std = math.sqrt(math.fsum((x - mean) ** 2 for x in row) / max(len(row) - 1, 1))
        rows.append([(x - mean) / std if max(row) > min(row) else 0.0 for x in row])
    return rows


def of_squares(rewards):
    """The variance as mean(x²) − mean(x)², which is no harm in float64."""
    mean, number = rewards.mean(1, keepdim=True), rewards.shape[1]
    variance = (rewards.square().mean(1, keepdim=True) - mean.square()).clamp(min=0) * number / max(number - 1, 1)
    return (rewards - mean) / (variance.sqrt() + 1e-4)


RIGHT_GROUPS = {
    "the package's": group_advantages,
    "tensors": partial(standardized, eps=1e-4),
    "under the root": lambda r: (r - r.mean(1, keepdim=True)) / (r.var(1, keepdim=True).nan_to_num(0) + 1e-6).sqrt(),
    "lists": by_rows,
}
WRONG_GROUPS = {  # the answer; the rewards of the first counterexample
    "the sign": (lambda r: -standardized(r), [[0, 1]]),
    "the mean alone": (lambda r: r - r.mean(1, keepdim=True), [[0, 1]]),
    "the variance": (lambda r: (r - r.mean(1, keepdim=True)) / (r.var(1, keepdim=True).nan_to_num(0) + 1e-6), [[0, 1]]),
    "the other standard deviation": (partial(standardized, ddof=0), [[0, 1]]),
    "the mean of the others": (rloo_advantages, [[0, 1]]),
    "a large eps": (partial(standardized, eps=1e-2), [[0, 1]]),
    "no eps": (partial(standardized, eps=0.0), [[1, 1]]),
    "the torch std of one": (lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4), [[2]]),
    "the batch": (partial(standardized, axis=None), [[0, 1], [3, 0]]),
    "down the columns": (lambda r: standardized(r.mT).mT, [[0, 1]]),
    "the batch's std": (lambda r: group_advantages(r, "batch"), [[0, 1], [3, 0]]),
    "twice": (lambda r: standardized(group_advantages(r), axis=None), [[0, 1], [3, 0]]),
    "mean of squares": (of_squares, [[1e4, 1e4 + 1, 1e4 + 1, 1e4]]),
    "noise by eps": (partial(standardized, eps=1e-12), [[0.1] * 7]),
    "one row": (lambda r: standardized(r)[:1], [[0, 1], [3, 0]]),
    "equal rows as one group": (lambda r: keyed(r, lambda row: tuple(row.tolist())), [[0, 1], [0, 1]]),
    "equal means as one group": (lambda r: keyed(r, lambda row: row.mean().item()), [[0, 1], [0, 1]]),
    "a small spread is none": (lambda r: standardized(r) * (r.std(1, keepdim=True) > 0.25), [[0, 0.125]]),
    "a clamp": (lambda r: standardized(r).clamp(-2, 2), [[0] * 31 + [1]]),
    "no large groups": (lambda r: standardized(r) * (r.shape[1] <= 8), [[0] * 31 + [1]]),
}


@pytest.mark.equation("grpo-advantage")
@pytest.mark.parametrize("name", RIGHT_GROUPS)
def test_right_groups_in_any_style_pass(name, capsys):
    checks.exercise(checks.check_group, RIGHT_GROUPS[name])
    assert capsys.readouterr().out == "correct\n"


@pytest.mark.equation("grpo-advantage")
@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_pitfalls_6_7_and_8_wrong_groups_have_a_small_counterexample(name):
    answer, rewards = WRONG_GROUPS[name]
    with pytest.raises(checks.CounterExample, match="advantages of groups") as caught:
        checks.check_group(answer)
    assert caught.value.inputs["rewards"].tolist() == torch.tensor(rewards, dtype=torch.float32).tolist()


def test_many_rows_count():
    with pytest.raises(checks.CounterExample) as caught:
        checks.check_group(lambda r: torch.cat([standardized(r[:4]), 0 * r[4:]]))
    assert len(caught.value.inputs["rewards"]) == 20


def test_the_standard_deviation_of_the_population():
    checks.check_group(partial(standardized, ddof=0), ddof=0)
    checks.check_group(partial(group_advantages, ddof=0), ddof=0)
    with pytest.raises(checks.CounterExample):
        checks.check_group(standardized, ddof=0)
    with pytest.raises(ValueError, match="ddof must be 0 or 1, got 2"):
        checks.check_group(standardized, ddof=2)


def test_pitfall_9_a_missing_score_is_no_zero():
    checks.check_group(group_advantages, missing=True)
    for wrong in (lambda r: group_advantages(r.nan_to_num(0.0)), standardized, lambda r: group_advantages(r).where(r == r, NAN)):
        with pytest.raises(checks.CounterExample) as caught:
            checks.check_group(wrong, missing=True)
        assert caught.value.inputs["rewards"].isnan().any()


# -- one number --------------------------------------------------------------------------------------
def in_mode(mode):
    return lambda loss, mask, denom: aggregate(loss, mask, mode, denom)


def zeroed(loss, mask):
    return torch.where(mask, loss, 0.0)


def mean_of_means(loss, mask, denom):
    return sum(row[counts].mean() for row, counts in zip(loss, mask, strict=True) if counts.any()) / denom


WRONG_AGGREGATES = {  # mode, the answer, the shape of the first counterexample
    "no mask": ("dapo", lambda x, m, d: x.sum() / d, (2, 2)),
    "its own denominator": ("dapo", lambda x, m, d: zeroed(x, m).sum() / m.sum(), (2, 2)),
    "divided twice": ("dapo", lambda x, m, d: zeroed(x, m).sum() / d / d, (2, 1)),
    "per sequence": ("dapo", mean_of_means, (2, 2)),
    "the sum": ("dapo", lambda x, m, d: zeroed(x, m).sum(), (2, 1)),
    "a number without a derivative": ("dapo", lambda x, m, d: x.detach()[m].sum() / d, (2, 1)),
    "a float": ("dapo", lambda x, m, d: float(zeroed(x, m).sum()) / d, (2, 1)),
    "a row each": ("dapo", lambda x, m, d: zeroed(x, m).sum(-1) / d, (2, 1)),
    "per token": ("grpo", lambda x, m, d: zeroed(x, m).sum() / d, (2, 2)),
    "the length of the axis": ("grpo", lambda x, m, d: zeroed(x, m).mean(-1).sum() / d, (2, 2)),
    "an empty row": ("grpo", lambda x, m, d: (zeroed(x, m).sum(-1) / m.sum(-1)).sum() / d, (2, 2)),
    "its own number of rows": ("grpo", lambda x, m, d: (zeroed(x, m).sum(-1) / m.sum(-1).clamp(min=1)).mean(), (2, 2)),
    "rows times columns": ("dr_grpo", lambda x, m, d: zeroed(x, m).mean(), (2, 2)),
}


@pytest.mark.parametrize("mode", ["grpo", "dr_grpo", "dapo"])
def test_right_aggregates_in_any_style_pass(mode):
    checks.check_aggregate(in_mode(mode), mode)
    checks.check_aggregate(mean_of_means if mode == "grpo" else lambda x, m, d: x[m].sum() / d, mode)


@pytest.mark.parametrize("name", WRONG_AGGREGATES)
def test_pitfall_11_wrong_aggregates_have_a_small_counterexample(name):
    mode, answer, shape = WRONG_AGGREGATES[name]
    with pytest.raises(checks.CounterExample) as caught:
        checks.check_aggregate(answer, mode)
    assert caught.value.inputs["loss"].shape == shape


BOUNDED = {  # right for small or positive losses alone
    "no negative number": lambda x, m, d: zeroed(x, m).clamp(min=0).sum() / d,
    "the absolute value": lambda x, m, d: zeroed(x, m).abs().sum() / d,
    "a clamp": lambda x, m, d: zeroed(x, m).clamp(-20, 20).sum() / d,
    "a large clamp": lambda x, m, d: zeroed(x, m).clamp(-1e4, 1e4).sum() / d,
    "five columns": lambda x, m, d: zeroed(x, m)[:, :5].sum() / d,
    "twenty columns": lambda x, m, d: zeroed(x, m)[:, :20].sum() / d,
    "eight rows": lambda x, m, d: zeroed(x, m)[:8].sum() / d,
}


@pytest.mark.parametrize("name", BOUNDED)
def test_losses_of_both_signs_of_any_size_count(name):
    with pytest.raises(checks.CounterExample):
        checks.check_aggregate(BOUNDED[name])


def test_a_mode_can_be_given_in_a_chapter(capsys):
    checker = partial(checks.check_aggregate, mode="grpo")
    checks.exercise(checker, mean_of_means)
    checks.exercise(checker, in_mode("dapo"))
    checks.exercise(checker, None)
    right, wrong, *rest, none = capsys.readouterr().out.splitlines()
    assert (right, none) == ("correct", "no answer yet") and wrong.startswith("not yet: the loss in one number, grpo")


def test_the_default_is_dapo_and_the_local_mean_is_refused():
    checks.check_aggregate(in_mode("dapo"))
    with pytest.raises(ValueError, match="mode must be one of grpo, dr_grpo, dapo, got 'bnpo'"):
        checks.check_aggregate(in_mode("bnpo"), "bnpo")


# -- parts of a batch --------------------------------------------------------------------------------
DEPENDENT = {  # the answer; what it is about
    "bnpo": (lambda x, m, d: aggregate(x, m, "bnpo"), "the sum over the parts"),
    "sequences at hand": (lambda x, m, d: aggregate(x, m, "grpo"), "the sum over the parts"),
    "size at hand": (lambda x, m, d: zeroed(x, m).mean(), "the sum over the parts"),
    "centred": (lambda x, m, d: zeroed(x, m).sum() / d - x.detach()[m].mean(), "the sum over the parts"),
    "the same value, another derivative": (
        lambda x, m, d: (s := zeroed(x, m).sum() / d).detach() + (s - s.detach()) / len(x), "the derivatives of the parts"),
    "nothing counts": (lambda x, m, d: zeroed(x, m).sum() / d / m.any(), "the sum over the parts"),
    "a number each": (lambda x, m, d: zeroed(x, m).sum(-1) / d, "one number is needed, got the shape"),
    "nothing of the loss": (lambda x, m, d: 0 * x.sum(), "the result does not depend on the loss"),
    "no denominator": (lambda x, m, d: zeroed(x, m).sum(), "twice the denominator does not give half of the result"),
    "its root": (lambda x, m, d: zeroed(x, m).sum() / d**0.5, "twice the denominator does not give half of the result"),
    "no tensor": (lambda x, m, d: 0.0, "must be a tensor that depends on the first argument"),
}


@pytest.mark.parametrize("mode", ["grpo", "dr_grpo", "dapo"])
def test_pitfall_10_global_denominators_pass(mode, capsys):
    checks.exercise(checks.check_microbatch_invariance, in_mode(mode))
    assert capsys.readouterr().out == "correct\n"
    checks.check_microbatch_invariance(mean_of_means)


@pytest.mark.parametrize("name", DEPENDENT)
def test_pitfall_10_what_depends_on_the_split_has_a_small_counterexample(name):
    answer, about = DEPENDENT[name]
    with pytest.raises(checks.CounterExample, match=about) as caught:
        checks.check_microbatch_invariance(answer)
    assert caught.value.inputs["loss"].shape in ((2, 1), (2, 2))


def test_pitfall_11_a_part_without_tokens_gives_0():
    for nothing in (NAN, 1.0):
        with pytest.raises(checks.CounterExample, match="the sum over the parts") as caught:
            checks.check_microbatch_invariance(lambda x, m, d, c=nothing: x[m].sum() / d if m.any() else c)
        assert caught.value.inputs["mask"].any(1).tolist() == [True, False]
