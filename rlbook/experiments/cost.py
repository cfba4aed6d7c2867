"""What a step of PPO costs, and one of GRPO: tokens through each network and bytes held, counted and as formulas say; seconds."""

import copy
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata

import torch
from torch import Tensor, nn

from rlbook.experiments import experiment, rounded
from rlbook.experiments.addition import training_prompts
from rlbook.experiments.memory import Allocations
from rlbook.language.config import GRPOConfig, PPOConfig
from rlbook.language.cost import parameter_count
from rlbook.language.grpo import grpo
from rlbook.language.model import backbone_and_head
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo
from rlbook.language.result import Result
from rlbook.language.rewards import score
from rlbook.language.sampling import generate
from rlbook.language.scoring import token_logprobs
from rlbook.language.tasks import addition
from rlbook.language.tokenizer import decode, encode_prompts, real_tokens

SEEDS, NUM_STEPS = range(2), 12
SETTINGS = {"batch_size": 512, "max_completion_length": addition.ANSWER_LENGTH, "num_mini_batches": 1}
ALGORITHMS = {"ppo": {"num_ppo_epochs": 1}, "ppo, 2 epochs": {"num_ppo_epochs": 2}, "grpo": {"num_generations": 8},
              "grpo, beta": {"num_generations": 8, "beta": 0.04}, "grpo, G = 2": {"num_generations": 2}}
WORK = {"backward": 2, "critic_backward": 2}    # a backward pass is two forward passes: one for activations, one for weights


@experiment
def ppo_grpo_cost() -> dict:
    """Each of `ALGORITHMS` on the addition task: formulas beside counts, and seconds beside what rates per token predict."""
    base = addition.base()
    runs = []
    for seed in SEEDS:
        for name, change in ALGORITHMS.items():
            rates = seconds_per_token(base)    # each time again: what else the machine does changes
            runs.append({"seed": seed, "algorithm": name, **cost_of_step(base, seed, {**SETTINGS, **change}, rates)})
    return {"seeds": list(SEEDS), "settings": SETTINGS, "algorithms": ALGORITHMS, "runs": runs,
            "transformers": metadata.version("transformers")}


def cost_of_step(base: Policy, seed: int, settings: dict, rates: dict[str, float], num_steps: int = NUM_STEPS) -> dict:
    """Of one step: tokens and bytes by formula and counted, the largest number of bytes at one time above what it began with,
    and CPU seconds, predicted and measured (the least of the steps)."""
    counts = count_tokens(base, seed, settings)
    tokens = predicted_tokens(settings)
    measured = step_seconds(base, seed, settings, num_steps)
    completion_tokens = counts.pop("completion_tokens")
    return {
        "tokens": tokens, "tokens_counted": counts, "completion_tokens": completion_tokens,
        "bytes": predicted_bytes(base, settings), "bytes_counted": held_bytes(last_result(base, seed, settings, 1)),
        "peak_bytes": peak_bytes(base, seed, settings), "work": work(tokens),
        "seconds": rounded([measured])[0], "seconds_predicted": rounded([predicted_seconds(tokens, rates)])[0],
        "rates": {name: rounded([rate])[0] for name, rate in rates.items()},
    }


# ---- formulas

def predicted_tokens(settings: dict, prompt_length: int = addition.PROMPT_LENGTH) -> dict[str, int]:
    """Tokens through the networks in one step, by what for, from the settings alone.

    B completions of C tokens to prompts of L; P = B prompts in PPO, P = B / G in GRPO; E epochs of one minibatch.
    prefill: P L, each prompt once; decode: B (C − 1), as the last token is chosen and never read. With
    n = B (L + C) in PPO (every completion is read with its prompt), n = P L + B (C − 1) in GRPO (a prompt is read once
    for its group): forward, backward: E n each, through the policy; reference: n, in GRPO if beta > 0.
    PPO's critic: values: n before the update; critic_forward, critic_backward: E n each.
    The log-probabilities of the sampling policy cost nothing: they are recorded as the tokens are drawn.
    """
    rows, length = settings["batch_size"], settings["max_completion_length"]
    is_ppo = "num_ppo_epochs" in settings
    epochs = settings["num_ppo_epochs"] if is_ppo else settings.get("num_iterations", 1)
    prompts = rows if is_ppo else rows // settings["num_generations"]
    decode = rows * (length - 1)
    n = rows * (prompt_length + length) if is_ppo else prompts * prompt_length + decode
    critic = n if is_ppo else 0
    return {"prefill": prompts * prompt_length, "decode": decode, "forward": epochs * n, "backward": epochs * n,
            "reference": n if is_ppo or settings.get("beta", 0) > 0 else 0,
            "values": critic, "critic_forward": epochs * critic, "critic_backward": epochs * critic}


