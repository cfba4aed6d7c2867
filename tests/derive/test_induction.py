"""`Induction`: what it proves at every horizon, what it must not prove, and both against floating point."""


import pytest
import sympy as sp
import torch

from rlbook.derive import IllFormed, Refuted, Undecided, claim
from rlbook.derive.algebra import Counterexample
from rlbook.derive.claims import BOOK
from rlbook.derive.induction import Block, Induction, Normal
from rlbook.derive.language import (
    Π,
    Σ,
    E,
    Head,
    T,
    V,
    Vhat,
    a_,
    b,
    f,
    grad,
    j,
    k,
    l,
    log,
    n,
    r,
    s,
    t,
    α,
    γ,
    λ,
)
from rlbook.derive.mutate import mutants
from rlbook.derive.tensors import Tensors

δ, x, y = (sp.IndexedBase(name) for name in ("delta", "x", "y"))


class NStep(Head):
    """Â_t^(n): the advantage from n rewards and one value."""

    def _latex(self, printer, exp=None):
        return r"\hat A^{(%s)}_{%s}" % tuple(map(printer._print, self.args))


ZERO, ONE = sp.Integer(0), sp.Integer(1)
TD = (δ[t], r[t] + γ * Vhat(s[t + 1]) - Vhat(s[t]))
gae = Σ((γ * λ) ** l * δ[t + l], (l, 0, T - t))
n_step = Σ(γ**l * r[t + l], (l, 0, n - 1)) + γ**n * Vhat(s[t + n]) - Vhat(s[t])
STEPS = (NStep(n, t), n_step)
average = (1 - λ) * Σ(λ ** (n - 1) * NStep(n, t), (n, 1, T - t)) + λ ** (T - t) * NStep(T - t + 1, t)
to_go = Σ(γ ** (l - t) * r[l], (l, t, T))
forward = Σ(x[t] * Σ((γ * λ) ** (l - t) * δ[l], (l, t, T)), (t, 0, T))
backward = Σ(δ[t] * Σ((γ * λ) ** (t - l) * x[l], (l, 0, t)), (t, 0, T))
from_t, from_0 = Induction(T, base=t), Induction(T)

TRUE = {
    "n-step telescoping": (Σ(γ**l * δ[t + l], (l, 0, n - 1)), n_step, Induction(n, given=[TD])),
    "gae recursion": (gae, δ[t] + γ * λ * gae.xreplace({t: t + 1}), from_t),
    "gae, lambda = 1": (
        gae.xreplace({λ: ONE}),
        to_go + γ ** (T - t + 1) * Vhat(s[T + 1]) - Vhat(s[t]),
        Induction(T, base=t, given=[TD]),
    ),
    "gae, lambda = 0": (gae.xreplace({λ: ZERO}), δ[t], from_t),
    "gae, one step": (gae.xreplace({T: t}), δ[t], from_t),
    "gae as an average": (gae, average, Induction(T, base=t, given=[TD, STEPS])),
    "forward = backward": (forward, backward, from_0),
    "lambda-return": (
        r[t] + γ * ((1 - λ) * Vhat(s[t + 1]) + λ * (Vhat(s[t + 1]) + x[t + 1])) - Vhat(s[t]),
        δ[t] + γ * λ * x[t + 1],
        Induction(T, given=[TD]),
    ),
    "geometric sum": (Σ(γ**l, (l, 0, n - 1)), (1 - γ**n) / (1 - γ), Induction(n)),
    "integers": (Σ(l, (l, 1, n)), n * (n + 1) / 2, Induction(n)),
    "squares": (Σ(l**2, (l, 0, n)), n * (n + 1) * (2 * n + 1) / 6, Induction(n)),
    "another start": (Σ(γ ** (l - t) * r[l], (l, t, T)), Σ(γ**l * r[t + l], (l, 0, T - t)), from_t),
    "first term": (to_go, r[t] + γ * Σ(γ ** (l - t - 1) * r[l], (l, t + 1, T)), from_t),
    "order of sums": (Σ(Σ(x[t] * y[l], (l, t, T)), (t, 0, T)), Σ(Σ(x[t] * y[l], (t, 0, l)), (l, 0, T)), from_0),
    "product of sums": (
        Σ(x[t], (t, 0, T)) ** 2,
        2 * Σ(x[t] * Σ(x[l], (l, 0, t - 1)), (t, 0, T)) + Σ(x[t] ** 2, (t, 0, T)),
        from_0,
    ),
    "two indices": (Σ(x[j], (j, 0, n)) * Σ(y[k], (k, 0, n)), Σ(x[j] * y[k], (j, 0, n), (k, 0, n)), Induction(n)),
    "discount": (Σ(γ**t * r[t], (t, 0, T)), r[0] + γ * Σ(γ**t * r[t + 1], (t, 0, T - 1)), from_0),
    "numbers to a power": (Σ(2**l, (l, 0, n)), 2 ** (n + 1) - 1, Induction(n)),
}


