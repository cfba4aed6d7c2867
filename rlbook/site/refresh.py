"""Run the notebooks of the book and store what they print: ``python -m rlbook.site.refresh [--check] [notebook ...]``.

Each runs in a kernel and an empty folder of its own, in the environment of the tests, two at a time. A notebook in
which a cell raises, or writes to stderr, stays as it was. ``--check`` stores nothing and fails if a file would change.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from . import notebooks


class CellFailed(Exception):
    """A cell that must not be stored; the message says which, and why."""


def execute(path: Path, timeout: int = 900) -> nbformat.NotebookNode:
    """The notebook at ``path`` with the outputs of a fresh run, in the stored form."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = notebooks.read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    started: list[nbformat.NotebookNode] = []
    with notebooks.empty_folder(path) as folder, tempfile.TemporaryDirectory(prefix="rlbook-ipython-") as ipython:
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,  # how a text is cut into messages depends on the moment
            extra_arguments=["--IPKernelApp.log_level=40"],  # errors only: not that it talks to this process over TCP
            on_cell_start=lambda cell, cell_index: started.append(cell),
        )
        try:
            client.execute(env={**os.environ, **notebooks.ENV, "IPYTHONDIR": ipython})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            number = next((n for n, cell in enumerate(code, 1) if started and cell is started[-1]), 0)
            raise CellFailed(f"{path}: code cell {number} failed\n{error}") from None
    for number, cell in enumerate(code, 1):
        stderr = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
        if stderr:
            raise CellFailed(f"{path}: code cell {number} wrote to stderr\n{stderr}")
    return notebooks.normalise(notebook)


def refresh(path: Path, check: bool = False) -> tuple[bool, float]:
    """Run one notebook and store it; was (or would be) the file changed, and how long did it take."""
    start = time.perf_counter()
    notebook = execute(path)
    if check:
        changed = path.read_text(encoding="utf-8") != notebooks.dumps(notebook)
    else:
        changed = notebooks.write(notebook, path)
    return changed, time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rlbook.site.refresh", description=__doc__.partition("\n\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of book/")
    parser.add_argument("--check", action="store_true", help="store nothing; fail if a file would change")
    options = parser.parse_args(arguments)
    root = notebooks.book_root()
    paths = options.notebooks or [path.relative_to(root) for path in notebooks.chapters(root)]
    failed = changed = 0
    with ThreadPoolExecutor(2) as pool:
        runs = [(path, pool.submit(refresh, path, options.check)) for path in paths]
        for path, run in runs:
            try:
                different, seconds = run.result()
            except CellFailed as error:
                failed += 1
                print(error, file=sys.stderr)
                continue
            changed += different
            state = "unchanged" if not different else "would change" if options.check else "stored"
            print(f"{path}: {state}, {seconds:.1f} s", flush=True)
    print(f"{len(paths)} notebooks: {failed} failed, {changed} {'would change' if options.check else 'changed'}")
    return int(bool(failed or (options.check and changed)))


if __name__ == "__main__":
    sys.exit(main())
