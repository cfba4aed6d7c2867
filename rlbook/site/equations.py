"""All equations of the book in one place: the domain that remembers them, the gate, the page, equations.json.

- Domain `rlbook` holds what the cells said, how many displays were typed by hand, what was labelled unchecked.
- The gate is a Sphinx warning for every label without a check; the book is built with `-W`.
- The directive `{equations}` is replaced by counts and a table of all equations in reading order; the same data is
  written as equations.json next to the page.
"""

import json
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.domains import Domain
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from rlbook.site import sources
from rlbook.site.mime import DOMAIN, LABEL, MEANING, ROW, grade

log = logging.getLogger(__name__)


class EquationDomain(Domain):
    """What is known about each equation of the book, by the page that shows it."""

    name, label, data_version = DOMAIN, "checked equations", 1
    initial_data = {
        "records": {},  # id -> {"docname", and what the cell said}
        "typed": {},  # page -> number of display equations typed by hand in its Markdown
        "unchecked": {},  # label -> (page, line) of a labelled display that no cell has checked
        "pages": [],  # pages that hold the list of equations
    }

    def note(self, docname, equation):
        """Remember an equation that a cell of a page has checked and shown."""
        self.data["records"][equation["id"]] = {**equation, "docname": docname}

    def process_doc(self, env, docname, document):
        """Count the displays that are not a cell's output; remember the labels among them."""
        typed = [block for block in document.findall(nodes.math_block) if not _from_a_cell(block)]
        self.data["typed"][docname] = len(typed)
        for block in typed:
            if block.get("label"):
                self.data["unchecked"][block["label"]] = (docname, block.line)

    def clear_doc(self, docname):
        """Forget a page."""
        data = self.data
        data["records"] = {key: record for key, record in data["records"].items() if record["docname"] != docname}
        data["unchecked"] = {key: place for key, place in data["unchecked"].items() if place[0] != docname}
        data["typed"].pop(docname, None)
        data["pages"] = [page for page in data["pages"] if page != docname]

    def merge_domaindata(self, docnames, other):
        """Take over what another process has read."""
        mine = set(docnames)
        self.data["records"].update({k: r for k, r in other["records"].items() if r["docname"] in mine})
        self.data["unchecked"].update({k: p for k, p in other["unchecked"].items() if p[0] in mine})
        self.data["typed"].update({d: n for d, n in other["typed"].items() if d in mine})
        self.data["pages"] += [page for page in other["pages"] if page in mine]


def _from_a_cell(node):
    while node.parent is not None:
        node = node.parent
        if "cell_output" in node.get("classes", ()):
            return True
    return False


# ---------------------------------------------------------------------------------------------- the data
def reading_order(env):
    """The pages of the book, as its table of contents lists them."""
    order, todo = [], [env.config.root_doc]
    while todo:
        page = todo.pop(0)
        if page not in order:
            order.append(page)
            todo = list(env.toctree_includes.get(page, [])) + todo
    return order


def _number(env, docname, label):
    """The number of an equation as the book prints it, such as "1.3"."""
    if not (env.config.numfig and env.config.math_numfig):
        return str(env.get_domain("math").equations[label][1])
    numbers = env.toc_fignumbers.get(docname, {}).get("displaymath", {})
    return ".".join(map(str, numbers.get(nodes.make_id(f"equation-{label}"), ())))


def _records(env):
    """The equations of the book in reading order, as the cells described them."""
    place = {page: index for index, page in enumerate(reading_order(env))}
    serial = env.get_domain("math").equations
    return sorted(
        env.get_domain(DOMAIN).data["records"].values(),
        key=lambda record: (place.get(record["docname"], len(place)), serial[LABEL + record["id"]][1]),
    )


def rows(env):
    """The equations of the book in reading order, with the fields of equations.json."""
    package = env.config.rlbook_package or Path(__file__).parents[1]
    functions, tests = sources.functions(package), sources.tests(Path(env.srcdir) / "tests")
    return [
        {
            "id": record["id"],
            "number": _number(env, record["docname"], LABEL + record["id"]),
            "page": record["docname"],
            "level": record["level"],
            "latex": record["latex"],
            "kind": record["kind"],
            "claim": record["claim"],
            "function": functions.get(record["id"], []),
            "test": tests.get(record["id"], []),
        }
        for record in _records(env)
    ]


def gate(app, env):
    """A Sphinx warning for every labelled display that no cell has checked."""
    for label, (docname, line) in env.get_domain(DOMAIN).data["unchecked"].items():
        log.warning(
            "equation %r has a label but no check: show it from a code cell, or take the label away",
            label,
            location=(docname, line),
            type="rlbook",
            subtype="unchecked",
        )


def write_json(app, exception):
    """Write equations.json next to every page that lists the equations."""
    if exception is None and app.builder.format == "html":
        text = json.dumps(rows(app.env), indent=1, ensure_ascii=False) + "\n"
        for page in app.env.get_domain(DOMAIN).data["pages"]:
            (Path(app.outdir) / page).with_name("equations.json").write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------------- the page
