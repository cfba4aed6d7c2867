"""A run of GRPO stopped at any step, or by a reward function, and taken up again, equals one that never stopped; bad input."""

import math
from dataclasses import replace

import pytest
import torch

from rlbook.language.config import GRPOConfig, PPOConfig
from rlbook.language.grpo import grpo
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo
from rlbook.language.result import load
from rlbook.language.rewards import RewardError
from rlbook.language.scalar import ScalarModel
from rlbook.language.tokenizer import word_tokenizer
from tests.grpo_cases import PROMPTS, constant, good_words, small

CONFIG = GRPOConfig(seed=5, max_steps=4, batch_size=8, num_generations=4, max_completion_length=4, num_iterations=2, beta=0.05,
                    ent_coef=0.01, dynamic_sampling=1, learning_rate=3e-3)
POLICY = small()
JUDGE = ScalarModel.from_causal(POLICY.model, "orthogonal")
LINEAR = replace(CONFIG, lr_scheduler_type="linear", beta=0.0, mask_truncated_completions=True)


def run(config=CONFIG, resume=None, callback=None, functions=(JUDGE, good_words)):
    return grpo(POLICY if resume is None else None, list(functions), PROMPTS, config, resume=resume, callback=callback)


def assert_equal_runs(a, b) -> None:
    assert repr(a.history) == repr(b.history) and a.config == b.config  # NaN is equal to NaN here
    assert a.models().keys() == b.models().keys()
    for x, y in zip(a.models().values(), b.models().values(), strict=True):
        assert x.state_dict().keys() == y.state_dict().keys()
        assert all(torch.equal(p, q) for p, q in zip(x.state_dict().values(), y.state_dict().values(), strict=True))
    x, y = (one.optimizer.state_dict()["state"] for one in (a, b))
    assert x.keys() == y.keys() and all(torch.equal(x[i][name], y[i][name]) for i in x for name in x[i])
    assert torch.equal(a.generator.get_state(), b.generator.get_state())


@pytest.fixture(scope="module")
def whole():
    return {config: run(config) for config in (CONFIG, LINEAR)}


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("config", [CONFIG, LINEAR], ids=["constant", "linear"])
def test_row_25_a_resumed_run_equals_an_uninterrupted_one(config, k, whole, tmp_path):
    if k:
        stopped = run(config, callback=lambda run: run.steps == k)
    else:
        with pytest.raises(RewardError) as caught:
            run(config, functions=(JUDGE, fails_at(1)))
        stopped = caught.value.result
    assert stopped.steps == k and (stopped.ref is None) == (config is LINEAR) and stopped.critic is None
    stopped.save(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["policy", *(["ref"] if config.beta else []), "run.pt"]
    saved = load(tmp_path / "run")
    assert_equal_runs(saved, stopped)
    assert saved.seconds == stopped.seconds
    assert_equal_runs(run(config, resume=saved), whole[config])
    assert_equal_runs(run(config, resume=stopped), whole[config])
    assert_equal_runs(load(tmp_path / "run"), stopped)  # neither has changed what it was taken up from


def fails_at(call: int, kind: type[Exception] = KeyError):
    """`good_words` that raises at one of its calls, and every call of the step that finds out for which prompt."""
    seen = []

    def good_words(prompts, completions, **columns):
        seen.append(len(prompts))
        if len(seen) >= call and any("film" in prompt for prompt in prompts):
            raise kind("nothing is known about film")
        return [float(text.split().count("good")) for text in completions]

    return good_words


@pytest.mark.parametrize("call", [1, 2, 3])
def test_nothing_is_lost_when_a_reward_function_raises(call, whole):
    """The error names function and prompt, and the run up to the last complete step goes on from it, bit for bit."""
    message = "reward function good_words raised KeyError: 'nothing is known about film'; its prompt was 'the film'"
    with pytest.raises(RewardError, match=message) as caught:
        run(functions=(JUDGE, fails_at(call)))
    assert isinstance(caught.value, ValueError) and isinstance(caught.value.__cause__, KeyError)
    assert caught.value.result.steps < 4
    assert_equal_runs(run(resume=caught.value.result), whole[CONFIG])


def test_nothing_is_lost_in_ppo_either():
    config = PPOConfig(seed=5, max_steps=4, batch_size=4, max_completion_length=4)
    expected = ppo(POLICY, good_words, PROMPTS, config)
    for call in (1, 2, 3):
        with pytest.raises(RewardError) as caught:
            ppo(POLICY, fails_at(call), PROMPTS, config)
        assert caught.value.result.steps < 4
        assert_equal_runs(ppo(None, good_words, PROMPTS, config, resume=caught.value.result), expected)


def test_a_resumed_run_can_fail_and_be_resumed(whole):
    first = run(callback=lambda run: run.steps == 1)
    with pytest.raises(RewardError) as caught:
        run(resume=first, functions=(JUDGE, fails_at(1)))
    assert first.steps == 1 <= caught.value.result.steps < 4
    assert_equal_runs(run(resume=caught.value.result), whole[CONFIG])


def test_the_run_depends_on_its_seed_and_on_nothing_else(whole):
    torch.manual_seed(99)
    again = run()
    assert_equal_runs(again, whole[CONFIG])
    assert run(replace(CONFIG, seed=6)).history != whole[CONFIG].history


def test_a_linear_learning_rate_keeps_its_max_steps(whole):
    stopped = run(LINEAR, callback=lambda run: run.steps == 2)
    with pytest.raises(ValueError, match="a learning rate that falls to 0 at max_steps keeps its max_steps"):
        run(replace(LINEAR, max_steps=9), resume=stopped)
    longer = run(replace(CONFIG, max_steps=5), resume=whole[CONFIG])
    assert longer.steps == 5 and longer.history["reward"][:4] == whole[CONFIG].history["reward"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: run(replace(CONFIG, epsilon=0.1), resume=r), "resume is a run with GRPOConfig"),
        (lambda r: grpo(small(1), [JUDGE, good_words], PROMPTS, CONFIG, resume=r), "has its own policy, ref and critic"),
        (lambda r: grpo(None, [JUDGE, good_words], PROMPTS, CONFIG, resume=r, ref=POLICY), "has its own policy, ref and critic"),
        (lambda r: grpo(None, [good_words, good_words], PROMPTS, CONFIG, resume=r), "other reward functions"),
        (lambda r: grpo(None, [JUDGE, good_words], PROMPTS, CONFIG, resume="path"), "resume must be a Result"),
        (lambda r: ppo(None, [JUDGE, good_words], PROMPTS, PPOConfig(), resume=r), "resume is a run with GRPOConfig"),
    ],
)
def test_what_a_resumed_run_must_keep(call, message, whole):
    with pytest.raises(ValueError, match=message):
        call(whole[CONFIG])