def world(last, seed):
    """Random values for every name, up to the last time."""
    draw = torch.Generator().manual_seed(seed)

    def values():
        return torch.rand(last + 14, generator=draw, dtype=torch.float64) + 0.1

    rewards, critic, visited = values(), values(), torch.arange(last + 14)
    errors = rewards[:-1] + 0.7 * critic[1:] - critic[:-1]

    def steps(number, at):
        return sum(0.7**q * rewards[at + q] for q in range(number)) + 0.7**number * critic[at + number] - critic[at]

    return {
        γ: 0.7,
        λ: 0.6,
        α: 0.3,
        r: rewards,
        s: visited,
        Vhat: critic,
        δ: errors,
        x: values(),
        y: values(),
        NStep: steps,
        b: critic,
    }


def values(tree, by, number, seed=0):
    """A tree at n = base + number, in floating point; a sum that is not empty but backwards counts as IllFormed."""
    first = 2
    where = {t: first, T: first + number, n: number}
    where[by.n] = int(by.base.xreplace({t: sp.Integer(first)})) + number
    return Tensors({**world(first + number + 3, seed), **where})(tree)


@pytest.mark.parametrize("name", TRUE)
def test_proved(name):
    lhs, rhs, by = TRUE[name]
    assert by(lhs, rhs) == 0 and by(rhs, lhs) == 0


@pytest.mark.parametrize("name", [x for x in TRUE if x != "geometric sum"])
@pytest.mark.parametrize("number", range(1, 7))
def test_true_in_floating_point(name, number):
    lhs, rhs, by = TRUE[name]
    torch.testing.assert_close(values(lhs, by, number), values(rhs, by, number), rtol=1e-10, atol=1e-12)


