"""The benches of GRPO: steps, memory and reward functions beside TRL's; their parts, and their committed logs."""

import json
import re
import subprocess
import sys
import types

import pytest
import torch

from rlbook import experiments, language
from rlbook.experiments.memory import Allocations
from rlbook.language.tasks import addition
from tests.bench import __main__ as command_line
from tests.bench import common, grpo, grpo_memory, rewards


def row(name: str, seed: int, ms: float, seconds: float, accuracy: float) -> dict:
    return {"accuracy": accuracy, "ms": [ms / 2, ms, 2 * ms], "name": name, "seconds": seconds, "seed": seed, "steps": 30}


RUNS = [row("rlbook", 1, 100.0, 8.0, 0.8), row(grpo.BASE, 1, 400.0, 16.0, 0.7), row(grpo.BASE, 2, 200.0, 10.0, 0.7),
        row("rlbook", 2, 100.0, 8.0, 0.6), row("rlbook", 3, 120.0, 9.0, 0.9), row(grpo.BASE, 3, 300.0, 18.0, 0.9)]


# ---- steps

def test_summary_forms_ratios_seed_by_seed():
    found = grpo.summary(RUNS)
    assert found["rlbook"] == {"ms": [100.0, 100.0, 120.0], "seconds": [8.0, 8.0, 9.0], "accuracy": [0.6, 0.8, 0.9]}
    assert found["ms_ratio"] == [0.25, 0.4, 0.5] and found["seconds_ratio"] == [0.5, 0.5, 0.8]
    assert found["accuracy_difference"] == pytest.approx([-0.1, 0.0, 0.1])
    assert "ms_ratio: [0.25, 0.4, 0.5]\n" in grpo.report({"summary": found, "starts": []})


def test_a_run_is_timed_step_by_step(tmp_path):
    grpo.make_base(0).save(tmp_path / "base")
    found = grpo.one("rlbook", str(tmp_path / "base"), 3, steps=4)
    assert found["steps"] == 4 and found["ms"] == sorted(found["ms"]) and found["ms"][0] > 1 and 0.3 < found["accuracy"] < 0.9
    assert sum(found["ms"]) < 1e3 * found["seconds"] and json.loads(json.dumps(found)) == found


def test_accuracy_is_that_of_sampled_answers():
    """0 for a model that always ends at once; the book's base is right about half of the time."""
    policy = addition.base()
    assert 0.4 < grpo.accuracy(policy, 0) < 0.65
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.zero_()
    assert grpo.accuracy(policy, 0) < 0.02


def test_each_run_is_a_process_with_one_thread(monkeypatch):
    for bench, given in ((grpo, ("rlbook", "base", 3)), (grpo_memory, ("rlbook", 8))):
        seen = []

        def fake(command, seen=seen, **options):
            seen.append((command, options))
            return types.SimpleNamespace(stdout='a warning\n{"steps": 5}\n')

        monkeypatch.setattr(bench.subprocess, "run", fake)
        assert bench.elsewhere(*given) == {"steps": 5}
        command, options = seen[0]
        assert command == [sys.executable, "-m", bench.__name__, *map(str, given)]
        assert options["env"]["OMP_NUM_THREADS"] == "1" and options["check"]


def fakes(monkeypatch, hashes):
    order = []
    monkeypatch.setattr(grpo, "make_base", lambda seed: types.SimpleNamespace(save=lambda folder: None))
    monkeypatch.setattr(grpo, "accuracy", lambda policy, seed: 0.5)
    monkeypatch.setattr(grpo, "elsewhere",
                        lambda name, base, seed: order.append((name, base.name, seed)) or row(name, seed, 1.0, 1.0, 0.5))
    monkeypatch.setattr(common, "made_by", lambda code, packages: {"code": hashes.pop(0)})
    return order


def test_both_take_turns_on_the_same_bases(monkeypatch):
    order = fakes(monkeypatch, ["a", "a"])
    log = grpo.measure()
    assert [name for name, _, _ in order[::2]] == ["rlbook", grpo.BASE] * 2 + ["rlbook"]
    assert [one[1:] for one in order[::2]] == [one[1:] for one in order[1::2]]
    expected = [(str(k % len(grpo.BASES)), seed) for k, seed in enumerate(grpo.SEEDS)]
    assert [(base, seed) for _, base, seed in order[::2]] == expected
    assert log["code"] == "a" and [start["accuracy"] for start in log["starts"]] == [0.5] * len(grpo.BASES)


def test_code_that_changes_meanwhile_is_refused(monkeypatch):
    fakes(monkeypatch, ["a", "b"])
    with pytest.raises(RuntimeError, match="changed while it was measured"):
        grpo.measure()


# ---- memory

def test_allocations_are_counted_until_they_are_freed():
    before = torch.zeros(1000)
    with Allocations() as memory:
        first = before + 1
        view = first[:10]
        del first
        assert memory.held == 4000 == memory.peak
        second = torch.cat([view, before])
        assert memory.held == 8040
        del view, second
        assert memory.held == 0 and memory.peak == 8040
        before += 1
    assert memory.peak == 8040


