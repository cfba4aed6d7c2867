"""What chapters use to show things: the source of the package's functions, and numbers short enough to read."""
import ast
import inspect
import textwrap
from collections.abc import Callable

from torch import Tensor


class Source:
    """Python source that a notebook displays with colours."""

    def __init__(self, code: str) -> None:
        self.code = code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"

    def __repr__(self) -> str:
        return self.code


def show(*functions: Callable, docstrings: bool = False) -> Source:
    """The source of functions or classes of `rlbook`, without docstrings unless asked for.

    Comments and layout are kept, since they tie each line to its symbol. Raises TypeError for what has no source.
    """
    return Source("\n\n\n".join(_source(function, docstrings) for function in functions))


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
