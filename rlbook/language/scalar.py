"""A language model that gives a number instead of a token: the reward model and the critic.

Both are a copy of a causal model's backbone, with a linear head from its last hidden state to one scalar. The reward
model is read at the last real token of a text, the critic at every prefix.
"""

import copy
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from rlbook.language.model import backbone_and_head, evaluating
from rlbook.tokens import position_ids


class ScalarModel(nn.Module):
    """s_φ(x_0..x_i) = w · h_i + b, one number for every prefix of a text; h_i is the backbone's last hidden state at x_i.

    backbone: a Transformers model that returns last_hidden_state; head: linear, float32 (float64 on a float64 backbone).
    `scale` and `offset` are fixed numbers that standardise a reward model: it gives (s − offset) / scale. A critic keeps
    0 and 1. A reward model's offset changes no preference, since only differences enter (eq-reward-model).
    Tests hold it to a model made by hand whose hidden state counts the tokens read.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        dtype = torch.float64 if next(backbone.parameters()).dtype == torch.float64 else torch.float32
        self.backbone = backbone
        self.head = nn.utils.skip_init(nn.Linear, backbone.config.hidden_size, 1, dtype=dtype)  # draws no random numbers
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("offset", torch.zeros((), dtype=dtype))
        self.register_buffer("scale", torch.ones((), dtype=dtype))

    @classmethod
    def from_causal(cls, model: nn.Module, init: str = "zero", seed: int = 0) -> "ScalarModel":
        """A copy of a causal model's backbone under a new head, with b = 0.

        init "zero": w = 0, so that the first values are 0; "orthogonal": a random direction of length 1, from `seed`.
        Nothing is shared with `model`, and training the one leaves the other as it is. Raises ValueError for another init
        and for a model without a backbone (Transformers' base_model) of its own.
        """
        if init not in ("zero", "orthogonal"):
            raise ValueError(f"init must be 'zero' or 'orthogonal', got {init!r}")
        made = cls(copy.deepcopy(backbone_and_head(model)[0])).requires_grad_(True)
        if init == "orthogonal":
            direction = torch.randn(made.head.in_features, generator=torch.Generator().manual_seed(seed))
            made.head.weight.data[0] = direction / direction.norm()
        return made.to(next(model.parameters()).device).eval()

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """s_φ at every position of ids [B, L] -> [B, L]; what stands at padding means nothing. Padding on either side, no
        dropout. Raises ValueError for more tokens than the model takes."""
        limit = getattr(self.backbone.config, "max_position_embeddings", None)
        longest = int(attention_mask.sum(-1).max())
        if limit is not None and longest > limit:
            raise ValueError(f"a text has {longest} tokens, but the model takes {limit} (max_position_embeddings)")
        with evaluating(self.backbone):
            hidden = self.backbone(input_ids=ids, attention_mask=attention_mask,
                                   position_ids=position_ids(attention_mask), use_cache=False).last_hidden_state
        return (self.head(hidden.to(self.head.weight.dtype)).squeeze(-1) - self.offset) / self.scale

    def scores(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The reward model: s_φ at the last real token of each row -> [B]. Raises ValueError for shapes that differ, and
        for a row without a real token."""
        check_rows(ids, attention_mask)
        place = torch.arange(ids.shape[1], device=ids.device)
        last = torch.where(attention_mask.bool(), place, -1).amax(-1)
        if (last < 0).any():
            raise ValueError("every row needs at least one real token to be scored, got a row that is all padding")
        return self(ids, attention_mask).gather(-1, last.unsqueeze(-1)).squeeze(-1)

    def values(self, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, completion_mask: Tensor) -> Tensor:
        """The critic: V_φ(s_t), t = 0..C−1, of the states in which the tokens of completions [B, C] are chosen -> [B, C].

        s_t = prompt, y_0, ..., y_{t−1}: the prefix before y_t, whose last token stands at L − 1 + t of the row, where
        prompts are [B, L], padded on the left. So V(s_0) is read at the prompt's last token, and what stands at y_t or
        after it has no influence on V(s_t). Raises ValueError for shapes that differ.
        """
        check_rows(prompt_ids, prompt_mask, "prompt_ids")
        check_rows(completion_ids, completion_mask, "completion_ids")
        if len(prompt_ids) != len(completion_ids):
            raise ValueError(f"prompts and completions must be as many, got {len(prompt_ids)} and {len(completion_ids)}")
        mask = torch.cat([prompt_mask.long(), completion_mask.long()], dim=1)
        every = self(torch.cat([prompt_ids, completion_ids], dim=1), mask)
        start = prompt_ids.shape[1] - 1
        return every[:, start:start + completion_ids.shape[1]]

    @torch.no_grad()
    def score_rows(self, rows: list[list[int]], batch_size: int = 256) -> Tensor:
        """Scores of ragged rows of token ids -> [B], without gradient. Raises ValueError as `scores` does."""
        check_ids(rows, self.vocab_size)
        device, parts = self.head.weight.device, []
        for start in range(0, len(rows), batch_size):
            ids, mask = pad(rows[start:start + batch_size])
            parts.append(self.scores(ids.to(device), mask.to(device)))
        return torch.cat(parts)

    @property
    def vocab_size(self) -> int:
        """How many tokens the backbone knows."""
        return self.backbone.config.vocab_size

    def save(self, path: str | PathLike) -> None:
        """Write a folder that `load` reads: the backbone as Transformers saves it, the head beside it."""
        self.backbone.save_pretrained(path)
        torch.save({"head": self.head.state_dict(), "offset": self.offset, "scale": self.scale}, Path(path) / "head.pt")

    @classmethod
    def load(cls, path: str | PathLike) -> "ScalarModel":
        """Read what `save` wrote. Raises ValueError for a folder without it."""
        from transformers import AutoModel

        folder = Path(path)
        if not (folder / "head.pt").is_file() or not (folder / "config.json").is_file():
            raise ValueError(f"{path} holds no ScalarModel: config.json and head.pt must be in it")
        saved = torch.load(folder / "head.pt", map_location="cpu", weights_only=True)
        backbone = AutoModel.from_pretrained(folder, dtype="auto")
        made = cls(backbone)
        made.head.load_state_dict(saved["head"])
        made.offset.copy_(saved["offset"])
        made.scale.copy_(saved["scale"])
        return made.eval()


def pad(rows: list[list[int]], value: int = 0) -> tuple[Tensor, Tensor]:
    """Ragged rows of ids as ids and attention mask [B, L], padded on the right."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=torch.long)
    return ids, mask


def check_ids(rows: list[list[int]], vocab_size: int) -> None:
    """Raise ValueError unless rows are non-empty lists of token ids below vocab_size, at least one."""
    if not rows or any(len(row) == 0 for row in rows):
        raise ValueError("every row needs at least one token to be scored, got " + ("an empty row" if rows else "no rows"))
    low, high = min(map(min, rows)), max(map(max, rows))
    if low < 0 or high >= vocab_size:
        raise ValueError(f"token ids must be from 0 to {vocab_size - 1}, the model's vocabulary, got {low if low < 0 else high}")


def check_rows(ids: Tensor, mask: Tensor, name: str = "ids") -> None:
    """Raise ValueError unless ids [B, L] and mask have one shape."""
    if ids.dim() != 2 or ids.shape != mask.shape:
        raise ValueError(f"{name} and its mask must have one shape [B, L], got {tuple(ids.shape)} and {tuple(mask.shape)}")
