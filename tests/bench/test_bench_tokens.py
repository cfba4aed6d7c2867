"""The benches of `linear_logprobs` and of sampling: what they measure and how, and their committed logs."""

import json
import re
import subprocess
import sys

import pytest

from rlbook import experiments
from rlbook.experiments import bench
from rlbook.tokens import linear_logprobs
from tests.bench import __main__ as command_line
from tests.bench import common, sampling, tokens

SMALL = (16, 50, 8)


# ---- tokens

@pytest.mark.parametrize("name", ["rlbook", "all logits", "rlbook, log-probs"])
def test_competitors_agree_with_float64(name):
    data = tokens.make_data(*SMALL)
    results = tokens.both_ways(tokens.MAKERS[name](), data)
    assert len(results) == (3 if name.endswith("log-probs") else 4)
    assert tokens.error(results, data) < 2e-6 and tokens.error(results, data, 5) < 2e-6


@pytest.mark.parametrize("which", range(4))
def test_an_error_anywhere_is_seen(which):
    data = tokens.make_data(*SMALL)
    results = tokens.both_ways(tokens.all_logits, data)
    results[which].view(-1)[3] += 0.5
    assert tokens.error(results, data) > 1e-2
    assert (tokens.error(results, data, 5) > 1e-2) == (which < 3)  # the gradient of weight takes all rows


