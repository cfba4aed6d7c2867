"""Equations out of code cells: the output of type MIME becomes a math block that Sphinx numbers and `{eq}` reaches.

A cell's output holds {"id", "kind", "level", "latex", "steps", "claim", "check"}. Without steps it is one display; with
steps it is a derivation: the start, then a row `= latex` with its reason for each step, under one number and one label.
myst-nb finds `EquationMime` through the entry point group `myst_nb.mime_renderers` in pyproject.toml.
"""

import re
from html import escape

from docutils import nodes
from sphinx.util import logging

MIME = "application/vnd.rlbook.equation+json"
DOMAIN = "rlbook"
LABEL = "eq-"  # the label of equation `policy-gradient` is `eq-policy-gradient`
ROW = "row-"  # the anchor of its row on the equations page

MEANING = {
    "D": "definition",
    "P": "level P, proved for all sizes and horizons",
    "F": "level F, exact at one size",
    "R": "level R, exact at a random rational point",
}
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RELATION = re.compile(
    r"&?\s*(?==|<|>|\\(?:leq?|geq?|neq?|approx|propto|equiv|sim|to|iff|Rightarrow|Leftrightarrow)(?![A-Za-z]))"
)
log = logging.getLogger(__name__)


def grade(equation):
    """The letter of an equation's badge: D for a definition, else the level of its check."""
    return "D" if equation["kind"] == "definition" else equation["level"]


def faults(equation):
    """What is wrong with a cell's equation, as a list of sentences: a claim that nobody checked does not pass."""
    found = [f"no {key!r}" for key in ("id", "kind", "latex", "claim") if not equation.get(key)]
    if equation.get("id") and not _ID.fullmatch(equation["id"]):
        found.append("the id is not lower-case words joined by hyphens")
    if equation.get("kind") not in ("claim", "definition", None):
        found.append(f"unknown kind {equation['kind']!r}")
    if equation.get("level") not in (None, "P", "F", "R"):
        found.append(f"unknown level {equation['level']!r}")
    if equation.get("kind") == "claim" and not (equation.get("level") and equation.get("check")):
        found.append("a claim without a check")
    return found


def badge(builder, node):
    """The HTML of a display's badge: a link to the equation's row on the equations page, the meaning as its tooltip."""
    equation = node.get("rlbook")
    if equation is None:
        return ""
    letter = grade(equation)
    tip = MEANING[letter] + (f": {equation['check']}" if equation.get("check") else "")
    attributes = f'class="rl-badge rl-{letter}" title="{escape(tip)}" aria-label="{escape(tip)}"'
    pages = builder.env.get_domain(DOMAIN).data["pages"]
    if not pages:
        return f"<span {attributes}>{letter}</span>"
    link = builder.get_relative_uri(builder.current_docname, pages[0]) + f"#{ROW}{equation['id']}"
    return f'<a {attributes} href="{escape(link)}">{letter}</a>'


def _inline(parser, text, line):
    """The nodes of one line of MyST: words, formulas between dollars, references to equations."""
    holder = nodes.Element()
    with parser.current_node_context(holder):
        parser.nested_render_text(text, line, inline=True)
    return holder.children


def _block(parser, latex, line, **attributes):
    block = nodes.math_block(latex, latex, nowrap=False, number=None, **attributes)
    block.source, block.line = parser.document["source"], line
    return block


def _numbered(parser, equation, latex, line):
    """The display that carries an equation's label and number, with the target before it."""
    block = _block(parser, latex, line, label=LABEL + equation["id"])
    block["rlbook"] = equation
    return [parser.add_math_target(block), block]


def _step(parser, step, line):
    """One row of a derivation: `= latex`, and why."""
    latex = step["latex"].strip()
    relation = _RELATION.match(latex)
    row = nodes.container(classes=["rl-step"])
    row += _block(parser, latex[relation.end() :] if relation else "= " + latex, line)
    if step.get("reason"):
        row += nodes.paragraph("", "", *_inline(parser, step["reason"], line), classes=["rl-reason"])
    return row


def render(parser, equation, line):
    """The nodes of one equation; `parser` is myst-nb's renderer of the notebook that is being read."""
    steps = equation.get("steps")
    if not steps:
        return [nodes.container("", *_numbered(parser, equation, equation["latex"], line), classes=["rl-equation"])]
    start, *rest = steps
    box = nodes.container(
        "", *_numbered(parser, equation, start["latex"], line), classes=["rl-equation", "rl-derivation"]
    )
    box += [_step(parser, step, line) for step in rest]
    return [box]


class EquationMime:
    """myst-nb's plugin for MIME."""

    mime_priority_overrides = [("*", MIME, 1)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        """The nodes of an output of type MIME; None for every other output."""
        if data.mime_type != MIME or inline:
            return None
        parser, equation, line = renderer.renderer, data.content, data.line or 0
        env = parser.sphinx_env
        found = faults(equation)
        for fault in found:
            log.warning(
                "equation %r: %s",
                equation.get("id"),
                fault,
                location=(env.docname, line),
                type="rlbook",
                subtype="equation",
            )
        if found:
            return [nodes.paragraph("", f"equation {equation.get('id')!r} cannot be shown: {'; '.join(found)}")]
        env.get_domain(DOMAIN).note(env.docname, equation)
        return render(parser, equation, line)
