"""Evaluation: rewards of completions as a grid, greedy accuracy, and pass@k against all subsets, enumerated."""

import itertools
import math

import numpy as np
import pytest
import torch

from rlbook.language.evaluation import evaluate, pass_at_k
from rlbook.language.experience import sample
from rlbook.language.model import tiny_model
from rlbook.language.prompts import as_prompts
from tests.grpo_cases import PROMPTS, SMALL, constant, good_words, small

POLICY = small()


@pytest.mark.equation("pass-at-k")
@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k([c], n, k).item() == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-14)


@pytest.mark.equation("pass-at-k")
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_pass_at_k_is_unbiased(p):
    """Σ_c P(c of n right) pass@k = 1 − (1 − p)^k; the share of right ones put into that formula gives less."""
    n = 6
    weight = torch.tensor([math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)], dtype=torch.float64)
    for k in range(1, n + 1):
        assert (weight * pass_at_k(range(n + 1), n, k)).sum().item() == pytest.approx(1 - (1 - p) ** k, abs=1e-14)
        plugged = 1 - (1 - torch.arange(n + 1).double() / n) ** k
        assert (weight * plugged).sum() <= 1 - (1 - p) ** k + 1e-14
    if 0 < p < 1:
        assert (weight * (1 - (1 - torch.arange(n + 1).double() / n) ** 4)).sum() < 1 - (1 - p) ** 4 - 0.01


def test_pass_at_k_of_large_numbers():
    for n, c, k in ((10_000, 3, 5_000), (10_000, 1, 1), (100_000, 10, 9), (1_000, 999, 1), (1_000, 500, 1_000)):
        exact = 1 - math.comb(n - c, k) / math.comb(n, k) if n < 5_000 else None
        got = pass_at_k(torch.tensor([c]), n, k).item()
        if exact is not None:
            assert got == pytest.approx(exact, abs=1e-13)
        if k == 1:
            assert got == pytest.approx(c / n, rel=1e-10)
    # 1 − Π (n−c−j)/(n−j) over the c right ones instead of the k drawn: the same number
    other = 1 - math.prod((10_000 - 5_000 - j) / (10_000 - j) for j in range(3))
    assert pass_at_k([3], 10_000, 5_000).item() == pytest.approx(other, rel=1e-12)
    assert pass_at_k([0, 5, 10], 10, 10).tolist() == [0, 1, 1] and pass_at_k([], 3, 2).shape == (0,)


def test_pass_at_k_of_counts_of_any_type():
    for counts in ([2, 0], (2.0, 0), torch.tensor([2, 0]), np.array([2, 0]), [torch.tensor(2), np.int64(0)], range(2, -1, -2)):
        assert pass_at_k(counts, 4, 1).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], 0, 1), "n must be an integer"), (([1], 4, 5), "k must be an integer"), (([1], 4, 0), "k must be an integer"),
        (([5], 4, 2), "correct must hold integers from 0 to n = 4"), (([-1], 4, 2), "correct must hold"),
        (([0.5], 4, 2), "correct must hold"), (([math.nan], 4, 2), "correct must hold"),
        ((torch.tensor(1), 4, 2), "correct must hold"), ((torch.tensor([True]), 4, 2), "correct must hold"),
        ((torch.ones(2, 2), 4, 2), "correct must hold"), (([True, False], 4, 2), r"correct must hold .* got \[True, False\]"),
        (([np.bool_(True)], 4, 2), "correct must hold"), (([torch.tensor(True)], 4, 2), "correct must hold"),
        (([1j], 4, 2), "correct must hold"), ((torch.tensor([1 + 0j]), 4, 2), "correct must hold"),
        ((["1"], 4, 2), "correct must hold"), (([[1]], 4, 2), "correct must hold"),
        ((np.ones((2, 2)), 4, 2), "correct must hold"),
    ],
)
def test_what_pass_at_k_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(*arguments)


