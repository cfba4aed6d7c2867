"""Proximal policy optimization of a language model, in one readable loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike

import torch
from torch import Tensor

from rlbook.language import distributed
from rlbook.language.config import PPOConfig
from rlbook.language.experience import Batch, judge, metrics_of, sample
from rlbook.language.policy import Policy
from rlbook.language.prompts import as_prompts, check_lengths
from rlbook.language.result import Result, begin, check_config, continued, resumable
from rlbook.language.rewards import check_functions, check_weights
from rlbook.language.scalar import ScalarModel
from rlbook.language.scoring import token_logprobs
from rlbook.language.updates import check_finite, check_shares, mean_metrics, minibatches
from rlbook.losses import clipped_surrogate, masked_mean, ppo_loss, prob_ratio

UPDATE_METRICS = {"policy_loss": "policy_loss", "value_loss": "value_loss", "entropy": "entropy", "approx_kl": "approx_kl",
                  "clipfrac": "clip_ratio/region_mean", "clip_ratio/low_mean": "clip_ratio/low_mean",
                  "clip_ratio/high_mean": "clip_ratio/high_mean", "grad_norm": "grad_norm"}


def ppo(
    policy: Policy | str | PathLike | None,
    reward_funcs: Callable | ScalarModel | Sequence[Callable | ScalarModel],
    prompts: Sequence | Mapping,
    config: PPOConfig | None = None,
    ref: Policy | str | PathLike | None = None,
    critic: ScalarModel | None = None,
    resume: Result | None = None,
    callback: Callable[[Result], object] | None = None,
) -> Result:
    """Maximise the reward of completions, less the KL to a frozen reference, by PPO on tokens  (eq-ppo-objective).

    The state s_t is the prompt and y_0, ..., y_{t−1}, the action y_t the next token, the reward that of `judge`: the KL's
    share at every token, the score of the whole completion at its last. Each step draws prompts, samples one completion of
    each, scores it, and takes `ppo_step` on it.
    policy: trained as a copy, the given one stays as it is. A path or name is loaded and trained in float32; a Policy in
    bfloat16 is trained in bfloat16, where an update below about 1/256 of a parameter is lost to rounding, as those of small
    learning rates are. ref: the frozen reference, a copy of the policy by default; a path is loaded in the policy's dtype.
    critic: trained as a copy, by default the policy's backbone with a head of zeros. reward_funcs: see
    `rlbook.language.rewards.score`; a completion that none can score changes nothing. prompts: see `as_prompts`.
    callback(result) is called after every step; if it returns True the run stops. With `resume` a copy of that run goes on
    to config.max_steps, bit for bit as if it had never stopped; policy, ref and critic are then those of the run (give
    None), prompts and reward functions the caller's, who gives the same as before: of them only the functions' names are
    checked. No dropout anywhere, so that the first ratio of a step is 1.
    History, one entry per step: reward and reward_std (of scored completions), rewards/<name>/mean; kl (mean
    log π_old/π_ref of a token) and objective/kl (its sum, mean over completions); entropy, policy_loss, value_loss,
    approx_kl, clip_ratio/{region_mean, low_mean, high_mean} and grad_norm (the policy's, before it is clipped), means over
    the step's updates; explained_variance of the critic before them, 0 where all returns are equal;
    completions/{mean_length, clipped_ratio} (share without EOS); num_tokens, of prompts and completions so far.
    Under torchrun it is one run of all processes (`rlbook.language.distributed`): batch_size counts the completions of all,
    each samples, scores and learns from its part; parameters and history are the same on all. Each calls ppo, and save.
    Raises ValueError for prompts as `as_prompts` and `check_lengths` do, a vocabulary that policy, reference, critic and
    reward models do not share, a `resume` with other settings, float16 parameters, and for losses or parameters that are
    not finite after a step, which is then not recorded; RewardError, a ValueError, for rewards as `score` does: its `result`
    is the run up to the last complete step, and `resume=error.result` goes on from there, bit for bit.
    """
    config = check_config(PPOConfig() if config is None else config, PPOConfig)
    functions, prompts = check_functions(reward_funcs), as_prompts(prompts)
    check_weights(functions, config.reward_weights)
    check_shares(config, config.batch_size)
    started = time.perf_counter()
    if resume is None:
        run = begin(policy, config, ref, critic, functions)
    else:
        run = continued(policy, config, ref, critic, functions, resume)
    check_lengths(prompts, run.policy.model, run.policy.tokenizer, config.max_completion_length)
    before = run.seconds
    for step in distributed.progress(range(run.steps, config.max_steps), "ppo"):
        drawn = prompts.draw(config.batch_size, config.seed, step)
        with resumable(run):
            samples = sample(run.policy, functions, drawn, config, run.generator)
        batch, kl = judge(samples, run.ref, run.critic, config, run.policy.tokenizer.eos_token_id)
        learned = ppo_step(run.policy, run.critic, run.optimizer, batch, config, run.generator)
        samples, batch, kl = distributed.gather((samples, batch, kl))  # of all ranks, as is what is recorded
        tokens = int(samples.prompt_mask.sum() + samples.completion_mask.sum())
        metrics = {**metrics_of(samples, batch, kl, run.policy.tokenizer.eos_token_id), **learned,
                   "num_tokens": run.history.get("num_tokens", [0])[-1] + tokens}
        check_finite(run, metrics)
        run.record(metrics)
        run.seconds = before + time.perf_counter() - started
        if distributed.any_rank(callback is not None and callback(run) is True):
            break
    return run


def ppo_step(policy, critic, optimizer, batch, config, generator):
    """Epochs of minibatches on one batch; returns means of the metrics.

    θ, φ ← Adam on  1/|tokens| Σ_t L^clip_t + c_V L^V_t − c_H H_t + β KL_t
    (eq-ppo-objective, with its sign reversed)
    """
    found = []
    for rows in minibatches(batch, config, generator):
        # one divisor for the whole minibatch, however it is split
        tokens = distributed.sum_over_ranks(batch.mask[rows].sum())
        optimizer.zero_grad()
        for part in rows.split(config.micro_batch_size or len(rows)):
            x = batch.rows(part)
            text = x[:4]  # prompts and completions with their masks
            # log π_θ(y_t | s_t) and H[π_θ](s_t), the distribution at
            # the temperature that was sampled at
            logprobs, entropy = token_logprobs(
                policy.model, *text, config.temperature)
            # V_φ(s_t), the state before y_t is chosen
            values = critic.values(*text).to(logprobs.dtype)
            # old_logprobs, advantages, returns and ref_logprobs are
            # constants: they are those of the sampling policy
            loss, terms = ppo_loss(
                logprobs, x.old_logprobs, x.advantages, values,
                x.returns, entropy, x.mask,
                x.ref_logprobs if config.beta else None,
                epsilon=config.epsilon, vf_coef=config.vf_coef,
                ent_coef=config.ent_coef, beta=config.beta, denom=tokens)
            loss.backward()
            terms |= clipped_sides(logprobs, x, config)
            found.append((x.mask.sum().item() / tokens.item(), terms))
        # of all processes, whose rows together are the minibatch
        distributed.add_gradients(
            [*policy.model.parameters(), *critic.parameters()])
        norm = clip_gradients(policy, critic, config.max_grad_norm)
        found.append((1 / distributed.world()[1], {"grad_norm": norm}))
        optimizer.step()
    return means(found)


@torch.no_grad()
def clipped_sides(logprobs: Tensor, x: Batch, config: PPOConfig) -> dict[str, Tensor]:
    """Shares of the tokens without gradient, by side: r_t < 1 − ε with Â_t < 0, and r_t > 1 + ε with Â_t > 0."""
    ratio = prob_ratio(logprobs, x.old_logprobs, mask=x.mask)
    clipped = clipped_surrogate(ratio, x.advantages, config.epsilon)[1]
    return {"clip_ratio/low_mean": masked_mean((clipped & (x.advantages < 0)).to(ratio.dtype), x.mask),
            "clip_ratio/high_mean": masked_mean((clipped & (x.advantages > 0)).to(ratio.dtype), x.mask)}


def clip_gradients(policy: Policy, critic: ScalarModel, most: float) -> Tensor:
    """Shorten each network's gradient to a norm of at most `most`; returns the policy's norm before that."""
    torch.nn.utils.clip_grad_norm_(critic.parameters(), most)
    return torch.nn.utils.clip_grad_norm_(policy.model.parameters(), most)


def means(found: list[tuple[float, dict[str, Tensor]]]) -> dict[str, float]:
    """`mean_metrics` of those of PPO."""
    return mean_metrics(found, UPDATE_METRICS)
