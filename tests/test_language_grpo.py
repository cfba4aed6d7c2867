"""GRPO for language models: one update by hand, micro-batches, and what whole runs record and learn."""

import inspect
import math
from dataclasses import replace

import pytest
import torch

from rlbook.language import groups
from rlbook.language.grpo import grpo, grpo_step
from rlbook.language.model import backbone_and_head
from rlbook.language.policy import Policy
from rlbook.language.scoring import token_logprobs
from tests.grpo_cases import (
    END,
    METRICS,
    PROMPTS,
    SMALL,
    generator,
    good_words,
    moved,
    parameters,
    prepared,
    sampled,
    sgd,
    small,
    with_scores,
)

# ---- one update

@pytest.mark.equation("grpo-objective")
@pytest.mark.parametrize(
    "change", [{}, {"loss_type": "dr_grpo", "scale_rewards": "none"}, {"loss_type": "dapo", "epsilon_high": 0.5, "delta": 1.6},
               {"importance_sampling_level": "sequence", "epsilon": 0.05}, {"use_bias_correction_kl": True},
               {"adv_estimator": "rloo", "scale_rewards": "batch"}, {"surrogate": "cispo", "loss_type": "dapo"},
               {"mask_truncated_completions": True, "scale_rewards": "batch"}])
def test_one_update_by_hand(change):
    """The objective from its definition, token by token, on full log-softmaxes; a step of SGD shows the gradient."""
    config = replace(SMALL, beta=0.3, ent_coef=0.02, temperature=1.3, max_grad_norm=math.inf, **change)
    policy, ref, samples, batch = prepared(config)
    current = moved(policy, 10.0)  # not the sampling policy, so that ratios are not 1
    rewards, mask = samples.scores.total.clone(), samples.completion_mask.bool()
    ended = [END in row[keep].tolist() for row, keep in zip(samples.completion_ids, mask, strict=True)]
    assert 0 < sum(ended) < 12 and not mask.all()
    if config.mask_truncated_completions:
        rewards[~torch.tensor(ended)] = math.nan
    total, clipped, tokens, completions = 0.0, 0, 0, 0
    for i in range(12):
        if rewards[i].isnan():
            continue
        group = [reward.item() for reward in rewards[i // 4 * 4: i // 4 * 4 + 4] if not reward.isnan()]
        everyone = rewards[~rewards.isnan()]
        mean = sum(group) / len(group)
        if config.adv_estimator == "rloo":
            advantage = (rewards[i].item() - mean) * len(group) / max(len(group) - 1, 1)
        else:
            of_group = torch.tensor(group).std() if len(group) > 1 else 1.0
            std = {"group": of_group, "batch": everyone.std(), "none": 1.0}[config.scale_rewards]
            advantage = (rewards[i].item() - mean) / (float(std) + (0 if config.scale_rewards == "none" else 1e-4))
            advantage = 0.0 if len(set(group)) < 2 else advantage
        row = torch.cat([samples.prompt_ids[i][samples.prompt_mask[i] == 1], samples.completion_ids[i]])[None]
        start = int(samples.prompt_mask[i].sum()) - 1
        logp, ref_logp = ((one.model(row).logits[0, start:-1] / 1.3).log_softmax(-1) for one in (current, ref))
        length, of_row = int(mask[i].sum()), 0.0
        taken = range(length)
        new = torch.stack([logp[t, samples.completion_ids[i, t]] for t in taken])
        log_ratio = new - samples.old_logprobs[i, :length]
        for t in taken:
            ratio = (log_ratio.mean() if config.importance_sampling_level == "sequence" else log_ratio[t]).exp()
            high = 1 + (config.epsilon_high or config.epsilon)
            cut = ratio.clamp(1 - config.epsilon, high)
            if config.surrogate == "cispo":
                surrogate = cut.detach() * advantage * new[t]
                clipped += int(cut != ratio)
            else:
                capped = ratio if config.delta is None else ratio.clamp(max=config.delta)
                surrogate = torch.min(capped * advantage, cut * advantage)
                clipped += int(advantage > 0 and ratio > high or advantage < 0 and ratio < 1 - config.epsilon
                               or config.delta is not None and advantage < 0 and ratio > config.delta)
            frozen = ref_logp[t, samples.completion_ids[i, t]].detach()
            k3 = (frozen - new[t]).exp() - 1 - (frozen - new[t])
            k3 = k3 * (log_ratio[t].exp() if config.use_bias_correction_kl else 1)
            entropy = -(logp[t].exp() * logp[t]).sum()
            of_row = of_row + surrogate - 0.3 * k3 + 0.02 * entropy
        total = total + (of_row / length if config.loss_type == "grpo" else of_row)
        tokens, completions = tokens + length, completions + 1
    divisor = {"grpo": completions, "dr_grpo": 5 * completions, "dapo": tokens}[config.loss_type]
    own = list(current.model.parameters())
    expected = [p + g for p, g in zip(own, torch.autograd.grad(total / divisor, own), strict=True)]  # ascent
    found = grpo_step(current, sgd(current), batch, config, generator())
    for got, wanted in zip(own, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-8)  # advantages are of float32 rewards
    assert clipped > 0 and found["clip_ratio/region_mean"] == pytest.approx(clipped / tokens)
    assert found["clip_ratio/low_mean"] + found["clip_ratio/high_mean"] == pytest.approx(found["clip_ratio/region_mean"])


def with_wide_norms(policy: Policy) -> Policy:
    """The policy with norms in float64: Qwen2's own compute in float32, so that a sum of gradients would depend on its parts."""
    for module in policy.model.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "Qwen2RMSNorm":
                norm = torch.nn.RMSNorm(child.weight.shape, child.variance_epsilon, dtype=torch.float64)
                norm.weight = child.weight
                setattr(module, name, norm)
    return policy


def steps(size: int | None, loss_type: str, dtype=torch.float64):
    config = replace(SMALL, num_mini_batches=2, num_iterations=2, beta=0.1, ent_coef=0.01, max_grad_norm=0.5,
                     loss_type=loss_type, micro_batch_size=size)
    policy, ref, samples, _ = prepared(config, dtype)
    batch = groups.judge_groups(with_scores(samples, [None, 1, 0, 1, 2, 0, 0, None, 1, 1, 1, 0]), ref, config, END)
    found = grpo_step(with_wide_norms(policy), sgd(policy), batch, config, generator())
    return parameters(policy), found


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
def test_row_10_micro_batches_change_nothing(loss_type):
    wanted, metrics = steps(None, loss_type)
    for size in (1, 2, 3, 4, 100):
        got, found = steps(size, loss_type)
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
        assert found == pytest.approx(metrics, rel=1e-9, abs=1e-12)


def test_row_10_bnpo_depends_on_them():
    wanted, parts = (steps(size, "bnpo")[0] for size in (None, 2))
    assert max((a - b).abs().max().item() for a, b in zip(wanted, parts, strict=True)) > 1e-4
    whole = steps(None, "dapo")[0]  # in one piece it is dapo
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(wanted, whole, strict=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_rows_12_and_13_the_first_ratio_is_1(temperature):
    """Scored under the distribution that was sampled from, without dropout in either."""
    config = replace(SMALL, temperature=temperature)
    policy, _, _, batch = prepared(config, torch.float32, dropout=0.5)
    policy.model.train()
    logprobs, _ = batch.logprobs(policy, temperature)
    assert ((logprobs - batch.old_logprobs).exp() - 1)[batch.mask].abs().max() < 1e-5
    found = grpo_step(policy, sgd(policy), batch, config, generator())
    assert found["approx_kl"] < 1e-9 and found["clip_ratio/region_mean"] == 0
    assert policy.model.training


@pytest.mark.equation("grpo-first-step")
def test_row_20_the_first_loss_is_0_and_it_learns():
    """Completions of equal lengths, ratio 1, beta = 0: value 0, and the gradient is that of Σ Â log π."""
    config = replace(SMALL, max_completion_length=1, max_grad_norm=math.inf)
    policy, _, samples, _ = prepared(config)
    batch = groups.judge_groups(with_scores(samples, [1, 0, 0, 1, 2, 0, 0, 3, 1, 1, 1, 0]), None, config, END)
    logprobs = token_logprobs(policy.model, *samples[:4])[0]
    wanted = torch.autograd.grad((batch.advantages[:, None] * logprobs).mean(), list(policy.model.parameters()))
    before = parameters(policy)
    found = grpo_step(policy, sgd(policy), batch, config, generator())
    assert found["policy_loss"] == pytest.approx(0, abs=1e-6) and found["grad_norm"] > 0.1
    for old, new, gradient in zip(before, policy.model.parameters(), wanted, strict=True):
        torch.testing.assert_close(new - old, gradient, rtol=1e-6, atol=1e-8)


def test_gradients_are_cut():
    policy, _, _, batch = prepared()
    before = parameters(policy)
    found = grpo_step(policy, sgd(policy), batch, replace(SMALL, max_grad_norm=1e-3), generator())
    step = sum((a - b).square().sum() for a, b in zip(before, policy.model.parameters(), strict=True)).sqrt()
    assert step.item() == pytest.approx(1e-3, rel=1e-2) and found["grad_norm"] > 0.01


def test_the_step_is_printable():
    lines = inspect.getsource(grpo_step).splitlines()
    assert len(lines) <= 45 and max(map(len, lines)) <= 76


def test_the_updates_of_a_step():
    """num_iterations passes of num_mini_batches minibatches, which hold every completion once a pass."""
    config = replace(SMALL, num_iterations=3, num_mini_batches=2)
    policy, _, _, batch = prepared(config)
    seen, taken = [], []

    class Spy(torch.optim.SGD):
        def step(self):
            taken.append(1)

    class Watched(groups.GroupBatch):
        def rows(self, places):
            seen.append(places.tolist())
            return groups.GroupBatch.rows(self, places)

    found = grpo_step(policy, Spy(policy.model.parameters(), lr=1.0), Watched(*batch), config, generator())
    assert len(taken) == 6 and {len(rows) for rows in seen} == {6} and found["approx_kl"] < 1e-9
    for k in range(3):
        assert sorted(seen[2 * k] + seen[2 * k + 1]) == list(range(12))
    assert seen[:2] != seen[2:4]


def test_every_prompt_is_read_once_by_sampling_and_by_each_update():
    policy, lengths = small(), []
    config = replace(SMALL, batch_size=24, num_generations=8)
    run = grpo(policy, good_words, ["the film"], replace(config, max_steps=0))
    embeddings = run.policy.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, given, out: lengths.append(tuple(given[0].shape)))
    batch = groups.judge_groups(sampled(run.policy, config, prompts=["the film"]), None, config, END)
    width = batch.completion_ids.shape[1]
    assert lengths == [(3, 3)] + [(24, 1)] * (width - 1)
    lengths.clear()
    grpo_step(run.policy, run.optimizer, batch, config, generator())
    assert lengths == [(3, 3), (24, width - 1)]


# ---- whole runs

def test_metrics_of_a_run():
    seen = {}

    def spy(prompts, completions, completion_ids, **columns):
        seen.update(prompts=prompts, lengths=[len(ids) for ids in completion_ids], ids=completion_ids,
                    rewards=torch.tensor(good_words(completions)).view(3, 4))
        return good_words(completions)

    run = grpo(small(), [spy, good_words], PROMPTS, replace(SMALL, max_steps=1, reward_weights=(2.0, -1.0)))
    history = run.history
    assert set(history) == METRICS | {"rewards/spy/mean", "rewards/good_words/mean"} and run.steps == 1
    assert history["reward"] == history["rewards/spy/mean"] == history["rewards/good_words/mean"]
    assert history["reward"][0] == pytest.approx(seen["rewards"].mean().item())
    assert history["reward_std"][0] == pytest.approx(seen["rewards"].std(-1).mean().item())
    assert history["frac_reward_zero_std"][0] == pytest.approx((seen["rewards"].std(-1) == 0).double().mean().item())
    assert history["completions/mean_length"] == [sum(seen["lengths"]) / 12]
    assert history["completions/clipped_ratio"][0] == pytest.approx(sum(END not in ids for ids in seen["ids"]) / 12)
    assert sorted(seen["prompts"]) == sorted(PROMPTS * 4) and seen["prompts"][:4] == [seen["prompts"][0]] * 4
    assert history["num_tokens"] == [sum(seen["lengths"]) + sum(1 + len(prompt.split()) for prompt in seen["prompts"])]
    assert history["groups_sampled"] == [3] and 0 < history["entropy"][0] <= math.log(7)


def test_a_reference_is_held_only_if_it_is_given_or_counts():
    assert grpo(small(), good_words, PROMPTS, SMALL).ref is None
    given = grpo(small(), good_words, PROMPTS, SMALL, ref=moved(small()))
    assert set(given.history) == METRICS | {"rewards/good_words/mean", "kl", "objective/kl"} and given.history["kl"][0] > 1e-4
    counts = grpo(small(), good_words, PROMPTS, replace(SMALL, beta=0.1))
    assert counts.history["kl"][0] == pytest.approx(0, abs=1e-6) and counts.history["kl"][1] != counts.history["kl"][0]
    assert all(torch.equal(a, b) for a, b in zip(counts.ref.model.parameters(), small().model.parameters(), strict=True))
    assert given.history["grad_norm"] == grpo(small(), good_words, PROMPTS, SMALL).history["grad_norm"]  # beta = 0


def test_the_reward_rises_and_the_given_models_stay():
    policy = small()
    before = parameters(policy)
    random_state = torch.manual_seed(4).get_state()
    config = replace(SMALL, max_steps=15, batch_size=64, num_generations=8, num_mini_batches=2, learning_rate=3e-3)
    free = grpo(policy, good_words, PROMPTS, config, ref=policy)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert free.history["reward"][-1] > free.history["reward"][0] + 1.5
    assert all(torch.equal(a, b) for a, b in zip(policy.model.parameters(), before, strict=True))
    held = grpo(policy, good_words, PROMPTS, replace(config, beta=2.0))
    assert held.history["objective/kl"][-1] < 0.3 * free.history["objective/kl"][-1]
    random = grpo(policy, good_words, PROMPTS, replace(config, ent_coef=1.0), ref=policy)
    assert random.history["entropy"][-1] > free.history["entropy"][-1] + 0.2
    for change in ({"loss_type": "dr_grpo", "scale_rewards": "none"}, {"loss_type": "dapo", "epsilon_high": 0.28},
                   {"adv_estimator": "rloo"}, {"importance_sampling_level": "sequence"}, {"surrogate": "cispo"}):
        other = grpo(policy, good_words, PROMPTS, replace(config, **change))
        assert other.history["reward"][-1] > other.history["reward"][0] + 1


def test_the_learning_rate_falls_to_0():
    seen = []
    config = replace(SMALL, max_steps=4, lr_scheduler_type="linear", learning_rate=4e-3)
    grpo(small(), good_words, PROMPTS, config, callback=lambda run: seen.append(run.optimizer.param_groups[0]["lr"]))
    assert seen == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3])
    seen.clear()
    grpo(small(), good_words, PROMPTS, replace(config, lr_scheduler_type="constant"),
         callback=lambda run: seen.append(run.optimizer.param_groups[0]["lr"]))
    assert seen == [4e-3] * 4


