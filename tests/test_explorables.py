"""The formulas of the figures with sliders: printed from what the book checks, and the committed files are those prints."""

import re

import pytest
import sympy as sp
import torch

from rlbook.derive.cases import Cases
from rlbook.derive.language import Clip, E, x_, γ, λ
from rlbook.derive.tensors import Tensors
from rlbook.returns import gae, group_advantages, rloo_advantages
from rlbook.site import explorables
from tests.derive import test_cases as cases

NAMES = list(explorables.EXPLORABLES)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_is_what_is_printed(root, name, tmp_path):
    explorables.write(tmp_path)
    printed = (tmp_path / f"{name}.formulas.js").read_bytes()
    assert (root / explorables.FOLDER / f"{name}.formulas.js").read_bytes() == printed


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_asks_for_formulas_that_are_there(root, name):
    drawing = (root / explorables.FOLDER / f"{name}.js").read_text()
    assert f'rlExplorables.add("{name}"' in drawing
    asked = set(re.findall(r"\bf\.(\w+)\(", drawing))
    assert asked and asked <= set(explorables.EXPLORABLES[name]().formulas)


def test_the_scripts_ask_nobody_and_evaluate_no_text(root):
    for script in (root / explorables.FOLDER).glob("*.js"):
        code = script.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//cdn|\beval\(|new Function|innerHTML|fetch\(|import\(", code), script.name


def test_the_clip_is_the_tree_that_the_regions_prove():
    formulas = {name: tree for name, (_, tree) in explorables.clip().formulas.items()}
    same = {sp.Symbol("ratio", positive=True): cases.ρ, sp.Symbol("advantage", real=True): cases.Â}
    assert formulas["clipped"].xreplace(same) == cases.clipped
    assert formulas["unclipped"].xreplace(same) == cases.unclipped
    assert cases.ppo(cases.TRUE["derivative"][0], formulas["slope"].xreplace(same)) == 0


@pytest.mark.parametrize("name", ["clip", "kl", "group"])
def test_a_figure_whose_claim_is_false_is_not_printed(monkeypatch, name):
    made = explorables.EXPLORABLES[name]()
    for number, (by, lhs, rhs) in enumerate(made.claims):
        wrong = [*made.claims[:number], (by, lhs, rhs + 1), *made.claims[number + 1 :]]
        bad = explorables.Explorable(made.formulas, tuple(wrong))
        monkeypatch.setitem(explorables.EXPLORABLES, name, lambda bad=bad: bad)
        with pytest.raises(explorables.NotTrue, match=f"^{name}: "):
            explorables.printed(name)


def test_what_has_no_javascript_is_refused():
    assert explorables.javascript(Clip(x_, 0, 1)) == "Math.max(0, Math.min(x, 1))"
    assert explorables.javascript(cases.Less(x_, 1)) == "(x < 1 ? 1 : 0)"
    assert explorables.javascript([λ, x_**2]) == "[\n      lambda_,\n      Math.pow(x, 2),\n    ]"
    with pytest.raises(Exception, match="Unsupported"):
        explorables.javascript(E[x_])


@pytest.mark.parametrize("at", [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (0.8, 0.5)])
def test_the_weights_are_the_gradient_of_the_books_gae(at):
    steps = explorables.GAE_STEPS
    rewards, values = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (steps, steps + 1))
    ends = torch.zeros(steps, dtype=torch.bool)
    wanted = torch.autograd.grad(gae(rewards, values[:-1], values[1:], ends, ends, *at)[0], [rewards, values])
    formulas = explorables.gae().formulas
    found = [[float(tree.subs({γ: at[0], λ: at[1]})) for tree in formulas[name][1]] for name in ("rewards", "values")]
    for weights, gradient in zip(found, wanted, strict=True):
        assert weights == pytest.approx(gradient.tolist(), abs=1e-12)


@pytest.mark.parametrize("kind", ["group", "none", "rloo"])
def test_the_advantages_are_those_of_the_package(kind):
    rewards = torch.tensor([0.25, 1.0, 0.0, 0.75, 0.5, 0.0, 1.0, 0.25], dtype=torch.float64)
    formulas = explorables.group().formulas
    r, mean = formulas["mean"]
    mean = Tensors(dict(zip(r, rewards, strict=True)))(mean)
    std = Tensors(dict(zip(formulas["std"][0], [*rewards, mean], strict=True)))(formulas["std"][1])
    (reward, *given), tree = formulas[kind]
    found = [Tensors({reward: x, **dict(zip(given, (mean, std), strict=True))})(tree).item() for x in rewards]
    wanted = rloo_advantages(rewards) if kind == "rloo" else group_advantages(rewards, scale=kind, ddof=0, eps=0.0)
    assert found == pytest.approx(wanted.tolist(), abs=1e-14)


def test_the_claims_of_the_clip_are_decided_in_all_six_regions():
    for by, _, _ in explorables.clip().claims:
        assert isinstance(by, Cases) and sum(not cell.cuts for cell in by.cells) == 6
