"""Scoring: the log-probability and entropy of every token, whatever the padding, the head and the mode of the model."""

import copy

import pytest
import torch

from rlbook.language import generate, tiny_model, token_logprobs
from rlbook.language.checkpointing import recompute_layers
from rlbook.language.scoring import Scorer, hidden_states

VOCABULARY = 13


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_model(dtype=torch.float64, **options):
    """A tiny model with weights so large that its distributions are far from uniform."""
    model = tiny_model(VOCABULARY, **{"hidden_size": 16, "num_heads": 2, "max_length": 40} | options).to(dtype)
    for weight in model.parameters():
        weight.data.mul_(11 if weight.dim() == 2 else 1)
    return model


def batch():
    """Prompts of 4, 1 and 2 tokens, padded on the left, and completions of 3, 5 and 1 tokens, padded on the right."""
    prompts = torch.tensor([[1, 5, 6, 7], [0, 0, 0, 1], [0, 0, 1, 9]]), torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]])
    completions = torch.tensor([[4, 8, 2, 0, 0], [3, 3, 9, 7, 12], [2, 0, 0, 0, 0]])
    return *prompts, completions, torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


def one_by_one(model, prompt_ids, attention_mask, completion_ids, completion_mask, temperature=1.0):
    """The definition: every token from the logits that the whole model gives for the unpadded tokens before it."""
    logprobs = torch.zeros(completion_ids.shape, dtype=torch.float64)
    entropy = torch.zeros_like(logprobs)
    for row in range(len(prompt_ids)):
        prompt = prompt_ids[row][attention_mask[row] == 1]
        for t in completion_mask[row].nonzero()[:, 0].tolist():
            context = torch.cat([prompt, completion_ids[row, :t]])[None]
            logp = (model(context).logits[0, -1].double() / temperature).log_softmax(-1)
            logprobs[row, t], entropy[row, t] = logp[completion_ids[row, t]], -(logp.exp() * logp).sum()
    return logprobs.detach(), entropy.detach()


