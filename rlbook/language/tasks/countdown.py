"""Countdown: reach a target with three or four numbers and + − × ÷, each number once. Problems are made on the spot.

With 2, 3 and 5 one reaches 25 by 5 * (2 + 3), by (3 + 2) * 5 and so on: a reward function cannot compare texts, it has to
calculate. Prompts are chats, for models that follow instructions; the answer stands between <answer> and </answer>, after
whatever the model wrote to think. The two reward functions have TRL's signature.
"""

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from operator import index

import torch

from rlbook.returns import check_integer

OPERATORS = "+-*/"
MOST_TRIES = 20_000       # for one problem
MOST_CHARACTERS = 200     # of an expression that is read
TOKEN = re.compile(r"\s*(?:([0-9]+)|([-+*/()]))")
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def problems(
    count: int, generator: torch.Generator | None = None, size: tuple[int, int] = (3, 4), largest: int = 99, target: int = 100
) -> dict[str, list]:
    """Random problems that have a solution, as columns: what `grpo` and `datasets.Dataset.from_dict` take.

    prompt: a chat of one message; numbers: as many as `size` says, at least and at most, each from 1 to `largest`; target: a
    whole number from 1 to the argument `target`; solution: an expression with that value. A problem is made backwards: random
    numbers are joined by random operations until one is left, and thrown away if it is no target or a step was no whole
    number; so easy targets are more frequent than hard ones.
    Raises ValueError for counts below 1, sizes that are not two integers from 2 to 6 in order, and settings that allow no
    problem, or so few that 20 000 tries do not make one.
    """
    for name, value in (("count", count), ("largest", largest), ("target", target)):
        check_integer(name, value, 1)
    if not (isinstance(size, tuple) and len(size) == 2 and all(type(n) is int for n in size) and 2 <= size[0] <= size[1] <= 6):
        raise ValueError(f"size must be (fewest, most) numbers of a problem, from 2 to 6, got {size!r}")
    columns: dict[str, list] = {"prompt": [], "numbers": [], "target": [], "solution": []}
    tries = 0
    while len(columns["prompt"]) < count:
        if tries == MOST_TRIES:
            raise ValueError(f"{MOST_TRIES} tries made no problem of size {size!r} with numbers up to largest = {largest} and "
                             f"a target up to {target} that is none of them: give larger ones")
        tries += 1
        many = size[0] + _below(size[1] - size[0] + 1, generator)
        numbers = [1 + _below(largest, generator) for _ in range(many)]
        value, expression = _join(numbers, generator)
        if value is not None and 1 <= value <= target and value not in numbers:
            row = {"prompt": prompt(numbers, value), "numbers": numbers, "target": value, "solution": expression}
            for name, entry in row.items():
                columns[name].append(entry)
            tries = 0
    return columns


def prompt(numbers: Sequence[int], target: int) -> list[dict[str, str]]:
    """The chat that asks for one problem's solution."""
    text = (f"Combine the numbers {', '.join(map(str, numbers))} with + - * / and parentheses so that the result is {target}. "
            "Use every number exactly once. Think first, briefly. Then write the expression, without an equals sign, "
            "between <answer> and </answer>, and nothing after it. For 2, 3, 5 and the target 25 that could be "
            "<answer>5 * (2 + 3)</answer>.")
    return [{"role": "user", "content": text}]


# ---- rewards

def format_reward(prompts: Sequence, completions: Sequence, completion_ids=None, **columns) -> list[float]:
    """1 where the completion ends with its only <answer> ... </answer>, which is not empty, else 0; right or wrong."""
    return [float(has_format(text_of(completion))) for completion in completions]


def countdown_reward(
    prompts: Sequence, completions: Sequence, completion_ids=None, *, numbers: Sequence[Sequence[int]], target: Sequence[int],
    **columns,
) -> list[float]:
    """1 where the last <answer> of the completion has the value `target` and uses each of `numbers` exactly once, else 0."""
    return [float(solves(answer_of(completion), own, goal))
            for completion, own, goal in zip(completions, numbers, target, strict=True)]


def has_format(text: str) -> bool:
    """Whether one <answer> ... </answer>, not empty, ends the text, and no other tag of an answer stands in it."""
    once = text.count("<answer>") == text.count("</answer>") == 1
    return once and text.rstrip().endswith("</answer>") and bool(answer_of(text))


