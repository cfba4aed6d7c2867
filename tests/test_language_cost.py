"""Costs of a step from sizes alone, held to what models, caches, autograd, torch's counter and a measured step say."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rlbook.experiments.memory import Allocations
from rlbook.language import cost, generate, token_logprobs
from rlbook.language.checkpointing import recompute_layers
from rlbook.language.decoding import decoder


def model_of(vocab=3000, hidden=64, inner=160, heads=4, keys=2, layers=3, tied=True, dtype=torch.float32):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(Qwen2Config(
            vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=keys, tie_word_embeddings=tied, max_position_embeddings=64, bos_token_id=None,
            eos_token_id=None, pad_token_id=None)).to(dtype).eval()


MODELS = [{}, {"keys": 4, "tied": False}, {"vocab": 100, "hidden": 128, "inner": 512, "layers": 4, "keys": 1}]
ATEN = torch.ops.aten
FORMULAS = {**flop_registry, **{cpu: flop_registry[gpu] for cpu, gpu in (
    (ATEN.addmm_, ATEN.addmm), (ATEN._scaled_dot_product_flash_attention_for_cpu, ATEN._scaled_dot_product_flash_attention),
    (ATEN._scaled_dot_product_flash_attention_for_cpu_backward, ATEN._scaled_dot_product_flash_attention_backward))}}
BATCHES = [cost.Batch(32, 4, 20, 12), cost.Batch(32, 4, 20, 12, 8), cost.Batch(32, 1, 20, 12, 8)]


class Operations(TorchDispatchMode):
    """Adds up what torch's own formulas say of every matrix product and attention."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        formula = FORMULAS.get(func._overloadpacket)
        if formula is None:  # in inference mode torch.nn.functional.linear arrives whole
            with self:
                out = func.decompose(*args, **(kwargs or {}))
            if out is not NotImplemented:
                return out
        out = func(*args, **(kwargs or {}))
        self.total += formula(*args, **(kwargs or {}), out_val=out) if formula else 0
        return out


