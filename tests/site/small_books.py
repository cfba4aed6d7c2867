"""A small book made on the spot, and Sphinx runs on it exactly as on the real one."""

import subprocess
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import yaml
from nbformat import v4, write

ROOT = Path(__file__).parents[2]
MIME = "application/vnd.rlbook.equation+json"


def equation(id_, latex, level="F", kind="claim", steps=None, **more):
    """What a cell says about one equation."""
    return {
        "id": id_,
        "kind": kind,
        "level": level,
        "latex": latex,
        "steps": steps,
        "claim": f"{id_} holds",
        "check": "exact on every MDP with 2 states, 2 actions, 2 steps; each number a symbol",
        **more,
    }


def cell(*equations, tags=()):
    """A code cell that has shown these equations."""
    outputs = [
        v4.new_output(
            "display_data",
            data={MIME: e, "text/latex": f"$$ {e['latex']} \\tag{{eq-{e['id']}}} $$", "text/plain": e["id"]},
        )
        for e in equations
    ]
    return v4.new_code_cell("claim(...)", execution_count=1, outputs=outputs, metadata={"tags": list(tags)})


def notebook(title, *cells):
    """A notebook; a string is a Markdown cell."""
    made = [v4.new_markdown_cell(c) if isinstance(c, str) else c for c in (f"# {title}", *cells)]
    return v4.new_notebook(
        cells=made,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        },
    )


def write_book(folder, chapters):
    """Write a book with the real _config.yml: {file stem: notebook}, then the real equations page."""
    book = folder / "book"
    (book / "_static").mkdir(parents=True)
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["sphinx"]["config"]["rlbook_package"] = str(folder / "rlbook")
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    toc = {
        "format": "jb-book",
        "root": "book/index",
        "parts": [
            {"caption": "Part I", "numbered": 1, "chapters": [{"file": f"book/{stem}"} for stem in chapters]},
            {"caption": "Back matter", "chapters": [{"file": "book/equations"}]},
        ],
    }
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
    (book / "index.md").write_text("# A small book\n\nSee {eq}`eq-policy-gradient`.\n")
    for name in ("equations.md", "references.bib", "_static/favicon.svg"):
        (book / name).write_text((ROOT / "book" / name).read_text())
    for stem, made in chapters.items():
        write(made, book / f"{stem}.ipynb")
    return folder


def build(folder):
    """Run the build of `make book`; what it printed, and the folder of the pages."""
    program = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    done = subprocess.run(
        [program, "build", ".", "--all", "-W", "-n", "--keep-going"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return SimpleNamespace(ok=done.returncode == 0, said=done.stdout + done.stderr, html=folder / "_build" / "html")


P = r"P(\tau \mid \theta)"
SCORES = r"\sum_{t=0}^{T} \nabla_\theta \log \pi_\theta(a_t \mid s_t)"
GRADIENT = [
    {"latex": latex, "reason": reason}
    for latex, reason in (
        (r"\nabla_\theta J(\pi_\theta)", None),
        (r"\nabla_\theta \mathop{\mathbb{E}}_{\tau \sim \pi_\theta}\left[R(\tau)\right]", "{eq}`eq-expected-return`"),
        (rf"\nabla_\theta \sum_{{\tau}} {P}\, R(\tau)", f"an expectation is a sum weighted by ${P}$"),
        (rf"\sum_{{\tau}} \nabla_\theta {P}\, R(\tau)", r"the sum is finite and $R(\tau)$ has no $\theta$ in it"),
        (
            rf"\sum_{{\tau}} {P}\, \nabla_\theta \log {P}\, R(\tau)",
            "{eq}`eq-log-derivative`, the log-derivative trick",
        ),
        (
            r"\sum_{s_0, a_0, \ldots, s_{T+1}} \rho_0(s_0) \prod_{t=0}^{T} P(s_{t+1} \mid s_t, a_t)\, "
            rf"\pi_\theta(a_t \mid s_t) \left( {SCORES} \right) R(\tau)",
            r"{eq}`eq-log-derivative` once more, written out: $\rho_0$ and the transition probabilities do not "
            r"depend on $\theta$, so their gradients vanish",
        ),
        (
            rf"\mathop{{\mathbb{{E}}}}_{{\tau \sim \pi_\theta}}\left[{SCORES}\, R(\tau)\right]",
            r"the definition of $\mathbb{E}$",
        ),
    )
]


def good_chapters():
    """Two chapters: a definition and two claims, then a derivation, a display typed by hand, an exercise."""
    first = notebook(
        "The first chapter",
        cell(
            equation(
                "expected-return",
                r"J(\pi_\theta) = \mathop{\mathbb{E}}_{\tau \sim \pi_\theta}[R(\tau)]",
                None,
                "definition",
            )
        ),
        "Then {eq}`eq-log-derivative`, used in {eq}`eq-policy-gradient`; inline $\\pi_\\theta(a \\mid s)$.",
        cell(
            equation(
                "log-derivative",
                r"\nabla_\theta P(\tau \mid \theta) = P(\tau \mid \theta) \nabla_\theta \log P(\tau \mid \theta)",
                "P",
            ),
            equation(
                "score-mean-zero",
                r"\begin{aligned} \mathop{\mathbb{E}}_{a \sim \pi}[\nabla \log \pi(a)] &= \sum_a \nabla \pi(a) \\"
                r" &= 0 \end{aligned}",
                "R",
            ),
            tags=["hide-input"],
        ),
        cell(
            equation("wide", r"\left(" + " + ".join(f"x_{{{k}}}" for k in range(40)) + r"\right)^2 \ge 0", "P"),
            tags=["hide-cell"],
        ),
        cell(equation("wider", r"\left(" + " + ".join(f"y_{{{k}}}" for k in range(40)) + r"\right)^2 \ge 0", "P")),
    )
    second = notebook(
        "The second chapter",
        cell(
            equation("policy-gradient", r"\begin{aligned} \nabla_\theta J &= \ldots \end{aligned}", "F", steps=GRADIENT)
        ),
        "Typed by hand, without a number:\n\n$$ a^2 + b^2 = c^2 $$\n\nand inside a line $$ a \\\\ b $$.",
        ":::{exercise-start} Once more\n:label: ex-once\n:::\n\nShow {eq}`eq-policy-gradient`.\n\n"
        ":::{exercise-end}\n:::",
        ":::{solution-start} ex-once\n:class: dropdown\n:::",
        v4.new_code_cell(
            "1 + 1",
            execution_count=2,
            outputs=[v4.new_output("execute_result", {"text/plain": "2"}, execution_count=2)],
        ),
        ":::{solution-end}\n:::",
    )
    return {"first": first, "second": second}
