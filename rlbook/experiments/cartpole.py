"""Learning curves on CartPole-v1, over seeds that no setting was chosen on."""

from dataclasses import asdict

import torch

from rlbook.control import VPGConfig, vpg
from rlbook.experiments import experiment, rounded

SEEDS = range(10, 20)  # settings were chosen on seeds 0 to 9


@experiment
def vpg_cartpole() -> dict:
    """`vpg` with R(τ) as the weight, at its default settings."""
    return learning_curves(VPGConfig(device="cpu"))


@experiment
def vpg_cartpole_discounted() -> dict:
    """The same with γ = 0.99: the customary discount, which makes 300 and 500 steps look almost alike."""
    return learning_curves(VPGConfig(device="cpu", gamma=0.99))


@experiment
def vpg_cartpole_normalized() -> dict:
    """The same with the weights divided by their standard deviation in every batch."""
    return learning_curves(VPGConfig(device="cpu", normalize_weights=True))


def learning_curves(config: VPGConfig) -> dict:
    """One run for each seed: the settings without the seed, and every metric of every run, to four digits."""
    settings = {name: value for name, value in asdict(config).items() if name != "seed"}
    runs = []
    for seed in SEEDS:
        history = vpg("CartPole-v1", VPGConfig(seed=seed, **settings)).history
        runs.append({"seed": seed, **{name: rounded(values) for name, values in history.items()}})
    return {"env_id": "CartPole-v1", "config": settings, "seeds": list(SEEDS), "runs": runs}


def loss_return_correlation(run: dict) -> float:
    """Pearson correlation, over the iterations of a run or history, of the loss with the return of its own batch."""
    pair = torch.tensor([run["losses/policy_loss"], run["charts/episodic_return"]], dtype=torch.float64)
    return torch.corrcoef(pair)[0, 1].item()
