"""Group relative policy optimization of a language model, in one readable loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike

import torch
from torch import Tensor

from rlbook.language import distributed
from rlbook.language.config import GRPOConfig
from rlbook.language.groups import group_metrics, judge_groups, sample_groups
from rlbook.language.policy import Policy
from rlbook.language.prompts import as_prompts, check_lengths
from rlbook.language.result import Result, begin, check_config, continued, resumable
from rlbook.language.rewards import check_functions, check_weights
from rlbook.language.scalar import ScalarModel
from rlbook.language.updates import check_finite, check_shares, mean_metrics, minibatches
from rlbook.losses import aggregate, grpo_loss
from rlbook.masked import masked_mean

UPDATE_METRICS = {name: name for name in ("policy_loss", "entropy", "approx_kl", "clip_ratio/region_mean", "clip_ratio/low_mean",
                                          "clip_ratio/high_mean", "grad_norm")}


def grpo(
    policy: Policy | str | PathLike | None,
    reward_funcs: Callable | ScalarModel | Sequence[Callable | ScalarModel],
    prompts: Sequence | Mapping,
    config: GRPOConfig | None = None,
    ref: Policy | str | PathLike | None = None,
    resume: Result | None = None,
    callback: Callable[[Result], object] | None = None,
) -> Result:
    """Maximise the reward of completions by GRPO: each is compared with the others of its prompt  (eq-grpo-objective).

    Each step draws P = batch_size / G prompts, samples G = num_generations completions of each, scores them, and takes
    `grpo_step` on all P·G with the advantages of `judge_groups`. There is no critic. policy and ref: as `ppo`; without
    `ref`, a reference is held (a copy of the policy) only if beta is not 0, and kl is recorded only if there is one.
    reward_funcs: see `rlbook.language.rewards.score`; a completion that none can score counts nowhere: not in the mean of
    its group, not in the loss, not in what the loss is divided by. Nor does, with mask_truncated_completions, one that does
    not end; TRL keeps its reward in the group's mean. prompts: see `as_prompts`; equal prompts of a batch stay groups of
    their own.
    The result depends on micro_batch_size, beyond rounding, with loss_type="bnpo" alone: each part is divided by its tokens.
    A minibatch without gradient changes nothing, Adam's moments included: so it is with constant rewards if beta and
    ent_coef are 0. A step in which nothing is scored is recorded with NaN.
    callback(result), resume: as `ppo`; a callback that calls result.save keeps the run, whatever stops it. A resumed run
    with lr_scheduler_type="linear" keeps its max_steps, which the learning rates so far depended on. No dropout anywhere, so
    that the first ratio of a step is 1. An update draws its completions one by one, at random, and takes groups apart: their
    advantages stay.
    History, one entry per step. Of the groups drawn first, before dynamic sampling: reward (of scored completions),
    reward_std (mean of the groups' standard deviations), frac_reward_zero_std (share of groups without two different
    rewards), these three of all scores, before mask_truncated_completions takes any away; rewards/<name>/mean,
    completions/{mean_length, clipped_ratio} (share without EOS). Of what is learned from: kl (mean log π_old/π_ref of a
    token), objective/kl (its sum, mean over completions); entropy, policy_loss, approx_kl, clip_ratio/{region_mean,
    low_mean, high_mean}, means over tokens and the step's updates, and grad_norm (before it is clipped). num_tokens, of all
    prompts and completions so far, and groups_sampled, those of the step, replaced ones too.
    Under torchrun it is one run of all processes, as `ppo`; with sharded=True they divide the parameters among them, too.
    Raises ValueError and RewardError as `ppo` does.
    Source: Shao et al. 2024 (arXiv 2402.03300), algorithm 1, without its outer loop over references.
    """
    config = check_config(GRPOConfig() if config is None else config, GRPOConfig)
    functions, prompts = check_functions(reward_funcs), as_prompts(prompts)
    check_weights(functions, config.reward_weights)
    count = config.batch_size // config.num_generations
    check_shares(config, count)
    started = time.perf_counter()
    if resume is None:
        run = begin(policy, config, ref, None, functions)
    else:
        run = continued(policy, config, ref, None, functions, resume)
    check_lengths(prompts, run.policy.model, run.policy.tokenizer, config.max_completion_length)
    before, end = run.seconds, run.policy.tokenizer.eos_token_id
    for step in distributed.progress(range(run.steps, config.max_steps), "grpo"):
        set_learning_rate(run.optimizer, config, step)
        draw = partial(prompts.draw, count, config.seed, step)
        with resumable(run):
            with resumable(run):  # an error of one process stops all before they exchange rewards
                drawn = sample_groups(run.policy, functions, draw, config, run.generator)
            batch = judge_groups(drawn.kept, run.ref, config, end)
        learned = grpo_step(run.learner, run.optimizer, batch, config, run.generator)
        distributed.copy_parameters(run.policy.model, run.learner.model)  # where these are not the same
        drawn, batch = distributed.gather((drawn, batch))  # of all processes, as is what is recorded
        metrics = {**group_metrics(drawn, batch, config, end), **learned,
                   "num_tokens": run.history.get("num_tokens", [0])[-1] + drawn.tokens}
        check_finite(run, metrics, unscored=not batch.mask.any())
        run.record(metrics)
        run.seconds = before + time.perf_counter() - started
        if distributed.any_rank(callback is not None and callback(run) is True):
            break
    return run


def grpo_step(policy, optimizer, batch, config, generator):
    """Minibatches of one batch of groups; returns means of the metrics.

    θ ← Adam on  1/n Σ_i 1/|o_i| Σ_t (L_{i,t} + β k3_{i,t} − c_H H_{i,t})
    L_{i,t} = −min(r_{i,t} Â_i, clip(r_{i,t}, 1 − ε, 1 + ε) Â_i)
    (eq-grpo-objective, with its sign reversed)
    """
    found, ranks = [], distributed.world()[1]
    for rows in minibatches(batch, config, generator):
        # one divisor for the whole minibatch, however it is split
        tokens, denom = divisors(batch.mask[rows], config)
        optimizer.zero_grad()
        for part in rows.split(config.micro_batch_size or len(rows)):
            x = batch.rows(part)
            # log π_θ(y_t | s_t) and H[π_θ](s_t), the distribution at
            # the temperature that was sampled at
            logprobs, entropy = x.logprobs(policy, config.temperature)
            # old_logprobs, advantages and ref_logprobs are constants:
            # r_{i,t} is 1 at the first update, its gradient is not 0
            loss, terms = grpo_loss(
                logprobs, x.old_logprobs, x.advantages, x.mask,
                x.ref_logprobs if config.beta else None,
                denom=denom, **loss_terms(config))
            if config.ent_coef:
                loss = loss - config.ent_coef * aggregate(
                    entropy, x.mask, config.loss_type, denom)
            if config.loss_type == "bnpo":  # divided part by part
                loss = loss * len(part) / (len(rows) * ranks)
            loss.backward()
            terms["entropy"] = masked_mean(entropy.detach(), x.mask)
            found.append((x.mask.sum().item() / tokens.item(), terms))
        # of all processes, whose rows together are the minibatch
        distributed.add_gradients(policy.model.parameters())
        norm = distributed.whole(torch.nn.utils.clip_grad_norm_(
            policy.model.parameters(), config.max_grad_norm))
        found.append((1 / ranks, {"grad_norm": norm}))
        # Adam's momentum would move θ without a gradient, too
        if norm > 0:
            optimizer.step()
    return mean_metrics(found, UPDATE_METRICS)


def divisors(mask: Tensor, config: GRPOConfig) -> tuple[Tensor, Tensor | None]:
    """Tokens of a minibatch that count, and what its loss is divided by: its completions that count, times the maximum
    length in dr_grpo; its tokens in dapo, all ranks' together; None in bnpo, which is divided by the tokens at hand."""
    tokens, completions = distributed.sum_over_ranks(torch.stack([mask.sum(), mask.any(-1).sum()]))
    by_type = {"grpo": completions, "dr_grpo": completions * config.max_completion_length, "dapo": tokens, "bnpo": None}
    return tokens, by_type[config.loss_type]


def loss_terms(config: GRPOConfig) -> dict:
    """The settings of `grpo_loss`, under its names."""
    names = ("beta", "epsilon", "epsilon_high", "delta", "surrogate", "use_bias_correction_kl")
    same = {name: getattr(config, name) for name in names}
    return {"level": config.importance_sampling_level, "mode": config.loss_type, **same}


def set_learning_rate(optimizer: torch.optim.Optimizer, config: GRPOConfig, step: int) -> None:
    """The learning rate of step 0, 1, ...: constant, or learning_rate · (1 − step / max_steps)."""
    share = 1 - step / config.max_steps if config.lr_scheduler_type == "linear" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = share * config.learning_rate
