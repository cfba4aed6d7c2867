"""The book's figures with sliders: their formulas as JavaScript, printed by sympy from expressions decided first.

    python -m rlbook.site.explorables        # write book/_static/explorables/<name>.formulas.js anew

A page shows one where its source has `<div class="rl-explorable" data-explorable="clip">a sentence for whoever reads without
it</div>`; only such a page loads the scripts. An explorable is an entry of `EXPLORABLES`, whose formulas are printed after its
claims are decided, and one drawing `<name>.js`, which holds no formula of its own.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("book/_static/explorables")
MARK = re.compile(r'data-explorable="([^"]*)"')


class NotTrue(ValueError):
    """A claim that an explorable rests on does not hold."""


@dataclass(frozen=True)
class Explorable:
    """The formulas of one figure, {name: (arguments, tree or list of trees)}, and the claims (reader, lhs, rhs) they rest on."""

    formulas: dict
    claims: tuple = ()


# ---------------------------------------------------------------------------------------------- the formulas
def definition(name):
    """What a name of the book stands for: the tree that its chapter displays and every check unfolds."""
    from rlbook.derive.definitions import STANDARD, key

    return STANDARD[key(name)].body


def clip():
    """min(r A, clip(r, 1-ε, 1+ε) A) (eq-clipped-surrogate), r A, the derivative along r, and the ends of the clip."""
    import sympy as sp

    from rlbook.derive import language as L
    from rlbook.derive.cases import Cases, Less, oo

    r, A = sp.Symbol("ratio", positive=True), sp.Symbol("advantage", real=True)
    clipped, unclipped = definition(L.Lclip[L.t]).xreplace({L.rθ[L.t]: r, L.Â[L.t]: A}), r * A
    (window,) = clipped.atoms(L.Clip)
    _, low, high = window.args
    slope = A * (Less(0, A) * Less(r, high) + Less(A, 0) * Less(low, r))
    by = Cases({L.ε: [0, 1], r: [0, low, high, oo], A: [-oo, 0, oo]})
    every = (L.ε, A, r)
    return Explorable(
        formulas={
            "clipped": (every, clipped),
            "unclipped": (every, unclipped),
            "slope": (every, slope),
            "low": ((L.ε,), low),
            "high": ((L.ε,), high),
        },
        claims=(
            (by, L.grad(clipped, r), slope),
            (by, sp.Max(clipped, unclipped, evaluate=False), unclipped),
        ),
    )


def kl():
    """k1, k2, k3 (eq-k1, eq-k2, eq-k3) as functions of ℓ = log π/π_ref, and their moments for N(0, 1) against N(μ, 1)."""
    import sympy as sp

    from rlbook.derive import ratios as W
    from rlbook.derive.gaussian import Gaussian, standard_normal
    from rlbook.derive.language import E, Var, exp, x_

    μ, l, normal = sp.Symbol("mu", positive=True), sp.Symbol("l", real=True), standard_normal(x_)
    by, ratio = Gaussian(), exp(μ * x_ - μ**2 / 2)     # π_ref / π for a sample of π
    k = {"k1": definition(W.k1(W.z_)), "k2": definition(W.k2(W.z_)), "k3": definition(W.k3(W.z_))}
    mean = {"k1": μ**2 / 2, "k2": μ**2 / 2 + μ**4 / 8, "k3": μ**2 / 2}
    variance = {"k1": μ**2, "k2": μ**4 * (2 + μ**2) / 4, "k3": exp(μ**2) - 1 - μ**2}
    sample = {name: tree.xreplace({W.z_: ratio}) for name, tree in k.items()}
    return Explorable(
        formulas={
            **{name: ((l,), tree.xreplace({W.z_: exp(-l)})) for name, tree in k.items()},
            **{f"{name}_mean": ((μ,), tree) for name, tree in mean.items()},
            **{f"{name}_deviation": ((μ,), sp.sqrt(tree)) for name, tree in variance.items()},
        },
        claims=(
            *((by, E(normal)[sample[name]], tree) for name, tree in mean.items()),
            *((by, Var(normal)[sample[name]], tree) for name, tree in variance.items()),
        ),
    )


GAE_STEPS = 24


def gae():
    """What Â_t = Σ_l (γ λ)^l δ_{t+l} (eq-gae), unrolled over `GAE_STEPS` steps, gives to each reward and to each value."""
    from sympy import Indexed

    from rlbook.derive import language as L

    tree = definition(L.Â[L.t]).xreplace({L.t: 0}).xreplace({L.T: GAE_STEPS - 1}).doit()
    errors = {x for x in tree.atoms(Indexed) if x.base == L.δ}
    tree = tree.xreplace({x: definition(L.δ[L.t]).xreplace({L.t: x.indices[0]}) for x in errors}).expand()
    every, steps = (L.γ, L.λ), range(GAE_STEPS + 1)
    return Explorable(
        formulas={
            "rewards": (every, [tree.coeff(L.r[l]) for l in steps[:-1]]),
            "values": (every, [tree.coeff(L.Vhat(L.s[l])).factor() for l in steps]),
        },
    )


GROUP = 8


def group():
    """Mean and standard deviation of the rewards of `GROUP` completions, and what each reward becomes (eq-grpo-advantage).

    Divided by the standard deviation, the mean alone subtracted, or the mean of the others (eq-rloo), which is
    G/(G − 1) times as much.
    """
    import sympy as sp

    from rlbook.derive import advantages as K
    from rlbook.derive import language as L
    from rlbook.derive.algebra import Algebra

    reward, average, deviation = sp.symbols("reward mean std", real=True)
    r = sp.symbols(f"r1:{GROUP + 1}", real=True)
    rewards = {L.r[i]: x for i, x in enumerate(r, 1)}
    heads = {K.mean(L.r): average, K.std(L.r): deviation}

    def unrolled(head, i=L.i):
        return definition(head).xreplace(heads).xreplace({L.G: GROUP, L.i: i}).doit().xreplace(rewards)

    mean, std = unrolled(K.mean(L.r)), unrolled(K.std(L.r))
    scaled = definition(K.Âg(L.i)).xreplace(heads).xreplace({L.r[L.i]: reward})
    kinds = {"group": scaled, "none": reward - average, "rloo": sp.Rational(GROUP, GROUP - 1) * (reward - average)}

    def of(kind):
        return [kinds[kind].xreplace({reward: x, average: mean}) for x in r]

    others = [unrolled(K.Âloo(L.i), i) for i in range(1, GROUP + 1)]
    squares, by = sp.Add(*[x**2 for x in of("group")]), Algebra()
    return Explorable(
        formulas={
            "mean": (r, mean),
            "std": ((*r, average), std),
            **{kind: ((reward, average, deviation), tree) for kind, tree in kinds.items()},
        },
        claims=(
            *((by, sp.Add(*of(kind)), sp.Integer(0)) for kind in kinds),
            (by, scaled * deviation, kinds["none"]),
            (by, squares * deviation**2, GROUP * std.xreplace({average: mean}) ** 2),
            *((by, tree, defined) for tree, defined in zip(of("rloo"), others, strict=True)),
        ),
    )


EXPLORABLES = {"clip": clip, "kl": kl, "gae": gae, "group": group}


# ---------------------------------------------------------------------------------------------- as JavaScript
def javascript(tree):
    """A tree, or a list of trees, as a JavaScript expression; the heads that sympy does not know are spelt out."""
    from sympy.printing.jscode import JavascriptCodePrinter

    class Printer(JavascriptCodePrinter):
        def _print_Clip(self, e):
            x, low, high = map(self._print, e.args)
            return f"Math.max({low}, Math.min({x}, {high}))"

        def _print_Less(self, e):
            x, y = map(self._print, e.args)
            return f"({x} < {y} ? 1 : 0)"

        def _print_Symbol(self, e):
            return {"varepsilon": "epsilon", "lambda": "lambda_"}.get(e.name, e.name)

    if isinstance(tree, list):
        return "[\n" + "".join(f"      {Printer().doprint(x)},\n" for x in tree) + "    ]"
    return Printer().doprint(tree)


def printed(name):
    """The text of <name>.formulas.js; NotTrue if a claim that it rests on is not proved."""
    explorable = EXPLORABLES[name]()
    for by, lhs, rhs in explorable.claims:
        if by(lhs, rhs) != 0:
            raise NotTrue(f"{name}: {lhs} = {rhs} does not hold")
    lines = [
        "// Printed by `python -m rlbook.site.explorables` from the expressions that the book checks; do not edit.",
        '"use strict";',
        f"rlExplorables.formulas.{name} = {{",
    ]
    for formula, (arguments, tree) in explorable.formulas.items():
        lines += [f"  {formula}: ({', '.join(map(javascript, arguments))}) =>", f"    {javascript(tree)},"]
    return "\n".join([*lines, "};"]) + "\n"


def write(folder=FOLDER):
    """Write the formulas of every explorable into `folder`."""
    for name in EXPLORABLES:
        (Path(folder) / f"{name}.formulas.js").write_text(printed(name), encoding="utf-8", newline="\n")


# ---------------------------------------------------------------------------------------------- Sphinx
def _load(app, page, template, context, doctree):
    """Load the scripts on a page that shows an explorable, and on no other."""
    from sphinx.util import logging

    wanted = sorted(set(MARK.findall(context.get("body") or "")))
    for name in wanted:
        if name not in EXPLORABLES:
            log = logging.getLogger(__name__)
            log.warning("no explorable %r: there are %s", name, ", ".join(EXPLORABLES), location=page, type="rlbook")
    scripts = [file for name in wanted if name in EXPLORABLES for file in (f"{name}.formulas.js", f"{name}.js")]
    for script in ["explorables.js", *scripts] if scripts else []:
        app.add_js_file(f"explorables/{script}", loading_method="defer")


def setup(app):
    """The Sphinx extension; `rlbook.site` sets it up."""
    app.connect("html-page-context", _load)
    return {"version": "0.1", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    from rlbook.site.notebooks import book_root

    write(book_root() / FOLDER)
