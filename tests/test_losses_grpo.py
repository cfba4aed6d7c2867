"""The objective of GRPO and its variants: written out token by token, gradients by hand, metrics, masks and micro-batches."""

import itertools
import math

import pytest
import torch

from rlbook import checks
from rlbook.kl import kl_exact, kl_k3, kl_loss
from rlbook.losses import MODES, aggregate, clipped_surrogate, grpo_loss, policy_gradient_loss, prob_ratio
from rlbook.returns import group_advantages

DOUBLE = torch.float64
NAN, INF = math.nan, math.inf
NAMES = ("logprobs", "old_logprobs", "advantages", "ref_logprobs")
METRICS = ("policy_loss", "approx_kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "kl")
MASK = torch.tensor([[[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], [[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]])
CISPO = dict(surrogate="cispo", mode="dapo", epsilon=INF, epsilon_high=0.4)
VARIANTS = {
    "GRPO": dict(),
    "GRPO with a KL term": dict(beta=0.3),
    "GRPO with the gradient of the divergence": dict(beta=0.3, use_bias_correction_kl=True),
    "DAPO": dict(mode="dapo", epsilon_high=0.28),
    "Dr. GRPO": dict(mode="dr_grpo", denom=6 * 9),
    "GSPO": dict(level="sequence", epsilon=0.1, epsilon_high=0.15),
    "CISPO": CISPO,
    "CISPO with both bounds": dict(surrogate="cispo", epsilon=0.1, mode="bnpo"),
    "two-sided clipping": dict(delta=1.5, mode="dr_grpo"),
}


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def close(x, y, tolerance=1e-12):
    torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def batch(*shape, seed=0, spread=0.5):
    """Log-probabilities of a policy, of the one that sampled and of a reference, and one advantage for each completion."""
    old = -rand(*shape, seed=seed).abs() - 0.1
    new, ref = (old + spread * rand(*shape, seed=seed + k) for k in (1, 3))
    return dict(logprobs=new, old_logprobs=old, advantages=group_advantages(rand(*shape[:-1], seed=seed + 2)), ref_logprobs=ref)


def written_out(x, mask, beta=0.0, epsilon=0.2, epsilon_high=None, delta=INF, level="token", surrogate="clip",
                use_bias_correction_kl=False, mode="grpo", denom=None):
    """The loss as the papers print the objective, one token after the other."""
    high = epsilon if epsilon_high is None else epsilon_high
    rows, tokens = math.prod(mask.shape[:-1]), int(mask.sum())
    denom = {"grpo": rows, "dr_grpo": rows * mask.shape[-1]}.get(mode, tokens) if denom is None else denom
    total = 0
    for i in itertools.product(*map(range, mask.shape[:-1])):
        which = mask[i].nonzero().flatten().tolist()
        new, old, ref = (x[name][i] for name in ("logprobs", "old_logprobs", "ref_logprobs"))
        log_ratios = [new[t] - old[t] for t in which]
        for t in which:
            ratio = (new[t] - old[t]).exp() if level == "token" else (sum(log_ratios) / len(which)).exp()
            inside = torch.clamp(ratio, 1 - epsilon, 1 + high)
            objective = torch.min(ratio.clamp(max=delta) * x["advantages"][i], inside * x["advantages"][i])
            if surrogate == "cispo":
                objective = inside.detach() * x["advantages"][i] * new[t]
            k3 = (ref[t] - new[t]).exp() - (ref[t] - new[t]) - 1
            k3 = k3 * (new[t] - old[t]).exp() if use_bias_correction_kl else k3
            total = total - (objective - beta * k3) / (len(which) if mode == "grpo" else 1)
    return total / denom


@pytest.mark.equation("grpo-objective", "grpo-clip", "grpo-kl", "dapo", "dr-grpo", "gspo", "cispo")
@pytest.mark.parametrize("name", VARIANTS)
def test_value_and_gradient_are_those_of_the_printed_objective(name):
    x = batch(2, 3, 5)
    x["logprobs"].requires_grad_()
    loss, _ = grpo_loss(**x, mask=MASK, **VARIANTS[name])
    expected = written_out(x, MASK, **VARIANTS[name])
    close(loss, expected)
    gradients = [torch.autograd.grad(total, x["logprobs"])[0] for total in (loss, expected)]
    close(*gradients)
    assert gradients[0].abs().sum() > 0 and (gradients[0][MASK == 0] == 0).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_reach_the_log_probabilities_of_the_policy_alone(name):
    x = {key: tensor.clone().requires_grad_() for key, tensor in batch(2, 3, 5).items()}
    loss, metrics = grpo_loss(**x, mask=MASK, **VARIANTS[name])
    loss.backward()
    assert [key for key in NAMES if x[key].grad is not None] == ["logprobs"]
    assert loss.shape == () and all(value.shape == () and not value.requires_grad for value in metrics.values())


@pytest.mark.equation("grpo-objective")
def test_it_is_composed_of_the_package_s_terms():
    x, counts = batch(6, 5, seed=3), MASK.view(6, 5).bool()
    per_token = x["advantages"][:, None].expand(6, 5).contiguous()
    ratio = prob_ratio(x["logprobs"], x["old_logprobs"], mask=counts)
    policy, clipped = clipped_surrogate(ratio, per_token, 0.2, 0.3)
    kl = kl_k3(x["logprobs"], x["ref_logprobs"])
    loss, metrics = grpo_loss(**x, mask=counts, beta=0.5, epsilon=0.2, epsilon_high=0.3, mode="dapo")
    close(loss, aggregate(policy + 0.5 * kl, counts, "dapo"))
    terms = {"policy_loss": policy, "kl": kl, "approx_kl": kl_k3(x["old_logprobs"], x["logprobs"]),
             "clip_ratio/region_mean": clipped.double(), "clip_ratio/low_mean": ((ratio < 0.8) & (per_token < 0)).double(),
             "clip_ratio/high_mean": ((ratio > 1.3) & (per_token > 0)).double()}
    assert set(metrics) == set(METRICS) == set(terms)
    for key, term in terms.items():
        close(metrics[key], term[counts].mean())
        assert metrics[key] != 0
    x["advantages"] = per_token  # one for each token is the same
    for other in (grpo_loss(**x, mask=counts, beta=0.5, epsilon=0.2, epsilon_high=0.3, mode="dapo"), (loss, metrics)):
        close(other[0], loss)
        assert other[1] == metrics
    weighted = grpo_loss(**x, mask=counts, use_bias_correction_kl=True)[1]["kl"]
    close(weighted, kl_loss(x["logprobs"], x["ref_logprobs"], x["old_logprobs"])[counts].mean())


@pytest.mark.parametrize("mode", MODES)
def test_metrics_do_not_depend_on_the_mode(mode):
    x = batch(2, 3, 5)
    assert grpo_loss(**x, mask=MASK, mode=mode)[1] == grpo_loss(**x, mask=MASK)[1]


def test_where_a_ratio_is_cut():
    """Ratios of 1/2, 1 and 2: the clip looks at the sign of the advantage, CISPO does not, delta at the other side."""
    logprobs, zeros = torch.tensor([[0.5, 1.0, 2.0]], dtype=DOUBLE).log(), torch.zeros(1, 3, dtype=DOUBLE)
    shares = {}
    for sign, (name, options) in itertools.product((1.0, -1.0), {"clip": {}, "delta": dict(delta=1.5),
                                                                 "cispo": dict(surrogate="cispo"), "upper": CISPO}.items()):
        _, metrics = grpo_loss(logprobs, zeros, torch.tensor([sign], dtype=DOUBLE), torch.ones(1, 3), **options)
        found = [round(3 * metrics[f"clip_ratio/{part}_mean"].item(), 9) for part in ("low", "high", "region")]
        shares.setdefault(name, []).append(found)
    assert shares == {"clip": [[0, 1, 1], [1, 0, 1]], "delta": [[0, 1, 1], [1, 1, 2]],
                      "cispo": [[1, 1, 2], [1, 1, 2]], "upper": [[0, 1, 1], [0, 1, 1]]}


# -- variants ----------------------------------------------------------------------------------------
@pytest.mark.equation("gspo")
def test_gspo_value_and_gradient_once_per_sequence():
    """min(s A, clip(s) A), averaged over completions; its gradient is s A times the mean of the scores, or 0 where clipped."""
    x, mask = batch(4, 5, spread=0.3), MASK.view(6, 5)[[0, 1, 2, 3]].bool()
    logprobs = x["logprobs"].requires_grad_()
    loss, metrics = grpo_loss(**x, mask=mask, level="sequence", epsilon=0.05)
    value, slope = 0.0, torch.zeros_like(logprobs)
    dropped = 0
    for i in range(4):
        s = (logprobs - x["old_logprobs"])[i, mask[i]].mean().exp().item()
        advantage = x["advantages"][i].item()
        value -= min(s * advantage, min(max(s, 0.95), 1.05) * advantage) / 4
        clipped = s > 1.05 if advantage > 0 else s < 0.95
        slope[i, mask[i]] = 0.0 if clipped else -s * advantage / int(mask[i].sum()) / 4
        dropped += int(clipped * mask[i].sum())
    assert loss.item() == pytest.approx(value, rel=1e-12)
    close(torch.autograd.grad(loss, logprobs)[0], slope)
    assert 0 < dropped < mask.sum() and metrics["clip_ratio/region_mean"].item() == pytest.approx(dropped / mask.sum().item())
    weighted = written_out(x, mask, level="sequence", epsilon=0.05, mode="dapo")
    close(grpo_loss(**x, mask=mask, level="sequence", epsilon=0.05, mode="dapo")[0], weighted)
    assert abs(weighted - loss) > 0.01  # other modes weight each sequence by its length


@pytest.mark.equation("cispo")
def test_cispo_keeps_every_token_s_gradient():
    """Its gradient is −clip(r) A at every token; the clip of PPO sets some to 0."""
    x = batch(3, 5)
    logprobs = x["logprobs"].requires_grad_()
    ratio = (logprobs - x["old_logprobs"]).exp().detach()
    for epsilon, high in ((INF, 0.4), (0.2, None), (0.1, 2.0), (0.5, INF)):
        loss, metrics = grpo_loss(**x, mask=torch.ones(3, 5), surrogate="cispo", epsilon=epsilon, epsilon_high=high, mode="dapo")
        (slope,) = torch.autograd.grad(loss, logprobs)
        low, high = 1 - epsilon, 1 + (epsilon if high is None else high)
        weight = ratio.clamp(low, high)
        close(slope, -weight * x["advantages"][:, None] / 15)
        assert (slope != 0).all()
        close(metrics["clip_ratio/region_mean"], ((ratio < low) | (ratio > high)).double().mean())
    clipped = torch.autograd.grad(grpo_loss(**x, mask=torch.ones(3, 5), mode="dapo")[0], logprobs)[0]
    assert (clipped == 0).any()
    unclipped = grpo_loss(**x, mask=torch.ones(3, 5), surrogate="cispo", epsilon=INF)[0]  # reweighted REINFORCE
    plain = grpo_loss(**x, mask=torch.ones(3, 5), epsilon=INF)[0]
    close(*(torch.autograd.grad(total, logprobs)[0] for total in (unclipped, plain)))


@pytest.mark.parametrize("name", VARIANTS)
def test_on_policy_all_gradients_are_the_policy_gradient(name):
    """At π_θ = π_old = π_ref every variant has the gradient −A, over what its mode divides by."""
    x = batch(2, 3, 5)
    logprobs = x["logprobs"].requires_grad_()
    x["old_logprobs"] = x["ref_logprobs"] = logprobs.detach()
    options = VARIANTS[name]
    advantages = x["advantages"][..., None].expand(2, 3, 5).contiguous()
    plain = aggregate(policy_gradient_loss(logprobs, advantages), MASK, options.get("mode", "grpo"), options.get("denom"))
    loss, metrics = grpo_loss(**x, mask=MASK, **options)
    gradients = [torch.autograd.grad(total, logprobs)[0] for total in (loss, plain)]
    close(*gradients)
    assert metrics["approx_kl"] == metrics["kl"] == metrics["clip_ratio/region_mean"] == 0


# -- PITFALLS ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("mode", ["grpo", "dr_grpo", "dapo"])
def test_pitfall_10_1_x_8_equals_8_x_1(name, mode):
    """One batch of 8 and 8 of 1, given the denominator of the whole: equal gradients of shared parameters to 1e-10."""
    options = {**VARIANTS[name], "mode": mode}
    x, mask = batch(8, 6, seed=5), torch.rand(8, 6, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[3] = False
    features, weight = rand(8, 6, 4, seed=6), 0.2 * rand(4, seed=7)
    denom = {"grpo": 8, "dr_grpo": 8 * 6, "dapo": mask.sum()}[mode]

    def gradient(sizes):
        theta, total = weight.clone().requires_grad_(), 0.0
        for rows in torch.arange(8).split(sizes):
            part = {key: tensor[rows] for key, tensor in x.items()}
            part["logprobs"] = part["logprobs"] + features[rows] @ theta
            loss, _ = grpo_loss(**part, mask=mask[rows], **{**options, "denom": denom})
            loss.backward()
            total += loss.item()
        return total, theta.grad

    value, whole = gradient([8])
    for sizes in ([1] * 8, [3, 5], [4, 4]):
        parts, slope = gradient(sizes)
        assert parts == pytest.approx(value, abs=1e-10)
        torch.testing.assert_close(slope, whole, rtol=1e-10, atol=1e-10)
    assert whole.abs().min() > 1e-4


def test_pitfall_10_bnpo_depends_on_the_split():
    """The local mean: 8 micro-batches, averaged as accumulation does, have another gradient than the whole."""
    x, mask = batch(8, 6, seed=5), torch.arange(6) < torch.tensor([6, 1, 1, 6, 1, 2, 1, 6])[:, None]
    logprobs = x["logprobs"].requires_grad_()
    whole = torch.autograd.grad(grpo_loss(**x, mask=mask, mode="bnpo")[0], logprobs)[0]
    parts = sum(grpo_loss(**{k: v[i : i + 1] for k, v in x.items()}, mask=mask[i : i + 1], mode="bnpo")[0] for i in range(8)) / 8
    slope = torch.autograd.grad(parts, logprobs)[0]
    assert (slope - whole).abs().max() > 0.5 * whole.abs().max()
    with pytest.raises(checks.CounterExample, match="the sum over the parts"):
        checks.check_microbatch_invariance(lambda loss, mask, denom: as_a_loss(loss, mask, denom, "bnpo"))


def as_a_loss(loss, mask, denom, mode):
    """grpo_loss of log-probabilities, as the checker's function of a loss per token."""
    zeros, denom = torch.zeros_like(loss), None if mode == "bnpo" else denom
    return grpo_loss(loss, zeros, zeros - 1, mask, zeros + 1, beta=0.1, epsilon=INF, mode=mode, denom=denom)[0]


@pytest.mark.parametrize("mode", ["grpo", "dr_grpo", "dapo"])
def test_pitfall_10_the_checker_agrees(mode):
    checks.check_microbatch_invariance(lambda loss, mask, denom: as_a_loss(loss, mask, denom, mode))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("mode", MODES)
def test_pitfall_11_nothing_counts(name, mode):
    x = {key: torch.full((2, 3), NAN, requires_grad=True) for key in NAMES}
    x["advantages"] = torch.full((2,), NAN)
    loss, metrics = grpo_loss(**x, mask=torch.zeros(2, 3), **{**VARIANTS[name], "mode": mode, "denom": None})
    loss.backward()
    assert loss.item() == 0 and all(value == 0 for value in metrics.values())
    assert (x["logprobs"].grad == 0).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_pitfall_17_padding_changes_nothing(name):
    """The loss and every metric, weighted; the default denominator of dr_grpo counts columns, so it is given one."""
    options = VARIANTS[name] if VARIANTS[name].get("mode") != "dr_grpo" else {**VARIANTS[name], "denom": 60}

    def everything(*tensors):
        *given, mask = tensors
        loss, metrics = grpo_loss(**dict(zip(NAMES, given, strict=True)), mask=mask, **options)
        return loss + sum(k * metrics[which] for k, which in enumerate(METRICS, 2))

    checks.check_padding_invariance(everything, inputs=4)


@pytest.mark.equation("grpo-kl", "k-gradients")
def test_pitfall_18_sign_and_direction_of_the_kl_term():
    """Every action in proportion to π_old: k3 alone is right in value and pulls along KL(π_ref‖π), the weighted one along
    KL(π‖π_ref), wherever π_old is; both make a small step downhill that brings π nearer to π_ref."""
    logits, old, ref = (1.5 * rand(4, seed=seed) for seed in (1, 2, 3))
    no_advantage, one_token = torch.zeros(4, dtype=DOUBLE), torch.eye(4)  # a completion of one token for each action
    for sampled_from, bias_correction in ((logits, False), (logits, True), (old, True)):
        theta = logits.clone().requires_grad_()
        rows = [x.log_softmax(-1).expand(4, 4) for x in (theta, sampled_from, ref)]
        how_often = sampled_from.softmax(-1)
        value = sum(4 * how_often[a] * grpo_loss(*rows[:2], no_advantage, one_token * torch.eye(4)[a], rows[2], beta=1.0,
                                                 use_bias_correction_kl=bias_correction)[0] for a in range(4))
        close(value, kl_exact(theta, ref))
        (slope,) = torch.autograd.grad(value, theta)
        along = {True: kl_exact(theta, ref), False: kl_exact(ref, theta)}
        right, other = (torch.autograd.grad(along[key], theta)[0] for key in (bias_correction, not bias_correction))
        close(slope, right)
        assert (right - other).abs().max() > 0.05
        assert kl_exact(theta - 0.01 * slope, ref) < kl_exact(theta, ref)


@pytest.mark.equation("grpo-first-step")
def test_pitfall_20_the_loss_is_zero_and_it_learns():
    """Ratio 1, β = 0, advantages of mean 0. Per-sequence mean: value 0, gradient that of REINFORCE weighted by 1/|o_i|.
    Token mean: the value is −Σ_i A_i |o_i| / denom."""
    advantages = torch.tensor([3.0, -1.0, -1.0, -1.0], dtype=DOUBLE)
    for lengths in ([5, 5, 5, 5], [2, 5, 1, 4]):
        lengths = torch.tensor(lengths)
        mask = torch.arange(5) < lengths[:, None]
        logprobs = (-rand(4, 5).abs()).requires_grad_()
        given = (logprobs, logprobs.detach(), advantages, mask)
        loss, _ = grpo_loss(*given)
        assert abs(loss.item()) < 1e-15
        (slope,) = torch.autograd.grad(loss, logprobs)
        reinforce = policy_gradient_loss(logprobs, advantages[:, None].expand(4, 5).contiguous())
        weighted = (torch.where(mask, reinforce, 0.0) / lengths[:, None]).sum() / 4
        close(slope, torch.autograd.grad(weighted, logprobs, retain_graph=True)[0])
        assert slope.abs().max() > 0.01
        total = -(advantages * lengths).sum().item()
        for mode, denom in (("dapo", lengths.sum().item()), ("dr_grpo", 20)):
            loss, _ = grpo_loss(*given, mode=mode)
            assert loss.item() == pytest.approx(total / denom, abs=1e-15)
            plain = aggregate(reinforce, mask, mode)
            close(*(torch.autograd.grad(x, logprobs, retain_graph=True)[0] for x in (loss, plain)))
        assert (total == 0) == (len(set(lengths.tolist())) == 1)


# -- without a reference, precision, bad input -------------------------------------------------------
@pytest.mark.parametrize("ref", [None, -INF, 1e5])
def test_without_beta_the_reference_reaches_no_gradient(ref):
    x = batch(2, 3, 5)
    logprobs = x["logprobs"].requires_grad_()
    x["ref_logprobs"] = None if ref is None else torch.full((2, 3, 5), ref, dtype=DOUBLE)
    loss, metrics = grpo_loss(**x, mask=MASK)
    assert ("kl" in metrics) == (ref is not None) and (ref is None or metrics["kl"] == INF)
    assert torch.equal(loss, grpo_loss(**{**x, "ref_logprobs": None}, mask=MASK)[0])
    assert torch.autograd.grad(loss, logprobs)[0].isfinite().all()


def test_one_completion_and_more_leading_axes():
    x = batch(2, 3, 5)
    flat = {key: tensor.flatten(0, 1) for key, tensor in x.items()}
    for options in VARIANTS.values():
        close(grpo_loss(**x, mask=MASK, **options)[0], grpo_loss(**flat, mask=MASK.view(6, 5), **options)[0])
    one = {key: tensor[0, 0] for key, tensor in x.items()}
    assert one["advantages"].shape == ()
    close(grpo_loss(**one, mask=MASK[0, 0])[0], grpo_loss(**{k: v[:1, :1] for k, v in x.items()}, mask=MASK[:1, :1])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", VARIANTS)
def test_other_precisions(dtype, name):
    x = {key: tensor.to(dtype) for key, tensor in batch(2, 3, 5).items()}
    loss, metrics = grpo_loss(**x, mask=MASK, **VARIANTS[name])
    assert loss.dtype == dtype and all(value.dtype == dtype for value in metrics.values())
    expected, _ = grpo_loss(**{key: tensor.double() for key, tensor in x.items()}, mask=MASK, **VARIANTS[name])
    assert abs(loss.item() - expected.item()) < (1e-5 if dtype == torch.float32 else 0.03)


GOOD = {**batch(2, 3), "mask": torch.ones(2, 3), "beta": 0.1}
BAD = [
    (dict(logprobs=[0.0]), "logprobs must be a floating point tensor, got list"),
    (dict(logprobs=torch.zeros(2, 3).long()), "logprobs must be a floating point tensor, got torch.int64"),
    (dict(old_logprobs=torch.zeros(2, 2, dtype=DOUBLE)), "must have one shape"),
    (dict(ref_logprobs=torch.zeros(3, dtype=DOUBLE)), "must have one shape"),
    (dict(advantages=torch.zeros(3, dtype=DOUBLE)), "nothing is broadcast"),
    (dict(advantages=torch.zeros(2, 1, dtype=DOUBLE)), "nothing is broadcast"),
    (dict(advantages=torch.zeros(2)), "must have one dtype and device"),
    (dict(advantages=0.5), "advantages must be a floating point tensor, got float"),
    (dict(mask=None), "mask must have the shape and device of logprobs, .* got NoneType"),
    (dict(mask=torch.ones(2)), "mask must have the shape and device of logprobs"),
    (dict(mask=torch.full((2, 3), 0.5)), "mask must hold nothing but 0 and 1"),
    (dict(beta=NAN), "beta must be a number > -inf and < inf, got nan"),
    (dict(ref_logprobs=None), "beta = 0.1 needs ref_logprobs"),
    (dict(epsilon=-1.0), "epsilon must be a number >= 0, got -1.0"),
    (dict(epsilon_high="0.2"), "epsilon_high must be a number >= 0, got '0.2'"),
    (dict(epsilon=-1.0, surrogate="cispo"), "epsilon must be a number >= 0, got -1.0"),
    (dict(epsilon_high=NAN, surrogate="cispo"), "epsilon_high must be a number >= 0, got nan"),
    (dict(delta=1.1), r"delta must be > 1 \+ epsilon, got 1.1"),
    (dict(delta=2.0, surrogate="cispo"), "delta bounds the ratio of surrogate 'clip'; .* got delta = 2.0"),
    (dict(surrogate="ppo"), "surrogate must be one of clip, cispo, got 'ppo'"),
    (dict(level="word"), "level must be one of token, sequence, got 'word'"),
    (dict(mode="mean"), "mode must be one of grpo, dr_grpo, dapo, bnpo, got 'mean'"),
    (dict(mode="bnpo", denom=3), "bnpo divides by the tokens at hand"),
    (dict(denom=0), "denom must be a number > 0 and < inf, got 0"),
    ({key: torch.zeros((), dtype=DOUBLE) for key in NAMES} | {"mask": torch.ones(())}, "needs a last axis of time"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_makes_no_sense_is_refused(change, message):
    grpo_loss(**GOOD)
    with pytest.raises(ValueError, match=message):
        grpo_loss(**{**GOOD, **change})
