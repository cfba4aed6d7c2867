"""PPO for language models: one update by hand, micro-batches, ragged ends, unscored completions, and what it learns."""

import inspect
import math
from dataclasses import replace

import pytest
import torch

from rlbook.language import experience
from rlbook.language.config import PPOConfig
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo, ppo_step
from rlbook.language.prompts import as_prompts
from rlbook.language.rewards import Scores
from rlbook.language.scalar import ScalarModel
from rlbook.language.scoring import token_logprobs
from rlbook.language.tokenizer import word_tokenizer

WORDS = ["bad", "good", "film", "the"]
SMALL = PPOConfig(seed=3, max_steps=2, batch_size=6, max_completion_length=5, num_mini_batches=1, num_ppo_epochs=1)
PROMPTS = ["the", "the film", "good the bad"]
METRICS = {"reward", "reward_std", "kl", "objective/kl", "entropy", "policy_loss", "value_loss", "approx_kl", "grad_norm",
           "clip_ratio/region_mean", "clip_ratio/low_mean", "clip_ratio/high_mean", "explained_variance", "num_tokens",
           "completions/mean_length", "completions/clipped_ratio"}


def small(seed: int = 0, **more) -> Policy:
    model = tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, max_length=16, seed=seed, **more)
    return Policy(model, word_tokenizer(WORDS))


def good_words(completions, **columns) -> list[float]:
    return [float(text.split().count("good")) for text in completions]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(policy: Policy, scale: float = 0.3) -> Policy:
    """A reference or a policy at some distance from another."""
    made = Policy(tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, max_length=16, seed=0), policy.tokenizer)
    made.model.load_state_dict(policy.model.state_dict())
    made.model.to(next(policy.model.parameters()).dtype)
    with torch.no_grad():
        for k, parameter in enumerate(made.model.parameters()):
            parameter += scale * parameter.std() * torch.randn(parameter.shape, generator=generator(k), dtype=parameter.dtype)
    return made


def prepared(config: PPOConfig = SMALL, functions=(good_words,), dtype=torch.float64, **more):
    """A policy, a critic with other values than 0, samples and the batch made of them, in float64."""
    policy = small(**more)
    policy.model.to(dtype)
    critic, ref = ScalarModel.from_causal(policy.model, "orthogonal"), moved(policy)
    drawn = as_prompts(PROMPTS).draw(config.batch_size, 0, 0)
    samples = experience.sample(policy, functions, drawn, config, generator(1))
    batch, kl = experience.judge(samples, ref, critic, config, policy.tokenizer.eos_token_id)
    return policy, critic, ref, samples, batch, kl


def sgd(policy: Policy, critic: ScalarModel) -> torch.optim.Optimizer:
    return torch.optim.SGD([*policy.model.parameters(), *critic.parameters()], lr=1.0)


def all_parameters(policy: Policy, critic: ScalarModel) -> list[torch.Tensor]:
    return [p.detach().clone() for p in (*policy.model.parameters(), *critic.parameters())]


# ---- one update

