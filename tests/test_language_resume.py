"""A run stopped at any step and taken up again, from memory or from disk, equals one that never stopped; and bad input."""

import math
from dataclasses import replace

import pytest
import torch

from rlbook.language.config import PPOConfig
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy, from_pretrained
from rlbook.language.ppo import ppo
from rlbook.language.prompts import as_prompts
from rlbook.language.result import load
from rlbook.language.scalar import ScalarModel
from rlbook.language.tokenizer import word_tokenizer

WORDS = ["bad", "good", "film", "the"]
CONFIG = PPOConfig(seed=5, max_steps=4, batch_size=4, max_completion_length=4, kl_coef=0.1, beta=0.05, ent_coef=0.01,
                   reward_weights=(1.0, 0.5))
PROMPTS = [{"prompt": text, "level": k} for k, text in enumerate(["the", "the film", "good the bad", "film", "bad"])]


def small(seed: int = 0, vocab_size: int = 7, **more) -> Policy:
    words = WORDS + [f"word{k}" for k in range(vocab_size - 7)]
    model = tiny_model(vocab_size, hidden_size=16, num_layers=1, num_heads=2, max_length=16, seed=seed, **more)
    return Policy(model, word_tokenizer(words))


POLICY = small()
JUDGE = ScalarModel.from_causal(POLICY.model, "orthogonal")


def good_words(completions, **columns) -> list[float]:
    return [float(text.split().count("good")) for text in completions]


def run(config=CONFIG, resume=None, callback=None, functions=(JUDGE, good_words)):
    return ppo(POLICY if resume is None else None, list(functions), PROMPTS, config, resume=resume, callback=callback)


def assert_equal_runs(a, b) -> None:
    assert a.history == b.history and a.config == b.config
    for x, y in ((a.policy.model, b.policy.model), (a.ref.model, b.ref.model), (a.critic, b.critic)):
        assert x.state_dict().keys() == y.state_dict().keys()
        assert all(torch.equal(p, q) for p, q in zip(x.state_dict().values(), y.state_dict().values(), strict=True))
    x, y = (one.optimizer.state_dict()["state"] for one in (a, b))
    assert x.keys() == y.keys() and all(torch.equal(x[i][name], y[i][name]) for i in x for name in x[i])
    assert torch.equal(a.generator.get_state(), b.generator.get_state())


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
def test_row_25_a_resumed_run_equals_an_uninterrupted_one(k, whole, tmp_path):
    stopped = run(callback=lambda run: run.steps == k) if k else run(replace(CONFIG, max_steps=0))
    assert stopped.steps == k
    stopped.save(tmp_path / "run")
    saved = load(tmp_path / "run")
    assert_equal_runs(saved, stopped)
    assert saved.seconds == stopped.seconds
    assert_equal_runs(run(resume=saved), whole)
    assert_equal_runs(run(resume=stopped), whole)
    assert_equal_runs(load(tmp_path / "run"), stopped)  # neither has changed what it was taken up from


def test_the_run_depends_on_its_seed_and_on_nothing_else(whole):
    torch.manual_seed(99)
    again = run()
    assert_equal_runs(again, whole)
    assert run(replace(CONFIG, seed=6)).history != whole.history


def test_row_13_dropout_does_not_make_a_run_random(tmp_path):
    policy = small(dropout=0.5)
    policy.model.train()
    torch.manual_seed(1)
    first = ppo(policy, good_words, PROMPTS, replace(CONFIG, reward_weights=None))
    torch.manual_seed(2)
    assert_equal_runs(ppo(policy, good_words, PROMPTS, replace(CONFIG, reward_weights=None)), first)
    assert policy.model.training


def test_a_saved_bf16_run_goes_on(tmp_path):
    policy = small()
    policy.model.to(torch.bfloat16)
    config = replace(CONFIG, reward_weights=None)
    expected = ppo(policy, good_words, PROMPTS, config)
    ppo(policy, good_words, PROMPTS, replace(config, max_steps=2)).save(tmp_path / "run")
    assert_equal_runs(ppo(None, good_words, PROMPTS, config, resume=load(tmp_path / "run")), expected)


