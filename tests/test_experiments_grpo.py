"""The experiments of chapters 11 to 13: the base model, what their logs say, and that their parts do what they are called."""

import itertools
from statistics import fmean, median

import pytest
import torch

from rlbook import exact, experiments
from rlbook.experiments import addition as grpo_module
from rlbook.experiments import cost, credit, ppo_against_grpo, variants
from rlbook.language.config import GRPOConfig, PPOConfig
from rlbook.language.tasks import addition

TINY = {"batch_size": 16, "max_completion_length": 4, "num_mini_batches": 1}


@pytest.fixture(scope="module")
def base():
    return addition.base()


# ---- the base model

def test_the_base_is_small_and_made_by_this_code(base):
    from safetensors import safe_open

    assert addition.BASE.stat().st_size <= 300_000
    with safe_open(addition.BASE, "pt") as file:
        said = file.metadata()
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118  (no mapping)
    assert said["code"] == experiments.code_hash(addition.train_base), "the code of the base has changed: run `make base`"
    assert said["seed"] == "0" and not any("/" in value for value in said.values())
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in base.model.parameters()) == 132_736 and not base.model.training


def test_the_base_can_add_and_often_does_not(base):
    found = grpo_module.measure(base, base, num_samples=8)
    assert 0.35 < found["pass_at"][0] < 0.7 and found["greedy"] > 0.97 and found["kl"] == 0
    assert found["pass_at"] == sorted(found["pass_at"]) and len(found["pass_at"]) == 4 and found["pass_at"][3] > 0.97


def test_a_base_is_trained_saved_and_loaded(tmp_path):
    made = addition.train_base(seed=3, steps=2, batch_size=8)
    again = addition.train_base(seed=3, steps=2, batch_size=8)
    other = addition.train_base(seed=4, steps=2, batch_size=8)
    first, second, third = (torch.nn.utils.parameters_to_vector(each.model.parameters()) for each in (made, again, other))
    assert torch.equal(first, second) and not torch.equal(first, third)
    addition.save_base(made, tmp_path / "base.safetensors", {"seed": "3"})
    loaded = torch.nn.utils.parameters_to_vector(addition.load_base(tmp_path / "base.safetensors").model.parameters())
    assert torch.equal(loaded, first.half().float())


