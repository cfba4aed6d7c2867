"""Log-probabilities and entropies straight from hidden states: the logits are made in blocks and never kept.

The output layer of a language model is z = h Wᵀ, and V, the number of tokens, is so large that z is the largest array of
all. Its two derivatives, d log p_y/dz_j = 1[j=y] − p_j and dH/dz_j = −p_j (log p_j + H), need nothing of it but z
itself, so the forward pass keeps two numbers of every row, and the backward pass makes z a second time. Both go block by
block, so many tokens times so many ids that the block stays in the processor's cache.
"""

import torch
from torch import Tensor

from rlbook.tokens.logprobs import HALF, check_floating, check_ids, check_temperature

BLOCKS = {"cpu": (512, 1024)}  # (tokens, ids) in a block of logits
LARGE_BLOCK = (4096, 8192)  # elsewhere: fewer, larger products


def linear_logprobs(
    hidden: Tensor, weight: Tensor, ids: Tensor, bias: Tensor | None = None, temperature: float = 1.0, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability of one token in each distribution, and its entropy, from the last hidden states of a model.

    log p_y = z_y − log Σ_j e^{z_j},  H = −Σ_j p_j log p_j,  z = (hidden · weightᵀ + bias) / temperature  (eq-log-softmax)

    Equal to `selective_log_softmax` of the logits, without ever holding them all: beside results and gradients it takes
    memory for two blocks of logits, `chunk` tokens times some of the ids (None: a size that is fast).
    Shapes: hidden [..., H], weight [V, H], ids [...] in 0..V-1, bias [V] or None, finite
    (−∞ makes the entropy NaN; selective_log_softmax takes it). Returns (logprobs, entropy), each [...],
    float32 if hidden has half precision (the logits have it, too, as in the model), otherwise its dtype; log-probabilities
    never above 0. Differentiable, once, in hidden, weight and bias, through logprobs and entropy.
    Raises ValueError for shapes, dtypes or devices that do not fit, no tokens, ids that are not integers or, on a CPU, out
    of range, a temperature that is not a positive number, a chunk below 1; RuntimeError for a second derivative.
    Tests hold it to selective_log_softmax, and both derivatives to finite differences in float64.
    """
    _check(hidden, weight, bias)
    check_ids(ids, hidden.shape[:-1], weight.shape[0], hidden)
    check_temperature(temperature)
    if chunk is not None and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
        raise ValueError(f"chunk must be an integer >= 1, or None, got {chunk!r}")
    tokens, columns = BLOCKS.get(hidden.device.type, LARGE_BLOCK)
    rows = hidden.reshape(-1, hidden.shape[-1])
    logprobs, entropy = LinearLogprobs.apply(
        rows, weight, bias, ids.reshape(-1).long(), float(temperature), chunk or tokens, columns
    )
    return logprobs.view(ids.shape), entropy.view(ids.shape)


class LinearLogprobs(torch.autograd.Function):
    """d log p_y/dz_j = 1[j=y] − p_j,  dH/dz_j = −p_j (log p_j + H)  (eq-log-softmax), with z made again."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, ids, temperature, chunk, columns):
        blocks = _slices(len(weight), columns)
        wide = torch.float32 if hidden.dtype in HALF else hidden.dtype
        lse, mean = (hidden.new_empty(len(blocks), len(hidden), dtype=wide) for _ in range(2))  # of each block of ids
        chosen = hidden.new_empty(len(hidden), dtype=wide)
        for block, row_lse, row_mean in zip(blocks, lse, mean, strict=True):
            for rows in _slices(len(hidden), chunk):
                z = _logits(hidden[rows], weight, bias, block, temperature)
                inside, column = _find(ids[rows], block)
                chosen[rows] = torch.where(inside, z.gather(1, column[:, None])[:, 0], chosen[rows])
                top = z.amax(1)
                e = z.sub_(top[:, None]).exp()
                total = e.sum(1)
                row_lse[rows] = top + total.log()
                row_mean[rows] = top + torch.linalg.vecdot(e, z) / total
        log_sum = lse.logsumexp(0)
        entropy = (log_sum - ((lse - log_sum).exp() * mean).sum(0)).clamp(min=0.0)  # H = log Σ e^z − Σ p z
        ctx.save_for_backward(hidden, weight, bias, ids, log_sum, entropy)
        ctx.temperature, ctx.chunk, ctx.columns = temperature, chunk, columns
        ctx.set_materialize_grads(False)
        return (chosen - log_sum).clamp(max=0.0), entropy

    @staticmethod
    def backward(ctx, grad_logprobs, grad_entropy):
        if torch.is_grad_enabled():  # create_graph: without this, the missing second derivative would count as 0
            raise RuntimeError("linear_logprobs has no second derivative: take selective_log_softmax of the logits, which has")
        if grad_logprobs is None and grad_entropy is None:
            return (None,) * 7
        hidden, *_ = ctx.saved_tensors
        grads = [None if grad is None else grad / ctx.temperature for grad in (grad_logprobs, grad_entropy)]
        # a masked token has gradient 0: it is left out, and whatever its hidden state holds
        some = torch.stack([grad != 0 for grad in grads if grad is not None]).any(0)
        if some.all():
            return *_gradients(ctx, *ctx.saved_tensors, *grads), None, None, None, None
        rows = [tensor[some] for tensor in (hidden, *ctx.saved_tensors[3:])]
        grads = [None if grad is None else grad[some] for grad in grads]
        part, *others = _gradients(ctx, rows[0], *ctx.saved_tensors[1:3], *rows[1:], *grads)
        grad_hidden = None if part is None else torch.zeros_like(hidden).index_put_((some,), part)
        return grad_hidden, *others, None, None, None, None


def _gradients(ctx, hidden, weight, bias, ids, log_sum, entropy, g, g_entropy) -> tuple[Tensor | None, ...]:
    """The gradients of hidden, weight and bias, each None if it is not wanted."""
    wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
    grad_hidden = torch.zeros_like(hidden, dtype=log_sum.dtype) if wants_hidden else None
    grad_weight = torch.empty_like(weight) if wants_weight else None
    grad_bias = torch.empty_like(bias) if wants_bias else None
    for block in _slices(len(weight), ctx.columns):
        w = weight[block]
        sum_weight, sum_bias = (w.new_zeros(shape, dtype=log_sum.dtype) for shape in (w.shape, len(w)))
        for rows in _slices(len(hidden), ctx.chunk):
            logp = _logits(hidden[rows], weight, bias, block, ctx.temperature).sub_(log_sum[rows, None])
            given = [None if x is None else x[rows, None] for x in (entropy, g, g_entropy)]
            dz = _grad_logits(logp, *_find(ids[rows], block), *given)
            if wants_hidden:
                _add_product(grad_hidden[rows], dz, w)
            if wants_weight:
                _add_product(sum_weight, dz.t(), hidden[rows])
            if wants_bias:
                sum_bias += dz.sum(0)
        if wants_weight:
            grad_weight[block] = sum_weight
        if wants_bias:
            grad_bias[block] = sum_bias
    return grad_hidden.to(hidden.dtype) if wants_hidden else None, grad_weight, grad_bias


def _grad_logits(logp, inside, column, entropy, g, g_entropy) -> Tensor:
    """g (1[j=y] − p_j) − g_H p_j (log p_j + H) for a block of log p_j, which is overwritten; the factors are columns."""
    p = logp.exp()
    if g_entropy is None:
        dz = p.mul_(-g)  # −g p_j
    elif g is None:
        dz = logp.add_(entropy).mul_(p).mul_(-g_entropy)  # −g_H p_j (log p_j + H)
    else:
        dz = logp.add_(entropy).mul_(-g_entropy).sub_(g).mul_(p)  # their sum, p_j (−g_H (log p_j + H) − g)
    if g is not None:
        dz.scatter_add_(1, column[:, None], torch.where(inside[:, None], g, 0.0))  # g 1[j=y]
    return dz


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _find(ids: Tensor, block: slice) -> tuple[Tensor, Tensor]:
    """Which ids lie in a block, and their columns there; column 0 or the last one for those that do not."""
    inside = (ids >= block.start) & (ids < block.stop)
    return inside, (ids - block.start).clamp(0, block.stop - block.start - 1)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, block: slice, temperature: float) -> Tensor:
    """(hidden · weightᵀ + bias) / temperature of a block of ids, at least in float32."""
    z = torch.mm(hidden, weight[block].t())
    if bias is not None:
        z += bias[block]
    z = z.float() if z.dtype in HALF else z
    return z.div_(temperature) if temperature != 1 else z


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a · b, where a and total are at least float32 and b may have half precision."""
    if b.dtype in HALF and b.is_cuda:
        total += torch.mm(a.to(b.dtype), b, out_dtype=total.dtype)
    else:
        total.addmm_(a, b.to(total.dtype))


def _check(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise ValueError unless the three fit."""
    named = {"hidden": hidden, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, values in named.items():
        check_floating(name, values)
        if values.dtype != hidden.dtype or values.device != hidden.device:
            kinds = f"{values.dtype} on {values.device}, hidden {hidden.dtype} on {hidden.device}"
            raise ValueError(f"{name} must have the dtype and device of hidden, got {kinds}")
    if hidden.dim() < 1 or weight.dim() != 2 or weight.shape[1] != hidden.shape[-1] or weight.shape[0] < 1:
        shapes = f"{tuple(hidden.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"hidden and weight must be [..., H] and [V, H], got {shapes}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be [V], {tuple(weight.shape[:1])}, got {tuple(bias.shape)}")
