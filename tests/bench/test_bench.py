"""The benches' own parts, which need no other library, and the committed logs: complete, and of the code as it is now."""

import gc
import itertools
import json
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from rlbook import experiments, returns
from rlbook.experiments import bench
from tests.bench import __main__ as command_line
from tests.bench import common, gae
from tests.bench.common import Competitor

TOY = {
    "base": "us",
    "bench": "toy",
    "case": ["T", "B"],
    "cuda": "not measured",
    "results": [
        {"case": [2, 64], "device": "cpu", "error": 2.5e-7, "ms": [0.9, 1.0, 1.25], "name": "us", "ratio": [1.0, 1.0, 1.0]},
        {"case": [2, 64], "device": "cpu", "error": 1e-6, "ms": [20.0, 31.25, 40.5], "name": "them",
         "ratio": [20.04, 31.0, 1234.5]},
        {"case": [2, 64], "device": "cpu", "error": None, "ms": [0.01, 0.012, 0.02], "name": "floor",
         "ratio": [0.01, 0.01234, 0.5]},
        {"case": [4, 8], "device": "cpu", "error": 3e-7, "ms": [2.0, 3.0, 4.0], "name": "us", "ratio": [1.0, 1.0, 1.0]},
    ],
}


# ---- statistics and turns

def test_quartiles_are_numpys():
    values = torch.randn(23, generator=torch.Generator().manual_seed(0)).tolist()
    for n in range(1, 24):
        np.testing.assert_allclose(common.quartiles(values[:n]), np.quantile(values[:n], [0.25, 0.5, 0.75]), rtol=1e-12)
    with pytest.raises(ValueError, match="at least one value, got none"):
        common.quartiles([])


def test_ratios_are_formed_within_a_round():
    assert common.ratios({0: 10.0, 2: 60.0, 7: 5.0}, {0: 5.0, 1: 1.0, 2: 20.0}) == [2.0, 3.0]


@pytest.mark.parametrize("milliseconds", [1e-4, 0.003, 0.5, 1.9, 2.0, 30.0, 500.0, 20_000.0])
def test_plan_lasts_long_enough_and_has_enough_rounds(milliseconds):
    calls, every = common.plan(milliseconds, rounds=60, seconds=6.0)
    assert calls * milliseconds >= common.SPAN and (calls - 1) * milliseconds < common.SPAN
    rounds = len(range(0, 60, every))
    assert common.FEWEST <= rounds <= 60
    assert rounds * (calls + 1) * milliseconds <= 6.6e3 or rounds <= common.FEWEST + 1


def test_everyone_takes_turns():
    """Three competitors, one of them slow: who is called, who is timed, in which order."""
    journal = []
    cost = {"a": 1.0, "b": 4.0, "slow": 700.0}
    calls = {name: (lambda name=name: journal.append(name)) for name in cost}

    def timer(call, many):
        before = len(journal)
        for _ in range(many):
            call()
        name = journal[-1]
        del journal[before:]
        journal.append((name, many))
        return cost[name]

    times = common.take_turns(calls, timer, rounds=28, seconds=6.0)
    timed = [item for item in journal if isinstance(item, tuple)][3:]
    assert [len(times[name]["ms"]) for name in cost] == [28, 28, 7]
    assert sorted(times["slow"]["ms"]) == [0, 4, 8, 12, 16, 20, 24] and set(times["slow"]["ms"].values()) == {700.0}
    assert {name: times[name]["calls"] for name in cost} == {"a": 5, "b": 2, "slow": 1}
    orders = [("a", "b", "slow"), ("b", "slow", "a"), ("slow", "a", "b")]
    expected = [name for turn in range(28) for name in orders[turn % 3] if name != "slow" or turn % 4 == 0]
    assert [name for name, _ in timed] == expected
    rounds = journal[-2 * len(timed):]
    assert rounds[0::2] == expected and [name for name, _ in rounds[1::2]] == expected  # one call that is not timed before each


def test_garbage_is_collected_again_afterwards():
    seen = []
    common.take_turns({"a": lambda: seen.append(gc.isenabled())}, lambda call, many: call() or 1.0, rounds=2)
    assert seen[-1] is False and gc.isenabled()

    def fail():
        seen.append(0)
        if len(seen) > 12:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        common.take_turns({"a": fail}, lambda call, many: call() or 1.0, rounds=20)
    assert gc.isenabled()


