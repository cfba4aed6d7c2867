"""Experiments: logs that are current, a hash that sees code and nothing else, and the statistics of sample means."""

import json
import math
import sys
import types

import numpy as np
import pytest
import torch

from rlbook import exact, experiments
from rlbook.control import VPGConfig
from rlbook.experiments import __main__ as command_line
from rlbook.experiments import cartpole, estimation
from rlbook.experiments.source import code_hash, reachable

VPG = cartpole.__name__
MDP = exact.two_state_mdp()
LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- logs

@pytest.mark.parametrize("name", experiments.names())
def test_log_is_current(name):
    assert not experiments.is_stale(name), f"the code behind data/{name}.json has changed: run `make experiments`"


@pytest.mark.parametrize("name", experiments.names())
def test_log_says_what_made_it_and_nothing_private(name):
    log = experiments.load(name)
    runs = log.get("runs", [{"seed": seed} for seed in log["seeds"]])    # a log of one measurement has no list of runs
    assert log["experiment"] == name and log["seeds"] == list(dict.fromkeys(run["seed"] for run in runs))
    assert set(log["versions"]) == {"python", "gymnasium", "numpy", "torch"} and log["machine"]
    text = (experiments.DATA / f"{name}.json").read_text()
    assert "/home" not in text and "/work" not in text and len(text) < 60_000


@pytest.mark.parametrize("name", [name for name in experiments.names() if experiments.EXPERIMENTS[name].__module__ == VPG])
def test_log_holds_every_iteration(name):
    log = experiments.load(name)
    config = VPGConfig(seed=0, **log["config"])
    steps = log["iterations"] if name == "gradient_variance" else range(config.num_iterations)
    assert all(len(values) == len(steps) for run in log["runs"] for key, values in run.items() if key != "seed")


def test_cartpole_log_supports_the_text():
    log = experiments.load("vpg_cartpole")
    curves = np.array([run["charts/episodic_return"] for run in log["runs"]])
    assert len(curves) == 10 and curves[:, :5].mean() < 35
    assert (curves.max(axis=1) >= 475).all()
    correlations = [cartpole.loss_return_correlation(run) for run in log["runs"]]
    assert min(correlations) > 0.9  # the loss that is minimised rises with the return


def test_one_seed_run_again_starts_as_logged():
    log = experiments.load("vpg_cartpole")
    config = VPGConfig(seed=10, **{**log["config"], "num_iterations": 2})
    history = cartpole.vpg(log["env_id"], config).history
    for name, values in history.items():
        np.testing.assert_allclose(experiments.rounded(values), log["runs"][0][name][:2], rtol=0.02)


def test_run_writes_the_same_bytes_twice(monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "DATA", tmp_path)
    monkeypatch.setitem(experiments.EXPERIMENTS, "toy", toy)
    first = experiments.run("toy").read_bytes()
    assert experiments.run("toy").read_bytes() == first
    log = experiments.load("toy")
    assert log["runs"] == [{"a": [0.3333], "seed": 1}] and log["machine"] == experiments.processor()
    assert list(log) == sorted(log) and log["code"] == code_hash(toy) and not experiments.is_stale("toy")
    (tmp_path / "toy.json").write_text(json.dumps({**log, "code": "0"}))
    assert experiments.is_stale("toy")


def toy() -> dict:
    return {"seeds": [1], "runs": [{"seed": 1, "a": experiments.rounded([1 / 3])}]}


def test_unknown_names_are_refused():
    for call in (experiments.load, experiments.run, experiments.is_stale):
        with pytest.raises(ValueError, match="nothing-like-it"):
            call("nothing-like-it")
    for name in ("../data/vpg_cartpole", "vpg_cartpole.json", "./vpg_cartpole", str(experiments.DATA / "vpg_cartpole"), "", None):
        with pytest.raises(ValueError, match="no log of"):
            experiments.load(name)
    with pytest.raises(ValueError, match="unknown experiment 'mutate_provers'"):
        experiments.is_stale("mutate_provers")  # a log, but of no experiment


