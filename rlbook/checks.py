"""Public checkers: each takes *anyone's* implementation and compares it with the book's.

    checks.check_temperature_score(my_function)      # silent if it is right

A checker tries inputs that are always the same, round numbers or random ones from a fixed seed, and raises
`CounterExample` with the first that fails; the smallest cases come first. An answer that raises, or that is no
function, is such a failure too. `exercise` runs a checker in a chapter and prints the result.
"""
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rlbook import exact, returns


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


def check_rewards_to_go(fn: Callable) -> None:
    """fn(rewards, gamma) must be the rewards-to-go G_t of rewards [..., T+1], in the same shape (eq-reward-to-go)."""
    generator = torch.Generator().manual_seed(6)
    cases = [(torch.tensor([1.0], dtype=torch.float64), 0.5), (torch.tensor([1.0, 10.0], dtype=torch.float64), 0.5)]
    for shape, gamma in (((5,), 0.9), ((2, 3), 1.0), ((2, 3, 7), 0.0), ((4, 20), 0.99)):
        cases.append((torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1), gamma))
    for rewards, gamma in cases:
        expected = returns.rewards_to_go(rewards, gamma=gamma)
        _compare("rewards-to-go", {"rewards": rewards, "gamma": gamma}, expected, fn)


def check_state_values(fn: Callable) -> None:
    """fn(mdp, logits) must be the state values V_t(s) as a table [T+2, S], with zeros in the last row (eq-state-value)."""
    generator = torch.Generator().manual_seed(7)
    for horizon in (0, 1, 3):
        mdp = exact.two_state_mdp(horizon)
        logits = torch.randn(2, 2, generator=generator, dtype=torch.float64)
        _compare("state values", {"mdp": mdp, "logits": logits}, exact.state_values(mdp, logits), fn)


def check_two_action_baseline(fn: Callable) -> None:
    """fn(p, f0, f1) must be the best baseline b* of two actions with probabilities p and 1 - p and payoffs f0 and f1,
    elementwise (eq-optimal-baseline)."""
    generator = torch.Generator().manual_seed(8)
    for size in (1, 4):
        p = (0.1 + 0.8 * torch.rand(size, generator=generator, dtype=torch.float64)).round(decimals=2)
        f0, f1 = (torch.randint(-5, 6, (2, size), generator=generator)).to(p)
        expected = torch.stack([_best_baseline(*one) for one in zip(p, f0, f1, strict=True)])
        _compare("the best baseline of two actions", {"p": p, "f0": f0, "f1": f1}, expected, fn)


def _best_baseline(p: Tensor, f0: Tensor, f1: Tensor) -> Tensor:
    logits = torch.stack([p, 1 - p]).log()[None]
    return exact.optimal_baseline(exact.bandit(torch.stack([f0, f1])), logits)[0, 0]


def check_gae(fn: Callable) -> None:
    """fn(rewards, values, next_values, terminated, truncated, gamma, lam) must be the advantages Â_t (eq-gae)."""
    for inputs in _steps():
        _compare("generalized advantage estimates", inputs, returns.gae(**inputs), fn)


def check_lambda_returns(fn: Callable) -> None:
    """fn(rewards, values, next_values, terminated, truncated, gamma, lam) must be the λ-returns R^λ_t (eq-lambda-return)."""
    for inputs in _steps():
        _compare("λ-returns", inputs, returns.lambda_returns(**inputs), fn)


def _steps() -> Iterator[dict]:
    """Arguments of `gae`: one row of 1, 2, 3 steps with every choice of ends, fewest first; several rows; random ones.

    Inside an episode next_values[t] is values[t + 1], as it is in any data: who uses the one for the other is right.
    Every γλ is exact in float32 too: gamma * lam * (1 - done.float()) is right, though not in float64.
    """
    for times in (1, 2, 3):
        for ends in sorted(itertools.product("-etb", repeat=times), key=lambda row: -row.count("-")):
            for gamma, lam in ((1.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.0, 0.5)):
                yield _round_numbers("".join(ends), gamma, lam)
    rows = [_round_numbers(ends, 0.5, 0.5) for ends in ("---", "e--", "-t-", "-tb", "tet", "--t")]
    for shape in ((2, 3), (1, 3), (2, 3, 3), (6, 1, 3)):
        count = shape[0] if len(shape) == 2 else shape[0] * shape[1]
        stacked = {name: torch.stack([row[name] for row in rows[:count]]).view(shape) for name in list(rows[0])[:5]}
        yield {**stacked, "gamma": 0.5, "lam": 0.5}
    generator = torch.Generator().manual_seed(5)
    settings = ((2, 10), 0.875, 0.75), ((40,), 63 / 64, 15 / 16), ((3, 100), 63 / 64, 1.0), ((2, 2, 50), 1.0, 0.875)
    for shape, gamma, lam in settings:
        numbers = (torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1) for _ in range(3))
        rewards, values, last = numbers
        ends = torch.randint(0, 10, shape, generator=generator)
        following = torch.cat([values[..., 1:], last[..., -1:]], dim=-1)
        yield {"rewards": rewards, "values": values, "next_values": torch.where(ends < 3, last, following),
               "terminated": ends < 2, "truncated": (ends == 1) | (ends == 2), "gamma": gamma, "lam": lam}


def _round_numbers(ends: str, gamma: float, lam: float) -> dict:
    """Rewards 1, 2, 3, values 10, 20, 30; where an episode ends (e terminated, t truncated, b both), the state after has 50."""
    times = torch.arange(1, len(ends) + 1, dtype=torch.float64)
    terminated, truncated = (torch.tensor([end in kinds for end in ends]) for kinds in ("eb", "tb"))
    next_values = torch.where(terminated | truncated, 50.0, 10 * times + 10)
    return {"rewards": times, "values": 10 * times, "next_values": next_values,
            "terminated": terminated, "truncated": truncated, "gamma": gamma, "lam": lam}


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
