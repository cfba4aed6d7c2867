"""What a step of GRPO costs, from the sizes alone: bytes held, passes of tokens through the model, floating-point operations.

For the architecture of Qwen2, which the book's tiny models share with the real ones. Symbols: N layers, hidden size H,
width I of the feed-forward layers, A = heads · size of a head, K = key-value heads · size of a head, V ids; B completions of
G per prompt, prompts of L tokens, completions of C; m completions in a micro-batch, of p prompts; b bytes of a number.
Every prompt of a micro-batch is read once, and its keys and values serve all its completions, whose last token is not read;
but groups of one (G = 1), as PPO has them, and completions for which layers are computed again (see `token_logprobs`), are
read together with their prompt, L + C tokens.
Tests hold parameters and cache to a model's exactly, activations to what autograd keeps exactly, operations to torch's own
formulas exactly, and the peak to that of a step, counted allocation by allocation, within an eighth.
"""

import math
from typing import NamedTuple

import torch

from rlbook.returns import check_integer
from rlbook.tokens.linear import BLOCKS, LARGE_BLOCK

WIDE = 4                # bytes of float32, in which softmax and norms compute whatever the model's dtype


class Batch(NamedTuple):
    """The sizes of a step: B completions, G per prompt, L and C tokens, m completions in a micro-batch (None: all B).

    The micro-batches are random parts of the B completions, as `grpo` draws them.
    """

    completions: int
    num_generations: int
    prompt_length: int
    completion_length: int
    micro_batch_size: int | None = None

    @property
    def rows(self) -> int:
        """m."""
        return min(self.micro_batch_size or self.completions, self.completions)

    @property
    def prompts(self) -> int:
        """B / G."""
        return self.completions // self.num_generations

    @property
    def prompts_read(self) -> float:
        """p, on average: how many different prompts m of the completions have, (B/G) (1 − C(B − G, m) / C(B, m))."""
        missing = math.comb(self.completions - self.num_generations, self.rows) / math.comb(self.completions, self.rows)
        return self.prompts * (1 - missing)


class Sizes(NamedTuple):
    """N, H, I, A, K, V, the number of heads, and whether input and output embedding are one array."""

    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    vocabulary: int
    heads: int
    tied: bool


def sizes_of(config) -> Sizes:
    """The sizes in a transformers config. Raises ValueError for another architecture than Qwen2."""
    kind = getattr(config, "model_type", type(config).__name__)
    if kind != "qwen2":
        raise ValueError(f"costs are known for models of type qwen2, got {kind!r}")
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Sizes(config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads * head,
                 config.num_key_value_heads * head, config.vocab_size, config.num_attention_heads, config.tie_word_embeddings)


# ---- bytes

def parameter_count(config) -> int:
    """V H (twice if not tied) + H + N · (weights of a layer + biases A + 2 K + norms 2 H)."""
    s = sizes_of(config)
    layer = _layer_weights(s) + s.queries + 2 * s.keys + 2 * s.hidden
    return s.vocabulary * s.hidden * (1 if s.tied else 2) + s.layers * layer + s.hidden


def cache_bytes(config, rows: int, length: int, itemsize: int = WIDE) -> int:
    """Keys and values of `length` tokens in every layer: 2 N K · rows · length · b."""
    s = sizes_of(config)
    return 2 * s.layers * s.keys * rows * length * itemsize


def layer_activation_bytes(
    config, rows: int, length: int, itemsize: int = WIDE, padded: bool = True, past: int = 0
) -> int:
    """What one layer keeps for its backward pass, beside the parameters, of rows · length tokens after `past` cached ones.

    In float32 a token keeps 6 H + 2 A + 4 I numbers: two residuals, two norms each before and after its weight, the queries
    and the attention's result, and four widths I; and 2 + heads more (norms, log-sum-exp of the attention). A row keeps keys
    and values of all its past + length tokens, 2 K each. With padding, or a past, torch's attention is given a mask, of which
    a token keeps its row, past + length numbers, and wants keys and values for every query head: 2 K become 2 A, where there
    are several key-value heads and fewer than query heads. In half precision 2 H, the norms', stay float32.
    No attention matrix is kept: that is torch's scaled_dot_product_attention, not the "eager" one.
    """
    s = sizes_of(config)
    masked = padded or past > 0
    wide = 2 * s.hidden if itemsize < WIDE else 0
    repeated = masked and s.queries // s.heads < s.keys < s.queries
    of_row = 2 * (past + length) * (s.queries if repeated else s.keys)
    of_token = 6 * s.hidden + 2 * s.queries + 4 * s.inner - wide + (past + length if masked else 0)
    return rows * (of_row + length * of_token) * itemsize + rows * length * (wide + 2 + s.heads) * WIDE


