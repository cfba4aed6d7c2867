"""The tiny model, policies on disk, and what is refused; nothing here or in the package reaches for the network."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlbook.language import (
    Policy,
    as_policy,
    check_same_vocabulary,
    encode_prompts,
    from_pretrained,
    generate,
    tiny_model,
    token_logprobs,
    word_tokenizer,
)
from rlbook.language import policy as policy_module
from rlbook.language.policy import check_linear_head

WORDS = ["red", "green", "blue", "yellow"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""
    def refuse(*arguments, **options):
        raise AssertionError(f"the network was asked for: {arguments}")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def make_policy(**options) -> Policy:
    return Policy(tiny_model(7, **{"hidden_size": 16, "num_heads": 2} | options), word_tokenizer(WORDS))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a tiny policy."""
    folder = tmp_path_factory.mktemp("policy")
    make_policy().save(folder)
    return folder


def scores(policy: Policy) -> torch.Tensor:
    ids, mask = encode_prompts(policy.tokenizer, ["red", "", [{"role": "user", "content": "blue green"}]])
    completions = torch.tensor([[3, 4, 2], [5, 5, 5], [6, 2, 0]])
    return token_logprobs(policy.model, ids, mask, completions, torch.ones_like(completions))[0].detach()


def test_the_tiny_model_is_qwen2_of_that_size():
    model = tiny_model(24)
    config = model.config
    assert (config.model_type, config.vocab_size, config.hidden_size, config.num_hidden_layers) == ("qwen2", 24, 48, 2)
    assert config.num_attention_heads == 4 and config.tie_word_embeddings and not model.training
    assert model.lm_head.weight is model.model.embed_tokens.weight
    layer = 4 * 48**2 + 3 * 48 + 3 * 48 * 192 + 2 * 48
    assert sum(weight.numel() for weight in model.parameters()) == 24 * 48 + 2 * layer + 48
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_the_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = tiny_model(9, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = tiny_model(9, seed=3), tiny_model(9, seed=4)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


@pytest.mark.parametrize(("changes", "message"), [
    ({"vocab_size": 0}, "vocab_size must be an integer >= 1, got 0"),
    ({"num_layers": 1.5}, "num_layers must be an integer >= 1, got 1.5"),
    ({"max_length": 0}, "max_length must be an integer >= 1, got 0"),
    ({"seed": -1}, "seed must be an integer >= 0, got -1"),
    ({"dropout": 1.0}, r"dropout must be a probability in \[0, 1\), got 1.0"),
    ({"hidden_size": 20, "num_heads": 4}, r"hidden_size must be divisible by 2 \* num_heads = 8, got 20"),
])
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(**{"vocab_size": 9} | changes)


def test_a_saved_policy_comes_back_as_it_was(saved):
    policy, loaded = make_policy(), from_pretrained(saved)
    assert all(map(torch.equal, policy.model.parameters(), loaded.model.parameters()))
    assert loaded.model.dtype == torch.float32 and not loaded.model.training and loaded.device.type == "cpu"
    assert loaded.tokenizer.get_vocab() == policy.tokenizer.get_vocab() and loaded.tokenizer.padding_side == "left"
    assert torch.equal(scores(policy), scores(loaded))
    check_same_vocabulary(policy, loaded)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_policy_is_loaded_in_another_precision(saved, dtype):
    loaded = from_pretrained(saved, dtype=dtype, device="cpu")
    assert {weight.dtype for weight in loaded.model.parameters()} == {dtype}
    assert (scores(loaded) - scores(make_policy())).abs().max() < (0.02 if dtype == torch.bfloat16 else 1e-5)
    ids, mask = encode_prompts(loaded.tokenizer, ["red", ""])
    made = generate(loaded.model, ids, mask, 4, generator=torch.Generator().manual_seed(0), eos_token_id=2)
    assert made.logprobs.dtype == (torch.float32 if dtype == torch.bfloat16 else torch.float64)


def test_the_checkpoints_own_precision_is_kept(tmp_path):
    policy = make_policy()
    policy.model.bfloat16()
    policy.save(tmp_path)
    assert from_pretrained(tmp_path).model.dtype == torch.bfloat16


def test_a_name_stands_for_a_policy(saved):
    policy = make_policy()
    assert as_policy(policy) is policy
    for name in (str(saved), saved):
        assert torch.equal(scores(as_policy(name)), scores(policy))
    assert as_policy(saved, dtype=torch.bfloat16).model.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="a policy must be a Policy, or the path or name of a model, got int"):
        as_policy(3)


