"""Policy optimization on Gymnasium's environments: one readable loop for each algorithm."""

from rlbook.control.config import PPOConfig, VPGConfig
from rlbook.control.critic import ValueNetwork
from rlbook.control.evaluation import evaluate
from rlbook.control.policies import CategoricalPolicy, GaussianPolicy
from rlbook.control.ppo import ppo, ppo_step
from rlbook.control.record import Record, solved
from rlbook.control.result import Result, load
from rlbook.control.rollouts import Episodes, collect, make_envs
from rlbook.control.segments import Position, Segment, collect_segment, reset_position
from rlbook.control.vpg import policy_gradient_step, vpg
from rlbook.control.weights import WEIGHTS

__all__ = ["WEIGHTS", "CategoricalPolicy", "Episodes", "GaussianPolicy", "PPOConfig", "Position", "Record", "Result", "Segment",
           "VPGConfig", "ValueNetwork", "collect", "collect_segment", "evaluate", "load", "make_envs", "policy_gradient_step",
           "ppo", "ppo_step", "reset_position", "solved", "vpg"]
