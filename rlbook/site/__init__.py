"""The Sphinx side of the book: equations from code cells, the equations page, maths typeset at build time,
figures with sliders, the looks.

Nothing here is imported by the package; `import rlbook.site` is instant, and Sphinx calls `setup`.
"""

import shutil
from pathlib import Path

HERE = Path(__file__).parent
ASSETS = ("rlbook.css", "rlbook.js")


def _add_assets(app):
    """Copy the style sheet and the script into the site, before Sphinx computes their checksums."""
    if app.builder.format == "html":
        static = Path(app.outdir) / "_static"
        static.mkdir(parents=True, exist_ok=True)
        for name in ASSETS:
            shutil.copy(HERE / name, static)
        app.add_css_file("rlbook.css", priority=900)
        app.add_js_file("rlbook.js", loading_method="defer")


def _lighten(app, exception):
    """Empty the theme's 1.4 MB of icon JavaScript: its web font, which is in the site too, draws the same icons."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if exception is None and script.exists():
        script.write_text("/* icons come from the web font */\n", encoding="utf-8")


def setup(app):
    """The Sphinx extension."""
    from rlbook.site import equations, explorables, katex

    katex.setup(app)
    equations.setup(app)
    explorables.setup(app)
    app.connect("builder-inited", _add_assets)
    app.connect("build-finished", _lighten)
    return {"version": "0.1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": False}
