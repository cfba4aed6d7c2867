"""The over-optimisation experiment: its log says what the text relies on, and its parts do what they are called."""

from dataclasses import fields

import pytest
import torch

from rlbook import experiments
from rlbook.experiments import overoptimization as module
from rlbook.language.config import PPOConfig
from rlbook.language.tasks import words

CURVES = {"proxy", "gold", "kl", "entropy", "length", "explained_variance"}


@pytest.fixture(scope="module")
def log() -> dict:
    return experiments.load("overoptimization")


def chosen(log: dict, **change) -> list[dict]:
    """The runs with these settings and no others, one per seed."""
    names = {field.name for field in fields(PPOConfig)} - {"seed"}
    found = [run for run in log["runs"] if {name: run[name] for name in run.keys() & names} == change]
    assert [run["seed"] for run in found] == log["seeds"]
    return found


def test_the_log_is_whole_and_holds_nothing_private(log):
    assert log["seeds"] == list(module.SEEDS) and not set(log["seeds"]) & {0, 1}
    assert log["transformers"] and log["machine"] and len(log["runs"]) == 3 * (len(module.KL_COEFS) + len(module.VARIANTS))
    for run in log["runs"]:
        assert {len(run[name]) for name in CURVES} == {log["num_steps"]} and len(run["perplexity"]) == 6
        assert len(run["samples"]) == 5
    text = (experiments.DATA / "overoptimization.json").read_text()
    assert "/home" not in text and "/work" not in text and len(text) < 60_000


def test_the_reward_model_is_better_than_chance_and_worse_than_gold(log):
    for setting in log["settings"]:
        assert 0.6 < setting["accuracy"] < 0.85 and 0.6 < setting["correlation"] < 0.9
        assert setting["calibration_error"] < 0.15 and sum(b["count"] for b in setting["calibration"]) == module.HELD_OUT


def test_without_kl_the_proxy_rises_and_the_gold_score_falls(log):
    for run in chosen(log, kl_coef=0.0):
        assert module.end(run, "proxy") > 2 and module.fall(run) > 1


def test_a_moderate_kl_holds_the_gold_score_and_ends_highest(log):
    ends = {kl_coef: [module.end(run, "gold") for run in chosen(log, kl_coef=kl_coef)] for kl_coef in (0.0, 0.2, 0.5)}
    assert all(module.fall(run) < 0.5 for run in chosen(log, kl_coef=0.2))
    for none, moderate, strong in zip(*ends.values(), strict=True):
        assert moderate > strong > none


def test_kl_and_perplexity_fall_with_the_weight_of_the_kl(log):
    for seed in range(3):
        runs = [chosen(log, kl_coef=kl_coef)[seed] for kl_coef in (0.0, 0.1, 0.5)]
        for name in ("kl", "perplexity"):
            assert runs[0][name][-1] > runs[1][name][-1] > runs[2][name][-1]


def test_the_fall_by_hand():
    run = {"gold": [0.0, 1.0, 2.0, 3.0, 1.0, -1.0]}
    assert module.fall(run, window=2) == pytest.approx(2.5) and module.end(run, "gold", 2) == 0.0
    with pytest.raises(ValueError, match="at least as many, got 6"):
        module.fall(run, window=7)


def test_a_short_run_records_everything(monkeypatch):
    """The whole experiment on a fraction of its size: two pairs of runs of the same seed are equal."""
    monkeypatch.setattr(module, "NUM_PAIRS", 80)
    monkeypatch.setattr(module, "HELD_OUT", 20)
    monkeypatch.setattr(module, "pretrain", lambda model, *batch, **settings: None)
    first, second = (module.compare(3, (0.0, 0.2), 2) for _ in range(2))
    assert first == second and [run["kl_coef"] for run in first] == [0.0, 0.2]
    assert all(len(run[name]) == 2 for run in first for name in CURVES) and len(first[0]["perplexity"]) == 1
    assert first[0]["gold"][0] == first[1]["gold"][0] and first[0]["kl"][0] == pytest.approx(0, abs=1e-4)


def test_the_correlation_is_that_on_sentences_drawn_last(monkeypatch):
    """After everything else, so that no other number depends on them; and none was in a pair or standardised the reward."""
    drawn, read = [], []
    monkeypatch.setattr(module, "NUM_PAIRS", 80)
    monkeypatch.setattr(module, "HELD_OUT", 20)
    monkeypatch.setattr(module, "pretrain", lambda model, *batch, **settings: None)
    monkeypatch.setattr(module, "sample", lambda *given, draw=module.sample: drawn.append(draw(*given)) or drawn[-1])
    monkeypatch.setattr(module, "gold_scores", lambda ids, score=module.gold_scores: read.append(ids) or score(ids))
    setting = module.prepare(3)
    pairs, fresh = drawn
    assert len(pairs) == 160 and len(fresh) == 1024
    assert torch.equal(read[0], pairs) and read[1] is fresh and not torch.equal(fresh[:160, :pairs.shape[1]], pairs)
    rewards = setting.reward_model.score_rows([row[row != words.PAD_ID].tolist() for row in fresh])
    gold = torch.tensor([words.gold_score(text) for text in words.sentences(fresh)])
    expected = torch.corrcoef(torch.stack([rewards, gold]))[0, 1].item()
    assert setting.judged["correlation"] == pytest.approx(expected, rel=1e-5)


def test_sentences_end_with_eos_and_padding():
    setting_policy = module.Policy(module.tiny_model(24, max_length=32), words.tokenizer())
    ids = module.sample(setting_policy, 64, torch.Generator().manual_seed(0))
    assert ids.shape[0] == 64 and ids.shape[1] <= 1 + module.LENGTH and (ids[:, 0] == words.BOS_ID).all()
    for row in ids.tolist():
        if words.EOS_ID in row:
            assert set(row[row.index(words.EOS_ID) + 1:]) <= {words.PAD_ID}
    assert (ids == words.EOS_ID).any() and (module.real(ids) == (ids != 0)).all()
