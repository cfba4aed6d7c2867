"""What chapters use to show things: the source of the package's functions, and numbers short enough to read."""
import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable

from torch import Tensor


class Source:
    """Python source, or a `diff` of it, that a notebook displays with colours."""

    def __init__(self, code: str, language: str = "python") -> None:
        self.code, self.language = code, language

    def _repr_markdown_(self) -> str:
        return f"```{self.language}\n{self.code}\n```"

    def __repr__(self) -> str:
        return self.code


def show(*functions: Callable, docstrings: bool = False) -> Source:
    """The source of functions or classes of `rlbook`, without docstrings unless asked for.

    Comments and layout are kept, since they tie each line to its symbol. Raises TypeError for what has no source.
    """
    return Source("\n\n\n".join(_source(function, docstrings) for function in functions))


def show_diff(before: Callable, after: Callable) -> Source:
    """What one function changes in the other: their bodies as a unified diff, without docstrings.

    Raises TypeError for what has no source, ValueError where the bodies agree.
    """
    old, new = (_body(function) for function in (before, after))
    if old == new:
        raise ValueError(f"{before.__name__} and {after.__name__} have the same body: there is nothing to show")
    lines = difflib.unified_diff(old, new, before.__name__, after.__name__, n=len(old), lineterm="")
    return Source("\n".join(line.rstrip() for line in lines if not line.startswith("@@")), "diff")


def _body(function: Callable) -> list[str]:
    code = _source(function, docstrings=False)
    lines, first = code.splitlines(), ast.parse(code).body[0].body[0].lineno - 1
    while lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return textwrap.dedent("\n".join(lines[first:])).splitlines()


def _source(function: Callable, docstrings: bool) -> str:
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    if docstrings:
        return code
    lines = code.splitlines()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None and len(node.body) > 1:
            first = node.body[0]
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = None
    return "\n".join(line for line in lines if line is not None)


def rounded(values: Tensor, digits: int = 4) -> list[float]:
    """The entries of a tensor as a flat list of rounded numbers, without negative zeros."""
    return [round(x, digits) + 0.0 for x in values.detach().flatten().tolist()]
