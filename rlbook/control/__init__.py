"""Policy optimization on Gymnasium's environments: one readable loop for each algorithm."""

from rlbook.control.config import VPGConfig
from rlbook.control.critic import ValueNetwork
from rlbook.control.policies import CategoricalPolicy
from rlbook.control.result import Result, load
from rlbook.control.rollouts import Episodes, collect, make_envs
from rlbook.control.segments import Position, Segment, collect_segment, reset_position
from rlbook.control.vpg import policy_gradient_step, vpg
from rlbook.control.weights import WEIGHTS

__all__ = ["WEIGHTS", "CategoricalPolicy", "Episodes", "Position", "Result", "Segment", "VPGConfig", "ValueNetwork", "collect",
           "collect_segment", "load", "make_envs", "policy_gradient_step", "reset_position", "vpg"]
