"""Completions sampled and scored; and what PPO learns from in one step: these with reference, critic and advantages."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.kl import kl_k1
from rlbook.language.distributed import gather, own_rows
from rlbook.language.policy import Policy
from rlbook.language.prompts import Prompts
from rlbook.language.rewards import Scores, score
from rlbook.language.sampling import generate
from rlbook.language.scalar import ScalarModel
from rlbook.language.scoring import token_logprobs
from rlbook.language.tokenizer import decode, encode_prompts, real_tokens
from rlbook.masked import masked_mean, masked_var, masked_whiten
from rlbook.returns import gae
from rlbook.tokens import shaped_rewards


class Samples(NamedTuple):
    """Completions of one step: tokens [B, L] and [B, C] with their masks, log π_old [B, C], and the scores [B], NaN where
    unscored."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    old_logprobs: Tensor
    scores: Scores


class Batch(NamedTuple):
    """What the update reads, [B, L] for prompts and [B, C] for the rest. mask is 1 at the tokens of scored completions: an
    unscored one counts nowhere."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    mask: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, places: Tensor) -> "Batch":
        """Some of its completions."""
        return Batch(*(values[places.to(values.device)] for values in self))


def sample(
    policy: Policy, reward_funcs: Sequence[Callable], prompts: Prompts, config, generator: torch.Generator,
    num_generations: int = 1,
) -> Samples:
    """num_generations completions of each prompt, neighbouring rows, and their scores. Every prompt is read once."""
    tokenizer = policy.tokenizer
    prompt_ids, prompt_mask = (x.to(policy.device) for x in encode_prompts(tokenizer, prompts.prompts))
    ids, mask, logprobs = generate(policy.model, prompt_ids, prompt_mask, config.max_completion_length, config.temperature,
                                   beside(policy.device, generator), num_generations, tokenizer.eos_token_id,
                                   tokenizer.pad_token_id)
    repeated = prompts.rows([i for i in range(len(prompts.prompts)) for _ in range(num_generations)])
    prompt_ids, prompt_mask = (x.repeat_interleave(num_generations, 0) for x in (prompt_ids, prompt_mask))
    answers = as_answers(repeated.prompts, decode(tokenizer, ids, mask))
    scores = score(reward_funcs, repeated.prompts, answers, real_tokens(ids, mask), repeated.columns, config.reward_weights,
                   real_tokens(prompt_ids, prompt_mask))
    return Samples(prompt_ids, prompt_mask, ids, mask, logprobs, scores)


def beside(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """A generator that can be drawn from where the logits are: the one given, on a CPU; elsewhere a new one seeded from it, so
    that the state of the one given is all that a run has to keep."""
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def as_answers(prompts: list, texts: list[str]) -> list:
    """Completions as reward functions get them: strings, and where the prompt is a chat, a list with one message."""
    return [text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(prompts, texts, strict=True)]


@torch.no_grad()
def judge(samples: Samples, ref: Policy, critic: ScalarModel, config, eos_token_id: int) -> tuple[Batch, Tensor]:
    """Reference, critic, rewards per token and advantages of the samples, all constants; also the KL of each token [B, C].

    r_t = −kl_coef (log π_old(y_t|s_t) − log π_ref(y_t|s_t)) + 1[t = last] · score  (eq-kl-penalty)
    Â_t by gae with V_φ(s_t), the last token terminates; targets of the critic R_t = Â_t + V_φ(s_t)  (eq-gae, eq-critic-loss)
    """
    tokens, mask, logprobs = samples[:4], samples.completion_mask, samples.old_logprobs
    parts = torch.arange(len(mask)).split(config.micro_batch_size or len(mask))
    pieces = [[x[part.to(x.device)] for x in tokens] for part in parts]
    ref_logprobs = torch.cat([token_logprobs(ref.model, *piece, config.temperature)[0] for piece in pieces]).to(logprobs.dtype)
    values = torch.cat([critic.values(*piece) for piece in pieces]).to(logprobs.dtype)
    kl = torch.where(mask.bool(), kl_k1(logprobs, ref_logprobs), 0.0)
    total = samples.scores.total.to(logprobs)
    if config.missing_eos_penalty is not None:
        ended = ((samples.completion_ids == eos_token_id) & mask.bool()).any(-1)
        total = total - config.missing_eos_penalty * (~ended).to(total.dtype)
    learn = mask.bool() & ~total.isnan().unsqueeze(-1)
    advantages, returns = advantages_and_returns(total.nan_to_num(0.0), kl, values, mask, config)
    weights = torch.where(learn, advantages, 0.0)
    if config.whiten_advantages:  # over the tokens of all ranks
        weights = own_rows(masked_whiten(gather(advantages), gather(learn)))[:, :mask.shape[1]]
    return Batch(*tokens, learn, logprobs, ref_logprobs, values, weights, returns), kl


def advantages_and_returns(scores: Tensor, kl: Tensor, values: Tensor, mask: Tensor, config) -> tuple[Tensor, Tensor]:
    """Â_t and R_t = Â_t + V(s_t), both [B, C], 0 where mask is 0, for scores [B] and kl, values [B, C].

    A completion ends at its last token, cut off by max_completion_length or not: there is no state after it.
    """
    rewards = shaped_rewards(scores, kl, mask, config.kl_coef)
    values = torch.where(mask.bool(), values, 0.0)
    # V(s_{t+1}); the last token and the padding after it are terminal
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    terminated = ~torch.nn.functional.pad(mask[:, 1:].bool(), (0, 1))
    advantages = gae(rewards, values, following, terminated, terminated, config.gamma, config.lam)
    return advantages, advantages + values


def explained_variance(batch: Batch) -> Tensor:
    """1 − Var[R_t − V_φ(s_t)] / Var[R_t] over the tokens that count: 0 where the returns are all equal, up to rounding, and
    NaN where no token counts."""
    if not batch.mask.any():
        return torch.tensor(torch.nan)
    spread = masked_var(batch.returns, batch.mask)
    unexplained = masked_var(batch.returns - batch.old_values, batch.mask)
    rounding = 10 * torch.finfo(spread.dtype).eps * batch.returns[batch.mask].abs().max()
    return 1 - unexplained / spread if spread.sqrt() > rounding else torch.zeros(())


def metrics_of(samples: Samples, batch: Batch, kl: Tensor, eos_token_id: int) -> dict[str, float]:
    """What is recorded of a step before the update."""
    total, mask = samples.scores.total, samples.completion_mask.bool()
    scored = ~total.isnan()
    ended = ((samples.completion_ids == eos_token_id) & mask).any(-1)
    found = {
        "reward": total[scored].mean(), "reward_std": masked_var(total, scored).sqrt(), "kl": masked_mean(kl, mask),
        "objective/kl": kl.sum(-1).mean(), "completions/mean_length": mask.sum(-1).double().mean(),
        "completions/clipped_ratio": (~ended).double().mean(), "explained_variance": explained_variance(batch),
        **{f"rewards/{name}/mean": each[~each.isnan()].mean() for name, each in samples.scores.each.items()},
    }
    return {name: value.item() for name, value in found.items()}
