"""Less memory for one more forward pass: the layers of a model keep their input alone, and are computed again on the way back."""

import types
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rlbook.language.model import backbone_and_head


def recompute_layers(model: nn.Module, on: bool = True) -> nn.Module:
    """Make every layer of the model's backbone keep nothing but its input for the backward pass, which runs it again.

    Of N layers, a token then keeps N hidden states and the inside of one layer, not of all (gradient checkpointing, Chen et
    al. 2016, arXiv:1604.06174, one segment per layer). Results and gradients are the same bit for bit; the backward pass
    takes one forward pass more. Transformers' own switch acts in training mode only, where dropout acts too; this one acts
    in both, and runs a layer again in the mode in which it ran first, as `token_logprobs` needs. With a cache, that of the
    prompts which completions share, the keys and values of earlier tokens are kept too, since they are another input of the
    layer. Where no gradient is asked for, as in `generate`, nothing changes.
    The model is changed in place and returned; parameters and their names stay. A deep copy recomputes too, so `grpo` and
    `ppo` do where the policy given to them does; what was saved and is loaded again does not. on=False undoes it.
    Raises ValueError for a model whose backbone has no list `layers`.
    Tests hold its gradients to those without it, in both modes and with dropout, and the memory to what is said here.
    """
    layers = getattr(backbone_and_head(model)[0], "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(f"the backbone of {type(model).__name__} has no list of layers to compute again")
    for layer in layers:
        layer.__dict__.pop("forward", None)
        if on:
            layer.forward = types.MethodType(_forward, layer)  # a bound method: a deep copy's is bound to the copied layer
    return model


def recomputes_layers(model: nn.Module) -> bool:
    """Whether `recompute_layers` acts on the model."""
    layers = getattr(backbone_and_head(model)[0], "layers", ())
    return any(getattr(layer.__dict__.get("forward"), "__func__", None) is _forward for layer in layers)


def _forward(layer: nn.Module, hidden_states: Tensor, *arguments, past_key_values=None, **keywords) -> Tensor:
    """The layer's own forward, under a checkpoint where a gradient is asked for.

    A cache is filled outside of it: the layer is given the keys and values that stand there, and returns its own.
    """
    own, modes = type(layer).forward, [(module, module.training) for module in layer.modules()]
    if not torch.is_grad_enabled():
        return own(layer, hidden_states, *arguments, past_key_values=past_key_values, **keywords)

    def run(hidden_states: Tensor, *past: Tensor) -> Tensor | tuple[Tensor, ...]:
        store = None if past_key_values is None else OneLayer(past)
        with in_modes(modes):
            out = own(layer, hidden_states, *arguments, past_key_values=store, **keywords)
        return out if store is None else (out, *store.new)

    if past_key_values is None:
        return checkpoint(run, hidden_states, use_reentrant=False)
    place = layer.self_attn.layer_idx
    filled = place < len(past_key_values.layers) and past_key_values.get_seq_length(place) > 0
    past = (past_key_values.layers[place].keys, past_key_values.layers[place].values) if filled else ()
    out, *new = checkpoint(run, hidden_states, *past, use_reentrant=False)
    past_key_values.update(*new, place)
    return out


class OneLayer:
    """What an attention layer asks of a cache: given new keys and values, all that there are. It keeps the new ones."""

    def __init__(self, past: tuple[Tensor, ...]):
        self.past, self.new = past, ()

    def update(self, keys: Tensor, values: Tensor, *arguments, **keywords) -> tuple[Tensor, Tensor]:
        self.new = (keys, values)
        if not self.past:
            return keys.contiguous(), values.contiguous()   # in memory as a cache has them, so that rounding is the same
        return tuple(torch.cat(pair, -2) for pair in zip(self.past, self.new, strict=True))


@contextmanager
def in_modes(modes: list[tuple[nn.Module, bool]]) -> Iterator[None]:
    """Every module in its given mode, training or not; afterwards in the one in which it was."""
    before = [(module, module.training) for module, _ in modes]
    for module, training in modes:
        module.training = training
    try:
        yield
    finally:
        for module, training in before:
            module.training = training
