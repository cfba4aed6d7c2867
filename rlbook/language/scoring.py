"""Scoring completions: the log-probability and the entropy of every token, through the hidden states."""

import torch
from torch import Tensor, nn

from rlbook.language.checkpointing import recomputes_layers
from rlbook.language.model import backbone_and_head, check_prompts, evaluating
from rlbook.tokens import linear_logprobs, position_ids


def token_logprobs(
    model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor,
    temperature: float = 1.0, chunk: int | None = None, prompt_of: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of every token of the completions, and entropy of the distribution it was drawn from, differentiable.

    log π_θ(y_t|x, y_0, ..., y_{t−1}) = z_t[y_t] − log Σ_v e^{z_t[v]},  z_t = (W h_{t−1} + b) / temperature  (eq-log-softmax)

    h_{t−1} is the hidden state at the token before y_t: for t = 0 the prompt's last one. The logits of all positions are never
    held together: hidden states go through `rlbook.tokens.linear_logprobs`, `chunk` tokens at a time.
    The model is scored in eval mode, so that dropout cannot make the first ratio differ from 1, and is left in the mode in
    which it was. (Layers that save memory by recomputing do so in training mode alone, hence not here.)
    Shapes: prompt_ids and attention_mask [B, L], left-padded; completion_ids and completion_mask [B, C], C = T+1, the mask 1
    or True where a token counts. With prompt_of [B], rows of the prompts, these are [P, L] and every one is read once, however
    many completions continue it: completion i has prompt prompt_of[i]. (Not where `recompute_layers` acts.)
    Returns (logprobs, entropy), both [B, C], in float32 for a model of half precision: exactly 0, without gradient, where the
    mask is 0. The mask says what counts, not what is read: a token with mask 0 before one with
    mask 1 is part of its context. What stands after the last token that counts, padding, changes nothing.
    Raises ValueError for shapes that differ, padding elsewhere than on the left, prompts without a token or, with their
    completions, longer than the model takes, a mask that counts nothing, a prompt_of that names other rows than there are,
    and where linear_logprobs does.
    Tests hold it to the log-probabilities recorded by `generate`, to a table of bigrams, to itself under more padding and, with
    prompt_of, to every prompt read anew, gradients included.
    """
    if isinstance(model, Scorer):
        return model(prompt_ids, attention_mask, completion_ids, completion_mask, temperature, chunk, prompt_of)
    _check(model, prompt_ids, attention_mask, completion_ids, completion_mask, prompt_of)
    head, keep = backbone_and_head(model)[1], completion_mask != 0
    if prompt_of is not None and recomputes_layers(model):  # a layer that is computed again would fill the cache again
        prompt_ids, attention_mask, prompt_of = prompt_ids[prompt_of], attention_mask[prompt_of], None
    if prompt_of is None:
        before = hidden_states(model, prompt_ids, attention_mask, completion_ids)[:, prompt_ids.shape[1] - 1 : -1]
    else:
        before = states_of_groups(model, prompt_ids, attention_mask, completion_ids, prompt_of)
    found = linear_logprobs(before[keep], head.weight, completion_ids[keep], head.bias, temperature, chunk)
    logprobs, entropy = (each.new_zeros(keep.shape).masked_scatter(keep, each) for each in found)
    return logprobs, entropy


class Scorer(nn.Module):
    """A model as a module whose call is `token_logprobs`: for what acts on calls, such as gathering parameters that processes
    share (`rlbook.language.distributed`), since scoring calls the backbone and reads the head, but never calls the model.

    All processes must run the layers equally often. Completions of one token, which are read in one pass less than others where
    prompts are shared, get a second column that does not count. What is returned is no view, of which sharding warns.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor, *options):
        """(logprobs, entropy), see `token_logprobs`."""
        if completion_ids.shape[1] > 1:
            return token_logprobs(self.model, prompt_ids, attention_mask, completion_ids, completion_mask, *options)
        wider = (nn.functional.pad(x, (0, 1)) for x in (completion_ids, completion_mask))
        return tuple(x[:, :1].clone() for x in token_logprobs(self.model, prompt_ids, attention_mask, *wider, *options))


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


def states_of_groups(
    model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, prompt_of: Tensor
) -> Tensor:
    """The hidden states [B, C, H] before each token of the completions, whose prompts are rows of prompt_ids [P, L].

    The keys and values of a prompt are computed once and attended to by each of its completions, also in the backward pass. The
    last token of a completion is not read: nothing is predicted from it.
    """
    backbone, length = backbone_and_head(model)[0], prompt_ids.shape[1]
    padded = not bool((attention_mask != 0).all())
    real = torch.cat([attention_mask[prompt_of], attention_mask.new_ones(completion_ids.shape)], 1)[:, :-1]
    places = position_ids(real)[:, length:] if padded else None
    with evaluating(model):
        read = backbone(input_ids=prompt_ids, attention_mask=attention_mask if padded else None,
                        position_ids=position_ids(attention_mask) if padded else None, use_cache=True)
        first = read.last_hidden_state[:, -1:][prompt_of]
        if completion_ids.shape[1] == 1:
            return first
        read.past_key_values.batch_select_indices(prompt_of)
        rest = backbone(input_ids=completion_ids[:, :-1], attention_mask=real if padded else None, position_ids=places,
                        past_key_values=read.past_key_values, use_cache=True)
    return torch.cat([first, rest.last_hidden_state], 1)


def _check(
    model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor,
    prompt_of: Tensor | None,
) -> None:
    """Raise ValueError unless prompts and completions fit each other and the model."""
    if completion_ids.dim() != 2 or completion_ids.shape != completion_mask.shape:
        raise ValueError("completion_ids and completion_mask must both be [B, C], "
                         f"got {tuple(completion_ids.shape)} and {tuple(completion_mask.shape)}")
    if prompt_of is None and len(completion_ids) != len(prompt_ids):
        raise ValueError(f"every completion needs its prompt, got {len(prompt_ids)} prompts, {len(completion_ids)} completions")
    if prompt_of is not None and (prompt_of.shape != completion_ids.shape[:1] or prompt_of.dtype != torch.long
                                  or not bool(((prompt_of >= 0) & (prompt_of < len(prompt_ids))).all())):
        raise ValueError(f"prompt_of must hold a row of the {len(prompt_ids)} prompts for each of {len(completion_ids)} "
                         f"completions, got {prompt_of!r:.120}")
    if not bool((completion_mask != 0).any()):
        raise ValueError(f"completion_mask of shape {tuple(completion_mask.shape)} counts no token: there is nothing to score")
    check_prompts(model, prompt_ids, attention_mask, completion_ids.shape[1])
