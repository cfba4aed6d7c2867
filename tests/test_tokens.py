"""Tokens: log-probabilities from logits, masks, positions and the rewards of completions."""

import itertools

import pytest
import torch

from rlbook.tokens import completion_mask, position_ids, selective_log_softmax, shaped_rewards

EOS, PAD = 2, 0


# ---- selective_log_softmax

@pytest.mark.equation("log-softmax")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3])
def test_log_softmax_of_the_chosen_token(temperature):
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(2, 3, 6, dtype=torch.float64, generator=generator)).requires_grad_()
    ids = torch.randint(0, 6, (2, 3), generator=generator)
    got = selective_log_softmax(logits, ids, temperature)
    expected = (logits / temperature).log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)
    (grad,) = torch.autograd.grad(got.sum(), logits)
    onehot = torch.nn.functional.one_hot(ids, 6)
    torch.testing.assert_close(grad, (onehot - (logits / temperature).softmax(-1)).detach() / temperature, rtol=0, atol=1e-14)
    assert torch.autograd.gradgradcheck(lambda z: selective_log_softmax(z, ids, temperature), logits)
    torch.testing.assert_close(selective_log_softmax(logits + 7, ids.int(), temperature), got)


def test_log_probabilities_are_never_above_zero():
    logits = 30 * torch.randn(4096, 20, generator=torch.Generator().manual_seed(0))
    assert selective_log_softmax(logits, logits.argmax(-1)).max() <= 0
    sure = torch.tensor([[0.0, -1e4], [float("-inf"), 3.0]])
    assert selective_log_softmax(sure, torch.tensor([0, 1])).tolist() == [0.0, 0.0]
    assert selective_log_softmax(sure, torch.tensor([1, 0])).tolist() == [-1e4, float("-inf")]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_half_precision_are_widened_first(dtype):
    """The sum of 1,000 probabilities in half precision would be off by a percent and more."""
    logits = (4 * torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))).to(dtype)
    ids = logits.float().argsort(-1)[:, 500]
    got = selective_log_softmax(logits, ids)
    exact = logits.double().log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=5e-6)
    narrow = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    assert (narrow.double() - exact).abs().max() > 1e-3


def test_bad_logits_are_refused():
    logits, ids = torch.zeros(2, 3, 6), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="logits must be a floating point tensor, got torch.int64"):
        selective_log_softmax(logits.long(), ids)
    with pytest.raises(ValueError, match=r"V at least 1, got \(\)"):
        selective_log_softmax(torch.tensor(1.0), ids)
    with pytest.raises(ValueError, match=r"one entry for each distribution, \(2, 3\) on cpu, got \(2, 2\) on cpu"):
        selective_log_softmax(logits, ids[:, :2])
    with pytest.raises(ValueError, match="integers, got torch.float32"):
        selective_log_softmax(logits, ids.float())
    with pytest.raises(ValueError, match="integers, got list"):
        selective_log_softmax(logits, [[0, 0, 0], [0, 0, 0]])
    for wrong in (-100, 6):
        with pytest.raises(ValueError, match=rf"ids must be in 0\.\.5, got {wrong}"):
            selective_log_softmax(logits, torch.full_like(ids, wrong))
    with pytest.raises(ValueError, match="an empty completion"):
        selective_log_softmax(logits[:, :0], ids[:, :0])
    for wrong in (0, -0.5, float("nan"), None):
        with pytest.raises(ValueError, match="temperature must be a positive finite number, got"):
            selective_log_softmax(logits, ids, wrong)


# ---- completion_mask

def counted(row: list[int], ends: set[int]) -> list[bool]:
    """The definition: a token counts if no token before it ends the sequence."""
    return [not ends & set(row[:t]) for t in range(len(row))]


@pytest.mark.parametrize(("eos_id", "ends"), [(EOS, {EOS}), ([EOS], {EOS}), ((1, EOS), {1, EOS}), (9, set())])
def test_mask_holds_the_first_end_and_nothing_after_it(eos_id, ends):
    rows = [list(row) for row in itertools.product((PAD, 1, EOS), repeat=4)]
    expected = [counted(row, ends) for row in rows]
    for dtype in (torch.int64, torch.int32):
        got = completion_mask(torch.tensor(rows, dtype=dtype), eos_id)
        assert got.dtype == torch.bool and got.tolist() == expected and got[:, 0].all()
    assert completion_mask(torch.tensor(rows).view(9, 9, 4), eos_id).view(81, 4).tolist() == expected


def test_padding_with_the_end_itself_changes_nothing():
    """Tokenizers without a padding token are given pad = eos: the end must stay in the loss, the padding out of it."""
    with_end, cut_off = [5, 7, EOS, EOS, EOS], [5, 7, 8, 9, 5]
    assert completion_mask(torch.tensor([with_end, cut_off]), EOS).tolist() == [[True] * 3 + [False] * 2, [True] * 5]


def test_bad_completions_are_refused():
    ids = torch.tensor([[1, EOS]])
    with pytest.raises(ValueError, match=r"ids must have at least one token on its last axis, got the shape \(1, 0\)"):
        completion_mask(ids[:, :0], EOS)
    with pytest.raises(ValueError, match="ids must be a tensor of int64, .*got torch.float32"):
        completion_mask(ids.float(), EOS)
    with pytest.raises(ValueError, match="got list"):
        completion_mask([[1, EOS]], EOS)
    for wrong in (None, 2.0, True, [], [2.0], "2", [None]):
        with pytest.raises(ValueError, match="eos_id must be an integer or several, got"):
            completion_mask(ids, wrong)


# ---- position_ids

