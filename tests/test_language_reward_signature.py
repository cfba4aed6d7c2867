"""The calling convention of reward functions: what TRL passes, by its name and kind, as a committed log recorded it.

`make bench` ran the functions in TRL itself (tests/bench/rewards.py). Here TRL is not needed: every reward function of the
package is called with the same keywords, and every way in which TRL's own functions answer is scored.
"""

import inspect

import pytest
import torch

from rlbook import experiments
from rlbook.language.rewards import score
from rlbook.language.tasks import addition, countdown, words

LOG = experiments.load("bench_rewards")
OURS = {"exact_match": addition.exact_match, "format_reward": countdown.format_reward,
        "countdown_reward": countdown.countdown_reward, "gold_reward": words.gold_reward}


def rows(library: str) -> dict[str, dict]:
    return {row["function"]: row for row in LOG["results"] if row["in"] == library}


def given(name: str, kinds: dict[str, str]) -> dict:
    """A batch of three completions as TRL would pass it: keywords of those names, of those kinds."""
    chat = kinds["prompts"] == "list of list of dict"
    problems = countdown.problems(3, torch.Generator().manual_seed(0))
    answers = [f"<answer>{solution}</answer>" for solution in problems["solution"]] if chat else ["2 2 1", "wise", ""]
    texts = {"answers": ["2 2 1", "1 0 0", "0 0 0"], **problems}
    values = {
        "prompts": problems["prompt"] if chat else ["7 3 + 5 8 =", "the film was", "0 0 + 0 0 ="],
        "completions": [[{"role": "assistant", "content": text}] for text in answers] if chat else answers,
        "completion_ids": [[3, 4, 2], [5], []], **texts,
    }
    if name == "gold_reward":
        values |= {"prompts": ["the film was", "wise", ""], "completions": ["wise", "wise wise", "dull"]}
    other = {"TrainerState": object(), "function": print}
    return {key: values.get(key, other.get(kind)) for key, kind in kinds.items()}


@pytest.mark.parametrize("name", OURS)
def test_our_functions_take_what_trl_passes(name):
    kinds = rows("TRL").get(name, rows("TRL")["exact_match"])["keywords"]
    batch = given(name, kinds)
    assert not [key for key, value in batch.items() if value is None]
    rewards = OURS[name](**batch)
    assert type(rewards) is list and len(rewards) == 3 and all(type(reward) is float for reward in rewards)
    expected = {"exact_match": [1.0, 0.0, 0.0], "format_reward": [1.0] * 3, "countdown_reward": [1.0] * 3,
                "gold_reward": [1.0, 1.0 - 2 * 0.7, -0.5]}
    assert rewards == pytest.approx(expected[name])


@pytest.mark.parametrize("name", OURS)
def test_our_functions_take_any_further_column(name):
    parameters = inspect.signature(OURS[name]).parameters
    assert [each for each in parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]
    assert list(parameters)[:3] == ["prompts", "completions", "completion_ids"]


def test_here_functions_are_called_by_the_same_names():
    """`score` passes what TRL does, but for what concerns TRL's trainer and its log."""
    seen = {}

    def spy(**keywords):
        seen.update(keywords)
        return [None, 1, 0.5]

    kinds = rows("TRL")["countdown_reward"]["keywords"]
    batch = given("countdown_reward", kinds)
    columns = {key: batch[key] for key in ("numbers", "target", "solution")}
    total = score([spy], batch["prompts"], batch["completions"], batch["completion_ids"], columns).total
    assert total[0].isnan() and total[1:].tolist() == [1.0, 0.5]
    assert set(kinds) - set(seen) == {"trainer_state", "log_extra", "log_metric"} and not set(seen) - set(kinds)
    assert all(type(value) is list and len(value) == 3 for value in seen.values())


@pytest.mark.parametrize("name", sorted(rows("rlbook")))
def test_what_trls_functions_answer_is_scored(name):
    """The rewards that each gave in the bench, given again by a function that takes no more than what TRL's take."""
    recorded = rows("rlbook")[name]["rewards"]
    texts = [text for text, _ in LOG["texts"]]

    def reward(completions, **kwargs) -> list[float | None]:
        return [recorded[texts.index(completion[0]["content"])] for completion in completions]

    chats = [[{"role": "assistant", "content": text}] for text in texts]
    total = score([reward], [[{"role": "user", "content": "?"}]] * len(texts), chats, [[1]] * len(texts)).total
    assert total.isnan().tolist() == [value is None for value in recorded]
    assert total[~total.isnan()].tolist() == pytest.approx([value for value in recorded if value is not None])


# ---- the committed log

def test_log_is_of_the_code_as_it_is_and_complete():
    assert LOG["code"] == experiments.code_hash(score), "score has changed: run `make bench BENCH=rewards`"
    assert list(rows("TRL")) == ["exact_match", "format_reward", "countdown_reward"]
    assert {"accuracy_reward", "think_format_reward", "soft_overlong_punishment"} <= set(rows("rlbook"))
    assert all(row["steps"] == 2 for row in LOG["results"]) and "trl" in LOG["versions"]


def test_log_shows_what_the_functions_are_for():
    found = rows("rlbook")
    assert found["accuracy_reward"]["rewards"] == [1.0, 0.0, 1.0, 0.0, None]       # None: the solution is no formula
    assert found["think_format_reward"]["rewards"] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert 0.2 < rows("TRL")["exact_match"]["mean"] < 0.8                           # the base is right about half of the time
