"""The mutants that survive because they are true, each with its reason, frozen in survivors.json.

    python -m tests.derive.survivors        find all survivors again; new ones get an empty reason, which the tests refuse
"""
import functools
import json
from dataclasses import replace
from pathlib import Path

from rlbook.derive import mutate
from rlbook.derive.definitions import STANDARD
from rlbook.derive.plain import text

from . import book, opinion
from .catalogue import CLAIMS

FILE = Path(__file__).with_name("survivors.json")
# Slow claims and definitions: only every n-th mutant.
EVERY = {"iid/rloo-second-moment": 12, "iid/third-moment": 4, "mdp/gae-unbiased": 2, "gae/gradient-bias": 3, "gae/unbiased": 2,
         "softmax/total-variance": 2, "optimal-baseline-variance": 5, "trajectory-score": 3, "baseline-condition": 2,
         "terms/objective-linear": 6, "ppo-linear": 6, "token-rewards-to-go": 6, "groups/gspo-gradient": 7,
         "groups/grpo-gradient": 6, "groups/parts": 4, "groups/grpo-first-step": 4, "grpo-gradient": 3, "gspo-gradient": 5,
         "grpo-parts": 2, "grpo-first-step": 2, "rloo-second-moment": 12, "grpo-utility": 2, "grpo-utility-eps": 2,
         "grpo-advantage-eps-square": 2, "rewards/eps-square": 2, "rewards/letters": 3, "rewards/tower-lengths": 5,
         "rewards/tower-square": 4, "rewards/utility-eps": 2, "L_PPO": 3, "L_max": 3, "L_min": 3, "Lold": 2, "V": 2, "Q": 2,
         "A": 2, "V_old": 3, "Q_old": 2, "Jgrpo": 4, "Jclip": 3, "m": 2, "Jdapo": 3, "Jdr": 2, "Jgspo": 3, "dapo-gradient": 4,
         "groups/dapo-gradient": 7, "groups/centred-gradient": 4, "rewards/square-of-a-mean": 3, "gspo-grpo-weights": 2,
         "rewards/binomial-power": 4, "rewards/tower": 3, "cispo-gradient": 3, "groups/cispo-gradient": 6,
         "grpo-first-step-value": 3, "groups/grpo-value": 5, "rewards/rloo-square": 2, "groups/clip-higher": 5,
         "groups/sequence-mean": 3, "groups/equal-rewards": 3, "groups/dr-grpo-gradient": 4, "Jcispo": 3, "length-tree-sum": 2,
         "rewards/length-tree-sum": 4, "groups/clip-gradient": 5, "rewards/length-push": 3, "rewards/length-tree": 3,
         "groups/token-mean": 2, "rewards/binomial-eps": 4, "Jrloo": 2}


@functools.cache
def frozen():
    """{key: reason}"""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def key(verdict):
    return f"{verdict.id} | {verdict.side} | {verdict.kind} | {text(verdict.mutant)}"


def verdicts(claim):
    """The verdict on all mutants of a claim or of a derivation."""
    every = EVERY.get(claim.id, 1)
    yield from mutate.score(claim, every)
    if getattr(claim, "where", None):
        yield from mutate.score_where(claim)


def about(head):
    """The claims that a definition must answer to: those of the book that speak of it, else those of the catalogue."""
    claims = book.claims_of_the_book()
    return claims if mutate.speaks_of(head, claims) else list(CLAIMS.values())


def verdicts_on_definition(head):
    return mutate.score_definition(head, about(head), every=EVERY.get(STANDARD[head].name, 1))


def is_true(verdict, claims):
    """What the independent reader says about a survivor."""
    links = {link.id: link for claim in claims for link in claim.links()}
    if verdict.id in links:
        link = links[verdict.id]
        return opinion.agrees(link.by, mutate.pairs(link, verdict.side, verdict.mutant))
    head = next(head for head, known in STANDARD.items() if known.name == verdict.id)
    changed = {**STANDARD, head: replace(STANDARD[head], **{verdict.side: verdict.mutant})}
    claims = mutate.speaks_of(head, about(head))
    return all(opinion.other_book(x.by, changed).gap(lhs, rhs) < 1e-9 for x in claims for lhs, rhs in x.instances())


def main():
    known, found = frozen(), {}
    for claim in [*book.claims_of_the_book(), *CLAIMS.values()]:
        found.update({key(v): known.get(key(v), "") for v in verdicts(claim) if v.outcome == "survived"})
    for head in book.definitions():
        found.update({key(v): known.get(key(v), "") for v in verdicts_on_definition(head) if v.outcome == "survived"})
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(len(found), "survivors,", sum(not reason for reason in found.values()), "without a reason,",
          len(set(known) - set(found)), "gone")


if __name__ == "__main__":
    main()