@pytest.mark.equation("log-softmax")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_every_token_is_scored_as_the_whole_model_scores_it(tied, temperature):
    model = make_model(tie_word_embeddings=tied)
    expected = one_by_one(model, *batch(), temperature)
    assert expected[0].min() < -3.5 and expected[1].max() < 0.95 * torch.tensor(VOCABULARY).log()
    for chunk in (None, 1, 4):
        found = token_logprobs(model, *batch(), temperature, chunk)
        for here, there in zip(found, expected, strict=True):
            torch.testing.assert_close(here, there, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_scorer_gives_the_same_and_no_view(length):
    """fully_shard warns of a module that returns a view."""
    model, (prompts, real, completions, counts) = make_model(), batch()
    given = prompts, real, completions[:, :length], counts[:, :length]
    for options in ((0.7, None, None), (1.0, 2, torch.tensor([0, 1, 2]))):
        found, expected = Scorer(model)(*given, *options), token_logprobs(model, *given, *options)
        for here, there in zip(found, expected, strict=True):
            torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
            assert here.shape == (3, length) and not here._is_view()


def test_a_head_with_bias_is_scored_with_it():
    model = make_model(tie_word_embeddings=False)
    bias = torch.randn(VOCABULARY, generator=seeded(), dtype=torch.float64)
    without = token_logprobs(model, *batch())[0]
    model.lm_head.bias = torch.nn.Parameter(bias)
    found = token_logprobs(model, *batch())[0]
    torch.testing.assert_close(found, one_by_one(model, *batch())[0], rtol=0, atol=1e-10)
    assert (found - without).abs().max() > 0.1
    found.sum().backward()
    assert model.lm_head.bias.grad.abs().max() > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("pads", [1, 7])
def test_padding_on_the_left_changes_nothing(dtype, tolerance, pads):
    """PITFALLS 14: left padding without position ids."""
    model = make_model(dtype)
    ids, mask, *completions = batch()
    more = torch.cat([torch.full((3, pads), 9), ids], 1), torch.cat([torch.zeros(3, pads, dtype=torch.long), mask], 1)
    for here, there in zip(token_logprobs(model, *more, *completions), token_logprobs(model, *batch()), strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=tolerance)


def test_columns_that_do_not_count_change_nothing():
    """PITFALLS 17: whatever ids stand in columns with mask 0 after the end, nothing changes."""
    model = make_model()
    prompts, attention, ids, mask = batch()
    junk = torch.randint(VOCABULARY, (3, 6), generator=seeded())
    wide = torch.cat([ids.where(mask == 1, junk[:, :5]), junk], 1), torch.cat([mask, torch.zeros_like(junk)], 1)
    for here, there in zip(token_logprobs(model, prompts, attention, *wide), token_logprobs(model, *batch()), strict=True):
        torch.testing.assert_close(here[:, :5], there, rtol=0, atol=1e-12)
        assert (here[:, 5:] == 0).all()


def test_what_does_not_count_is_zero_and_has_no_gradient():
    """A token at which the mask is 0 reaches neither value nor gradient, though later ones may attend to it."""
    model = make_model()
    *rest, mask = batch()
    logprobs, entropy = token_logprobs(model, *rest, mask)
    assert (logprobs[mask == 0] == 0).all() and (entropy[mask == 0] == 0).all()
    assert (logprobs[mask == 1] < 0).all() and (entropy[mask == 1] > 0).all()
    parameters = list(model.parameters())
    nothing = torch.autograd.grad((logprobs + entropy)[mask == 0].sum(), parameters, retain_graph=True)
    assert all((gradient == 0).all() for gradient in nothing)
    something = torch.autograd.grad(logprobs.sum() + entropy.sum(), parameters)
    assert sum(float(gradient.abs().sum()) for gradient in something) > 1


def test_a_token_inside_that_does_not_count_is_still_read():
    model = make_model()
    prompts, attention, ids, _ = batch()
    mask = torch.tensor([[1, 0, 1, 0, 0]] * 3)
    every = token_logprobs(model, prompts, attention, ids, torch.ones_like(ids))[0]
    torch.testing.assert_close(token_logprobs(model, prompts, attention, ids, mask)[0], every * mask, rtol=0, atol=1e-12)


def test_the_gradient_is_that_of_the_whole_model():
    model = make_model(tie_word_embeddings=True)
    prompts, attention, ids, mask = batch()
    weights = torch.randn(2, *ids.shape, generator=seeded(), dtype=torch.float64) * mask
    logprobs, entropy = token_logprobs(model, prompts, attention, ids, mask, 0.8)
    found = torch.autograd.grad((weights[0] * logprobs + weights[1] * entropy).sum(), list(model.parameters()))
    seen = torch.cat([attention, torch.ones_like(ids)], 1)
    logits = model(torch.cat([prompts, ids], 1), attention_mask=seen, position_ids=(seen.cumsum(1) - 1).clamp(min=0)).logits
    logp = (logits[:, 3:-1] / 0.8).log_softmax(-1)
    loss = weights[0] * logp.gather(-1, ids[..., None])[..., 0] - weights[1] * (logp.exp() * logp).sum(-1)
    expected = torch.autograd.grad(loss.sum(), list(model.parameters()))
    for here, there in zip(found, expected, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-10)


def test_with_dropout_the_first_ratio_is_one():
    """PITFALLS 13: sampling and scoring are in eval mode, so old and new log-probabilities belong to the same distribution."""
    model = make_model(torch.float32, dropout=0.5).train()
    ids, mask = batch()[:2]
    made = generate(model, ids, mask, 6, generator=seeded(), eos_token_id=2)
    logprobs, _ = token_logprobs(model, ids, mask, made.ids, made.mask)
    assert logprobs.requires_grad and model.training and model.base_model.layers[0].training
    assert (logprobs - made.logprobs).exp().sub(1).abs().max() < 1e-5
    seen = torch.cat([ids, made.ids], 1)
    noisy = [model(seen).logits for _ in range(2)]
    assert (noisy[0] - noisy[1]).abs().max() > 0.01, "the model has no dropout, and the test shows nothing"


def test_the_mode_comes_back_after_an_error():
    model = make_model().train()
    with pytest.raises(IndexError):
        hidden_states(model, *batch()[:2], torch.tensor([[VOCABULARY]] * 3))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("padded", [True, False])
def test_a_bfloat16_model_is_normalised_in_float32(padded):
    """PITFALLS 22: the error is that of the bfloat16 logits, 2^-9 of their size, and not that of a bfloat16 log-softmax too."""
    model = make_model(torch.float32)
    half = copy.deepcopy(model).bfloat16()
    arguments = batch() if padded else [each[:1] for each in batch()]
    keep = arguments[-1] == 1
    found = token_logprobs(half, *arguments)[0]
    states = hidden_states(half, *arguments[:3])[:, 3:-1]
    exact = half.lm_head(states).double().log_softmax(-1).gather(-1, arguments[2][..., None])[..., 0]
    assert found.dtype == torch.float32
    assert (found - exact)[keep].abs().max() < 0.02
    assert (found - token_logprobs(model, *arguments)[0]).abs().max() < 0.3


@pytest.mark.parametrize(("place", "value", "message"), [
    (2, torch.zeros(3, 4, dtype=torch.long), r"completion_mask must both be \[B, C\], got \(3, 4\) and \(3, 5\)"),
    (3, torch.zeros(3, 5), r"completion_mask of shape \(3, 5\) counts no token"),
    (1, torch.ones(3, 3), r"prompt_ids and attention_mask must both be \[B, L\]"),
    (1, torch.tensor([[1, 1, 1, 0]] * 3), "attention_mask must be left-padded"),
])
def test_bad_input_is_refused(place, value, message):
    arguments = list(batch())
    arguments[place] = value
    with pytest.raises(ValueError, match=message):
        token_logprobs(make_model(), *arguments)


def test_completions_without_prompts_and_rows_longer_than_the_model_are_refused():
    prompts, attention, ids, mask = batch()
    with pytest.raises(ValueError, match="every completion needs its prompt, got 2 prompts, 3 completions"):
        token_logprobs(make_model(), prompts[:2], attention[:2], ids, mask)
    with pytest.raises(ValueError, match="longest prompt has 4 tokens and 5 more .* 9 together, but the model takes 8"):
        token_logprobs(make_model(max_length=8), prompts, attention, ids, mask)
    token_logprobs(make_model(max_length=9), prompts, attention, ids, mask)
    with pytest.raises(ValueError, match=r"completion_mask of shape \(3, 0\) counts no token"):
        token_logprobs(make_model(), prompts, attention, ids[:, :0], mask[:, :0])


# ---- completions that share a prompt

PROMPT_OF = torch.tensor([2, 0, 2, 1, 0])


def shared():
    """Three prompts of unlike lengths, and five completions of them in no order."""
    prompt_ids, attention_mask, *_ = batch()
    ids = torch.randint(3, VOCABULARY, (5, 4), generator=seeded(3))
    mask = torch.arange(4) < torch.tensor([4, 1, 3, 2, 4])[:, None]
    return (prompt_ids, attention_mask), (ids, mask.long())


def other_models():
    from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

    size = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    yield make_model(num_layers=2)
    yield make_model(tie_word_embeddings=False)
    yield GPT2LMHeadModel(GPT2Config(n_positions=40, n_embd=16, n_layer=2, n_head=2, **size)).double()
    yield MistralForCausalLM(MistralConfig(  # a window shorter than the texts
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, sliding_window=3,
        max_position_embeddings=40, **size)).double()


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("k", range(4))
def test_prompts_that_are_shared_are_read_once_and_score_the_same(k, padded):
    model = list(other_models())[k].eval()
    prompts, completions = shared()
    if not padded:
        prompts = (torch.randint(3, VOCABULARY, (3, 6), generator=seeded(5)), torch.ones(3, 6, dtype=torch.long))
    weights, found = torch.randn(2, 5, 4, generator=seeded(4), dtype=torch.float64), []
    for given, rest in ((prompts, {"prompt_of": PROMPT_OF}), ([x[PROMPT_OF] for x in prompts], {})):
        model.zero_grad()
        logprobs, entropy = token_logprobs(model, *given, *completions, 0.8, **rest)
        (weights[0] * logprobs + weights[1] * entropy).sum().backward()
        found.append((logprobs.detach(), entropy.detach(), *(p.grad.clone() for p in model.parameters())))
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)  # norms and rotations are in float32
    assert found[0][0][completions[1] == 0].eq(0).all() and found[0][2].abs().max() > 0.01


