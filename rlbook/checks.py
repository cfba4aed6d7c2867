"""Public checkers: each takes *anyone's* implementation and compares it with the book's.

    checks.check_temperature_score(my_function)      # silent if it is right

A checker tries small random inputs from a fixed seed and raises `CounterExample` with the first that fails; the
smallest cases come first. An answer that raises, or that is no function, is such a failure too. `exercise` runs a
checker in a chapter and prints the result.
"""
from collections.abc import Callable

import torch
from torch import Tensor

from rlbook import exact


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


def check_coin_score(fn: Callable) -> None:
    """fn(theta, x) must be d/dθ log p_θ(x) of the coin with p_θ(1) = σ(θ), elementwise (eq-score-function)."""
    generator = torch.Generator().manual_seed(1)
    for size in (1, 5):
        theta = 2 * torch.randn(size, generator=generator, dtype=torch.float64)
        x = torch.randint(0, 2, (size,), generator=generator).to(theta)
        expected = _derivative(lambda z, x=x: (x * z.sigmoid().log() + (1 - x) * (-z).sigmoid().log()).sum(), theta)
        _compare("the score of a coin", {"theta": theta, "x": x}, expected, fn)


def check_temperature_score(fn: Callable) -> None:
    """fn(logits, action, temperature) must be ∇ log softmax(logits / temperature)[action] (eq-softmax-score)."""
    generator = torch.Generator().manual_seed(2)
    for size, temperature in ((2, 1.0), (3, 2.0), (4, 0.5)):
        logits = torch.randn(size, generator=generator, dtype=torch.float64)
        action = torch.randint(0, size, (), generator=generator)
        expected = _derivative(lambda z, c=temperature, a=action: (z / c).log_softmax(-1)[a], logits)
        inputs = {"logits": logits, "action": action, "temperature": temperature}
        _compare("the score of a softmax at a temperature", inputs, expected, fn)


def check_policy_gradient_estimate(fn: Callable) -> None:
    """fn(mdp, trajectories, logits) -> [N, S·A] must be Σ_t ∇ log π_θ(a_t|s_t) R(τ) of each trajectory (eq-gradient-estimate)."""
    generator = torch.Generator().manual_seed(3)
    for horizon in (0, 1, 2):
        mdp = exact.two_state_mdp(horizon)
        logits = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        batch = exact.trajectories(mdp)
        expected = exact.policy_gradient_estimates(mdp, batch, logits)
        _compare("the policy gradient of one trajectory", {"mdp": mdp, "trajectories": batch, "logits": logits}, expected, fn)


def check_sample_size(fn: Callable) -> None:
    """fn(covariance [D, D], tolerance) must be the least N with sqrt(E‖ĝ - ∇J‖²) <= tolerance (eq-sample-mean-variance)."""
    generator = torch.Generator().manual_seed(4)
    for size, tolerance in ((1, 1.0), (2, 0.5), (4, 0.03)):
        root = torch.randn(size, size, generator=generator, dtype=torch.float64)
        covariance = root @ root.T
        expected = torch.tensor(float(torch.ceil(covariance.trace() / tolerance**2)))
        _compare("the number of trajectories", {"covariance": covariance, "tolerance": tolerance}, expected, fn)


def _derivative(of: Callable, at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(of(at), at)[0]


def _compare(what: str, inputs: dict, expected: Tensor, fn: Callable) -> None:
    """Call `fn` on copies of the inputs; raise CounterExample unless it returns what was expected, up to 1e-8."""
    copies = [value.clone() if isinstance(value, Tensor) else value for value in inputs.values()]
    try:
        got = fn(*copies)
    except Exception as error:
        raised = " ".join(f"your function raised {type(error).__name__}: {error}".split())
        raise CounterExample(raised, inputs, expected, error) from error
    value = _as_tensor(got, expected)
    if value is None or value.shape != expected.shape:
        raise CounterExample(f"{what}: wrong type or shape", inputs, expected, got)
    if torch.allclose(value, expected, rtol=1e-8, atol=1e-10):
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