FALSE = {
    "wrong base: true from n = 1 on": (
        Σ(x[l], (l, 1, n)),
        Σ(x[l], (l, 0, n)) - x[0] + sp.KroneckerDelta(n, 0),
        Induction(n),
    ),
    "true step, wrong start": (Σ(l, (l, 0, n)), n * (n + 1) / 2 + 1, Induction(n)),
    "wrong tail exponent": (
        gae,
        average.xreplace({λ ** (T - t): λ ** (T - t + 1)}),
        Induction(T, base=t, given=[TD, STEPS]),
    ),
    "no tail": (gae, (1 - λ) * Σ(λ ** (n - 1) * NStep(n, t), (n, 1, T - t)), Induction(T, base=t, given=[TD, STEPS])),
    "tail of one step less": (
        gae,
        average.xreplace({NStep(T - t + 1, t): NStep(T - t, t)}),
        Induction(T, base=t, given=[TD, STEPS]),
    ),
    "exponent of the bootstrap": (
        Σ(γ**l * δ[t + l], (l, 0, n - 1)),
        n_step.xreplace({γ**n: γ ** (n - 1)}),
        Induction(n, given=[TD]),
    ),
    "value of the wrong state": (
        Σ(γ**l * δ[t + l], (l, 0, n - 1)),
        n_step.xreplace({s[t + n]: s[t + n + 1]}),
        Induction(n, given=[TD]),
    ),
    "sign of the value": (Σ(γ**l * δ[t + l], (l, 0, n - 1)), n_step + 2 * Vhat(s[t]), Induction(n, given=[TD])),
    "bound off by one": (
        gae.xreplace({λ: ONE}),
        to_go.xreplace({T: T - 1}) + γ ** (T - t + 1) * Vhat(s[T + 1]) - Vhat(s[t]),
        Induction(T, base=t, given=[TD]),
    ),
    "start off by one": (to_go, Σ(γ ** (l - t) * r[l], (l, t + 1, T)), from_t),
    "recursion without lambda": (gae, δ[t] + γ * gae.xreplace({t: t + 1}), from_t),
    "recursion without discount": (gae, δ[t] + λ * gae.xreplace({t: t + 1}), from_t),
    "recursion from the same time": (gae, δ[t] + γ * λ * gae, from_t),
    "lambda = 0 is not the sum": (gae.xreplace({λ: ZERO}), δ[t + 1], from_t),
    "zero times zero to the 0": (Σ(ZERO**l * δ[t + l], (l, 1, T - t + 1)), δ[t], from_t),
    "traces not decayed": (forward, Σ(δ[t] * Σ(x[l], (l, 0, t)), (t, 0, T)), from_0),
    "traces one step late": (forward, Σ(δ[t] * Σ((γ * λ) ** (t - l) * x[l], (l, 0, t - 1)), (t, 0, T)), from_0),
    "order of sums, strict": (
        Σ(Σ(x[t] * y[l], (l, t, T)), (t, 0, T)),
        Σ(Σ(x[t] * y[l], (t, 0, l - 1)), (l, 0, T)),
        from_0,
    ),
    "a sum is no function of its index": (Σ(x[l], (l, 0, n)), (n + 1) * x[n], Induction(n)),
    "square of a sum": (Σ(x[t], (t, 0, T)) ** 2, Σ(x[t] ** 2, (t, 0, T)), from_0),
    "captured index": (Σ(x[l] * Σ(x[l], (l, 0, T)), (l, 0, T)), Σ(x[l] ** 2, (l, 0, T)) * (T + 1), from_0),
    "count of terms": (Σ(γ, (l, 0, n)), n * γ, Induction(n)),
    "power of a product": ((γ * λ) ** n, γ * λ**n, Induction(n)),
    "sum of powers": (γ**n + γ, γ ** (n + 1), Induction(n)),
    "powers of a sum": ((x[0] + x[1]) ** n, x[0] ** n + x[1] ** n, Induction(n)),
    "0^0 is 1": (ZERO**n, ZERO, Induction(n)),
    "true only up to n = 2": (n * (n - 1) * (n - 2), 0, Induction(n)),
}


@pytest.mark.parametrize("name", FALSE)
def test_not_proved(name):
    lhs, rhs, by = FALSE[name]
    try:
        difference = by(lhs, rhs)
    except (Undecided, IllFormed):
        return
    assert isinstance(difference, Counterexample)


@pytest.mark.parametrize(
    "name", ["true step, wrong start", "wrong tail exponent", "recursion without lambda", "captured index"]
)
def test_a_refutation_names_the_first_n(name):
    lhs, rhs, by = FALSE[name]
    found = by(lhs, rhs)
    ((which, value),) = found.where.items()
    assert which == by.n
    number = int(value - by.base)
    for smaller in range(number):
        torch.testing.assert_close(values(lhs, by, smaller), values(rhs, by, smaller), rtol=1e-10, atol=1e-12)
    assert abs(values(lhs, by, number) - values(rhs, by, number)) > 1e-6
    assert found.describe().endswith(f"{value}".replace("t + ", "t + ")) and r"\text{where}" in found.latex()


