"""Two processes under torchrun: the gradients of the joint batch, different completions, equal parameters, stop and resume."""

import json
import subprocess
import sys

import pytest
import torch

from rlbook.language.experience import Samples
from rlbook.language.groups import Drawn, count_tokens
from rlbook.language.result import load
from rlbook.language.rewards import Scores
from rlbook.losses import grpo_loss
from tests import distributed_cases as cases

WORKER = "tests.distributed_worker"
FIRST = {"reward", "reward_std", "frac_reward_zero_std", "rewards/good_words/mean", "completions/mean_length",
         "completions/clipped_ratio", "num_tokens", "groups_sampled"}  # of the groups drawn first


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    """What the worker wrote, run by torchrun on two processes, as a reader would run a script."""
    folder = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", WORKER, str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:5000]
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def runs(folder):
    return {name: [torch.load(folder / f"{name}{rank}.pt") for rank in (0, 1)] for name in cases.RUNS}


def test_rows_are_divided_gathered_and_added_up(ranks):
    for rank, found in enumerate(each["pieces"] for each in ranks):
        assert found["world"] == [rank, 2] and found["rows"] == [[0, 1, 2], [3, 4, 5]][rank]
        assert found["gather"] == [[1, 1, 1, 0]] * 2 + [[2, 2, 2, 2]] * 2 and found["flags"] == [True, False, True, True]
        assert found["sum"] == [2.0, 1.0] and found["error"] == "3 rows cannot be divided equally over 2 processes"
        assert 0.4 < found["held"] < 0.6  # each rank holds half of every parameter


def test_gradients_equal_those_of_the_joint_batch(ranks):
    for rank in ranks:
        assert len(rank["gradients"]) == 6
        for *case, errors in rank["gradients"]:
            assert errors["replicated"] < 1e-12 and errors["sharded"] < 1e-12, (case, errors)


def test_means_over_each_ranks_own_tokens_are_another_gradient(ranks):
    errors = {(case, mode): errors["local means"] for case, mode, errors in ranks[0]["gradients"]}
    assert errors["ragged", "dapo"] > 0.3 and errors["ragged", "dr_grpo"] > 0.3
    assert errors["ragged", "grpo"] < 1e-12  # a mean over completions, of which every rank has equally many,
    assert errors["nothing scored on rank 0", "grpo"] > 0.3  # unless some are not scored


@pytest.mark.parametrize("name", cases.RUNS)
def test_ranks_have_equal_parameters_after_every_step_and_different_completions(name, runs, ranks):
    one, two = runs[name]
    assert len(one["parameters"]) == 3 and one["history"] == two["history"]
    assert all(torch.equal(a, b) for a, b in zip(one["parameters"], two["parameters"], strict=True))
    assert not torch.equal(one["parameters"][0], one["parameters"][1])
    assert all(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(one["texts"], two["texts"], strict=True))


@pytest.mark.parametrize("name", cases.RUNS)
def test_two_processes_learn_what_one_learns_from_the_same_completions(name, runs, monkeypatch):
    given, trained = iter(runs[name][0]["samples"]), []

    def sampled(*args):
        *tokens, total = next(given)
        samples = Samples(*tokens, Scores(total, {"good_words": total}))
        return samples if name == "ppo" else Drawn(samples, samples, count_tokens(samples), len(total) // 2)

    module = sys.modules[f"rlbook.language.{'ppo' if name == 'ppo' else 'grpo'}"]
    monkeypatch.setattr(module, "sample" if name == "ppo" else "sample_groups", sampled)
    with cases.smooth():
        run = cases.start_run(name, callback=lambda run: trained.append(cases.parameters(run)))
    for here, there in zip(trained, runs[name][0]["parameters"], strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-12)
    history = runs[name][0]["history"]
    for metric in run.history.keys() - (FIRST if cases.RUNS[name].__dict__.get("dynamic_sampling") else {"groups_sampled"}):
        assert run.history[metric] == pytest.approx(history[metric], rel=1e-9, abs=1e-12, nan_ok=True), metric


def test_row_25_a_stopped_run_goes_on_as_if_it_had_not(ranks):
    for found in (each["resumed"] for each in ranks):
        for name in ("replicated", "sharded", "ppo"):
            assert found[name]["steps"] == 2  # one rank's callback stopped both
            assert found[name]["loaded"] and found[name]["disk"] and found[name]["memory"], name
            assert found[name]["kept"] == 1 and found[name]["after the error"]
    assert "raised RuntimeError: broken" in ranks[1]["resumed"]["sharded"]["error"]
    assert ranks[0]["resumed"]["sharded"]["error"] == "a reward function raised an error in another process"


@pytest.mark.parametrize("name", ["replicated", "sharded"])
def test_one_process_reads_what_two_have_saved_and_does_not_go_on_with_it(name, folder):
    run = load(folder / name)
    assert torch.equal(cases.parameters(run), torch.load(folder / f"{name}.pt")) and run.processes == 2 and run.steps == 2
    with pytest.raises(ValueError, match="a run on 2 processes, each with random numbers of its own, and this is one on 1"):
        cases.start_run(name, resume=run)


def test_what_cannot_be_divided_is_refused(ranks):
    groups, minibatches = ranks[0]["refused"]
    assert groups.startswith("2 processes need equal shares") and "batch_size = 6 is 3 prompts" in groups
    assert "num_mini_batches = 8" in minibatches


def gradient(weights):
    """Of GRPO's loss in its mean over the tokens of one choice, Σ_y weights_y L_y, after the policy has moved from π_old."""
    logits = torch.tensor([0.3, -0.2, 0.9, -1.0], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    new, old = (x[:, None] for x in (logits.log_softmax(-1), OLD.log()))
    loss, _ = grpo_loss(new, old, (weights * rewards)[:, None], torch.ones(4, 1), denom=1)
    return torch.autograd.grad(loss, logits)[0]


OLD = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
ENGINE = torch.tensor([0.35, 0.35, 0.25, 0.05], dtype=torch.float64)


def test_weights_on_the_advantages_correct_for_an_engine_that_samples_from_another_distribution():
    expected = gradient(OLD)  # of samples from the learner itself
    assert torch.allclose(gradient(ENGINE * (OLD / ENGINE)), expected, rtol=0, atol=1e-15)
    plain, cut = gradient(ENGINE), gradient(ENGINE * (OLD / ENGINE).clamp(max=1.5))  # the last token's weight is 2
    assert (plain - expected).norm() > 2 * (cut - expected).norm() > 0.02
