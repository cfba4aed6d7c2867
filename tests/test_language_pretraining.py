"""Next-token training and perplexity, against numbers known without a model."""

import math

import pytest
import torch

from rlbook.language import perplexity, pretrain, tiny_model
from rlbook.language.pretraining import next_token_losses
from rlbook.language.tasks import words


def small(vocabulary: int = 24, **options):
    return tiny_model(vocabulary, **{"hidden_size": 16, "num_heads": 2, "max_length": 20} | options)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    model = small(9)
    model.lm_head.weight.data.zero_()
    ids = torch.randint(9, (5, 6), generator=seeded())
    assert perplexity(model, ids) == pytest.approx(9, rel=1e-6)


def test_perplexity_is_the_mean_over_tokens_and_no_mean_of_means():
    model = small(9, tie_word_embeddings=False)
    model.lm_head.weight.data.mul_(30)
    ids, mask = torch.randint(9, (5, 6), generator=seeded()), torch.tensor([[1] * n + [0] * (6 - n) for n in (2, 6, 3, 5, 4)])
    logp = model(ids).logits.log_softmax(-1).double()
    every = [logp[row, t - 1, ids[row, t]].item() for row in range(5) for t in range(1, int(mask[row].sum()))]
    assert len(every) == 15
    for batch_size in (1, 2, 256):
        assert perplexity(model, ids, mask, batch_size) == pytest.approx(math.exp(-sum(every) / 15), rel=1e-6)
    junk = ids.where(mask == 1, 8 - ids)
    assert perplexity(model, junk, mask) == pytest.approx(perplexity(model, ids, mask), rel=1e-9)


def test_losses_are_zero_without_gradient_where_the_mask_is():
    model = small(9)
    ids = torch.randint(9, (2, 5), generator=seeded())
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 0, 0]])
    losses, counts = next_token_losses(model, ids, mask)
    assert counts.tolist() == [[True, True, False, False], [False, True, False, False]]
    assert (losses[~counts] == 0).all() and (losses[counts] > 0).all()
    (gradient,) = torch.autograd.grad(losses[~counts].sum(), [model.lm_head.weight])
    assert (gradient == 0).all()


def test_training_reaches_the_entropy_of_the_chain():
    """The corpus is a Markov chain, so the lowest perplexity there is is known, and that of single words is higher."""
    chain = words.transitions(sharpness=2.5)
    ids, held_out = (words.corpus(count, 8, seeded(count), chain) for count in (2048, 512))
    rate = -(chain * chain.log()).sum(-1)
    visits = torch.full((len(chain),), 1 / len(chain), dtype=torch.float64)
    total, words_alone = math.log(len(chain)), []
    for _ in range(7):
        total, visits = total + float(visits @ rate), visits @ chain
        words_alone.append(-float(visits @ visits.log()))
    best, unigram = math.exp(total / 9), math.exp((math.log(len(chain)) + sum(words_alone)) / 9)
    model = tiny_model(24, hidden_size=32)
    before = perplexity(model, held_out)
    losses = pretrain(model, ids, steps=80, batch_size=64, lr=6e-3)
    after = perplexity(model, held_out)
    assert len(losses) == 80 and losses[0] == pytest.approx(math.log(before), abs=0.1)
    assert 0.95 * best < after < 0.5 * best + 0.5 * unigram < before
    assert sum(losses[-10:]) < sum(losses[:10])


def test_training_is_reproducible_and_touches_no_global_randomness():
    ids = words.corpus(64, 6, seeded())
    runs = []
    for seed in (0, 0, 1):
        state = torch.get_rng_state()
        model = small()
        runs.append((pretrain(model, ids, steps=4, batch_size=8, seed=seed), model.lm_head.weight.detach()))
        assert torch.equal(torch.get_rng_state(), state) and not model.training
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_only_what_the_mask_counts_is_learnt():
    """Token 3 is followed by 4 where the mask counts, and by 5 where it does not."""
    ids = torch.tensor([[3, 4, 6, 3, 5]] * 8)
    mask = torch.tensor([[1, 1, 0, 0, 0]] * 8)
    model = small(9)
    pretrain(model, ids, mask, steps=40, batch_size=8, lr=1e-2)
    following = model(torch.tensor([[3]])).logits[0, 0].softmax(-1)
    assert following[4] > 0.9
    assert model(ids[:1]).logits[0, 3].softmax(-1)[5] < 0.5


@pytest.mark.parametrize(("changes", "message"), [
    ({"ids": torch.zeros(3, 1, dtype=torch.long)}, r"ids must be \[N, L\] with N >= 1 rows of L >= 2 tokens, got \(3, 1\)"),
    ({"ids": torch.zeros(0, 4, dtype=torch.long)}, r"ids must be \[N, L\] with N >= 1 rows"),
    ({"mask": torch.ones(3, 5)}, r"mask must have the shape of ids, \(3, 4\), got \(3, 5\)"),
    ({"mask": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]])}, "every row of the mask must count at least one token"),
    ({"ids": torch.full((3, 4), 9)}, r"ids must lie in \[0, 9\), the model's embeddings, got 9 to 9"),
    ({"ids": torch.full((3, 4), -1)}, r"ids must lie in \[0, 9\), the model's embeddings, got -1 to -1"),
    ({"ids": torch.zeros(3, 21, dtype=torch.long)}, r"rows have 21 tokens, but the model takes 20 \(max_position_embeddings\)"),
    ({"steps": 0}, "steps must be an integer >= 1, got 0"),
    ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
    ({"lr": -1.0}, "lr must be a positive, finite number, got -1.0"),
    ({"lr": float("nan")}, "lr must be a positive, finite number, got nan"),
    ({"max_grad_norm": 0.0}, "max_grad_norm must be a positive number, got 0.0"),
    ({"weight_decay": -0.1}, "weight_decay must be a finite number >= 0, got -0.1"),
])
def test_bad_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        pretrain(small(9), **{"ids": torch.zeros(3, 4, dtype=torch.long), "steps": 1} | changes)
