"""Sampling completions from a causal language model, with the exact log-probabilities of what was sampled."""

import math
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlbook.language.decoding import decoder
from rlbook.language.model import check_prompts, evaluating
from rlbook.returns import check_integer
from rlbook.tokens import completion_mask


class Completions(NamedTuple):
    """Sampled completions, all [B·G, C]: the G completions of a prompt are neighbouring rows.

    ids: the sampled tokens, pad_token_id after the end; mask: True up to the first end-of-sequence token, which counts;
    logprobs: of each token under the distribution that it was drawn from, 0 where the mask is False, float32 (float64 for a
    float64 model).
    """

    ids: Tensor
    mask: Tensor
    logprobs: Tensor


def generate(
    model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, max_new_tokens: int, temperature: float = 1.0,
    generator: torch.Generator | None = None, num_generations: int = 1, eos_token_id: int | None = None,
    pad_token_id: int | None = None,
) -> Completions:
    """Sample G = num_generations completions of each prompt, each token from the model's whole distribution.

    y_t ~ π_θ(·|x, y_0, ..., y_{t−1}) = softmax(z_t / temperature), z_t the logits after the prompt x and y_0, ..., y_{t−1}

    Nothing is cut from the distribution (no top-k, no top-p), so the log-probabilities returned are exactly those of what was
    drawn, and `token_logprobs` at the same temperature gives them again. Temperature 0 takes the most likely token, whose
    log-probability under that rule is 0. The model is run in eval mode (no dropout) and left in the mode in which it was.
    Every prompt is read once, whatever G is.
    Shapes: prompt_ids and attention_mask [B, L], left-padded, as `encode_prompts` gives them. Returns [B·G, C] each, where
    C <= max_new_tokens is the length of the longest completion. eos_token_id None: no token ends a completion; pad_token_id
    None: completions are padded with eos_token_id, and the mask tells the end from the padding.
    generator: the source of randomness, on any device; None is torch's global one. The number of random numbers drawn for a
    token is B·G·V, whether or not a row has ended.
    Raises ValueError for shapes that differ, padding elsewhere than on the left, prompts without a token or, with
    max_new_tokens, longer than the model takes, a temperature that is negative or not finite, numbers below 1, ids below 0.
    Tests hold frequencies to a known distribution by χ², log-probabilities to token_logprobs and to a table of bigrams.
    """
    check_integer("max_new_tokens", max_new_tokens, 1)
    check_integer("num_generations", num_generations, 1)
    if isinstance(temperature, bool) or not isinstance(temperature, Real) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be a finite number >= 0, got {temperature!r}")
    for name, token in (("eos_token_id", eos_token_id), ("pad_token_id", pad_token_id)):
        if token is not None:
            check_integer(name, token, 0)
    check_prompts(model, prompt_ids, attention_mask, max_new_tokens)
    with evaluating(model), torch.inference_mode():
        ids, logprobs = _sample(decoder(model, attention_mask, max_new_tokens), prompt_ids, max_new_tokens, temperature,
                                generator, num_generations, eos_token_id)
    ids, logprobs = ids.clone(), logprobs.clone()  # ordinary tensors, which autograd can save
    if eos_token_id is None:
        return Completions(ids, torch.ones_like(ids, dtype=torch.bool), logprobs)
    mask = completion_mask(ids, eos_token_id)
    pad = eos_token_id if pad_token_id is None else pad_token_id
    return Completions(ids.masked_fill(~mask, pad), mask, logprobs.masked_fill(~mask, 0.0))


def _sample(decoder, prompt_ids, max_new_tokens, temperature, generator, num_generations, eos) -> tuple[Tensor, Tensor]:
    """The loop of `generate`: tokens and their log-probabilities, until every row has ended; past its end a row means nothing."""
    logits = decoder.read(prompt_ids)
    if num_generations > 1:
        decoder.repeat(num_generations)
        logits = logits.repeat_interleave(num_generations, 0)
    ended = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    tokens, logprobs = [], []
    while True:
        token, logprob = draw(logits, temperature, generator)
        tokens.append(token)
        logprobs.append(logprob)
        if eos is not None:
            ended |= token == eos
        if len(tokens) == max_new_tokens or eos is not None and ended.all():
            return torch.stack(tokens, 1), torch.stack(logprobs, 1)
        logits = decoder.read(token[:, None])


def draw(logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """One token for each row of logits [B, V] from softmax(z / temperature), and its log-probability under that, both [B].

    y = argmax_v (log p_v + g_v), with independent Gumbel noise g_v = −log(−log u_v), u_v uniform: P(y = v) = p_v

    Log-probabilities are computed in float32, also from logits of half precision, or in float64 for float64 logits. Float32
    noise ends at 16.6, so probabilities below about 1e-8 are not resolved: such a token is as good as never drawn.
    Temperature 0: the token with the largest logit, and 0.
    """
    z = logits if logits.dtype == torch.float64 else logits.float()
    if temperature == 0:
        token = z.argmax(-1)
        return token, z.new_zeros(token.shape)
    logp = torch.log_softmax(z / temperature, -1)
    device = z.device if generator is None else generator.device
    uniform = torch.rand(z.shape, dtype=z.dtype, device=device, generator=generator).to(z.device)
    token = (logp - uniform.log_().neg_().log_()).argmax(-1)
    return token, logp.gather(-1, token[:, None])[:, 0]