def predicted_bytes(policy: Policy, settings: dict) -> dict[str, int]:
    """Bytes held from step to step: 4 a parameter, 4 its gradient and 8 Adam's two moments of it, all in float32.

    P parameters of the policy: 16 P. A reference: 4 P. A critic, the policy's backbone and H + 1 numbers of a head in
    place of the output matrix (which for tied embeddings is none of its own): 16 (P + H + 1) or 16 (P − V H + H + 1).
    """
    config, is_ppo = policy.model.config, "num_ppo_epochs" in settings
    count, size = parameter_count(config), config.hidden_size
    critic = count - (0 if config.tie_word_embeddings else config.vocab_size * size) + size + 1
    reference = is_ppo or settings.get("beta", 0) > 0
    return {"policy": 16 * count, "ref": 4 * count if reference else 0, "critic": 16 * critic if is_ppo else 0}


def work(tokens: dict[str, int]) -> int:
    """Forward passes of a token that a step amounts to, where a backward pass is two: in proportion to operations."""
    return sum(WORK.get(name, 1) * count for name, count in tokens.items())


def predicted_seconds(tokens: dict[str, int], rates: dict[str, float]) -> float:
    """Seconds of a step: tokens times seconds per token, read at once, sampled one by one, or learned from (forward and back),
    and what is no pass, the same for every algorithm. Where groups share prompts (GRPO: no critic, so no values), a token
    that is learned from has a rate of its own."""
    read = tokens["prefill"] + tokens["reference"] + tokens["values"]
    learned = tokens["forward"] + tokens["critic_forward"]
    learn = rates["learn"] if tokens["values"] else rates["learn_shared"]
    return read * rates["read"] + tokens["decode"] * rates["decode"] + learned * learn + rates["rest"]


# ---- counts

def count_tokens(base: Policy, seed: int, settings: dict) -> dict[str, int]:
    """The same as `predicted_tokens`, counted in a run's second step by hooks on the first layer of every network, and
    completion_tokens, those sampled up to their <eos>."""
    counts, handles = Counter(), []

    def attach(run: Result) -> None:
        if run.steps == 1:
            for name, model in run.models().items():
                handles.extend(counting(name, first_layer(model), counts))

    run = last_result(base, seed, settings, 2, attach)
    for handle in handles:
        handle.remove()
    names = predicted_tokens(settings)
    prompts = settings["batch_size"] * addition.PROMPT_LENGTH
    sampled = run.history["num_tokens"][1] - run.history["num_tokens"][0] - prompts
    return {**{name: counts[name] for name in names}, "completion_tokens": int(sampled)}


def counting(name: str, layer: nn.Module, counts: Counter) -> list:
    """Hooks that count the tokens which go through a layer, and come back through it."""
    forward = {"policy": "forward", "ref": "reference", "critic": "critic_forward"}[name]
    backward = "critic_backward" if name == "critic" else "backward"

    def went(module: nn.Module, given: tuple, output: Tensor | tuple) -> None:
        rows, length = (output[0] if isinstance(output, tuple) else output).shape[:2]
        what = forward
        if not torch.is_grad_enabled():
            sampling = "decode" if length == 1 else "prefill"
            what = {"policy": sampling, "ref": "reference", "critic": "values"}[name]
        counts[what] += rows * length

    def came(module: nn.Module, inputs: tuple, outputs: tuple) -> None:
        counts[backward] += outputs[0].shape[0] * outputs[0].shape[1]

    return [layer.register_forward_hook(went), layer.register_full_backward_hook(came)]


def first_layer(model: nn.Module) -> nn.Module:
    """The first layer of a causal model or of a `ScalarModel`."""
    backbone = model.backbone if hasattr(model, "backbone") else backbone_and_head(model)[0]
    return backbone.layers[0]


