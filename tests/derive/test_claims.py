"""What an author writes: every way in which it must fail, and what is displayed."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import sympy as sp

from rlbook.derive import (
    IllFormed,
    Refuted,
    Undecided,
    any_horizon,
    any_sample,
    any_size,
    claim,
    claims,
    define,
    derivation,
    latex,
    refute,
    softmax,
)
from rlbook.derive.carriers import Point
from rlbook.derive.definitions import STANDARD
from rlbook.derive.display import MIME
from rlbook.derive.language import (
    Σ,
    Φ,
    E,
    J,
    N_togo,
    P,
    Q,
    R,
    T,
    U_togo,
    V_togo,
    a,
    a_,
    b,
    b_,
    f,
    grad,
    h,
    l,
    log,
    now,
    q,
    r,
    s_,
    t,
    x_,
    γ,
    θ,
    λ,
    π,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On

score = grad(log(π(a_, s_)))
mean_zero = E(π(a_, s_))[score]
point = On(FiniteMDP(2, 2, 1, carrier=Point))


@pytest.fixture(autouse=True)
def own_book():
    """These tests register nothing in the book."""
    before = dict(claims.BOOK)
    claims.BOOK.clear()
    yield claims.BOOK
    claims.BOOK.clear()
    claims.BOOK.update(before)


# -- what is true is registered, what is false is refuted -----------------------------------------------
def test_a_true_claim_is_registered(own_book):
    made = claim("score-mean-zero", mean_zero, 0, by=any_size)
    assert own_book == {"score-mean-zero": made}
    assert claim("score-mean-zero", mean_zero, 0, by=any_size, says="again") is own_book["score-mean-zero"]


def test_a_wrong_claim_shows_both_sides_and_a_witness(own_book):
    with pytest.raises(Refuted) as found:
        claim("policy-gradient", grad(J(θ)), E[Σ(now * r[t], (t, 0, T))])
    message = str(found.value)
    assert message.startswith("policy-gradient is refuted\n    left side   grad(J(θ))\n    right side  E[Σ(")
    assert "\n    difference  " in message and " at " in message and len(message) < 600
    assert found.value.lhs == grad(J(θ)) and found.value.difference != 0
    assert own_book == {}


@pytest.mark.parametrize("by", [None, any_size, any_sample, softmax, any_horizon, point])
def test_every_prover_refutes(by):
    pairs = {
        any_horizon: (N_togo(h, s_), 2),
        softmax: (grad(log(π(a_)), θ[b_]), 1 - π(b_)),
        any_size: (mean_zero, 1),
        any_sample: (E[R(τ)], 0),
    }
    with pytest.raises(Refuted):
        claim("wrong", *pairs.get(by, (J(θ), 0)), by=by)


def test_what_means_nothing_is_no_claim(own_book):
    for tree in (r[t + 5], sp.Symbol("unknown"), E[log(R(τ))]):
        with pytest.raises((IllFormed, NotImplementedError)):
            claim("nothing", tree, r[t])
    with pytest.raises(Undecided):
        claim("nothing", J(θ), R(τ), by=any_horizon)
    assert own_book == {}


def test_a_definition_must_be_the_books(own_book):
    made = define("return", R(τ), Σ(γ**t * r[t], (t, 0, T)))
    assert made.level is None and made.kind == "definition" and made.links() == []
    for body in (
        Σ(γ ** (t + 1) * r[t], (t, 0, T)),
        Σ(r[t], (t, 0, T)),
        Σ(γ**t * r[t], (t, 1, T)),
        Σ(γ**l * r[l], (l, 0, T)),
    ):
        with pytest.raises(Refuted, match="the book has"):
            define("return", R(τ), body)
    with pytest.raises(Refuted):
        define("return", R(x_), Σ(γ**t * r[t], (t, 0, T)))
    with pytest.raises(KeyError, match="no definition"):
        define("baseline", b(s_), Σ(r[t], (t, 0, T)))
    recursion = STANDARD[V_togo]
    with pytest.raises(Refuted):
        define("recursion", recursion.left, recursion.body)  # without its value at 0
    with pytest.raises(Refuted):
        define("recursion", recursion.left, recursion.body, base=1)
    assert "V_{0}(s)" in define("recursion", recursion.left, recursion.body, base=0).latex()
    assert set(own_book) == {"return", "recursion"}


steps = [
    (grad(Σ(P(τ) * R(τ), τ)), "the mean over trajectories"),
    (Σ(P(τ) * grad(log(P(τ))) * R(τ), τ), "log-derivative trick"),
    (E[Σ(now, (t, 0, T)) * R(τ)], "the dynamics carry no θ"),
]


def test_a_derivation_checks_every_step(own_book):
    made = derivation("policy-gradient", grad(J(θ)), *steps)
    assert [link.id for link in made.links()] == [f"policy-gradient, step {k}" for k in (1, 2, 3)]
    assert (made.lhs, made.rhs) == (grad(J(θ)), steps[-1][0])
    assert [x["reason"] for x in made.steps()] == [None] + [reason for _, reason in steps]
    for k in range(3):
        wrong = list(steps)
        wrong[k] = (steps[k][0] * 2, "a slip")
        with pytest.raises(Refuted, match=rf"step {k + 1} \(a slip\) is refuted"):
            derivation("wrong", grad(J(θ)), *wrong)
    assert set(own_book) == {"policy-gradient"}


def test_a_derivation_has_steps_with_reasons():
    with pytest.raises(ValueError, match="at least one step"):
        derivation("empty", J(θ))
    for step in ((J(θ),), (J(θ), ""), (J(θ), None), (J(θ), "why", None, None), (J(θ), J(θ))):
        with pytest.raises(ValueError, match="a step is"):
            derivation("no reason", J(θ), step)


def test_refute_shows_what_is_false_and_nothing_else(own_book):
    shown = refute(grad(J(θ)), E[Σ(now * r[t], (t, 0, T))])
    assert "≠" in repr(shown) and r"\ne" in shown._repr_latex_() and not hasattr(shown, "level")
    with pytest.raises(ValueError, match="is true, and cannot be refuted"):
        refute(mean_zero, 0, by=any_size)
    with pytest.raises(ValueError, match="is true"):
        refute(grad(J(θ)), E[Σ(now, (t, 0, T)) * R(τ)])
    assert own_book == {}


# -- the level ------------------------------------------------------------------------------------------
def test_the_level_is_computed():
    assert claim("exact", J(θ), E[R(τ)]).level == "F"
    assert claim("exact", J(θ), E[R(τ)], by=point).level == "R"
    assert claim("exact", J(θ), E[R(τ)], by=On(FiniteMDP(2, 2, 1), FiniteMDP(2, 2, 1, carrier=Point))).level == "R"
    assert claim("sums", mean_zero, 0, by=any_size).level == "P"
    assert claim("horizon", U_togo(h, s_), 0, by=any_horizon).level == "P"
    assert (
        claim(
            "sample", E[Σ(R(τ), sp.Symbol("D"))], sp.Symbol("N", integer=True, positive=True) * E[R(τ)], by=any_sample
        ).level
        == "P"
    )
    assert claim("softmax", grad(log(π(a_)), θ[b_]), sp.KroneckerDelta(a_, b_) - π(b_), by=softmax).level == "P"


def test_a_derivation_is_as_strong_as_its_weakest_step():
    chain = [grad(Σ(P(τ) * R(τ), τ)), (Σ(P(τ) * grad(log(P(τ))) * R(τ), τ), "log-derivative trick", any_size)]
    assert derivation("strong", *chain).level == "P"
    assert derivation("weaker", *chain, (E[Σ(now, (t, 0, T)) * R(τ)], "the dynamics carry no θ")).level == "F"
    assert derivation("weakest", *chain, (E[Σ(now, (t, 0, T)) * R(τ)], "at a point", point)).level == "R"


def test_the_level_cannot_be_set():
    made = claim("sums", mean_zero, 0, by=any_size)
    with pytest.raises(AttributeError):
        made.level = "P"


def test_no_function_takes_latex_or_a_level():
    known = {
        claim: ["id", "lhs", "rhs", "by", "says", "where"],
        define: ["id", "left", "body", "base", "says"],
        derivation: ["id", "start", "steps", "by", "says"],
        refute: ["lhs", "rhs", "by"],
    }
    for function, names in known.items():
        parameters = inspect.signature(function).parameters
        assert list(parameters) == names
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    made = claim("sums", mean_zero, 0, by=any_size, says=r"$x = y$")
    assert made.latex() == latex(mean_zero) + " = 0" and "$" not in made.latex()
    with pytest.raises((sp.SympifyError, IllFormed, TypeError, ValueError, AttributeError)):
        claim("string", r"\frac{1}{2} = x", 0)


# -- where ----------------------------------------------------------------------------------------------
def test_where_checks_every_choice():
    right, wrong = R(τ), R(τ) + γ
    lhs, rhs = grad(J(θ)), E[Σ(now * Φ[t], (t, 0, T))]
    made = claim("general-form", lhs, rhs, where={Φ[t]: [right, Σ(γ**l * r[l], (l, t, T))]})
    assert len(made.instances()) == 2 and r"\in \Big\{ R(\tau),\; " in made.latex()
    assert made.residual() == 0
    for choices in ([right, r[t]], [r[t], right]):
        with pytest.raises(Refuted):
            claim("general-form", lhs, rhs, where={Φ[t]: choices})
    claim("a constant is a baseline", lhs, rhs, where={Φ[t]: [wrong]})
    with pytest.raises(IllFormed):
        claim("unbound", lhs, rhs)


# -- the display ----------------------------------------------------------------------------------------
FIELDS = {"id", "kind", "level", "latex", "steps", "claim", "check"}


def test_the_bundle():
    made = claim("score-mean-zero", mean_zero, 0, by=any_size, says="the score has mean zero")
    bundle = made._repr_mimebundle_()
    assert set(bundle) == {MIME, "text/latex", "text/plain"}
    assert set(bundle[MIME]) == FIELDS
    assert bundle["text/plain"] == "(eq-score-mean-zero) claim, level P: the score has mean zero"
    assert bundle["text/latex"] == f"$$\n{made.latex()}\n\\tag{{eq-score-mean-zero}}\n$$"
    assert json.loads(json.dumps(bundle[MIME])) == bundle[MIME]
    assert bundle[MIME]["steps"] is None and bundle[MIME]["check"].startswith("proved for finite sets")


def test_the_bundle_of_a_definition_and_of_a_derivation():
    made = define("return", R(τ), Σ(γ**t * r[t], (t, 0, T)))._repr_mimebundle_()
    assert (
        set(made[MIME]) == FIELDS and made[MIME]["level"] is None and "(eq-return) definition: " in made["text/plain"]
    )
    made = derivation("policy-gradient", grad(J(θ)), *steps)._repr_mimebundle_()
    assert set(made[MIME]) == FIELDS and len(made[MIME]["steps"]) == 4
    assert made["text/latex"].count(r" \\") == 2 and made["text/latex"].count(r"&& \text{") == 3
    assert made[MIME]["latex"].count("&=") == 3 and r"\text" not in made[MIME]["latex"]


def test_reasons_keep_their_references_for_the_book_only():
    made = derivation("x", grad(q(x_)), (q(x_) * grad(log(q(x_))), "by {eq}`eq-log-derivative`", any_size))
    assert made.steps()[1]["reason"] == "by {eq}`eq-log-derivative`"
    assert r"\text{by (eq-log-derivative)}" in made._repr_mimebundle_()["text/latex"]


PROGRAM = """
import json
from rlbook.derive import *
made = [define("return", R(τ), Σ(γ**t * r[t], (t, 0, T))),
        claim("score", E(π(a_, s_))[grad(log(π(a_, s_)))], 0, by=any_size),
        claim("softmax", grad(-E(π(a_))[log(π(a_))], θ[b_]), -π(b_) * (log(π(b_)) - E(π(a_))[log(π(a_))]), by=softmax),
        derivation("gradient", grad(J(θ)),
                   (grad(Σ(P(τ) * R(τ), τ)), "written out"), (E[Σ(now, (t, 0, T)) * R(τ)], "again"))]
print(json.dumps([x._repr_mimebundle_() for x in made]))
for x, y, by in ((grad(J(θ)), E[Σ(now * r[t], (t, 0, T))], None),
                 (E(π(a_, s_))[grad(log(π(a_, s_)))], 1, any_size), (U_togo(h, s_), γ, any_horizon)):
    print(refute(x, y, by=by))
"""


def test_outputs_do_not_depend_on_the_hash_seed():
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    ]
    assert runs[0] and runs[0] == runs[1]


def test_the_engine_needs_no_torch():
    code = (
        "import sys; import rlbook.derive as d; assert not {'torch', 'numpy'} & set(sys.modules); "
        "assert d.Induction and d.Cases and d.Gaussian and d.Algebra"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_an_author_gets():
    import rlbook.derive as d

    for name in (
        "Induction",
        "Cases",
        "Less",
        "Nonnegative",
        "Gaussian",
        "standard_normal",
        "Algebra",
        "oo",
        "claim",
        "define",
        "grad",
        "Σ",
        "λ",
    ):
        assert hasattr(d, name) and name in d.__all__, name
    assert not {"sp", "head", "f_"} & set(d.__all__) and f in (d.f,) and λ is d.λ and a is d.a and Q is d.Q
