"""The vanilla policy gradient, the loop that the rest of the book changes one line at a time."""

import time
from contextlib import closing

import numpy as np
from torch import Tensor
from tqdm import tqdm

from rlbook.control.config import VPGConfig
from rlbook.control.critic import critic_step, episode_values
from rlbook.control.result import CRITIC_METRICS, METRICS, Result, check_run, continued, start
from rlbook.control.rollouts import Episodes, collect, make_envs, policy_sizes
from rlbook.control.weights import WEIGHTS, discounted_in_time, scale_to_unit_std
from rlbook.losses import policy_gradient_loss


def vpg(env_id: str, config: VPGConfig | None = None, resume: Result | None = None) -> Result:
    """Maximise J(π_θ) by gradient ascent on sample means.

    ĝ = 1/|D| Σ_{τ∈D} Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t  (eq-gradient-estimate, eq-general-form)
    θ ← θ + α ĝ, each component rescaled by Adam  (eq-gradient-ascent)

    Φ_t is config.weights: R(τ), G_t, G_t − V_φ(s_t) or Â_t. Where it needs a critic, V_φ is fitted after the policy's
    step, so that the weight of an episode does not come from a regression on that episode.
    With `resume`, a copy of that run goes on to config.num_iterations; the result equals an uninterrupted run bit for
    bit, since environments are seeded anew in every iteration. Raises ValueError for an environment that `make_envs`
    refuses, for a `resume` with other settings or a broken history, and for a device that is not there. Metrics of an
    iteration: mean undiscounted return and length of its episodes, the loss, the mean entropy over their steps, the
    steps taken so far, and with a critic its loss and explained variance on episodes that are new to it.
    """
    config = VPGConfig() if config is None else config
    check_run(config, VPGConfig, resume)
    started = time.perf_counter()
    with closing(make_envs(env_id, config.num_envs, config.max_episode_steps)) as envs:
        run = _begin(env_id, config, envs) if resume is None else continued(env_id, config, resume)
        for iteration in tqdm(range(len(run.history["global_step"]), config.num_iterations), desc=f"vpg {env_id}"):
            episodes = collect(envs, run.policy, run.generator, iteration_seed(config.seed, iteration))
            update(run, episodes)
    run.seconds += time.perf_counter() - started
    return run


def update(run: Result, episodes: Episodes) -> None:
    """One iteration's learning, in place: a step of the policy, then the critic's, and the metrics of both."""
    batch = episodes.to(next(run.policy.parameters()).device)
    values = episode_values(run.critic, batch)
    loss, entropy = policy_gradient_step(run.policy, run.optimizer, batch, values, run.config)
    _record(run.history, episodes, loss, entropy)
    if run.critic is not None:
        judged = critic_step(run.critic, run.critic_optimizer, batch, values, run.config)
        for name, value in zip(CRITIC_METRICS, judged, strict=True):
            run.history[name].append(value)


def policy_gradient_step(policy, optimizer, episodes, values, config):
    """One step of gradient ascent on a batch of episodes; returns the loss and the entropy [N, T+1], detached.

    θ ← θ + α ĝ,  ĝ = 1/|D| Σ_{τ∈D} Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t  (eq-gradient-estimate)

    values [N, T+2]: V_φ(s_0), ..., V_φ(s_{T+1}) of the critic, as constants; None for weights that need none.
    """
    # the data set D: N episodes, padded to the longest; mask says which
    # steps happened
    observations, actions, _, _, _, mask = episodes
    # Φ_t, by default R(τ), the same for each step of an episode
    weights = WEIGHTS[config.weights](episodes, values, config)
    # γ^t where Φ_t is discounted from t on (chapter 4); not for R(τ)
    if config.discount_time:
        weights = discounted_in_time(weights, config)
    # a customary rescaling, off by default
    if config.normalize_weights:
        weights = scale_to_unit_std(weights, mask)
    # log π_θ(a_t | s_t), the one thing that is differentiated
    logprobs, entropy = policy.evaluate(observations[:, :-1], actions)
    # -log π_θ(a_t | s_t) Φ_t, summed over t, averaged over D:
    # its gradient is -ĝ
    terms = policy_gradient_loss(logprobs, weights) * mask
    loss = terms.sum() / len(mask)
    optimizer.zero_grad()
    loss.backward()
    # θ ← θ + α ĝ, as Adam averages and rescales it
    optimizer.step()
    return loss.item(), entropy.detach()


def iteration_seed(seed: int, iteration: int) -> int:
    """The environments' seed in one iteration, below 2^31: another for each run and iteration, and no state to save."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0] >> 1)


def _begin(env_id: str, config: VPGConfig, envs) -> Result:
    kind, sizes = policy_sizes(envs)
    if kind != "categorical":
        raise ValueError(f"{env_id} has actions {envs.single_action_space}; vpg is for Discrete ones, ppo for both")
    return start(env_id, config, kind, sizes)


def _record(history: dict, episodes: Episodes, loss: float, entropy: Tensor) -> None:
    mask, steps = episodes.mask, episodes.mask.sum().item()
    values = (episodes.rewards.sum().item() / len(mask), steps / len(mask), loss,
              (entropy.cpu() * mask).sum().item() / steps, steps + (history["global_step"] or [0])[-1])
    for name, value in zip(METRICS, values, strict=True):
        history[name].append(value)