def test_the_saved_policy_is_an_ordinary_model(whole, tmp_path):
    whole.save(tmp_path / "run")
    policy = from_pretrained(tmp_path / "run" / "policy")
    assert all(torch.equal(p, q) for p, q in zip(policy.model.parameters(), whole.policy.model.parameters(), strict=True))
    assert policy.tokenizer.get_vocab() == whole.policy.tokenizer.get_vocab()


def test_saving_replaces_a_run_and_nothing_else(whole, tmp_path):
    target = tmp_path / "run"
    run(replace(CONFIG, max_steps=1)).save(target)
    whole.save(target)
    assert load(target).steps == 4 and sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"1")
    (tmp_path / "file").write_bytes(b"1")
    for name in ("photos", "file"):
        with pytest.raises(ValueError, match="is there and holds no run"):
            whole.save(tmp_path / name)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"1"
    (tmp_path / "empty").mkdir()
    whole.save(tmp_path / "empty")
    assert load(tmp_path / "empty").steps == 4


def test_what_cannot_be_loaded(whole, tmp_path):
    with pytest.raises(ValueError, match="nowhere holds no run"):
        load(tmp_path / "nowhere")
    whole.save(tmp_path / "run")
    file = tmp_path / "run" / "run.pt"
    state, content = torch.load(file, weights_only=True), file.read_bytes()
    file.write_bytes(content[:200])
    with pytest.raises(ValueError, match="run cannot be restored"):
        load(tmp_path / "run")
    changes = [
        ({"config": {**state["config"], "new_setting": 1}}, "does not hold what this version"),
        ({"config": {**state["config"], "epsilon": -1.0}}, "epsilon must be"),
        ({"extra": 1}, "does not hold what this version"),
        ({"history": {"reward": [1.0], "kl": []}}, "one number per step of every metric"),
        ({"history": {"reward": ["a"]}}, "one number per step"),
        ({"seconds": "long"}, "seconds must be a number, got 'long'"),
    ]
    for change, message in changes:
        torch.save({**state, **change}, file)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / "run")
    file.write_bytes(content)
    (tmp_path / "run" / "critic" / "head.pt").unlink()
    with pytest.raises(ValueError, match="holds no ScalarModel"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: run(replace(CONFIG, epsilon=0.1), resume=r), "resume is a run with PPOConfig"),
        (lambda r: ppo(small(), [JUDGE, good_words], PROMPTS, CONFIG, resume=r), "has its own policy, ref and critic"),
        (lambda r: ppo(None, [JUDGE, good_words], PROMPTS, CONFIG, resume=r, ref=POLICY), "has its own policy, ref and critic"),
        (lambda r: ppo(None, [JUDGE, good_words], PROMPTS, CONFIG, resume=r, critic=JUDGE), "has its own"),
        (lambda r: ppo(None, [good_words, good_words], PROMPTS, CONFIG, resume=r), "other reward functions"),
        (lambda r: ppo(None, [JUDGE, good_words], PROMPTS, CONFIG, resume="path"), "resume must be a Result"),
    ],
)
def test_what_a_resumed_run_must_keep(call, message, whole):
    with pytest.raises(ValueError, match=message):
        call(whole)


def test_the_policy_of_the_run_may_be_given(whole):
    assert ppo(whole.policy, [JUDGE, good_words], PROMPTS, CONFIG, resume=whole).history == whole.history


# ---- bad input

PLAIN = replace(CONFIG, reward_weights=None)


