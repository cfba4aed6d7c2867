"""GRPO at the size of Qwen2.5-0.5B: the memory and time of a step, as the cost model says and as they are.

The model is made from its config, with random weights, since memory and time do not depend on what the weights are. It gets
countdown problems and never solves one, so a third reward tells its completions apart: without a difference there would be no
gradient, and a step would cost less. On a GPU a batch of 64 is run, on a CPU one of 4.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata

import torch

import rlbook
from rlbook.experiments import experiment, rounded
from rlbook.experiments.memory import Allocations
from rlbook.language.checkpointing import recompute_layers
from rlbook.language.config import GRPOConfig
from rlbook.language.cost import Batch, parameter_count, step_flops, step_memory
from rlbook.language.grpo import grpo
from rlbook.language.policy import Policy
from rlbook.language.tasks import countdown
from rlbook.language.tokenizer import encode_prompts

SIZES = {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
         "num_attention_heads": 14, "num_key_value_heads": 2}          # of Qwen/Qwen2.5-0.5B-Instruct
BATCHES = {"cuda": (64, 8, 128, 4), "cpu": (4, 4, 16, 2)}             # completions, of each prompt, tokens, in a micro-batch
NUM_STEPS, RATE = 2, 1e-6
CARD, CARD_BATCH = 16e9, (64, 8, 100, 256)                            # bytes; completions, of each prompt, L, C
MICRO_BATCHES = (1, 2, 4, 8, 16, 32, 64)
UPDATES = (1e-6, 1e-5, 1e-4)


@experiment
def qwen_size() -> dict:
    """Two steps on a GPU, or on the CPU where there is none: bytes and seconds, predicted and measured; what a card of 16 GB
    holds, by the cost model; and which weights an update of a given size changes in bfloat16."""
    device = "cuda" if rlbook.device().type == "cuda" else "cpu"
    policy = make_policy(device)
    columns = countdown.problems(64, torch.Generator().manual_seed(0))
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "weights": "random, from the config",
        "seeds": [0],
        "sizes": SIZES, "parameters": parameter_count(policy.model.config), "precision": precision(device),
        **measure(policy, columns, BATCHES[device], device), "card": card(policy.model.config),
        "changed_in_bfloat16": changed_in_bfloat16(policy.model.get_input_embeddings().weight),
        "transformers": metadata.version("transformers"),
    }


def make_policy(device: str = "cpu") -> Policy:
    """A model of those sizes with random weights in float32, whose layers are recomputed, and a tokenizer for any text."""
    from transformers import Qwen2ForCausalLM

    problems = countdown.problems(256, torch.Generator().manual_seed(1))
    tokenizer = text_tokenizer([chat[0]["content"] for chat in problems["prompt"]], SIZES["vocab_size"])
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(make_config()).float().eval()
    return Policy(recompute_layers(model), tokenizer)


def make_config():
    """The config of that model."""
    from transformers import Qwen2Config

    return Qwen2Config(**SIZES, tie_word_embeddings=True, max_position_embeddings=4096, bos_token_id=None, eos_token_id=None,
                       pad_token_id=None)


def measure(policy: Policy, columns: dict[str, list], sizes: tuple[int, int, int, int], device: str) -> dict:
    """Steps of `grpo`: what they were predicted to take, and what they took."""
    completions, generations, tokens, micro_batch = sizes
    length = encode_prompts(policy.tokenizer, columns["prompt"])[0].shape[1]
    batch = Batch(completions, generations, length, tokens, micro_batch)
    config = GRPOConfig(max_steps=NUM_STEPS, batch_size=completions, num_generations=generations, num_mini_batches=1,
                        max_completion_length=tokens, micro_batch_size=micro_batch, learning_rate=RATE,
                        reward_weights=(0.1, 1.0, 0.1))
    said = step_memory(policy.model.config, batch, recompute=True, device=device)
    flops, rate = step_flops(policy.model.config, batch, recompute=True), operations_per_second(device)
    ends = [clock(device)]
    with autocast(device), peak_memory(device) as peak:
        run = grpo(policy, [countdown.format_reward, countdown.countdown_reward, small_ids], columns, config,
                   callback=lambda run: ends.append(clock(device)))
    seconds = [end - start for start, end in zip(ends, ends[1:], strict=False)]
    return {
        "batch": batch._asdict(), "config": asdict(config), "bytes": said, "peak_measured": peak[0],
        "flops": {name: float(f"{count:.4g}") for name, count in flops.items()}, "flops_per_second": rounded([rate])[0],
        "seconds": rounded(seconds), "seconds_predicted": rounded([sum(flops.values()) / rate])[0],
        "history": {name: rounded(run.history[name]) for name in ("reward", "entropy", "grad_norm", "completions/mean_length")},
    }


def small_ids(prompts: list, completions: list, completion_ids: list[list[int]], **columns) -> list[float]:
    """The share of a completion's ids that lie in the lower half of the vocabulary: means nothing, and differs."""
    return [sum(token < SIZES["vocab_size"] / 2 for token in ids) / len(ids) for ids in completion_ids]


