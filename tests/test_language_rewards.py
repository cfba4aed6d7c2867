"""Rewards: TRL's signature, sums of several, None, reward models on token ids, and everything a function can do wrong."""

import copy
import math
import threading

import numpy as np
import pytest
import torch

from rlbook.language import rewards
from rlbook.language.model import tiny_model
from rlbook.language.scalar import ScalarModel

PROMPTS = ["the film is", "the plot was"]
COMPLETIONS = ["wise", "dull and silly"]
IDS = [[5, 2], [7, 8, 9]]


def lengths(completions, **columns):
    return [float(len(text.split())) for text in completions]


def constant(value):
    return lambda **batch: [value] * len(batch["prompts"])


def score(function, **more):
    functions = function if isinstance(function, list) else [function]
    return rewards.score(functions, PROMPTS, COMPLETIONS, IDS, **more)


def model() -> ScalarModel:
    return ScalarModel.from_causal(tiny_model(12, hidden_size=8, num_layers=1, num_heads=2, seed=1), "orthogonal")


def test_a_function_gets_trls_keywords_as_lists():
    seen = {}

    def spy(**batch):
        seen.update(batch)
        return [0.0, 0.0]

    score(spy, columns={"answer": ["a", "b"], "level": [1, 2]})
    assert seen == {"prompts": PROMPTS, "completions": COMPLETIONS, "completion_ids": IDS, "answer": ["a", "b"], "level": [1, 2]}
    assert all(type(values) is list for values in seen.values())


def test_a_function_cannot_change_what_the_next_one_gets():
    def sorts(completions, **columns):
        completions.sort(reverse=True)
        completions.append("more")
        return [0.0, 0.0]

    assert score([lengths, sorts, lengths]).total.tolist() == [2.0, 6.0]


def test_a_function_cannot_change_what_is_inside_the_lists():
    """Tokens, messages and records of the prompts, nested ones too; also where a function is called again for its exception."""
    def edits(prompts, completions, completion_ids, record, **columns):
        for ids, chat, answer, own in zip(completion_ids, prompts, completions, record, strict=True):
            ids.clear()
            chat[0]["content"] = answer[-1]["content"] = ""
            own["tags"].append("seen")
            own["values"].zero_()
        return [1 / level for level in columns["level"]]

    seen = []

    def last(**batch):
        seen.append(batch)
        return [1.0, 1.0]

    record = {"tags": ["a"], "values": torch.ones(2)}  # one object in both rows
    shared = [{"role": "user", "content": "x"}]
    batch = ([shared, shared], [[{"role": "assistant", "content": "y"}] for _ in range(2)], [[1, 2], [3]])
    kept = copy.deepcopy(batch)
    columns = {"record": [record, record], "level": [1, 1]}
    assert rewards.score([edits, last], *batch, columns).total.tolist() == [2.0, 2.0]
    assert batch == kept == (seen[0]["prompts"], seen[0]["completions"], seen[0]["completion_ids"])
    for own in (record, seen[0]["record"][1]):
        assert own["tags"] == ["a"] and own["values"].tolist() == [1.0, 1.0]
    with pytest.raises(rewards.RewardError, match="edits raised ZeroDivisionError.*'content': 'x'"):
        rewards.score([edits], *batch, {**columns, "level": [1, 0]})
    assert batch == kept and record["tags"] == ["a"]


def test_what_is_copied():
    """Copies are equal and share nothing that can be changed."""
    for value in ("a", 1, 2.5, None, [1, 2], [[1], "a"], {"a": [1]}, [{"a": {1, 2}}], (1, [2]), torch.ones(2), np.ones(2)):
        made = rewards.copied(value)
        assert type(made) is type(value) and str(made) == str(value)
        assert (made is value) == (type(value) in rewards.ATOMS)
    nested = [[1], {"a": [2]}]
    made = rewards.copied(nested)
    made[0].append(3), made[1]["a"].append(3)
    assert nested == [[1], {"a": [2]}]
    lock = threading.Lock()
    assert rewards.copied(lock) is lock


def test_weighted_sum_and_what_each_gave():
    got = score([lengths, constant(10)], weights=[2, -0.5])
    assert got.total.tolist() == [2.0 - 5.0, 6.0 - 5.0]
    assert {name: values.tolist() for name, values in got.each.items()} == {"lengths": [1.0, 3.0], "<lambda>": [10.0, 10.0]}
    assert rewards.names([lengths, lengths, constant(1), model(), model(), lengths]) == [
        "lengths", "lengths_2", "<lambda>", "reward_model", "reward_model_2", "lengths_3"]


