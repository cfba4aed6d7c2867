"""Policy optimization on Gymnasium's environments: one readable loop for each algorithm."""

from rlbook.control.policies import CategoricalPolicy
from rlbook.control.rollouts import Episodes, collect, make_envs
from rlbook.control.vpg import Result, VPGConfig, load, policy_gradient_step, vpg

__all__ = ["CategoricalPolicy", "Episodes", "Result", "VPGConfig", "collect", "load", "make_envs", "policy_gradient_step", "vpg"]
