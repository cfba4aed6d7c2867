"""Where training of a language model stops: numbers that are not finite, float16; and parameters that are not trained."""

import math
from dataclasses import replace

import pytest
import torch

from rlbook.language import experience
from rlbook.language.config import PPOConfig
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.ppo import check_finite, clip_gradients, ppo
from rlbook.language.result import begin, load
from rlbook.language.scalar import ScalarModel
from rlbook.language.tokenizer import word_tokenizer

WORDS = ["bad", "good", "film", "the"]
SMALL = PPOConfig(seed=3, max_steps=3, batch_size=6, max_completion_length=5, num_mini_batches=1, num_ppo_epochs=1)
PROMPTS = ["the", "the film", "good the bad"]


def small(dtype: torch.dtype = torch.float32) -> Policy:
    model = tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, max_length=16).to(dtype)
    return Policy(model, word_tokenizer(WORDS))


def good_words(completions, **columns) -> list[float]:
    return [float(text.split().count("good")) for text in completions]


def constant(value: float):
    def rewarder(prompts, **columns):
        return [value] * len(prompts)
    return rewarder


# ---- numbers that are not finite

@pytest.mark.parametrize("change", [{"learning_rate": 1e30}, {"critic_learning_rate": 1e30},
                                    {"learning_rate": 1e30, "num_ppo_epochs": 3}])
def test_a_learning_rate_that_breaks_the_parameters_stops_the_run(change):
    seen = []
    message = r"the losses are not finite in step (\d): .*nan.*; a smaller learning_rate"
    with pytest.raises(ValueError, match=message) as caught:
        ppo(small(), good_words, PROMPTS, replace(SMALL, **change), callback=lambda run: seen.append(run.steps))
    failed = int(str(caught.value).split("in step ")[1][0])
    assert seen == list(range(1, failed)) and failed < 3  # the step that failed was not recorded


@pytest.mark.parametrize("value", [3e38, -1e25])
def test_huge_rewards_stop_the_run(value):
    with pytest.raises(ValueError, match="not finite in step 1: .*'value_loss': inf.* smaller rewards"):
        ppo(small(), constant(value), PROMPTS, SMALL)


def test_parameters_are_looked_at_after_the_last_step():
    run = ppo(small(), good_words, PROMPTS, replace(SMALL, max_steps=1))
    metrics = {name: values[-1] for name, values in run.history.items()}
    check_finite(run, metrics)
    for model, name in ((run.policy.model, "policy"), (run.critic, "critic")):
        parameter = next(model.parameters())
        before = parameter.detach().clone()
        parameter.data.view(-1)[0] = math.nan
        with pytest.raises(ValueError, match=f"step 2: {{'parameters of the {name}': nan}}"):
            check_finite(run, metrics)
        parameter.data.copy_(before)
    for name in set(metrics) - {name for name in metrics if name.startswith("reward")}:
        with pytest.raises(ValueError, match=f"step 2: {{'{name}': nan}}"):
            check_finite(run, {**metrics, name: math.nan})
    with pytest.raises(ValueError, match="'reward_std': inf"):
        check_finite(run, {**metrics, "reward_std": math.inf})


# ---- precision

def test_float16_is_refused():
    with pytest.raises(ValueError, match="the policy has parameters in float16, .*underflows to 0: use float32 or bfloat16"):
        ppo(small(torch.float16), good_words, PROMPTS, SMALL)
    with pytest.raises(ValueError, match="the critic has parameters in float16"):
        ppo(small(), good_words, PROMPTS, SMALL, critic=ScalarModel.from_causal(small(torch.float16).model))


def test_a_policy_given_by_its_path_is_trained_in_float32(tmp_path):
    policy = small(torch.bfloat16)
    policy.save(tmp_path / "model")

    def dtypes(given, ref):
        run = begin(given, SMALL, ref, None, [good_words])
        return [{p.dtype for p in model.parameters()} for model in (run.policy.model, run.ref.model, run.critic.backbone)]

    path = str(tmp_path / "model")
    assert dtypes(path, None) == dtypes(path, path) == [{torch.float32}] * 3
    assert dtypes(policy, path) == dtypes(policy, None) == [{torch.bfloat16}] * 3
    config = replace(SMALL, learning_rate=1e-5)
    trained = ppo(path, good_words, PROMPTS, config).policy.model
    start = begin(path, config, None, None, [good_words]).policy.model
    assert all(not torch.equal(a, b) for a, b in zip(trained.parameters(), start.parameters(), strict=True)
               if a.dim() > 1)  # in bfloat16, most of such steps would be lost


