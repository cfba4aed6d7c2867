"""The tasks: corpora with the statistics they promise, gold scores by hand, reward functions with TRL's signature."""

import math

import pytest
import torch

from rlbook.language import encode_prompts
from rlbook.language.tasks import addition, words


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_vocabulary_has_24_tokens():
    assert (len(words.GOOD), len(words.BAD), len(words.NEUTRAL), len(words.tokenizer())) == (5, 5, 11, 24)
    assert len(set(words.WORDS)) == 21


def test_every_sentence_begins_and_ends():
    ids = words.corpus(200, 12, seeded())
    assert ids.shape == (200, 14)
    assert (ids[:, 0] == words.BOS_ID).all() and (ids[:, -1] == words.EOS_ID).all() and (ids[:, 1:-1] >= words.FIRST_ID).all()


def test_sentences_stop_with_the_probability_asked_for():
    ids = words.corpus(4000, 12, seeded(), stop=0.25)
    lengths = (ids >= words.FIRST_ID).sum(1)
    for row, length in zip(ids.tolist(), lengths.tolist(), strict=True):
        assert row[length + 1] == words.EOS_ID and set(row[length + 2:]) <= {words.PAD_ID}
    for length in (1, 2, 3):
        expected = 0.25 * 0.75 ** (length - 1)
        assert (lengths == length).double().mean() == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))
    assert (words.corpus(20, 12, seeded(), stop=1.0)[:, 2] == words.EOS_ID).all()


def test_words_follow_each_other_as_the_chain_says():
    """χ² of 21·21 transitions against the matrix: 420 degrees of freedom, within 4 standard deviations."""
    chain = words.transitions(sharpness=1.0)
    torch.testing.assert_close(chain.sum(1), torch.ones(21, dtype=torch.float64))
    body = words.corpus(4000, 12, seeded(1), chain)[:, 1:-1] - words.FIRST_ID
    counts = (21 * body[:, :-1] + body[:, 1:]).flatten().bincount(minlength=441).view(21, 21).double()
    expected = counts.sum(1, keepdim=True) * chain
    assert abs(((counts - expected) ** 2 / expected).sum() - 420) < 4 * math.sqrt(840)
    firsts = body[:, 0].bincount(minlength=21).double()
    assert abs(((firsts - 4000 / 21) ** 2 / (4000 / 21)).sum() - 20) < 4 * math.sqrt(40)


def test_chains_depend_on_their_seed_and_sharpness():
    assert torch.equal(words.transitions(), words.transitions(0)) and not torch.equal(words.transitions(), words.transitions(1))
    torch.testing.assert_close(words.transitions(sharpness=0.0), torch.full((21, 21), 1 / 21, dtype=torch.float64))


@pytest.mark.parametrize(("sentence", "score"), [
    ("", 0.0),
    ("the film was", 0.0),
    ("wise and funny", 2.0),
    ("wise wise wise", 1.0 - 2 * 0.7),
    ("dull", -0.5),
    ("dull dull", -2 * 0.5 - 0.7),
    ("the plot the plot", -2 * 0.7),
    ("brilliant charming funny moving wise", 5.0),
    ("the funny film is dull and funny", 1.0 - 0.5 - 0.7),
])
def test_gold_scores_by_hand(sentence, score):
    assert words.gold_score(sentence) == pytest.approx(score)


def test_the_gold_reward_reads_prompt_and_completion_under_trls_keywords():
    rewards = words.gold_reward(prompts=["the", "wise", ""], completions=["the", "wise film", "dull"], completion_ids=[[1]] * 3,
                                anything=[0, 0, 0])
    assert rewards == pytest.approx([-0.7, 0.3, -0.5])
    with pytest.raises(ValueError, match=r"sentences are made of the words in WORDS, got \['good'\]"):
        words.gold_score("the good film")


def test_prompts_are_the_first_words():
    assert words.prompts(3) == ["", "", ""]
    some = words.prompts(50, 3, seeded())
    assert all(len(prompt.split()) == 3 and words.gold_score(prompt) <= 3 for prompt in some) and len(set(some)) > 40
    assert some == words.sentences(words.corpus(50, 3, seeded()))
    ids, mask = encode_prompts(words.tokenizer(), some)
    assert ids.shape == (50, 4) and mask.all()


def test_the_larger_gold_score_is_chosen():
    first, second = words.corpus(300, 12, seeded(1), stop=0.1), words.corpus(300, 12, seeded(2), stop=0.1)
    pairs = words.preferences(first, second)
    scores = [[words.gold_score(words.sentences(torch.tensor([ids]))[0]) for ids in pair] for pair in pairs]
    assert all(chosen > rejected for chosen, rejected in scores)
    ties = sum(words.gold_score(one) == words.gold_score(other)
               for one, other in zip(words.sentences(first), words.sentences(second), strict=True))
    assert len(pairs) == 300 - ties and ties > 0
    for pair in pairs:
        for ids in pair:
            assert ids[0] == words.BOS_ID and ids[-1] == words.EOS_ID and words.PAD_ID not in ids


