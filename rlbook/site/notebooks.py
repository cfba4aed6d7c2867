"""Notebooks on disk: where they are, the one form in which they are stored, and the quiet environment they run in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

ENV = {
    "CUDA_VISIBLE_DEVICES": "",  # stored outputs are those of a CPU
    "HF_HUB_OFFLINE": "1",  # nothing is downloaded while a chapter runs
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "1",  # sums of floats depend on the number of threads
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else ipykernel's debugger writes to stderr
    "RLBOOK_DEVICE": "cpu",
    "SYMPY_GROUND_TYPES": "python",
    "TQDM_DISABLE": "1",  # progress bars are for readers, not for stored outputs
}
"""What every kernel started by ``make refresh`` and by the tests sees."""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
"""A stored notebook's metadata, exactly: anything else differs from machine to machine."""

CELL_METADATA = ("tags", "why", "mystnb")
"""What a stored cell may carry; editors add much more, and it is dropped."""


def chapters(root: Path) -> list[Path]:
    """The notebooks of the book in the repository at ``root``, in reading order (their names begin with a number)."""
    return sorted(path for path in (root / "book").glob("**/*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def book_root() -> Path:
    """The repository, which is where the commands are run from."""
    root = Path.cwd()
    if not (root / "_config.yml").is_file():
        raise SystemExit(f"{root} holds no _config.yml: run this from the top of the book's repository")
    return root


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook as it is; unlike ``nbformat.read`` this invents no ids where they are missing or repeated."""
    return nbformat.v4.reads(path.read_text(encoding="utf-8"))


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading of the notebook."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Bring a notebook to the stored form, in place: fixed metadata, an id for every cell, kept where it has one."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in CELL_METADATA and v})
        if cell.get("id", "") in seen | {""}:
            cell.id = hashlib.sha256(f"{number}:{cell.source}".encode()).hexdigest()[:8]
        seen.add(cell.id)
        if cell.cell_type == "code":
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = cell.execution_count
    return notebook


def dumps(notebook: nbformat.NotebookNode) -> str:
    """The text of a normalised notebook: indent 1, sorted keys, characters as they are, one newline at the end."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def write(notebook: nbformat.NotebookNode, path: Path) -> bool:
    """Store a notebook, all of it or nothing; say whether the file changed."""
    text = dumps(normalise(notebook))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


@contextlib.contextmanager
def empty_folder(path: Path) -> Iterator[Path]:
    """A new folder that holds a copy of one notebook and nothing else, as on Colab; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rlbook-") as name:
        folder = Path(name)
        (folder / path.name).write_bytes(path.read_bytes())
        yield folder
