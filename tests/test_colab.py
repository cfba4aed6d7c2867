"""The address of the repository is the same everywhere, and a chapter runs where `rlbook` has yet to be installed."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
import yaml

from rlbook.site import colab, notebooks

ROOT = Path(__file__).resolve().parent.parent
# No network: what pip needs must be there. In pip's environment "0" switches build isolation off.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
FILES = ("_config.yml", "README.md", "CITATION.cff")


def test_every_file_agrees_with_the_address_in_the_configuration():
    assert colab.stamp(ROOT, check=True) == [], "run: make colab"


@pytest.fixture
def fork(tmp_path):
    """The files that carry the address, with one chapter whose set-up cell is missing."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    cells = [nbformat.v4.new_markdown_cell("# One", id="a"), nbformat.v4.new_code_cell("1 + 1", id="b")]
    notebooks.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "book" / "01-one.ipynb")
    return tmp_path


def test_a_fork_gets_its_address_everywhere(fork):
    before = {name: (fork / name).read_text() for name in FILES}
    assert colab.stamp(fork, "ada/policy") == [*FILES[:1], "book/01-one.ipynb", *FILES[1:]]

    pairs = zip(before["_config.yml"].splitlines(), (fork / "_config.yml").read_text().splitlines(), strict=True)
    assert [new.strip() for old, new in pairs if old != new] == ["url: https://github.com/ada/policy"]

    notebook = notebooks.read(fork / "book" / "01-one.ipynb")
    assert [cell.id for cell in notebook.cells] == ["a", "setup", "b"]
    assert "%pip install -q git+https://github.com/ada/policy@main" in notebook.cells[1].source
    readme = (fork / "README.md").read_text()
    assert "[One](book/01-one.ipynb)" in readme
    assert "https://colab.research.google.com/github/ada/policy/blob/main/book/01-one.ipynb" in readme
    assert yaml.safe_load((fork / "CITATION.cff").read_text())["repository-code"] == "https://github.com/ada/policy"

    was = colab.repository(before["_config.yml"])
    for address in (was.url, was.pages, f"github/{was.name}"):
        assert address not in readme + (fork / "CITATION.cff").read_text()
    assert colab.stamp(fork, check=True) == []
    colab.stamp(fork, was.name)  # and back
    assert (fork / "_config.yml").read_text() == before["_config.yml"]
    assert (fork / "CITATION.cff").read_text() == before["CITATION.cff"]


def test_an_address_edited_by_hand_is_noticed_and_spread(fork):
    colab.stamp(fork)
    config = fork / "_config.yml"
    config.write_text(colab.with_repository(config.read_text(), "ada/policy"))
    assert set(colab.stamp(fork, check=True)) == {"README.md", "CITATION.cff", "book/01-one.ipynb"}
    colab.stamp(fork)
    assert colab.stamp(fork, check=True) == []


@pytest.mark.parametrize("name", ["ada", "https://github.com/ada/policy", "ada/policy/tree", "a b/c", ""])
def test_only_owner_and_name_are_accepted(fork, name):
    with pytest.raises(SystemExit, match="owner/name"):
        colab.with_repository((fork / "_config.yml").read_text(), name)


# -- one chapter on a machine like Colab: everything is there but rlbook ---------------------------------------------


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def installed(python: Path, there: dict) -> dict:
    """The version of every package that a Python sees; for one that came from an address, the address."""
    code = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name: json.loads(d.read_text("direct_url.json") or "null") or d.version for d in distributions()}))
"""
    return json.loads(run(python, "-c", code, **there))


def git_copy(to: Path, branch: str) -> None:
    """A repository whose one commit is the working tree, changes that are not committed included."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", f"--git-dir={to / '.git'}"]
    run("git", "init", "--quiet", to)
    run(*git, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    run(*git, f"--work-tree={ROOT}", "add", "--all", cwd=ROOT)
    run(*git, f"--work-tree={ROOT}", "commit", "--quiet", "--message=working tree", cwd=ROOT)


def environment_without_rlbook(at: Path) -> Path:
    """A virtual environment that sees every installed package except rlbook; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", at)
    packages = at / "packages"
    packages.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if "rlbook" not in entry.name.lower() and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry)
    python = at / "bin" / "python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(own, "shared.pth").write_text(f"{packages}\n")
    return python


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links and bin/")
def test_chapter_1_installs_rlbook_and_prints_what_is_stored(tmp_path):
    chapters = notebooks.chapters(ROOT)
    assert chapters, "no chapter to run"
    repo = colab.repository((ROOT / "_config.yml").read_text(encoding="utf-8"))
    source = tmp_path / "origin"
    git_copy(source, repo.branch)
    python = environment_without_rlbook(tmp_path / "colab")

    notebook = notebooks.read(chapters[0])
    setup = next(cell for cell in notebook.cells if "setup" in notebooks.tags(cell))
    assert f"git+{repo.url}@{repo.branch}" in setup.source
    setup.source = setup.source.replace(f"git+{repo.url}@", f"git+{source.as_uri()}@")
    setup.metadata["tags"] = [*setup.metadata["tags"], "nbval-ignore-output"]  # %pip always prints a note
    folder = tmp_path / "content"
    folder.mkdir()
    nbformat.write(notebook, folder / chapters[0].name)

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH", "VIRTUAL_ENV"))}
    environment |= notebooks.ENV | OFFLINE
    there = {"cwd": folder, "env": environment}
    before = installed(python, there)
    assert "torch" in before and "rlbook" not in before
    test = ["-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider"]
    run(python, *test, "--nbval", "--nbval-current-env", "--nbval-cell-timeout=900", chapters[0].name, **there)

    after = installed(python, there)
    assert after.pop("rlbook")["url"] == source.as_uri(), "the set-up cell did not install rlbook"
    assert after == before, "the set-up cell replaced a package"
