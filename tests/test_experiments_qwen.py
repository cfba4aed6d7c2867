"""The experiment at the size of Qwen2.5-0.5B: its parts on tiny sizes, and what its committed log says."""

import json
import re

import pytest
import torch

from rlbook import experiments
from rlbook.experiments import qwen_size
from rlbook.language import GRPOConfig, grpo
from rlbook.language.checkpointing import recomputes_layers
from rlbook.language.cost import Batch, parameter_count, step_memory
from rlbook.language.tasks import addition, countdown

TINY = {"vocab_size": 900, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2}


# ---- the tokenizer

@pytest.mark.parametrize("size", [259, 300, 900])
def test_any_text_is_encoded_and_decoded(size):
    texts = [chat[0]["content"] for chat in countdown.problems(20, torch.Generator().manual_seed(0))["prompt"]]
    tokenizer = qwen_size.text_tokenizer(texts, size)
    assert len(tokenizer) == size and (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for text in ("Grüße, 数!\n ok\t", " ", texts[3]):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert all(isinstance(text, str) and text for text in tokenizer.batch_decode(torch.arange(3, size)[:, None]))


def test_frequent_pieces_are_tokens_and_chats_are_asked_to_be_answered():
    texts = [chat[0]["content"] for chat in countdown.problems(20, torch.Generator().manual_seed(0))["prompt"]]
    short, long = (len(qwen_size.text_tokenizer(texts, size)(texts[0])["input_ids"]) for size in (900, 259))
    assert long == len(texts[0]) > 3 * short
    tokenizer = qwen_size.text_tokenizer()
    text = tokenizer.apply_chat_template([{"role": "user", "content": "2?"}], tokenize=False, add_generation_prompt=True)
    assert text == "user: 2?\nassistant: "


# ---- the parts

def test_a_step_is_measured_beside_what_was_predicted(monkeypatch):
    monkeypatch.setattr(qwen_size, "SIZES", TINY)
    policy = qwen_size.make_policy()
    assert recomputes_layers(policy.model) and all(each.dtype == torch.float32 for each in policy.model.parameters())
    columns = countdown.problems(8, torch.Generator().manual_seed(0))
    found = qwen_size.measure(policy, columns, (8, 4, 6, 4), "cpu")
    assert found["bytes"]["peak"] == pytest.approx(found["peak_measured"], rel=1 / 6)
    assert len(found["seconds"]) == qwen_size.NUM_STEPS and min(found["seconds"]) > 0 and found["seconds_predicted"] > 0
    assert found["batch"] == {"completions": 8, "num_generations": 4, "prompt_length": found["batch"]["prompt_length"],
                              "completion_length": 6, "micro_batch_size": 4}
    assert json.loads(json.dumps(found)) and all(norm > 0 for norm in found["history"]["grad_norm"])


def test_the_card_takes_what_fits(monkeypatch):
    config = qwen_size.make_config()
    rows = qwen_size.card(config)
    assert len(rows) == 8
    for row in rows:
        def peak(size, row=row):
            way = getattr(torch, row["dtype"]), row["recompute"], row["reference"]
            return step_memory(config, Batch(*qwen_size.CARD_BATCH, size), *way, "cuda")["peak"]

        size = row["micro_batch_size"]
        assert row["peak"] == peak(size) <= 0.9 * qwen_size.CARD
        assert size == max(qwen_size.MICRO_BATCHES) or peak(2 * size) > 0.9 * qwen_size.CARD
    monkeypatch.setattr(qwen_size, "CARD", 1e9)
    assert all(row["micro_batch_size"] is None and row["peak"] > 1e9 for row in qwen_size.card(config))


def test_bfloat16_loses_small_updates():
    """Between 1 and 2 numbers of bfloat16 are 2⁻⁷ apart: half of that is rounded away, more is not."""
    weight = torch.linspace(1, 1.99, 1000)
    assert qwen_size.changed_in_bfloat16(weight)["1e-06"] == 0
    assert qwen_size.changed_in_bfloat16(weight * 2**-14)["0.0001"] == 1


def test_autocast_must_not_cache_weights():
    """Its cache lasts as long as the context: inside it, models that were trained go on sampling with their first weights."""
    problems = addition.problems(64, torch.Generator().manual_seed(0))
    columns = {"prompt": problems.prompts, "answers": problems.answers}
    config = GRPOConfig(max_steps=3, batch_size=32, num_generations=4, max_completion_length=4, learning_rate=3e-3)

    def run(context) -> list[float]:
        with context:
            return grpo(addition.base(), addition.exact_match, columns, config).history["entropy"]

    plain, half, cached = (run(torch.autocast("cpu", torch.bfloat16, enabled=on, cache_enabled=cache))
                           for on, cache in ((False, False), (True, False), (True, True)))
    assert half == pytest.approx(plain, rel=0.15)
    assert abs(cached[-1] / plain[-1] - 1) > 0.15


# ---- the committed log

def test_log_is_of_the_code_as_it_is():
    assert not experiments.is_stale("qwen_size"), "run `python -m rlbook.experiments qwen_size`"


def test_log_supports_the_text():
    log = experiments.load("qwen_size")
    assert log["weights"] == "random, from the config" and log["sizes"] == qwen_size.SIZES
    assert log["parameters"] == parameter_count(qwen_size.make_config()) == 494_032_768
    assert log["bytes"]["peak"] == pytest.approx(log["peak_measured"], rel=0.1)
    assert log["card"] == qwen_size.card(qwen_size.make_config())
    assert len(log["seconds"]) == qwen_size.NUM_STEPS and log["changed_in_bfloat16"]["1e-06"] < 0.1


def test_log_says_nothing_private():
    text = (experiments.DATA / "qwen_size.json").read_text()
    assert not re.search(r"/(home|work|tmp|root)|\d{4}-\d\d-\d\d", text) and len(text) < 10_000
