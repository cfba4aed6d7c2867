"""Run by tests/test_distributed.py under torchrun, on two processes: does the work and writes what it found to a folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from rlbook.language.checkpointing import recompute_layers
from rlbook.language.distributed import add_gradients, gather, own_rows, sharded, start, sum_over_ranks, whole, world
from rlbook.language.result import load
from rlbook.language.rewards import RewardError
from tests import distributed_cases as cases
from tests.distributed_cases import (
    COMPLETION,
    MODES,
    RUNS,
    SHORT,
    backward,
    batch,
    denominator,
    distance,
    make_model,
    parameters,
    start_run,
    trimmed,
)

GRADIENTS = {
    "ragged": (make_model, batch(), MODES),
    "one token on rank 0": (lambda: make_model(tied=False), batch(SHORT), ["dr_grpo"]),
    "nothing scored on rank 0": (make_model, batch(unscored=4), ["grpo"]),
    "layers recomputed": (lambda: recompute_layers(make_model()), batch(), ["dapo"]),
}


def gradient_errors(model, joint: tuple, mode: str) -> dict[str, float]:
    """How far the gradients of two ranks, each with its half, are from those of the joint batch."""
    backward(model, joint, mode, denominator(mode, joint[4], COMPLETION))
    expected = [p.grad for p in model.parameters()]
    rows = trimmed(*(own_rows(x) for x in joint))
    counts = sum_over_ranks(torch.tensor(denominator(mode, rows[4], COMPLETION)))
    found = {}
    model.zero_grad()
    if rows[4].any():  # a rank with nothing to learn from need not go backward to take part in the sum
        backward(model, rows, mode, counts)
    add_gradients(model.parameters())
    found["replicated"] = distance([p.grad for p in model.parameters()], expected)
    parts = sharded(model)
    backward(parts, rows, mode, counts)
    found["sharded"] = distance([whole(p.grad) for p in parts.parameters()], expected)
    model.zero_grad()  # the classic bug: every rank divides by its own counts, and the mean over the ranks is taken
    backward(model, rows, mode, world()[1] * max(denominator(mode, rows[4], rows[4].shape[1]), 1))
    add_gradients(model.parameters())
    found["local means"] = distance([p.grad for p in model.parameters()], expected)
    return found


def pieces() -> dict:
    """What the small functions give: rows, ragged gathers, sums, and how much of each parameter a rank holds."""
    rank, size = world()
    ragged = torch.full((2, 3 + rank), rank + 1)
    found = {"world": [rank, size], "rows": own_rows(list(range(6))), "gather": gather(ragged).tolist(),
             "flags": gather(torch.tensor([True, rank == 1])).tolist(), "sum": sum_over_ranks(torch.tensor([1.0, rank])).tolist()}
    try:
        own_rows([1, 2, 3])
    except ValueError as error:
        found["error"] = str(error)
    model = make_model()
    held = sum(p.to_local().numel() for p in sharded(model).parameters())
    return found | {"held": held / sum(p.numel() for p in model.parameters())}


def several_steps(name: str, folder: Path) -> dict:
    """A run whose samples, of both ranks together, and parameters after every step are written for one process to compare."""
    module = sys.modules[f"rlbook.language.{'ppo' if name == 'ppo' else 'grpo'}"]
    sampler = "sample" if name == "ppo" else "sample_groups"
    own, samples, trained = getattr(module, sampler), [], []

    def good_words(**columns) -> list[float | None]:
        found = cases.good_words(**columns)
        return [None] * len(found) if name == "unscored" and world()[0] == 0 else found

    def recorded(*args):
        drawn = own(*args)
        samples.append(drawn)
        return drawn

    with mock.patch.object(module, sampler, recorded):
        run = start_run(name, good_words, callback=lambda run: trained.append(parameters(run)))
    torch.save({"samples": [joint(drawn) for drawn in samples], "parameters": trained, "history": run.history,
                "texts": [plain(drawn)[2] for drawn in samples]}, folder / f"{name}{world()[0]}.pt")
    return {"steps": run.steps}


def plain(drawn) -> tuple:
    """The samples learned from: prompts, completions, log-probabilities, scores."""
    kept = getattr(drawn, "kept", drawn)
    return (*kept[:5], kept.scores.total)


def joint(drawn) -> tuple:
    """The same of both ranks, prompts padded on the left."""
    prompts, mask, *others = plain(drawn)
    return (*(gather(x.flip(1)).flip(1) for x in (prompts, mask)), *(gather(x) for x in others))


def same(a, b) -> bool:
    """Whether two runs are equal bit for bit on this rank: parameters, Adam's moments, random state and history."""
    moments = [whole(run.optimizer.state_dict())["state"] for run in (a, b)]
    equal = all(torch.equal(x[name], y[name]) for x, y in zip(*(m.values() for m in moments), strict=True) for name in x)
    return (equal and torch.equal(parameters(a), parameters(b)) and a.history == b.history
            and torch.equal(a.generator.get_state(), b.generator.get_state()))


def stop_and_resume(name: str, folder: Path) -> dict:
    """A run that never stopped, and those stopped after the second step, saved and loaded, or by an error of one rank."""
    whole_run = start_run(name)
    stopped = start_run(name, callback=lambda run: run.steps == 2 and world()[0] == 1)  # rank 1 alone asks for it
    stopped.save(folder / name)
    torch.save(parameters(stopped), folder / f"{name}.pt")
    loaded = load(folder / name)
    found = {"steps": stopped.steps, "loaded": same(loaded, stopped), "disk": same(start_run(name, resume=loaded), whole_run),
             "memory": same(start_run(name, resume=stopped), whole_run)}
    calls = []

    def good_words(**columns):
        calls.append(1)
        if len(calls) == 2 and world()[0] == 1:
            raise RuntimeError("broken")
        return cases.good_words(**columns)

    try:
        start_run(name, good_words)
    except RewardError as error:
        found |= {"error": str(error), "kept": error.result.steps,
                  "after the error": same(start_run(name, resume=error.result), whole_run)}
    return found


def refused() -> list[str]:
    """What cannot be divided over two processes."""
    found = []
    for change in ({"batch_size": 6}, {"num_mini_batches": 8}):
        try:
            start_run("replicated", config=replace(RUNS["replicated"], **change))
        except ValueError as error:
            found.append(str(error))
    return found


def main(folder: Path) -> None:
    start()
    torch.set_num_threads(1)
    with cases.smooth():
        errors = [[name, mode, gradient_errors(model(), joint, mode)]
                  for name, (model, joint, modes) in GRADIENTS.items() for mode in modes]
        runs = {name: several_steps(name, folder) for name in RUNS}
    found = {"pieces": pieces(), "gradients": errors, "runs": runs, "refused": refused(),
             "resumed": {name: stop_and_resume(name, folder) for name in ("replicated", "sharded", "ppo")}}
    (folder / f"rank{world()[0]}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