@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_positions_count_real_tokens_only(dtype):
    for left, right in itertools.product(range(4), range(4)):
        mask = torch.tensor([[0] * left + [1] * 5 + [0] * right, [1] * (left + 5 + right)]).to(dtype)
        got = position_ids(mask)
        assert got.dtype == torch.int64
        assert got.tolist() == [[0] * left + list(range(5)) + [4] * right, list(range(left + 5 + right))]


def test_bad_attention_masks_are_refused():
    for wrong, found in (([[1, 2]], "2"), ([[1, -1]], "-1"), ([[0.5, 1.0]], "0.5"), ([[1.0, float("nan")]], "nan")):
        with pytest.raises(ValueError, match=f"attention_mask must hold nothing but 0 and 1, or False and True, got {found}"):
            position_ids(torch.tensor(wrong))
    with pytest.raises(ValueError, match=r"attention_mask must have a 1 in every row, got none in row \(1,\)"):
        position_ids(torch.tensor([[0, 1], [0, 0]]))
    with pytest.raises(ValueError, match="got none in its only row"):
        position_ids(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="at least one token"):
        position_ids(torch.ones(2, 0))
    with pytest.raises(ValueError, match="got torch.complex64"):
        position_ids(torch.ones(2, 2, dtype=torch.complex64))


# ---- shaped_rewards

def example(dtype=torch.float64):
    """Completions with an end, without one (full length), of one token, and with a token in the middle masked."""
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 1, 0]], dtype=torch.bool)
    kl = torch.arange(1, 17, dtype=dtype).view(4, 4) / 8
    return torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=dtype), kl, mask


@pytest.mark.equation("kl-penalty")
@pytest.mark.parametrize("as_dtype", [torch.bool, torch.int64, torch.float64])
def test_score_lands_on_the_last_token_that_counts(as_dtype):
    scores, kl, mask = example()
    got = shaped_rewards(scores, kl, mask.to(as_dtype), 0.25)
    for b, t in itertools.product(range(4), range(4)):
        last = max(s for s in range(4) if mask[b, s])
        expected = (-0.25 * kl[b, t].item() if mask[b, t] else 0.0) + (scores[b].item() if t == last else 0.0)
        assert got[b, t].item() == pytest.approx(expected, abs=1e-15)
    torch.testing.assert_close(got.sum(-1), scores - 0.25 * (kl * mask).sum(-1))
    assert torch.equal(shaped_rewards(scores, kl, mask, 0).sum(-1), scores)
    assert torch.equal(shaped_rewards(scores[1], kl[1], mask[1], 0.25), got[1])


def test_score_of_a_sampled_completion_lands_on_its_end():
    ids = torch.tensor([[5, EOS, EOS, EOS], [5, 6, 7, 8], [EOS, EOS, EOS, EOS], [5, 6, 7, EOS]])
    rewards = shaped_rewards(torch.ones(4), torch.zeros(4, 4), completion_mask(ids, EOS), 0.1)
    assert rewards.argmax(-1).tolist() == [1, 3, 0, 3] and torch.equal(rewards.sum(-1), torch.ones(4))


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e9])
def test_junk_where_the_mask_is_0_changes_nothing(junk):
    scores, kl, mask = example()
    spoiled = torch.where(mask, kl, junk).requires_grad_()
    got = shaped_rewards(scores, spoiled, mask, 0.25)
    assert torch.equal(got, shaped_rewards(scores, kl, mask, 0.25))
    (grad,) = torch.autograd.grad(got.sum(), spoiled)
    assert torch.equal(grad, torch.where(mask, -0.25, 0.0).double())
    broken = torch.cat([scores[:3], torch.tensor([float("nan")])])
    assert shaped_rewards(broken, kl, mask, 0.25).isnan().nonzero().tolist() == [[3, 2]]


def test_bad_rewards_are_refused():
    scores, kl, mask = example()
    with pytest.raises(ValueError, match="scores must be a floating point tensor, got list"):
        shaped_rewards([1.0], kl, mask, 0.1)
    with pytest.raises(ValueError, match="kl must be a floating point tensor, got torch.int64"):
        shaped_rewards(scores, kl.long(), mask, 0.1)
    with pytest.raises(ValueError, match=r"scores must be \[...\] for kl \[..., T\+1\], got \(4, 1\) and \(4, 4\)"):
        shaped_rewards(scores[:, None], kl, mask, 0.1)
    with pytest.raises(ValueError, match="one dtype and device, got torch.float32 on cpu and torch.float64 on cpu"):
        shaped_rewards(scores.float(), kl, mask, 0.1)
    with pytest.raises(ValueError, match=r"mask must have the shape and device of kl, \(4, 4\) on cpu, got \(4, 3\) on cpu"):
        shaped_rewards(scores, kl, mask[:, :3], 0.1)
    with pytest.raises(ValueError, match=r"mask must have a 1 in every row, got none in row \(2,\)"):
        shaped_rewards(scores, kl, mask & (torch.arange(4) != 2)[:, None], 0.1)
    with pytest.raises(ValueError, match="nothing but 0 and 1, or False and True, got 2"):
        shaped_rewards(scores, kl, 2 * mask.long(), 0.1)
    with pytest.raises(ValueError, match=r"at least one token on its last axis, got the shape \(4, 0\)"):
        shaped_rewards(scores, kl[:, :0], mask[:, :0], 0.1)
    for wrong in (-0.1, float("nan"), float("inf"), "1", None, True):
        with pytest.raises(ValueError, match="kl_coef must be a finite number of at least 0, got"):
            shaped_rewards(scores, kl, mask, wrong)
