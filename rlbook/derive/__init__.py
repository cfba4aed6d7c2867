"""Executable derivations: one sympy tree, read many ways.

    from rlbook.derive import *

gives an author the language (`language`) and what is done with it (`claims`): define, claim, derivation, refute.
"""
from . import advantages, grpo, language, passk, ratios, terms
from .advantages import *  # noqa: F403
from .algebra import Algebra
from .calculus import Calculus
from .cases import Cases, Less, Nonnegative, oo
from .claims import claim, define, derivation, refute
from .counts import Counts
from .decide import any_group, any_horizon, any_sample, any_size, any_trajectory, pass_fail, softmax, whole_trajectory
from .errors import IllFormed, Refuted, Undecided
from .gaussian import Gaussian, standard_normal
from .groups import Groups
from .grpo import *  # noqa: F403
from .induction import Induction
from .language import *  # noqa: F403
from .logits import Completions, Logits
from .mdp import FiniteMDP, On
from .normal import NormalPolicy
from .objective import Objective
from .passk import *  # noqa: F403
from .printing import latex
from .ratios import *  # noqa: F403
from .rewards import Rewards
from .terms import *  # noqa: F403

__all__ = ["any_group", "any_horizon", "any_sample", "any_size", "any_trajectory", "claim", "define", "derivation", "pass_fail",
           "refute", "softmax", "whole_trajectory", "IllFormed", "Refuted", "Undecided", "latex"]
__all__ += ["Algebra", "Cases", "Gaussian", "Induction", "Less", "Nonnegative", "oo", "standard_normal"]
INNER = ("sp", "MID", "head", "Bracket", "speaks_of_path", "misplaced", "PLACES", "OF_PATH")
__all__ += [name for name in vars(language) if not name.startswith("_") and name not in INNER]
__all__ += ["FiniteMDP", "On", "Calculus", "Completions", "Counts", "Groups", "Logits", "NormalPolicy", "Objective", "Rewards",
            *ratios.__all__, *terms.__all__, *grpo.__all__, *advantages.__all__, *passk.__all__]