def test_rewards_are_a_grid_of_prompts_and_completions():
    seen = []

    def spy(prompts, completions, level, **columns):
        seen.append((prompts, completions, level))
        return good_words(completions)

    records = [{"prompt": prompt, "level": k} for k, prompt in enumerate(PROMPTS)]
    found = evaluate(POLICY, [spy, constant(None)], records, 4, max_completion_length=5, seed=3, reward_weights=(2.0, 1.0))
    ((prompts, completions, level),) = seen
    assert prompts == [prompt for prompt in PROMPTS for _ in range(4)] and level == [k for k in range(3) for _ in range(4)]
    assert found.completions == [completions[4 * k:4 * k + 4] for k in range(3)]
    assert found.each["spy"].flatten().tolist() == good_words(completions) and found.each["rewarder"].isnan().all()
    assert torch.equal(found.rewards, 2 * found.each["spy"]) and found.rewards.shape == found.lengths.shape == (3, 4)
    assert found.mean == pytest.approx(2 * sum(good_words(completions)) / 12)
    expected = sample(POLICY, [good_words], as_prompts(PROMPTS), SMALL, torch.Generator().manual_seed(3), 4)
    assert torch.equal(found.each["spy"].flatten(), expected.scores.total)
    assert torch.equal(found.lengths.flatten(), expected.completion_mask.sum(-1))


def test_unscored_completions_are_left_out_of_the_mean():
    found = evaluate(POLICY, lambda prompts, **columns: [1.0, None, 0.0, 0.5] * 3, PROMPTS, 4, 5)
    assert found.mean == 0.5 and found.rewards.isnan().sum() == 3
    assert math.isnan(evaluate(POLICY, constant(None), PROMPTS, 1, 5).mean)


def test_temperature_0_is_greedy():
    found = evaluate(POLICY, good_words, PROMPTS, max_completion_length=5, temperature=0.0)
    again = evaluate(POLICY, good_words, PROMPTS, max_completion_length=5, temperature=0, seed=9, batch_size=1)
    assert found.completions == again.completions and found.rewards.shape == (3, 1)
    row = torch.tensor([[1, 6]])
    for text in found.completions[0][0].split():
        word = int(POLICY.model(row).logits[0, -1].argmax())
        assert POLICY.tokenizer.decode([word]) == text
        row = torch.cat([row, torch.tensor([[word]])], 1)


def test_batches_seeds_and_random_state(tmp_path):
    state = torch.manual_seed(1).get_state()
    sizes, prompts = [], ["the", "the film", "good the bad", "film", "bad"]

    def spy(prompts, **columns):
        sizes.append(len(prompts))
        return [1.0] * len(prompts)

    evaluate(POLICY, spy, prompts, 4, 5, batch_size=11)
    assert sizes == [8, 8, 4]
    evaluate(POLICY, spy, prompts, 4, 5, batch_size=3)
    assert sizes[3:] == [4] * 5
    runs = [evaluate(POLICY, good_words, prompts, 4, 5, seed=seed).completions for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2] and torch.equal(torch.get_rng_state(), state)
    POLICY.save(tmp_path / "model")
    assert evaluate(str(tmp_path / "model"), good_words, prompts, 4, 5, seed=1).completions == runs[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_generations": 0}, "num_generations must be"), ({"max_completion_length": 0}, "max_completion_length must be"),
        ({"batch_size": 0}, "batch_size must be"), ({"seed": -1}, "seed must be"),
        ({"temperature": -1.0}, "temperature must be"), ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": 0.0, "num_generations": 2}, "num_generations must be 1 at temperature 0"),
        ({"prompts": []}, "at least one prompt"), ({"prompts": ["the " * 20]}, "the longest prompt has 21"),
        ({"reward_funcs": []}, "reward_funcs must be"), ({"reward_weights": (1.0, 1.0)}, "for each of 1 reward functions"),
        ({"policy": tiny_model(7, 16, 1, 2)}, "a policy must be a Policy"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"policy": POLICY, "reward_funcs": good_words, "prompts": PROMPTS, **change}
    with pytest.raises(ValueError, match=message):
        evaluate(**given)
