"""Near misses of `Groups`: equations about groups of completions that are false, and trees that mean nothing there."""
from rlbook.derive.advantages import Âg, Âloo, mean, std
from rlbook.derive.grpo import (
    E_group,
    Jcispo,
    Jclip,
    Jdapo,
    Jdr,
    Jgrpo,
    Jgspo,
    Jrloo,
    Âi,
    before,
    kit,
    length,
    o,
    si,
    πoi,
    πoi_old,
)
from rlbook.derive.language import (
    Π,
    Σ,
    A_old,
    AtOld,
    Clip,
    E,
    G,
    Lclip,
    N,
    V,
    a,
    a_,
    b_,
    exp,
    f,
    grad,
    i,
    j,
    log,
    r,
    s,
    s_,
    sg,
    t,
    β,
    ε,
    θ,
    π,
)
from rlbook.derive.ratios import KL, Less, maximum, minimum

from .catalogue_grpo import (
    adv,
    centred,
    equal,
    gate,
    groups,
    in_all,
    in_group,
    new,
    old,
    one_advantage,
    ratio,
    ref,
    score,
    standard,
    surrogate,
    tokens_of,
)

later = π(o[i, t + 1], before(i, t + 1))
far = minimum(ratio * adv, Clip(ratio, 1 + ε, 2 + ε) * adv)
wrong = minimum(ratio * adv, Clip(new / ref, 1 - ε, 1 + ε) * adv)
inverse = minimum(adv / ratio, Clip(1 / ratio, 1 - ε, 1 + ε) * adv)