@pytest.mark.equation("ppo-objective")
def test_one_update_by_hand():
    """The loss from its definition, token by token, on full log-softmaxes; a step of SGD shows the gradient."""
    config = replace(SMALL, beta=0.3, ent_coef=0.02, vf_coef=0.7, kl_coef=0.1, temperature=1.3, max_grad_norm=math.inf)
    policy, critic, ref, samples, batch, _ = prepared(config)
    current = moved(policy, 10.0)  # not the sampling policy, so that ratios are not 1
    assert not torch.equal(batch.completion_mask, torch.ones_like(batch.completion_mask))
    total, clipped = 0.0, 0
    for i in range(len(batch.mask)):
        row = torch.cat([batch.prompt_ids[i][batch.prompt_mask[i] == 1], batch.completion_ids[i]])[None]
        start = int(batch.prompt_mask[i].sum()) - 1
        logp, ref_logp = ((one.model(row).logits[0, start:-1] / config.temperature).log_softmax(-1) for one in (current, ref))
        values = critic(row, torch.ones_like(row))[0, start:-1]
        for t in range(int(batch.mask[i].sum())):
            y, advantage = batch.completion_ids[i, t], batch.advantages[i, t]
            new, old, frozen = logp[t, y], batch.old_logprobs[i, t], ref_logp[t, y].detach()
            ratio = (new - old).exp()
            surrogate = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            k3 = (frozen - new).exp() - 1 - (frozen - new)
            entropy = -(logp[t].exp() * logp[t]).sum()
            error = 0.5 * (values[t] - batch.returns[i, t]).square()
            total = total + surrogate - 0.3 * ratio * k3 + 0.02 * entropy - 0.7 * error
            clipped += int((ratio > 1.2 and advantage > 0) or (ratio < 0.8 and advantage < 0))
    parameters = [*current.model.parameters(), *critic.parameters()]
    tokens = batch.mask.sum()
    expected = [p + g for p, g in zip(parameters, torch.autograd.grad(total / tokens, parameters), strict=True)]  # ascent
    found = ppo_step(current, critic, sgd(current, critic), batch, config, generator())
    for got, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-10)
    assert clipped > 0 and found["clip_ratio/region_mean"] == pytest.approx(clipped / int(tokens))
    assert found["clip_ratio/low_mean"] + found["clip_ratio/high_mean"] == pytest.approx(found["clip_ratio/region_mean"])


def test_row_10_micro_batches_change_nothing():
    config = replace(SMALL, num_mini_batches=2, num_ppo_epochs=2, beta=0.1, ent_coef=0.01, max_grad_norm=0.5)
    runs = []
    for size in (None, 1, 2, 3, 100):
        own = replace(config, micro_batch_size=size)
        policy, critic, _, _, batch, _ = prepared(own)
        found = ppo_step(policy, critic, sgd(policy, critic), batch, own, generator())
        runs.append((all_parameters(policy, critic), found))
    for parameters, found in runs[1:]:
        for got, wanted in zip(parameters, runs[0][0], strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
        assert found == pytest.approx(runs[0][1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_rows_12_and_13_the_first_ratio_is_1(temperature):
    """Scored under the distribution that was sampled from, without dropout in either."""
    config = replace(SMALL, temperature=temperature)
    policy, critic, _, _, batch, _ = prepared(config, dtype=torch.float32, dropout=0.5)
    policy.model.train()
    logprobs, _ = token_logprobs(policy.model, *batch[:4], temperature)
    assert ((logprobs - batch.old_logprobs).exp() - 1)[batch.mask].abs().max() < 1e-5
    found = ppo_step(policy, critic, sgd(policy, critic), batch, config, generator())
    assert found["approx_kl"] < 1e-9 and found["clip_ratio/region_mean"] == 0


def test_the_first_policy_loss_is_minus_the_mean_advantage():
    """Row 20: with whitened advantages the value is 0 at first, the gradient is not."""
    policy, critic, _, _, batch, _ = prepared()
    found = ppo_step(policy, critic, sgd(policy, critic), batch, SMALL, generator())
    assert found["policy_loss"] == pytest.approx(0, abs=1e-9) and found["grad_norm"] > 0.01
    policy, critic, _, _, batch, _ = prepared(replace(SMALL, whiten_advantages=False))
    found = ppo_step(policy, critic, sgd(policy, critic), batch, SMALL, generator())
    assert found["policy_loss"] == pytest.approx(-batch.advantages[batch.mask].mean().item(), abs=1e-7)


def test_without_value_loss_the_critic_stays_and_gradients_are_cut():
    policy = small()
    critic = ScalarModel.from_causal(policy.model, "orthogonal")
    run = ppo(policy, good_words, PROMPTS, replace(SMALL, vf_coef=0.0), critic=critic)
    assert all(torch.equal(a, b) for a, b in zip(run.critic.parameters(), critic.parameters(), strict=True))
    policy, critic, _, _, batch, _ = prepared()
    before = all_parameters(policy, critic)[:len(list(policy.model.parameters()))]
    ppo_step(policy, critic, sgd(policy, critic), batch, replace(SMALL, max_grad_norm=1e-3), generator())
    step = sum((a - b).square().sum() for a, b in zip(before, policy.model.parameters(), strict=True)).sqrt()
    assert step.item() == pytest.approx(1e-3, rel=1e-2)


def test_the_step_is_printable():
    lines = inspect.getsource(ppo_step).splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 76


# ---- rewards and advantages of tokens

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
SCORES = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
KL = torch.tensor([[0.1, 0.2, -0.3, 0.4], [0.5, 0.6, 9.0, 9.0], [0.7, 9.0, 9.0, 9.0]], dtype=torch.float64)
VALUES = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 70.0, 80.0], [7.0, 80.0, 90.0, 10.0]], dtype=torch.float64)


