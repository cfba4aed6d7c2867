"""What the functions of `rlbook.exact` accept, checked."""

import torch
from torch import Tensor

from rlbook.exact.mdp import MDP, Trajectories


def log_policy(mdp: MDP, logits: Tensor) -> Tensor:
    """log π_θ(a|s) as a table [S, A]."""
    check_logits(mdp, logits)
    return logits.log_softmax(dim=-1)


def check_logits(mdp: MDP, logits: Tensor) -> None:
    shape = (mdp.num_states, mdp.num_actions)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        raise ValueError(f"logits must be [S, A] = {shape}, got {describe(logits)}")
    if logits.dtype != mdp.reward.dtype or logits.device != mdp.reward.device:
        raise ValueError(f"logits are {logits.dtype} on {logits.device}, but the MDP is {mdp.reward.dtype} "
                         f"on {mdp.reward.device}")


def check_batch(mdp: MDP, batch: Trajectories) -> None:
    """Raise ValueError unless states [N, T+2] and actions [N, T+1] index the MDP's."""
    states, actions = getattr(batch, "states", None), getattr(batch, "actions", None)
    for name, shape, values, count in (("states", "[N, T+2]", states, mdp.num_states),
                                       ("actions", "[N, T+1]", actions, mdp.num_actions)):
        if not isinstance(values, Tensor) or values.dim() != 2 or values.dtype != torch.int64:
            raise ValueError(f"{name} must be a tensor {shape} of int64, got {describe(values)}")
        if values.device != mdp.reward.device:
            raise ValueError(f"{name} are on {values.device}, but the MDP is on {mdp.reward.device}")
        outside = (values < 0) | (values >= count)
        if outside.any():
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {values[outside][0].item()}")
    if states.shape != (len(actions), actions.shape[1] + 1):
        raise ValueError(f"states [N, T+2] and actions [N, T+1] disagree: {tuple(states.shape)} and {tuple(actions.shape)}")


def check_weights(mdp: MDP, batch: Trajectories, weights: Tensor) -> None:
    shape, like = tuple(batch.actions.shape), mdp.reward
    if not isinstance(weights, Tensor) or tuple(weights.shape) not in (shape, shape[:1]):
        raise ValueError(f"weights must be a tensor [N] or [N, T+1] with [N, T+1] = {shape}, got {describe(weights)}")
    if weights.dtype != like.dtype or weights.device != like.device:
        raise ValueError(f"weights are {weights.dtype} on {weights.device}, but the MDP is {like.dtype} on {like.device}")


def check_generator(mdp: MDP, generator: torch.Generator | None) -> None:
    if generator is None:
        return
    device = mdp.reward.device
    if not isinstance(generator, torch.Generator) or generator.device.type != device.type:
        raise ValueError(f"generator must be a torch.Generator on {device}, got {generator!r}")


def describe(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def check_horizon(mdp: MDP, batch: Trajectories) -> None:
    """Raise ValueError unless the batch fits the MDP and its trajectories are as long as the horizon says."""
    check_batch(mdp, batch)
    rewards, shape = getattr(batch, "rewards", None), (len(batch.actions), mdp.horizon + 1)
    for name, values in (("actions", batch.actions), ("rewards", rewards)):
        if not isinstance(values, Tensor) or tuple(values.shape) != shape:
            raise ValueError(f"{name} must be [N, T+1] = {shape} for a horizon of T = {mdp.horizon}, got {describe(values)}")
    if rewards.dtype != mdp.reward.dtype or rewards.device != mdp.reward.device:
        raise ValueError(f"rewards are {rewards.dtype} on {rewards.device}, but the MDP is {mdp.reward.dtype} "
                         f"on {mdp.reward.device}")


def table_over_time(mdp: MDP, name: str, table: Tensor) -> Tensor:
    """A table [S], [T+1, S] or [T+2, S] as [T+1, S]: one row for each action's time, the row of the end left out."""
    steps, states = mdp.horizon + 1, mdp.num_states
    if not isinstance(table, Tensor) or tuple(table.shape) not in ((states,), (steps, states), (steps + 1, states)):
        raise ValueError(f"{name} must be a table [S] = {(states,)}, [T+1, S] = {(steps, states)} or [T+2, S], "
                         f"got {describe(table)}")
    if table.dtype != mdp.reward.dtype or table.device != mdp.reward.device:
        raise ValueError(f"{name} is {table.dtype} on {table.device}, but the MDP is {mdp.reward.dtype} "
                         f"on {mdp.reward.device}")
    return table.expand(steps, states) if table.dim() == 1 else table[:steps]


def critic_table(mdp: MDP, critic: Tensor) -> Tensor:
    """A critic [S], [T+1, S] or [T+2, S] as [T+2, S] with a last row of zeros: after the end there is nothing to come."""
    table = table_over_time(mdp, "critic", critic)
    if critic.dim() == 2 and len(critic) == mdp.horizon + 2 and (critic[-1] != 0).any():
        raise ValueError(f"the last row of a critic [T+2, S] is the value of the end and must be 0, got {critic[-1].tolist()}")
    return torch.cat([table, torch.zeros_like(table[:1])])
