"""What nbval cannot see: it passes a notebook that was never run, sees no pictures, and skips what it is told to."""

import base64
import re
from pathlib import Path

import pytest
import yaml

from rlbook.site import colab, notebooks

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = notebooks.chapters(ROOT)
EQUATION = "application/vnd.rlbook.equation+json"
SKIPPING = {"nbval-skip", "nbval-ignore-output"}
RAISING = {"raises-exception", "nbval-raises-exception"}
MOST_IGNORED = 0.3
MOST_PICTURE_BYTES = 150_000
WIDEST_LINE = 76  # of code: what the site's column shows without scrolling

# Names of folders that exist on one machine only, times that change from run to run, and objects shown by accident.
PATHS = re.compile(r"/(?:home|root|Users|tmp|opt|work|content|usr|var)/|[A-Z]:\\\\|site-packages")
TIMES = re.compile(r"CPU times|Wall time|\bit/s\b|\d ?(?:ms|µs|μs|ns|sec|seconds|minutes)\b|\d\.\d+ ?s\b")
OBJECTS = re.compile(r"\bat 0x[0-9a-f]{6,}|<matplotlib\.|<Axes|^\[?Text\(|^<function |^<module ", re.MULTILINE)
FIGURE = re.compile(r"<Figure size \d+x\d+ with \d+ Axes>")
LABELLED = re.compile(
    r"\$\$\s*\([^\s()]+\)"  # $$ ... $$ (label)
    r"|\\label\{|\\begin\{(?:align|equation|gather)\*?\}"  # numbered by amsmath
    r"|\{math\}[^\n]*\n(?:[ \t]*:[\w-]+:.*\n)*?[ \t]*:label:"  # the option of a {math} directive
)
UNQUOTED = re.compile(r"pip3? install\b[^\n\"'`;]*?[\w\]][ ]?[<>]=?[ ]?\d")


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return notebooks.read(path)


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def markdown(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def texts(cell):
    """Every text that a cell printed or displayed, without pictures."""
    for output in cell.outputs:
        if "text" in output:
            yield output.text
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield data if isinstance(data, str) else repr(data)


def offending(cells, complaint):
    """One line for each code cell about which `complaint` has something to say: its number, and that."""
    found = ((number, complaint(cell)) for number, cell in enumerate(cells, 1))
    return [f"code cell {number}: {what}" for number, what in found if what]


@pytest.mark.parametrize(
    ("pattern", "bad", "good"),
    [
        (PATHS, "saved to /usr/share/run.pt", "pi(a/s) / pi_old(a/s)"),
        (PATHS, "C:\\\\Users", "C: 0.5"),
        (TIMES, "took 1.25 s", "E[s] = 1.25, s_0 = 3 s_1"),
        (TIMES, "12 ms per loop", "12 means"),
        (OBJECTS, "<rlbook.exact.MDP object at 0x7f3a5c001b50>", "<rlbook.exact.MDP: 3 states>"),
        (OBJECTS, "[<matplotlib.lines.Line2D]", "matplotlib"),
        (OBJECTS, "Text(0.5, 1.0, 'x')", "a Text(...)"),
        (LABELLED, "$$ a = b $$ (eq-a)", "$$ a = b $$ and (so) on"),
        (LABELLED, "\\begin{align} a \\end{align}", "$$\\begin{aligned} a \\end{aligned}$$"),
        (LABELLED, ":::{math}\n:nowrap:\n:label: eq-a\na = b\n:::", ":::{exercise}\n:label: ex-a\n:::"),
        (UNQUOTED, "%pip install torch>=2", '%pip install "torch>=2"'),
        (UNQUOTED, "pip install -q a b<3", "pip install -q a b; x = 1 > 0"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern, bad, good):
    assert pattern.search(bad)
    assert not pattern.search(good)


def test_the_book_has_chapters():
    assert CHAPTERS, f"no notebook in {ROOT / 'book'}: the tests of the chapters have nothing to test"


def test_every_chapter_is_in_the_table_of_contents():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = {f"{chapter['file']}.ipynb" for part in parts for chapter in part["chapters"]}
    assert {path.relative_to(ROOT).as_posix() for path in CHAPTERS} <= listed


def test_executed_from_top_to_bottom(code):
    assert all(cell.source.strip() for cell in code), "an empty code cell: delete it"
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run: make refresh"


def test_stored_in_the_form_that_refresh_writes(path, notebook):
    assert notebook.metadata == notebooks.METADATA, "metadata of an editor or of a machine; run: make refresh"
    assert path.read_text(encoding="utf-8") == notebooks.dumps(notebooks.normalise(notebooks.read(path)))


def test_no_errors_warnings_or_widgets(code):
    def complaint(cell):
        for output in cell.outputs:
            if output.output_type == "error" and not RAISING & set(notebooks.tags(cell)):
                return f"{output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                return "stderr: " + output.text[:200]
            if any("widget" in kind for kind in output.get("data", {})):
                return "a widget, which neither the site nor GitHub can show"

    assert not offending(code, complaint)


def test_what_is_not_compared_says_why(code):
    def complaint(cell):
        skipped = SKIPPING & set(notebooks.tags(cell))
        comment = re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_\w+", cell.source)
        if comment:
            return f"{comment[0]}: use a tag, and say why in the cell's metadata"
        if skipped and not str(cell.metadata.get("why", "")).strip():
            return f"{skipped} without a reason in the cell's metadata ('why')"

    assert not offending(code, complaint)


def test_most_outputs_are_compared(code):
    ignored = [cell for cell in code if SKIPPING & set(notebooks.tags(cell))]
    assert len(ignored) <= MOST_IGNORED * len(code), f"{len(ignored)} of {len(code)} code cells ignore their output"


def test_no_paths_times_or_objects_in_outputs(code):
    def complaint(cell):
        for text in texts(cell):
            for pattern in (PATHS, OBJECTS) if "math" in notebooks.tags(cell) else (PATHS, TIMES, OBJECTS):
                if found := pattern.search(FIGURE.sub("", text)):
                    return f"{found[0]!r} in {text[max(0, found.start() - 40) : found.end() + 40]!r}"

    assert not offending(code, complaint)


def test_equations_are_tagged(code):
    def complaint(cell):
        shows = any(EQUATION in output.get("data", {}) for output in cell.outputs)
        if shows and "math" not in notebooks.tags(cell):
            return "an equation in a cell without the tag 'math'"

    assert not offending(code, complaint)


def test_numbered_equations_come_from_checked_cells(markdown):
    found = LABELLED.search(markdown)
    assert not found, f"{found[0]!r}: a labelled or numbered display typed by hand; define or claim it in a cell"


def test_pictures_are_small_and_described(notebook):
    for cell in notebook.cells:
        assert not cell.get("attachments"), "pictures pasted into Markdown: Colab and the site lose them"
        for output in cell.get("outputs", []):
            for kind, data in output.get("data", {}).items():
                if kind.startswith("image/"):
                    size = len(data) if kind == "image/svg+xml" else len(base64.b64decode(data))
                    assert size <= MOST_PICTURE_BYTES, f"{kind} of {size} bytes in:\n{cell.source}"
                    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                    assert alt, f"no description (metadata mystnb.image.alt) of the figure in:\n{cell.source}"


def test_the_set_up_cell_is_first_and_the_same_everywhere(code):
    want = colab.repository((ROOT / "_config.yml").read_text(encoding="utf-8")).cell
    assert code[0].source == want, "run: make colab"
    assert code[0].metadata["tags"] == colab.TAGS
    assert code[0].outputs == []
    assert not any("setup" in notebooks.tags(cell) for cell in code[1:])


def test_code_fits_the_column(code):
    def complaint(cell):
        wide = [line for line in cell.source.splitlines() if len(line) > WIDEST_LINE]
        return wide and "setup" not in notebooks.tags(cell) and f"over {WIDEST_LINE} characters: {wide[0]}"

    assert not offending(code, complaint)


def test_version_bounds_are_quoted(notebook):
    for cell in notebook.cells:
        found = UNQUOTED.search(cell.source)
        assert not found, f"a shell reads {found[0]!r} as a redirection: quote the requirement"


def test_the_chapter_has_one_title(markdown):
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, flags=re.M)) == 1
