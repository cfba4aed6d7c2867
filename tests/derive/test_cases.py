"""`Cases`: PPO's clip in all its regions, what must not be proved, and random points of every cell."""

import random

import pytest
import sympy as sp
import torch

from rlbook.derive import IllFormed, Undecided, latex
from rlbook.derive.algebra import Counterexample
from rlbook.derive.cases import Cases, Less, cells, oo, sign
from rlbook.derive.language import (
    Σ,
    Clip,
    E,
    T,
    exp,
    grad,
    log,
    r,
    sg,
    t,
    α,
    ε,
)
from rlbook.derive.mutate import mutants
from rlbook.derive.tensors import Tensors

ρ, Â = sp.Symbol("rho", positive=True), sp.Symbol("A", real=True)
RANGES = {ε: [0, 1], ρ: [0, 1 - ε, 1 + ε, oo], Â: [-oo, 0, oo]}
ppo = Cases(RANGES)


def low(*args):
    return sp.Min(*args, evaluate=False)


def high(*args):
    return sp.Max(*args, evaluate=False)


unclipped, clipped = ρ * Â, low(ρ * Â, Clip(ρ, 1 - ε, 1 + ε) * Â)
up, down = Less(0, Â), Less(Â, 0)
gate = up * Less(ρ, 1 + ε) + down * Less(1 - ε, ρ)
TRUE = {
    "value": (clipped, up * low(ρ, 1 + ε) * Â + down * high(ρ, 1 - ε) * Â),
    "derivative": (grad(clipped, ρ), Â * gate),
    "lower bound": (high(clipped, unclipped), unclipped),
    "the clip is what counts": (clipped, low(unclipped, up * (1 + ε) * Â + down * (1 - ε) * Â)),
    "derivative along the advantage": (grad(unclipped, Â), ρ),
    "clip by min and max": (Clip(ρ, 1 - ε, 1 + ε), low(high(ρ, 1 - ε), 1 + ε)),
    "trichotomy": (up + down + (1 - up) * (1 - down), 1),
    "loss and gain": (high(-clipped, -unclipped), -clipped),
    "distance": (high(ρ - 1 - ε, 1 - ε - ρ, 0) * Less(ρ, 1 + ε), high(1 - ε - ρ, 0)),
}


@pytest.mark.parametrize("name", TRUE)
def test_proved(name):
    lhs, rhs = TRUE[name]
    assert ppo(lhs, rhs) == 0 and ppo(rhs, lhs) == 0


def test_six_regions_and_their_edges():
    assert len(ppo.cells) == 15
    assert sum(not cell.cuts for cell in ppo.cells) == 6
    assert ppo.describe().startswith("proved in every region, cutting rho at 1 - ε, ε + 1; A at 0")
    assert latex(up) == r"\mathbf{1}[0 < A]" and latex(up**2) == r"\left(\mathbf{1}[0 < A]\right)^{2}"


def place(cell, seed):
    """A random point of a cell."""
    rng = random.Random(seed)
    letters = sorted(set().union(*(value.free_symbols for value in cell.where.values())), key=str)
    values = {v: sp.Rational(rng.randint(1, 400), 100) for v in letters}
    return {x: value.xreplace(values) for x, value in cell.where.items()}


def test_cells_are_where_they_say():
    for number, cell in enumerate(ppo.cells):
        for seed in range(10):
            at = place(cell, 100 * number + seed)
            assert 0 < at[ε] < 1 and at[ρ] > 0
            for x, cut in cell.cuts.items():
                assert at[x] == cut.xreplace(at)
            words = cell.describe().replace("A", "_A")
            for part in words.split(", "):
                pieces = part.replace(" = ", " < ").split(" < ")
                numbers = [sp.sympify(p, {"ε": at[ε], "rho": at[ρ], "_A": at[Â]}) for p in pieces]
                assert all(
                    (x == y) if " = " in part else bool(x < y) for x, y in zip(numbers, numbers[1:], strict=False)
                ), part