def card(config) -> list[dict]:
    """How many completions a micro-batch may have on a card of 16 GB, and the bytes at its peak, for each way to train:
    None where even one completion does not fit."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for recompute in (False, True):
            for reference in (False, True):
                peaks = {m: step_memory(config, Batch(*CARD_BATCH, m), dtype, recompute, reference, "cuda")["peak"]
                         for m in MICRO_BATCHES}
                fits = [m for m, peak in peaks.items() if peak <= 0.9 * CARD]   # a tenth for the context, and gaps
                rows.append({"dtype": str(dtype).removeprefix("torch."), "recompute": recompute, "reference": reference,
                             "micro_batch_size": max(fits, default=None), "peak": peaks[max(fits, default=1)]})
    return rows


def changed_in_bfloat16(weight: torch.Tensor) -> dict[str, float]:
    """Share of the weights that a step of so much, up or down, changes at all when they are kept in bfloat16."""
    sample = weight.detach().flatten()[:1_000_000].bfloat16()
    return {f"{step:g}": rounded([((sample + step).bfloat16() != sample).double().mean().item()])[0] for step in UPDATES}


# ---- instruments

def precision(device: str) -> str:
    """What the steps compute in: bfloat16 products of float32 weights where the GPU has them, else float32."""
    return "float32 weights, bfloat16 products" if device == "cuda" and torch.cuda.is_bf16_supported(False) else "float32"


def autocast(device: str):
    """The context of those products. Its cache of weights is off: it would outlive the step that changes the weights."""
    half = "bfloat16" in precision(device)
    return torch.autocast(device, torch.bfloat16, cache_enabled=False) if half else contextlib.nullcontext()


@contextlib.contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """The most bytes of tensors made inside, as the only entry of a list that is filled at the end."""
    found: list[int] = []
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield found
        found.append(torch.cuda.max_memory_allocated() - before)
    else:
        with Allocations() as memory:
            yield found
        found.append(memory.peak)


def clock(device: str) -> float:
    """Seconds: of the processor on a CPU, of the wall on a GPU, which has finished then."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def operations_per_second(device: str, size: int = 512, repeats: int = 5) -> float:
    """Of the model's largest matrix product, size tokens at a time; the best of some repetitions."""
    a = torch.randn(size, SIZES["hidden_size"], device=device)
    b = torch.randn(SIZES["hidden_size"], SIZES["intermediate_size"], device=device)
    best = float("inf")
    with autocast(device):
        for _ in range(repeats):
            start = clock(device)
            a @ b
            best = min(best, clock(device) - start)
    return 2 * a.numel() * b.shape[1] / best


def text_tokenizer(texts: Sequence[str] = (), size: int = 259, merges: int = 512):
    """A tokenizer made on the spot: any text is encoded, byte by byte or by pieces that are frequent in `texts`, and decoded.

    Ids 0, 1, 2 are <pad>, <bos>, <eos>, 3 to 258 the bytes, then at most `merges` pieces; up to `size` come ids that no text
    is encoded to. A chat is its messages, each behind its role, and the opening of the assistant's answer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>"]
    inner = Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = min(len(special) + len(alphabet) + merges, size)
    inner.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    inner.add_tokens([AddedToken(f"<unused {place}>") for place in range(inner.get_vocab_size(), size)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=special[0], bos_token=special[1], eos_token=special[2], padding_side="left",
        clean_up_tokenization_spaces=False, chat_template=(
            "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}"))
