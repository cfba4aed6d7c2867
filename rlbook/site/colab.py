"""One address of the repository, written wherever a reader needs it.

``python -m rlbook.site.colab [--repo owner/name] [--check]``: the address is ``repository.url`` (and ``.branch``) in
``_config.yml``. From there come the set-up cell that opens every chapter on Colab, the table of chapters in the README,
and the addresses in the README and in CITATION.cff. ``--check`` lists the files that differ and writes nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml

from . import notebooks

CELL = """\
# Set-up: on Colab this fetches the code of the book; where rlbook is already installed it does nothing.
try:
    import rlbook
except ModuleNotFoundError:
    %pip install -q git+{url}@{branch}
    import rlbook
device = rlbook.device()"""
TAGS = ["setup", "hide-cell"]

START, END = "<!-- chapters: written by make colab -->", "<!-- end of chapters -->"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


@dataclass(frozen=True)
class Repository:
    """Where the book is published: ``https://github.com/owner/name`` and the branch that readers get."""

    url: str
    branch: str = "main"

    @property
    def name(self) -> str:
        return self.url.removeprefix("https://github.com/")

    @property
    def cell(self) -> str:
        return CELL.format(url=self.url, branch=self.branch)

    @property
    def pages(self) -> str:
        owner, _, name = self.name.partition("/")
        return f"https://{owner.lower()}.github.io/{name}"

    def on_colab(self, path: str) -> str:
        return f"https://colab.research.google.com/github/{self.name}/blob/{self.branch}/{path}"


def repository(config: str) -> Repository:
    """Read the address from the text of ``_config.yml``."""
    entry = yaml.safe_load(config)["repository"]
    return Repository(entry["url"].rstrip("/"), str(entry.get("branch", "main")))


def with_repository(config: str, name: str) -> str:
    """The text of ``_config.yml`` with another owner/name in ``repository.url``; no other character changes."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", name):
        raise SystemExit(f"REPO must look like owner/name, got {name!r}")
    pattern = re.compile(r"(^repository:\s*\n(?:[ \t]+.*\n|[ \t]*\n)*?[ \t]+url:[ \t]*)(\S+)", re.MULTILINE)
    text, found = pattern.subn(lambda match: f"{match[1]}https://github.com/{name}", config)
    if found != 1:
        raise SystemExit("_config.yml has no line `url:` under `repository:`")
    return text


def stamp_notebook(notebook: nbformat.NotebookNode, repo: Repository) -> None:
    """Write the set-up cell; it is the first code cell of a chapter."""
    cell = next((cell for cell in notebook.cells if "setup" in notebooks.tags(cell)), None)
    if cell is None:
        cell = nbformat.v4.new_code_cell(id="setup")
        first = next((n for n, c in enumerate(notebook.cells) if c.cell_type == "code"), len(notebook.cells))
        notebook.cells.insert(first, cell)
    cell.source = repo.cell
    cell.metadata["tags"] = list(TAGS)


def table(paths: list[Path], root: Path, repo: Repository) -> str:
    """The README's table of chapters."""
    rows = ["| Chapter | Run it |", "|---|---|"]
    for path in paths:
        name = path.relative_to(root).as_posix()
        title = notebooks.title(notebooks.read(path)) or path.stem
        rows.append(f"| [{title}]({name}) | [![Open in Colab]({BADGE})]({repo.on_colab(name)}) |")
    return "\n".join(rows)


def stamp_text(text: str, before: Repository, repo: Repository) -> str:
    """Replace the addresses that begin with the old one (the repository, Colab's view of it, the published site)."""
    for old, new in ((before.url, repo.url), (before.on_colab(""), repo.on_colab("")), (before.pages, repo.pages)):
        text = re.sub(re.escape(old.rstrip("/")) + r"(?![\w.-]*\w)", new.rstrip("/"), text)
    return text


def stamp(root: Path, repo_name: str | None = None, check: bool = False) -> list[str]:
    """Bring every file in line with the address; return those that were not."""
    config_path = root / "_config.yml"
    config = config_path.read_text(encoding="utf-8")
    wanted = {config_path: with_repository(config, repo_name) if repo_name else config}
    repo = repository(wanted[config_path])
    paths = notebooks.chapters(root)
    for path in paths:
        notebook = notebooks.read(path)
        stamp_notebook(notebook, repo)
        wanted[path] = notebooks.dumps(notebooks.normalise(notebook))
    # What was stamped last is on record in CITATION.cff: the line in _config.yml may have been edited by hand since.
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    before = Repository(citation["repository-code"], repo.branch)
    for path in (root / "README.md", root / "CITATION.cff"):
        text = stamp_text(path.read_text(encoding="utf-8"), before, repo)
        if START in text:
            head, tail = text.split(START)[0], text.split(END)[1]
            text = f"{head}{START}\n{table(paths, root, repo)}\n{END}{tail}"
        wanted[path] = text
    stale = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    if not check:
        for path in stale:
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
    return [path.relative_to(root).as_posix() for path in stale]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rlbook.site.colab", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--repo", metavar="OWNER/NAME", help="the repository to publish from; default: as it is")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    options = parser.parse_args(arguments)
    stale = stamp(notebooks.book_root(), options.repo, options.check)
    for name in stale:
        print(f"{name}: {'differs from' if options.check else 'brought in line with'} repository.url in _config.yml")
    if options.check and stale:
        print("run: make colab")
    return int(bool(options.check and stale))


if __name__ == "__main__":
    sys.exit(main())
