"""The pytest plugin of the book (``-p rlbook.site.testing`` in pyproject.toml).

* Kernels and tests see the same quiet, offline, one-thread CPU environment as ``make refresh`` (``notebooks.ENV``).
  ``RLBOOK_DEVICE=cuda`` (or ``mps``) set by hand leaves the accelerator visible, for the tests that can use one.
* nbval runs a notebook of ``book/`` from a copy in an empty folder, as on Colab: a chapter that reads a file beside it
  fails.
* At the end, the seconds of each test file, in the terminal and, where ``RLBOOK_REPORTS`` names a folder, in
  ``seconds.tsv`` there. Checks may append to other files in that folder; it is never committed.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest

from .notebooks import ENV, empty_folder

_ipython = pytest.StashKey[tempfile.TemporaryDirectory]()


def chromium() -> str | None:
    """The browser that the tests of the site drive: Chromium or Chrome, or Playwright's own; None if there is none."""
    for name in ("chromium", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def environment() -> dict[str, str]:
    """``ENV``, less what hides an accelerator that the caller asked for."""
    asked = os.environ.get("RLBOOK_DEVICE", "cpu")
    if asked == "cpu":
        return dict(ENV)
    return {**{k: v for k, v in ENV.items() if k != "CUDA_VISIBLE_DEVICES"}, "RLBOOK_DEVICE": asked}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadscope"  # `-n 2` alone would deal the cells of one notebook to two kernels
    os.environ.update(environment())
    if reports := os.environ.get("RLBOOK_REPORTS"):
        os.environ["RLBOOK_REPORTS"] = str(Path(reports).resolve())
        Path(reports).mkdir(parents=True, exist_ok=True)
    # A profile of one's own: a reader's IPython start-up files must not change what a chapter prints.
    config.stash[_ipython] = tempfile.TemporaryDirectory(prefix="rlbook-ipython-")
    os.environ["IPYTHONDIR"] = config.stash[_ipython].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if _ipython in config.stash:
        config.stash[_ipython].cleanup()


@functools.cache
def _chapter_class() -> type[pytest.File]:
    import nbval.plugin as nbval  # not above: pytest wants to import its plugins itself

    class Chapter(nbval.IPyNbFile):
        """A notebook whose kernel starts in an empty folder that holds a copy of it."""

        def setup(self) -> None:
            self.stack = ExitStack()
            folder = self.stack.enter_context(empty_folder(self.path))
            start = nbval.RunningKernel

            def start_there(name, cwd, startup_timeout):
                return start(name, cwd=str(folder), startup_timeout=startup_timeout)

            with mock.patch.object(nbval, "RunningKernel", start_there):
                super().setup()

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                self.stack.close()

    return Chapter


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector):
    collected = yield
    if file_path.suffix == ".ipynb" and file_path.is_relative_to(parent.config.rootpath / "book"):
        return [_chapter_class().from_parent(parent, path=file_path) for _ in collected]
    return collected


def pytest_terminal_summary(terminalreporter) -> None:
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                seconds[file] += report.duration
                tests[file] += report.when == "call"
    if len(seconds) < 2:
        return
    rows = [f"{seconds[file]:.1f}\t{tests[file]}\t{file}" for file in sorted(seconds, key=seconds.get, reverse=True)]
    terminalreporter.section("seconds, tests and file")
    for row in rows:
        terminalreporter.write_line(row.expandtabs(10))
    if folder := os.environ.get("RLBOOK_REPORTS"):
        text = "\n".join(["seconds\ttests\tfile", *rows]) + "\n"
        Path(folder, "seconds.tsv").write_text(text, encoding="utf-8")