def test_what_is_no_base_is_refused(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("no weights")
    save_file({"embed_tokens.weight": torch.zeros(2, 2)}, tmp_path / "other")
    for name in ("nothing", "text", "other"):
        with pytest.raises(ValueError, match="holds no base model of the addition task"):
            addition.load_base(tmp_path / name)


def test_make_base_writes_the_file(monkeypatch, tmp_path):
    train = addition.train_base
    monkeypatch.setattr(addition, "BASE", tmp_path / "base.safetensors")
    monkeypatch.setattr(addition, "train_base", lambda seed: train(seed, steps=1, batch_size=4))
    monkeypatch.setattr(grpo_module, "NUM_PROBLEMS", 8)
    monkeypatch.setattr(grpo_module, "code_hash", lambda function: "hash")
    said = grpo_module.write_base()
    assert said["code"] == "hash" and 0 <= float(said["sampled"]) < 0.5 and addition.base().model is not None


# ---- addition

def test_a_run_of_grpo_is_measured_before_and_after(base):
    found = grpo_module.improve(base, 5, num_samples=4, num_problems=16, max_steps=2, batch_size=32)
    assert found["seed"] == 5 and len(found["reward"]) == 2 and found["cpu_seconds"] > 0
    assert found["before"]["kl"] == 0 < found["after"]["kl"] < 1 and len(found["after"]["pass_at"]) == 3
    assert set(grpo_module.KEPT) <= found.keys()


def test_entropy_and_kl_are_those_of_the_next_token(base):
    """On one prompt, against sums over the vocabulary written out."""
    other = addition.train_base(seed=1, steps=1, batch_size=4)
    entropy, kl = grpo_module.entropy_and_kl(base, other, ["7 3 + 5 8 ="], num_samples=1)
    ids, mask = addition_ids(base, ["7 3 + 5 8 ="])
    answer = grpo_module.generate(base.model, ids, mask, 4, generator=torch.Generator().manual_seed(0), eos_token_id=2,
                                  pad_token_id=0)
    row, parts = torch.cat([ids, answer.ids], 1), []
    with torch.no_grad():
        for t in range(int(answer.mask.sum())):
            p, q = (each.model(row[:, :7 + t]).logits[0, -1].double().softmax(-1) for each in (base, other))
            parts.append((-(p * p.log()).sum().item(), (p * (p / q).log()).sum().item()))
    assert entropy == pytest.approx(sum(h for h, _ in parts) / len(parts), abs=1e-5)
    assert kl == pytest.approx(sum(k for _, k in parts), abs=1e-4)


def addition_ids(policy, prompts):
    return grpo_module.encode_prompts(policy.tokenizer, prompts)


# ---- cost

@pytest.mark.parametrize("change", [
    {"num_ppo_epochs": 1}, {"num_ppo_epochs": 3}, {"num_generations": 8}, {"num_generations": 2, "num_iterations": 2},
    {"num_generations": 4, "beta": 0.1}], ids=str)
def test_passes_and_bytes_are_those_of_the_formulas(base, change):
    settings = {**TINY, **change}
    counted = cost.count_tokens(base, 0, settings)
    assert counted.pop("completion_tokens") <= 64
    assert counted == cost.predicted_tokens(settings)
    assert cost.held_bytes(cost.last_result(base, 0, settings, 1)) == cost.predicted_bytes(base, settings)


def test_work_counts_a_backward_pass_twice():
    ppo_tokens = cost.predicted_tokens({**TINY, "num_ppo_epochs": 1})
    grpo_tokens = cost.predicted_tokens({**TINY, "num_generations": 8})
    # PPO reads 16 (7 + 4) tokens in the reference, in the critic, and three times over in each network's update
    assert cost.work(ppo_tokens) == 16 * 7 + 16 * 3 + 16 * 11 * (1 + 1 + 3 + 3)
    assert cost.work(grpo_tokens) == (2 * 7 + 16 * 3) * 4


def test_seconds_and_peak_are_measured(base):
    settings = {**TINY, "num_generations": 4}
    rates = cost.seconds_per_token(base, repeats=1)
    assert 0 < rates["read"] < 0.01 and 0 < rates["learn"] < 0.01 and 0 < rates["learn_shared"] < 0.01
    found = cost.cost_of_step(base, 0, settings, {"read": 1e-6, "decode": 1e-5, "learn_shared": 1e-4, "rest": 1e-3}, num_steps=2)
    assert found["tokens"] == found["tokens_counted"] and found["bytes"] == found["bytes_counted"] and found["seconds"] > 0
    assert found["seconds_predicted"] == pytest.approx(28e-6 + 48e-5 + 76e-4 + 1e-3, rel=1e-3)
    gradients_and_keys = 4 * 132_736 + 16 * 10 * 2 * 2 * 64 * 4
    assert gradients_and_keys < found["peak_bytes"] < 100 * gradients_and_keys


# ---- credit

def test_the_variance_of_a_group_is_that_of_all_groups():
    mdp, logits = credit.token_mdp(2, "exact match"), credit.token_logits(2, 0.7)
    every = exact.trajectories(mdp)
    chance, total = exact.log_probs(mdp, every, logits).exp(), every.rewards.sum(-1)
    score = exact.step_scores(mdp, every, logits).sum(1)
    for size in (2, 3):
        mean, square = torch.zeros(score.shape[1], dtype=torch.float64), 0.0
        for group in itertools.product(range(len(chance)), repeat=size):
            rows = list(group)
            others = (total[rows].sum() - total[rows]) / (size - 1)
            estimate = ((total[rows] - others)[:, None] * score[rows]).mean(0)
            probability = chance[rows].prod()
            mean, square = mean + probability * estimate, square + probability * estimate.square().sum()
        expected = size * (square - mean.square().sum())
        torch.testing.assert_close(credit.group_variance(mdp, logits, size), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(mean, exact.gradient(mdp, logits).flatten(), rtol=1e-10, atol=1e-12)


def test_dense_and_terminal_rewards_have_one_gradient():
    logits = credit.token_logits(3, 0.6)
    dense, terminal = (credit.token_mdp(3, name) for name in ("dense", "terminal"))
    torch.testing.assert_close(exact.gradient(dense, logits), exact.gradient(terminal, logits), rtol=1e-12, atol=1e-14)
    assert exact.expected_return(credit.token_mdp(3, "exact match"), logits).item() == pytest.approx(0.6**3)


def test_what_decides_is_the_critic_and_what_it_is_told():
    """The figures the text relies on, for 4 tokens."""
    dense, terminal = (credit.compare_credit(4, name) for name in ("dense", "terminal"))
    for rows in (dense, terminal):
        assert all(rows[name]["squared_bias"] < 1e-20 for name in rows if name.endswith(("λ=1", "8", "to go")))
        sizes = [rows[f"group of {size}"]["variance"] for size in (2, 4, 8, 16)]
        assert sizes == sorted(sizes, reverse=True) and sizes[-1] > rows["perfect, λ=1"]["variance"]
        assert rows["perfect, λ=0"]["variance"] < rows["perfect, λ=1"]["variance"] / 4
        assert rows["zero, λ=1"]["variance"] > rows["group of 2"]["variance"]
    assert dense["group, to go"]["variance"] == pytest.approx(dense["perfect, λ=1"]["variance"])
    assert dense["group of 8"] == pytest.approx(terminal["group of 8"])   # the sum is all that a group compares
    assert terminal["zero, λ=0"]["squared_bias"] > 0.8 > 0.01 > dense["zero, λ=0"]["squared_bias"]


def test_credit_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="rewards must be one of"):
        credit.token_mdp(2, "sparse")
    with pytest.raises(ValueError, match="length must be an integer >= 1"):
        credit.token_mdp(0, "dense")
    with pytest.raises(ValueError, match="probability in"):
        credit.token_logits(2, 1.0)
    mdp = credit.token_mdp(2, "dense")
    with pytest.raises(ValueError, match="critic must be one of"):
        credit.critic(mdp, 0.5, "good")
    with pytest.raises(ValueError, match="num_generations"):
        credit.group_variance(mdp, credit.token_logits(2, 0.5), 1)


# ---- comparisons

@pytest.fixture
def few(monkeypatch):
    """Measurements on few problems."""
    measure = grpo_module.measure
    monkeypatch.setattr(ppo_against_grpo, "measure", lambda policy, base: measure(policy, base, 2, 8))


def test_both_algorithms_run_on_the_same_terms(base, few):
    runs = [ppo_against_grpo.compare(base, 1, name, max_steps=2, batch_size=16) for name in ("ppo", "grpo")]
    assert [run["algorithm"] for run in runs] == ["ppo", "grpo"] and "explained_variance" in runs[0].keys() - runs[1].keys()
    assert all(len(run["reward"]) == 2 and run["after"]["kl"] > 0 for run in runs)
    assert set(ppo_against_grpo.PPO) < set(PPOConfig.__dataclass_fields__)
    same = ("batch_size", "max_completion_length", "learning_rate", "num_mini_batches")
    assert all(ppo_against_grpo.PPO[name] == grpo_module.RECIPE[name] for name in same)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_is_a_setting_of_one_function(base, few, name):
    assert set(variants.VARIANTS[name]) <= set(GRPOConfig.__dataclass_fields__)
    run = ppo_against_grpo.compare(base, 1, "grpo", **{**variants.VARIANTS[name], "max_steps": 1, "batch_size": 16})
    assert len(run["reward"]) == 1 and run["num_tokens"] >= 16 * 11 // 8


def test_the_table_holds_means_over_seeds():
    run = {"frac_reward_zero_std": [0.5] * 12, "num_tokens": 3000, "cpu_seconds": 2.0}
    after = {"greedy": 1.0, "entropy": 0.2, "kl": 0.3, "length": 4.0}
    runs = [{**run, "variant": "a", "after": {**after, "pass_at": [accuracy]}} for accuracy in (0.8, 0.9)]
    row, = variants.table({"runs": runs, "variants": {"a": {}}})
    assert row["pass@1"] == pytest.approx(0.85) and (row["least"], row["most"]) == (0.8, 0.9) and row["kilotokens"] == 3


# ---- what the logs say

def runs_of(name, **chosen):
    """The runs of a log with these settings."""
    found = [run for run in experiments.load(name)["runs"] if all(run.get(key) == value for key, value in chosen.items())]
    assert found
    return found


def pass_at_1(runs):
    return fmean(run["after"]["pass_at"][0] for run in runs)


def test_grpo_reaches_its_goal_on_fresh_bases_within_thirty_seconds():
    log = experiments.load("addition_grpo")
    after = [run["after"]["pass_at"][0] for run in log["runs"]]
    assert len(log["bases"]) == 3 and 0 not in log["bases"] and not {0, 1} & set(log["seeds"])
    assert min(after) >= 0.80 and median(after) >= 0.85 and max(run["cpu_seconds"] for run in log["runs"]) <= 30
    for run in log["runs"]:
        assert 0.35 < run["before"]["pass_at"][0] < 0.7 and len(run["reward"]) == 100
        assert run["frac_reward_zero_std"][0] < 0.05 and fmean(run["frac_reward_zero_std"][-10:]) > 0.5
        assert fmean(run["entropy"][-10:]) < run["entropy"][0] / 3


def test_rl_sharpens():
    """One sample is right much more often; of 32, none was ever missing, so there is nothing to gain."""
    for run in experiments.load("addition_grpo")["runs"]:
        before, after = run["before"]["pass_at"], run["after"]["pass_at"]
        assert after[0] > before[0] + 0.3 and after[-1] <= before[-1] and abs(after[3] - before[3]) < 0.02
        assert before[0] + 0.3 < run["before"]["majority"] and run["after"]["greedy"] < run["before"]["greedy"] + 0.02


def test_the_learning_rate_has_a_cliff():
    slow, right, fast, mad = (runs_of("addition_learning_rate", learning_rate=rate) for rate in grpo_module.RATES)
    assert pass_at_1(slow) < pass_at_1(right) - 0.05 and max(run["after"]["pass_at"][0] for run in mad) < 0.05
    assert all(run["reward"][3] < 0.05 for run in mad)       # it takes three steps
    assert max(run["after"]["greedy"] for run in fast) < min(run["after"]["greedy"] for run in right)


def test_ppo_and_grpo_end_alike_and_ppo_costs_more():
    by_ppo = [run for run in runs_of("ppo_against_grpo", algorithm="ppo") if "vf_coef" not in run]
    by_grpo = [run for run in runs_of("ppo_against_grpo", algorithm="grpo") if "batch_size" not in run]
    assert [run["seed"] for run in by_ppo] == [run["seed"] for run in by_grpo] == list(ppo_against_grpo.SEEDS)
    assert abs(pass_at_1(by_ppo) - pass_at_1(by_grpo)) < 0.02
    assert all(1.5 < p["cpu_seconds"] / g["cpu_seconds"] for p, g in zip(by_ppo, by_grpo, strict=True))
    assert all(abs(p["num_tokens"] / g["num_tokens"] - 1) < 0.001 for p, g in zip(by_ppo, by_grpo, strict=True))
    more = runs_of("ppo_against_grpo", batch_size=1024)
    assert pass_at_1(more) > pass_at_1(by_ppo)
    assert max(run["cpu_seconds"] for run in more) < min(run["cpu_seconds"] for run in by_ppo)


def test_the_critic_learned_nothing_in_forty_steps():
    by_ppo = [run for run in runs_of("ppo_against_grpo", algorithm="ppo") if "vf_coef" not in run]
    assert all(abs(value) < 0.1 for run in by_ppo for value in run["explained_variance"][10:])
    assert abs(pass_at_1(runs_of("ppo_against_grpo", vf_coef=0.0)) - pass_at_1(by_ppo)) < 0.01


def test_a_larger_group_is_dead_less_often_and_no_better():
    chosen = {size: runs_of("group_size", num_generations=size, ent_coef=0.0) for size in ppo_against_grpo.SIZES}
    dead = [fmean(fmean(run["frac_reward_zero_std"][-10:]) for run in runs) for runs in chosen.values()]
    assert dead == sorted(dead, reverse=True) and dead[0] > 0.7 and dead[-1] < 0.3
    ends = [pass_at_1(runs) for runs in chosen.values()]
    assert max(ends) - min(ends) < 0.03 and all(run["after"]["pass_at"][-1] > 0.99 for runs in chosen.values() for run in runs)


def test_dynamic_sampling_pays_with_tokens():
    rows = {row["variant"]: row for row in variants.table(experiments.load("grpo_variants"))}
    assert list(rows) == list(variants.VARIANTS) and all(3.99 < row["length"] <= 4.01 for row in rows.values())
    assert rows["dapo"]["pass@1"] > rows["grpo"]["pass@1"] and rows["dapo"]["kilotokens"] > 1.2 * rows["grpo"]["kilotokens"]
    assert all(abs(row["pass@1"] - rows["grpo"]["pass@1"]) < 0.03 for row in rows.values())


def test_costs_are_those_of_the_formulas():
    log = experiments.load("ppo_grpo_cost")
    for name in log["algorithms"]:
        runs = [run for run in log["runs"] if run["algorithm"] == name]
        assert all(run["tokens"] == run["tokens_counted"] and run["bytes"] == run["bytes_counted"] for run in runs)
        assert 0.7 < median(run["seconds_predicted"] / run["seconds"] for run in runs) < 1.3