def test_shared_prompts_of_one_token_and_completions_of_one():
    model = make_model()
    prompts, ids = (torch.tensor([[1], [5]]), torch.ones(2, 1, dtype=torch.long)), torch.tensor([[4], [8], [2]])
    own = torch.tensor([1, 0, 1])
    found = token_logprobs(model, *prompts, ids, torch.ones(3, 1), prompt_of=own)
    for here, there in zip(found, token_logprobs(model, *(x[own] for x in prompts), ids, torch.ones(3, 1)), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-10, atol=1e-12)


def test_shared_prompts_without_dropout_and_with_layers_computed_again():
    model = make_model(torch.float32, dropout=0.5).train()
    prompts, completions = shared()
    expected = token_logprobs(model, *(x[PROMPT_OF] for x in prompts), *completions)
    torch.testing.assert_close(token_logprobs(model, *prompts, *completions, prompt_of=PROMPT_OF), expected)
    found = token_logprobs(recompute_layers(model), *prompts, *completions, prompt_of=PROMPT_OF)
    assert all(torch.equal(here, there) for here, there in zip(found, expected, strict=True)) and model.training


@pytest.mark.parametrize("wrong", [torch.tensor([0, 1, 2, 3, 0]), torch.tensor([0, -1, 2, 1, 0]), torch.tensor([0, 1, 2]),
                                   torch.tensor([0.0, 1, 2, 1, 0])])
def test_a_prompt_of_that_does_not_fit_is_refused(wrong):
    prompts, completions = shared()
    with pytest.raises(ValueError, match="prompt_of must hold a row of the 3 prompts for each of 5 completions"):
        token_logprobs(make_model(), *prompts, *completions, prompt_of=wrong)
