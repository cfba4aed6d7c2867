"""What an update of PPO and of GRPO share: minibatches, means of their metrics, and the check for numbers that are not finite."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from rlbook.language.distributed import any_rank, sum_over_ranks, world
from rlbook.language.result import Result


def minibatches(batch, config, generator: torch.Generator) -> Iterator[Tensor]:
    """Places of the rows of each minibatch, in a new random order every pass; none without a scored completion.

    Of several processes each has its own rows, which are its part of the minibatch; none is left out that one of them needs.
    """
    scored, count = batch.mask.any(-1).cpu(), len(batch.mask)
    for _ in range(config.passes):
        order = torch.randperm(count, generator=generator)
        for rows in order.split(count // config.num_mini_batches):
            if any_rank(bool(scored[rows].any())):
                yield rows


def check_finite(run: Result, metrics: dict[str, float], unscored: bool | None = None) -> None:
    """Raise ValueError unless the metrics of a step and the parameters after it are finite.

    NaN is right for the mean of no rewards, and for all that is learned in a step in which nothing was scored: None says that
    this is so where there is no reward.
    """
    unscored = math.isnan(metrics["reward"]) if unscored is None else unscored
    empty = {name for name in metrics if name.startswith("reward") or unscored and name not in ("kl", "objective/kl")}
    bad = {name: value for name, value in metrics.items()
           if not math.isfinite(value) and not (math.isnan(value) and name in empty)}
    for name, model in run.trained().items():
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            bad[f"parameters of the {name}"] = math.nan
    if bad:
        rates = "learning_rate" if run.critic is None else "learning_rate, critic_learning_rate"
        raise ValueError(f"the losses are not finite in step {run.steps + 1}: {bad}; a smaller {rates} or max_grad_norm keeps "
                         "the parameters from growing without limit, and smaller rewards keep losses in the range of float32")


def mean_metrics(found: list[tuple[float, dict[str, Tensor]]], metrics: dict[str, str]) -> dict[str, float]:
    """Mean of each metric over the minibatches, from (share of its minibatch, metrics of a part); NaN for no minibatch.

    metrics: what a part calls it -> its name in the history; what is not named is left out. Shares are of all ranks'
    minibatch, and so are the means.
    """
    steps = sum("grad_norm" in terms for _, terms in found)
    total = dict.fromkeys(metrics, 0.0)
    for share, terms in found:
        for name in total.keys() & terms.keys():
            total[name] += share * float(terms[name]) / steps
    sums = sum_over_ranks(torch.tensor(list(total.values()), dtype=torch.float64)).tolist()
    return {metrics[name]: value if steps else float("nan") for name, value in zip(total, sums, strict=True)}


def check_shares(config, groups: int) -> None:
    """Raise ValueError unless the prompts of a step, and then its minibatches, can be divided equally over the processes."""
    size = world()[1]
    if groups % size or config.batch_size // size % config.num_mini_batches:
        raise ValueError(f"{size} processes need equal shares of whole groups and minibatches: batch_size = {config.batch_size} "
                         f"is {groups} prompts, and num_mini_batches = {config.num_mini_batches}")