@pytest.mark.equation("kl-penalty", "gae")
def test_row_16_the_score_lands_on_the_last_real_token():
    config = replace(SMALL, gamma=0.9, lam=0.8, kl_coef=0.5)
    advantages, returns = experience.advantages_and_returns(SCORES, KL, VALUES, MASK, config)
    for i, length in enumerate(MASK.sum(-1).tolist()):
        carry = 0.0
        for t in reversed(range(length)):
            last = t == length - 1
            reward = -0.5 * KL[i, t] + (SCORES[i] if last else 0.0)
            delta = reward + (0.0 if last else 0.9 * VALUES[i, t + 1]) - VALUES[i, t]
            carry = delta + 0.9 * 0.8 * carry
            assert advantages[i, t].item() == pytest.approx(carry.item(), abs=1e-12)
            assert returns[i, t].item() == pytest.approx((carry + VALUES[i, t]).item(), abs=1e-12)
        assert returns[i, length:].eq(0).all() and advantages[i, length:].eq(0).all()


@pytest.mark.equation("critic-loss")
def test_with_gamma_and_lambda_1_the_critics_target_is_the_reward_at_every_token():
    config = replace(SMALL, gamma=1.0, lam=1.0, kl_coef=0.0)
    _, returns = experience.advantages_and_returns(SCORES, KL, VALUES, MASK, config)
    torch.testing.assert_close(returns, SCORES[:, None] * MASK, rtol=0, atol=1e-12)
    _, returns = experience.advantages_and_returns(SCORES, KL, VALUES, MASK, replace(config, kl_coef=0.5))
    to_go = (KL * MASK).flip(-1).cumsum(-1).flip(-1)
    torch.testing.assert_close(returns, (SCORES[:, None] - 0.5 * to_go) * MASK, rtol=0, atol=1e-12)