def solves(expression: str | None, numbers: Sequence[int], target: int) -> bool:
    """Whether the expression has that value, exactly, and is made of those numbers, each as often as it is given.

    Raises ValueError for numbers and a target that are not whole, a text neither.
    """
    own, goal = [_whole("numbers", number) for number in numbers], _whole("target", target)
    found = evaluate(expression) if expression is not None else None
    return found is not None and found[0] == goal and Counter(found[1]) == Counter(own)


def answer_of(completion: str | list) -> str | None:
    """What stands in the last <answer> ... </answer>, None without one."""
    found = ANSWER.findall(text_of(completion))
    return found[-1].strip() if found else None


def text_of(completion: str | list) -> str:
    """The text of a completion: itself, or the content of a chat's last message; empty for none."""
    return completion if isinstance(completion, str) else (completion[-1]["content"] or "") if completion else ""


def _whole(name: str, value: object) -> int:
    """The value as an integer, also of a tensor or an array with one entry, or a float without a fraction; else ValueError."""
    try:
        return int(value) if isinstance(value, float) and value.is_integer() else index(value)
    except TypeError:
        raise ValueError(f"{name} must be whole numbers, got {value!r:.60}") from None


# ---- arithmetic

def evaluate(expression: str) -> tuple[Fraction, list[int]] | None:
    """The exact value of an expression of whole numbers, + − * / and parentheses, and its numbers from left to right.

    sum = product {(+|−) product},  product = factor {(*|/) factor},  factor = number | ( sum )

    None for anything else: a sign without a number before it, powers, names, decimals, a division by zero, an expression of
    more than 200 characters. Nothing is executed.
    """
    if len(expression) > MOST_CHARACTERS:
        return None
    tokens, place = [], 0
    text = expression.rstrip()
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            return None
        tokens.append(int(match[1]) if match[1] else match[2])
        place = match.end()
    try:
        value, rest = _sum(tokens, 0)
    except (SyntaxError, ZeroDivisionError):
        return None
    return (value, [token for token in tokens if isinstance(token, int)]) if rest == len(tokens) else None


def _sum(tokens: list, place: int) -> tuple[Fraction, int]:
    """The value of the sum that begins at a place, and the place after it; SyntaxError where none does."""
    value, place = _product(tokens, place)
    while place < len(tokens) and tokens[place] in ("+", "-"):
        sign = 1 if tokens[place] == "+" else -1
        other, place = _product(tokens, place + 1)
        value += sign * other
    return value, place


def _product(tokens: list, place: int) -> tuple[Fraction, int]:
    value, place = _factor(tokens, place)
    while place < len(tokens) and tokens[place] in ("*", "/"):
        operator = tokens[place]
        other, place = _factor(tokens, place + 1)
        value = value * other if operator == "*" else value / other
    return value, place


def _factor(tokens: list, place: int) -> tuple[Fraction, int]:
    if place < len(tokens) and isinstance(tokens[place], int):
        return Fraction(tokens[place]), place + 1
    if place == len(tokens) or tokens[place] != "(":
        raise SyntaxError(f"a number or ( is needed at token {place}")
    value, place = _sum(tokens, place + 1)
    if place == len(tokens) or tokens[place] != ")":
        raise SyntaxError(f") is needed at token {place}")
    return value, place + 1


# ---- making problems

def _join(numbers: list[int], generator: torch.Generator | None) -> tuple[int | None, str]:
    """Random operations on random pairs until one number is left: its value and expression; None if a step was not whole."""
    parts = [(number, str(number)) for number in numbers]
    while len(parts) > 1:
        a, one = parts.pop(_below(len(parts), generator))
        b, other = parts.pop(_below(len(parts), generator))
        operator = OPERATORS[_below(4, generator)]
        if operator == "/" and (b == 0 or a % b):
            return None, ""
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[operator]
        parts.append((value, f"({one} {operator} {other})"))
    value, expression = parts[0]
    return value, expression[1:-1]


def _below(limit: int, generator: torch.Generator | None) -> int:
    """A random integer from 0 to limit − 1."""
    return int(torch.randint(limit, (), generator=generator))
