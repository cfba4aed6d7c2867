"""A hash of the code behind a function: what it can reach inside `rlbook`, without docstrings, comments and layout."""

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None), range)


def code_hash(function: object) -> str:
    """The first 16 hex digits of a SHA-256 over every function and class of rlbook that `function` can reach.

    Reached is what its source names, directly or through a module (`returns.rewards_to_go`), and so on from there;
    module-level constants count with their values. Docstrings, comments and layout do not count, and the result does
    not depend on the version of Python. Names looked up at run time only (getattr, registries) are not followed.
    """
    parts = reachable(function)
    text = "\n".join(f"{name}: {parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reachable(function: object) -> dict[str, str]:
    """Name and canonical text of every function, class and constant of rlbook that `function` can reach."""
    parts = {}
    pending = [function]
    while pending:
        item = pending.pop()
        name = f"{item.__module__}.{item.__qualname__}"
        if name in parts:
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(item)))
        parts[name] = canonical(tree)
        for reference, value in references(tree, sys.modules[item.__module__]):
            if is_code(value):
                pending.append(value)
            elif isinstance(value, PLAIN):
                parts[f"{name} {reference}"] = repr(value)
    return parts


def is_code(value: object) -> bool:
    """Whether a value is a function or a class of rlbook."""
    module = getattr(value, "__module__", None) or ""
    return (inspect.isfunction(value) or inspect.isclass(value)) and module.split(".")[0] == "rlbook"


def references(tree: ast.AST, module: ModuleType) -> Iterator[tuple[str, object]]:
    """What the names and dotted names of a piece of code mean in its module, as (name, value)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rlbook":
            imported = sys.modules.get(node.module)
            yield from ((alias.name, getattr(imported, alias.name, None)) for alias in node.names)
        elif isinstance(node, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            value = resolve(dotted, module) if dotted.replace(".", "").isidentifier() else None
            if value is not None:
                yield dotted, value


def resolve(dotted: str, module: ModuleType) -> object | None:
    """The value of `a.b.c` in a module, as long as it leads through modules of rlbook; None elsewhere."""
    first, *rest = dotted.split(".")
    value = vars(module).get(first)
    for name in rest:
        if not isinstance(value, ModuleType) or value.__name__.split(".")[0] != "rlbook":
            return None
        value = getattr(value, name, None)
    return value


def canonical(node: object) -> str:
    """A syntax tree as text: types and the fields that are set, without docstrings, the same in every Python."""
    if isinstance(node, list):
        return "[" + ",".join(canonical(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    kept = {name: value for name, value in fields.items() if value is not None and value != [] and name != "kind"}
    return type(node).__name__ + "(" + ",".join(f"{name}={canonical(value)}" for name, value in kept.items()) + ")"
