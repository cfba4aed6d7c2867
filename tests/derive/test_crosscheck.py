"""Provers against the independent floating-point reader: on every equation, and on its mutants, true and false alike."""
from collections import Counter
from itertools import islice

import pytest

from rlbook.derive import mutate
from rlbook.derive.plain import text

from . import book, opinion
from .catalogue import CLAIMS


@pytest.mark.parametrize("id", CLAIMS)
def test_catalogue_is_true(id):
    claim = CLAIMS[id]
    assert claim.residual() == 0
    assert opinion.agrees(claim.by, claim.instances())


def test_the_book_is_true():
    """(The chapters ran while they were harvested: every claim has been proved.)"""
    false = [link.id for link in book.links() if not opinion.agrees(link.by, link.instances())]
    assert not false


def cross_examine(link, every):
    """(what the prover says, what the reader says, mutant) for every n-th mutant of both sides."""
    by = mutate.quick(link.by)
    for side, tree in (("left", link.lhs), ("right", link.rhs)):
        for _, mutant in islice(mutate.mutants(tree), 0, None, every):
            pairs = mutate.pairs(link, side, mutant)
            outcome = mutate.judge(by, pairs)
            if outcome == "ill-formed":
                yield outcome, "", mutant
                continue
            try:
                yield outcome, "true" if opinion.agrees(link.by, pairs) else "false", mutant
            except mutate.ILL_FORMED:
                yield outcome, "not read", mutant


def tally(links, every, record_property, capsys):
    counts, wrong = Counter(), []
    for link in links:
        for outcome, value, mutant in cross_examine(link, every):
            counts[f"{outcome} and {value}".removesuffix(" and ")] += 1
            if outcome == "survived" and value != "true":
                wrong.append(f"{link.id}: {text(mutant)}")
    with capsys.disabled():
        print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    record_property("counts", dict(counts))
    assert not wrong, "PROVED AND FALSE:\n" + "\n".join(wrong)
    assert counts["refuted and false"] > 20 * counts["refuted and true"], "the prover misses too much"


class TestBook:
    def test_mutants(self, record_property, capsys):
        tally(book.links(), 4, record_property, capsys)


class TestCatalogue:
    @pytest.mark.parametrize("stem", ["sums", "softmax", "iid", "horizon", "paths", "mdp", "gae", "induction", "groups",
                                      "rewards", "passk"])
    def test_mutants(self, stem, record_property, capsys):
        claims = [c for id, c in CLAIMS.items() if id.startswith(stem) and id != "iid/rloo-second-moment"]
        tally(claims, 5, record_property, capsys)
