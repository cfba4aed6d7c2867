"""Who checks the checkers: change one rule of a prover at a time, and see whether the tests of the provers notice.

    python -m tests.derive.mutate_provers [--every N] [--jobs 2] [--again] [module ...]

Every change of the source (a comparison, a sign, a number, a condition, a refusal that is dropped, ...) is loaded into a process
of its own, which runs `suite.run`. A change that is caught makes a true claim fail, lets a near miss or a false mutant
through, crashes, or does not come to an end. The result, with a reason for each change that no test can notice because it
changes nothing, or only what is refused, is written to rlbook/data/mutate_provers.json.
"""
import argparse
import ast
import importlib.abc
import importlib.util
import json
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path

import hypothesis  # noqa: F401  (what all children need is imported once, before they are forked)
import numpy  # noqa: F401
import pytest  # noqa: F401
import sympy  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "rlbook" / "data" / "mutate_provers.json"
MODULES = ("sums", "softmax", "samples", "horizon", "paths", "mdp", "names", "process", "carriers", "calculus", "normal",
           "objective", "logits", "rewards", "roots", "groups", "counts")
LIMIT = 30                                             # seconds; the whole suite of a module takes a few
NOT_A_RULE = {"describe", "shrink", "latex"}           # what only words an answer
COMPARE = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
           ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd}


# -- the changes -------------------------------------------------------------------------------------------
def changes(node):
    """(what, function that makes the change in a copy of this node) for every change at one node."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            if type(op) in COMPARE:
                yield "negate a comparison", lambda x, at=at, op=op: x.ops.__setitem__(at, COMPARE[type(op)]())
    if isinstance(node, ast.BoolOp):
        yield "and <-> or", lambda x: setattr(x, "op", ast.Or() if isinstance(x.op, ast.And) else ast.And())
        for at in range(len(node.values)):
            yield f"drop condition {at + 1}", lambda x, at=at: x.values.pop(at)
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        yield "another operator", lambda x: setattr(x, "op", BINARY[type(x.op)]())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "drop a minus", lambda x: setattr(x, "op", ast.UAdd())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "drop a not", lambda x: setattr(x, "operand", ast.UnaryOp(ast.Not(), x.operand))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield "number + 1", lambda x: setattr(x, "value", x.value + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "true <-> false", lambda x: setattr(x, "value", not x.value)
    if isinstance(node, ast.If | ast.IfExp):
        yield "always", lambda x: setattr(x, "test", ast.Constant(True))
        yield "never", lambda x: setattr(x, "test", ast.Constant(False))
    if isinstance(node, ast.comprehension) and node.ifs:
        yield "drop a filter", lambda x: x.ifs.clear()


def sites(tree):
    """(path to the node, function it stands in, source line, what, change), for every change of a module."""
    def walk(node, function, line):
        if isinstance(node, ast.FunctionDef):
            if node.name in NOT_A_RULE:
                return
            function = node.name
        line = getattr(node, "lineno", line)
        if isinstance(node, ast.JoinedStr):
            return                                     # the words of a message
        for what, change in changes(node):
            yield node, function, line, what, change
        if isinstance(node, ast.Raise):
            yield node, function, line, "drop a refusal", None
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, line)
    yield from walk(tree, "", 0)


class Drop(ast.NodeTransformer):
    """Replace one statement by `pass`."""

    def __init__(self, target):
        self.target = target

    def visit(self, node):
        return ast.copy_location(ast.Pass(), node) if node is self.target else self.generic_visit(node)


def mutant(source, number):
    """The syntax tree of the module with one change."""
    tree = ast.parse(source)
    node, *_, change = list(sites(tree))[number]
    if change is None:
        tree = Drop(node).visit(tree)
    else:
        change(node)
    return ast.fix_missing_locations(tree)


def listed(module):
    """Every change of a module: its number, and how it is named in the log."""
    source = (ROOT / "rlbook" / "derive" / f"{module}.py").read_text(encoding="utf-8")
    lines, seen = source.splitlines(), Counter()
    for number, (_, function, line, what, _change) in enumerate(sites(ast.parse(source))):
        code = lines[line - 1].strip()
        seen[function, what, code] += 1
        occurrence = seen[function, what, code]
        yield number, {"module": module, "function": function, "change": what, "code": code, "occurrence": occurrence}


# -- one change, in a process of its own ---------------------------------------------------------------------
class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer that loads the changed module in place of the real one."""

    def __init__(self, module, tree):
        self.name, self.code = f"rlbook.derive.{module}", compile(tree, f"{module} (changed)", "exec")

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(self.code, module.__dict__)


