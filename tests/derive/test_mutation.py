"""Every small mistake in an equation or a definition of the book is refuted, or is true and says why.

A survivor must be listed with its reason in survivors.json and be true for the independent reader; a listed one that no
longer survives fails as well. After a change of the book, `python -m tests.derive.survivors` lists them again.
The classes split the work between two processes.
"""
from collections import Counter

import pytest

from rlbook.derive.definitions import STANDARD

from . import book, survivors
from .catalogue import CLAIMS


def examine(verdicts, ids, claims, record_property):
    """No survivor without a reason, none that is false, none that is listed and gone."""
    verdicts = list(verdicts)
    alive = {survivors.key(v): v for v in verdicts if v.outcome == "survived"}
    listed = {k: reason for k, reason in survivors.frozen().items() if k.split(" | ")[0] in ids}
    unexplained = [k for k in alive if not listed.get(k)]
    assert not unexplained, "survives without a reason:\n" + "\n".join(unexplained)
    gone = [k for k in listed if k not in alive]
    assert not gone, "listed, but it no longer survives:\n" + "\n".join(gone)
    false = [k for k, v in alive.items() if not survivors.is_true(v, claims)]
    assert not false, "PROVED AND FALSE:\n" + "\n".join(false)
    for outcome, number in Counter(v.outcome for v in verdicts).items():
        record_property(outcome, number)


def examine_claim(claim, record_property):
    ids = {link.id for link in claim.links()}
    examine(survivors.verdicts(claim), ids, [claim], record_property)


class TestBook:
    def test_claims(self, record_property):
        for claim in book.claims_of_the_book():
            examine_claim(claim, record_property)

    def test_definitions(self, record_property):
        for head in book.definitions():
            examine(survivors.verdicts_on_definition(head), {STANDARD[head].name}, book.claims_of_the_book(), record_property)

    def test_a_reason_belongs_to_an_equation(self):
        known = {link.id for link in book.links()} | {STANDARD[h].name for h in book.definitions()} | set(CLAIMS)
        assert {k.split(" | ")[0] for k in survivors.frozen()} <= known


def catalogue(*stems):
    return pytest.mark.parametrize("id", [x for x in CLAIMS if x.split("/")[0] in stems])


class TestSums:
    @catalogue("sums", "softmax")
    def test_claim(self, id, record_property):
        examine_claim(CLAIMS[id], record_property)


class TestProcesses:
    @catalogue("iid", "horizon", "paths", "mdp")
    def test_claim(self, id, record_property):
        examine_claim(CLAIMS[id], record_property)
