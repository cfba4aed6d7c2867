"""A policy: a causal language model with its tokenizer, loaded from disk or from the Hugging Face hub."""

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from rlbook.language.model import backbone_and_head, evaluating


@dataclass(frozen=True)
class Policy:
    """π_θ(y|x): a causal language model and the tokenizer whose ids it was trained on.

    Raises ValueError for a tokenizer with more ids than the model has embeddings (fewer is usual: real models round the
    number up), and for one without end-of-sequence token. A tokenizer without pad token is given its end-of-sequence token as
    one; the masks keep the two apart, since a mask holds the first end of sequence and nothing after it.
    """

    model: nn.Module
    tokenizer: object

    def __post_init__(self):
        rows = self.model.get_input_embeddings().weight.shape[0]
        if len(self.tokenizer) > rows:
            raise ValueError(f"the tokenizer has {len(self.tokenizer)} ids and the model only {rows} embeddings")
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-sequence token: set tokenizer.eos_token, completions end with it")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def save(self, path: str | PathLike) -> None:
        """Write model and tokenizer to a folder, from which `from_pretrained` and transformers load them."""
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)


def from_pretrained(path: str | PathLike, dtype: torch.dtype | None = None, device: str | torch.device | None = None) -> Policy:
    """The causal language model of that folder, or of that name on the Hugging Face hub, as a Policy in eval mode.

    dtype None: the checkpoint's own; device None: the CPU. Only a name that is no folder here touches the network.
    Raises ValueError for a model whose logits are not W h_t + b (a logit scale or cap: scoring works from hidden states),
    where `Policy` does, and for a path (a PathLike, or a string that starts with /, ./, ../ or ~) at which there is no folder.
    """
    from transformers import AutoModelForCausalLM

    path = folder_or_name(path)
    tokenizer = load_tokenizer(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto" if dtype is None else dtype)
    model = (model if device is None else model.to(device)).eval()
    check_linear_head(model)
    return Policy(model, tokenizer)


def folder_or_name(path: str | PathLike) -> str:
    """The path, with ~ expanded, or the name as it is. Raises ValueError for what looks like a path and is no folder."""
    text = os.path.expanduser(os.fspath(path))
    is_path = isinstance(path, PathLike) or text in (".", "..") or text.startswith(("./", "../", "~")) or os.path.isabs(text)
    if is_path and not Path(text).is_dir():
        raise ValueError(f"there is no folder {text}, which is where the model was to be loaded from")
    return text


def load_tokenizer(path: str | PathLike):
    """The tokenizer of that folder or name, left-padding.

    A tokenizer that says it is its tokenizer.json and nothing else is loaded so. (For some architectures, Qwen2 among them,
    AutoTokenizer takes the architecture's own class whatever the file says, and adds that class's tokens.)
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    declared = get_tokenizer_config(path).get("tokenizer_class")
    plain = declared in ("PreTrainedTokenizerFast", "TokenizersBackend")
    return (PreTrainedTokenizerFast if plain else AutoTokenizer).from_pretrained(path, padding_side="left")


def as_policy(policy: "Policy | str | PathLike", **options) -> Policy:
    """The policy itself, or the one loaded from that path or name."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str | PathLike):
        return from_pretrained(policy, **options)
    raise ValueError(f"a policy must be a Policy, or the path or name of a model, got {type(policy).__name__}")


def check_linear_head(model: nn.Module) -> None:
    """Raise ValueError unless the model's logits are its head applied to its backbone's last hidden states, nothing more."""
    backbone, head = backbone_and_head(model)
    ids = torch.arange(min(8, len(head.weight)), device=head.weight.device)[None]
    with evaluating(model), torch.no_grad():
        given, linear = model(ids).logits, head(backbone(ids).last_hidden_state)
    if not (given - linear).abs().max() <= 0.01 * linear.abs().max():
        raise ValueError(f"the logits of {type(model).__name__} are no linear function of its hidden states (a logit scale or "
                         "cap): such a model cannot be scored from hidden states")


def check_same_vocabulary(policy: Policy, ref: Policy) -> None:
    """Raise ValueError unless both give every token the same id, and score equally many."""
    sizes = [backbone_and_head(each.model)[1].weight.shape[0] for each in (policy, ref)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"policy and reference must have one vocabulary, got {sizes[0]} and {sizes[1]} logits")
    if policy.tokenizer is not ref.tokenizer and policy.tokenizer.get_vocab() != ref.tokenizer.get_vocab():
        raise ValueError("policy and reference must have one vocabulary: their tokenizers give some token different ids")