class equations_list(nodes.General, nodes.Element):
    """The place of the list; replaced when all pages have been read."""


class EquationsDirective(SphinxDirective):
    """`{equations}`: the list of all equations of the book."""

    def run(self):
        pages = self.env.get_domain(DOMAIN).data["pages"]
        if self.env.docname not in pages:
            pages.append(self.env.docname)
        return [equations_list()]


def list_pages(app, env):
    """The pages to write again in every build, because any other page may have changed them."""
    return list(env.get_domain(DOMAIN).data["pages"])


def _link(app, fromdoc, todoc, text, anchor=""):
    uri = app.builder.get_relative_uri(fromdoc, todoc) + anchor
    return nodes.reference("", "", nodes.Text(text), internal=True, refuri=uri)


def _table(classes, widths, head, body):
    """A table; each row is (list of cells, attributes of the row), each cell a list of nodes."""
    table = nodes.table(classes=[*classes, "colwidths-given"])
    group = nodes.tgroup(cols=len(widths))
    table += group
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", nodes.row("", *[nodes.entry("", nodes.paragraph("", title)) for title in head]))
    group += nodes.tbody(
        "", *[nodes.row("", *[nodes.entry("", *cell) for cell in cells], **attributes) for cells, attributes in body]
    )
    return table


def _chapter_name(env, docname):
    number = env.toc_secnumbers.get(docname, {}).get("")
    title = env.titles[docname].astext()
    return f"{'.'.join(map(str, number))}. {title}" if number else title


def _counts(app, docname, all_rows):
    """The table of counts: definitions, claims by level and displays typed by hand, for each chapter."""
    env, typed = app.env, app.env.get_domain(DOMAIN).data["typed"]
    shown = {row["page"] for row in all_rows}
    pages = [page for page in reading_order(env) if page in shown or typed.get(page)]
    tally = {page: Counter(grade(row) for row in all_rows if row["page"] == page) for page in pages}
    for page in pages:
        tally[page]["typed"] = typed.get(page, 0)
    tally[None] = sum(tally.values(), Counter())
    body = []
    for page, count in tally.items():
        name = nodes.strong("", "the book") if page is None else _link(app, docname, page, _chapter_name(env, page))
        cells = [[nodes.paragraph("", str(count[key]))] for key in ("D", "P", "F", "R", "typed")]
        body.append(([[nodes.paragraph("", "", name)], *cells], {}))
    head = ["chapter", "D", "P", "F", "R", "by hand"]
    return _table(["rl-counts"], [50, 9, 9, 9, 9, 14], head, body)


def _field(name, values):
    """A line of code names, none if there are none."""
    words = [node for value in values for node in (nodes.literal("", value), nodes.Text(" "))]
    return [nodes.paragraph("", "", nodes.Text(f"{name} "), *words, classes=["rl-field"])] if values else []


def _row(app, docname, row, how):
    """One equation as a row of the list."""
    letter = grade(row)
    sign = nodes.inline("", letter, classes=["rl-badge", f"rl-{letter}"])
    number = _link(app, docname, row["page"], f"({row['number']})", "#" + nodes.make_id(f"equation-{LABEL}{row['id']}"))
    name = nodes.paragraph("", "", nodes.literal("", row["id"]), nodes.Text(f" · {row['kind']}"), classes=["rl-name"])
    text = [name, nodes.paragraph("", row["claim"]), nodes.paragraph("", how, classes=["rl-how"])]
    text += _field("function", row["function"]) + _field("test", row["test"])
    return [[nodes.paragraph("", "", number, nodes.Text(" "), sign)], text], {"ids": [ROW + row["id"]]}


def fill(app, doctree, docname):
    """Replace the directive by the counts and, chapter by chapter, the equations."""
    places = list(doctree.findall(equations_list))
    if not places:
        return
    all_rows = rows(app.env)
    how = {record["id"]: record.get("check") or MEANING[grade(record)] for record in _records(app.env)}
    total = Counter(row["kind"] for row in all_rows)
    content = [
        nodes.paragraph("", f"Definitions: {total['definition']}. Claims: {total['claim']}."),
        _counts(app, docname, all_rows),
    ]
    for page in dict.fromkeys(row["page"] for row in all_rows):
        link = _link(app, docname, page, _chapter_name(app.env, page))
        body = [_row(app, docname, row, how[row["id"]]) for row in all_rows if row["page"] == page]
        head = ["no.", "equation, claim, check, function and test"]
        content += [nodes.rubric("", "", link), _table(["rl-equations"], [17, 83], head, body)]
    for place in places:
        place.replace_self([node.deepcopy() for node in content])


def setup(app):
    """Register the domain, the gate, the page and the file."""
    app.add_config_value("rlbook_package", None, "env")  # the folder of the package; None: this one
    app.add_domain(EquationDomain)
    app.add_node(equations_list)
    app.add_directive("equations", EquationsDirective)
    app.connect("env-check-consistency", gate)
    app.connect("env-updated", list_pages)
    app.connect("doctree-resolved", fill)
    app.connect("build-finished", write_json)
