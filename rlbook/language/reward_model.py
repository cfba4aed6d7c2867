"""The reward model: a score for texts, learned from pairs of which people preferred one (Bradley and Terry's model)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rlbook.language.config import check_number
from rlbook.language.scalar import ScalarModel, check_ids, pad
from rlbook.returns import check_integer

METRICS = ("loss", "accuracy", "held_out_loss", "held_out_accuracy")


def preference_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Minus the log-likelihood of a preference under Bradley and Terry's model, per pair.

    P(y₁ ≻ y₂) = σ(r₁ − r₂),  loss = −log σ(r₁ − r₂),  ∂loss/∂r₁ = −σ(r₂ − r₁) = −∂loss/∂r₂  (eq-reward-model)

    Only the difference enters: a constant added to both rewards changes nothing. Computed as log(1 + e^(r₂ − r₁)) without
    overflow, for any difference. Shapes: chosen r₁ and rejected r₂ [...], rewards of the preferred text and of the other.
    Returns [...], log 2 for equal rewards. Differentiable in both.
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices.
    Source: Bradley & Terry (1952); Ouyang et al. (2022), eq. 1. Tests hold value and gradient to the formulas above.
    """
    for name, rewards in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(rewards, Tensor) or not rewards.is_floating_point():
            kind = rewards.dtype if isinstance(rewards, Tensor) else type(rewards).__name__
            raise ValueError(f"{name} must be a floating point tensor of rewards, got {kind}")
    if chosen.shape != rejected.shape:
        raise ValueError(f"chosen and rejected must have one shape, got {tuple(chosen.shape)} and {tuple(rejected.shape)}")
    if chosen.dtype != rejected.dtype or chosen.device != rejected.device:
        raise ValueError(f"chosen and rejected must have one dtype and device, got {chosen.dtype} on {chosen.device} "
                         f"and {rejected.dtype} on {rejected.device}")
    return functional.softplus(rejected - chosen)


def train_reward_model(
    reward_model: ScalarModel,
    pairs: Sequence,
    tokenizer=None,
    num_epochs: int = 4,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    held_out: int = 0,
    seed: int = 0,
    max_grad_norm: float = 1.0,
) -> dict[str, list[float]]:
    """Fit the reward model, in place, to pairs by Adam on the mean of −log σ(r₁ − r₂)  (eq-reward-model).

    pairs: (chosen, rejected), or records {"chosen": ..., "rejected": ..., "prompt": ... (optional, put in front)}; each a
    text, a chat (both need the tokenizer; a text gets its EOS, a chat what the template gives), or token ids, taken as they
    are. Strings are joined as they are, prompt + chosen, with no space between them.
    The last `held_out` pairs are never trained on. The rest is shuffled by `seed` in every epoch.
    Returns one number per epoch for loss and accuracy on the batches as they come, before the step on each, and for
    held_out_loss and held_out_accuracy after the epoch (NaN without held-out pairs). Accuracy: the share of pairs with
    r₁ > r₂, ties counted half. Raises ValueError for fewer than one pair left, pairs of another form, texts without
    tokenizer, texts that the tokenizer cannot encode, ids that the model does not know, settings out of range.
    """
    check_integer("num_epochs", num_epochs, 1)
    check_integer("batch_size", batch_size, 1)
    check_integer("held_out", held_out, 0)
    check_number("learning_rate", learning_rate, above=True)
    check_number("max_grad_norm", max_grad_norm, above=True, most=math.inf)
    rows = encode_pairs(pairs, tokenizer, reward_model.vocab_size)
    if len(rows) <= held_out:
        raise ValueError(f"at least one pair must be left for training, got {len(rows)} pairs, {held_out} of them held out")
    train, test = rows[:len(rows) - held_out], rows[len(rows) - held_out:]
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(reward_model.parameters(), lr=learning_rate)
    history = {name: [] for name in METRICS}
    for _ in range(num_epochs):
        margins = []
        for places in torch.randperm(len(train), generator=generator).split(batch_size):
            margin = pair_margins(reward_model, [train[i] for i in places])
            loss = preference_loss(margin, torch.zeros_like(margin)).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(reward_model.parameters(), max_grad_norm)
            optimizer.step()
            margins.append(margin.detach())
        found = [*loss_and_accuracy(torch.cat(margins)), *loss_and_accuracy(held_out_margins(reward_model, test))]
        for name, value in zip(METRICS, found, strict=True):
            history[name].append(value)
    return history


def evaluate_reward_model(reward_model: ScalarModel, pairs: Sequence, tokenizer=None, num_bins: int = 5) -> dict:
    """How well the reward model predicts pairs that it was not trained on: loss, accuracy and calibration.

    Calibration: the model is confident of its favourite with P = σ(|r₁ − r₂|), in [1/2, 1]. Pairs are sorted into num_bins
    bins of equal width in P; for each, the mean confidence, the share in which the favourite was chosen and the count
    (None, None, 0 for an empty bin). Calibrated means that the two agree. calibration_error is their mean distance,
    weighted by the counts. Raises ValueError as `train_reward_model` does.
    """
    check_integer("num_bins", num_bins, 1)
    rows = encode_pairs(pairs, tokenizer, reward_model.vocab_size)
    margins = held_out_margins(reward_model, rows).double()
    confidence = margins.abs().sigmoid()
    right = (margins > 0).double() + 0.5 * (margins == 0).double()
    place = ((confidence - 0.5) * 2 * num_bins).long().clamp(max=num_bins - 1)
    bins = []
    for k in range(num_bins):
        inside = place == k
        count = int(inside.sum())
        means = [values[inside].mean().item() if count else None for values in (confidence, right)]
        bins.append({"confidence": means[0], "accuracy": means[1], "count": count})
    gaps = [b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins if b["count"]]
    loss, accuracy = loss_and_accuracy(margins)
    return {"loss": loss, "accuracy": accuracy, "calibration_error": sum(gaps) / len(rows), "calibration": bins}