def child(module, number):
    """Exit code 0: survived; 3: a check fails; 4: a crash."""
    sys.stderr = sys.stdout = open("/dev/null", "w")   # noqa: SIM115
    try:
        source = (ROOT / "rlbook" / "derive" / f"{module}.py").read_text(encoding="utf-8")
        if number is not None:
            sys.meta_path.insert(0, Changed(module, mutant(source, number)))
        from . import suite
        suite.run(module)
    except AssertionError:
        sys.exit(3)
    except BaseException:
        sys.exit(4)
    sys.exit(0)


OUTCOMES = {0: "survived", 3: "a check fails", 4: "a crash", None: "no end"}


def run_all(jobs, parallel):
    """(job, outcome) of every change, a few processes at a time."""
    context, running, jobs = multiprocessing.get_context("fork"), [], list(jobs)
    while jobs or running:
        while jobs and len(running) < parallel:
            job = jobs.pop(0)
            process = context.Process(target=child, args=(job[0], job[1]))
            process.start()
            running.append((job, process, time.monotonic()))
        time.sleep(0.02)
        for entry in list(running):
            job, process, start = entry
            if process.is_alive() and time.monotonic() - start > LIMIT:
                process.kill()
                process.join()
                running.remove(entry)
                yield job, OUTCOMES[None]
            elif not process.is_alive():
                process.join()
                running.remove(entry)
                yield job, OUTCOMES.get(process.exitcode, "a crash")


def key(entry):
    return tuple(entry[k] for k in ("module", "function", "change", "code", "occurrence"))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("modules", nargs="*", default=MODULES)
    options.add_argument("--every", type=int, default=1, help="try only every N-th change")
    options.add_argument("--again", action="store_true", help="try only what survived the last time")
    options.add_argument("--jobs", type=int, default=2)
    args = options.parse_args()
    for _, outcome in run_all([(m, None) for m in args.modules], args.jobs):
        assert outcome == "survived", "the suite fails on the real provers"
    old = json.loads(LOG.read_text(encoding="utf-8")) if LOG.exists() else {"survivors": [], "counts": {}}
    reasons = {key(x): x.get("reason", "") for x in old["survivors"]}
    counts, survivors = {m: Counter(old["counts"].get(m, {}) if args.again else {}) for m in args.modules}, []
    jobs = [(m, number, entry) for m in args.modules for number, entry in list(listed(m))[::args.every]]
    if args.again:
        jobs = [job for job in jobs if key(job[2]) in reasons]
        for module, *_ in jobs:
            counts[module]["survived"] -= 1
    for done, ((module, _, entry), outcome) in enumerate(run_all(jobs, args.jobs), 1):
        counts[module][outcome] += 1
        if outcome == "survived":
            survivors.append({**entry, "reason": reasons.get(key(entry), "")})
            print(f"{done}/{len(jobs)} survived: {module}.{entry['function']}, {entry['change']}: {entry['code']}", flush=True)
    for module in args.modules:                        # (a line that was changed since the last time is in no count)
        counts[module]["survived"] = sum(x["module"] == module for x in survivors)
    survivors += [x for x in old["survivors"] if x["module"] not in args.modules]
    everything = {**old["counts"], **{m: dict(sorted(c.items())) for m, c in counts.items()}}
    log = {"what": "changes of the provers' own rules, and what the tests of the provers say", "every": args.every,
           "counts": everything, "survivors": sorted(survivors, key=lambda x: tuple(map(str, key(x))))}
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    report(everything, log["survivors"])


def report(counts, survivors):
    total, neutral = sum(sum(c.values()) for c in counts.values()), sum(bool(x["reason"]) for x in survivors)
    caught = total - sum(c.get("survived", 0) for c in counts.values())
    print(counts)
    print(f"{caught} of {total} caught; {len(survivors)} survive, {neutral} of them explained; "
          f"{caught / max(1, total - neutral):.1%} of those that change something")


if __name__ == "__main__":
    main()
