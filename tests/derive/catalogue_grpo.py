"""The claims of `Groups`, about the tokens of a group of completions: part of the catalogue. They exercise each of its rules."""
import sympy as sp

from rlbook.derive.advantages import Âg, Âloo, mean, std
from rlbook.derive.cases import Cases, oo
from rlbook.derive.claims import Claim
from rlbook.derive.decide import any_size
from rlbook.derive.groups import Groups
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
    Âit,
    before,
    kit,
    length,
    mit,
    o,
    rit,
    si,
    ε_high,
    ε_low,
    πoi,
    πoi_old,
)
from rlbook.derive.induction import Induction
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    AtOld,
    Clip,
    E,
    G,
    N,
    T,
    Vhat,
    a_,
    at,
    exp,
    grad,
    i,
    indicator,
    j,
    l,
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
    π_old,
    π_ref,
)
from rlbook.derive.ratios import KL, KL_reverse, Less, k3, maximum, minimum

CLAIMS = {}
token = o[i, t], before(i, t)
new, old, ref = π(*token), π_old(*token), π_ref(*token)
score, ratio, adv = grad(log(new)), rit[i, t], Âit[i, t]
groups, centred = Groups(), Groups(given=[(adv, r[i] - mean(r))])
one_advantage, standard = Groups(given=[(adv, Âi[i])]), Groups(given=[(adv, Âg(i))])
leave_one_out, equal = Groups(given=[(adv, Âloo(i))]), Groups(given=[(length(i), N)])


def claim(id, lhs, rhs, by=groups):
    CLAIMS[f"groups/{id}"] = Claim(f"groups/{id}", sp.sympify(lhs), sp.sympify(rhs), by)


def tokens_of(each):
    """Σ_t over the tokens of completion i."""
    return Σ(each, (t, 1, length(i)))


def in_group(each):
    """Σ_i over the completions of a group."""
    return Σ(each, (i, 1, G))


def surrogate(x, weight, low=ε, high=ε):
    return minimum(x * weight, Clip(x, 1 - low, 1 + high) * weight)


def gate(x, weight, low=ε, high=ε):
    return Less(0, weight) * Less(x, 1 + high) + Less(weight, 0) * Less(1 - low, x)


in_all = Σ(length(j), (j, 1, G))

# -- one token, one completion ---------------------------------------------------------------------------------
claim("ratio-gradient", grad(ratio), ratio * score)
claim("k3-gradient", grad(kit[i, t]), (1 - ref / new) * score)
claim("k3-by-name", kit[i, t], k3(ref / new))
claim("power-gradient", grad(ratio**-2 * log(new)**2), 2 * ratio**-2 * (log(new) - log(new)**2) * score)
claim("stopped-weight", grad(sg[ratio] * log(new)), ratio * score)
claim("half-stopped", grad(sg[ratio] * ratio), ratio**2 * score)
claim("clip-gradient", grad(surrogate(ratio, adv, ε_low, ε_high)), ratio * adv * gate(ratio, adv, ε_low, ε_high) * score)
claim("gate", grad(surrogate(ratio, adv)), grad(ratio) * adv * mit[i, t])
claim("clip-at-old", AtOld(grad(Clip(ratio, 1 - ε, 1 + ε)**3)), 3 * score)
claim("max-at-old", AtOld(grad(maximum(ratio * adv, Clip(ratio, 1 - ε, 1 + ε) * adv))), adv * score)
claim("product", log(πoi(i)), tokens_of(log(new)))
claim("product-gradient", grad(πoi(i)), πoi(i) * tokens_of(score))
claim("product-of-powers", Π(ratio**2, (t, 1, length(i))), (πoi(i) / πoi_old(i))**2)
claim("root", si[i], (πoi(i) / πoi_old(i))**(1 / length(i)))
claim("root-gradient", grad(si[i]), si[i] / length(i) * tokens_of(score))
claim("exponentials", exp(2 * log(ratio) + tokens_of(log(old))), ratio**2 * πoi_old(i))
claim("logarithms", log(6 * length(i) * ratio / ε), log(6) + log(length(i)) + log(new) - log(old) - log(ε))

