"""What the tests of the site share: a small book made on the spot, the real one, and a browser to read them in."""

import functools
import http.server
import json
import threading
from types import SimpleNamespace

import pytest

from rlbook.site import testing
from tests.site.small_books import ROOT, build, good_chapters, write_book

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SOURCES = ["_config.yml", "_toc.yml", "book/**/*", "rlbook/**/*.py", "rlbook/site/*", "tests/**/*.py"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def _serve(folder):
    """A plain file server for a folder, and its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="session")
def small_book(tmp_path_factory):
    """The two good chapters, with a package and tests that know some of the equations, built and served."""
    folder = write_book(tmp_path_factory.mktemp("small"), good_chapters())
    (folder / "rlbook").mkdir()
    (folder / "rlbook" / "losses.py").write_text(
        'def gradient():\n    """The estimator (eq-policy-gradient)."""\n\n\n'
        'def _private():\n    """eq-log-derivative"""\n\n\n'
        'def other():\n    """eq-log-derivative-of-something-else"""\n'
    )
    (folder / "tests").mkdir()
    (folder / "tests" / "test_losses.py").write_text(
        'import pytest\n\n\n@pytest.mark.equation("policy-gradient", "log-derivative")\ndef test_it():\n    pass\n'
    )
    made = build(folder)
    server, made.address = _serve(made.html)
    yield made
    server.shutdown()


@pytest.fixture(scope="session")
def records(small_book):
    """equations.json of the small book, by id."""
    return {row["id"]: row for row in json.loads((small_book.html / "book" / "equations.json").read_text())}


@pytest.fixture(scope="session")
def site():
    """The real site, built as `make book` builds it if a source is newer than the last build, and served."""
    html = ROOT / "_build" / "html"
    stamp = html / "book" / "equations.json"
    newest = max(path.stat().st_mtime for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file())
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        made = build(ROOT)
        assert made.ok, made.said
    server, address = _serve(html)
    yield SimpleNamespace(html=html, address=address)
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    program = testing.chromium()
    assert program, "the tests of the site need Chromium or Chrome; on Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()