def test_row_9_none_is_unscored_and_no_zero():
    def one(**batch):
        return [None, 3]

    got = score(one)
    assert math.isnan(got.total[0]) and got.total[1] == 3 and math.isnan(got.each["one"][0])
    assert score([one, constant(2)]).total.tolist() == [2.0, 5.0]
    # a weight of 0 records, and scores nothing
    total = score([one, constant(2)], weights=[1, 0]).total
    assert math.isnan(total[0]) and total[1] == 3
    assert score([constant(None), one]).total.isnan().tolist() == [True, False]


@pytest.mark.parametrize("values", [(1, 2), [True, np.float32(2)], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]),
                                    [torch.tensor(1), np.int64(2)], [np.True_, np.array(2.0)], [np.array([1]), np.float16(2)],
                                    [np.bool_(True), torch.tensor([2.0])], np.array([True, 2], dtype=object)])
def test_what_counts_as_a_list_of_numbers(values):
    got = score(lambda **batch: values).total
    assert got.tolist() == [1.0, 2.0] and got.dtype == torch.float32


def test_none_in_an_array_of_objects_is_unscored():
    assert score(lambda **batch: np.array([None, 2.0], dtype=object)).total.isnan().tolist() == [True, False]


def broken(**batch):
    raise KeyError("answer")


def wrong(value):
    def named(**batch):
        return value
    return named


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (wrong([1.0]), r"named must return one reward per completion, 2, got 1"),
        (wrong([1.0, 2.0, 3.0]), "one reward per completion, 2, got 3"),
        (wrong([]), "per completion, 2, got 0"),
        (wrong(None), "named must return a list of 2 numbers or None, got None"),
        (wrong(1.0), "a list of 2 numbers or None, got 1.0"),
        (wrong("ab"), "a list of 2 numbers or None, got 'ab'"),
        (wrong({"a": 1, "b": 2}), "a list of 2 numbers"),
        (wrong({1.0, 2.0}), "a list of 2 numbers or None, got {1.0, 2.0}"),
        (wrong(frozenset([1.0, 2.0])), "a list of 2 numbers"),
        (wrong({1: 0.5, 2: 0.7}.keys()), "a list of 2 numbers"),
        (wrong(b"ab"), "a list of 2 numbers or None, got b'ab'"),
        (wrong(bytearray(b"ab")), "a list of 2 numbers"),
        (wrong([1e39, 1.0]), r"named returned 1e\+39 for prompt 'the film is'; it must be finite in float32"),
        (wrong(np.array([1.0, -1e39])), r"named returned -1e\+39 for prompt 'the plot was'"),
        (wrong([1.0, 10**400]), "named returned inf for prompt 'the plot was'; it must be finite in float32"),
        (wrong([-(10**400), 1.0]), "named returned -inf for prompt 'the film is'"),
        (wrong([np.array([1.0, 2.0]), 1.0]), "must return numbers or None, got array"),
        (wrong([np.str_("1"), 1.0]), "must return numbers or None, got '1'"),
        (wrong(torch.zeros(2, 2)), "a list of 2 numbers"),
        (wrong(["1", 2]), "named must return numbers or None, got '1' for prompt 'the film is'"),
        (wrong([1.0, [2.0]]), r"got \[2.0\] for prompt 'the plot was'"),
        (wrong([1.0, math.nan]), "named returned nan for prompt 'the plot was'; None says unscored"),
        (wrong([-math.inf, 1.0]), "named returned -inf for prompt 'the film is'"),
        (wrong(torch.tensor([math.nan, 1.0])), "named returned nan for prompt 'the film is'"),
        (broken, "reward function broken raised KeyError: 'answer'"),
        (lambda prompts: [1.0, 2.0], "<lambda> raised TypeError"),
    ],
)
def test_what_a_function_must_not_do(function, message):
    with pytest.raises(ValueError, match=message):
        score(function)


def test_the_exception_inside_a_function_is_chained():
    with pytest.raises(ValueError, match="broken") as caught:
        score(broken)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "for each of 2 reward functions"), ([1.0, math.nan], "finite number"), ([0.0, 0.0], "not all 0"), (2.0, "got 2.0"),
     (["a", 1], "finite number"), ([10**400, 1.0], "finite number")],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        score([lengths, lengths], weights=weights)


