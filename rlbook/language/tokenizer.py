"""Tokenizers: one of whole words, made on the spot, and prompts as left-padded ids for any."""

from collections.abc import Sequence

import torch
from torch import Tensor

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %} {{ message['content'] }}{% endfor %}"


def word_tokenizer(words: Sequence[str]):
    """A tokenizer whose tokens are whole words, ids 0, 1, 2 for <pad>, <bos>, <eos> and 3, 4, ... for the words in order.

    Text is split at white space. A text gets <bos> in front; a chat is <bos> and the contents of its messages. It pads on
    the left; `Policy.save` and `from_pretrained` save and load it with a model. Every sequence of ids survives decoding and
    encoding (add_special_tokens=False): tests fuzz it. No real tokenizer promises that, so training uses the sampled ids.
    Returns a `transformers.PreTrainedTokenizerFast`. Raises ValueError for an empty list, a repeated word, or a word that
    is empty, has white space in it, or is one of the three special tokens.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = [PAD, BOS, EOS]
    for word in words:
        if not isinstance(word, str) or word.split() != [word] or word in special:
            raise ValueError(f"a word must be a string without white space, and none of {special}, got {word!r}")
    if not words or len(set(words)) < len(words):
        raise ValueError(f"words must be different from each other, and at least one, got {list(words)}")
    ids = {token: index for index, token in enumerate([*special, *words])}
    inner = Tokenizer(WordLevel(ids))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, bos_token=BOS, eos_token=EOS, padding_side="left",
        chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False,
    )


def encode_prompts(tokenizer, prompts: Sequence) -> tuple[Tensor, Tensor]:
    """Prompts as ids and attention mask, both [B, L], padded on the left: a completion starts right of every prompt.

    A prompt is a string, or a chat: a list of messages {"role": ..., "content": ...}, to which the tokenizer's chat template
    is applied, with the opening of the assistant's answer. The tokenizer's own special tokens are added to strings only,
    since a template writes its own.
    Raises ValueError for no prompts, a prompt that is neither, a chat without chat template, a prompt without tokens
    (write the tokenizer's BOS, or a text), words that the tokenizer does not know, a tokenizer that has neither pad nor
    end-of-sequence token.
    """
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"prompts must be a list of at least one prompt, got {prompts!r}")
    rows = _encode_all(tokenizer, prompts)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if pad is None:
        raise ValueError("the tokenizer has neither pad nor end-of-sequence token: set tokenizer.pad_token")
    for prompt, row in zip(prompts, rows, strict=True):
        if not row:
            raise ValueError(f"prompt {prompt!r} has no tokens: a completion needs at least one to start from")
    length = max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _encode_all(tokenizer, prompts: Sequence) -> list[list[int]]:
    """The ids of every prompt: of strings in one call, which is faster, unless one cannot be encoded, which is to be named."""
    if all(isinstance(prompt, str) for prompt in prompts):
        try:
            return tokenizer(list(prompts))["input_ids"]
        except Exception:  # noqa: S110  (tokenizers raises a bare Exception)
            pass
    return [_encode(tokenizer, prompt) for prompt in prompts]


def _encode(tokenizer, prompt: str | list) -> list[int]:
    """The ids of one prompt."""
    chat = isinstance(prompt, list | tuple) and prompt and all(isinstance(message, dict) for message in prompt)
    if not chat and not isinstance(prompt, str):
        raise ValueError(f"a prompt must be a string or a list of messages {{'role': ..., 'content': ...}}, got {prompt!r}")
    if chat and not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template: give prompts as strings, or set tokenizer.chat_template")
    text = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True) if chat else prompt
    try:
        return tokenizer(text, add_special_tokens=not chat)["input_ids"]
    except Exception as error:  # tokenizers raises a bare Exception for an unknown word
        raise ValueError(f"prompt {prompt!r} cannot be encoded: {error}") from error


def decode(tokenizer, ids: Tensor, mask: Tensor) -> list[str]:
    """The text of each row of ids [B, C] where the mask is 1, without special tokens: what a reward function reads."""
    return tokenizer.batch_decode(real_tokens(ids, mask), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def real_tokens(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The ids of each row of ids [B, C] where the mask is not 0."""
    return [[token for token, real in zip(row, keep, strict=True) if real]
            for row, keep in zip(ids.tolist(), mask.tolist(), strict=True)]