def test_chats_records_and_columns():
    seen = []

    def spy(prompts, completions, level, **columns):
        seen.append((prompts, completions, level))
        return [float(len(c[0]["content"])) for c in completions]

    chats = [[{"role": "user", "content": "the film"}], [{"role": "user", "content": "bad"}]]
    records = [{"prompt": chat, "level": k} for k, chat in enumerate(chats)]
    runs = [grpo(small(), spy, given, SMALL) for given in (records, {"prompt": chats, "level": [0, 1]})]
    assert runs[0].history == runs[1].history
    for prompts, completions, level in seen:
        assert [chats[k] for k in level] == prompts
        assert all(len(c) == 1 and c[0]["role"] == "assistant" and isinstance(c[0]["content"], str) for c in completions)


def test_a_bf16_policy_is_trained_on_float32_losses():
    policy = small()
    policy.model.to(torch.bfloat16)
    run = grpo(policy, good_words, PROMPTS, replace(SMALL, learning_rate=1e-2, beta=0.1))
    assert all(math.isfinite(x) for name in METRICS for x in run.history[name])
    batch = groups.judge_groups(sampled(policy), run.ref, SMALL, END)
    assert {x.dtype for x in batch[6:]} == {torch.float32}
    assert any(not torch.equal(a, b) for a, b in zip(policy.model.parameters(), run.policy.model.parameters(), strict=True))


def test_a_head_of_its_own_is_trained_too():
    policy = small(tie_word_embeddings=False)
    run = grpo(policy, good_words, PROMPTS, SMALL)
    assert not torch.equal(backbone_and_head(run.policy.model)[1].weight, backbone_and_head(policy.model)[1].weight)


def test_a_policy_is_a_path_away(tmp_path):
    policy = small()
    policy.save(tmp_path / "model")
    path = str(tmp_path / "model")
    config = replace(SMALL, beta=0.1)
    assert grpo(path, good_words, PROMPTS, config, ref=path).history == grpo(policy, good_words, PROMPTS, config).history


def test_callback_sees_every_step_and_stops_with_true():
    seen = []

    def watch(run):
        seen.append(run.steps)
        return run.steps == 3

    run = grpo(small(), good_words, PROMPTS, replace(SMALL, max_steps=5), callback=watch)
    assert seen == [1, 2, 3] and run.steps == 3