NEAR_MISSES = {
    "scores": (groups, [
        (grad(log(new)), grad(new)), (grad(ratio), score), (grad(old), score), (grad(ref / new), ref / new * score),
        (grad(new**2), new * score), (grad(kit[i, t]), (ref / new - 1) * score), (grad(1 / ratio), score / ratio)]),
    "the stop": (groups, [
        (grad(sg[ratio] * log(new)), grad(ratio * log(new))), (grad(sg[ratio] * ratio), 2 * ratio**2 * score),
        (grad(sg[new]), new * score)]),
    "the slope of the clipped surrogate": (groups, [
        (grad(surrogate(ratio, adv)), ratio * adv * score),
        (grad(surrogate(ratio, adv)), adv * gate(ratio, adv) * score),
        (grad(surrogate(ratio, adv)), ratio * adv * score * Less(ratio, 1 + ε) * Less(1 - ε, ratio)),
        (grad(surrogate(ratio, adv)),
         ratio * adv * score * (Less(0, adv) * Less(1 - ε, ratio) + Less(adv, 0) * Less(ratio, 1 + ε))),
        (grad(surrogate(ratio, adv)), ratio * adv * score * gate(ratio, adv, 2 * ε, ε)), (grad(surrogate(ratio, adv)), 0)]),
    "the clip near θ_old": (groups, [
        (AtOld(surrogate(ratio, adv)), surrogate(ratio, adv)), (surrogate(ratio, adv), ratio * adv),
        (surrogate(ratio, adv), maximum(ratio * adv, Clip(ratio, 1 - ε, 1 + ε) * adv)), (AtOld(far), adv), (AtOld(wrong), adv),
        (AtOld(grad(inverse)), adv * score), (AtOld(grad(surrogate(ratio, adv))), 0), (AtOld(ratio), ratio),
        (AtOld(grad(surrogate(si[i], Âi[i]))), Âi[i] * tokens_of(score))]),
    "logarithms, products and roots": (groups, [
        (log(new + old), log(new) + log(old)), (log(new * old), log(new) * log(old)), (log(new**2), log(new)**2),
        (log(πoi(i)), log(new)), (πoi(i), πoi_old(i)), (si[i], πoi(i) / πoi_old(i)),
        (si[i]**2, (πoi(i) / πoi_old(i))**(1 / length(i))),
        (exp(log(new) * log(old)), new * old), (exp(new + old), exp(new) + exp(old)), (grad(si[i]), si[i] * tokens_of(score)),
        (Π(ratio, (t, 1, length(i))), tokens_of(ratio)), (log(adv**2 + 1), 2 * log(adv)), (log(2 * new), log(new))]),
    "ragged sums": (groups, [
        (in_group(tokens_of(adv)), in_group(length(i) * Âi[i])), (in_group(tokens_of(1)), G * length(i)),
        (in_group(tokens_of(adv) / length(i)), in_group(tokens_of(adv)) / in_all), (tokens_of(adv), length(i) * adv),
        (Σ(adv, (t, 1, length(j))), tokens_of(adv)), (in_group(length(i))**2, in_group(length(i)**2)),
        (tokens_of(score)**2, tokens_of(score**2)), (Σ(adv, (t, 2, length(i))), tokens_of(adv))]),
    "advantages": (groups, [
        (in_group(Âg(i)**2), G - 1), (Âloo(i), r[i] - mean(r)), (in_group(r[i]), mean(r)), (in_group(length(i) * Âg(i)), 0),
        (std(r) * Âg(i), r[i]), (in_group(Âloo(i)) + r[i], 0)]),
    "one advantage for all tokens": (one_advantage, [
        (AtOld(in_group(tokens_of(surrogate(ratio, adv))) / in_all), in_group(Âi[i]) / G),
        (grad(in_group(tokens_of(ratio * adv) / length(i))), grad(in_group(si[i] * adv))),
        (AtOld(grad(Jgspo(θ))), AtOld(grad(Jdr(θ)))), (grad(Jgspo(θ)), grad(Jclip(θ)))]),
    "the value of the first step": (standard, [
        (AtOld(in_group(tokens_of(surrogate(ratio, adv)))), 0),
        (AtOld(in_group(tokens_of(surrogate(ratio, adv)) / length(i)**2)), 0),
        (AtOld(grad(in_group(tokens_of(surrogate(ratio, adv)) / length(i)))), 0)]),
    "without the std": (centred, [
        (AtOld(grad(Jdr(θ))), AtOld(grad(Jrloo(θ)))), (AtOld(grad(Jdr(θ))), G / (G - 1) * AtOld(grad(Jrloo(θ)))),
        (AtOld(grad(Jclip(θ))), AtOld(grad(Jdr(θ)))), (AtOld(grad(Jdapo(θ))), AtOld(grad(Jdr(θ)))),
        (grad(Jdr(θ)), (G - 1) / G * grad(Jrloo(θ)))]),
    "equal lengths": (equal, [
        (AtOld(grad(Jclip(θ))), AtOld(grad(Jdr(θ)))), (AtOld(grad(Jclip(θ))), N * AtOld(grad(Jdr(θ)))),
        (in_group(length(i)), N)]),
    "means over groups": (groups, [
        (Jgrpo(θ), Jclip(θ)), (AtOld(Jclip(θ)), 0), (grad(Jclip(θ)), AtOld(grad(Jclip(θ)))), (Jclip(θ), Jdr(θ)),
        (AtOld(grad(Jgrpo(θ))), AtOld(grad(Jclip(θ)))), (E_group[adv] * 0 + E_group[Âi[1]], E_group[2 * Âi[1]]),
        (grad(Jdapo(θ)), grad(Jcispo(θ))), (Jgrpo(θ), Jclip(θ) + β * E_group[in_group(tokens_of(kit[i, t]) / length(i)) / G]),
        (E_group(π)[Âi[1]], E_group[Âi[1]]), (E_group[in_group(Âi[i])]**2, E_group[in_group(Âi[i])**2])]),
}

MEANINGLESS = [(groups, *pair) for pair in (
    (grad(adv, θ[b_]), 0), (grad(AtOld(new)), 0), (AtOld(AtOld(new)), AtOld(new)), (E(π(a_, s_))[f(a_)], 0), (Σ(f(a_), a_), 0),
    (grad(Clip(ratio, 1 - ε, 1 + ε)), 0), (grad(maximum(ratio * adv, adv)), 0), (grad(grad(new)), 0), (log(new - new), 0),
    (grad(surrogate(ratio, ratio)), 0), (grad(minimum(ratio * adv, Clip(ratio, 1 + ε, 1 - ε) * adv)), 0), (1 / (new - new), 0),
    (AtOld(grad(far)), AtOld(grad(far))), (AtOld(minimum(ratio, adv)), 0), (E_group[E_group[adv]], 0), (E_group[Âi[1]] + 1, 1),
    (grad(E_group(π)[adv]), 0), (E_group[adv] - E_group(π)[adv], 0), (Π(adv, (t, 1, length(i))), 0),
    (grad(new**ratio), 0), (grad(KL(s_)), 0), (grad(Lclip[t]), 0), (AtOld(grad(A_old(s[t], a[t]) * ratio)), 0),
    (grad(V(s[t]) * old), 0))]
