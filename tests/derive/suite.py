"""The tests of the provers in one process, fast: what a change of a prover must not survive.

    true       every claim of the catalogue and of the book is still proved
    refused    no near miss is proved, and what means nothing is refused
    sound      no mutant of a claim is proved that the independent reader finds false
    carriers   the arithmetic of polynomials, dual numbers and random points
"""
from itertools import islice

from rlbook.derive import mutate
from rlbook.derive.calculus import Calculus
from rlbook.derive.carriers import Point
from rlbook.derive.claims import Claim
from rlbook.derive.counts import Counts
from rlbook.derive.decide import any_size
from rlbook.derive.errors import Undecided
from rlbook.derive.groups import Groups
from rlbook.derive.horizon import Horizon
from rlbook.derive.hypotheses import broken_world, needs
from rlbook.derive.language import N_togo, h, s_
from rlbook.derive.logits import Completions, Logits
from rlbook.derive.mdp import HYPOTHESES, FiniteMDP, On
from rlbook.derive.normal import NormalPolicy
from rlbook.derive.objective import Objective
from rlbook.derive.paths import Paths
from rlbook.derive.rewards import Rewards
from rlbook.derive.samples import IID
from rlbook.derive.softmax import Softmax
from rlbook.derive.sums import Sums

from . import near_misses, near_misses_grpo, near_misses_passk, near_misses_rewards, near_misses_terms, opinion, test_adversarial
from .catalogue import CLAIMS

HEAVY = {"iid/rloo-second-moment", "mdp/variance-of-score", "mdp/gae-unbiased", "mdp/variance-of-return", "mdp/gae-1-any-critic",
         "terms/objective-linear", "mdp/covariance", "mdp/two-steps", "gae/gradient-bias"}   # slow, or not about one step
ABOUT = {"sums": (Sums, Horizon), "softmax": (Softmax,), "samples": (IID,), "horizon": (Horizon,), "mdp": (On, IID),
         "names": (On,), "process": (On,), "carriers": (On,), "paths": (Paths,), "calculus": (Calculus,),
         "normal": (NormalPolicy,), "objective": (Objective,), "logits": (Logits, Completions), "groups": (Groups,),
         "rewards": (Rewards,), "roots": (Rewards,), "counts": (Counts,)}


def small(by):
    """On finite MDPs: a random point and one world in symbols, of two steps and of three sizes."""
    if not isinstance(by, On) or not by.general:
        return by
    return On(FiniteMDP(2, 3, 1, carrier=Point), FiniteMDP(1, 2, 2), FiniteMDP(2, 2, 0), FiniteMDP(1, 2, 1))


def check_true(kinds):
    provers = {}
    for claim in CLAIMS.values():
        if isinstance(claim.by, kinds) and claim.id not in HEAVY:
            by = provers.setdefault(id(claim.by), small(claim.by))
            assert all(by(*pair) == 0 for pair in claim.instances()), claim.id


def check_refused(kinds):
    with_provers = {**near_misses_terms.NEAR_MISSES, **near_misses_grpo.NEAR_MISSES, **near_misses_rewards.NEAR_MISSES,
                    **near_misses_passk.NEAR_MISSES}
    terms = [(rule, [(by, *pair) for pair in pairs]) for rule, (by, pairs) in with_provers.items()]
    for rule, cases in [*near_misses.NEAR_MISSES.items(), *terms]:
        for by, lhs, rhs in cases:
            if isinstance(by, kinds) and rule != "the step":
                try:
                    assert by(lhs, rhs) != 0, (rule, lhs, rhs)
                except mutate.ILL_FORMED:
                    pass
    meaningless = near_misses.MEANINGLESS + near_misses_terms.MEANINGLESS + near_misses_grpo.MEANINGLESS
    for by, lhs, rhs in meaningless + near_misses_rewards.MEANINGLESS + near_misses_passk.MEANINGLESS:
        if isinstance(by, kinds):
            try:
                by(lhs, rhs)
            except near_misses.REFUSALS:
                continue
            raise AssertionError(("refused", lhs, rhs))


def check_lemmas():
    """A lemma for every horizon must have been proved for every horizon."""
    assert must_fail(Undecided, lambda: Horizon(given=[Claim("weak", N_togo(h, s_), 1, any_size)]))


def check_levels():
    """The level is that of the last world; a prover without a world has none."""
    point, exact = FiniteMDP(1, 2, 0, carrier=Point), FiniteMDP(1, 2, 0)
    assert [On(point).level, On(point, exact).level, On(point, exact, exact).level, On(exact, point, point).level] == list("RFFR")
    assert must_fail(ValueError, On)


def must_fail(error, action):
    try:
        action()
    except error:
        return True
    return False


def check_sound(kinds, every):
    for claim in CLAIMS.values():
        if isinstance(claim.by, kinds) and claim.id not in HEAVY:
            by = mutate.quick(small(claim.by))
            for side, tree in (("left", claim.lhs), ("right", claim.rhs)):
                for _, mutant in islice(mutate.mutants(tree), 0, None, every):
                    pairs = mutate.pairs(claim, side, mutant)
                    if mutate.judge(by, pairs) == "survived":
                        assert opinion.agrees(claim.by, pairs), (claim.id, mutant)


def check_carriers():
    for name in ("derivation_of_polynomials", "division_must_be_exact", "a_gradient_is_linear_in_its_direction", "dual_numbers",
                 "a_point_carries_one_derivative", "a_point_is_random_and_far_from_zero", "a_witness_is_a_counterexample"):
        getattr(test_adversarial, "test_" + name)()


def check_step():
    """What is slow on two states: the step of gradient ascent, on one."""
    tiny = On(FiniteMDP(1, 2, 1))
    for _, lhs, rhs in near_misses.NEAR_MISSES["the step"]:
        try:
            assert tiny(lhs, rhs) != 0, (lhs, rhs)
        except mutate.ILL_FORMED:
            pass


def check_hypotheses():
    """What three equations use, and what they do not."""
    used = {"mdp/total-probability": (0, 1), "mdp/trajectory-score": (2, 3), "mdp/policy-gradient": (2, 3, 4)}
    assert must_fail(ValueError, lambda: FiniteMDP(broken=("the moon is round",)))
    for number, hypothesis in enumerate(HYPOTHESES):
        world = broken_world(hypothesis, 2, 2, 0)
        for id, needed in used.items():
            assert bool(needs(CLAIMS[id], world)) == (number in needed), (id, hypothesis)


def run(module):
    """All checks that concern one module of the provers; raises at the first that fails."""
    kinds = ABOUT[module]
    if module == "carriers":
        check_carriers()
    if module == "horizon":
        check_lemmas()
    check_refused(kinds)
    check_true(kinds)
    if On in kinds:
        check_levels()
        check_step()
        check_hypotheses()
    check_sound(kinds, every=23 if On in kinds else 13)