def numbers(tree, at):
    """The tree at a point in floating point, `grad(X, v)` by automatic differentiation."""
    leaves = {x: torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for x, value in at.items()}
    read, tree = Tensors(leaves), sp.sympify(tree)
    for k, e in enumerate(sorted(tree.atoms(type(grad(ρ, ρ))), key=str)):
        (derivative,) = torch.autograd.grad(read(e.args[0]), leaves[e.args[1]])
        letter = sp.Symbol(f"derivative{k}")
        tree, read = tree.xreplace({e: letter}), Tensors({**read.values, letter: derivative})
    return read(tree).item()


@pytest.mark.parametrize("name", TRUE)
def test_true_at_random_points(name):
    for number, cell in enumerate(ppo.cells):
        derivative = name.startswith("derivative")
        if derivative and cell.cuts:
            continue  # at the cuts the derivative is torch's choice
        for seed in range(5):
            at = place(cell, 100 * number + seed)
            left, right = (numbers(e, at) if derivative else exact(e, at) for e in TRUE[name])
            assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


def exact(e, at):
    """The tree at a point, by the definitions of min, max, clip and 1[...], in exact arithmetic."""
    e = sp.sympify(e)
    if e in at or not e.args:
        return at.get(e, e)
    args = [exact(x, at) for x in e.args]
    if isinstance(e, sp.Min | sp.Max):
        return (min if isinstance(e, sp.Min) else max)(args)
    if isinstance(e, Clip):
        return max(args[1], min(args[0], args[2]))
    return sp.Integer(bool(args[0] < args[1])) if isinstance(e, Less) else e.func(*args)


FALSE = {
    "wrong side of the clip": (clipped, up * low(ρ, 1 - ε) * Â + down * high(ρ, 1 - ε) * Â),
    "max for min": (high(*clipped.args), clipped),
    "no clip": (clipped, unclipped),
    "clip without min": (clipped, Clip(ρ, 1 - ε, 1 + ε) * Â),
    "upper bound": (low(clipped, unclipped), unclipped),
    "sign of the advantage": (clipped.xreplace({Â: -Â}), -clipped),
    "gate of the other side": (grad(clipped, ρ), Â * (up * Less(ρ, 1 + ε) + down * Less(ρ, 1 - ε))),
    "gate that stays open above": (grad(clipped, ρ), Â * (up + down * Less(1 - ε, ρ))),
    "derivative without the factor": (grad(clipped, ρ), gate),
    "false at one boundary only: A = 0": (up + down, 1),
    "false at one boundary only: the edge of the clip": (Less(ρ, 1 + ε) + Less(1 + ε, ρ), 1),
    "false at one corner only": (1 - (1 - Less(ρ, 1 + ε) - Less(1 + ε, ρ)) * (1 - up - down), 1),
    "false in a thin region": (Less(1 - ε, ρ) * Less(ρ, 1 + ε) * Less(1, ρ) * Less(0, Â), 0),
}


@pytest.mark.parametrize("name", FALSE)
def test_refuted_at_a_point_where_it_fails(name):
    lhs, rhs = FALSE[name]
    try:
        found = ppo(lhs, rhs)
    except Undecided:
        assert "thin" in name  # the ranges have no cut at ρ = 1: said, not proved
        found = Cases({**RANGES, ρ: [0, 1 - ε, 1, 1 + ε, oo]})(lhs, rhs)
    assert isinstance(found, Counterexample)
    if "grad" not in str(lhs).lower():
        assert exact(lhs, found.where) - exact(rhs, found.where) == found.difference != 0
    else:
        assert abs(numbers(lhs, found.where) - numbers(rhs, found.where) - float(found.difference)) < 1e-12


def test_a_missing_cut_is_undecided_and_never_proved():
    for ranges in (
        {**RANGES, ρ: [0, 1 - ε, oo]},
        {**RANGES, ρ: [0, oo]},
        {**RANGES, Â: [-oo, oo]},
        {ρ: RANGES[ρ][:1] + [oo], Â: RANGES[Â]},
    ):
        for lhs, rhs in (TRUE["value"], TRUE["derivative"]):
            with pytest.raises(Undecided):
                Cases(ranges)(lhs, rhs)