def test_a_tokenizer_without_pad_token_pads_with_its_end(saved, tmp_path):
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = None
    make_policy().save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "pad_token" not in config or config["pad_token"] is None
    loaded = from_pretrained(tmp_path)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 2
    assert torch.equal(scores(loaded), scores(make_policy()))


def test_a_tokenizer_without_end_is_refused():
    tokenizer = word_tokenizer(WORDS)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-sequence token: set tokenizer.eos_token"):
        Policy(tiny_model(7), tokenizer)


def test_a_tokenizer_larger_than_the_model_is_refused():
    with pytest.raises(ValueError, match="the tokenizer has 7 ids and the model only 6 embeddings"):
        Policy(tiny_model(6), word_tokenizer(WORDS))
    Policy(tiny_model(8), word_tokenizer(WORDS))  # real models round up


def test_policy_and_reference_of_different_vocabularies_are_refused():
    policy = make_policy()
    with pytest.raises(ValueError, match="policy and reference must have one vocabulary, got 7 and 9 logits"):
        check_same_vocabulary(policy, Policy(tiny_model(9), policy.tokenizer))
    other = Policy(policy.model, word_tokenizer(WORDS[::-1]))
    with pytest.raises(ValueError, match="their tokenizers give some token different ids"):
        check_same_vocabulary(policy, other)
    check_same_vocabulary(policy, make_policy(seed=1))


def test_a_model_that_scales_its_logits_is_refused():
    from transformers import CohereConfig, CohereForCausalLM

    config = CohereConfig(vocab_size=7, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                          logit_scale=3.0, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng(devices=[]), pytest.raises(ValueError, match="logits of CohereForCausalLM are no linear"):
        check_linear_head(CohereForCausalLM(config))
    check_linear_head(tiny_model(7, tie_word_embeddings=False))


def test_a_module_that_is_no_causal_model_is_refused():
    with pytest.raises(ValueError, match="the model must be a backbone with a linear head, .* got Qwen2Model"):
        check_linear_head(tiny_model(7).base_model)


def test_a_missing_folder_is_an_error_and_no_download(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(policy_module, "load_tokenizer", asked.append)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    for given in (str(tmp_path / "nowhere"), tmp_path / "nowhere", Path("nowhere"), "./nowhere", "../nowhere", "~/nowhere"):
        for load in (from_pretrained, as_policy):
            with pytest.raises(ValueError, match="there is no folder .*nowhere, which is where the model was to be loaded"):
                load(given)
    for given in ("./file", str(tmp_path / "file")):
        with pytest.raises(ValueError, match="there is no folder .*file"):
            from_pretrained(given)
    assert asked == []


def test_what_is_a_path_and_what_is_a_name(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    assert torch.equal(scores(from_pretrained(f"~/{saved.name}")), scores(make_policy()))
    monkeypatch.chdir(tmp_path)
    for name in ("Qwen/Qwen2.5-0.5B", "gpt2", "nowhere"):  # no folders here, so names on the hub
        assert policy_module.folder_or_name(name) == name
    assert policy_module.folder_or_name(".") == "."


def test_the_whole_package_works_offline():
    """In a new interpreter in which no socket can be made: a model, a tokenizer, a corpus, training, sampling, scoring."""
    code = """
import os, socket, tempfile
os.environ["HF_HUB_OFFLINE"] = "1"
def refuse(*arguments, **options):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import sys, rlbook.language as language
assert "transformers" not in sys.modules
from rlbook.language.tasks import words
policy = language.Policy(language.tiny_model(24, hidden_size=16, num_heads=2), words.tokenizer())
language.pretrain(policy.model, words.corpus(64), steps=2, batch_size=8)
with tempfile.TemporaryDirectory() as folder:
    policy.save(folder)
    policy = language.from_pretrained(folder)
ids, mask = language.encode_prompts(policy.tokenizer, words.prompts(4, 2))
made = language.generate(policy.model, ids, mask, 5, eos_token_id=2, pad_token_id=0)
print(language.token_logprobs(policy.model, ids, mask, made.ids, made.mask)[0].shape[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4\n"


def test_functions_are_exported_and_not_the_modules_of_their_names():
    import rlbook.language as language

    assert all(hasattr(language, name) for name in language.__all__)
    assert language.ppo.__module__ == "rlbook.language.ppo" and callable(language.ppo)
    assert list(language.__all__) == sorted(language.__all__)