def test_timers_give_milliseconds_per_call(monkeypatch):
    clock = iter([1_000_000, 9_000_000])
    monkeypatch.setattr(common.time, "process_time_ns", lambda: next(clock))
    count = []
    assert common.cpu_time(lambda: count.append(1), 4) == 2.0 and len(count) == 4

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = len(count)

        def elapsed_time(self, end):
            return 3.0 * (end.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert common.cuda_time(lambda: count.append(1), 5) == 3.0 and len(count) == 9


# ---- agreement

def test_what_is_wrong_is_not_timed():
    truth = torch.tensor([1.0, -4.0, 2.0], dtype=torch.float64)
    near = (truth * (1 + 1e-7)).float()
    assert common.errors({"near": near}, truth)["near"] < 1e-6
    off = torch.tensor([1.0, -4.0, 2.1])
    with pytest.raises(AssertionError, match="not timed.*'off': 0.02499"):
        common.errors({"near": near, "off": off}, truth)
    with pytest.raises(AssertionError, match="'nan'"):
        common.errors({"nan": torch.tensor([1.0, float("nan"), 2.0])}, truth)
    with pytest.raises(AssertionError, match="shapes differ"):
        common.errors({"short": near[:2]}, truth)
    assert common.disagreement({"a": off, "b": near, "c": near}, truth) == pytest.approx(0.025, rel=1e-4)
    assert common.disagreement({"a": off}, truth) == 0.0


def test_compete_checks_times_and_compares(monkeypatch):
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    costs = {"us": 2.0, "them": 6.0, "floor": 0.5}
    taken = {name: {"calls": 3, "ms": {turn: cost * (turn + 1) for turn in range(3)}} for name, cost in costs.items()}
    monkeypatch.setattr(common, "take_turns", lambda calls, timer: {name: taken[name] for name in calls})
    ours = Competitor("us", lambda: truth.float())
    them = Competitor("them", lambda: (torch.tensor([1.0, 2.000001]), None), lambda pair: pair[0])
    rows, apart = common.compete([ours, them, Competitor("floor", lambda: None, None)], truth, [2], "cpu", "us")
    assert [row["name"] for row in rows] == list(costs) and apart == pytest.approx(4.8e-7, rel=0.1)
    assert [row["ratio"] for row in rows] == [[1.0] * 3, [3.0] * 3, [0.25] * 3]
    assert rows[1]["ms"] == [9.0, 12.0, 15.0] and rows[1]["rounds"] == 3 and rows[1]["calls"] == 3
    assert rows[0]["error"] == 0 and rows[1]["error"] == pytest.approx(4.8e-7, rel=0.1) and rows[2]["error"] is None
    wrong = Competitor("wrong", lambda: -truth)
    monkeypatch.setattr(common, "take_turns", lambda calls, timer: pytest.fail("timed something wrong"))
    with pytest.raises(AssertionError, match="'wrong'"):
        common.compete([ours, wrong], truth, [2], "cpu", "us")


# ---- gae

def test_data_have_the_ends_that_are_promised():
    data = gae.make_data(2048, 64)
    terminated, truncated = data.arrays[3:]
    ends = (terminated | truncated).float().mean().item()
    assert not (terminated & truncated).any() and ends == pytest.approx(gae.ENDS, rel=0.1)
    assert truncated.float().mean().item() / ends == pytest.approx(gae.TRUNCATED, rel=0.1)
    assert all(each.shape == (64, 2048) and each.is_contiguous() for each in data.arrays)
    assert all(torch.equal(a, b) for a, b in zip(data.arrays, gae.make_data(2048, 64).arrays, strict=True))


def test_reference_is_the_double_sum():
    rewards, values, next_values, terminated, truncated = gae.make_data(12, 5).arrays
    terminated, truncated = terminated.clone(), truncated.clone()
    terminated[0, 4] = truncated[1, 7] = terminated[2, 3] = truncated[2, 3] = truncated[3, 11] = True
    got = gae.reference(rewards, values, next_values, terminated, truncated)
    for b, t in itertools.product(range(5), range(12)):
        total, weight = 0.0, 1.0
        for k in range(t, 12):
            bootstrap = 0.0 if terminated[b, k] else gae.GAMMA * next_values[b, k].item()
            total += weight * (rewards[b, k].item() + bootstrap - values[b, k].item())
            weight *= gae.GAMMA * gae.LAM
            if terminated[b, k] or truncated[b, k]:
                break
        assert got[b, t].item() == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("shape", [(128, 8), (40, 3), (1, 8)])
def test_own_competitors_agree_with_the_reference(shape):
    data = gae.make_data(*shape)
    results = {each.name: each.result(each.call()) for each in gae.own(data) if each.result}
    assert set(results) == {"rlbook", "rlbook + targets", "row loop"}
    assert set(common.errors(results, gae.reference(*data.arrays), 2e-6)) == set(results)  # raises if one is off
    advantages, targets = next(each.call() for each in gae.own(data) if each.name == "rlbook + targets")
    torch.testing.assert_close(targets, advantages + data.arrays[1])


def test_a_gae_that_sums_across_truncations_is_refused(monkeypatch):
    right = gae.row_loop

    def wrong(rewards, values, next_values, terminated, truncated, gamma, lam):
        rows = [each.t() for each in (rewards, values, next_values, terminated, torch.zeros_like(truncated))]
        return right(*rows).t()

    monkeypatch.setattr(returns, "gae", wrong, raising=False)
    data = gae.make_data(2048, 8)
    with pytest.raises(AssertionError, match="not timed.*'rlbook'"):
        common.compete(gae.own(data), gae.reference(*data.arrays), [2048, 8], "cpu", "rlbook")


def test_floor_reads_every_byte_and_writes_every_float():
    data = gae.make_data(16, 4)
    move = gae.byte_floor(data)
    first = [each.clone() for each in move()]
    for index, where in itertools.product(range(3), range(64)):
        floats = data.floats[index].view(-1)
        before = floats[where].clone()
        floats[where] += 1
        assert (move()[1].view(-1) != first[1].view(-1)).nonzero().tolist() == [[where]]
        floats[where] = before
    for where in range(128):
        flags = data.flags.view(-1)
        flags[where] = ~flags[where]
        assert move()[0] != first[0]
        flags[where] = ~flags[where]
    assert {each.untyped_storage().data_ptr() for each in data.arrays[3:]} == {data.flags.data_ptr()}
    assert move()[1].data_ptr() not in {each.data_ptr() for each in data.arrays}


def test_a_gpu_is_measured_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gae.cases() == [("cpu", shape) for shape in gae.SHAPES]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gae.cases()[5:] == [("cuda", shape) for shape in (*gae.SHAPES, (2048, 4096))]


def test_nothing_here_needs_the_other_libraries():
    code = "import sys, tests.bench.gae, tests.bench.__main__; print({'torchrl', 'tensordict'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=command_line.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# ---- tables

def test_table_is_markdown_with_the_spread():
    assert bench.rows(TOY) == [
        ["T × B", "them", "floor"],
        ["2 × 64", "31.0 (20.0–1234)", "0.0123 (0.0100–0.500)"],
        ["4 × 8", "–", "–"],
    ]
    assert bench.rows(TOY, what="ms")[0] == ["T × B", "us", "them", "floor"]
    assert bench.rows(TOY, what="ms")[1][1:3] == ["1.00 (0.900–1.25)", "31.2 (20.0–40.5)"]
    assert bench.rows(TOY, what="error") == [["T × B", "us", "them"], ["2 × 64", "2.5e-07", "1.0e-06"], ["4 × 8", "3.0e-07", "–"]]
    text = common.report(TOY)
    assert "31.0 (20.0–1234)" in text and text.endswith("cuda: not measured\n")


def test_table_of_a_log(monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "DATA", tmp_path)
    path = common.write("toy", dict(reversed(TOY.items())))
    assert path == tmp_path / "bench_toy.json" and experiments.load("bench_toy") == TOY
    assert list(experiments.load("bench_toy")) == sorted(TOY) and path.read_text().count('\n{"case"') == 4
    written = path.read_bytes()
    assert common.write("toy", TOY).read_bytes() == written
    assert bench.table("bench_toy").splitlines() == [
        "| T × B | them | floor |",
        "| --- | ---: | ---: |",
        "| 2 × 64 | 31.0 (20.0–1234) | 0.0123 (0.0100–0.500) |",
        "| 4 × 8 | – | – |",
    ]


@pytest.mark.parametrize(("value", "expected"), [(0, "0"), (0.00123456, "0.00123"), (0.5, "0.500"), (1, "1.00"), (12.345, "12.3"),
                                                 (99.99, "100.0"), (123.4, "123"), (98765.4, "98765")])
def test_numbers(value, expected):
    assert bench.number(value) == expected


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match=r"what must be one of .*got 'speed'"):
        bench.rows(TOY, what="speed")
    with pytest.raises(ValueError, match=r"measured, \['cpu'\], got 'cuda'"):
        bench.rows(TOY, device="cuda")
    with pytest.raises(ValueError, match="did not measure 'mib'"):
        bench.rows(TOY, what="mib")
    with pytest.raises(ValueError, match="no bench's"):
        bench.table("vpg_cartpole")
    with pytest.raises(ValueError, match="no log of 'bench_nothing'"):
        bench.table("bench_nothing")