def test_what_is_wrong_is_not_timed(monkeypatch):
    monkeypatch.setitem(tokens.MAKERS, "wrong", lambda: lambda *arrays: (-linear_logprobs(*arrays)[0], None))
    with pytest.raises(AssertionError, match="wrong is wrong, so not timed"):
        tokens.measure_one("wrong", SMALL, "cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_process_measures_time_and_memory():
    """All logits of 2,048 tokens and 8,192 ids are 64 MiB, and log_softmax keeps more than that; blocks are 2 MiB each."""
    found = {name: tokens.run_process(name, (2048, 8192, 8), "cpu") for name in ("rlbook", "all logits")}
    assert all(each["ms"] > 0 and 0 < each["error"] <= tokens.LIMITS["cpu"] for each in found.values())
    assert found["all logits"]["mib"] > 128 > 30 > found["rlbook"]["mib"]
    with pytest.raises(AssertionError, match="invalid choice: 'nobody'"):
        tokens.run_process("nobody", SMALL, "cpu")


def test_everyone_takes_turns():
    journal = []

    def run(name, shape, device):
        journal.append(name)
        cost = (tokens.NAMES.index(name) + 1) * (1 + journal.count(name))
        return {"error": 1e-7 * cost, "mib": 10.0 * cost, "ms": float(cost)}

    results = tokens.take_turns(SMALL, "cpu", 3, 3, run)
    others = list(tokens.NAMES[2:])
    assert journal == [*tokens.NAMES, "TRL", "rlbook", "rlbook", "TRL"]  # the last round begins with those who sit out
    assert [row["name"] for row in results] == list(tokens.NAMES) and [row["rounds"] for row in results] == [3, 3, 1, 1, 1, 1]
    assert results[0]["ms"] == [2.0, 3.0, 4.0] and results[0]["ratio"] == [1.0] * 3 == results[0]["mib_ratio"]
    assert results[1]["ms"] == [4.0, 6.0, 8.0] and results[1]["ratio"] == [2.0] * 3 and results[1]["mib"] == [40.0, 60.0, 80.0]
    assert results[2]["ratio"] == [3.0] * 3 and results[1]["error"] == pytest.approx(8e-7) and len(others) == 4


def test_log_of_tokens_is_of_the_code_as_it_is_and_complete():
    log = experiments.load("bench_tokens")
    current = experiments.code_hash(linear_logprobs)
    assert log["code"] == current, "linear_logprobs has changed since it was measured: run `make bench BENCH=tokens`"
    measured = [(tuple(row["case"]), row["name"]) for row in log["results"] if row["device"] == "cpu"]
    assert measured == [(shape, name) for shape in tokens.SHAPES for name in tokens.NAMES]
    for row in log["results"]:
        rounds, every = tokens.SHAPES[tuple(row["case"])]
        assert row["rounds"] == (rounds if row["name"] in tokens.ALWAYS else len(range(0, rounds, every)))
        assert all(row[what] == sorted(row[what]) and row[what][0] > 0 for what in ("ms", "mib", "ratio", "mib_ratio"))
        assert row["error"] <= tokens.LIMITS[row["device"]]
    assert len(bench.table("bench_tokens", what="mib").splitlines()) == 2 + len(tokens.SHAPES)
    assert "least to most" in common.report(log) and "MiB beyond the input" in common.report(log)


# ---- sampling

@pytest.mark.parametrize("padding", sampling.PADDINGS)
def test_prompts_are_padded_as_promised(padding):
    data = sampling.make_data(64, 8, padding)
    lengths = data.mask.sum(1)
    assert (lengths == 8).all() if padding == "no padding" else {4, 8} <= set(lengths.tolist()) <= {4, 5, 6, 7, 8}
    assert (data.mask.diff(dim=1) >= 0).all() and (data.ids[data.mask == 0] == 0).all()
    parameters = sum(each.numel() for each in data.model.parameters())
    assert 100_000 < parameters < 150_000


@pytest.mark.parametrize("padding", sampling.PADDINGS)
def test_samplers_agree_with_float64(padding):
    data = sampling.make_data(5, 6, padding)
    for name, call in sampling.calls(data, 4).items():
        ids, logprobs = call()
        assert ids.shape == (5, 4) and (logprobs is None) == (name == "transformers")
        if logprobs is not None:
            assert sampling.error(data, ids, logprobs) < 2e-6
            assert sampling.error(data, ids, logprobs + 0.1) > 1e-3
            assert sampling.error(data, ids.roll(1, 0), logprobs) > 1e-3


def test_a_case_of_sampling(monkeypatch):
    monkeypatch.setattr(common, "take_turns", lambda calls, timer: {
        name: {"calls": 2, "ms": {0: cost, 1: 2 * cost}} for name, cost in zip(calls, (1.0, 3.0, 4.0), strict=True)
    })
    rows = sampling.compete((4, 5, 6), "padded")
    assert [row["ratio"] for row in rows] == [[1.0] * 3, [3.0] * 3, [4.0] * 3]
    assert rows[0]["tokens_per_second"] == 16_000 and rows[1]["error"] is None and rows[0]["case"] == [4, 5, 6, "padded"]


def test_log_of_sampling_is_of_the_code_as_it_is_and_complete():
    log = experiments.load("bench_sampling")
    current = experiments.code_hash(sampling.sampling.generate)
    assert log["code"] == current, "generate has changed since it was measured: run `make bench BENCH=sampling`"
    measured = [(*row["case"], row["name"]) for row in log["results"]]
    assert measured == [(*s, padding, name) for s in sampling.SHAPES for padding in sampling.PADDINGS for name in sampling.NAMES]
    for row in log["results"]:
        assert row["ms"] == sorted(row["ms"]) and row["ratio"] == sorted(row["ratio"]) and row["ms"][0] > 0
        assert (row["error"] is None) == (row["name"] == "transformers") and (row["error"] or 0) <= common.LIMIT
    assert len(bench.table("bench_sampling").splitlines()) == 2 + len(sampling.SHAPES) * len(sampling.PADDINGS)


# ---- both

@pytest.mark.parametrize(("name", "packages"), [("tokens", tokens.PACKAGES), ("sampling", sampling.PACKAGES)])
def test_logs_say_what_made_them_and_nothing_private(name, packages):
    log = experiments.load(f"bench_{name}")
    assert log["bench"] == name and log["machine"] and log["threads"] == 1 and log["base"] == "rlbook"
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (command_line.ROOT / "tests/bench/requirements.txt").read_text(), re.MULTILINE))
    versions = {name: version.split("+")[0] for name, version in log["versions"].items() if name != "python"}
    assert versions == {name: pins[name] for name in packages}
    text = json.dumps(log)
    assert not re.search(r"/(home|work|tmp|root)|\d{4}-\d\d-\d\d", text)


def test_nothing_here_needs_the_other_libraries():
    code = "import sys, tests.bench.tokens, tests.bench.sampling; print({'trl', 'liger_kernel'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=command_line.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