def prompts(batch: cost.Batch, padded: bool = True):
    ids = torch.randint(0, 90, (batch.completions // batch.num_generations, batch.prompt_length),
                        generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 0] = 0 if padded else 1
    return ids, mask


def draw(model, batch: cost.Batch, padded: bool = True):
    """Prompts and completions, ids and masks."""
    ids, mask = prompts(batch, padded)
    drawn = generate(model, ids, mask, batch.completion_length, num_generations=batch.num_generations,
                     generator=torch.Generator().manual_seed(2))
    return ids, mask, drawn.ids, drawn.mask


def update(model, batch: cost.Batch, text) -> None:
    """The gradient of a loss, micro-batch after micro-batch, each of as many prompts as there can be."""
    ids, mask, completions, completion_mask = text
    prompt_of = torch.arange(batch.completions) // batch.num_generations
    for start in range(batch.completions // batch.rows):
        rows = torch.arange(start, batch.completions, batch.completions // batch.rows)
        own, of = prompt_of[rows].unique(return_inverse=True)
        alone = {} if batch.num_generations == 1 else {"prompt_of": of}
        logprobs, _ = token_logprobs(model, ids[own], mask[own], completions[rows], completion_mask[rows], **alone)
        if logprobs.requires_grad:
            (logprobs * torch.linspace(-1, 1, logprobs.numel()).view_as(logprobs)).sum().backward()


# ---- bytes

@pytest.mark.parametrize("sizes", MODELS)
def test_parameters_are_counted_exactly(sizes):
    model = model_of(**sizes)
    assert cost.parameter_count(model.config) == sum(each.numel() for each in model.parameters())


def test_the_size_of_qwen_is_the_published_one():
    """Qwen2.5-0.5B: 0.49 billion parameters, 0.36 billion without the embedding (its model card)."""
    from transformers import Qwen2Config

    config = Qwen2Config(vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                         num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True)
    count = cost.parameter_count(config)
    assert round(count / 1e9, 2) == 0.49 and round((count - 151_936 * 896) / 1e9, 2) == 0.36


@pytest.mark.parametrize("sizes", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_is_counted_exactly(sizes, dtype):
    model = model_of(**sizes, dtype=dtype)
    batch = BATCHES[0]
    ids, mask = prompts(batch)
    with torch.inference_mode():
        reader = decoder(model, mask, batch.completion_length)
        reader.read(ids)
        reader.repeat(batch.num_generations)
        for _ in range(batch.completion_length - 1):
            reader.read(torch.zeros(batch.completions, 1, dtype=torch.long))
    held = sum(each.nbytes for layer in reader.cache.layers for each in (layer.keys, layer.values))
    length = batch.prompt_length + batch.completion_length - 1
    assert held == cost.cache_bytes(model.config, batch.completions, length, dtype.itemsize)


def kept(model, rows: int, length: int, padded: bool, past: int = 0) -> int:
    """What the forward pass keeps beside parameters: floating-point storages, each once."""
    found, own = {}, {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in own:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    mask = torch.ones(rows, past + length, dtype=torch.long)
    mask[0, 0] = 0 if padded else 1
    cache = None
    if past:
        cache = model.model(input_ids=torch.zeros(rows, past, dtype=torch.long), use_cache=True).past_key_values
        given = [each for layer in cache.layers for each in (layer.keys, layer.values)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.model(input_ids=torch.zeros(rows, length, dtype=torch.long), attention_mask=mask if padded else None,
                             past_key_values=cache, use_cache=past > 0)
    assert states.last_hidden_state.requires_grad and (not past or len(given) == 2 * len(model.model.layers))
    return sum(size for size, _ in found.values())


@pytest.mark.parametrize("sizes", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("recompute", [True, False])
def test_activations_are_what_autograd_keeps(sizes, dtype, padded, recompute):
    """All but the rotations, which the layers share: two rows of a head's size for each place."""
    model = model_of(**sizes, dtype=dtype)
    if recompute:
        recompute_layers(model)
    for past in (0, 20):
        found = kept(model, 4, 32, padded, past)
        said = cost.activation_bytes(model.config, 4, 32, dtype.itemsize, recompute, padded, past)
        head = model.model.layers[0].self_attn.head_dim
        assert found - said == (0 if recompute else 2 * 32 * head * dtype.itemsize)


@pytest.mark.parametrize("sizes", MODELS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("recompute", [True, False])
def test_the_peak_of_a_step_is_predicted(sizes, batch, recompute):
    model = model_of(**sizes)
    if recompute:
        recompute_layers(model)
    optimizer, found = torch.optim.Adam(model.parameters()), {}
    with Allocations() as memory:
        text = draw(model, batch)
    found["sampling"] = memory.peak
    with Allocations() as memory:
        update(model, batch, text)
    found["update"] = memory.peak
    update(model, batch, text)
    optimizer.step()
    with Allocations() as memory:
        optimizer.step()
    found["adam"] = memory.peak
    said = cost.step_memory(model.config, batch, recompute=recompute)
    for phase in ("sampling", "adam"):
        said[phase] -= said["gradients"]
    for phase, measured in found.items():
        assert abs(said[phase] - measured) <= measured / 8 + 1e5, (phase, said[phase], measured)


def test_the_parts_add_up_to_the_peak():
    config, batch = model_of().config, BATCHES[1]
    said = cost.step_memory(config, batch, reference=True)
    assert said["parameters"] == 4 * cost.parameter_count(config) == said["gradients"] == said["reference"]
    held = said["parameters"] + said["optimizer"] + said["reference"]
    assert said["peak"] == held + max(said[phase] for phase in ("sampling", "update", "adam"))
    assert said["peak"] - cost.step_memory(config, batch)["peak"] == said["reference"]
    half = cost.step_memory(config, batch, torch.bfloat16)
    assert 2 * half["parameters"] == said["parameters"] and half["activations"] > said["activations"] / 2
    assert cost.step_memory(config, batch, recompute=True)["activations"] < said["activations"] / 3


def test_all_logits_grow_with_completions_and_blocks_do_not():
    config = model_of(vocab=150_000).config
    many, few = (cost.step_memory(config, cost.Batch(n, 8, 20, 64), full_logits=False)["logits"] for n in (64, 16))
    assert many == few
    many, few = (cost.step_memory(config, cost.Batch(n, 8, 20, 64), full_logits=True)["logits"] for n in (64, 16))
    assert many == 4 * few == 3 * 64 * 64 * 150_000 * 4


# ---- passes and operations

@pytest.mark.parametrize("recompute", [True, False])
def test_tokens_are_those_that_the_layers_see(recompute):
    model, batch, seen = model_of(), BATCHES[0], []
    if recompute:
        recompute_layers(model)
    model.model.layers[1].mlp.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[0] * given[0].shape[1]))
    said = cost.step_tokens(batch, recompute=recompute)
    text = draw(model, batch)
    assert seen[0] == said["prefill"] and sum(seen[1:]) == said["decode"]
    seen.clear()
    update(model, batch, text)
    assert sum(seen) == said["forward"] + said["recomputed"]
    assert said["recomputed"] == (said["backward"] if recompute else 0) and said["reference"] == 0
    twice = cost.step_tokens(batch, num_iterations=2, reference=True)
    assert twice["forward"] == 2 * twice["reference"] == 2 * cost.step_tokens(batch)["forward"]


@pytest.mark.parametrize("size", [1, 2, 5, 12, 21, 24])
def test_how_many_prompts_a_random_micro_batch_reads(size):
    """The mean over random parts of 24 completions of 6 prompts, within four standard errors; exact at both ends."""
    batch, generator = cost.Batch(24, 4, 1, 1, size), torch.Generator().manual_seed(0)
    drawn = torch.tensor([len((torch.randperm(24, generator=generator)[:size] // 4).unique()) for _ in range(1000)]).double()
    assert abs(drawn.mean() - batch.prompts_read) <= 4 * drawn.std() / 1000**0.5 + 1e-12


@pytest.mark.parametrize("sizes", MODELS)
@pytest.mark.parametrize("batch", [BATCHES[0], BATCHES[2]])
@pytest.mark.parametrize("recompute", [True, False])
def test_operations_are_those_that_torch_counts(sizes, batch, recompute):
    model = model_of(**sizes)
    if recompute:
        recompute_layers(model)
    said = cost.step_flops(model.config, batch, recompute=recompute)
    with Operations() as counter:
        text = draw(model, batch)
    assert counter.total == said["prefill"] + said["decode"]
    with Operations() as counter:
        update(model, batch, text)
    assert counter.total == said["forward"] + said["recomputed"] + said["backward"]
    with Operations() as counter, torch.no_grad():
        update(model, batch, text)  # as much of it as a reference does
    assert counter.total == cost.step_flops(model.config, batch, recompute=recompute, reference=True)["reference"]


# ---- what cannot be

@pytest.mark.parametrize(("batch", "message"), [
    (cost.Batch(0, 1, 1, 1), "completions must be an integer >= 1"),
    (cost.Batch(8, 3, 1, 1), "num_generations must divide the completions, got 3 and 8"),
    (cost.Batch(8, 4, 0, 1), "prompt_length must be an integer >= 1"),
    (cost.Batch(8, 4, 1, 0.5), "completion_length must be an integer"),
    (cost.Batch(8, 4, 1, 1, 0), "micro_batch_size must be an integer >= 1"),
])
def test_sizes_that_make_no_step(batch, message):
    for function in (cost.step_memory, cost.step_flops):
        with pytest.raises(ValueError, match=message):
            function(model_of().config, batch)


def test_other_architectures_are_refused():
    from transformers import GPT2Config

    with pytest.raises(ValueError, match="type qwen2, got 'gpt2'"):
        cost.parameter_count(GPT2Config())
