"""The groups that GRPO learns from: what counts in them, equal prompts, and dynamic sampling."""

import math
from dataclasses import replace

import pytest
import torch

from rlbook.language import experience, groups
from rlbook.language.grpo import grpo, grpo_step
from rlbook.language.prompts import as_prompts
from rlbook.language.rewards import RewardError, Scores
from rlbook.language.scoring import token_logprobs
from tests.grpo_cases import (
    END,
    PROMPTS,
    SMALL,
    constant,
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

# ---- groups

@pytest.mark.equation("grpo-advantage")
def test_row_26_equal_prompts_stay_two_groups():
    config = replace(SMALL, batch_size=8)
    policy, samples = small(), sampled(small(), config, prompts=["the"])
    assert len(samples.prompt_ids.unique(dim=0)) == 1
    batch = groups.judge_groups(with_scores(samples, [1, 0, 0, 1, 101, 100, 100, 101]), None, config, END)
    torch.testing.assert_close(batch.advantages[:4], batch.advantages[4:], rtol=1e-4, atol=0)
    assert batch.advantages[:4].abs().min() > 0.8
    run = grpo(policy, good_words, ["the"], config)
    assert run.steps == 2 and run.history["groups_sampled"] == [2, 2]


def test_row_9_an_unscored_completion_counts_nowhere():
    """[1, None, 0, ...] gives the update of [1, 0, ...]."""
    config = replace(SMALL, num_generations=3, batch_size=12)
    policy, _, samples, _ = prepared(config)
    values = [1, None, 0, 0, 2, None, None, 3, 5, 1, 0, None]
    kept = [i for i, value in enumerate(values) if value is not None]
    batch = groups.judge_groups(with_scores(samples, values), None, config, END)
    assert batch.advantages[[1, 5, 6, 11]].eq(0).all() and not batch.mask[[1, 5, 6, 11]].any()
    config = replace(config, num_generations=2, batch_size=8)
    fewer = samples._replace(**{name: getattr(samples, name)[kept] for name in samples._fields[:5]})
    fewer = groups.judge_groups(with_scores(fewer, [values[i] for i in kept]), None, config, END)
    torch.testing.assert_close(batch.advantages[kept], fewer.advantages)
    found = []
    for one in (batch, fewer):
        own = moved(policy, 0.0)
        metrics = grpo_step(own, sgd(own), one, config, generator())
        found.append((parameters(own), metrics))
    for got, wanted in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("scale", "estimator"), [("group", "grpo"), ("batch", "grpo"), ("none", "grpo"), ("group", "rloo")])
def test_row_8_a_shift_of_one_group_changes_no_advantage(scale, estimator):
    config = replace(SMALL, scale_rewards=scale, adv_estimator=estimator)
    samples, values = sampled(small()), [1.0, 0.0, 0.0, 3.0, 2.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    shifted = [value + 64 * (i < 4) for i, value in enumerate(values)]
    first, second = (groups.judge_groups(with_scores(samples, some), None, config, END).advantages for some in (values, shifted))
    assert first[8:].eq(0).all() and second[8:].eq(0).all()
    if scale != "batch":
        torch.testing.assert_close(first, second)
    else:  # the one deviation of the batch has grown
        assert first[:8].sign().equal(second[:8].sign())


def test_when_nothing_is_scored_nothing_is_learned():
    policy = small()
    run = grpo(policy, constant(None), PROMPTS, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(run.policy.model.parameters(), policy.model.parameters(), strict=True))
    assert all(math.isnan(run.history[name][0]) for name in ("reward", "reward_std", "policy_loss", "grad_norm", "entropy"))
    assert run.history["frac_reward_zero_std"] == [1.0, 1.0] and not run.optimizer.state


@pytest.mark.parametrize("change", [{}, {"scale_rewards": "batch"}, {"scale_rewards": "none"}, {"adv_estimator": "rloo"}])
def test_rewards_too_far_apart_stop_the_run_where_it_can_go_on(change):
    """Before the step learns anything: repaired, the run goes on as one that was never stopped."""
    large = 1e20 if change.get("scale_rewards", "group") != "none" and not change.get("adv_estimator") else 3e38
    given, config = {"calls": 0, "bad": True}, replace(SMALL, max_steps=3, **change)

    def rewarder(completions, **columns):
        given["calls"] += 1
        if given["bad"] and given["calls"] == 2:
            return [large if k % 2 else -large for k in range(len(completions))]
        return good_words(completions)

    with pytest.raises(RewardError, match="what has no advantages: rewards must lie .* got rewards from -") as caught:
        grpo(small(), rewarder, PROMPTS, config)
    given["bad"] = False
    assert caught.value.result.steps == 1
    resumed, whole = grpo(None, rewarder, PROMPTS, config, resume=caught.value.result), grpo(small(), good_words, PROMPTS, config)
    assert {k: v for k, v in resumed.history.items() if "/mean" not in k} == {
        k: v for k, v in whole.history.items() if "/mean" not in k}
    assert all(torch.equal(a, b) for a, b in zip(parameters(resumed.policy), parameters(whole.policy), strict=True))


def test_the_spread_is_recorded_of_all_scores_truncated_ones_too():
    config = replace(SMALL, max_steps=1, mask_truncated_completions=True, max_completion_length=1)
    run = grpo(small(), lambda prompts, **columns: [float(k % 2) for k in range(len(prompts))], PROMPTS, config)
    learned = groups.rewards_to_learn(sampled(small(), config), config, END)
    assert learned.isnan().any() and run.history["frac_reward_zero_std"] == [0.0] and run.history["reward"] == [0.5]
    assert run.history["reward_std"][0] == pytest.approx(math.sqrt(1 / 3))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.0])