# ---- parameters that are not trained

@pytest.mark.parametrize("frozen", ["layers", "norm", "embed_tokens"])
def test_a_partly_frozen_policy_is_saved_loaded_and_taken_up(frozen, tmp_path):
    policy = small()
    for name, parameter in policy.model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    names = {name for name, parameter in policy.model.named_parameters() if parameter.requires_grad}
    assert 0 < len(names) < len(list(policy.model.parameters()))
    whole = ppo(policy, good_words, PROMPTS, SMALL)
    ppo(policy, good_words, PROMPTS, replace(SMALL, max_steps=1)).save(tmp_path / "run")
    resumed = ppo(None, good_words, PROMPTS, SMALL, resume=load(tmp_path / "run"))
    assert resumed.history == whole.history
    given = dict(policy.model.named_parameters())
    for (name, a), b in zip(resumed.policy.model.named_parameters(), whole.policy.model.parameters(), strict=True):
        assert torch.equal(a, b) and a.requires_grad == b.requires_grad == (name in names)
        assert torch.equal(a, given[name]) == (name not in names)
    assert all(torch.equal(a, b) for a, b in zip(resumed.critic.parameters(), whole.critic.parameters(), strict=True))


def test_names_of_trained_parameters_are_checked(tmp_path):
    ppo(small(), good_words, PROMPTS, replace(SMALL, max_steps=1)).save(tmp_path / "run")
    file = tmp_path / "run" / "run.pt"
    state = torch.load(file, weights_only=True)
    for trained in (["nothing"], "lm_head", None):
        torch.save({**state, "trained": trained}, file)
        with pytest.raises(ValueError, match="trained must be a list of names of the policy's parameters"):
            load(tmp_path / "run")


# ---- gradients and the critic's explained variance

def norm(model: torch.nn.Module) -> float:
    return torch.stack([parameter.grad.square().sum() for parameter in model.parameters()]).sum().sqrt().item()


def test_each_networks_gradient_is_cut_on_its_own():
    policy = small()
    critic = ScalarModel.from_causal(policy.model, "orthogonal")
    for model, size in ((policy.model, 2.0), (critic, 30.0)):
        for k, parameter in enumerate(model.parameters()):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(k))
        total = norm(model)
        for parameter in model.parameters():
            parameter.grad *= size / total
    before = [p.grad.clone() for p in critic.parameters()]
    assert clip_gradients(policy, critic, 5.0).item() == pytest.approx(2.0, rel=1e-4)
    assert norm(policy.model) == pytest.approx(2.0, rel=1e-4) and norm(critic) == pytest.approx(5.0, rel=1e-4)
    for parameter, grad in zip(critic.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, grad / 6, rtol=1e-4, atol=1e-6)
    assert clip_gradients(policy, critic, 1.0).item() == pytest.approx(2.0, rel=1e-4)
    assert norm(policy.model) == pytest.approx(1.0, rel=1e-4) and norm(critic) == pytest.approx(1.0, rel=1e-4)


def made(returns: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> experience.Batch:
    fields = dict.fromkeys(experience.Batch._fields, torch.zeros(()))
    return experience.Batch(**{**fields, "returns": returns, "old_values": values, "mask": mask})


def test_constant_returns_have_an_explained_variance_of_0():
    values, mask = torch.tensor([[0.3, -2.0, 9.0], [1.0, 5.0, 9.0]]), torch.tensor([[1, 1, 0], [1, 1, 0]]).bool()
    constants = torch.full((2, 3), 0.1)
    for returns in (constants, constants + 1e-8 * torch.tensor([0.0, 1.0, 0.0]), 0 * constants):
        assert experience.explained_variance(made(returns, values, mask)).item() == 0
    returns = torch.tensor([[1.0, 2.0, 70.0], [3.0, 6.0, -70.0]])
    expected = 1 - (returns - values)[mask].var() / returns[mask].var()
    assert experience.explained_variance(made(returns, values, mask)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert experience.explained_variance(made(returns, values, mask & False)).isnan()
    run = ppo(small(), constant(0.1), PROMPTS, replace(SMALL, kl_coef=0.0, lam=1.0))
    assert run.history["explained_variance"] == [0.0] * 3
