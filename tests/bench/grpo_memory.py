"""Memory of one GRPO update with 151,936 ids, as Qwen2 has, against the number of completions: log-probabilities, loss, backward.

"rlbook" is `language.token_logprobs` as `language.grpo` calls it, every prompt read once; "TRL" its chunked log-probabilities
at its trainers' settings on the same hidden states; "all logits" log_softmax of all logits. The model, 2 layers of width 64, is
small, so that what grows with the completions is what the vocabulary makes grow. Each measurement is a process of its own:
"mib" is the most that it held during the update less what it held before, "allocated" the same of torch's tensors alone,
"activations" what the backbone keeps for the backward pass by `rlbook.language.cost`, which grows with the completions in any
case, and "beyond" is allocated less activations. `python -m tests.bench.grpo_memory NAME COMPLETIONS` is one such process.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from rlbook import experiments, language
from rlbook.experiments.memory import Allocations
from rlbook.language import cost
from rlbook.language.scoring import states_of_groups
from rlbook.losses import grpo_loss
from tests.bench import common, tokens

VOCABULARY, HIDDEN, LAYERS = 151_936, 64, 2
COMPLETIONS, GENERATIONS, PROMPT, LENGTH = (8, 16, 32, 64), 8, 16, 32
NAMES = ("rlbook", "TRL", "all logits")
ROUNDS = 1
PACKAGES = ("numpy", "torch", "transformers", "trl")
LIMIT = 1e-4        # of the largest difference between two losses
MIB = 2**20


def ours(model, prompts: Tensor, completions: Tensor, prompt_of: Tensor) -> Tensor:
    everything = torch.ones_like(completions)
    return language.token_logprobs(model, prompts, torch.ones_like(prompts), completions, everything, prompt_of=prompt_of)[0]


def from_states(logprobs_of: Callable) -> Callable:
    """Log-probabilities by a function of (hidden states, weight, ids), on the states that rlbook's go through too."""
    def call(model, prompts, completions, prompt_of):
        states = states_of_groups(model, prompts, torch.ones_like(prompts), completions, prompt_of)
        found = logprobs_of(states.flatten(0, 1), model.get_output_embeddings().weight, completions.flatten())
        return found[0].view(completions.shape)

    return call


CALLS = {"rlbook": lambda: ours, "TRL": lambda: from_states(tokens.of_trl()),
         "all logits": lambda: from_states(tokens.all_logits)}


def update(call: Callable, count: int, vocabulary: int = VOCABULARY) -> tuple[float, int, int]:
    """The loss of an update whose gradient was computed, the most bytes that its tensors held, and the process before it."""
    generator = torch.Generator().manual_seed(0)
    model = language.tiny_model(vocabulary, HIDDEN, num_layers=LAYERS, max_length=PROMPT + LENGTH)
    prompts = torch.randint(vocabulary, (count // GENERATIONS, PROMPT), generator=generator)
    completions = torch.randint(vocabulary, (count, LENGTH), generator=generator)
    advantages = torch.randn(count, generator=generator)
    old = torch.full(completions.shape, -math.log(vocabulary))
    prompt_of, mask = torch.arange(count) // GENERATIONS, torch.ones_like(old)
    before = tokens.held_memory()
    with Allocations() as memory:
        logprobs = call(model, prompts, completions, prompt_of)
        loss, _ = grpo_loss(logprobs, old, advantages, mask)
        loss.backward()
    return loss.item(), memory.peak, before


def activations(count: int) -> int:
    """What the backbone keeps: of the prompts, and of the completions after them, whose last token is not read."""
    config = language.tiny_model(8, HIDDEN, num_layers=LAYERS).config
    prompts = cost.activation_bytes(config, count // GENERATIONS, PROMPT, padded=False)
    return prompts + cost.activation_bytes(config, count, LENGTH - 1, padded=False, past=PROMPT)


def one(name: str, count: int) -> dict:
    """One measurement in this process, after a model of few ids was learned from, which imports what everything needs."""
    torch.set_num_threads(1)
    call = CALLS[name]()
    update(call, GENERATIONS, vocabulary=64)
    loss, peak, before = update(call, count)
    return {"allocated": peak / MIB, "loss": loss, "mib": (tokens.most_memory() - before) / MIB}


def elsewhere(name: str, count: int) -> dict:
    """The same in a new process with one thread. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.bench.grpo_memory", name, str(count)], env=environment,
                          cwd=Path(__file__).resolve().parents[2], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(run: Callable = elsewhere) -> dict:
    """Every competitor with every number of completions, in turn; returns what the log holds. Raises AssertionError if losses
    differ."""
    found: dict = {(name, count): [] for count in COMPLETIONS for name in NAMES}
    for turn in range(ROUNDS):
        for count in COMPLETIONS:
            for name in NAMES[turn % len(NAMES):] + NAMES[:turn % len(NAMES)]:
                found[name, count].append(run(name, count))
    rows = []
    for (name, count), runs in found.items():
        apart = max(abs(each["loss"] - found["all logits", count][0]["loss"]) for each in runs)
        assert apart <= LIMIT, f"the loss of {name} with {count} completions is off by {apart}"
        kept = activations(count) / MIB
        allocated = statistics.median(each["allocated"] for each in runs)
        rows.append({"name": name, "completions": count, "mib": tokens.spread([each["mib"] for each in runs]),
                     **dict(zip(("activations", "allocated", "beyond"),
                                experiments.rounded([kept, allocated, allocated - kept]), strict=True))})
    settings = {"hidden": HIDDEN, "layers": LAYERS, "length": LENGTH, "num_generations": GENERATIONS, "prompt": PROMPT,
                "rounds": ROUNDS, "vocabulary": VOCABULARY}
    return {**common.made_by(language.token_logprobs, PACKAGES), "results": rows, "settings": settings}



def report(log: dict) -> str:
    """One line for each competitor and number of completions."""
    return "\n".join(f"{row['name']}, {row['completions']} completions: {row['mib']} MiB, tensors {row['allocated']}, "
                     f"of which activations {row['activations']}, beyond {row['beyond']}" for row in log["results"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.grpo_memory", description="One measurement.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("completions", type=int)
    arguments = parser.parse_args()
    print(json.dumps(one(arguments.name, arguments.completions)))
