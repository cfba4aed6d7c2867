"""Which tokens count, at which position they stand, and what reward each of them gets."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from rlbook.tokens.logprobs import INTEGERS, check_floating


def completion_mask(ids: Tensor, eos_id: int | Sequence[int]) -> Tensor:
    """True for the tokens of a completion up to its first end-of-sequence token, which counts, and False after it.

    mask_t = 1[o_s ≠ eos for all s < t]

    The policy chose the first end of sequence, so it is trained on it; what follows is padding whatever its id, which may
    be that of the end itself. A completion that was cut off has no end, and all its tokens count.
    Shapes: ids [..., T+1], integers; eos_id one id or several, each of which ends the sequence. Returns [..., T+1], boolean.
    The mask of any row holds at least its first token.
    Raises ValueError for ids that are not integers, completions without tokens, an eos_id that is no integer.
    Tests hold it to the definition, token by token, with the padding equal to the end and different from it.
    """
    _check_tokens("ids", ids, INTEGERS)
    ends = [eos_id] if isinstance(eos_id, int) else eos_id
    if not isinstance(ends, Sequence) or not ends or not all(isinstance(e, int) and not isinstance(e, bool) for e in ends):
        raise ValueError(f"eos_id must be an integer or several, got {eos_id!r}")
    is_end = torch.isin(ids, torch.tensor(ends, dtype=ids.dtype, device=ids.device))
    before = is_end.cumsum(-1) - is_end.long()  # ends before each token
    return before == 0


def position_ids(attention_mask: Tensor) -> Tensor:
    """Position of each token among the real ones of its row, from 0: what a model needs beside a padded batch.

    position_t = max(0, Σ_{s≤t} mask_s − 1)

    Padding on the left then changes nothing; padding itself gets the position of the real token before it, or 0.
    Shapes: attention_mask [..., L], 1 or True for real tokens. Returns [..., L], int64.
    Raises ValueError for an empty axis, other values than 0 and 1, a row without a real token.
    Tests hold it to 0, 1, 2, ... on the real tokens, however many are padded on either side.
    """
    mask = _check_mask("attention_mask", attention_mask)
    return (mask.cumsum(-1) - 1).clamp(min=0)


def shaped_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Reward of each token: the price of moving away from the reference, and the score of the whole completion at its end.

    r_t = −kl_coef · kl_t + 1[t = last] · score,  last = the last token that counts  (eq-kl-penalty)

    Shapes: scores [...], kl and mask [..., T+1] (kl_t usually log π_θ − log π_ref of the token). Returns [..., T+1], 0 where
    the mask is 0; whatever stands there, NaN included, changes nothing. With gamma 1, the sum over a row is
    score − kl_coef · Σ_t kl_t. NaN in a score or at a token that counts propagates. Differentiable in scores and kl.
    Raises ValueError for shapes, dtypes or devices that do not fit, a mask of other numbers than 0 and 1, a row in which no
    token counts (an empty completion has nothing to land the score on), a kl_coef that is negative or no number.
    Source: Ziegler et al. 2019 (arXiv 1909.08593), eq. 2, as in InstructGPT (arXiv 2203.02155).
    Tests hold it to the definition for completions with an end, without, of full length and of one token.
    """
    check_floating("scores", scores)
    check_floating("kl", kl)
    if scores.shape != kl.shape[:-1] or kl.dim() == 0:
        raise ValueError(f"scores must be [...] for kl [..., T+1], got {tuple(scores.shape)} and {tuple(kl.shape)}")
    if scores.dtype != kl.dtype or scores.device != kl.device:
        kinds = f"{scores.dtype} on {scores.device} and {kl.dtype} on {kl.device}"
        raise ValueError(f"scores and kl must have one dtype and device, got {kinds}")
    counts = _check_mask("mask", mask)
    if mask.shape != kl.shape or mask.device != kl.device:
        given = f"{tuple(mask.shape)} on {mask.device}"
        raise ValueError(f"mask must have the shape and device of kl, {tuple(kl.shape)} on {kl.device}, got {given}")
    if isinstance(kl_coef, bool) or not isinstance(kl_coef, Real) or not 0 <= kl_coef < math.inf:
        raise ValueError(f"kl_coef must be a finite number of at least 0, got {kl_coef!r}")
    following = counts.flip(-1).cumsum(-1).flip(-1)  # tokens that count from each one on
    is_last = counts & (following == 1)
    return torch.where(counts, -kl_coef * kl, 0.0) + torch.where(is_last, scores.unsqueeze(-1), 0.0)


def _check_tokens(name: str, values: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise ValueError unless values is a tensor of one of these dtypes whose last axis is not empty."""
    if not isinstance(values, Tensor) or values.dtype not in dtypes:
        given = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a tensor of {', '.join(str(each)[6:] for each in dtypes)}, got {given}")
    if values.dim() < 1 or values.shape[-1] < 1:
        raise ValueError(f"{name} must have at least one token on its last axis, got the shape {tuple(values.shape)}")


def _check_mask(name: str, mask: Tensor) -> Tensor:
    """The mask as booleans. Raises ValueError unless it holds 0 and 1 only, and a 1 in every row."""
    _check_tokens(name, mask, (torch.bool, *INTEGERS, torch.float32, torch.float64))
    counts = mask.bool()
    if mask.dtype != torch.bool and (wrong := mask != counts).any():
        raise ValueError(f"{name} must hold nothing but 0 and 1, or False and True, got {mask[wrong][0].item()!r}")
    if not (some := counts.any(-1)).all():
        row = "its only row" if counts.dim() == 1 else f"row {tuple(some.logical_not().nonzero()[0].tolist())}"
        raise ValueError(f"{name} must have a 1 in every row, got none in {row}")
    return counts
