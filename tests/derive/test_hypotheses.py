"""The table of equations against hypotheses says what mathematics says."""
import pytest

from rlbook.derive.hypotheses import broken_world, markdown, needs, table
from rlbook.derive.mdp import HYPOTHESES, FiniteMDP, On

from . import book
from .catalogue import CLAIMS

POLICY, DYNAMICS, START, STILL, REWARDS = HYPOTHESES


@pytest.fixture(scope="module")
def rows():
    wanted = ["mdp/total-probability", "mdp/trajectory-score", "mdp/policy-gradient", "mdp/advantage-mean-zero", "mdp/bellman-v",
              "mdp/q-expectation", "sums/probabilities", "mdp/past-rewards"]
    return {row.id: {h for h, used in row.uses.items() if used} for row in table([CLAIMS[id] for id in wanted])}


def test_what_each_equation_uses(rows):
    assert rows["mdp/total-probability"] == {POLICY, DYNAMICS}
    assert rows["mdp/trajectory-score"] == {START, STILL}
    assert rows["mdp/policy-gradient"] == {START, STILL, REWARDS}          # and not that the policy sums to one
    assert rows["mdp/advantage-mean-zero"] == {POLICY}
    assert rows["mdp/past-rewards"] == {POLICY, DYNAMICS}
    assert rows["mdp/bellman-v"] == rows["mdp/q-expectation"] == set()     # a tower of sums, whatever their weights


def test_only_equations_on_mdps_have_a_row(rows):
    assert "sums/probabilities" not in rows


def test_all_hypotheses_together_prove_everything():
    world = On(FiniteMDP(2, 2, 1))
    assert not any(needs(CLAIMS[id], world) for id in ("mdp/policy-gradient", "mdp/trajectory-score", "mdp/total-probability"))


def test_unknown_hypotheses_are_refused():
    with pytest.raises(ValueError):
        FiniteMDP(broken=("the moon is round",))


def test_a_hypothesis_is_really_given_up():
    assert needs(CLAIMS["mdp/total-probability"], broken_world(POLICY)) is True
    assert needs(CLAIMS["mdp/total-probability"], broken_world(REWARDS)) is False


def test_the_table_of_the_book():
    shown = ("policy-gradient", "general-form", "trajectory-probability-sum", "past-rewards", "advantage-mean-zero")
    rows = {row.id: row.uses for row in table([book.equations()[id] for id in shown])}
    assert {h for h, used in rows["policy-gradient"].items() if used} == {START, STILL, REWARDS}
    assert rows["general-form"][POLICY] and rows["trajectory-probability-sum"][DYNAMICS]
    assert rows["past-rewards"][POLICY] and not rows["past-rewards"][START] and rows["advantage-mean-zero"][POLICY]
    text = markdown([row for row in table([CLAIMS["mdp/total-probability"]])])
    assert text.count("●") == 2 and text.splitlines()[0].count("|") == len(HYPOTHESES) + 2