def test_a_saved_run_of_another_kind_is_refused(whole, tmp_path):
    whole[CONFIG].save(tmp_path / "run")
    state = torch.load(tmp_path / "run" / "run.pt", weights_only=True)
    for change in ({"algorithm": "ppo"}, {"algorithm": "dpo"}, {"config": {**state["config"], "surrogate": "none"}}):
        torch.save({**state, **change}, tmp_path / "run" / "run.pt")
        with pytest.raises(ValueError, match="cannot be restored: .*(this version|surrogate must be one of clip, cispo)"):
            load(tmp_path / "run")


# ---- bad input

PLAIN = replace(CONFIG, dynamic_sampling=0)


def other_vocabulary() -> Policy:
    words = ["bad", "good", "film", "the", "one", "more"]
    return Policy(tiny_model(9, hidden_size=16, num_layers=1, num_heads=2, max_length=16), word_tokenizer(words))


def only_at(prompt: str, value):
    def rewarder(prompts, **columns):
        return [value if given == prompt else 1.0 for given in prompts]
    return rewarder


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grpo(POLICY, good_words, [], PLAIN), "at least one prompt, got none"),
        (lambda: grpo(POLICY, good_words, {"prompt": []}, PLAIN), "at least one prompt"),
        (lambda: grpo(POLICY, good_words, "the", PLAIN), "prompts must be a list of prompts"),
        (lambda: grpo(POLICY, good_words, [{"text": "the"}], PLAIN), "every record must have 'prompt'"),
        (lambda: grpo(POLICY, good_words, ["the " * 20], PLAIN), "the longest prompt has 21 tokens"),
        (lambda: grpo(POLICY, good_words, ["the", "word"], PLAIN), "prompt 'word' cannot be encoded"),
        (lambda: grpo(POLICY, [], ["the"], PLAIN), "reward_funcs must be"),
        (lambda: grpo(POLICY, good_words, ["the"], replace(PLAIN, reward_weights=(1.0, 2.0))), "number for each of 1"),
        (lambda: grpo(POLICY, lambda **batch: [1.0], ["the"], PLAIN), "must return one reward per completion, 8, got 1"),
        (lambda: grpo(POLICY, only_at("bad", math.nan), ["the", "bad"], PLAIN),
         "rewarder returned nan for prompt 'bad'; None says"),
        (lambda: grpo(POLICY, only_at("bad", math.inf), ["the", "bad"], PLAIN), "rewarder returned inf for prompt 'bad'"),
        (lambda: grpo(3, good_words, ["the"], PLAIN), "a policy must be a Policy"),
        (lambda: grpo(POLICY, good_words, ["the"], PPOConfig()), "config must be a GRPOConfig, got PPOConfig"),
        (lambda: ppo(POLICY, good_words, ["the"], PLAIN), "config must be a PPOConfig, got GRPOConfig"),
        (lambda: grpo(POLICY, good_words, ["the"], PLAIN, ref=other_vocabulary()),
         "policy and reference must have one vocabulary"),
        (lambda: grpo(POLICY, ScalarModel.from_causal(other_vocabulary().model), ["the"], PLAIN),
         "policy and reward model 0 must have one vocabulary"),
        (lambda: grpo(POLICY, good_words, ["the", "film"], replace(PLAIN, learning_rate=1e30)),
         "losses are not finite in step .*; a smaller learning_rate or max_grad_norm"),
        (lambda: grpo(POLICY, good_words, ["the"], PLAIN, resume=3), "resume must be a Result"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_prompt_without_tokens_is_refused():
    policy = small()
    policy.tokenizer.backend_tokenizer.post_processor = None  # no <bos>
    with pytest.raises(ValueError, match="prompt '' has no tokens"):
        grpo(policy, good_words, ["the", ""], PLAIN)


def test_float16_and_frozen_policies_are_refused():
    policy = small()
    policy.model.half()
    with pytest.raises(ValueError, match="the policy has parameters in float16"):
        grpo(policy, good_words, ["the"], PLAIN)
    policy = small()
    policy.model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing can be trained"):
        grpo(policy, good_words, ["the"], PLAIN)


def test_huge_rewards_are_scaled_or_refused():
    def long(completions, **columns):
        return [1e17 * len(text) for text in completions]

    given = grpo(POLICY, lambda completions, **columns: [float(len(text)) for text in completions], ["the"], PLAIN)
    scaled = grpo(POLICY, long, ["the"], PLAIN)
    assert scaled.history["policy_loss"][0] == pytest.approx(given.history["policy_loss"][0], abs=1e-3)
    with pytest.raises(ValueError, match="not finite in step 1: {'reward': inf"):
        grpo(POLICY, constant(3e38), ["the"], PLAIN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_generations": 1}, "num_generations must be an integer >= 2, got 1"),
        ({"num_generations": 3}, "batch_size must be a multiple of num_generations, got 8 and 3"),
        ({"num_generations": 4.0}, "num_generations must be an integer"),
        ({"num_mini_batches": 3}, "batch_size must be a multiple of num_mini_batches, got 8 and 3"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"max_completion_length": 0}, "max_completion_length must be an integer >= 1"),
        ({"seed": -1}, "seed must be"),
        ({"max_steps": 1.5}, "max_steps must be"), ({"micro_batch_size": 0}, "micro_batch_size must"),
        ({"num_iterations": True}, "num_iterations must be"),
        ({"dynamic_sampling": -1}, "dynamic_sampling must be an integer >= 0"),
        ({"temperature": 0.0}, "temperature must be a positive, finite number, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate must be a positive, finite"),
        ({"lr_scheduler_type": "cosine"}, "lr_scheduler_type must be one of constant, linear, got 'cosine'"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive"), ({"epsilon": math.nan}, "epsilon must be"),
        ({"epsilon_high": 0.0}, "epsilon_high must be a positive"), ({"delta": 1.2}, "delta must be > 1 . epsilon_high = 1.2"),
        ({"delta": 1.4, "epsilon_high": 0.5}, "delta must be > 1 . epsilon_high = 1.5"),
        ({"delta": 9.0, "surrogate": "cispo"}, "for surrogate 'clip' alone"), ({"delta": "2"}, "delta must be a positive"),
        ({"beta": math.inf}, "beta must be"), ({"ent_coef": -1}, "ent_coef must be"),
        ({"loss_type": "grpo2"}, "loss_type must be one of grpo, dr_grpo, dapo, bnpo, got 'grpo2'"),
        ({"loss_type": None}, "loss_type must be one of"),
        ({"scale_rewards": True}, "scale_rewards must be one of group, batch, none"),
        ({"adv_estimator": "gae"}, "adv_estimator must be one of grpo, rloo"),
        ({"importance_sampling_level": "word"}, "importance_sampling_level must be one of token, sequence"),
        ({"surrogate": "none"}, "surrogate must be one of clip, cispo"),
        ({"use_bias_correction_kl": 1}, "use_bias_correction_kl must be True or False"),
        ({"mask_truncated_completions": None}, "mask_truncated_completions must be True or False"),
        ({"reward_weights": [math.nan]}, "reward_weights must be"), ({"reward_weights": 1.0}, "reward_weights must be"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_settings_are_made_plain():
    config = GRPOConfig(learning_rate=1, epsilon=math.inf, epsilon_high=1, reward_weights=[1, 2], max_grad_norm=math.inf)
    assert config.learning_rate == 1.0 and type(config.epsilon_high) is float and config.reward_weights == (1.0, 2.0)
    assert GRPOConfig().epsilon_high is None and GRPOConfig().passes == 1
