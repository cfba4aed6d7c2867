"""PPO on CartPole-v1 until it is solved: rlbook's loop and Stable-Baselines3's, in seconds of processor time.

Solved: the mean return of the last 100 episodes has reached 475. rlbook runs with `PPOConfig()` as it stands, Stable-Baselines3
with what RL Baselines3 Zoo has tuned for it. Each run is a process of its own with one thread. Imports are left out of the
time, and the first optimizer, which imports another part of torch, is made before it begins; environments, networks, rollouts
and updates are in it. Both take turns, and who is first alternates from seed to seed.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from rlbook import control, experiments
from rlbook.control import PPOConfig
from tests.bench import common

ROOT = Path(__file__).resolve().parents[2]
ENV_ID, THRESHOLD, WINDOW = "CartPole-v1", 475.0, 100
SEEDS = range(320, 330)              # no setting was chosen on these
BASE = "stable-baselines3"
NAMES = ("rlbook", BASE)
PACKAGES = ("gymnasium", "numpy", "stable-baselines3", "torch")
SB3 = {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0}
SB3_ENVS, SB3_STEPS, SB3_RATE, SB3_CLIP = 8, 100_000, 1e-3, 0.2      # rate and clip fall linearly to 0


def rlbook_run(seed: int) -> tuple[float, int, int | None]:
    """(CPU seconds, steps taken, step at which it was solved or None) of `ppo` with its default settings."""
    def callback(run: control.Result) -> bool:
        return control.solved(run.episodes, THRESHOLD, WINDOW) is not None

    start = time.process_time()
    run = control.ppo(ENV_ID, PPOConfig(seed=seed, device="cpu"), callback=callback)
    return time.process_time() - start, run.history["global_step"][-1], control.solved(run.episodes, THRESHOLD, WINDOW)


def sb3_run(seed: int) -> tuple[float, int, int | None]:
    """The same of Stable-Baselines3."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    class UntilSolved(BaseCallback):
        """Stops the run in the step in which the last 100 episodes reach the threshold."""

        def _init_callback(self) -> None:
            self.returns, self.at = deque(maxlen=WINDOW), None

        def _on_step(self) -> bool:
            if self.locals["dones"].any():
                self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
                if len(self.returns) == WINDOW and statistics.fmean(self.returns) >= THRESHOLD:
                    self.at = self.num_timesteps
            return self.at is None

    start = time.process_time()
    callback = UntilSolved()
    model = PPO("MlpPolicy", make_vec_env(ENV_ID, SB3_ENVS, seed=seed), learning_rate=lambda left: SB3_RATE * left,
                clip_range=lambda left: SB3_CLIP * left, seed=seed, device="cpu", **SB3)
    model.learn(SB3_STEPS, callback=callback)
    return time.process_time() - start, model.num_timesteps, callback.at


RUNS: dict[str, Callable[[int], tuple[float, int, int | None]]] = {"rlbook": rlbook_run, BASE: sb3_run}


def one(name: str, seed: int) -> dict:
    """One run in this process, as the log holds it."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    if name == BASE:
        import stable_baselines3  # noqa: F401  (outside the time)
    seconds, steps, solved_at = RUNS[name](seed)
    return {"name": name, "seconds": round(seconds, 3), "seed": seed, "solved_at": solved_at, "steps": steps}


def elsewhere(name: str, seed: int) -> dict:
    """The same in a new process with one thread. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.bench.cartpole", name, str(seed)], cwd=ROOT, env=environment,
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict:
    """Run both on every seed, in turn; returns what the log holds. Raises RuntimeError if the code changed meanwhile."""
    made, runs = common.made_by(control.ppo, PACKAGES), []
    for k, seed in enumerate(SEEDS):
        runs += [elsewhere(name, seed) for name in (NAMES if k % 2 == 0 else NAMES[::-1])]
    theirs = {**SB3, "clip_range": f"linear from {SB3_CLIP}", "learning_rate": f"linear from {SB3_RATE}", "n_envs": SB3_ENVS,
              "total_timesteps": SB3_STEPS}
    ours = {name: value for name, value in asdict(PPOConfig(device="cpu")).items() if name != "seed"}
    settings = {"env_id": ENV_ID, "rlbook": ours, BASE: theirs, "threshold": THRESHOLD, "window": WINDOW}
    if common.made_by(control.ppo, PACKAGES) != made:
        raise RuntimeError("the code of ppo changed while it was measured: run the bench again")
    return {**made, "base": BASE, "clock": common.CLOCK["cpu"], "results": runs,
            "seeds": list(SEEDS), "settings": settings, "summary": summary(runs)}


def summary(runs: list[dict]) -> dict:
    """How many runs were solved, [least, median, most] of seconds and of steps of each, and of the ratios seed by seed."""
    by_name = {name: {run["seed"]: run for run in runs if run["name"] == name} for name in NAMES}
    found: dict = {}
    for name, taken in by_name.items():
        found[name] = {"solved": sum(run["solved_at"] is not None for run in taken.values()), "runs": len(taken),
                       **{what: spread([run[what] for run in taken.values()]) for what in ("seconds", "steps")}}
    ours, base = by_name["rlbook"], by_name[BASE]
    for what in ("seconds", "steps"):
        found[f"{what}_ratio"] = spread([ours[seed][what] / base[seed][what] for seed in ours])
    return found


def spread(values: list[float]) -> list[float]:
    """[least, median, most], to four digits."""
    return experiments.rounded([min(values), statistics.median(values), max(values)])


def report(log: dict) -> str:
    """The log's summary as plain lines for the terminal."""
    lines = [f"{name}: {found}" for name, found in log["summary"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
