"""`import rlbook` is instant, what it holds is loaded when used, and `rlbook.device()` says where a chapter runs."""

import json
import subprocess
import sys

import pytest

import rlbook

HEAVY = {"torch", "transformers", "sympy", "numpy", "matplotlib", "gymnasium"}


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_is_instant_and_loads_nothing_heavy():
    code = """
import json, sys, time
start = time.perf_counter()
import rlbook
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""
    runs = [json.loads(fresh(code)) for _ in range(3)]
    assert not HEAVY & set(runs[0][1])
    assert min(seconds for seconds, _ in runs) < 0.1


def test_a_submodule_is_loaded_on_first_use():
    code = """
import sys, rlbook
assert "rlbook.site" not in sys.modules
print(rlbook.site.__name__)
"""
    assert fresh(code) == "rlbook.site\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'returnz'"):
        _ = rlbook.returnz


def test_a_failing_import_inside_a_submodule_is_not_hidden(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(rlbook.importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="torch"):
        _ = rlbook.never_loaded_before


def test_submodules_are_listed():
    assert {"site", "device"} <= set(dir(rlbook))


def pretend(monkeypatch, cuda: bool, mps: bool, colab: bool):
    import torch

    monkeypatch.delenv("RLBOOK_DEVICE", raising=False)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    if colab:
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, False, "cuda"), (False, True, "mps"), (True, True, "cuda"), (False, False, "cpu")],
)
def test_device_is_the_fastest_there_is(monkeypatch, capsys, cuda, mps, expected):
    pretend(monkeypatch, cuda, mps, colab=False)
    assert rlbook.device().type == expected
    assert capsys.readouterr() == ("", "")


def test_device_can_be_chosen(monkeypatch):
    pretend(monkeypatch, cuda=True, mps=False, colab=False)
    monkeypatch.setenv("RLBOOK_DEVICE", "cpu")
    assert rlbook.device().type == "cpu"


@pytest.mark.parametrize("gpu", [True, False])
def test_only_colab_without_a_gpu_says_how_to_get_one(monkeypatch, capsys, gpu):
    pretend(monkeypatch, cuda=gpu, mps=False, colab=True)
    rlbook.device()
    printed = capsys.readouterr().out
    assert printed.count("\n") == (not gpu)
    assert ("Change runtime type" in printed) == (not gpu)