def test_constant_rewards_change_nothing_momentum_included(value):
    """Row 6: also after steps that have left Adam with moments."""
    policy, given = small(), {"reward": good_words}

    def rewarder(**batch):
        return given["reward"](**batch)

    run = grpo(policy, rewarder, PROMPTS, SMALL)
    assert run.optimizer.state
    given["reward"] = constant(value)
    after = grpo(None, rewarder, PROMPTS, replace(SMALL, max_steps=4), resume=run)
    assert after.history["frac_reward_zero_std"][2:] == [1.0, 1.0]
    assert after.history["reward_std"][2:] == after.history["grad_norm"][2:] == [0.0, 0.0]
    assert after.history["policy_loss"][2:] == [0.0, 0.0] and after.history["entropy"][2] > 0
    for a, b in zip(after.policy.model.parameters(), run.policy.model.parameters(), strict=True):
        assert torch.equal(a, b)
    states = [one.optimizer.state_dict()["state"] for one in (after, run)]
    assert all(torch.equal(states[0][i][name], states[1][i][name]) for i in states[1] for name in states[1][i])
    # a KL or an entropy bonus has a gradient all the same
    moving = grpo(policy, constant(value), PROMPTS, replace(SMALL, ent_coef=0.1))
    assert any(not torch.equal(a, b) for a, b in zip(moving.policy.model.parameters(), policy.model.parameters(), strict=True))


def test_completions_that_do_not_end_count_nowhere():
    config = replace(SMALL, mask_truncated_completions=True)
    samples = sampled(small())
    ended = groups.ended(samples, END)
    assert 0 < ended.sum() < 12
    batch = groups.judge_groups(samples, None, config, END)
    assert batch.mask.any(-1).equal(ended) and batch.advantages[~ended].eq(0).all()
    nothing = grpo(small(), good_words, PROMPTS, replace(config, max_completion_length=1, temperature=0.01))
    assert nothing.history["completions/clipped_ratio"][0] == 1 and nothing.history["reward"][0] >= 0
    assert math.isnan(nothing.history["policy_loss"][0]) and not nothing.optimizer.state


def test_elsewhere_than_on_a_cpu_a_generator_of_the_device_is_seeded_from_the_runs_own(monkeypatch):
    own, made = generator(), torch.Generator
    assert experience.beside(torch.device("cpu"), own) is own
    monkeypatch.setattr(torch, "Generator", lambda device: made())  # stands for one on a GPU
    first, second, again = (experience.beside(torch.device("cuda"), one) for one in (own, own, made().manual_seed(0)))
    draws = [torch.rand(4, generator=one).tolist() for one in (first, second, again)]
    assert draws[0] == draws[2] != draws[1] and first is not own


# ---- dynamic sampling