def test_row_17_what_stands_in_the_padding_changes_nothing():
    config = replace(SMALL, kl_coef=0.5)
    expected = experience.advantages_and_returns(SCORES, KL, VALUES, MASK, config)
    for junk in (math.nan, math.inf, -1e9):
        kl, values = (torch.where(MASK.bool(), x, junk) for x in (KL, VALUES))
        for got, wanted in zip(experience.advantages_and_returns(SCORES, kl, values, MASK, config), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_what_has_no_token_to_land_on_is_refused():
    empty = MASK.clone()
    empty[1] = 0
    with pytest.raises(ValueError, match="a 1 in every row, got none in row"):
        experience.advantages_and_returns(SCORES, KL, VALUES, empty, SMALL)
    with pytest.raises(ValueError, match="shape"):
        experience.advantages_and_returns(SCORES, KL, VALUES, MASK[:, :3], SMALL)


def with_scores(samples, values) -> experience.Samples:
    total = torch.tensor([math.nan if value is None else value for value in values])
    return samples._replace(scores=Scores(total, {"f": total}))


def test_row_9_an_unscored_completion_changes_nothing():
    """[1, None, 0, ...] gives the update of [1, 0, ...]."""
    policy, critic, ref, samples, _, _ = prepared()
    values, end = [1.0, None, 0.0, None, 0.5, 2.0], policy.tokenizer.eos_token_id
    kept = [0, 2, 4, 5]
    subset = samples._replace(**{name: getattr(samples, name)[kept] for name in samples._fields[:5]})
    scored = with_scores(subset, [values[i] for i in kept])
    batch, kl = experience.judge(with_scores(samples, values), ref, critic, SMALL, end)
    fewer, _ = experience.judge(scored, ref, critic, SMALL, end)
    assert batch.advantages[[1, 3]].eq(0).all() and not batch.mask[[1, 3]].any()
    torch.testing.assert_close(batch.advantages[kept], fewer.advantages, rtol=1e-9, atol=1e-10)
    results = []
    for one in (batch, fewer):
        own_policy, own_critic = moved(policy, 0.0), ScalarModel.from_causal(policy.model, "orthogonal")
        ppo_step(own_policy, own_critic, sgd(own_policy, own_critic), one, SMALL, generator())
        results.append(all_parameters(own_policy, own_critic))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
    found = experience.metrics_of(with_scores(samples, values), batch, kl, end)
    assert found["reward"] == 0.875 and found["rewards/f/mean"] == 0.875


def test_when_nothing_is_scored_nothing_is_learned():
    policy = small()
    run = ppo(policy, lambda prompts, **columns: [None] * len(prompts), PROMPTS, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(run.policy.model.parameters(), policy.model.parameters(), strict=True))
    assert math.isnan(run.history["reward"][0]) and math.isnan(run.history["policy_loss"][0]) and run.history["kl"][0] == \
        pytest.approx(0, abs=1e-6)


def test_row_15_pad_equal_to_eos_keeps_the_first_end():
    policy = small()
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = None
    policy = Policy(policy.model, tokenizer)  # which pads with <eos>
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    config = replace(SMALL, batch_size=24)
    samples = experience.sample(policy, [good_words], as_prompts(PROMPTS).draw(24, 0, 0), config, generator(2))
    ended = 0
    for row, mask in zip(samples.completion_ids.tolist(), samples.completion_mask.tolist(), strict=True):
        stop = row.index(2) + 1 if 2 in row else 5
        ended += stop < 5
        assert mask == [1] * stop + [0] * (5 - stop)
    assert ended > 2
    assert ppo(policy, good_words, PROMPTS, config).steps == 2


def test_missing_eos_costs():
    config = replace(SMALL, kl_coef=0.0, whiten_advantages=False, batch_size=12)
    policy, critic, ref, samples, without, _ = prepared(config)
    end = policy.tokenizer.eos_token_id
    batch, _ = experience.judge(samples, ref, critic, replace(config, missing_eos_penalty=3.0), end)
    ended = ((samples.completion_ids == end) & samples.completion_mask.bool()).any(-1)
    assert 0 < ended.sum() < 12
    torch.testing.assert_close(without.returns[ended], batch.returns[ended])
    last = samples.completion_mask.sum(-1) - 1
    difference = (without.returns - batch.returns).gather(-1, last[:, None])[:, 0]
    torch.testing.assert_close(difference, 3.0 * (~ended).double())


# ---- whole runs

def test_metrics_of_a_run():
    seen = {}

    def spy(prompts, completions, completion_ids, **columns):
        seen.update(prompts=prompts, lengths=[len(ids) for ids in completion_ids], ids=completion_ids)
        return good_words(completions)

    policy = small()
    run = ppo(policy, [spy, good_words], PROMPTS, replace(SMALL, max_steps=1, reward_weights=(2.0, -1.0)))
    history = run.history
    assert set(history) == METRICS | {"rewards/spy/mean", "rewards/good_words/mean"} and run.steps == 1
    assert history["reward"] == history["rewards/spy/mean"] == history["rewards/good_words/mean"]
    assert history["completions/mean_length"] == [sum(seen["lengths"]) / 6]
    assert history["completions/clipped_ratio"][0] == pytest.approx(sum(2 not in ids for ids in seen["ids"]) / 6)
    assert sorted(seen["prompts"]) == sorted(PROMPTS * 2)
    assert history["num_tokens"] == [sum(seen["lengths"]) + sum(1 + len(prompt.split()) for prompt in seen["prompts"])]
    assert history["kl"][0] == pytest.approx(0, abs=1e-6) and 0 < history["entropy"][0] <= math.log(7)
    assert history["explained_variance"][0] == pytest.approx(0, abs=1e-6)  # the critic says 0 everywhere at first


def test_the_reward_rises_and_the_given_models_stay():
    policy = small()
    critic = ScalarModel.from_causal(policy.model)
    before = [p.clone() for p in (*policy.model.parameters(), *critic.parameters())]
    random_state = torch.manual_seed(4).get_state()
    config = replace(SMALL, max_steps=15, batch_size=64, num_ppo_epochs=2, num_mini_batches=2, learning_rate=3e-3)
    free = ppo(policy, good_words, PROMPTS, replace(config, kl_coef=0.0), critic=critic)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert free.history["reward"][-1] > free.history["reward"][0] + 2
    assert all(torch.equal(a, b) for a, b in zip((*policy.model.parameters(), *critic.parameters()), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(free.ref.model.parameters(), policy.model.parameters(), strict=True))
    # the KL, in the reward or in the loss, keeps the policy near the reference
    for change in ({"kl_coef": 2.0}, {"kl_coef": 0.0, "beta": 2.0}):
        held = ppo(policy, good_words, PROMPTS, replace(config, **change))
        assert held.history["objective/kl"][-1] < 0.3 * free.history["objective/kl"][-1]


def test_the_critic_learns_what_the_prompt_says():
    def first_word(prompts, **columns):
        return [float(prompt.startswith("good")) for prompt in prompts]

    config = replace(SMALL, max_steps=25, batch_size=60, num_ppo_epochs=4, learning_rate=1e-9, critic_learning_rate=1e-2)
    history = ppo(small(), first_word, PROMPTS, config).history
    assert history["explained_variance"][0] == pytest.approx(0, abs=1e-5) and history["explained_variance"][-1] > 0.8


def test_chats_records_and_columns():
    policy, seen = small(), []

    def spy(prompts, completions, level, **columns):
        seen.append((prompts, completions, level))
        return [1.0] * len(prompts)

    chats = [[{"role": "user", "content": "the film"}], [{"role": "user", "content": "bad"}]]
    records = [{"prompt": chat, "level": k} for k, chat in enumerate(chats)]
    runs = [ppo(policy, spy, given, SMALL) for given in (records, {"prompt": chats, "level": [0, 1]})]
    assert runs[0].history == runs[1].history
    for prompts, completions, level in seen:
        assert [chats[k] for k in level] == prompts
        assert all(len(c) == 1 and c[0]["role"] == "assistant" and isinstance(c[0]["content"], str) for c in completions)


def test_every_prompt_comes_once_before_any_comes_again():
    prompts = as_prompts([str(k) for k in range(10)])
    drawn = [text for step in range(5) for text in prompts.draw(6, 1, step).prompts]
    for turn in range(3):
        assert sorted(drawn[10 * turn:10 * turn + 10]) == sorted(prompts.prompts)
    assert drawn[:10] != drawn[10:20]
    assert as_prompts(["a"]).draw(3, 0, 7).prompts == ["a"] * 3


def test_a_bf16_policy_is_trained_on_float32_losses():
    policy = small()
    policy.model.to(torch.bfloat16)
    run = ppo(policy, good_words, PROMPTS, replace(SMALL, learning_rate=1e-2))
    assert all(math.isfinite(x) for name in METRICS for x in run.history[name])
    critic = ScalarModel.from_causal(policy.model)
    samples = experience.sample(policy, [good_words], as_prompts(PROMPTS).draw(6, 0, 0), SMALL, generator())
    batch, _ = experience.judge(samples, run.ref, critic, SMALL, 2)
    assert {x.dtype for x in batch[5:]} == {torch.float32}
    assert any(not torch.equal(a, b) for a, b in zip(policy.model.parameters(), run.policy.model.parameters(), strict=True))


def test_a_policy_is_a_path_away(tmp_path):
    policy = small()
    policy.save(tmp_path / "model")
    path = str(tmp_path / "model")
    assert ppo(path, good_words, PROMPTS, SMALL, ref=path).history == ppo(policy, good_words, PROMPTS, SMALL).history


def test_callback_sees_every_step_and_stops_with_true():
    seen = []

    def watch(run):
        seen.append(run.steps)
        return run.steps == 3

    run = ppo(small(), good_words, PROMPTS, replace(SMALL, max_steps=5), callback=watch)
    assert seen == [1, 2, 3] and run.steps == 3