def test_ranges_are_checked():
    for ranges in (
        {ρ: [0]},
        {ρ: [1, 0]},
        {ρ: [0, oo, oo]},
        {ρ: [oo, 0]},
        {ρ: [0, 1 - ε, oo]},
        {ρ: [0, ε, oo], ε: [0, 1]},
        {ρ: [0, ρ, oo]},
        {ε: [0, 1], ρ: [0, 1 + ε, 1 - ε, oo]},
        {ε: [0, 2], ρ: [0, 1 - ε, oo]},
        {ρ: [0, 1, 1, oo]},
    ):
        with pytest.raises(IllFormed):
            Cases(ranges)
    assert len(cells(())) == 1


def test_a_derivative_at_a_cut_that_moves_is_not_taken():
    """At the cut Â = ρ one variable cannot move alone, and |Â - ρ| has no derivative."""
    distance = high(Â - ρ, ρ - Â)
    by = Cases({ρ: [0, oo], Â: [0, ρ, oo]})
    assert by(grad(distance, ρ), Less(Â, ρ) - Less(ρ, Â)) == 0
    assert by(distance, (Less(Â, ρ) - Less(ρ, Â)) * (ρ - Â)) == 0


ILL_FORMED = [
    E[r[t]],
    Σ(r[t], (t, 0, T)),
    grad(clipped),
    grad(clipped, α),
    sg[ρ],
    Clip(ρ, 1 + ε, 1 - ε),
    Less(ρ, Σ(r[t], (t, 0, T))),
]


@pytest.mark.parametrize("tree", ILL_FORMED, ids=str)
def test_ill_formed(tree):
    with pytest.raises((IllFormed, Undecided)):
        ppo(tree, 0)


def test_names_of_the_page_can_be_variables():
    ratio, advantage = sp.IndexedBase("rho"), sp.IndexedBase(r"\hat A")
    by = Cases({ε: [0, 1], ratio[t]: [0, 1 - ε, 1 + ε, oo], advantage[t]: [-oo, 0, oo]})
    swap = {ρ: ratio[t], Â: advantage[t]}
    for lhs, rhs in TRUE.values():
        assert by(sp.sympify(lhs).xreplace(swap), sp.sympify(rhs).xreplace(swap)) == 0
    surrogate = sp.IndexedBase("L")
    assert (
        Cases(by.ranges, given=[(surrogate[t], clipped.xreplace(swap))])(
            high(surrogate[t], ratio[t] * advantage[t]), ratio[t] * advantage[t]
        )
        == 0
    )


@pytest.mark.parametrize("name", TRUE)
def test_no_mutant_is_proved_and_false(name):
    lhs, rhs = TRUE[name]
    survivors, counted = [], 0
    for side, other in ((lhs, rhs), (rhs, lhs)):
        for kind, mutant in mutants(sp.sympify(side)):
            try:
                proved = ppo(mutant, other) == 0
            except (IllFormed, Undecided, TypeError):
                continue
            counted += 1
            if proved:
                survivors.append((kind, mutant, other))
    assert counted > 5 or name == "derivative along the advantage"
    for kind, mutant, other in survivors:
        for number, cell in enumerate(ppo.cells):
            at = place(cell, number)
            if mutant.has(type(grad(ρ, ρ))) or sp.sympify(other).has(type(grad(ρ, ρ))):
                assert cell.cuts or numbers(mutant, at) == pytest.approx(numbers(other, at)), kind
            else:
                assert exact(mutant, at) == exact(other, at), kind


def test_signs():
    u, v = sp.symbols("u v", positive=True)
    w = sp.Symbol("w", real=True)
    known = {
        u + v: 1,
        -u: -1,
        u - u: 0,
        u * v / (1 + u): 1,
        (u + 1) ** 2 - 1: 1,
        1 / (1 + v) - 1: -1,
        -((u + v) ** 3): -1,
        (1 + v) / (1 + 1 / u): 1,
        exp(u) + v: 1,
        -exp(-u): -1,
        sp.Integer(3): 1,
        sp.Rational(-1, 2): -1,
        u**2 - 2 * u * v + v**2 + u: None,
        u - v: None,
        (u - v) ** 2: None,
        w**2: None,
        log(u): None,
        sp.sqrt(u): None,
        1 - exp(-u): None,
        w: None,
    }
    for e, expected in known.items():
        assert sign(e) == expected, e
