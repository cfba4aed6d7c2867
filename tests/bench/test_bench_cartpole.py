"""The bench of PPO on CartPole: its statistics, a run that stops where it is solved, and the committed log."""

import json
import re
import subprocess
import sys
import types

import pytest

from rlbook import control, experiments
from tests.bench import __main__ as command_line
from tests.bench import cartpole, common


def row(name: str, seed: int, seconds: float, steps: int, solved_at: int | None) -> dict:
    return {"name": name, "seconds": seconds, "seed": seed, "solved_at": solved_at, "steps": steps}


RUNS = [row("rlbook", 1, 1.0, 300, 290), row(cartpole.BASE, 1, 10.0, 100, 100), row(cartpole.BASE, 2, 4.0, 200, None),
        row("rlbook", 2, 2.0, 400, 400), row("rlbook", 3, 3.0, 500, 450), row(cartpole.BASE, 3, 12.0, 250, 250)]


def test_summary_forms_ratios_seed_by_seed():
    found = cartpole.summary(RUNS)
    assert found["rlbook"] == {"solved": 3, "runs": 3, "seconds": [1.0, 2.0, 3.0], "steps": [300, 400, 500]}
    assert found[cartpole.BASE] == {"solved": 2, "runs": 3, "seconds": [4.0, 10.0, 12.0], "steps": [100, 200, 250]}
    assert found["seconds_ratio"] == [0.1, 0.25, 0.5] and found["steps_ratio"] == [2.0, 2.0, 3.0]
    assert "seconds_ratio: [0.1, 0.25, 0.5]\n" in cartpole.report({"summary": found})


def test_a_run_stops_where_it_is_solved(monkeypatch):
    monkeypatch.setattr(cartpole, "THRESHOLD", 30.0)
    found = cartpole.one("rlbook", 7)
    assert found["name"] == "rlbook" and found["seed"] == 7 and found["seconds"] > 0
    assert 2000 < found["solved_at"] <= found["steps"] < 30_000
    assert found["steps"] - found["solved_at"] <= 2048 and json.loads(json.dumps(found)) == found


def test_each_run_is_a_process_with_one_thread(monkeypatch):
    given = []

    def fake(command, **options):
        given.append((command, options))
        return types.SimpleNamespace(stdout='a warning\n{"steps": 5}\n')

    monkeypatch.setattr(cartpole.subprocess, "run", fake)
    assert cartpole.elsewhere("rlbook", 3) == {"steps": 5}
    command, options = given[0]
    assert command == [sys.executable, "-m", "tests.bench.cartpole", "rlbook", "3"]
    assert options["env"]["OMP_NUM_THREADS"] == "1" and options["check"]


def fakes(monkeypatch, hashes):
    order = []
    monkeypatch.setattr(cartpole, "elsewhere", lambda name, seed: order.append((name, seed)) or row(name, seed, 1.0, 10, 10))
    monkeypatch.setattr(common, "made_by", lambda code, packages: {"code": hashes.pop(0)})
    return order


def test_both_take_turns(monkeypatch):
    order = fakes(monkeypatch, ["a", "a"])
    log = cartpole.measure()
    names = [name for name, _ in order]
    assert names[::2] == ["rlbook", cartpole.BASE] * 5 and names[1::2] == [cartpole.BASE, "rlbook"] * 5
    assert [seed for _, seed in order[::2]] == [seed for _, seed in order[1::2]] == list(cartpole.SEEDS)
    assert log["code"] == "a" and log["settings"]["rlbook"]["learning_rate"] == control.PPOConfig().learning_rate


def test_code_that_changes_meanwhile_is_refused(monkeypatch):
    fakes(monkeypatch, ["a", "b"])
    with pytest.raises(RuntimeError, match="changed while it was measured"):
        cartpole.measure()


def test_nothing_here_needs_the_other_library():
    code = "import sys, tests.bench.cartpole; print('stable_baselines3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=command_line.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- the committed log

def test_log_is_of_the_code_as_it_is():
    current = experiments.code_hash(control.ppo)
    assert experiments.load("bench_cartpole")["code"] == current, "ppo has changed since: run `make bench BENCH=cartpole`"


def test_log_supports_the_text():
    log = experiments.load("bench_cartpole")
    assert log["summary"] == cartpole.summary(log["results"]) and log["seeds"] == list(cartpole.SEEDS)
    assert log["summary"]["rlbook"]["solved"] == log["summary"]["rlbook"]["runs"] == 10
    assert log["summary"]["seconds_ratio"][1] <= 0.25 and log["threads"] == 1
    assert all(run["solved_at"] is None or run["solved_at"] <= run["steps"] for run in log["results"])


def test_log_says_what_made_it_and_nothing_private():
    log = experiments.load("bench_cartpole")
    assert log["bench"] == "cartpole" and log["machine"] and set(log["versions"]) == {"python", *cartpole.PACKAGES}
    text = (experiments.DATA / "bench_cartpole.json").read_text()
    assert not re.search(r"/(home|work|tmp|root)|\d{4}-\d\d-\d\d", text) and len(text) < 20_000
