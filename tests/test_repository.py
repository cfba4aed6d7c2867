"""The repository as a stranger clones it: small files, one style, nothing of the machine it was written on."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import rlbook

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 1_000_000
MOST_LINES = 400
WRITTEN = {".py", ".js", ".css", ".md", ".yml", ".yaml", ".toml", ".cff", ".txt"}
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"

FOLDERS = re.compile(r"(?<![\w.~/-])/(?:home|root|Users|work|mnt|srv|farm)/\w")
INDEXES = re.compile(r"https?://[^\s\"')]*(?:/simple\b|/whl\b|registry\.|pypi\.|mirror)[^\s\"')]*|file:///?\w[^\s\"')]*")


def tracked() -> list[Path]:
    """The files of the repository: what git would commit, or everything that is not built where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if shutil.which("git") and (ROOT / ".git").exists():
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        return sorted(ROOT / name for name in set(names) if name and (ROOT / name).is_file())
    built = {".venv", "_build", "reports", "node_modules", "__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache"}
    return sorted(path for path in ROOT.rglob("*") if path.is_file() and not built & set(path.parts))


FILES = tracked()


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str | None:
    """The content of a file that people write, None for pictures and data."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def found(pattern: re.Pattern) -> list[str]:
    """Where a pattern occurs in the repository, notebooks included, this file left out."""
    own = Path(__file__).resolve()
    contents = ((path, text(path)) for path in FILES if path != own)
    return [f"{relative(path)}: {hit[0]}" for path, content in contents if content for hit in pattern.finditer(content)]


def test_the_files_a_stranger_looks_for_are_there():
    wanted = "README.md CHANGELOG.md CITATION.cff LICENSE CONTRIBUTING.md Makefile .ci/run _config.yml _toc.yml"
    assert not set(wanted.split()) - {relative(path) for path in FILES}


def test_files_are_small():
    assert not [f"{relative(path)}: {path.stat().st_size} bytes" for path in FILES if path.stat().st_size > MOST_BYTES]


def test_written_files_are_short():
    lines = {path: len((text(path) or "").splitlines()) for path in FILES if path.suffix in WRITTEN}
    assert not [f"{relative(path)}: {count} lines" for path, count in lines.items() if count >= MOST_LINES]


def test_no_folders_of_one_machine():
    assert not found(FOLDERS)


def test_no_package_index_but_pytorchs_cpu_wheels():
    assert not [hit for hit in found(INDEXES) if not hit.endswith(CPU_WHEELS)]


def test_style():
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed beside this Python")
    command = [ruff, "check", "--quiet", "--output-format=concise", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_versions_agree():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == rlbook.__version__
    assert f"## {rlbook.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_readers_get_lower_bounds_and_the_build_gets_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", wanted) for wanted in project["dependencies"])
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "-e ."
    pins = dict(line.split("==") for line in lines[1:])
    assert {wanted.split(">=")[0] for wanted in project["dependencies"]} <= set(pins)
    hook = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]
    assert hook["rev"] == f"v{pins['ruff']}"


def test_the_environment_is_the_pinned_one():
    from importlib.metadata import version

    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    pins = (line.split("==") for line in lines)
    assert not [f"{name}: {version(name)}, pinned {pin}" for name, pin in pins if version(name).split("+")[0] != pin]


def test_every_target_is_in_the_readme_or_in_help():
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in ("book", "test", "serve", "refresh", "experiments", "colab", "clean"):
        assert f"make {name} " in told