def held_bytes(run: Result) -> dict[str, int]:
    """Bytes of every network's parameters, their gradients, and Adam's moments of them, as a run holds them after a step."""
    found = {"policy": 0, "ref": 0, "critic": 0}
    for name, model in run.models().items():
        for parameter in model.parameters():
            moments = run.optimizer.state.get(parameter, {})
            held = [parameter, parameter.grad, moments.get("exp_avg"), moments.get("exp_avg_sq")]
            found[name] += sum(each.numel() * each.element_size() for each in held if each is not None)
    return found


def peak_bytes(base: Policy, seed: int, settings: dict) -> int:
    """The most bytes of tensors at one time in a run's second step, above those held when it begins."""
    memory = Allocations()

    def watch(run: Result) -> None:
        memory.__enter__() if run.steps == 1 else memory.__exit__(None, None, None)

    last_result(base, seed, settings, 2, watch)
    return memory.peak


# ---- seconds

def step_seconds(base: Policy, seed: int, settings: dict, num_steps: int) -> float:
    """CPU seconds of a step, the least over the steps of a run without its first (see `seconds_per_token`)."""
    times = []
    last_result(base, seed, settings, num_steps, lambda run: times.append(time.process_time()))
    return min(after - before for before, after in zip(times, times[1:], strict=False))


def seconds_per_token(policy: Policy, repeats: int = 5) -> dict[str, float]:
    """CPU seconds per token of what networks do, at the sizes of the task: read, decode, learn, learn_shared.

    read: a forward pass of 512 prompts with completions; learn: the same with its backward pass; learn_shared: that of 64
    prompts, and of eight completions behind each; decode: one token for each of 512 rows on a cache, what `generate` takes
    longer for C tokens than for one. And rest, per step: 512 prompts to ids, 512 completions to text, `score`, and Adam.
    Each from the fastest of `repeats` runs, by turns, since other work on the machine only ever slows one down.
    """
    problems, length = training_prompts(0, 512), addition.ANSWER_LENGTH
    policy = Policy(copy.deepcopy(policy.model), policy.tokenizer)
    ids, mask = encode_prompts(policy.tokenizer, problems["prompt"])
    drawn, adam = generate(policy.model, ids, mask, length), torch.optim.Adam(policy.model.parameters(), lr=1e-8)
    groups = len(ids) // 8
    prompt_of = torch.arange(groups).repeat_interleave(8)

    def read() -> None:
        with torch.no_grad():
            token_logprobs(policy.model, ids, mask, drawn.ids, drawn.mask)

    def learn() -> None:
        policy.model.zero_grad()
        token_logprobs(policy.model, ids, mask, drawn.ids, drawn.mask)[0].sum().backward()

    def learn_shared() -> None:
        policy.model.zero_grad()
        token_logprobs(policy.model, ids[:groups], mask[:groups], drawn.ids, drawn.mask, prompt_of=prompt_of)[0].sum().backward()

    def sample_one() -> None:
        generate(policy.model, ids, mask, 1)

    def sample_all() -> None:
        generate(policy.model, ids, mask, length)

    def rest() -> None:
        encode_prompts(policy.tokenizer, problems["prompt"])
        texts, rows = decode(policy.tokenizer, drawn.ids, drawn.mask), real_tokens(drawn.ids, drawn.mask)
        own, columns = real_tokens(ids, mask), {"answers": problems["answers"]}
        score([addition.exact_match], problems["prompt"], texts, rows, columns, prompt_ids=own)
        adam.step()

    functions = (read, learn, learn_shared, sample_one, sample_all, rest)
    rounds = [[cpu_seconds(function) for function in functions] for _ in range(repeats)]
    reading, learning, sharing, one, every, other = (min(column) for column in zip(*rounds, strict=True))
    tokens = len(ids) * (ids.shape[1] + length)
    behind = len(ids) * (length - 1)
    return {"read": reading / tokens, "learn": learning / tokens, "decode": (every - one) / behind, "rest": other,
            "learn_shared": sharing / (groups * ids.shape[1] + behind)}


def cpu_seconds(function: Callable[[], None]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def last_result(base: Policy, seed: int, settings: dict, num_steps: int, callback: Callable | None = None) -> Result:
    """A run of so many steps of `ppo`, or of `grpo` if the settings know groups."""
    train, config = (ppo, PPOConfig) if "num_ppo_epochs" in settings else (grpo, GRPOConfig)
    return train(base, addition.exact_match, training_prompts(seed), config(seed=seed, max_steps=num_steps, **settings),
                 callback=callback)