def hard(prompts, completions, **columns) -> list[float]:
    """Two prompts of three teach nothing; which is a matter of the prompt, and so of the draw."""
    return [0.0 if prompt != "the" else float(len(text.split())) for prompt, text in zip(prompts, completions, strict=True)]


def test_groups_without_a_difference_are_replaced_at_most_so_many_times():
    config, policy = replace(SMALL, dynamic_sampling=3, batch_size=24), small()
    prompts, drawn = as_prompts(PROMPTS), {}
    for attempts in range(4):
        own, calls = generator(1), []

        def draw(attempt, calls=calls):
            calls.append(attempt)
            return prompts.draw(6, 0, 0, attempt)

        drawn[attempts] = groups.sample_groups(policy, [hard], draw, replace(config, dynamic_sampling=attempts), own)
        assert calls == list(range(attempts + 1))
    dead = [groups.zero_std(groups.rewards_to_learn(one.kept, config, END)) for one in drawn.values()]
    assert dead[0].sum() >= 4 and dead[3].sum() < dead[0].sum() and [int(x.sum()) for x in dead] == sorted(
        (int(x.sum()) for x in dead), reverse=True)
    assert [one.groups for one in drawn.values()] == [6 + sum(int(x.sum()) for x in dead[:k]) for k in range(4)]
    first, last = drawn[0].kept, drawn[3].kept
    alive = (~dead[0]).repeat_interleave(4)
    width, length = first.completion_ids.shape[1], first.prompt_ids.shape[1]
    assert torch.equal(last.completion_ids[alive][:, :width], first.completion_ids[alive])
    assert torch.equal(last.prompt_ids[alive][:, -length:], first.prompt_ids[alive])
    assert torch.equal(last.old_logprobs[alive][:, :width], first.old_logprobs[alive])
    # what is kept is consistent: prompts, completions, log-probabilities and scores belong together
    logprobs, _ = token_logprobs(policy.model, *last[:4])
    torch.testing.assert_close(logprobs, last.old_logprobs, rtol=1e-4, atol=1e-5)
    the = (last.prompt_ids == 6).any(-1) & (last.prompt_mask.sum(-1) == 2)
    lengths = (last.completion_mask & (last.completion_ids > END)).sum(-1)  # words
    assert torch.equal(last.scores.total, torch.where(the, lengths, 0).float()) and torch.equal(
        last.scores.each["hard"], last.scores.total)
    assert all(torch.equal(a, b) for a, b in zip(drawn[3].first[:5], first[:5], strict=True))
    assert drawn[3].tokens > drawn[0].tokens == int(first.prompt_mask.sum() + first.completion_mask.sum())


def test_replaced_groups_of_other_lengths():
    samples = sampled(small(), prompts=["the", "bad", "film"])
    others = sampled(small(), replace(SMALL, batch_size=4, max_completion_length=9, temperature=5.0), prompts=["good the bad"])
    rows = torch.arange(4, 8)
    for old, new, places in ((samples, others, rows), (others, samples._replace(**{
            name: getattr(samples, name)[:4] for name in samples._fields[:5]},
            scores=Scores(samples.scores.total[:4], {"good_words": samples.scores.total[:4]})), torch.arange(4))):
        made = groups.replaced(old, places, new, 0)
        assert made.completion_ids.shape == made.completion_mask.shape == made.old_logprobs.shape
        for k, place in enumerate(places.tolist()):
            assert made.completion_ids[place][made.completion_mask[place]].tolist() == new.completion_ids[k][
                new.completion_mask[k]].tolist()
            assert made.prompt_ids[place][made.prompt_mask[place] == 1].tolist() == new.prompt_ids[k][
                new.prompt_mask[k] == 1].tolist()


def test_dynamic_sampling_in_a_run():
    config = replace(SMALL, dynamic_sampling=2, batch_size=24)
    run, plain = (grpo(small(), hard, PROMPTS, one) for one in (config, replace(config, dynamic_sampling=0)))
    assert run.history["reward"][0] == plain.history["reward"][0]  # of the groups drawn first
    assert run.history["frac_reward_zero_std"][0] == plain.history["frac_reward_zero_std"][0] > 0.5
    assert run.history["groups_sampled"][0] > 6 == plain.history["groups_sampled"][0]
    assert run.history["num_tokens"][0] > plain.history["num_tokens"][0]
    assert run.history["grad_norm"][0] != plain.history["grad_norm"][0]
