"""Proximal policy optimization: the loop of the vanilla policy gradient, with several steps on every batch."""

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rlbook.control.config import PPOConfig
from rlbook.control.critic import explained_variance
from rlbook.control.result import PPO_METRICS, Result, check_run, continued, start
from rlbook.control.rollouts import make_envs, policy_sizes
from rlbook.control.segments import Segment, collect_segment
from rlbook.control.vpg import iteration_seed
from rlbook.losses import masked_whiten, ppo_loss
from rlbook.returns import gae


class Steps(NamedTuple):
    """B steps in any order, each with what was known when its action was drawn; all but the first two are float32 [B].

    observations [B, D]; actions [B] int64 or [B, A] float32; old_logprobs = log π_old(a_t|s_t); old_values = V_old(s_t);
    advantages Â_t; returns = Â_t + V_old(s_t), what the critic is fitted to.
    """

    observations: Tensor
    actions: Tensor
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor

    def at(self, chosen: Tensor) -> "Steps":
        """Some of the steps, by index or by mask."""
        return Steps(*(field[chosen] for field in self))


def ppo(
    env_id: str,
    config: PPOConfig | None = None,
    resume: Result | None = None,
    callback: Callable[[Result], bool | None] | None = None,
) -> Result:
    """Maximise the clipped surrogate of J(π_θ) on segments of N environments, in several epochs of minibatches each.

    L(θ, φ) = mean_t [ min(r_t Â_t, clip(r_t, 1 − ε, 1 + ε) Â_t) + c_H H[π_θ](s_t) − c_V 1/2 (V_φ(s_t) − R_t)² ]
    r_t = π_θ(a_t|s_t) / π_old(a_t|s_t)  (eq-ratio, eq-clipped-surrogate, eq-ppo-objective)

    The policy is categorical for Discrete actions and Gaussian for a Box. After each iteration `callback` is given the
    run so far, which it may save; if it returns True, the run stops there. An exception, Ctrl-C included, passes through:
    what remains is what the callback saved.
    With `resume`, a copy of that run goes on. A run stopped after any iteration and resumed with the same settings
    equals one that never stopped, bit for bit; its environments are brought back by `Record.replay`. Another
    total_timesteps is allowed: the run ends later, and anneal_lr then falls to 0 over the new budget.
    Raises ValueError for an environment that `make_envs` refuses or whose rewards or observations are not finite, for a
    `resume` with other settings or a broken history, for losses that are not finite, and for a device that is not there.
    """
    config = PPOConfig() if config is None else config
    check_run(config, PPOConfig, resume)
    started = time.perf_counter()
    with closing(make_envs(env_id, config.num_envs, config.max_episode_steps)) as envs:
        run = start(env_id, config, *policy_sizes(envs)) if resume is None else continued(env_id, config, resume)
        position = run.record.replay(envs, iteration_seed(config.seed, 0))
        started -= run.seconds
        for _ in tqdm(range(len(run.history["global_step"]), config.num_iterations), desc=f"ppo {env_id}"):
            segment, position = collect_segment(envs, run.policy, run.generator, position, config.num_steps)
            ended = run.record.add(segment, position)
            update(run, segment, ended)
            run.seconds = time.perf_counter() - started
            if callback is not None and callback(run):
                break
    return run


def update(run: Result, segment: Segment, ended: slice) -> None:
    """One iteration's learning, in place: advantages, then update_epochs times over the steps, and the metrics."""
    config, iteration = run.config, len(run.history["global_step"])
    if config.anneal_lr:
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - iteration / config.num_iterations)
    steps = assess(run, segment)
    metrics = learn(run, steps)
    # from the next segment on: what drew the actions also scores them
    if config.norm_obs:
        run.policy.moments.update(segment.observations[segment.valid])
    _record(run, steps, metrics, ended)


@torch.no_grad()
def assess(run: Result, segment: Segment) -> Steps:
    """The steps of a segment that happened, with Â_t, what the critic is to learn, and log π_old(a_t|s_t)."""
    config, policy, critic = run.config, run.policy, run.critic
    if config.norm_reward:
        ended = segment.terminated | segment.truncated
        rewards = run.reward_scale.scaled(segment.rewards, ended, segment.valid)
        segment = segment._replace(rewards=rewards)
    segment = segment.to(next(policy.parameters()).device)
    observations, actions = segment.observations, segment.actions
    # V_φ(s_0), ..., V_φ(s_{T+1}): where a step leads to, the next begins
    last = segment.next_observations[:, -1:]
    values = critic(torch.cat([observations, last], dim=1))
    values, next_values = values[:, :-1], values[:, 1:]
    # Â_t: a terminated end is worth 0, a truncated one V_φ(s_{t+1})
    advantages = gae(segment.rewards, values, next_values,
                     segment.terminated, segment.truncated,
                     config.gamma, config.gae_lambda)
    logprobs, _ = policy.evaluate(observations, actions)
    # R_t, the λ-return
    returns = advantages + values
    steps = Steps(observations, actions, logprobs, values, advantages, returns)
    return steps.at(segment.valid)