def test_true_for_the_first_values_only_is_never_proved():
    """z(0) = ... = z(3) = 0, and z(4) = 24: no counterexample is in reach, and no proof either."""
    with pytest.raises(Undecided, match="not proved"):
        Induction(n)(n * (n - 1) * (n - 2) * (n - 3), 0)


UNDECIDED = {
    "fewer terms than none": (Σ(r[l], (l, t, T)), Σ(r[l], (l, t, T - 1)) + r[T], from_0),
    "an upper bound that falls": (Σ(r[l], (l, 0, t - T)), ZERO, Induction(T, base=t + 9)),
    "inner sum too short": (Σ(Σ(x[l], (l, t + 3, T)), (t, 0, T)), ZERO, from_0),
    "a bound that is squared": (
        Σ(Σ(x[l], (l, 0, t**2 - t)), (t, 0, T)),
        Σ(x[0] + Σ(x[l], (l, 1, t**2 - t)), (t, 0, T)),
        from_0,
    ),
    "power of what may be zero": ((x[0] * x[1]) ** n, x[0] ** n * x[1] ** n, Induction(n)),
    "power of a sum": ((x[0] + x[1]) ** n * (x[0] + x[1]), (x[0] + x[1]) ** (n + 1), Induction(n)),
    "0^l by itself": (ZERO**l * x[n] * l, ZERO, Induction(n)),
    "0^l in a sum that may be empty": (
        Σ(Σ(ZERO**l * x[l], (l, 0, t - 1)), (t, 0, n)),
        n * x[0],
        Induction(n),
    ),
    "0^l from elsewhere": (Σ(ZERO ** (l + 1) * x[l], (l, 0, n)), ZERO, Induction(n)),
    "too many terms": (Σ(x[l], (l, 0, n + 100)), x[0] + Σ(x[l], (l, 1, n + 100)), Induction(n)),
    "a function of a function": (Σ(log(γ * λ), (l, 0, n)), Σ(log(γ) + log(λ), (l, 0, n)), Induction(n)),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_undecided(name):
    lhs, rhs, by = UNDECIDED[name]
    with pytest.raises(Undecided):
        by(lhs, rhs)


ILL_FORMED = {
    "an expectation": E[Σ(r[l], (l, 0, n))],
    "a sum over a set": Σ(f(a_), a_) * n,
    "a product inside a function": log(Π(x[l], (l, 0, n))),
    "a gradient of a sum": grad(Σ(x[l], (l, 0, n))),
    "a sum inside a function": log(Σ(x[l], (l, 0, n))),
    "division by zero": 1 / (Σ(x[l], (l, 0, n)) - x[n] - Σ(x[l], (l, 0, n - 1))),
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_ill_formed(name):
    with pytest.raises(IllFormed):
        Induction(n)(ILL_FORMED[name], 0)


def test_definitions_are_unfolded_without_capture():
    total = sp.IndexedBase("total")
    by = Induction(n, given=[(total[t], Σ(x[l], (l, 0, t)))])
    assert by(Σ(total[l], (l, 0, n)), Σ(Σ(x[j], (j, 0, l)), (l, 0, n))) == 0  # the l of the definition is another l
    assert (
        by(Σ(total[l], (l, 0, n)), Σ(Σ(x[l], (l, 0, l)), (l, 0, n))) == 0
    )  # (bound twice: the inner l is the inner one)
    assert by(Σ(total[l], (l, 0, n)), Σ((l + 1) * x[l], (l, 0, n))) != 0


def test_no_symbol_of_a_definition_is_captured():
    total, one, by = sp.IndexedBase("total"), sp.Symbol("one"), Induction(n, given=[(sp.Symbol("one"), x[l])])
    assert by(Σ(one, (l, 0, n)), (n + 1) * x[l]) == 0  # the l of the definition is not the index of the sum
    assert by(Σ(one, (l, 0, n)), Σ(x[l], (l, 0, n))) != 0
    by = Induction(l, given=[(total[t], Σ(x[l] * y[t], (l, 0, t)))])
    assert by(total[l], y[l] * Σ(x[j], (j, 0, l))) == 0  # nor is the l outside the one that the definition binds
    assert by(total[l], Σ(x[j] * y[j], (j, 0, l))) != 0


def test_the_variable_of_the_induction_may_be_bound_as_well():
    assert Induction(n)(Σ(x[n], (n, 0, 2)) + Σ(x[l], (l, 0, n)), x[0] + x[1] + x[2] + Σ(x[j], (j, 0, n))) == 0
    assert Induction(n)(Σ(x[n], (n, 0, n)), Σ(x[l], (l, 0, n))) == 0
    assert Induction(n)(Σ(x[n], (n, 0, n)), (n + 1) * x[n]) != 0


def test_definitions_are_checked():
    with pytest.raises(IllFormed, match="twice"):
        Induction(n, given=[TD, TD])
    with pytest.raises(IllFormed, match="never ends"):
        Induction(n, given=[(x[t], x[t + 1])])(x[0], 0)
    with pytest.raises(IllFormed, match="two things"):
        Induction(n, given=[(NStep(t, t), x[t])])(NStep(0, 1), 0)
    with pytest.raises(IllFormed, match="not of the form"):
        Induction(n, given=[(V(s[t]), x[t])])(V(t), 0)
    assert Induction(n, given=[(V(s[t]), x[t])])(V(s[n + 1]), x[n + 1]) == 0


def test_claims_by_induction():
    lhs, rhs, by = TRUE["n-step telescoping"]
    try:
        made = claim("telescoping", lhs, rhs, by=by, says="TD errors telescope")
        assert made.level == "P" and made.how().startswith("proved for every n ≥ 0, by induction, where δ[t] = ")
        with pytest.raises(Refuted, match="at n = 0"):
            claim("wrong", lhs, rhs + 1, by=by)
    finally:
        BOOK.pop("telescoping", None)


def test_the_number_of_terms_is_bounded_below_by_the_ranges():
    m, u, v = sp.symbols("m u v", integer=True)
    k0 = sp.Dummy(integer=True, nonnegative=True)
    least = Normal.least
    assert least(k0 - u + 1, ((u, k0 + 1),)) == 1
    assert least(k0 - u, ((u, k0 + 1),)) == 0 and least(k0 - u - 1, ((u, k0 + 1),)) == -1
    assert least(u - v, ((u, k0), (v, u + 1))) == 0 and least(2 * u + 3, ((u, k0),)) == 3
    assert least(m, ()) is None and least(-k0, ()) is None and least(u * v, ((u, k0), (v, k0))) is None
    assert least(k0 / 2, ()) is None and least(sp.Symbol("N", integer=True, positive=True) + 2, ()) == 3


def test_names_of_nested_sums_never_meet():
    inner = Σ(x[l] * Σ(y[j + l], (j, 0, l)), (l, 0, n))
    blocks = set().union(
        *(base.atoms(Block) for term in Normal().terms(inner.xreplace({n: k0}), ()) for base in term.powers)
    )
    assert {block.args[1].name for block in blocks} == {"#1", "#2"}


k0 = sp.Symbol("k0", integer=True, nonnegative=True)


def pieces(tree, by):
    """Values at n = base, ..., base + 4, or None where the mutant has none."""
    try:
        return [values(tree, by, number, seed) for number in range(5) for seed in range(2)]
    except (IllFormed, TypeError, ValueError, ZeroDivisionError):
        return None


@pytest.mark.parametrize("name", TRUE)
def test_no_mutant_is_proved_and_false(name):
    lhs, rhs, by = TRUE[name]
    counted = 0
    for side, other in ((lhs, rhs), (rhs, lhs)):
        expected = pieces(other, by)
        for kind, mutant in mutants(side):
            try:
                proved = by(mutant, other) == 0
            except (IllFormed, Undecided, TypeError, AttributeError):
                continue
            counted += 1
            if proved and (found := pieces(mutant, by)) is not None:
                for left, right in zip(found, expected, strict=True):
                    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9, msg=f"{kind}: {mutant}")
    assert counted > 3
