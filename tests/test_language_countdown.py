"""Countdown: problems that have solutions, an exact parser that executes nothing, and rewards with TRL's signature."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch

from rlbook.language.rewards import score
from rlbook.language.tasks import countdown


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


# ---- arithmetic

@pytest.mark.parametrize(("expression", "value", "numbers"), [
    ("7", 7, [7]),
    ("2 + 3 * 4", 14, [2, 3, 4]),
    ("(2 + 3) * 4", 20, [2, 3, 4]),
    ("10 - 3 - 2", 5, [10, 3, 2]),
    ("24 / 4 / 3", 2, [24, 4, 3]),
    ("1 / 3 + 1/6", Fraction(1, 2), [1, 3, 1, 6]),
    ("((12))*(3-5)", -24, [12, 3, 5]),
    (" 8/(3-8/3) \n", 24, [8, 3, 8, 3]),
])
def test_values_are_exact(expression, value, numbers):
    assert countdown.evaluate(expression) == (value, numbers)


@pytest.mark.parametrize("expression", [
    "", " ", "+", "-3", "3 -- 2", "2 3", "(2", "2)", "()", "2 + ", "* 2", "2 ** 3", "2 // 3", "1.5", "2e3", "x", "2 = 2", "1 / 0",
    "1 / (2 - 2)", "__import__('os')", "(2)(3)", "٣", "²", "1_0", "1" * 201, "(" * 100 + "1" + ")" * 100,
])
def test_what_is_no_expression_has_no_value(expression):
    assert countdown.evaluate(expression) is None


def test_the_parser_agrees_with_python_on_random_expressions():
    generator = seeded(1)
    for _ in range(300):
        expression = "".join(
            ["(", "", ""][draw] + str(number) + [")", "", ""][close] + f" {'+-*/'[operator]} "
            for draw, number, close, operator in torch.stack([
                torch.randint(3, (4,), generator=generator), torch.randint(1, 30, (4,), generator=generator),
                torch.randint(3, (4,), generator=generator), torch.randint(4, (4,), generator=generator)], 1).tolist()) + "6"
        found = countdown.evaluate(expression)
        if expression.count("(") != expression.count(")") or expression.find(")") < expression.find("("):
            continue
        try:
            expected = eval(expression, {"__builtins__": {}})  # the test's own text
        except (SyntaxError, ZeroDivisionError, TypeError):
            assert found is None or found[0] is not None
            continue
        assert found is not None and float(found[0]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


# ---- problems

def test_every_problem_can_be_solved():
    rows = countdown.problems(200, seeded())
    assert set(map(len, rows.values())) == {200} and {len(numbers) for numbers in rows["numbers"]} == {3, 4}
    assert all(1 <= goal <= 100 and goal not in own for goal, own in zip(rows["target"], rows["numbers"], strict=True))
    assert all(1 <= n <= 99 for own in rows["numbers"] for n in own)
    texts = [chat(f"so <answer>{solution}</answer>") for solution in rows["solution"]]
    rewards = countdown.countdown_reward(rows["prompt"], texts, numbers=rows["numbers"], target=rows["target"])
    assert rewards == [1.0] * 200 == countdown.format_reward(rows["prompt"], texts)
    assert len({(tuple(own), goal) for own, goal in zip(rows["numbers"], rows["target"], strict=True)}) > 190


def test_problems_depend_on_the_seed_alone():
    assert countdown.problems(20, seeded(3)) == countdown.problems(20, seeded(3)) != countdown.problems(20, seeded(4))


def test_a_prompt_says_all_that_is_needed():
    rows = countdown.problems(5, seeded(), size=(2, 2), largest=9, target=20)
    for chats, numbers, target in zip(rows["prompt"], rows["numbers"], rows["target"], strict=True):
        text = chats[0]["content"]
        assert [message["role"] for message in chats] == ["user"] and len(numbers) == 2
        assert ", ".join(map(str, numbers)) in text and f" {target}." in text and "<answer>" in text


@pytest.mark.parametrize(("given", "message"), [
    ({"count": 0}, "count must be an integer >= 1"),
    ({"count": 1, "largest": 0}, "largest must be an integer >= 1"),
    ({"count": 1, "target": 0.5}, "target must be an integer"),
    ({"count": 1, "size": (1, 3)}, "size must be"),
    ({"count": 1, "size": (4, 3)}, "size must be"),
    ({"count": 1, "size": 3}, "size must be"),
    ({"count": 1, "size": (2, 2), "largest": 1, "target": 1},
     r"20000 tries made no problem of size \(2, 2\) with numbers up to largest = 1 and a target up to 1 "),
])
def test_bad_requests_say_what_is_needed(given, message):
    with pytest.raises(ValueError, match=message):
        countdown.problems(**given)


# ---- rewards

@pytest.mark.parametrize(("text", "form", "right"), [
    ("<answer>5 * (2 + 3)</answer>", 1.0, 1.0),
    ("2 + 3 is 5, so\n<answer> (3+2)*5 </answer>\n", 1.0, 1.0),
    ("<answer>5 * 5</answer>", 1.0, 0.0),                                    # a number twice, two unused
    ("<answer>25</answer>", 1.0, 0.0),
    ("<answer>5 * (2 + 3) = 25</answer>", 1.0, 0.0),
    ("<answer>5 + 2 * 3</answer>", 1.0, 0.0),                                # another value
    ("<answer></answer>", 0.0, 0.0),
    ("<answer>5 * (2 + 3)</answer> as I said", 0.0, 1.0),
    ("<answer>1</answer> no: <answer>5 * (2 + 3)</answer>", 0.0, 1.0),      # the last one counts
    ("<answer>5 * (2 + 3)</answer> no: <answer>1</answer>", 0.0, 0.0),
    ("5 * (2 + 3)", 0.0, 0.0),
    ("<answer>5 * (2 + 3)", 0.0, 0.0),
    ("", 0.0, 0.0),
])
def test_rewards(text, form, right):
    for completion in (text, chat(text)):
        assert countdown.format_reward([""], [completion]) == [form]
        assert countdown.countdown_reward([""], [completion], numbers=[[2, 3, 5]], target=[25]) == [right]


def test_numbers_count_as_often_as_they_are_given():
    assert countdown.solves("4 + 4", [4, 4], 8) and not countdown.solves("4 + 4", [4], 8) and not countdown.solves("8", [4, 4], 8)
    assert Counter(countdown.evaluate("4 + 4")[1]) == Counter([4, 4]) and not countdown.solves(None, [4], 4)


def test_numbers_may_be_of_any_whole_type_and_no_other():
    for numbers, target in (([2, 3, 5], 25.0), (torch.tensor([2, 3, 5]), torch.tensor(25)), (np.array([2, 3, 5]), np.int64(25)),
                            ([2.0, 3, np.float64(5)], 25)):
        assert countdown.solves("5 * (2 + 3)", numbers, target) and not countdown.solves("5 * (2 - 3)", numbers, target)
    for numbers in ("235", ["2", "3", "5"], [2.5, 3, 5], [None]):
        with pytest.raises(ValueError, match="numbers must be whole numbers, got "):
            countdown.solves("5 * (2 + 3)", numbers, 25)
    with pytest.raises(ValueError, match="target must be whole numbers, got '25'"):
        countdown.solves(None, [2, 3, 5], "25")


@pytest.mark.parametrize("completion", [[], [{"role": "assistant", "content": None}]])
def test_a_completion_without_text_is_worth_0(completion):
    given = [""], [completion]
    assert countdown.format_reward(*given) == countdown.countdown_reward(*given, numbers=[[2, 3]], target=[5]) == [0.0]


def test_the_last_message_of_a_chat_is_read():
    messages = [{"role": "tool", "content": "<answer>1</answer>"}, *chat("<answer>2 + 3</answer>")]
    assert countdown.answer_of(messages) == "2 + 3"


def test_the_package_scores_with_them():
    rows = countdown.problems(3, seeded())
    texts = [chat(f"<answer>{rows['solution'][0]}</answer>"), chat("<answer>1</answer>"), chat("no idea")]
    columns = {name: rows[name] for name in ("numbers", "target", "solution")}
    found = score([countdown.format_reward, countdown.countdown_reward], rows["prompt"], texts, [[1]] * 3, columns, [0.1, 1.0])
    assert found.total.tolist() == pytest.approx([1.1, 0.1, 0.0])