def learn(run: Result, steps: Steps) -> list[dict[str, Tensor]]:
    """update_epochs times over all steps, shuffled and cut into num_minibatches parts; the metrics of every part.

    After an epoch whose mean approx_kl exceeds target_kl, the rest is left out.
    """
    config, metrics, number = run.config, [], len(steps.advantages)
    if number == 0:
        return metrics
    limit = math.inf if config.target_kl is None else config.target_kl
    for _ in range(config.update_epochs):
        shuffled = torch.randperm(number, generator=run.generator)
        epoch = [
            ppo_step(run.policy, run.critic, run.optimizer, steps.at(part), config)
            for part in shuffled.chunk(config.num_minibatches)
        ]
        metrics += epoch
        if limit < math.inf and _mean(epoch, "approx_kl") > limit:
            break
    return metrics


def ppo_step(policy, critic, optimizer, steps, config):
    """One step of gradient ascent on a minibatch; returns its metrics.

    θ, φ ← θ, φ + α ∇ L(θ, φ)  (eq-ppo-objective)

    steps: B of them; log π_old(a_t|s_t), Â_t and R_t are constants.
    """
    # B steps from anywhere in the segment, none made up
    observations, actions = steps.observations, steps.actions
    advantages, returns = steps.advantages, steps.returns
    # Â_t, centred and divided by their deviation in the minibatch
    if config.norm_adv:
        everything = torch.ones_like(advantages, dtype=torch.bool)
        advantages = masked_whiten(advantages, everything)
    # log π_θ(a_t | s_t), H[π_θ](s_t) and V_φ(s_t): what is differentiated
    logprobs, entropy = policy.evaluate(observations, actions)
    values = critic(observations)
    # -L(θ, φ), averaged over the steps
    vf_clip = config.clip_coef if config.clip_vloss else None
    loss, metrics = ppo_loss(
        logprobs, steps.old_logprobs, advantages, values, returns, entropy,
        epsilon=config.clip_coef, vf_coef=config.vf_coef,
        ent_coef=config.ent_coef,
        old_values=steps.old_values, vf_clip=vf_clip,
    )
    optimizer.zero_grad()
    loss.backward()
    # no gradient longer than max_grad_norm
    parameters = optimizer.param_groups[0]["params"]
    nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    # θ, φ ← θ, φ + α ∇ L, as Adam averages and rescales it
    optimizer.step()
    # the largest r_t(θ): without the clip, what goes first
    log_ratio = logprobs.detach() - steps.old_logprobs
    return metrics | {"max_ratio": log_ratio.max().exp()}


def _mean(metrics: list[dict[str, Tensor]], name: str) -> float:
    return torch.stack([values[name] for values in metrics]).mean().item()


def _record(run: Result, steps: Steps, metrics: list[dict[str, Tensor]], ended: slice) -> None:
    """One entry of every metric; NaN where there is nothing to average: no episode ended, or no step happened."""
    episodes, history = run.episodes, run.history
    means = {f"losses/{name}": _mean(metrics, name) for name in (metrics[0] if metrics else ())}
    if metrics:
        means["losses/max_ratio"] = torch.stack([values["max_ratio"] for values in metrics]).max().item()
        means["losses/explained_variance"] = explained_variance(steps.old_values, steps.returns)
    if ended.start < ended.stop:
        means["charts/episodic_return"] = float(np.mean(episodes["return"][ended]))
        means["charts/episodic_length"] = float(np.mean(episodes["length"][ended]))
    means |= {"global_step": run.record.global_step, "learning_rate": run.optimizer.param_groups[0]["lr"]}
    if not all(math.isfinite(value) for name, value in means.items() if name != "losses/max_ratio"):
        raise ValueError(f"the losses are not finite in iteration {len(history['global_step']) + 1}: {means}; a smaller "
                         "learning_rate, clip_coef or max_grad_norm keeps the parameters from growing without limit")
    for name in PPO_METRICS:
        history[name].append(means.get(name, math.nan))
