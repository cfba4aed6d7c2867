"""What GRPO learns from in one step: the completions of each prompt as a group, and how much better than its group each is."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlbook.kl import kl_k1
from rlbook.language.distributed import gather, own_rows
from rlbook.language.experience import Samples, sample
from rlbook.language.policy import Policy
from rlbook.language.prompts import Prompts
from rlbook.language.rewards import RewardError, Scores
from rlbook.language.scoring import token_logprobs
from rlbook.masked import masked_mean, masked_var
from rlbook.returns import group_advantages, rloo_advantages


class GroupBatch(NamedTuple):
    """What the update reads: P prompts [P, L], their B = P·G completions [B, C], the G of a prompt neighbouring rows, with
    advantages [B] and prompt_of [B], the row of each completion's prompt. mask is 1 at the tokens of completions that count;
    ref_logprobs may be None."""

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    prompt_of: Tensor
    mask: Tensor
    old_logprobs: Tensor
    advantages: Tensor
    ref_logprobs: Tensor | None

    def rows(self, places: Tensor) -> "GroupBatch":
        """Some of its completions, with their prompts."""
        places = places.to(self.mask.device)
        own, prompt_of = self.prompt_of[places].unique(return_inverse=True)
        rest = (None if values is None else values[places] for values in self[5:])
        return GroupBatch(self.prompt_ids[own], self.prompt_mask[own], self.completion_ids[places],
                          self.completion_mask[places], prompt_of, *rest)

    def logprobs(self, policy: Policy, temperature: float) -> tuple[Tensor, Tensor]:
        """log π(y_t | s_t) and H[π](s_t), both [B, C], of a policy at a temperature; every prompt is read once."""
        return token_logprobs(policy.model, *self[:4], temperature, prompt_of=self.prompt_of)


class Drawn(NamedTuple):
    """The samples of a step: the first, one group for each prompt drawn; those kept, after dynamic sampling; how many tokens
    and groups were sampled for them, all in all."""

    first: Samples
    kept: Samples
    tokens: int
    groups: int


def sample_groups(
    policy: Policy, reward_funcs: Sequence[Callable], draw: Callable[[int], Prompts], config, generator: torch.Generator
) -> Drawn:
    """One group of completions for each of P prompts, draw(0).

    Dynamic sampling: groups whose rewards are all equal teach nothing, and are replaced, at most config.dynamic_sampling
    times: attempt k = 1, 2, ... samples the prompts that stand in their places in draw(k). What is still equal then stays.
    Source: DAPO (arXiv 2503.14476), section 3.2, which goes on until a batch is full.
    """
    size = config.num_generations
    first = kept = sample(policy, reward_funcs, draw(0), config, generator, size)
    tokens, groups = count_tokens(first), len(first.scores.total) // size
    for attempt in range(1, config.dynamic_sampling + 1):
        rewards = rewards_to_learn(kept, config, policy.tokenizer.eos_token_id)
        equal = zero_std(rewards).nonzero()[:, 0]
        if not len(equal):
            break
        again = sample(policy, reward_funcs, draw(attempt).rows(equal.tolist()), config, generator, size)
        rows = (equal[:, None] * size + torch.arange(size)).flatten()
        kept = replaced(kept, rows, again, policy.tokenizer.pad_token_id)
        tokens, groups = tokens + count_tokens(again), groups + len(equal)
    return Drawn(first, kept, tokens, groups)


def rewards_to_learn(samples: Samples, config, eos_token_id: int) -> Tensor:
    """Rewards [P, G], NaN where a completion does not count: unscored, or, with mask_truncated_completions, without end.

    A group is a row: equal prompts in two rows stay two groups.
    """
    total = samples.scores.total
    if config.mask_truncated_completions:
        total = torch.where(ended(samples, eos_token_id).to(total.device), total, torch.nan)
    return total.view(-1, config.num_generations)


def zero_std(rewards: Tensor) -> Tensor:
    """Which groups of rewards [P, G] hold no two different ones, [P]: NaN does not count."""
    least, most = (rewards.nan_to_num(nan).amin(-1) if sign else rewards.nan_to_num(nan).amax(-1)
                   for nan, sign in ((torch.inf, True), (-torch.inf, False)))
    return ~(least < most)


@torch.no_grad()
def judge_groups(samples: Samples, ref: Policy | None, config, eos_token_id: int) -> GroupBatch:
    """Advantages and reference of the samples, all constants.

    Â_i = (r_i − mean(r)) / (std(r) + 1e-4) of the rewards of a group  (eq-grpo-advantage), or r_i less the mean of the
    others  (eq-rloo), the same at every token of a completion. scale_rewards="batch": std is over all ranks' rewards.
    Raises RewardError for rewards too far apart for that.
    """
    mask, size = samples.completion_mask.bool(), config.num_generations
    rewards = rewards_to_learn(samples, config, eos_token_id)
    advantages = advantages_of(rewards, config)
    learn = mask & ~rewards.view(-1, 1).isnan().to(mask.device)
    prompt_of = torch.arange(len(mask), device=mask.device) // size
    batch = GroupBatch(samples.prompt_ids[::size], samples.prompt_mask[::size], samples.completion_ids, samples.completion_mask,
                       prompt_of, learn, samples.old_logprobs, advantages.view(-1).to(samples.old_logprobs), None)
    if ref is None:
        return batch
    parts = torch.arange(len(mask)).split(config.micro_batch_size or len(mask))
    found = [batch.rows(part).logprobs(ref, config.temperature)[0] for part in parts]
    return batch._replace(ref_logprobs=torch.cat(found).to(batch.old_logprobs.dtype))


def advantages_of(rewards: Tensor, config) -> Tensor:
    """Â_i of the rewards [P, G]; RewardError where these are too far apart."""
    everyones = rewards if config.adv_estimator == "rloo" else gather(rewards)
    try:
        if config.adv_estimator == "rloo":
            return rloo_advantages(rewards)
        return own_rows(group_advantages(everyones, config.scale_rewards))
    except ValueError as error:
        raise RewardError(f"the reward functions gave what has no advantages: {error}") from error


def group_metrics(drawn: Drawn, batch: GroupBatch, config, eos_token_id: int) -> dict[str, float]:
    """What is recorded of a step before the update: of the prompts drawn first, but for the KL, which is of those kept."""
    total, mask = drawn.first.scores.total, drawn.first.completion_mask.bool()
    groups = total.view(-1, config.num_generations)
    scored = ~groups.isnan()
    spread = masked_var(groups, scored, -1).sqrt()[scored.any(-1)]
    found = {
        "reward": groups[scored].mean(), "reward_std": spread.mean(), "frac_reward_zero_std": zero_std(groups).double().mean(),
        "completions/mean_length": mask.sum(-1).double().mean(),
        "completions/clipped_ratio": (~ended(drawn.first, eos_token_id)).double().mean(),
        **{f"rewards/{name}/mean": each[~each.isnan()].mean() for name, each in drawn.first.scores.each.items()},
    }
    if batch.ref_logprobs is not None:
        kl = torch.where(batch.completion_mask.bool(), kl_k1(batch.old_logprobs, batch.ref_logprobs), 0.0)
        found |= {"kl": masked_mean(kl, batch.completion_mask.bool()), "objective/kl": kl.sum(-1).mean()}
    return {name: value.item() for name, value in found.items()} | {"groups_sampled": drawn.groups}


def ended(samples: Samples, eos_token_id: int) -> Tensor:
    """Which completions end with the end-of-sequence token, [B]."""
    return ((samples.completion_ids == eos_token_id) & samples.completion_mask.bool()).any(-1)


def count_tokens(samples: Samples) -> int:
    """Tokens of prompts and completions; the prompt of a group counts once for each completion."""
    return int(samples.prompt_mask.sum() + samples.completion_mask.sum())


def replaced(samples: Samples, rows: Tensor, others: Samples, pad_token_id: int) -> Samples:
    """The samples with these rows replaced by the others, all padded to the longer ones: prompts on the left."""
    made = []
    for name, old, new in zip(Samples._fields[:5], samples[:5], others[:5], strict=True):
        value = pad_token_id if name.endswith("ids") else 0
        width = max(old.shape[1], new.shape[1])
        old, new = (pad(x, (width - x.shape[1], 0) if "prompt" in name else (0, width - x.shape[1]), value=value)
                    for x in (old, new))
        made.append(old.index_copy(0, rows.to(old.device), new))
    total = samples.scores.total.index_copy(0, rows, others.scores.total)
    each = {name: values.index_copy(0, rows, others.scores.each[name]) for name, values in samples.scores.each.items()}
    return Samples(*made, Scores(total, each))
