"""Sampling from a tiny Qwen2: rlbook's `language.generate` and the model's own `generate`, on the same model and prompts.

The whole distribution at temperature 1 is sampled, without an end, so that everybody makes the same number of tokens.
rlbook's function returns the log-probabilities of what it drew; "transformers + log-probs" gets them from the logits, which
`generate` keeps if asked to. "no padding" are prompts of one length, "padded" ones between half and all of it.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from rlbook import experiments
from rlbook.language import sampling
from rlbook.language.model import tiny_model
from tests.bench import common

VOCAB, HIDDEN, LAYERS = 32, 64, 2
SEED = 0
SHAPES = ((64, 8, 8), (256, 16, 32), (64, 16, 64))      # (prompts, tokens of a prompt, new tokens)
BASE = "rlbook"
NAMES = (BASE, "transformers", "transformers + log-probs")
PADDINGS = ("no padding", "padded")
PACKAGES = ("numpy", "torch", "transformers")


def make_data(batch: int, length: int, padding: str) -> SimpleNamespace:
    """A model of 110,000 parameters whose distributions are not uniform, prompts and their mask."""
    generator = torch.Generator().manual_seed(SEED)
    model = tiny_model(VOCAB, HIDDEN, num_layers=LAYERS, max_length=256, seed=SEED, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(10)
    model.generation_config.pad_token_id = 0
    ids = torch.randint(1, VOCAB, (batch, length), generator=generator)
    short = torch.randint(0, length // 2 + 1, (batch, 1), generator=generator) if padding == "padded" else 0
    mask = (torch.arange(length) >= short).long().expand(batch, -1)
    return SimpleNamespace(model=model, ids=ids * mask, mask=mask)


def calls(data: SimpleNamespace, new: int) -> dict:
    """Name to a call without arguments, which returns completions and their log-probabilities or None."""
    generator = torch.Generator().manual_seed(SEED)

    def ours() -> tuple[Tensor, Tensor]:
        completions = sampling.generate(data.model, data.ids, data.mask, new, generator=generator)
        return completions.ids, completions.logprobs

    def theirs(**keywords):
        return data.model.generate(
            data.ids, attention_mask=data.mask, max_new_tokens=new, do_sample=True, top_k=0, top_p=1.0, **keywords
        )

    def theirs_with_logprobs() -> tuple[Tensor, Tensor]:
        output = theirs(return_dict_in_generate=True, output_logits=True)
        ids = output.sequences[:, -new:]
        return ids, torch.stack(output.logits, 1).log_softmax(-1).gather(-1, ids[..., None])[..., 0]

    return dict(zip(NAMES, (ours, lambda: (theirs()[:, -new:], None), theirs_with_logprobs), strict=True))


def error(data: SimpleNamespace, completion_ids: Tensor, logprobs: Tensor) -> float:
    """max|error| / max|reference| of log-probabilities against the model in float64, row by row and without padding."""
    model = tiny_model(VOCAB, HIDDEN, num_layers=LAYERS, max_length=256, seed=SEED, tie_word_embeddings=False).double()
    model.load_state_dict(data.model.state_dict())
    new = completion_ids.shape[1]
    rows = []
    with torch.no_grad():
        for ids, mask, completion in zip(data.ids, data.mask, completion_ids, strict=True):
            whole = torch.cat([ids[mask.bool()], completion])
            logp = model(whole[None]).logits[0, -new - 1 : -1].log_softmax(-1)
            rows.append(logp.gather(-1, completion[:, None])[:, 0])
    reference = torch.stack(rows)
    return common.distance(logprobs, reference, reference)


def compete(shape: tuple[int, int, int], padding: str) -> list[dict]:
    """Check and time the competitors of one case. Returns its results as the log holds them."""
    batch, length, new = shape
    data = make_data(batch, length, padding)
    by_name, errors = calls(data, new), {}
    torch.manual_seed(SEED)
    for name, call in by_name.items():
        ids, logprobs = call()
        assert ids.shape == (batch, new) and 0 <= ids.min() and ids.max() < VOCAB, f"{name} made {tuple(ids.shape)}"
        errors[name] = None if logprobs is None else error(data, ids, logprobs)
        assert logprobs is None or errors[name] <= common.LIMIT, f"{name} is wrong, so not timed: {errors[name]}"
    times = common.take_turns(by_name, common.cpu_time)
    results = []
    for name, taken in times.items():
        milliseconds = common.quartiles(list(taken["ms"].values()))
        results.append({
            "calls": taken["calls"],
            "case": [*shape, padding],
            "device": "cpu",
            "error": None if errors[name] is None else experiments.rounded([errors[name]], 2)[0],
            "ms": experiments.rounded(milliseconds),
            "name": name,
            "ratio": experiments.rounded(common.quartiles(common.ratios(taken["ms"], times[BASE]["ms"]))),
            "rounds": len(taken["ms"]),
            "tokens_per_second": experiments.rounded([batch * new / milliseconds[1] * 1e3], 3)[0],
        })
    return results


def measure() -> dict:
    """Check and time every case, on the CPU; returns what the log holds."""
    return {
        **common.made_by(sampling.generate, PACKAGES),
        "base": BASE,
        "case": ["prompts", "tokens", "new tokens", "padding"],
        "clock": {"cpu": common.CLOCK["cpu"]},
        "cuda": "not measured",
        "results": [row for shape in SHAPES for padding in PADDINGS for row in compete(shape, padding)],
        "settings": {"hidden": HIDDEN, "layers": LAYERS, "seed": SEED, "temperature": 1.0, "vocabulary": VOCAB},
    }
