"""The bridge for GRPO and its variants: what a group contributes to the objectives on the page is minus `grpo_loss`.

Values and gradients in float64, on groups with ragged lengths; every entry of the batch past the end of a completion is junk.
"""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.derive.definitions import STANDARD
from rlbook.derive.grpo import (
    Jcispo,
    Jclip,
    Jdapo,
    Jdr,
    Jgrpo,
    Jgspo,
    Âi,
    Âit,
    before,
    kit,
    length,
    o,
    overlong,
    rit,
    si,
    x_cache,
    x_max,
    ε_high,
    ε_low,
)
from rlbook.derive.language import G, grad, i, t, x_, β, ε, θ, π, π_old, π_ref
from rlbook.derive.tensors import Tensors
from rlbook.kl import kl_k3
from rlbook.losses import grpo_loss, prob_ratio
from rlbook.returns import group_advantages

from .catalogue_grpo import adv, gate, in_group, ratio, ref, score, tokens_of
from .catalogue_grpo import new as new_law

DOUBLE = torch.float64
few = settings(max_examples=10, deadline=None)
seeds = st.integers(0, 2**31)
groups = st.lists(st.integers(1, 4), min_size=1, max_size=4)
OPTIONS = {
    Jclip: dict(mode="grpo"), Jgrpo: dict(mode="grpo", beta=0.3), Jdapo: dict(mode="dapo", epsilon_high=0.4),
    Jgspo: dict(mode="grpo", level="sequence"), Jdr: dict(mode="dr_grpo"),
    Jcispo: dict(mode="dapo", epsilon_high=0.4, surrogate="cispo"),
}


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


class Batch:
    """One group: the arrays of `grpo_loss`, and the same numbers under the names of the page."""

    def __init__(self, lengths, seed, on_policy=False):
        size, longest, actions = len(lengths), max(lengths), 4
        self.logits = rand(size, longest, actions, seed=seed).requires_grad_()
        old, reference = (rand(size, longest, actions, seed=seed + k) for k in (1, 2))
        old = self.logits.detach() if on_policy else old
        tokens = torch.randint(actions, (size, longest), generator=torch.Generator().manual_seed(seed))
        self.mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
        self.advantages = rand(size, seed=seed + 3)
        self.logprobs, self.old, self.ref = (self.of_tokens(x, tokens) for x in (self.logits, old, reference))

        def table(logits):
            return lambda token, place: logits.log_softmax(-1).exp()[(*place, token)]

        def numbered(x):                               # the page counts from 1
            return torch.nn.functional.pad(x, (1, 0, 1, 0) if x.dim() == 2 else (1, 0))

        each = self.advantages[:, None].expand(size, longest)
        self.world = Tensors({
            θ: self.logits, π: table(self.logits), π_old: table(old), π_ref: table(reference),
            before: lambda i, t: (i - 1, t - 1), o: numbered(tokens), length: lambda i: lengths[i - 1], G: size,
            Âit: numbered(each), Âi: numbered(self.advantages), ε: 0.2, ε_low: 0.2, ε_high: 0.4, β: 0.3})

    def of_tokens(self, logits, tokens):
        out = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        return torch.where(self.mask, out, 50.0)       # junk under the mask

    def loss(self, objective):
        """`grpo_loss` with the options of an objective."""
        options = dict(OPTIONS[objective])
        if options["mode"] == "dr_grpo":
            options["denom"] = len(self.mask)
        return grpo_loss(self.logprobs, self.old, self.advantages, self.mask, self.ref, epsilon=0.2, **options)[0]

    def gradient(self, loss):
        return torch.autograd.grad(loss, self.logits, retain_graph=True)[0]


def inside(objective):
    """What one group contributes: the body of the mean over groups."""
    return STANDARD[objective].body.args[0]


@pytest.mark.equation("grpo-clip", "grpo-objective", "dr-grpo", "dapo", "gspo")
@pytest.mark.parametrize("objective", [Jclip, Jgrpo, Jdr, Jdapo, Jgspo], ids=lambda x: x.__name__)
@few
@given(groups, seeds)
def test_the_objectives(objective, lengths, seed):
    batch = Batch(lengths, seed)
    loss, value = batch.loss(objective), batch.world(inside(objective))
    close(-loss, value)
    close(-batch.gradient(loss), batch.gradient(value))


@pytest.mark.equation("cispo")
@few
@given(groups, seeds)
def test_cispo(lengths, seed):
    batch = Batch(lengths, seed)
    loss = batch.loss(Jcispo)
    close(-loss, batch.world(inside(Jcispo)))
    close(-batch.gradient(loss), batch.world(grad(inside(Jcispo))))


@pytest.mark.equation("grpo-ratio", "grpo-kl", "sequence-ratio")
@few
@given(groups, seeds)
def test_the_ratios_and_the_divergence_of_a_token(lengths, seed):
    batch = Batch(lengths, seed)
    each, whole = (prob_ratio(batch.logprobs, batch.old, level, batch.mask) for level in ("token", "sequence"))
    divergence = kl_k3(batch.logprobs, batch.ref)
    for k, size in enumerate(lengths):
        for place in range(size):
            here = {i: k + 1, t: place + 1}
            close(each[k, place], batch.world(rit[i, t], here))
            close(divergence[k, place], batch.world(kit[i, t], here))
            close(whole[k, place], batch.world(si[i], here))


@pytest.mark.equation("grpo-gradient", "dapo-gradient")
@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), seeds)
def test_the_proved_gradients_are_those_of_the_loss(lengths, seed):
    batch = Batch(lengths, seed)
    grpo = in_group(tokens_of(score * (ratio * adv * gate(ratio, adv) + β * (ref / new_law - 1))) / length(i)) / G
    dapo = in_group(tokens_of(score * ratio * adv * gate(ratio, adv, ε_low, ε_high))) / sum(lengths)
    for objective, tree in ((Jgrpo, grpo), (Jdapo, dapo)):
        close(-batch.gradient(batch.loss(objective)), batch.world(tree))


@pytest.mark.equation("grpo-loss-is-zero", "grpo-token-mean")
@few
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), seeds)
def test_the_first_step(lengths, seed):
    """Per completion the loss is 0, over all tokens it is -Σ_i |o_i| Â_i / Σ_i |o_i|, and both have a gradient."""
    batch = Batch(lengths, seed, on_policy=True)
    batch.advantages = group_advantages(rand(len(lengths), seed=seed + 4), ddof=0, eps=0)
    loss = batch.loss(Jclip)
    assert abs(loss.item()) < 1e-12 and batch.gradient(loss).abs().max() > 1e-3
    expected = (batch.advantages * torch.tensor(lengths)).sum() / sum(lengths)
    close(-grpo_loss(batch.logprobs, batch.old, batch.advantages, batch.mask, mode="dapo")[0].detach(), expected)


@pytest.mark.equation("gspo-first-step", "cispo-first-step")
@few
@given(groups, seeds)
def test_at_the_first_step_the_variants_agree(lengths, seed):
    batch = Batch(lengths, seed, on_policy=True)
    grpo, gspo, dapo, cispo = (batch.gradient(batch.loss(x)) for x in (Jclip, Jgspo, Jdapo, Jcispo))
    close(gspo, grpo)
    close(cispo, dapo)


@pytest.mark.equation("overlong")
@pytest.mark.parametrize("tokens, reward", [(0, 0.0), (12, 0.0), (14, -0.5), (16, -1.0), (20, -1.0)])
def test_overlong_shaping(tokens, reward):
    world = Tensors({x_: float(tokens), x_max: 16.0, x_cache: 4.0})
    assert world(overlong(x_)).item() == reward