def test_command_line_runs_what_is_missing_or_stale(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(experiments, "DATA", tmp_path)
    monkeypatch.setattr(experiments, "names", lambda: ["toy"])
    monkeypatch.setitem(experiments.EXPERIMENTS, "toy", toy)
    wrote, current = "toy: wrote toy.json\n", "toy: up to date\n"
    for arguments, expected in (([], wrote), ([], current), (["toy"], wrote), (["--all"], wrote)):
        monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
        command_line.main()
        assert capsys.readouterr().out == expected
    (tmp_path / "toy.json").write_text(json.dumps({**experiments.load("toy"), "code": "0"}))
    monkeypatch.setattr(sys, "argv", ["experiments"])
    command_line.main()
    assert capsys.readouterr().out == wrote
    monkeypatch.setattr(sys, "argv", ["experiments", "other"])
    with pytest.raises(SystemExit):
        command_line.main()


# ---- the hash

SOURCE = '''
"""A module."""
from rlbook.fake_helpers import helper
import rlbook.fake_helpers as helpers
LIMIT = 3

class Config:
    """Settings."""
    rate: float = 0.1

def main(x):
    """Document."""
    return helper(x) + LIMIT + Config().rate  # comment

def through_module(x):
    return helpers.helper(x)

def unrelated():
    return 0
'''
HELPERS = '''
def helper(x):
    """Help."""
    return inner(x) * 2

def inner(x):
    return x + 1
'''


def fake_hash(monkeypatch, tmp_path, source=SOURCE, helpers=HELPERS, function="main", count=[0]) -> str:  # noqa: B006
    """The hash of `main` in two modules of rlbook that exist only for this test."""
    count[0] += 1
    for name, text in (("rlbook.fake_helpers", helpers), ("rlbook.fake_main", source)):
        path = tmp_path / f"{name.split('.')[1]}_{count[0]}.py"
        path.write_text(text)
        module = types.ModuleType(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(sys.modules["rlbook"], name.split(".")[1], module, raising=False)
        exec(compile(text, str(path), "exec"), vars(module))
    return code_hash(getattr(sys.modules["rlbook.fake_main"], function))


@pytest.mark.parametrize(
    ("which", "old", "new"),
    [("source", "LIMIT = 3", "LIMIT = 4"), ("source", "rate: float = 0.1", "rate: float = 0.2"),
     ("source", "helper(x) + LIMIT", "helper(x) - LIMIT"), ("helpers", "x + 1", "x + 2"), ("helpers", "* 2", "* 3")],
)
def test_hash_sees_every_reachable_change(monkeypatch, tmp_path, which, old, new):
    original = {"source": SOURCE, "helpers": HELPERS}
    assert old in original[which]
    changed = {**original, which: original[which].replace(old, new)}
    assert fake_hash(monkeypatch, tmp_path, **changed) != fake_hash(monkeypatch, tmp_path)


def test_hash_follows_modules(monkeypatch, tmp_path):
    a = fake_hash(monkeypatch, tmp_path, function="through_module")
    b = fake_hash(monkeypatch, tmp_path, helpers=HELPERS.replace("x + 1", "x + 2"), function="through_module")
    assert a != b


@pytest.mark.parametrize(
    ("old", "new"),
    [("Document.", "Another sentence."), ('    """Document."""\n', ""), ("  # comment", ""), ("return 0", "return 1"),
     ('"""Settings."""', '"""Other."""'), ("helper(x) + LIMIT", "helper(  x ) + (LIMIT)"), ('"""A module."""', "")],
)
def test_hash_ignores_words_layout_and_what_is_not_reached(monkeypatch, tmp_path, old, new):
    assert old in SOURCE
    assert fake_hash(monkeypatch, tmp_path, SOURCE.replace(old, new)) == fake_hash(monkeypatch, tmp_path)


def test_hash_of_vpg_reaches_everything_that_decides_a_curve():
    names = {name.split(".")[-1] for name in reachable(cartpole.vpg_cartpole)}
    assert {"vpg", "VPGConfig", "collect", "make_envs", "CategoricalPolicy", "policy_gradient_loss", "total_returns",
            "reverse_scan", "iteration_seed", "rounded", "learning_curves", "_record", "start", "device"} <= names
    assert any(name.endswith(" SEEDS") for name in names) and any(name.endswith(" METRICS") for name in names)
    assert not {"discounted_returns", "score", "vpg_cartpole_discounted"} & names


# ---- sample means

@pytest.mark.equation("sample-mean-variance")
def test_error_falls_as_one_over_the_root_of_n():
    sizes = [10, 100, 1000, 10_000]
    measured = estimation.errors(MDP, LOGITS, sizes, 100, generator(0))
    predicted = estimation.predicted_errors(MDP, LOGITS, sizes)
    assert estimation.slope(sizes, predicted) == pytest.approx(-0.5, abs=1e-12)
    assert estimation.slope(sizes, measured) == pytest.approx(-0.5, abs=0.03)
    torch.testing.assert_close(measured, predicted, rtol=0.2, atol=0)


def test_predicted_error_by_hand():
    """Two arms that pay 1 and 3 with probability 1/2: ĝ is (1/2, −1/2) or (−3/2, 3/2), of total variance 2."""
    bandit = exact.bandit(torch.tensor([1.0, 3.0], dtype=torch.float64))
    got = estimation.predicted_errors(bandit, torch.zeros(1, 2, dtype=torch.float64), [1, 4])
    torch.testing.assert_close(got, torch.tensor([2.0**0.5, 2.0**0.5 / 2], dtype=torch.float64))


def test_coverage_is_what_it_claims():
    result = estimation.coverage(MDP, LOGITS, 400, 1000, generator(0))
    shares = [*result.inside.double().mean(0).tolist(), result.inside_joint.double().mean().item()]
    assert len(shares) == 5 and all(0.93 <= share <= 0.97 for share in shares)
    truth = exact.gradient(MDP, LOGITS).flatten()
    again = ((result.means - result.half_widths <= truth) & (truth <= result.means + result.half_widths)).double()
    torch.testing.assert_close(again.mean(0), result.inside.double().mean(0), rtol=0, atol=0.002)
    low = estimation.coverage(MDP, LOGITS, 400, 1000, generator(0), level=0.5)
    assert 0.45 <= low.inside_joint.double().mean() <= 0.55
    assert abs(low.inside.double().mean() - 0.5) < 0.05


def test_coverage_intervals_are_those_of_the_batch():
    result = estimation.coverage(MDP, LOGITS, 50, 1, generator(4))
    estimates = estimation.gradient_estimates(MDP, LOGITS, 50, 1, generator(4))[0]
    covariance = torch.cov(estimates.T)
    torch.testing.assert_close(result.means[0], estimates.mean(0))
    torch.testing.assert_close(result.half_widths[0], 1.959963985 * (covariance.diagonal() / 50).sqrt())
    error = (estimates.mean(0) - exact.gradient(MDP, LOGITS).flatten())[[0, 2]]
    distance = 50 * error @ torch.linalg.inv(covariance[[0, 2]][:, [0, 2]]) @ error
    assert result.inside_joint.item() == (distance <= -2 * math.log(0.05)).item()


def test_chi2_quantiles():
    assert estimation.chi2_quantile(0.95, 1) == pytest.approx(1.959963984540054**2, rel=1e-9)
    assert estimation.chi2_quantile(0.95, 2) == pytest.approx(-2 * math.log(0.05), rel=1e-9)
    assert estimation.chi2_quantile(0.5, 10) == pytest.approx(9.341818, rel=1e-6)
    for level, degrees in ((1.0, 2), (0.0, 2), (0.5, 0)):
        with pytest.raises(ValueError, match="level"):
            estimation.chi2_quantile(level, degrees)
    with pytest.raises(ValueError, match="n must exceed"):
        estimation.coverage(MDP, LOGITS, 3, 5, generator(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimation.errors(MDP, LOGITS, [], 5, generator(0)), r"sizes must be a list of at least one.*got \[\]"),
        (lambda: estimation.errors(MDP, LOGITS, 10, 5, generator(0)), "sizes must be a list.*got 10"),
        (lambda: estimation.errors(MDP, LOGITS, [10, 0], 5, generator(0)), "every one of sizes must be an integer >= 1, got 0"),
        (lambda: estimation.errors(MDP, LOGITS, [10.0], 5, generator(0)), "sizes must be an integer >= 1, got 10.0"),
        (lambda: estimation.errors(MDP, LOGITS, [10], 0, generator(0)), "repetitions must be an integer >= 1, got 0"),
        (lambda: estimation.predicted_errors(MDP, LOGITS, []), "sizes must be a list"),
        (lambda: estimation.predicted_errors(MDP, LOGITS, [0]), "sizes must be an integer"),
        (lambda: estimation.slope([10], torch.ones(1)), "different sizes"),
        (lambda: estimation.slope([10, 10], torch.ones(2)), "different sizes"),
        (lambda: estimation.slope([10, 20], torch.ones(3)), "one value for each"),
        (lambda: estimation.slope([10, 20], [0.1, 0.2]), "got .10, 20. and list"),
        (lambda: estimation.gradient_estimates(MDP, LOGITS, 2.5, 2, generator(0)), "n must be an integer"),
        (lambda: estimation.gradient_estimates(MDP, LOGITS, 2, 0, generator(0)), "repetitions must be"),
        (lambda: estimation.coverage(MDP, LOGITS, None, 2, generator(0)), "n must be an integer"),
        (lambda: estimation.coverage(MDP, [[0.0, 0.0]] * 2, 20, 2, generator(0)), "logits must be.*got list"),
        (lambda: estimation.coverage(MDP, LOGITS, 20, 2, generator(0), "x"), "level must be a number.*got 'x'"),
        (lambda: estimation.chi2_quantile(0.5, math.nan), "degrees"),
    ],
)
def test_bad_sizes_and_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