def standardize(reward_model: ScalarModel, texts: Sequence, tokenizer=None) -> None:
    """Fix the reward model's offset and scale so that these texts, samples of the reference, have rewards of mean 0 and
    standard deviation 1. Preferences fix no offset, so one must be chosen, and a fixed scale makes KL weights comparable.

    Raises ValueError for fewer than two texts, and for texts that all have one reward, up to rounding.
    """
    rows = [encode_text(text, tokenizer) for text in texts]
    if len(rows) < 2:
        raise ValueError(f"a standard deviation needs at least two texts, got {len(rows)}")
    scores = reward_model.score_rows(rows)
    deviation = scores.std()
    # what the rounding of the sums in the head can make of equal rewards
    rounding = 10 * torch.finfo(scores.dtype).eps * (reward_model.scale * scores + reward_model.offset).abs().max()
    if not reward_model.scale * deviation > rounding:
        raise ValueError(f"the texts must not all have one reward, got {scores[0].item():.4g} for each of {len(rows)}")
    with torch.no_grad():
        reward_model.offset += reward_model.scale * scores.mean()
        reward_model.scale *= deviation


def pair_margins(reward_model: ScalarModel, rows: list[tuple[list[int], list[int]]]) -> Tensor:
    """r₁ − r₂ of encoded pairs [B], differentiable; both texts of a pair are read in one pass."""
    ids, mask = pad([chosen for chosen, _ in rows] + [rejected for _, rejected in rows])
    device = reward_model.head.weight.device
    chosen, rejected = reward_model.scores(ids.to(device), mask.to(device)).chunk(2)
    return chosen - rejected


@torch.no_grad()
def held_out_margins(reward_model: ScalarModel, rows: list, batch_size: int = 256) -> Tensor:
    """r₁ − r₂ of encoded pairs, without gradient; empty for none."""
    parts = [pair_margins(reward_model, rows[k:k + batch_size]) for k in range(0, len(rows), batch_size)]
    return torch.cat(parts) if parts else torch.zeros(0)


def loss_and_accuracy(margins: Tensor) -> tuple[float, float]:
    """Mean of −log σ(r₁ − r₂), and the share with r₁ > r₂, ties counted half; NaN for no pairs."""
    if not len(margins):
        return math.nan, math.nan
    right = (margins > 0).double() + 0.5 * (margins == 0).double()
    return preference_loss(margins, torch.zeros_like(margins)).mean().item(), right.mean().item()


def encode_pairs(pairs: Sequence, tokenizer, vocab_size: int) -> list[tuple[list[int], list[int]]]:
    """Each pair as two lists of token ids; ValueError for pairs of another form and ids out of the vocabulary."""
    rows = []
    for pair in pairs:
        if isinstance(pair, dict) and {"chosen", "rejected"} <= set(pair):
            both = [_join(pair.get("prompt"), pair[name]) for name in ("chosen", "rejected")]
        elif not isinstance(pair, dict | str) and hasattr(pair, "__len__") and len(pair) == 2:
            both = list(pair)
        else:
            raise ValueError(f"a pair must be (chosen, rejected) or a record with both, got {pair!r:.80}")
        rows.append((encode_text(both[0], tokenizer), encode_text(both[1], tokenizer)))
    if not rows:
        raise ValueError("pairs must hold at least one pair, got none")
    check_ids([text for row in rows for text in row], vocab_size)
    return rows


def encode_text(text: object, tokenizer) -> list[int]:
    """A text, a chat, or ids [L] as a list of token ids; a text ends with the tokenizer's EOS. Raises ValueError for anything
    else, and for a text that the tokenizer cannot encode."""
    if isinstance(text, Tensor) and text.dim() == 1 and not text.is_floating_point():
        return text.tolist()
    if isinstance(text, list | tuple) and all(type(token) is int for token in text):
        return list(text)
    chat = isinstance(text, list | tuple) and all(isinstance(message, dict) for message in text)
    if not isinstance(text, str) and not chat:
        raise ValueError(f"a text must be a string, a list of messages or token ids, got {text!r:.80}")
    if tokenizer is None:
        raise ValueError(f"texts need a tokenizer, token ids do not, got {text!r:.80}")
    written = tokenizer.apply_chat_template(list(text), tokenize=False) if chat else text
    try:
        ids = tokenizer(written, add_special_tokens=not chat)["input_ids"]
    except Exception as error:  # tokenizers raises a bare Exception for an unknown word
        raise ValueError(f"text {written!r:.200} cannot be encoded: {error}") from error
    if chat:
        return ids
    ends = tokenizer.eos_token_id is None or ids[-1:] == [tokenizer.eos_token_id]
    return ids if ends else [*ids, tokenizer.eos_token_id]


def _join(prompt: object, completion: object) -> object:
    if prompt is None:
        return completion
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt + completion
    if isinstance(prompt, Tensor) and isinstance(completion, Tensor):
        return torch.cat([prompt, completion])
    if isinstance(prompt, list | tuple) and isinstance(completion, list | tuple):
        return [*prompt, *completion]
    raise ValueError(f"prompt and completion must be of one kind, got {type(prompt).__name__} and {type(completion).__name__}")
