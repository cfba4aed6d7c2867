"""Log-probabilities of given tokens, from logits that are there already."""

import math
from numbers import Real

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def selective_log_softmax(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of one token in each distribution, without the log-probabilities of all others.

    log p_y = z_y − log Σ_j e^{z_j},  z = logits / temperature  (eq-log-softmax)

    The temperature is the one tokens were sampled at: log-probabilities of another distribution make wrong ratios.
    Shapes: logits [..., V]; ids [...], integers in 0..V-1. Returns [...]: float32 for logits of half precision, which are
    widened first, otherwise their dtype. Never above 0. Differentiable in logits.
    Raises ValueError for shapes that do not fit, an empty array, logits that are not floating point, ids that are not
    integers or, on a CPU, out of range, a temperature that is not a positive number.
    Source: selective_log_softmax in TRL. Tests hold it to log_softmax and gather, and its gradient to 1[j=y] − p_j.
    """
    check_floating("logits", logits)
    if logits.dim() < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits must be [..., V] with V at least 1, got {tuple(logits.shape)}")
    check_ids(ids, logits.shape[:-1], logits.shape[-1], logits)
    check_temperature(temperature)
    logits = logits.float() if logits.dtype in HALF else logits
    logits = logits if temperature == 1 else logits / temperature
    chosen = logits.gather(-1, ids.long().unsqueeze(-1)).squeeze(-1)
    return (chosen - logits.logsumexp(-1)).clamp(max=0.0)


def check_floating(name: str, values: Tensor) -> None:
    """Raise ValueError unless values is a floating point tensor."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        given = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a floating point tensor, got {given}")


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless temperature is a positive finite number."""
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a positive finite number, got {temperature!r}; 0 would be argmax")


def check_ids(ids: Tensor, shape: torch.Size, size: int, like: Tensor) -> None:
    """Raise ValueError unless ids are integers of that shape in 0..size-1, on the device of `like`, and at least one."""
    if not isinstance(ids, Tensor) or ids.dtype not in INTEGERS:
        given = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"ids must be a tensor of integers, got {given}")
    if ids.shape != shape or ids.device != like.device:
        wanted, given = f"{tuple(shape)} on {like.device}", f"{tuple(ids.shape)} on {ids.device}"
        raise ValueError(f"ids must have one entry for each distribution, {wanted}, got {given}")
    if not ids.numel():
        raise ValueError(f"ids must hold at least one token, got the shape {tuple(shape)}: an empty completion?")
    if ids.device.type == "cpu":
        low, high = (each.item() for each in ids.aminmax())
        if low < 0 or high >= size:
            raise ValueError(f"ids must be in 0..{size - 1}, got {low if low < 0 else high}; masked tokens need a valid id, too")