# ---- the command and its environment

def test_command_line_runs_what_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experiments, "DATA", tmp_path)
    monkeypatch.setattr(command_line, "BENCHES", ("one", "two"))
    for name in command_line.BENCHES:
        monkeypatch.setitem(sys.modules, f"tests.bench.{name}", types.SimpleNamespace(measure=lambda: TOY))
    for arguments, expected in (([], ["one", "two"]), (["two"], ["two"])):
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        command_line.main()
        assert re.findall(r"(\w+): wrote bench_\1.json\n", capsys.readouterr().out) == expected
    assert json.loads((tmp_path / "bench_two.json").read_text())["bench"] == "two"
    monkeypatch.setattr(sys, "argv", ["bench", "other"])
    with pytest.raises(SystemExit):
        command_line.main()


def test_make_bench_runs_all_or_one():
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for arguments, end in (([], "-m tests.bench"), (["BENCH=gae"], "-m tests.bench gae")):
        command = ["make", "--no-print-directory", "-n", "bench", *arguments]
        done = subprocess.run(command, cwd=command_line.ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip().splitlines()[-1].strip() == f"tests/bench/.venv/bin/python {end}"


def pins(path) -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.MULTILINE))


def test_the_bench_uses_the_books_torch():
    book, own = pins(command_line.ROOT / "requirements.txt"), pins(command_line.ROOT / "tests/bench/requirements.txt")
    shared = {"gymnasium", "numpy", "torch", "transformers"}
    assert set(own) - set(book) == {"liger-kernel", "math-verify", "stable-baselines3", "tensordict", "torchrl", "trl"}
    assert set(own) & set(book) == shared and all(own[name] == book[name] for name in shared)