def constant(value):
    def rewarder(prompts, **columns):
        return value
    return rewarder


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ppo(POLICY, good_words, [], PLAIN), "at least one prompt, got none"),
        (lambda: ppo(POLICY, good_words, {"prompt": []}, PLAIN), "at least one prompt"),
        (lambda: ppo(POLICY, good_words, "the", PLAIN), "prompts must be a list of prompts"),
        (lambda: ppo(POLICY, good_words, 3, PLAIN), "prompts must be a list of prompts"),
        (lambda: ppo(POLICY, good_words, {"text": ["the"]}, PLAIN), "needs a column 'prompt'"),
        (lambda: ppo(POLICY, good_words, [{"text": "the"}], PLAIN), "every record must have 'prompt'"),
        (lambda: ppo(POLICY, good_words, [{"prompt": "the"}, {"prompt": "bad", "a": 1}], PLAIN), "the same columns"),
        (lambda: ppo(POLICY, good_words, {"prompt": ["the", "bad"], "a": [1]}, PLAIN), "got lengths {'a': 1}"),
        (lambda: ppo(POLICY, good_words, [{"prompt": "the", "completions": 1}], PLAIN), "must not be named"),
        (lambda: ppo(POLICY, good_words, ["the " * 20], PLAIN), "the longest prompt has 21 tokens"),
        (lambda: ppo(POLICY, good_words, ["the", "word"], PLAIN), "prompt 'word' cannot be encoded"),
        (lambda: ppo(POLICY, [], ["the"], PLAIN), "reward_funcs must be"),
        (lambda: ppo(POLICY, good_words, ["the"], CONFIG), "reward_weights must be a finite number for each of 1"),
        (lambda: ppo(POLICY, constant([1.0]), ["the"], PLAIN), "rewarder must return one reward per completion, 4, got 1"),
        (lambda: ppo(POLICY, constant([math.nan] * 4), ["the"], PLAIN), "rewarder returned nan for prompt 'the'"),
        (lambda: ppo(POLICY, constant(None), ["the"], PLAIN), "rewarder must return a list"),
        (lambda: ppo(3, good_words, ["the"], PLAIN), "a policy must be a Policy"),
        (lambda: ppo(POLICY, good_words, ["the"], {"seed": 1}), "config must be a PPOConfig"),
        (lambda: ppo(POLICY, good_words, ["the"], PLAIN, ref=small(vocab_size=9)),
         "policy and reference must have one vocabulary"),
        (lambda: ppo(POLICY, good_words, ["the"], PLAIN, critic=ScalarModel.from_causal(small(vocab_size=9).model)),
         "policy and critic must have one vocabulary, got 7 and 9"),
        (lambda: ppo(POLICY, [good_words, ScalarModel.from_causal(small(vocab_size=9).model)], ["the"], PLAIN),
         "policy and reward model 1 must have one vocabulary"),
        (lambda: ppo(POLICY, good_words, ["the"], PLAIN, critic=POLICY.model),
         "critic must be a ScalarModel, got Qwen2ForCausalLM"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_policy_without_anything_to_train_is_refused():
    policy = small()
    policy.model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing can be trained"):
        ppo(policy, good_words, ["the"], PLAIN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_completion_length": 0}, "max_completion_length must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be"), ({"max_steps": 1.5}, "max_steps must be"), ({"batch_size": 0}, "batch_size must be"),
        ({"num_mini_batches": 3}, "batch_size must be a multiple of num_mini_batches, got 4 and 3"),
        ({"micro_batch_size": 0}, "micro_batch_size must be"), ({"num_ppo_epochs": True}, "num_ppo_epochs must be"),
        ({"temperature": 0.0}, "temperature must be a positive, finite number, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate must be a positive, finite"), ({"learning_rate": "1"}, "learning_rate must"),
        ({"critic_learning_rate": -1.0}, "critic_learning_rate must"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive"),
        ({"epsilon": math.nan}, "epsilon must be"), ({"kl_coef": -0.1}, "kl_coef must be a non-negative, finite number"),
        ({"beta": math.inf}, "beta must be"), ({"vf_coef": None}, "vf_coef must be"), ({"ent_coef": -1}, "ent_coef must be"),
        ({"gamma": 1.1}, "gamma must be a number in .0, 1."), ({"lam": -0.1}, "lam must be"),
        ({"whiten_advantages": 1}, "whiten_advantages must be True or False"),
        ({"missing_eos_penalty": -1.0}, "missing_eos_penalty must be"),
        ({"reward_weights": [math.nan]}, "reward_weights must be"),
        ({"reward_weights": 1.0}, "reward_weights must be"),
        ({"reward_weights": [10**400]}, "reward_weights must be"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_settings_are_made_plain():
    config = PPOConfig(learning_rate=1, epsilon=math.inf, reward_weights=[1, 2], max_grad_norm=math.inf)
    assert config.learning_rate == 1.0 and type(config.learning_rate) is float and config.reward_weights == (1.0, 2.0)
    assert as_prompts(("the", "film")).prompts == ["the", "film"]