# -- a group ---------------------------------------------------------------------------------------------------
claim("tokens", in_group(tokens_of(1)), in_all)
claim("centred", in_group(Âg(i)), 0)
claim("leave-one-out", Âloo(i), G / (G - 1) * std(r) * Âg(i))
claim("token-mean", AtOld(in_group(tokens_of(surrogate(ratio, adv))) / in_all), in_group(length(i) * Âi[i]) / in_all,
      one_advantage)
claim("sequence-mean", AtOld(in_group(tokens_of(surrogate(ratio, adv)) / length(i))), 0, standard)
claim("equal-rewards", grad(in_group(tokens_of(surrogate(ratio, adv)))), 0, Groups(given=[(adv, r[i] - mean(r)), (r[i], ε)]))
claim("centred-gradient", AtOld(grad(in_group(tokens_of(surrogate(ratio, adv))))),
      (G - 1) / G * in_group(Âloo(i) * grad(log(πoi(i)))), centred)

# -- means over groups -----------------------------------------------------------------------------------------
claim("parts", Jgrpo(θ), Jclip(θ) - β * E_group[in_group(tokens_of(kit[i, t]) / length(i)) / G])
claim("grpo-gradient", grad(Jgrpo(θ)), E_group[in_group(tokens_of(
    score * (ratio * adv * mit[i, t] + β * (ref / new - 1))) / length(i)) / G])
claim("grpo-value", AtOld(Jgrpo(θ)), E_group(π)[in_group(tokens_of(adv - β * kit[i, t]) / length(i)) / G])
claim("grpo-first-step", AtOld(grad(Jgrpo(θ))),
      E_group(π)[in_group(tokens_of(score * adv - β * grad(kit[i, t])) / length(i)) / G])
claim("equal-lengths", AtOld(grad(Jclip(θ))), E_group(π)[in_group(Σ(score * adv, (t, 1, N))) / G] / N, equal)
claim("dr-grpo-gradient", grad(Jdr(θ)), E_group[in_group(tokens_of(score * mit[i, t] * ratio * adv)) / G])
claim("rloo", AtOld(grad(Jdr(θ))), AtOld(grad(Jrloo(θ))), leave_one_out)
claim("dr-grpo", AtOld(grad(Jdr(θ))), (G - 1) / G * AtOld(grad(Jrloo(θ))), centred)
claim("dapo-gradient", grad(Jdapo(θ)), E_group[in_group(tokens_of(
    score * ratio * adv * gate(ratio, adv, ε_low, ε_high))) / in_all])
claim("gspo-gradient", grad(Jgspo(θ)),
      E_group[in_group(si[i] * Âi[i] * gate(si[i], Âi[i]) / length(i) * tokens_of(score)) / G])
claim("gspo-first-step", AtOld(grad(Jgspo(θ))), AtOld(grad(Jclip(θ))), one_advantage)
claim("cispo-gradient", grad(Jcispo(θ)), E_group[in_group(tokens_of(
    Clip(ratio, 1 - ε_low, 1 + ε_high) * adv * score)) / in_all])
claim("cispo-first-step", AtOld(grad(Jcispo(θ))), AtOld(grad(Jdapo(θ))))

# -- what other provers say of GRPO ------------------------------------------------------------------------------
law, was, base = π(a_, s_), π_old(a_, s_), π_ref(a_, s_)
claim("k3-at-old", AtOld(E(was)[k3(base / law)]), KL(s_), any_size)
claim("k3-gradient-at-old", AtOld(grad(E(was)[k3(base / law)])), grad(KL_reverse(s_)), any_size)
claim("is-ppo", at(Â[t], γ=1, λ=1), Âi[i] - mean(r), Induction(T, base=t, given=[
    (r[l], indicator(l, T) * Âi[i]), (Vhat(s[l]), (1 - indicator(l, T + 1)) * mean(r))]))
claim("clip-higher", grad(surrogate(ratio, adv, ε_low, ε_high), ratio), adv * gate(ratio, adv, ε_low, ε_high),
      Cases({ε_low: [0, 1], ε_high: [0, oo], ratio: [0, 1 - ε_low, 1 + ε_high, oo], adv: [-oo, 0, oo]}))