def test_a_sum_too_large_for_float32_is_refused():
    for weights in ([3.0, 1.0], [3.0, -3.0]):  # inf, and inf - inf, which is not to pass as unscored
        with pytest.raises(ValueError, match="the sum of the rewards, weighted by .* is not finite in float32"):
            score([constant(3e38), constant(3e38)], weights=weights)


def test_bad_functions_and_columns_are_refused():
    for given in ([], None, [1], "name"):
        with pytest.raises(ValueError, match="reward_funcs must be reward functions"):
            rewards.check_functions(given)
    assert rewards.check_functions(lengths) == [lengths] and rewards.check_functions((lengths,)) == [lengths]
    with pytest.raises(ValueError, match=r"must not be named \['completions'\]"):
        score(lengths, columns={"completions": ["a", "b"]})
    with pytest.raises(ValueError, match=r"one entry for each of 2 prompts, got lengths \{'answer': 1\}"):
        score(lengths, columns={"answer": ["a"]})
    with pytest.raises(ValueError, match="completions"):
        rewards.score([lengths], PROMPTS, ["one"], IDS)


def test_a_reward_model_reads_the_tokens_themselves():
    judge, prompt_ids = model(), [[1], [1, 3, 4]]
    got = score([judge, lengths], prompt_ids=prompt_ids)
    for row, (prompt, completion) in enumerate(zip(prompt_ids, IDS, strict=True)):
        ids = torch.tensor([prompt + completion])
        alone = judge.scores(ids, torch.ones_like(ids))
        torch.testing.assert_close(got.each["reward_model"][row:row + 1], alone.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.total, got.each["reward_model"] + torch.tensor([1.0, 3.0]))
    with pytest.raises(ValueError, match="reward_model needs prompt_ids, one list for each of 2, got none"):
        score([judge])
    with pytest.raises(ValueError, match="needs prompt_ids.*got 1"):
        score([judge], prompt_ids=[[1]])
    with pytest.raises(ValueError, match="token ids must be from 0 to 11"):
        score([judge], prompt_ids=[[1], [12]])


def test_a_reward_model_that_gives_nan_is_named():
    judge = model()
    judge.head.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match="reward_model returned nan for prompt 'the film is'"):
        score([judge], prompt_ids=[[1], [2]])


def test_an_empty_completion_is_scored_at_the_prompts_last_token():
    judge = model()
    got = rewards.score([judge], ["the"], [""], [[]], prompt_ids=[[1, 5]]).total
    torch.testing.assert_close(got, judge.score_rows([[1, 5]]))


# ---- which prompt makes a function raise

def raising(rule):
    """A function that raises KeyError where the rule says so of its prompts, and how many rows each call had."""
    sizes = []

    def function(prompts, **batch):
        sizes.append(len(prompts))
        if rule(prompts):
            raise KeyError("x")
        return [1.0] * len(prompts)

    return function, sizes


@pytest.mark.parametrize("bad", [0, 3, 6])
def test_the_prompt_that_raises_is_found_by_halves(bad):
    prompts = [f"p{k}" for k in range(7)]
    function, sizes = raising(lambda given: f"p{bad}" in given)
    with pytest.raises(rewards.RewardError, match=f"function raised KeyError: 'x'; its prompt was 'p{bad}'$") as caught:
        rewards.score([function], prompts, prompts, [[1]] * 7, columns={"level": list(range(7))})
    assert isinstance(caught.value, ValueError) and isinstance(caught.value.__cause__, KeyError)
    assert caught.value.result is None and sum(sizes) <= 7 + 14


def test_an_exception_of_no_single_prompt_names_the_first_ones():
    prompts = [f"p{k}" for k in range(7)]
    function, _ = raising(lambda given: {"p1", "p5"} <= set(given))
    with pytest.raises(rewards.RewardError, match=r"it did so for 7 prompts together, the first of them \['p0', 'p1', 'p2'\]"):
        rewards.score([function], prompts, prompts, [[1]] * 7)
    calls = []

    def once(prompts, **batch):  # by halves it raises something else, or nothing
        calls.append(1)
        raise KeyError("first") if len(calls) == 1 else TypeError("later")

    with pytest.raises(rewards.RewardError, match="once raised KeyError: 'first'; it did so for 7 prompts together"):
        rewards.score([once], prompts, prompts, [[1]] * 7)


def test_what_stops_the_program_is_not_caught():
    def stop(**batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(stop)
