"""The tokenizer of whole words, prompts as ids, and why training never uses text that was tokenised again."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook.language import decode, encode_prompts, word_tokenizer
from rlbook.language.tasks import words

WORDS = ["red", "green", "blue", "don't", "7", "+", "été"]
TOKENIZER = word_tokenizer(WORDS)


def test_ids_are_the_special_tokens_and_the_words_in_order():
    assert TOKENIZER.get_vocab() == {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {word: 3 + k for k, word in enumerate(WORDS)}
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert TOKENIZER.padding_side == "left"
    assert TOKENIZER("blue  red")["input_ids"] == [1, 5, 3]


@given(st.lists(st.integers(0, 2 + len(WORDS)), max_size=12))
def test_every_sequence_of_ids_survives_decoding_and_encoding(ids):
    """PITFALLS 21, the tokenizer here: fuzzed, special tokens included."""
    text = TOKENIZER.decode(ids)
    assert TOKENIZER(text, add_special_tokens=False)["input_ids"] == ids


@given(st.lists(st.sampled_from(WORDS)))
def test_every_text_survives_encoding_and_decoding(some):
    text = " ".join(some)
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"], skip_special_tokens=True) == text


def test_a_real_tokenizer_does_not_survive_it():
    """PITFALLS 21: byte pair encoding writes one text in several ways, and encoding finds only one of them."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    merging = Tokenizer(BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    assert merging.encode("ab").ids == [2]
    sampled = [0, 1]
    text = "".join(merging.id_to_token(index) for index in sampled)
    assert merging.encode(text).ids != sampled


@pytest.mark.parametrize(("bad", "message"), [
    ([], "words must be different from each other, and at least one"),
    (["a", "b", "a"], "words must be different from each other, and at least one, got"),
    (["a b"], "a word must be a string without white space"),
    ([""], "a word must be a string without white space"),
    ([3], "a word must be a string without white space"),
    (["<eos>"], "and none of .*, got '<eos>'"),
])
def test_bad_words_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        word_tokenizer(bad)


def test_prompts_are_padded_on_the_left():
    ids, mask = encode_prompts(TOKENIZER, ["red green", "", "blue"])
    assert ids.tolist() == [[1, 3, 4], [0, 0, 1], [0, 1, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert ids.dtype == mask.dtype == torch.long


def test_a_chat_goes_through_the_template():
    chat = [{"role": "system", "content": "red"}, {"role": "user", "content": "green blue"}]
    ids, mask = encode_prompts(TOKENIZER, [chat, "red"])
    assert ids.tolist() == [[1, 3, 4, 5], [0, 0, 1, 3]] and mask.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]


def test_the_template_opens_the_answer_and_writes_its_own_special_tokens():
    tokenizer = word_tokenizer(["user", "assistant", "red"])
    tokenizer.chat_template = ("{% for m in messages %}{{ m['role'] }} {{ m['content'] }} <eos>{% endfor %}"
                               "{% if add_generation_prompt %} assistant{% endif %}")
    ids, _ = encode_prompts(tokenizer, [[{"role": "user", "content": "red"}]])
    assert ids.tolist() == [[3, 5, 2, 4]]


def test_a_tokenizer_without_pad_token_pads_with_its_end():
    tokenizer = word_tokenizer(["red"])
    tokenizer.pad_token = None
    ids, mask = encode_prompts(tokenizer, ["red", ""])
    assert ids.tolist() == [[1, 3], [2, 1]] and mask.tolist() == [[1, 1], [0, 1]]
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither pad nor end-of-sequence token: set tokenizer.pad_token"):
        encode_prompts(tokenizer, ["red", ""])


@pytest.mark.parametrize(("prompts", "message"), [
    ([], r"prompts must be a list of at least one prompt, got \[\]"),
    ("red", "prompts must be a list of at least one prompt, got 'red'"),
    (["red purple"], "prompt 'red purple' cannot be encoded"),
    ([3], "a prompt must be a string or a list of messages .*, got 3"),
    ([[]], r"a prompt must be a string or a list of messages .*, got \[\]"),
    ([["red"]], "a prompt must be a string or a list of messages"),
])
def test_bad_prompts_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        encode_prompts(TOKENIZER, prompts)


def test_chats_without_template_and_prompts_without_tokens_are_refused():
    from tokenizers import processors

    tokenizer = word_tokenizer(["red"])
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="the tokenizer has no chat template: give prompts as strings"):
        encode_prompts(tokenizer, [[{"role": "user", "content": "red"}]])
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    with pytest.raises(ValueError, match="prompt '' has no tokens: a completion needs at least one to start from"):
        encode_prompts(tokenizer, ["red", ""])


def test_decoding_reads_what_counts_without_special_tokens():
    ids = torch.tensor([[3, 4, 2, 3], [5, 1, 3, 0]])
    assert decode(TOKENIZER, ids, torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])) == ["red green", "blue red"]


def test_the_corpus_is_what_the_tokenizer_makes_of_its_sentences():
    ids = words.corpus(50, stop=0.2, generator=torch.Generator().manual_seed(0))
    texts = words.sentences(ids)
    tokenizer = words.tokenizer()
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == texts
    for text, row in zip(texts, ids.tolist(), strict=True):
        assert tokenizer(text)["input_ids"] + [2] == [index for index in row if index != 0]


def test_a_list_of_lengths_makes_one_rectangle():
    lengths = random.Random(0).choices(range(6), k=20)
    ids, mask = encode_prompts(TOKENIZER, [" ".join(["red"] * n) for n in lengths])
    assert mask.sum(1).tolist() == [1 + n for n in lengths] and ids.shape == (20, 1 + max(lengths))
    assert (ids[mask == 0] == 0).all() and (mask[:, 1:] >= mask[:, :-1]).all()