# ---- the committed log

def test_log_is_of_the_code_as_it_is():
    current = experiments.code_hash(returns.gae)
    assert experiments.load("bench_gae")["code"] == current, "gae has changed since it was measured: run `make bench BENCH=gae`"


def test_log_is_complete():
    log = experiments.load("bench_gae")
    results = log["results"]
    measured = [(tuple(row["case"]), row["name"]) for row in results if row["device"] == "cpu"]
    assert measured == list(itertools.product(gae.SHAPES, gae.NAMES))
    on_gpu = {tuple(row["case"]) for row in results if row["device"] == "cuda"}
    assert on_gpu == (set() if log["cuda"] == "not measured" else {*gae.SHAPES, *gae.ONLY_CUDA})
    for row in results:
        assert row["ms"] == sorted(row["ms"]) and row["ratio"] == sorted(row["ratio"]) and row["ms"][0] > 0
        assert common.FEWEST <= row["rounds"] <= common.ROUNDS and row["calls"] >= 1
        assert (row["error"] is None) == (row["name"] == "byte floor") and (row["error"] or 0) <= common.LIMIT
        assert row["name"] != gae.BASE or row["ratio"] == [1.0, 1.0, 1.0]
    assert all(row["disagreement"] <= 2 * common.LIMIT for row in log["agreement"])
    assert len(log["agreement"]) == len({(*row["case"], row["device"]) for row in results})
    assert len(bench.table("bench_gae").splitlines()) == 2 + len(gae.SHAPES)


def test_log_says_what_made_it_and_nothing_private():
    log = experiments.load("bench_gae")
    assert log["bench"] == "gae" and log["machine"] and log["cores"] >= 1 and log["threads"] == 1 and log["base"] == gae.BASE
    own = pins(command_line.ROOT / "tests/bench/requirements.txt")
    versions = {name: version.split("+")[0] for name, version in log["versions"].items() if name != "python"}
    assert versions == {name: own[name] for name in gae.PACKAGES}
    text = (experiments.DATA / "bench_gae.json").read_text()
    assert not re.search(r"/(home|work|tmp|root)|\d{4}-\d\d-\d\d", text) and len(text) < 60_000
    assert "bench_gae" not in experiments.names()
