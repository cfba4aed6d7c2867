"""How an answer is compared: the counterexample, and what counts as equal."""

from collections.abc import Callable

import torch
from torch import Tensor


class CounterExample(ValueError):
    """An implementation is wrong: `inputs` (by name), what was `expected`, and what it `got`, or the error it raised."""

    def __init__(self, what: str, inputs: dict, expected, got) -> None:
        self.inputs, self.expected, self.got = inputs, expected, got
        given = ", ".join(f"{name} = {_show(value)}" for name, value in inputs.items())
        table = f"\n    given     {given}\n    expected  {_show(expected)}\n    got       {_show(got)}"
        super().__init__(what if isinstance(got, Exception) else what + table)


def exercise(checker: Callable, answer: Callable | None) -> None:
    """Check a reader's answer and print: no answer yet, correct, or the counterexample, or in one line what it raised."""
    if answer is None:
        print("no answer yet")
        return
    try:
        checker(answer)
    except CounterExample as wrong:
        print(f"not yet: {wrong}")
    else:
        print("correct")


def derivative(of: Callable, at: Tensor) -> Tensor:
    """The gradient of a number, by automatic differentiation."""
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(of(at), at)[0]


def differentiated(fn: Callable) -> Callable:
    """The gradient, with respect to its first argument, of the sum of what fn returns, as a function of the same arguments."""

    def gradient(first, *rest):
        first = first.detach().clone().requires_grad_()
        out = fn(first, *rest)
        if not isinstance(out, Tensor) or not out.requires_grad:
            raise TypeError("the result must be a tensor that depends on the first argument, for its gradient to be taken")
        return torch.autograd.grad(out.sum(), first, allow_unused=True, materialize_grads=True)[0]

    return gradient


def call(fn: Callable, inputs: dict, expected: Tensor):
    """What `fn` returns for copies of the inputs; a CounterExample if it raises."""
    copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs.values()]
    try:
        return fn(*copies)
    except Exception as error:
        raised = " ".join(f"your function raised {type(error).__name__}: {error}".split())
        raise CounterExample(raised, inputs, expected, error) from error


def compare(what: str, inputs: dict, expected: Tensor, fn: Callable, rtol: float = 1e-8, atol: float = 1e-10) -> None:
    """Call `fn` on copies of the inputs; raise CounterExample unless it returns what was expected, up to rounding."""
    got = call(fn, inputs, expected)
    value = _as_tensor(got, expected)
    if value is None or value.shape != expected.shape:
        raise CounterExample(f"{what}: wrong type or shape", inputs, expected, got)
    if torch.allclose(value, expected, rtol, atol):
        return
    kinds = [str(getattr(one, "dtype", "")).removeprefix("torch.") for one in (got, expected)]
    if kinds[0] in ("float16", "bfloat16", "float32") and kinds[1] == "float64" and torch.allclose(value, expected, 1e-4, 1e-6):
        what += ": agrees to 4 digits, but in {}; the check is in {}".format(*kinds)
    raise CounterExample(what, inputs, expected, got)


def _as_tensor(got, like: Tensor) -> Tensor | None:
    """What a function returned in the dtype of `like`, or None if it is no real numbers."""
    if "complex" in str(getattr(got, "dtype", "")):
        return None
    try:
        return torch.as_tensor(got, dtype=like.dtype, device=like.device).detach().to_dense()
    except Exception:
        return None


def _show(value) -> str:
    if isinstance(value, Tensor) and not value.is_complex() and not value.is_meta:
        shape = f" (shape {tuple(value.shape)})" if value.dim() > 1 else ""
        return str([round(x, 4) for x in value.detach().flatten().tolist()[:8]]) + shape
    return " ".join(repr(value).split())[:80]