def test_all_ways_give_one_loss_and_rlbooks_needs_no_logits(monkeypatch):
    monkeypatch.setattr(grpo_memory, "VOCABULARY", 5000)
    ways = {name: grpo_memory.update(grpo_memory.CALLS[name](), 16, 5000) for name in ("rlbook", "all logits")}
    assert ways["rlbook"][0] == pytest.approx(ways["all logits"][0], abs=1e-5)
    logits = 16 * grpo_memory.LENGTH * 5000 * 4
    assert ways["all logits"][1] > 2 * logits and ways["rlbook"][1] < ways["all logits"][1] - 1.4 * logits


def test_memory_is_measured_in_turns_and_wrong_losses_are_refused(monkeypatch):
    monkeypatch.setattr(common, "made_by", lambda code, packages: {})
    monkeypatch.setattr(grpo_memory, "ROUNDS", 2)
    order = []

    def run(name, count, off=0.0):
        order.append((name, count))
        return {"allocated": 10.0 * count, "loss": count + off * (name == "TRL"), "mib": 20.0 * count}

    log = grpo_memory.measure(run)
    assert len(order) == grpo_memory.ROUNDS * len(grpo_memory.NAMES) * len(grpo_memory.COMPLETIONS)
    assert order[0][0] == "rlbook" and order[len(order) // grpo_memory.ROUNDS][0] == "TRL"
    assert [row["completions"] for row in log["results"]] == [n for n in grpo_memory.COMPLETIONS for _ in grpo_memory.NAMES]
    assert all(row["beyond"] == pytest.approx(row["allocated"] - row["activations"], rel=1e-3) for row in log["results"])
    with pytest.raises(AssertionError, match="loss of TRL with 8 completions is off by 1"):
        grpo_memory.measure(lambda name, count: run(name, count, 1.0))


# ---- reward functions

def test_kinds_of_what_is_passed_are_named():
    assert rewards.words_of([[1, 2], [3]]) == "list of list of int" and rewards.words_of([]) == "list"
    assert rewards.words_of(print) == "function" and rewards.words_of(["a"]) == "list of str"
    assert rewards.words_of([[{"role": "user"}]]) == "list of list of dict"


def test_problems_are_columns_of_equal_length():
    for policy, columns in (rewards.addition_data(), rewards.countdown_data()):
        assert len({len(column) for column in columns.values()}) == 1
        ids, _ = language.encode_prompts(policy.tokenizer, columns["prompt"])
        assert ids.max() < policy.model.config.vocab_size


def test_nothing_here_needs_the_other_library():
    code = "import sys, tests.bench.grpo, tests.bench.grpo_memory, tests.bench.rewards; print('trl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=command_line.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- the committed logs

def test_log_of_steps_is_of_the_code_as_it_is():
    current = experiments.code_hash(language.grpo)
    assert experiments.load("bench_grpo")["code"] == current, "grpo has changed since: run `make bench BENCH=grpo`"


def test_log_of_steps_supports_the_text():
    log = experiments.load("bench_grpo")
    found = log["summary"]
    assert found == grpo.summary(log["results"]) and log["seeds"] == list(grpo.SEEDS) and log["threads"] == 1
    assert found["ms_ratio"][1] <= 0.6 and found["seconds_ratio"][1] <= 0.8
    assert abs(found["accuracy_difference"][1]) <= 0.03
    assert found["rlbook"]["accuracy"][0] > max(start["accuracy"] for start in log["starts"]) + 0.05


def test_log_of_memory_is_flat():
    log = experiments.load("bench_grpo_memory")
    current = experiments.code_hash(language.token_logprobs)
    assert log["code"] == current, "token_logprobs has changed since: run `make bench BENCH=grpo_memory`"
    rows = {name: [row for row in log["results"] if row["name"] == name] for name in grpo_memory.NAMES}
    first, last = rows["rlbook"][0], rows["rlbook"][-1]
    assert last["allocated"] <= 1.05 * first["allocated"]
    grown = last["activations"] - first["activations"]
    assert last["allocated"] - first["allocated"] <= grown
    assert last["mib"][1] - first["mib"][1] <= 1.25 * grown    # of the process: some MiB more or less from run to run
    assert rows["all logits"][-1]["beyond"] > 7 * rows["all logits"][0]["beyond"]
    assert rows["TRL"][-1]["beyond"] > 7 * rows["TRL"][0]["beyond"]


@pytest.mark.parametrize("name", ["grpo", "grpo_memory", "rewards"])
def test_logs_say_what_made_them_and_nothing_private(name):
    log = experiments.load(f"bench_{name}")
    assert log["bench"] == name and log["machine"] and "trl" in log["versions"]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (command_line.ROOT / "tests/bench/requirements.txt").read_text(), re.MULTILINE))
    versions = {name: version.split("+")[0] for name, version in log["versions"].items() if name != "python"}
    assert all(version == pins.get(name, version) for name, version in versions.items())
    text = (experiments.DATA / f"bench_{name}.json").read_text()
    assert not re.search(r"/(home|work|tmp|root)|\d{4}-\d\d-\d\d", text) and len(text) < 20_000