def activation_bytes(
    config, rows: int, length: int, itemsize: int = WIDE, recompute: bool = False, padded: bool = True, past: int = 0
) -> int:
    """What the backbone keeps for its backward pass, beside the parameters, of rows · length tokens after `past` cached ones.

    N times `layer_activation_bytes`, and H + H + 1 a token for the last norm. With `recompute` (see `recompute_layers`) each
    layer keeps its input, H numbers a token, and 2 K for each cached one; in the backward pass the inside of one layer comes
    on top.
    """
    s, tokens = sizes_of(config), rows * length
    inputs = (s.hidden * tokens + 2 * s.keys * rows * past) * itemsize
    layer = inputs if recompute else layer_activation_bytes(config, rows, length, itemsize, padded, past)
    return s.layers * layer + tokens * (s.hidden * (itemsize + WIDE) + WIDE)


def step_memory(
    config, batch: Batch, dtype: torch.dtype = torch.float32, recompute: bool = False, reference: bool = False,
    device: str = "cpu", full_logits: bool = False,
) -> dict[str, int]:
    """Bytes of one step of GRPO with Adam, by what holds them, and the most at one time ("peak").

    Held throughout are parameters P b, the optimizer's moments 2 P b (Adam keeps them in the parameters' dtype) and with a
    reference P b more. On top of that comes the largest of three ("sampling", "update", "adam"):
    sampling: gradients P b of the step before, the cache, a copy of one layer of it as it grows, and 4 arrays [B, V] in float32;
    or, where prompts are long, their own cache and 3 I + 3 H numbers for each of their tokens;
    update: activations of a micro-batch; with them first the blocks of logits, later the backward pass of one layer, 2 I
    numbers a token (and the layer's inside with `recompute`). Gradients appear meanwhile: with several micro-batches they
    are there from the first one on. If input and output embedding are one array, its gradient V H b from the output waits
    for the one from the input, and at the end both, and their sum, are held beside what was there;
    adam: gradients, and temporary numbers, on a GPU P b, since all parameters are updated at once ("foreach", torch's
    default there), on a CPU two of the largest parameter, or three of the matrices H I.
    full_logits: log-probabilities by log_softmax of all logits [m, C, V] instead of `linear_logprobs`: three arrays of them.
    Raises ValueError for sizes that are no positive integers, and completions that the group size does not divide.
    """
    _check(batch)
    s, b = sizes_of(config), dtype.itemsize
    parameters, head = parameter_count(config) * b, s.vocabulary * s.hidden * b
    cache = cache_bytes(config, batch.completions, batch.prompt_length + batch.completion_length - 1, b)
    drawing = 4 * batch.completions * s.vocabulary * WIDE
    prefill = cache_bytes(config, batch.prompts, batch.prompt_length, b) + (
        batch.prompts * batch.prompt_length * (3 * s.inner + 3 * s.hidden) * b)
    reads = _reads(batch, recompute)
    kept = sum(activation_bytes(config, rows, length, b, recompute, past=past) for rows, length, past in reads)
    passing = max((layer_activation_bytes(config, rows, length, b, past=past) if recompute else 0)
                  + 2 * rows * length * s.inner * b for rows, length, past in reads)
    logits = _logits_bytes(s, batch.rows * batch.completion_length, device, full_logits, b)
    before = parameters if batch.completions > batch.rows else 0      # gradients of the micro-batches before
    waiting = head if s.tied else 0
    first = before + kept + max(logits, passing) + waiting
    end = parameters + (2 * head if s.tied else 0) + (head if before else 0)
    last = parameters + waiting + passing if recompute else 0   # in the first layer, when all others have their gradient
    phases = {
        "sampling": parameters + max(prefill, cache + cache // s.layers + drawing),
        "update": max(first, last, end),
        "adam": parameters + (max(2 * s.vocabulary, 3 * s.inner) * s.hidden * b if device == "cpu" else parameters),
    }
    held = 3 * parameters + (parameters if reference else 0)
    return {
        "parameters": parameters, "gradients": parameters, "optimizer": 2 * parameters,
        "reference": parameters if reference else 0, "cache": cache, "drawing": drawing, "activations": kept,
        "layer": passing, "logits": logits, "head_gradient": head, **phases, "peak": held + max(phases.values()),
    }


def _reads(batch: Batch, recompute: bool) -> list[tuple[int, int, int]]:
    """(rows, tokens, cached tokens) of what the backbone reads of a micro-batch: prompts, as many as there can be different
    ones, and completions after them; or both in one."""
    if not _shares(batch, recompute):
        return [(batch.rows, batch.prompt_length + batch.completion_length, 0)]
    prompts = (min(batch.rows, batch.prompts), batch.prompt_length, 0)
    return [prompts, (batch.rows, batch.completion_length - 1, batch.prompt_length)]


def _shares(batch: Batch, recompute: bool) -> bool:
    """Whether the completions of a prompt share one reading of it in the update."""
    return batch.num_generations > 1 and not recompute


def _logits_bytes(s: Sizes, tokens: int, device: str, full_logits: bool, itemsize: int) -> int:
    """Memory for logits in the update: three blocks of them; or all, their log-softmax and its gradient."""
    if full_logits:
        return tokens * s.vocabulary * (3 * WIDE + (itemsize if itemsize < WIDE else 0))
    block_rows, block_columns = BLOCKS.get(device, LARGE_BLOCK)
    return 3 * min(tokens, block_rows) * min(s.vocabulary, block_columns) * WIDE


# ---- passes and operations

def step_tokens(batch: Batch, num_iterations: int = 1, recompute: bool = False, reference: bool = False) -> dict[str, float]:
    """How many tokens go through the backbone in one step, forward and backward, by what for.

    prefill: each prompt once, B/G · L; decode: B (C − 1), since the last token of a completion is only chosen; update, for
    each of B/m micro-batches p L + m (C − 1) forward and as many backward, `num_iterations` times, and forward once more with
    `recompute`; reference: the same once. The log-probabilities of the sampling policy cost nothing: they are recorded
    as the tokens are drawn. p is an average (`Batch.prompts_read`), since micro-batches are random; with m = B it is B/G.
    Without sharing, with groups of one or `recompute`: B (L + C) in place of p L + m (C − 1).
    """
    _check(batch)
    read = _tokens_read(batch, recompute)
    return {
        "prefill": batch.prompts * batch.prompt_length,
        "decode": batch.completions * (batch.completion_length - 1),
        "forward": num_iterations * read,
        "recomputed": num_iterations * read if recompute else 0,
        "backward": num_iterations * read,
        "reference": read if reference else 0,
    }


def _tokens_read(batch: Batch, recompute: bool) -> float:
    """Tokens that go through the layers when all micro-batches are read once."""
    if not _shares(batch, recompute):
        return batch.completions * (batch.prompt_length + batch.completion_length)
    prompts = batch.completions / batch.rows * batch.prompts_read
    read = prompts * batch.prompt_length + batch.completions * (batch.completion_length - 1)
    return round(read) if float(read).is_integer() else read


def step_flops(
    config, batch: Batch, num_iterations: int = 1, recompute: bool = False, reference: bool = False
) -> dict[str, float]:
    """Floating-point operations of the matrix products in one step, by what for; two for a multiplication with addition.

    A token costs 2 · (weights of the layers) forward and twice that backward; the head 2 V H for each token sampled, and
    8 V H for each one learned from: `linear_logprobs` makes the logits twice and two gradients. Attention: 4 N A per pair of
    query and key, forward, and 10 N A backward, all pairs counted, also those that the causal mask hides.
    """
    s, tokens = sizes_of(config), step_tokens(batch, num_iterations, recompute, reference)
    weights, head = 2 * s.layers * _layer_weights(s), 2 * s.vocabulary * s.hidden
    last_product = 2 * s.layers * s.inner * s.hidden    # a layer's last one is not made again: nobody needs its result
    pair, length = 4 * s.layers * s.queries, batch.prompt_length + batch.completion_length
    seen = (batch.prompt_length + length) * (batch.completion_length - 1) // 2     # keys that the queries of decoding see
    learned = batch.completions * batch.completion_length
    pairs = pair * _pairs(batch, recompute)
    return {
        "prefill": tokens["prefill"] * weights + batch.prompts * (batch.prompt_length**2 * pair + head),
        "decode": tokens["decode"] * (weights + head) + batch.completions * seen * pair,
        "forward": tokens["forward"] * weights + num_iterations * (pairs + learned * head),
        "recomputed": tokens["recomputed"] * (weights - last_product) + (num_iterations * pairs if recompute else 0),
        "backward": 2 * tokens["backward"] * weights + num_iterations * (2.5 * pairs + 3 * learned * head),
        "reference": tokens["reference"] * weights + (pairs + learned * head if reference else 0),
    }


def _pairs(batch: Batch, recompute: bool) -> float:
    """Pairs of query and key in reading all micro-batches once."""
    if not _shares(batch, recompute):
        return batch.completions * (batch.prompt_length + batch.completion_length) ** 2
    prompts = batch.completions / batch.rows * batch.prompts_read
    rest = batch.completion_length - 1
    return prompts * batch.prompt_length**2 + batch.completions * rest * (batch.prompt_length + rest)


def _layer_weights(s: Sizes) -> int:
    """The matrices of a layer: queries and output 2 H A, keys and values 2 H K, feed-forward 3 H I."""
    return 2 * s.hidden * s.queries + 2 * s.hidden * s.keys + 3 * s.hidden * s.inner


def _check(batch: Batch) -> None:
    """Raise ValueError for sizes that make no step."""
    for name, value in zip(Batch._fields[:4], batch[:4], strict=True):
        check_integer(name, value, 1)
    if batch.completions % batch.num_generations:
        raise ValueError(f"num_generations must divide the completions, got {batch.num_generations} and {batch.completions}")
    if batch.micro_batch_size is not None:
        check_integer("micro_batch_size", batch.micro_batch_size, 1)
