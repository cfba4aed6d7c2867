"""What happened in the environments of a run: its episodes, and the actions that bring equal environments to the same place.

Gymnasium has no way to save an environment. Its environments are deterministic once seeded, so the actions are enough:
`Record.replay` takes new ones, seeded as the old ones were, through all of them again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from rlbook.control.segments import Position, Segment, action_limit, reset_position
from rlbook.returns import check_integer

EPISODES = ("global_step", "return", "length")


class Record:
    """The run of N environments so far, segment by segment.

    episodes: of every episode that ended, in order, the steps of all environments up to and including the time step of
    its end ("global_step"), its undiscounted return ("return") and its number of steps ("length"); actions: of each
    segment, [N, T+1] or [N, T+1, A]; position: where the environments stand, None before the first segment; returns,
    lengths [N]: of the episodes under way. Made-up steps are no steps: they count in none of these.
    """

    def __init__(self, num_envs: int) -> None:
        self.episodes: dict[str, list] = {name: [] for name in EPISODES}
        self.actions: list[np.ndarray] = []
        self.position: Position | None = None
        self.returns = np.zeros(num_envs)
        self.lengths = np.zeros(num_envs, dtype=np.int64)
        self.global_step = 0

    def add(self, segment: Segment, position: Position) -> slice:
        """Take in the next segment and where it led; returns which of the episodes ended in it."""
        before, valid = len(self.episodes["return"]), segment.valid.numpy()
        earned = np.cumsum(segment.rewards.numpy(), axis=1, dtype=np.float64)
        taken, steps = np.cumsum(valid, axis=1), self.global_step + np.cumsum(valid.sum(axis=0))
        ended = (segment.terminated | segment.truncated).numpy()
        gone, spent = np.zeros_like(self.returns), np.zeros_like(self.lengths)  # of episodes that ended in the segment
        for t, i in np.argwhere(ended.T).tolist():
            values = (int(steps[t]), float(self.returns[i] + earned[i, t] - gone[i]),
                      int(self.lengths[i] + taken[i, t] - spent[i]))
            for name, value in zip(EPISODES, values, strict=True):
                self.episodes[name].append(value)
            self.returns[i], self.lengths[i], gone[i], spent[i] = 0.0, 0, earned[i, t], taken[i, t]
        self.returns += earned[:, -1] - gone
        self.lengths += taken[:, -1] - spent
        self.global_step, self.position = int(steps[-1]), position
        actions = segment.actions.numpy()
        few = actions.dtype.kind == "i" and actions.max() < 256
        self.actions.append(actions.astype(np.uint8) if few else actions)
        return slice(before, len(self.episodes["return"]))

    def replay(self, envs: VectorEnv, seed: int) -> Position:
        """Reset the environments with the seed of the run and bring them to where it stands; returns that position.

        Takes as long as the environments take for these steps, without any learning. Raises ValueError unless the last
        observations are equal to those recorded, bit for bit, as an environment with other random states, or another
        version of one, would show.
        """
        position, limit = reset_position(envs, seed), action_limit(envs)
        if self.position is None:
            return position
        observation, ended = position
        for segment in self.actions:
            actions = segment.astype(envs.single_action_space.dtype)
            for t in range(actions.shape[1]):
                observation, _, terminated, truncated, _ = envs.step(limit(actions[:, t]))
                ended = terminated | truncated
        same = np.array_equal(observation, self.position.observation) and np.array_equal(ended, self.position.ended)
        if not same:
            raise ValueError("the environments cannot be brought back to where the run stopped: stepped through the same "
                             "actions they ended elsewhere, so they are another version or not deterministic once seeded")
        return Position(np.array(observation), np.array(ended))

    def state(self) -> dict:
        """Everything, as tensors and plain lists, copied."""
        state = {"episodes": {name: list(values) for name, values in self.episodes.items()}, "global_step": self.global_step,
                 "returns": torch.tensor(self.returns), "lengths": torch.tensor(self.lengths),
                 "actions": [torch.tensor(actions) for actions in self.actions]}
        if self.position is not None:
            state |= {"observation": torch.tensor(self.position.observation), "ended": torch.tensor(self.position.ended)}
        return state

    def set_state(self, state: dict) -> None:
        """Take over what `state` gave. Raises ValueError or KeyError for something else."""
        episodes = state["episodes"]
        if set(episodes) != set(EPISODES) or len({len(values) for values in episodes.values()}) != 1:
            raise ValueError(f"episodes must hold {list(EPISODES)}, equally many of each")
        if state["returns"].shape != self.returns.shape or state["lengths"].shape != self.lengths.shape:
            raise ValueError(f"a record of {len(self.returns)} environments must have one return and one length for each")
        if len(state["actions"]) > 0 and "observation" not in state:
            raise ValueError("a record with actions must say where they led")
        self.episodes = {name: list(values) for name, values in episodes.items()}
        self.global_step = state["global_step"]
        self.returns, self.lengths = state["returns"].numpy().copy(), state["lengths"].numpy().copy()
        self.actions = [actions.numpy().copy() for actions in state["actions"]]
        if "observation" in state:
            self.position = Position(state["observation"].numpy().copy(), state["ended"].numpy().copy())


def solved(episodes: Mapping[str, Sequence], threshold: float, window: int = 100) -> int | None:
    """The step at which the mean return of the last `window` episodes first reached the threshold; None if it did not.

    episodes: those of `Result.episodes`, in the order in which they ended. Fewer than `window` episodes solve nothing.
    Raises ValueError for a window that is no integer >= 1.
    """
    check_integer("window", window, 1)
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(episodes["return"], dtype=np.float64))])
    reached = np.flatnonzero((sums[window:] - sums[:-window]) / window >= threshold) if len(sums) > window else []
    return episodes["global_step"][reached[0] + window - 1] if len(reached) else None
