"""Scoring completions: the log-probability and the entropy of every token, through the hidden states."""

import torch
from torch import Tensor, nn

from rlbook.language.model import backbone_and_head, check_prompts, evaluating
from rlbook.tokens import linear_logprobs, position_ids


def token_logprobs(
    model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor,
    temperature: float = 1.0, chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of every token of the completions, and entropy of the distribution it was drawn from, differentiable.

    log π_θ(y_t|x, y_0, ..., y_{t−1}) = z_t[y_t] − log Σ_v e^{z_t[v]},  z_t = (W h_{t−1} + b) / temperature  (eq-log-softmax)

    h_{t−1} is the hidden state at the token before y_t: for t = 0 the prompt's last one. The logits of all positions are never
    held together: hidden states go through `rlbook.tokens.linear_logprobs`, `chunk` tokens at a time.
    The model is scored in eval mode, so that dropout cannot make the first ratio differ from 1, and is left in the mode in
    which it was. (Layers that save memory by recomputing do so in training mode alone, hence not here.)
    Shapes: prompt_ids and attention_mask [B, L], left-padded; completion_ids and completion_mask [B, C], C = T+1, the mask 1
    or True where a token counts. Returns (logprobs, entropy), both [B, C], in float32 for a model of half precision: exactly 0,
    without gradient, where the mask is 0. The mask says what counts, not what is read: a token with mask 0 before one with
    mask 1 is part of its context. What stands after the last token that counts, padding, changes nothing.
    Raises ValueError for shapes that differ, padding elsewhere than on the left, prompts without a token or, with their
    completions, longer than the model takes, a mask that counts nothing, and where linear_logprobs does.
    Tests hold it to the log-probabilities recorded by `generate`, to a table of bigrams, and to itself under more padding.
    """
    _check(model, prompt_ids, attention_mask, completion_ids, completion_mask)
    head = backbone_and_head(model)[1]
    states = hidden_states(model, prompt_ids, attention_mask, completion_ids)
    before, keep = states[:, prompt_ids.shape[1] - 1 : -1], completion_mask != 0
    found = linear_logprobs(before[keep], head.weight, completion_ids[keep], head.bias, temperature, chunk)
    logprobs, entropy = (each.new_zeros(keep.shape).masked_scatter(keep, each) for each in found)
    return logprobs, entropy


def hidden_states(model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor) -> Tensor:
    """The backbone's last hidden states [B, L + C, H] of left-padded prompts and their completions, in eval mode.

    Every token of a completion can be attended to by those after it, padding too, which none that counts comes after.
    """
    real = torch.cat([attention_mask, attention_mask.new_ones(completion_ids.shape)], 1)
    padded = not bool((attention_mask != 0).all())  # without padding the model's own mask and positions are right, and faster
    with evaluating(model):
        out = backbone_and_head(model)[0](
            input_ids=torch.cat([prompt_ids, completion_ids], 1), attention_mask=real if padded else None,
            position_ids=position_ids(real) if padded else None, use_cache=False,
        )
    return out.last_hidden_state


def _check(model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor) -> None:
    """Raise ValueError unless prompts and completions fit each other and the model."""
    if completion_ids.dim() != 2 or completion_ids.shape != completion_mask.shape:
        raise ValueError("completion_ids and completion_mask must both be [B, C], "
                         f"got {tuple(completion_ids.shape)} and {tuple(completion_mask.shape)}")
    if len(completion_ids) != len(prompt_ids):
        raise ValueError(f"every completion needs its prompt, got {len(prompt_ids)} prompts, {len(completion_ids)} completions")
    if not bool((completion_mask != 0).any()):
        raise ValueError(f"completion_mask of shape {tuple(completion_mask.shape)} counts no token: there is nothing to score")
    check_prompts(model, prompt_ids, attention_mask, completion_ids.shape[1])
