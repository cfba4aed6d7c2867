"""Recomputed layers: the same gradients, less memory, in the mode of the first pass, and through copies of the model."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rlbook.language import GRPOConfig, Policy, checkpointing, generate, grpo, tiny_model, token_logprobs
from rlbook.language.checkpointing import recompute_layers, recomputes_layers
from rlbook.language.scoring import states_of_groups
from rlbook.language.tasks import addition

IDS = torch.randint(0, 30, (3, 9), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
TEXT = (IDS[:, :4], MASK, IDS[:, 4:], torch.ones(3, 5))


SHARED = (IDS[:2, :4], MASK[:2], IDS[:, 4:], torch.ones(3, 5))
PROMPT_OF = torch.tensor([1, 0, 1])


def gradients(model: nn.Module) -> list[torch.Tensor]:
    """Of a loss of log-probabilities and entropies; the model is put in training mode between forward and backward."""
    model.zero_grad()
    logprobs, entropy = token_logprobs(model, *TEXT)
    loss = (logprobs * torch.arange(15).view(3, 5)).sum() + entropy.sum()
    training = model.training
    model.train()
    loss.backward()
    model.train(training)
    return [logprobs.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def saved_bytes(model: nn.Module, length: int = 64) -> int:
    """What the forward pass keeps for the backward pass beside the parameters: the storages, each once."""
    kept, own = {}, {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = model.model(input_ids=torch.zeros(2, length, dtype=torch.long), use_cache=False).last_hidden_state
    inside = getattr(states, "grad_fn", None)
    assert inside is not None
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_are_the_same_bit_for_bit(training, dropout):
    model = tiny_model(30, num_layers=3, dropout=dropout).train(training)
    expected = gradients(model)
    found = gradients(recompute_layers(copy.deepcopy(model)))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert max(g.abs().max() for g in expected[1:]) > 0.1


def test_dropout_is_drawn_again_as_it_was():
    model = tiny_model(30, num_layers=3, dropout=0.5).train()
    found = []
    for each in (model, recompute_layers(copy.deepcopy(model))):
        torch.manual_seed(1)
        each(IDS, labels=IDS).loss.backward()
        found.append([parameter.grad for parameter in each.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_copy_computes_its_own_layers_again():
    model = recompute_layers(tiny_model(30))
    other = copy.deepcopy(model)
    assert recomputes_layers(other) and other.model.layers[0].forward.__self__ is other.model.layers[0]
    gradients(other)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_can_be_undone_and_leaves_no_trace():
    model = tiny_model(30)
    names = list(model.state_dict())
    assert recompute_layers(model) is model and recomputes_layers(model) and list(model.state_dict()) == names
    assert not recomputes_layers(recompute_layers(model, on=False)) and "forward" not in vars(model.model.layers[0])


def test_every_layer_keeps_its_input_alone():
    """Beside that: the last norm's two arrays, rotations, ids and masks, less than four hidden states here."""
    model = tiny_model(30, hidden_size=64, num_layers=6)
    hidden = 2 * 64 * 64 * 4
    everything, inputs = saved_bytes(model), saved_bytes(recompute_layers(model))
    assert 6 * hidden <= inputs <= 10 * hidden
    assert everything > 6 * 20 * hidden > 10 * inputs


def test_each_layer_runs_once_more():
    model, calls = tiny_model(30, num_layers=3), []
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    gradients(model)
    assert len(calls) == 3
    gradients(recompute_layers(model))
    assert len(calls) == 3 + 6


@pytest.mark.parametrize("training", [False, True])
def test_keys_and_values_of_shared_prompts_are_inputs_too(training):
    """Prompts read once, completions after their keys and values: 3 layers twice, then twice again with each recomputed."""
    model, calls, found = tiny_model(30, num_layers=3, dropout=0.5 * training).train(training), [], []
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    for each in (model, recompute_layers(copy.deepcopy(model))):
        states = states_of_groups(each, *SHARED[:3], PROMPT_OF)
        (states * torch.arange(states.numel()).view_as(states).cos()).sum().backward()
        found.append([states.detach(), *(parameter.grad for parameter in each.model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and len(calls) == 6 + 12


def test_the_loop_computes_again(monkeypatch):
    """`grpo` trains a copy, whose layers are computed again as the given model's are."""
    calls = []
    monkeypatch.setattr(checkpointing, "checkpoint", lambda *given, **names: calls.append(1) or checkpoint(*given, **names))
    config = GRPOConfig(max_steps=2, batch_size=8, num_generations=4, max_completion_length=4, num_mini_batches=1)
    prompts = addition.problems(8, torch.Generator().manual_seed(0)).prompts

    def reward(completions, **columns):
        return [float(len(text)) for text in completions]

    runs = [grpo(Policy(model, addition.tokenizer()), reward, prompts, config)
            for model in (recompute_layers(tiny_model(15)), tiny_model(15))]
    assert runs[0].history["grad_norm"] == pytest.approx(runs[1].history["grad_norm"], rel=1e-4)
    assert len(calls) >= 2 * 2 and runs[0].history["reward"] == runs[1].history["reward"]


def test_sampling_is_as_before():
    model = tiny_model(30)
    drawn = [generate(each, *TEXT[:2], 5, generator=torch.Generator().manual_seed(2))
             for each in (model, recompute_layers(copy.deepcopy(model)))]
    assert torch.equal(drawn[0].ids, drawn[1].ids) and torch.equal(drawn[0].logprobs, drawn[1].logprobs)


def test_a_backbone_without_layers_is_named():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_model, self.head = nn.Linear(2, 2), nn.Linear(2, 2)

        def get_output_embeddings(self):
            return self.head

    with pytest.raises(ValueError, match="backbone of Other has no list of layers"):
        recompute_layers(Other())
