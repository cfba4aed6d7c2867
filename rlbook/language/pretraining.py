"""Next-token training, which makes the model that policy optimization starts from, and perplexity, which measures it."""

import math

import torch
from torch import Tensor, nn

from rlbook.language.model import evaluating
from rlbook.returns import check_integer


def pretrain(
    model: nn.Module, ids: Tensor, mask: Tensor | None = None, *, steps: int, batch_size: int = 128, lr: float = 3e-3,
    weight_decay: float = 0.0, max_grad_norm: float = 1.0, seed: int = 0,
) -> list[float]:
    """Train the model in place to predict the next token of random rows of ids, and return the loss of every step.

    loss = −mean over the batch's tokens with mask 1, the first column apart, of log π_θ(y_t | y_{<t})

    AdamW with betas (.9, .95), a learning rate that falls from `lr` to 0 along half a cosine, and gradients cut to a norm of
    max_grad_norm. ids [N, L] start at the first column and are padded on the right, if at all; mask [N, L], 1 where a token
    counts, default all (a token with mask 0 is still read). Batches are drawn from a generator with that seed; the model is in
    training mode for the duration, so that dropout, where a model has it, acts.
    Raises ValueError for shapes that do not fit, ids that the model does not have, rows longer than the model takes, a mask
    that counts nothing, and settings out of range.
    """
    mask = _check(model, ids, mask)
    check_integer("steps", steps, 1)
    check_integer("batch_size", batch_size, 1)
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive, finite number, got {lr!r}")
    if not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be a positive number, got {max_grad_norm!r}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a finite number >= 0, got {weight_decay!r}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    was_training, losses = model.training, []
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(ids), (batch_size,), generator=generator).to(ids.device)
        losses_of_tokens, counts = next_token_losses(model, ids[rows], mask[rows])
        loss = losses_of_tokens.sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    model.train(was_training)
    return torch.stack(losses).tolist()


def perplexity(model: nn.Module, ids: Tensor, mask: Tensor | None = None, batch_size: int = 256) -> float:
    """e to the mean loss of a token: the number of equally likely next tokens between which the model is as undecided.

    PPL = exp(−(1/n) ∑ log π_θ(y_t | y_{<t})), over the n tokens with mask 1, the first column apart

    Arguments and errors as in `pretrain`; in eval mode, without gradient. A model that gives all V tokens one probability
    has perplexity V.
    """
    mask = _check(model, ids, mask)
    check_integer("batch_size", batch_size, 1)
    total, count = 0.0, 0
    with evaluating(model), torch.no_grad():
        for some, keep in zip(ids.split(batch_size), mask.split(batch_size), strict=True):
            losses, counts = next_token_losses(model, some, keep)
            total, count = total + losses.double().sum().item(), count + int(counts.sum())
    return math.exp(total / count)


def next_token_losses(model: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """−log π_θ(y_t | y_{<t}) where the mask is 1 and 0 elsewhere, and the mask, both [N, L−1]: of every column but the first."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    keep = mask[:, 1:] != 0
    return torch.where(keep, losses, 0.0), keep


def _check(model: nn.Module, ids: Tensor, mask: Tensor | None) -> Tensor:
    """The mask, all ones for None; ValueError unless ids and mask are what `pretrain` says."""
    if ids.dim() != 2 or ids.shape[1] < 2 or not len(ids):
        raise ValueError(f"ids must be [N, L] with N >= 1 rows of L >= 2 tokens, got {tuple(ids.shape)}")
    mask = torch.ones_like(ids) if mask is None else mask
    if mask.shape != ids.shape:
        raise ValueError(f"mask must have the shape of ids, {tuple(ids.shape)}, got {tuple(mask.shape)}")
    rows, limit = model.get_input_embeddings().weight.shape[0], model.config.max_position_embeddings
    if ids.min() < 0 or ids.max() >= rows:
        raise ValueError(f"ids must lie in [0, {rows}), the model's embeddings, got {int(ids.min())} to {int(ids.max())}")
    if ids.shape[1] > limit:
        raise ValueError(f"rows have {ids.shape[1]} tokens, but the model takes {limit} (max_position_embeddings)")
    if not bool((mask[:, 1:] != 0).any(-1).all()):
        raise ValueError("every row of the mask must count at least one token after the first column")
    return mask
