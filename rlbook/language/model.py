"""The model: a tiny one made on the spot, and what sampling and scoring need of any causal language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor, nn

from rlbook.returns import check_integer


def tiny_model(
    vocab_size: int, hidden_size: int = 48, num_layers: int = 2, num_heads: int = 4, max_length: int = 128, seed: int = 0,
    tie_word_embeddings: bool = True, dropout: float = 0.0,
):
    """A Qwen2 causal language model of a few ten thousand random parameters, in float32: nothing is downloaded.

    The architecture is that of the real Qwen2 and Qwen2.5 models (rotary positions, RMS norms, gated feed-forward layers
    of width 4 · hidden_size), so what works on it works on those. `max_length` is the most tokens, prompt and completion
    together, that it takes; dropout acts on the attention, in training mode. The weights depend on `seed` alone, and torch's
    global random state is left as it was.
    Returns a `transformers.Qwen2ForCausalLM` in eval mode. Raises ValueError for sizes that are no positive integers, a
    dropout outside [0, 1), and a hidden_size that is not divided by 2 · num_heads (rotary positions turn pairs of numbers).
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"vocab_size": vocab_size, "hidden_size": hidden_size, "num_layers": num_layers, "num_heads": num_heads,
             "max_length": max_length}
    for name, size in sizes.items():
        check_integer(name, size, 1)
    check_integer("seed", seed, 0)
    if isinstance(dropout, bool) or not isinstance(dropout, Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a probability in [0, 1), got {dropout!r}")
    if hidden_size % (2 * num_heads):
        raise ValueError(f"hidden_size must be divisible by 2 * num_heads = {2 * num_heads}, got {hidden_size}")
    config = Qwen2Config(
        vocab_size=vocab_size, hidden_size=hidden_size, intermediate_size=4 * hidden_size, num_hidden_layers=num_layers,
        num_attention_heads=num_heads, num_key_value_heads=num_heads, max_position_embeddings=max_length,
        tie_word_embeddings=tie_word_embeddings, attention_dropout=dropout, bos_token_id=None, eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config).float().eval()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode (no dropout); afterwards every part of it is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield model
    finally:
        for module in training:
            module.training = True


def backbone_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The parts of a causal language model: token ids to hidden states h_t, and the linear map z_t = W h_t + b to logits."""
    backbone, head = model.base_model, model.get_output_embeddings()
    if backbone is model or not isinstance(head, nn.Linear):
        raise ValueError(f"the model must be a backbone with a linear head, as Qwen2ForCausalLM is, got {type(model).__name__}")
    return backbone, head


def check_prompts(model: nn.Module, prompt_ids: Tensor, attention_mask: Tensor, new_tokens: int) -> None:
    """Raise ValueError unless the model can take those left-padded prompts and new_tokens more."""
    if prompt_ids.dim() != 2 or prompt_ids.shape != attention_mask.shape or prompt_ids.numel() == 0:
        raise ValueError("prompt_ids and attention_mask must both be [B, L] with B, L >= 1, "
                         f"got {tuple(prompt_ids.shape)} and {tuple(attention_mask.shape)}")
    real = attention_mask != 0
    if not real.all() and not (bool(real[:, -1].all()) and bool((real[:, 1:] >= real[:, :-1]).all())):
        raise ValueError("attention_mask must be left-padded: in every row zeros, then at least one 1, and 1 to the end")
    limit = getattr(model.config, "max_position_embeddings", None)
    longest = int(real.sum(-1).max())
    if limit is not None and longest + new_tokens > limit:
        raise ValueError(f"the longest prompt has {longest} tokens and {new_tokens} more are asked for, {longest + new_tokens} "
                         f"together, but the model takes {limit} (max_position_embeddings)")
