"""Sampling: what is drawn, with which probability, and where a completion ends."""

import copy

import pytest
import torch
from torch import nn

from rlbook.language import generate, tiny_model, token_logprobs
from rlbook.language.decoding import Decoder, LayerDecoder, can_run_layers, decoder
from rlbook.language.sampling import draw

VOCABULARY, EOS, PAD = 11, 2, 0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    return sharp(tiny_model(VOCABULARY, hidden_size=16, num_heads=2, max_length=40, tie_word_embeddings=False))


def sharp(model: nn.Module) -> nn.Module:
    """The model with weights so large that its distributions are far from uniform, and depend on the whole context."""
    for weight in model.parameters():
        weight.data.mul_(15 if weight.dim() == 2 else 1)
    return model


def padded_prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of 4, 1 and 2 tokens, padded on the left."""
    ids = torch.tensor([[1, 5, 6, 7], [0, 0, 0, 1], [0, 0, 1, 9]])
    return ids, torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1]])


class Bigrams(nn.Module):
    """A causal model by table: the logits of the next token are the row of the last token. Its hidden state is one-hot."""

    class Backbone(nn.Module):
        def __init__(self, size: int):
            super().__init__()
            self.size = size
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, input_ids, past_key_values=None, **kwargs):
            from transformers import DynamicCache
            from transformers.modeling_outputs import BaseModelOutputWithPast

            hidden = nn.functional.one_hot(input_ids, self.size).to(self.weight.dtype)
            return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values or DynamicCache())

    def __init__(self, table: torch.Tensor):
        from transformers import Qwen2Config

        super().__init__()
        self.base_model, self.config = self.Backbone(len(table)), Qwen2Config(max_position_embeddings=64)
        self.config.model_type = "bigrams"
        self.head = nn.Linear(*table.shape, bias=False, dtype=table.dtype)
        self.head.weight.data = table.t().clone()

    def get_output_embeddings(self):
        return self.head


def bigrams(dtype=torch.float64) -> Bigrams:
    return Bigrams(2 * torch.randn(5, 5, generator=seeded(3), dtype=torch.float64).to(dtype)).to(dtype)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_recorded_log_probabilities_are_those_of_a_table_of_bigrams(temperature):
    """PITFALLS 24: logits off by one."""
    model = bigrams()
    ids = torch.tensor([[1, 3], [4, 4]])
    made = generate(model, ids, torch.ones_like(ids), 6, temperature, seeded(), num_generations=50)
    before = torch.cat([ids[:, -1:].repeat_interleave(50, 0), made.ids[:, :-1]], 1)
    expected = (model.head.weight.t() / temperature).log_softmax(-1)[before, made.ids]
    torch.testing.assert_close(made.logprobs, expected, rtol=0, atol=1e-12)
    again = token_logprobs(model, ids.repeat_interleave(50, 0), torch.ones(100, 2), made.ids, made.mask, temperature)[0]
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("padded", [False, True])
def test_recorded_log_probabilities_equal_recomputed_ones(model, temperature, padded):
    """PITFALLS 12: scored under another distribution than sampled."""
    ids, mask = padded_prompts()
    if not padded:
        ids, mask = ids[:1], mask[:1]
    made = generate(model, ids, mask, 8, temperature, seeded(), num_generations=6, eos_token_id=EOS, pad_token_id=PAD)
    ids, mask = ids.repeat_interleave(6, 0), mask.repeat_interleave(6, 0)
    again, _ = token_logprobs(model, ids, mask, made.ids, made.mask, temperature)
    torch.testing.assert_close(again, made.logprobs, rtol=0, atol=1e-5)
    other, _ = token_logprobs(model, ids, mask, made.ids, made.mask, 1.5 * temperature)
    assert (other - made.logprobs).abs().max() > 0.1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_probabilities(temperature):
    """χ² of 20,000 draws with 11 tokens: 10 degrees of freedom, above 29.6 with probability 0.001."""
    logits = torch.randn(VOCABULARY, generator=seeded(1))
    probabilities = (logits / temperature).softmax(-1)
    token, logprob = draw(logits.expand(20_000, -1), temperature, seeded(2))
    torch.testing.assert_close(logprob, probabilities.log()[token])
    expected = 20_000 * probabilities
    chi2 = ((token.bincount(minlength=VOCABULARY) - expected) ** 2 / expected).sum()
    wrong = 20_000 * (logits / (1.2 * temperature)).softmax(-1)
    assert chi2 < 29.6 < ((token.bincount(minlength=VOCABULARY) - wrong) ** 2 / wrong).sum()


def test_pairs_of_tokens_have_the_frequencies_of_the_chain(model):
    """χ² of the first two tokens against the exact joint distribution, so the second depends on the first as it should."""
    prompt, n = torch.tensor([[1, 4]]), 20_000
    pairs = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * 2)
    every = prompt.expand(len(pairs), -1)
    exact = token_logprobs(model, every, torch.ones_like(every), pairs, torch.ones_like(pairs))[0].sum(-1).exp().detach()
    assert exact.sum() == pytest.approx(1, abs=1e-5)
    made = generate(model, prompt, torch.ones_like(prompt), 2, generator=seeded(5), num_generations=n)
    counts = (made.ids[:, 0] * VOCABULARY + made.ids[:, 1]).bincount(minlength=VOCABULARY**2)
    common = n * exact >= 5
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    expected = n * torch.cat([exact[common], exact[~common].sum()[None]])
    degrees = len(observed) - 1
    assert degrees > 10 and ((observed - expected) ** 2 / expected).sum() < degrees + 4 * (2 * degrees) ** 0.5


def test_half_precision_logits_are_normalised_in_float32():
    """PITFALLS 22: a bfloat16 log-softmax is off by 1/256 of its value, the float32 one of the same logits by 1e-7."""
    logits = (3 * torch.randn(200, 50, generator=seeded())).bfloat16()
    token, logprob = draw(logits, 1.0, seeded())
    exact = logits.double().log_softmax(-1).gather(-1, token[:, None])[:, 0]
    assert logprob.dtype == torch.float32
    assert (logprob - exact).abs().max() < 1e-5
    rough = logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
    assert (rough.double() - exact).abs().max() > 1e-3


def test_a_bfloat16_model_is_recorded_as_it_is_scored(model):
    half = copy.deepcopy(model).bfloat16()
    ids, mask = padded_prompts()
    made = generate(half, ids, mask, 8, generator=seeded(), eos_token_id=EOS)
    again, _ = token_logprobs(half, ids, mask, made.ids, made.mask)
    assert made.logprobs.dtype == again.dtype == torch.float32
    assert (again - made.logprobs).abs().max() < 0.1


@pytest.mark.parametrize("pad", [PAD, EOS, None])
def test_the_first_end_counts_and_nothing_after_it(model, pad):
    """PITFALLS 15: a pad token that is the end-of-sequence token must not remove the end from the loss."""
    ids, mask = padded_prompts()
    made = generate(model, ids, mask, 12, 2.0, seeded(), num_generations=20, eos_token_id=EOS, pad_token_id=pad)
    ended = 0
    for row, keep, logprob in zip(made.ids.tolist(), made.mask.tolist(), made.logprobs, strict=True):
        length = row.index(EOS) + 1 if EOS in row else len(row)
        ended += EOS in row
        assert keep == [place < length for place in range(len(row))]
        assert all(token == (EOS if pad is None else pad) for token in row[length:])
        assert (logprob[:length] < 0).all() and (logprob[length:] == 0).all()
    assert 10 < ended < 60


def test_sampling_stops_when_every_row_has_ended():
    table = torch.full((5, 5), -1e4)
    table[1, 3] = table[3, 4] = table[4, 2] = table[2, 2] = 0.0
    model, ids = Bigrams(table), torch.tensor([[1], [3]])
    made = generate(model, ids, torch.ones_like(ids), 30, eos_token_id=2, pad_token_id=0)
    assert made.ids.tolist() == [[3, 4, 2], [4, 2, 0]]
    assert made.mask.tolist() == [[True, True, True], [True, True, False]]
    assert generate(model, ids, torch.ones_like(ids), 4).ids.tolist() == [[3, 4, 2, 2], [4, 2, 2, 2]]


def test_one_token_is_a_completion(model):
    ids, mask = padded_prompts()
    made = generate(model, ids, mask, 1, generator=seeded(), eos_token_id=EOS)
    assert made.ids.shape == made.mask.shape == made.logprobs.shape == (3, 1) and made.mask.all()


def test_temperature_zero_takes_the_most_likely_token_as_transformers_does(model):
    ids, mask = padded_prompts()
    made = generate(model, ids, mask, 8, temperature=0)
    peer = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert made.ids.tolist() == peer[:, 4:].tolist()
    assert (made.logprobs == 0).all()
    cold = generate(model, ids, mask, 8, temperature=1e-3, generator=seeded())
    assert cold.ids.tolist() == made.ids.tolist()


def test_the_completions_of_a_prompt_are_neighbours(model):
    ids, mask = padded_prompts()
    once = generate(model, ids, mask, 5, temperature=0)
    many = generate(model, ids, mask, 5, temperature=0, num_generations=3)
    assert many.ids.tolist() == once.ids.repeat_interleave(3, 0).tolist()
    drawn = generate(model, ids[:1], mask[:1], 5, generator=seeded(), num_generations=8)
    assert len(set(map(tuple, drawn.ids.tolist()))) > 4


def test_padding_on_the_left_changes_no_completion(model):
    """PITFALLS 14, in sampling: the same random numbers give the same tokens, whatever the padding."""
    ids, mask = padded_prompts()
    expected = generate(model, ids, mask, 6, generator=seeded())
    more = torch.cat([torch.full((3, 5), 9), ids], 1), torch.cat([torch.zeros(3, 5, dtype=torch.long), mask], 1)
    made = generate(model, *more, 6, generator=seeded())
    assert made.ids.tolist() == expected.ids.tolist()
    torch.testing.assert_close(made.logprobs, expected.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", ["qwen2", "llama", "qwen3"])
def test_both_decoders_give_the_logits_of_the_whole_model(family, padded):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, head_dim=4)
        model = sharp(AutoModelForCausalLM.from_config(config)).double().eval()
    ids, mask = padded_prompts() if padded else (torch.tensor([[1, 5, 6], [1, 8, 3]]), torch.ones(2, 3, dtype=torch.long))
    following = torch.randint(VOCABULARY, (2 * len(ids), 3), generator=seeded())
    whole = torch.cat([ids.repeat_interleave(2, 0), following], 1)
    seen = torch.cat([mask.repeat_interleave(2, 0), torch.ones_like(following)], 1)
    places = (seen.cumsum(1) - 1).clamp(min=0)
    assert isinstance(decoder(model, mask, 3), LayerDecoder)
    with torch.no_grad():
        expected = model(whole, attention_mask=seen, position_ids=places).logits[:, ids.shape[1] - 1 :]
        for kind in (Decoder, LayerDecoder):
            made = kind(model, mask, 3)
            first = made.read(ids).repeat_interleave(2, 0)
            made.repeat(2)
            logits = torch.stack([first, *(made.read(following[:, [t]]) for t in range(3))], 1)
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


def test_a_model_with_hooks_or_of_another_kind_is_called_as_a_whole():
    model = tiny_model(VOCABULARY, hidden_size=16, num_heads=2)
    assert can_run_layers(model) and not can_run_layers(bigrams())
    calls = []
    hook = model.base_model.register_forward_hook(lambda *_: calls.append(1))
    assert not can_run_layers(model)
    ids = torch.tensor([[1, 2]])
    generate(model, ids, torch.ones_like(ids), 4)
    assert len(calls) == 4
    hook.remove()
    model.config._attn_implementation = "eager"
    assert not can_run_layers(model)


def test_sampling_leaves_modes_and_global_randomness_alone():
    """PITFALLS 13, in sampling: with dropout, and in training mode, the same numbers give the same completions."""
    model = tiny_model(VOCABULARY, hidden_size=16, num_heads=2, dropout=0.5)
    ids, mask = padded_prompts()
    expected = generate(model.eval(), ids, mask, 6, generator=seeded())
    model.train()
    model.base_model.norm.eval()
    state = torch.get_rng_state()
    made = generate(model, ids, mask, 6, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and not model.base_model.norm.training
    assert torch.equal(made.logprobs, expected.logprobs) and torch.equal(made.ids, expected.ids)
    torch.manual_seed(1)
    one = generate(model, ids, mask, 6)
    torch.manual_seed(1)
    assert torch.equal(generate(model, ids, mask, 6).ids, one.ids) and not torch.equal(torch.get_rng_state(), state)


def test_what_is_sampled_can_be_trained_on(model):
    ids, mask = padded_prompts()
    made = generate(model, ids, mask, 4, generator=seeded())
    assert not made.logprobs.requires_grad and not made.logprobs.is_inference() and not made.ids.is_inference()


@pytest.mark.parametrize(("changes", "message"), [
    ({"max_new_tokens": 0}, "max_new_tokens must be an integer >= 1, got 0"),
    ({"num_generations": 0}, "num_generations must be an integer >= 1, got 0"),
    ({"eos_token_id": -1}, "eos_token_id must be an integer >= 0, got -1"),
    ({"eos_token_id": [2, 3]}, r"eos_token_id must be an integer >= 0, got \[2, 3\]"),
    ({"pad_token_id": 0.5}, "pad_token_id must be an integer >= 0, got 0.5"),
    ({"temperature": -1.0}, "temperature must be a finite number >= 0, got -1.0"),
    ({"temperature": float("nan")}, "temperature must be a finite number >= 0, got nan"),
    ({"temperature": float("inf")}, "temperature must be a finite number >= 0, got inf"),
    ({"max_new_tokens": 37}, r"longest prompt has 4 tokens and 37 more .* 41 together, but the model takes 40 \(max_position"),
    ({"attention_mask": torch.ones(3, 5)}, r"must both be \[B, L\] with B, L >= 1, got \(3, 4\) and \(3, 5\)"),
    ({"attention_mask": torch.tensor([[1, 1, 1, 0]] * 3)}, "attention_mask must be left-padded"),
    ({"attention_mask": torch.tensor([[0, 1, 0, 1]] * 3)}, "attention_mask must be left-padded"),
    ({"attention_mask": torch.zeros(3, 4, dtype=torch.long)}, "attention_mask must be left-padded.* at least one 1"),
    ({"prompt_ids": torch.zeros(0, 4), "attention_mask": torch.zeros(0, 4)}, "with B, L >= 1"),
])
def test_bad_input_is_refused(model, changes, message):
    ids, mask = padded_prompts()
    arguments = {"prompt_ids": ids, "attention_mask": mask, "max_new_tokens": 3} | changes
    with pytest.raises(ValueError, match=message):
        generate(model, **arguments)


def test_the_longest_completion_that_fits_is_made(model):
    ids, mask = padded_prompts()
    assert generate(model, ids, mask, 36, generator=seeded()).ids.shape == (3, 36)