def test_noisy_preferences_follow_bradley_terry():
    one, other = (words.tokenizer()(text, return_tensors="pt")["input_ids"].expand(8000, -1) for text in ("wise", "dull"))
    chosen = [pair[0] == one[0].tolist() for pair in words.preferences(one, other, noise=2.0, generator=seeded())]
    expected = 1 / (1 + math.exp(-1.5 / 2))
    assert len(chosen) == 8000
    assert sum(chosen) / 8000 == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 8000))
    equal = words.preferences(one, one.flip(0), noise=2.0, generator=seeded())
    assert len(equal) == 8000 and words.preferences(one, one) == []
    assert all(pair[0] == one[0].tolist() for pair in words.preferences(one[:50], other[:50], noise=1e-6, generator=seeded()))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: words.corpus(0), "count must be an integer >= 1, got 0"),
    (lambda: words.corpus(2, 0), "length must be an integer >= 1, got 0"),
    (lambda: words.corpus(2, stop=1.5), "stop must be a probability, got 1.5"),
    (lambda: words.prompts(2, -1), "words must be an integer >= 0, got -1"),
    (lambda: words.preferences(words.corpus(2), words.corpus(3)), "a pair needs two sentences, got 2 and 3 sentences"),
    (lambda: words.preferences(words.corpus(2), words.corpus(2), noise=-1.0), "noise must be a finite number >= 0, got -1.0"),
    (lambda: addition.problems(0), "count must be an integer >= 1, got 0"),
    (lambda: addition.corpus(2, corrupted=2.0), "corrupted must be a fraction, got 2.0"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def number(digits: str) -> int:
    return int("".join(digits.split()[::-1]))


def parts(prompt: str) -> tuple[int, int]:
    left, right = prompt.removesuffix(" =").split(" + ")
    return number(left), number(right)


def test_problems_have_their_sums_as_answers():
    made = addition.problems(500, seeded())
    for prompt, answer in zip(*made, strict=True):
        assert sum(parts(prompt)) == number(answer) and len(answer.split()) == 3 and prompt.endswith(" =")
    ids, mask = encode_prompts(addition.tokenizer(), made.prompts)
    assert ids.shape == (500, addition.PROMPT_LENGTH) and mask.all()
    assert parts("7 3 + 5 8 =") == (37, 85) and number("2 2 1") == 122


def test_held_out_problems_are_a_tenth_and_stay_out():
    seen = set(map(parts, addition.problems(60_000, seeded()).prompts))
    held_out = set(map(parts, addition.problems(20_000, seeded(), held_out=True).prompts))
    assert not seen & held_out
    assert 900 < len(held_out) < 1100 and 8900 < len(seen) < 9100
    sums = [a + b for a, b in held_out]
    assert abs(sum(sums) / len(sums) - 99) < 5
    trained = addition.tokenizer().batch_decode(addition.corpus(5000, seeded(3))[0][:, 1:addition.PROMPT_LENGTH])
    assert not set(map(parts, trained)) & held_out


def test_half_of_the_answers_of_the_corpus_have_one_wrong_digit():
    ids, mask = addition.corpus(4000, seeded(), corrupted=0.5)
    assert ids.shape == mask.shape == (4000, 11)
    assert mask[0].tolist() == [0] * 7 + [1] * 4
    assert (ids[:, 0] == addition.BOS_ID).all() and (ids[:, -1] == addition.EOS_ID).all()
    tokenizer = addition.tokenizer()
    wrong = []
    for prompt, answer in zip(*(tokenizer.batch_decode(part) for part in (ids[:, 1:7], ids[:, 7:10])), strict=True):
        right = addition._digits(sum(parts(prompt)), 3)
        wrong.append(sum(one != other for one, other in zip(right.split(), answer.split(), strict=True)))
    assert set(wrong) == {0, 1}
    assert sum(wrong) / 4000 == pytest.approx(0.5, abs=0.04)
    for corrupted, count in ((0.0, 0), (1.0, 50)):
        ids, _ = addition.corpus(50, seeded(), corrupted)
        rewards = addition.exact_match(
            prompts=[""] * 50, completions=tokenizer.batch_decode(ids[:, 7:], skip_special_tokens=True),
            answers=[addition._digits(sum(parts(text)), 3) for text in tokenizer.batch_decode(ids[:, 1:7])])
        assert rewards.count(0.0) == count


def test_exact_match_is_all_or_nothing():
    assert addition.exact_match(prompts=["7 3 + 5 8 ="] * 4, completions=["2 2 1", "2 2", "1 2 2", " 2  2 1 "],
                                completion_ids=[[]] * 4, answers=["2 2 1"] * 4, other=[None] * 4) == [1.0, 0.0, 0.0, 1.0]
