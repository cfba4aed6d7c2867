"""Where an equation lives in the code: functions that cite its label, tests with its mark. Read, never imported."""

import ast
import re
from collections import defaultdict
from pathlib import Path

_CITED = re.compile(r"\beq-([a-z0-9]+(?:-[a-z0-9]+)*)")
_OTHER = {"derive", "site"}  # the proof engine and the site speak about equations without computing them


def _trees(folder):
    """Every Python file under a folder, as (path relative to the folder, syntax tree), in order; hidden folders left out."""
    for path in sorted(Path(folder).rglob("*.py")):
        inside = path.relative_to(folder)
        if not any(part.startswith(".") for part in inside.parts):
            yield inside, ast.parse(path.read_text(encoding="utf-8"), str(path))


def _definitions(body, prefix=""):
    """The functions and classes of a body and of its classes, as (dotted name, node)."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, prefix + node.name + ".")


def functions(package):
    """{equation id: [public functions whose docstring cites `eq-<id>`]} for the package in a folder."""
    found = defaultdict(list)
    package = Path(package)
    for path, tree in _trees(package):
        if path.parts[0] in _OTHER:
            continue
        module = ".".join([package.name, *path.with_suffix("").parts]).removesuffix(".__init__")
        for name, node in _definitions(tree.body):
            if not any(part.startswith("_") for part in name.split(".")):
                for equation in dict.fromkeys(_CITED.findall(ast.get_docstring(node) or "")):
                    found[equation].append(f"{module}.{name}")
    return dict(found)


def _marked(decorator):
    """The ids in a decorator `@pytest.mark.equation("id", ...)`, none for any other decorator."""
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.equation"):
        return []
    return [
        argument.value
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    ]


def tests(folder):
    """{equation id: [tests that carry `@pytest.mark.equation("<id>")`]}, each named as pytest names it."""
    found = defaultdict(list)
    folder = Path(folder)
    for path, tree in _trees(folder) if folder.is_dir() else ():
        for name, node in _definitions(tree.body):
            owner, _, test = name.rpartition(".")
            if test.startswith("test"):
                node_id = "::".join(filter(None, [f"{folder.name}/{path.as_posix()}", owner.replace(".", "::"), test]))
                for equation in [id_ for decorator in node.decorator_list for id_ in _marked(decorator)]:
                    found[equation].append(node_id)
    return dict(found)
