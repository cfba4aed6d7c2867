"""The scalar model at the right position, Bradley and Terry's loss, and a reward model that learns, is judged and saved."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rlbook.language.model import tiny_model
from rlbook.language.reward_model import (
    encode_pairs,
    encode_text,
    evaluate_reward_model,
    preference_loss,
    standardize,
    train_reward_model,
)
from rlbook.language.scalar import ScalarModel
from rlbook.language.tokenizer import word_tokenizer

WORDS = ["bad", "good", "film", "the"]
BAD, GOOD, FILM, THE = range(3, 7)


class Reader(nn.Module):
    """A backbone by hand: the hidden state at a token is (its position, the sum of all ids read up to it)."""

    def __init__(self, limit=64):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=2, vocab_size=1000, max_position_embeddings=limit)
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, input_ids, attention_mask, position_ids, use_cache):
        read = (input_ids * attention_mask).cumsum(-1)
        hidden = torch.stack([position_ids.float(), read.float()], -1) * self.one
        return SimpleNamespace(last_hidden_state=hidden)


def reader(weights=(0.0, 1.0)) -> ScalarModel:
    made = ScalarModel(Reader())
    made.head.weight.data[0] = torch.tensor(weights)
    return made


def small(seed: int = 0) -> nn.Module:
    return tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, max_length=16, seed=seed)


def pairs(count: int, generator: torch.Generator) -> list[tuple[list[int], list[int]]]:
    """The text with more good words is chosen; lengths differ."""
    made = []
    while len(made) < count:
        lengths = torch.randint(3, 8, (2,), generator=generator).tolist()
        both = [[1, *torch.randint(BAD, THE + 1, (length,), generator=generator).tolist()] for length in lengths]
        counts = [row.count(GOOD) for row in both]
        if counts[0] != counts[1]:
            made.append(tuple(both if counts[0] > counts[1] else both[::-1]))
    return made


# ---- where the number is read

def test_row_24_the_critic_reads_the_prefix_before_the_token():
    """V(s_t) is the sum of the prompt and of y_0..y_{t−1}, without y_t."""
    critic = reader()
    prompt, prompt_mask = torch.tensor([[900, 10, 20], [5, 6, 7]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    completion, mask = torch.tensor([[1, 2, 4, 8], [100, 200, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    got = critic.values(prompt, prompt_mask, completion, mask)
    assert got[0].tolist() == [30, 31, 33, 37]
    assert got[1, :2].tolist() == [18, 118]
    positions = reader((1.0, 0.0)).values(prompt, prompt_mask, completion, mask)
    assert positions[0].tolist() == [1, 2, 3, 4] and positions[1, :2].tolist() == [2, 3]  # L − 1 + t, less the padding


def test_the_critic_does_not_see_the_token_it_judges():
    critic = ScalarModel.from_causal(small(), "orthogonal")
    prompt, completion = torch.tensor([[1, 5]]), torch.tensor([[3, 4, 5, 6]])
    before = critic.values(prompt, torch.ones_like(prompt), completion, torch.ones_like(completion))
    for t in range(4):
        other = completion.clone()
        other[0, t] = BAD + (other[0, t] - BAD + 1) % 4
        after = critic.values(prompt, torch.ones_like(prompt), other, torch.ones_like(completion))
        assert torch.equal(after[0, :t + 1], before[0, :t + 1])
        assert t == 3 or (after[0, t + 1:] != before[0, t + 1:]).all()


def test_the_reward_is_read_at_the_last_real_token():
    model = reader()
    ids, mask = torch.tensor([[1, 2, 4, 8], [3, 5, 999, 999], [999, 7, 8, 9]]), torch.tensor(
        [[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]])
    assert model.scores(ids, mask).tolist() == [15, 8, 24]
    assert model.score_rows([[1, 2, 4, 8], [3, 5], [7, 8, 9]], batch_size=2).tolist() == [15, 8, 24]


def test_row_14_padding_on_either_side_changes_no_reward():
    model = ScalarModel.from_causal(small(), "orthogonal")
    row = torch.tensor([[1, 3, 5, 4]])
    alone = model.scores(row, torch.ones_like(row))
    junk = torch.full((1, 3), 6)
    for order in ((junk, row), (row, junk)):
        mask = torch.cat([torch.ones_like(x) if x is row else torch.zeros_like(x) for x in order], 1)
        torch.testing.assert_close(model.scores(torch.cat(order, 1), mask), alone, rtol=1e-5, atol=1e-6)


def test_a_copy_shares_nothing_with_the_policy():
    model = small()
    critic = ScalarModel.from_causal(model)
    ids = torch.tensor([[1, 3, 5]])
    assert critic(ids, torch.ones_like(ids)).eq(0).all()  # the head of zeros
    theirs = {p.data_ptr() for p in model.parameters()}
    assert not theirs & {p.data_ptr() for p in critic.parameters()}
    assert all(p.requires_grad for p in ScalarModel.from_causal(model.requires_grad_(False)).parameters())
    direction = ScalarModel.from_causal(model, "orthogonal", seed=3).head.weight
    assert direction.norm().item() == pytest.approx(1) and not torch.equal(
        direction, ScalarModel.from_causal(model, "orthogonal", seed=4).head.weight)


def test_row_13_dropout_is_off_whatever_the_mode():
    model = tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, dropout=0.5)
    critic = ScalarModel.from_causal(model, "orthogonal").train()
    ids = torch.tensor([[1, 3, 5, 4]])
    assert torch.equal(critic(ids, torch.ones_like(ids)), critic(ids, torch.ones_like(ids)))
    assert critic.backbone.training


def test_bf16_backbone_float32_head():
    critic = ScalarModel.from_causal(small().bfloat16(), "orthogonal")
    ids = torch.tensor([[1, 3, 5, 4]])
    got = critic(ids, torch.ones_like(ids))
    expected = ScalarModel.from_causal(small(), "orthogonal")(ids, torch.ones_like(ids))
    assert got.dtype == torch.float32 and critic.head.weight.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0, atol=0.1)
    assert ScalarModel.from_causal(small().double()).head.weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reader().scores(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 4)), "one shape"),
        (lambda: reader().scores(torch.ones(3, dtype=torch.long), torch.ones(3)), "one shape"),
        (lambda: reader().scores(torch.ones(2, 2, dtype=torch.long), torch.tensor([[1, 1], [0, 0]])), "at least one real token"),
        (lambda: reader().score_rows([]), "no rows"),
        (lambda: reader().score_rows([[1], []]), "an empty row"),
        (lambda: reader().score_rows([[1], [1000]]), "from 0 to 999.*got 1000"),
        (lambda: reader().score_rows([[-1]]), "got -1"),
        (lambda: reader().score_rows([[1] * 65]), "a text has 65 tokens, but the model takes 64"),
        (lambda: reader().values(*[torch.ones(2, 3, dtype=torch.long)] * 3, torch.ones(2, 4)), "completion_ids and its mask"),
        (lambda: reader().values(*[torch.ones(2, 3).long()] * 2, *[torch.ones(3, 3).long()] * 2), "as many, got 2 and 3"),
        (lambda: ScalarModel.from_causal(small(), "ones"), "init must be 'zero' or 'orthogonal', got 'ones'"),
        (lambda: ScalarModel.from_causal(small().base_model), "backbone with a linear head"),
    ],
)
def test_bad_input_of_scalar_models(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- the loss

@pytest.mark.equation("reward-model")
def test_preference_loss_is_the_negative_log_likelihood():
    r1 = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64, requires_grad=True)
    r2 = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    loss = preference_loss(r1, r2)
    torch.testing.assert_close(loss, -(1 / (1 + (r2 - r1).exp())).log())
    assert loss[0].item() == pytest.approx(math.log(2))
    gradients = torch.autograd.grad(loss.sum(), (r1, r2))
    torch.testing.assert_close(gradients[0], -(r2 - r1).sigmoid())
    torch.testing.assert_close(gradients[1], (r2 - r1).sigmoid())
    torch.testing.assert_close(preference_loss(r1 + 7, r2 + 7), loss)


def test_preference_loss_does_not_overflow():
    r = torch.tensor([1e4, -1e4, 0.0])
    assert preference_loss(r, -r).tolist() == [0.0, 2e4, pytest.approx(math.log(2))]
    zero = torch.zeros(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(preference_loss(zero - 1e4, torch.zeros(1)).sum(), zero)
    assert gradient.item() == -1.0


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        (torch.zeros(2), torch.zeros(3), r"one shape, got \(2,\) and \(3,\)"),
        (torch.zeros(2).long(), torch.zeros(2), "chosen must be a floating point tensor of rewards, got torch.int64"),
        (torch.zeros(2), [0.0, 0.0], "rejected must be.*got list"),
        (torch.zeros(2), torch.zeros(2).double(), "one dtype and device"),
    ],
)
def test_bad_rewards_are_refused(chosen, rejected, message):
    with pytest.raises(ValueError, match=message):
        preference_loss(chosen, rejected)


# ---- learning

@pytest.fixture(scope="module")
def learned():
    generator = torch.Generator().manual_seed(0)
    model = ScalarModel.from_causal(small(), "orthogonal")
    data = pairs(700, generator)
    history = train_reward_model(model, data, num_epochs=5, batch_size=50, learning_rate=1e-2, held_out=200, seed=1)
    return model, data, history


def test_a_reward_model_learns_what_was_preferred(learned):
    model, data, history = learned
    assert set(history) == {"loss", "accuracy", "held_out_loss", "held_out_accuracy"}
    assert all(len(values) == 5 for values in history.values())
    assert history["held_out_accuracy"][-1] > 0.9 and history["loss"][-1] < 0.5 * history["loss"][0]
    with_good, without = model.score_rows([[1, GOOD, GOOD, GOOD], [1, FILM, FILM, FILM]])
    assert with_good > without


def test_evaluation_is_that_of_the_held_out_pairs(learned):
    model, data, history = learned
    found = evaluate_reward_model(model, data[-200:], num_bins=4)
    assert found["accuracy"] == history["held_out_accuracy"][-1]
    assert found["loss"] == pytest.approx(history["held_out_loss"][-1], rel=1e-5)
    assert sum(b["count"] for b in found["calibration"]) == 200
    assert sum(b["count"] * b["accuracy"] for b in found["calibration"] if b["count"]) == pytest.approx(200 * found["accuracy"])
    for k, b in enumerate(found["calibration"]):
        assert not b["count"] or 0.5 + k / 8 <= b["confidence"] <= 0.5 + (k + 1) / 8
    assert 0 <= found["calibration_error"] <= 0.5


def test_calibration_by_hand():
    """Margins 2, 2, −2 and 0: the favourite is chosen twice in three times at confidence σ(2), a tie counts half."""
    rows = [([3], [1]), ([3], [1]), ([1], [3]), ([5], [5])]
    found = evaluate_reward_model(reader(), rows, num_bins=2)
    assert found["accuracy"] == 2.5 / 4
    low, high = found["calibration"]
    assert low == {"confidence": 0.5, "accuracy": 0.5, "count": 1}
    confidence = 1 / (1 + math.exp(-2))
    assert high == {"confidence": pytest.approx(confidence), "accuracy": pytest.approx(2 / 3), "count": 3}
    assert found["calibration_error"] == pytest.approx(0.75 * (confidence - 2 / 3))
    empty = evaluate_reward_model(reader(), rows[3:], num_bins=2)["calibration"][1]
    assert empty == {"confidence": None, "accuracy": None, "count": 0}


def test_training_is_reproducible_and_leaves_the_global_random_state_alone():
    data = pairs(40, torch.Generator().manual_seed(0))
    before = torch.manual_seed(5).get_state()
    first, second, third = (ScalarModel.from_causal(small(), "orthogonal") for _ in range(3))
    a = train_reward_model(first, data, num_epochs=2, batch_size=16, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    b = train_reward_model(second, data, num_epochs=2, batch_size=16, seed=1)
    assert a["loss"] == b["loss"] and all(map(math.isnan, a["held_out_loss"]))
    assert all(torch.equal(x, y) for x, y in zip(first.parameters(), second.parameters(), strict=True))
    assert train_reward_model(third, data, num_epochs=2, batch_size=16, seed=2)["loss"] != a["loss"]


def test_held_out_pairs_are_not_trained_on():
    data = pairs(30, torch.Generator().manual_seed(0))
    models = [ScalarModel.from_causal(small(), "orthogonal") for _ in range(2)]
    train_reward_model(models[0], data, num_epochs=1, batch_size=8, held_out=10)
    train_reward_model(models[1], data[:20] + [pair[::-1] for pair in data[20:]], num_epochs=1, batch_size=8, held_out=10)
    assert all(torch.equal(x, y) for x, y in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_standardized_rewards_have_mean_0_and_deviation_1_and_the_same_preferences(learned):
    model, data, _ = learned
    texts = [chosen for chosen, _ in data[:50]] + [rejected for _, rejected in data[:50]]
    before = model.score_rows(texts)
    for _ in range(2):  # a second time changes nothing
        standardize(model, texts)
        after = model.score_rows(texts)
        assert after.mean().item() == pytest.approx(0, abs=1e-5) and after.std().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(after, (before - before.mean()) / before.std(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="must not all have one reward"):
        standardize(model, texts[:1] * 3)
    alike = ScalarModel.from_causal(small())  # w = 0, so that every text has the reward b
    alike.head.bias.data.fill_(0.1)
    assert alike.score_rows(texts).std() > 0  # the rounding of their mean
    with pytest.raises(ValueError, match="must not all have one reward, got 0.1 for each of 100"):
        standardize(alike, texts)
    assert alike.scale == 1 and alike.offset == 0
    with pytest.raises(ValueError, match="at least two texts, got 1"):
        standardize(model, texts[:1])


def test_saved_and_loaded(learned, tmp_path):
    model, data, _ = learned
    texts = [chosen for chosen, _ in data[:50]]
    standardize(model, texts)
    model.save(tmp_path / "rm")
    loaded = ScalarModel.load(tmp_path / "rm")
    assert torch.equal(loaded.score_rows(texts), model.score_rows(texts))
    half = ScalarModel.from_causal(small().bfloat16(), "orthogonal")
    half.save(tmp_path / "half")
    loaded = ScalarModel.load(tmp_path / "half")
    assert next(loaded.backbone.parameters()).dtype == torch.bfloat16 and loaded.head.weight.dtype == torch.float32
    assert torch.equal(loaded.score_rows(texts), half.score_rows(texts))
    with pytest.raises(ValueError, match="holds no ScalarModel"):
        ScalarModel.load(tmp_path)


# ---- pairs

def test_pairs_as_text_chat_and_ids():
    tok = word_tokenizer(WORDS)
    end = tok.eos_token_id
    ids = ([1, THE, GOOD, end], [1, THE, BAD, end])
    assert encode_pairs([("the good", "the bad")], tok, 7) == [ids]
    assert encode_pairs([{"chosen": "the good", "rejected": "the bad"}], tok, 7) == [ids]
    assert encode_pairs([{"prompt": "the", "chosen": " good", "rejected": " bad", "other": 1}], tok, 7) == [ids]
    assert encode_pairs([(torch.tensor(ids[0]), torch.tensor(ids[1]))], None, 7) == [ids]
    assert encode_pairs([{"prompt": [1], "chosen": [THE], "rejected": [FILM]}], None, 7) == [([1, THE], [1, FILM])]
    chat = [{"role": "user", "content": "the"}], [{"role": "assistant", "content": "good"}]
    record = {"prompt": chat[0], "chosen": chat[1], "rejected": [{"role": "assistant", "content": "bad"}]}
    assert encode_pairs([record], tok, 7) == [([1, THE, GOOD], [1, THE, BAD])]
    assert encode_text("the <eos>", tok) == [1, THE, end]


def test_strings_are_joined_as_they_are_and_unknown_words_refused():
    tok, model = word_tokenizer(WORDS), ScalarModel.from_causal(small())
    record = {"prompt": "the", "chosen": "good", "rejected": "bad"}
    chat = [{"role": "user", "content": "word"}]
    for given, text in ((record, "thegood"), (("the word", "the"), "the word"), ((chat, chat), "<bos> word")):
        for call in (train_reward_model, evaluate_reward_model):
            with pytest.raises(ValueError, match=f"text '{text}' cannot be encoded"):
                call(model, [given], tok)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one pair"),
        ([([1], [2], [3])], "a pair must be .chosen, rejected. or a record"),
        ([{"chosen": [1]}], "a pair must be"),
        (["ab"], "a pair must be"),
        ([("a", "b")], "texts need a tokenizer"),
        ([(1.0, [2])], "a text must be"),
        ([([1], [])], "an empty row"),
        ([([1], [7])], "from 0 to 6"),
        ([{"prompt": "a", "chosen": [1], "rejected": [2]}], "of one kind, got str and list"),
    ],
)
def test_bad_pairs_are_refused(given, message):
    model = ScalarModel.from_causal(small())
    for call in (train_reward_model, evaluate_reward_model):
        with pytest.raises(ValueError, match=message):
            call(model, given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_epochs": 0}, "num_epochs must be an integer >= 1"), ({"batch_size": 0}, "batch_size must"),
     ({"held_out": -1}, "held_out must"), ({"held_out": 2}, "got 2 pairs, 2 of them held out"),
     ({"learning_rate": 0.0}, "learning_rate must be a positive, finite number"),
     ({"max_grad_norm": -1.0}, "max_grad_norm must be a positive number")],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        train_reward_model(ScalarModel.from_causal(small()), [([1], [2])] * 2, **settings)
    with pytest.raises(ValueError, match="num_bins must"):
        evaluate_reward_model(ScalarModel.from_causal(small()), [([1], [2])], num_bins=0)
