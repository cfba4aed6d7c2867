"""The bridge: the tree on the page, read with tensors, is what the functions of `rlbook` compute."""

import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlbook.derive import IllFormed, claim
from rlbook.derive.cases import Less
from rlbook.derive.claims import BOOK
from rlbook.derive.decide import softmax
from rlbook.derive.definitions import STANDARD
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A,
    AtOld,
    Clip,
    E,
    G_n,
    J,
    N_togo,
    P,
    Q,
    R,
    Rλ,
    T,
    V,
    V_togo,
    Var,
    Vhat,
    Y,
    Z,
    Â_n,
    a,
    a_,
    at,
    b_,
    c,
    d,
    e,
    exp,
    f,
    grad,
    i,
    l,
    log,
    p,
    q,
    r,
    reward,
    s,
    s_,
    s_new,
    sg,
    t,
    w,
    x,
    x_,
    α,
    γ,
    δ,
    δπ,
    ε,
    θ,
    λ,
    π,
    τ,
)
from rlbook.derive.tensors import Tensors
from rlbook.losses import policy_gradient_loss
from rlbook.returns import discounted_returns, gae, lambda_returns, reverse_scan, rewards_to_go, td_errors, total_returns

from .catalogue_gae import stopped

DOUBLE = torch.float64
to_go = STANDARD[Q].body.args[0]  # Σ_{l=t}^{T} γ^{l-t} r_l: inside the definition of Q
cases = st.tuples(st.integers(1, 9), st.integers(0, 3), st.floats(0, 1), st.integers(0, 2**31))


def close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def rand(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def same_gradients(ours, tree, leaves, seed=0):
    """The two tensors agree, and so do their derivatives along a random direction."""
    close(ours, tree)
    weight = rand(*ours.shape, seed=seed)
    pairs = [torch.autograd.grad((value * weight).sum(), leaves, retain_graph=True) for value in (ours, tree)]
    for left, right in zip(*pairs, strict=True):
        close(left, right)


# -- returns -----------------------------------------------------------------------------------------
@pytest.mark.equation("return")
@given(cases)
def test_the_return_is_what_discounted_returns_computes(case):
    length, rows, discount, seed = case
    rewards = rand(rows, length, seed=seed).requires_grad_() if rows else rand(length, seed=seed).requires_grad_()
    gamma = torch.tensor(discount, dtype=DOUBLE, requires_grad=True)
    world = Tensors({r: rewards, γ: gamma, T: length - 1, τ: None})
    ours = discounted_returns(rewards, gamma.expand_as(rewards))[..., 0]
    same_gradients(ours, world(R(τ)), [rewards, gamma], seed)
    same_gradients(
        total_returns(rewards, gamma=discount)[..., 0], Tensors({**world.values, γ: discount})(R(τ)), [rewards], seed
    )


@pytest.mark.equation("return", "action-value")
@given(cases)
def test_rewards_to_go_are_what_discounted_returns_computes(case):
    length, rows, discount, seed = case
    rewards = rand(max(rows, 1), length, seed=seed).requires_grad_()
    world = Tensors({r: rewards, γ: discount, T: length - 1})
    tree = torch.stack([world(to_go, {t: time}) for time in range(length)], dim=-1)
    same_gradients(discounted_returns(rewards, discount), tree, [rewards], seed)
    same_gradients(rewards_to_go(rewards, gamma=discount), tree, [rewards], seed)


@given(cases)
def test_a_return_with_a_bootstrap(case):
    length, _, discount, seed = case
    rewards, critic = rand(length, seed=seed).requires_grad_(), rand(length + 1, seed=seed + 1).requires_grad_()
    world = Tensors(
        {r: rewards, γ: discount, T: length - 1, s: torch.arange(length + 1), V: lambda state: critic[state]}
    )
    tree = world(R(τ) + γ ** (T + 1) * V(s[T + 1]), {τ: None})
    same_gradients(discounted_returns(rewards, discount, critic[-1])[0], tree, [rewards, critic], seed)


# -- the policy gradient -----------------------------------------------------------------------------
law = π(a_, s_)
exact_gradient = E(law)[grad(log(law)) * f(a_)]  # the right-hand side of the policy gradient, for a bandit


@pytest.mark.equation("policy-gradient", "score-mean-zero")
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_the_loss_has_the_proved_gradient_on_a_bandit(actions, seed):
    """Every action once, weighted by its probability: minus the gradient of the loss is the proved expression."""
    logits, payoff = rand(actions, seed=seed).requires_grad_(), rand(actions, seed=seed + 1)
    logprobs = logits.log_softmax(0)
    world = Tensors({θ: logits, π: lambda action, _: logits.softmax(0)[action], a_: actions, s_: 0, f: payoff})
    loss = (policy_gradient_loss(logprobs, payoff) * logprobs.exp().detach()).sum()
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    close(-ours, world(exact_gradient).detach())
    close(-ours, world(grad(E(law)[f(a_)])).detach())  # the left-hand side
    close(world(E(law)[grad(log(law))]), torch.zeros_like(ours))


@pytest.mark.equation("policy-gradient", "general-form")
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_the_loss_of_a_trajectory_has_the_gradient_of_the_estimator(length, seed):
    """-∇ Σ_t loss_t = Σ_t ∇ log π(a_t | s_t) Φ_t, on a random trajectory through 3 states and 4 actions."""
    draw = torch.Generator().manual_seed(seed)
    states, actions = (torch.randint(k, (length,), generator=draw) for k in (3, 4))
    logits, rewards = rand(3, 4, seed=seed).requires_grad_(), rand(length, seed=seed + 1)
    world = Tensors(
        {
            θ: logits,
            π: lambda action, state: logits.softmax(-1)[state, action],
            s: states,
            a: actions,
            r: rewards,
            γ: 0.9,
            T: length - 1,
            τ: None,
        }
    )
    logprobs = logits.log_softmax(-1)[states, actions]
    score = grad(log(π(a[t], s[t])))
    for weights, tree in ((total_returns(rewards, gamma=0.9), R(τ)), (rewards_to_go(rewards, gamma=0.9), to_go)):
        (ours,) = torch.autograd.grad(policy_gradient_loss(logprobs, weights).sum(), logits, retain_graph=True)
        close(-ours, world(Σ(score * tree, (t, 0, T))).detach())
        close(
            policy_gradient_loss(logprobs, weights),
            torch.stack([world(-tree * log(π(a[t], s[t])), {t: k}) for k in range(length)]),
        )


def test_the_softmax_score_that_is_proved_is_the_one_of_autograd():
    try:
        made = claim("softmax-score", grad(log(law), θ[b_]), sp.KroneckerDelta(a_, b_) - π(b_, s_), by=softmax)
    finally:
        BOOK.pop("softmax-score", None)
    logits = rand(5, seed=3).requires_grad_()
    world = Tensors({θ: logits, π: lambda action, _: logits.softmax(0)[action], s_: 0})
    for action in range(5):
        for other in range(5):
            close(*(world(side, {a_: action, b_: other}).detach() for side in (made.lhs, made.rhs)))


# -- the reader --------------------------------------------------------------------------------------
def test_arithmetic():
    world = Tensors({x_: torch.tensor([0.5, 2.0], dtype=DOUBLE), α: 3, ε: 0.25, i: 2})
    x = torch.tensor([0.5, 2.0], dtype=DOUBLE)
    for tree, expected in (
        (x_**2 - α * x_ + sp.Rational(1, 3), x**2 - 3 * x + 1 / 3),
        (1 / x_, 1 / x),
        (sp.sqrt(x_), x.sqrt()),
        (log(x_) + exp(-x_), x.log() + (-x).exp()),
        (sp.Min(x_, 1), x.clamp(max=1)),
        (sp.Max(x_, 1, α), torch.full((2,), 3.0, dtype=DOUBLE)),
        (Clip(x_, 1 - ε, 1 + ε), x.clamp(0.75, 1.25)),
        (Less(x_, 1), torch.tensor([1.0, 0.0], dtype=DOUBLE)),
        (Less(1, x_) + Less(2, x_), torch.tensor([0.0, 1.0], dtype=DOUBLE)),
        (Σ(x_**l, (l, 0, i)), 1 + x + x**2),
        (Π(x_ + l, (l, 1, i)), (x + 1) * (x + 2)),
        (Σ(x_, (l, 1, 0)), torch.zeros((), dtype=DOUBLE)),
        (Π(x_, (l, 1, 0)), torch.ones((), dtype=DOUBLE)),
        (Σ(l * t, (t, 0, 3), (l, 0, t)), torch.tensor(25.0, dtype=DOUBLE)),
        (sp.KroneckerDelta(i, 2) + sp.KroneckerDelta(i, 3), torch.tensor(1.0, dtype=DOUBLE)),
        (sp.Float(0.5), torch.tensor(0.5, dtype=DOUBLE)),
    ):
        close(world(tree), expected)


def test_products_and_sums_over_sets():
    table = rand(2, 3, seed=5).softmax(-1)
    world = Tensors({a_: 3, s_: 2, π: lambda action, state: table[state, action], f: rand(3, seed=6)})
    close(world(Σ(π(a_, s_), a_), {s_: 1}), torch.ones((), dtype=DOUBLE))
    close(world(Σ(Σ(π(a_, s_), a_), s_)), torch.tensor(2.0, dtype=DOUBLE))
    close(world(Σ(Σ(f(a_), a_), a_)), 3 * world(Σ(f(a_), a_)))  # the same letter twice
    mean, square = (table[1] * world.values[f]).sum(), (table[1] * world.values[f] ** 2).sum()
    close(world(E(π(a_, s_))[f(a_)], {s_: 1}), mean)
    close(world(Var(π(a_, s_))[f(a_)], {s_: 1}), square - mean**2)


def test_recursive_definitions_are_read():
    """V_h(s) by its definition, against the Bellman recursion in tensors."""
    policy, dynamics, rewards = rand(2, 3, seed=1).softmax(-1), rand(2, 3, 2, seed=2).softmax(-1), rand(2, 3, 2, seed=3)
    world = Tensors(
        {
            a_: 3,
            s_new: 2,
            γ: 0.8,
            π: lambda action, state: policy[state, action],
            p: lambda after, state, action: dynamics[state, action, after],
            reward: lambda state, action, after: rewards[state, action, after],
        }
    )
    value = torch.zeros(2, dtype=DOUBLE)
    for steps in range(4):
        close(torch.stack([world(V_togo(steps, s_), {s_: k}) for k in range(2)]), value)
        close(world(N_togo(steps, s_), {s_: 0}), torch.ones((), dtype=DOUBLE))
        value = (policy[..., None] * dynamics * (rewards + 0.8 * value)).sum((1, 2))


# -- advantages --------------------------------------------------------------------------------------
@pytest.mark.equation("td-error", "gae", "gae-lambda-0", "gae-lambda-1", "lambda-return-gae")
@given(cases)
def test_advantages_are_what_their_definitions_say(case):
    """δ_t, Â_t, the λ-return, the n-step advantage and the error of the critic, each read at its own time."""
    length, _, discount, seed = case
    rewards, critic, true = (rand(length + k, seed=seed + k).requires_grad_() for k in (0, 1, 1))
    none = torch.zeros(length, dtype=torch.bool)
    world = Tensors({r: rewards, γ: discount, λ: 0.6, T: length - 1, s: torch.arange(length + 1), Vhat: critic, V: true})
    steps = rewards, critic[:-1], critic[1:], none

    def at_all_times(tree):
        return torch.stack([world(tree, {t: k}) for k in range(length)])

    errors = td_errors(*steps, discount)
    same_gradients(errors, at_all_times(δ[t]), [rewards, critic], seed)
    same_gradients(gae(*steps, none, discount, 0.6), at_all_times(Â[t]), [rewards, critic], seed)
    same_gradients(lambda_returns(*steps, none, discount, 0.6), at_all_times(Rλ[t]), [rewards, critic], seed)
    for mixing in (0, 1):
        close(at_all_times(at(Â[t], λ=mixing)), gae(*steps, none, discount, float(mixing)))
    close(at_all_times(Â_n(1, t)), errors)
    close(at_all_times(e(s[t + 1])), (critic - true)[1:])
    close(at_all_times(δπ[t]), rewards + discount * true[1:] - true[:-1])
    for number in range(length + 1):
        expected = discounted_returns(rewards[:number], discount, critic[number])[0] if number else critic[0]
        close(world(G_n(number, 0)), expected)


@pytest.mark.equation("gae-termination")
@given(st.integers(1, 7), st.integers(0, 2**31))
def test_episodes_that_end_inside_a_row(length, seed):
    draw = torch.Generator().manual_seed(seed)
    ended, cut = (torch.rand(length, generator=draw) < 0.3 for _ in range(2))
    rewards, critic, following = (rand(length, seed=seed + k).requires_grad_() for k in range(3))
    errors = td_errors(rewards, critic, following, ended, 0.9)
    world = Tensors({d: (ended | cut).double(), x: errors, γ: 0.9, λ: 0.6, T: length - 1})
    tree = torch.stack([world(stopped(t), {t: k}) for k in range(length)])
    same_gradients(gae(rewards, critic, following, ended, cut, 0.9, 0.6), tree, [rewards, critic], seed)


@given(st.integers(2, 7), st.integers(0, 2**31))
def test_the_scan_and_its_adjoint_are_what_reverse_scan_computes(length, seed):
    """Y_t = x_t + c_t Y_{t+1}; and its gradient by autograd is Z_t."""
    inputs, coefficients, weights = (rand(length, seed=seed + k).requires_grad_() for k in range(3))
    world = Tensors({x: inputs, c: coefficients, w: weights, T: length - 1})
    tree = torch.stack([world(Y[t], {t: k}) for k in range(length)])
    same_gradients(reverse_scan(coefficients, inputs), tree, [inputs, coefficients], seed)
    (ours,) = torch.autograd.grad((reverse_scan(coefficients, inputs) * weights).sum(), inputs)
    close(ours, torch.stack([world(Z[t], {t: k}) for k in range(length)]).detach())


def test_values_come_before_definitions():
    world = Tensors({δ: torch.tensor([1.0, 2.0], dtype=DOUBLE), γ: 0.5, λ: 1.0, T: 1})
    close(world(Â[0]), torch.tensor(2.0, dtype=DOUBLE))
    with pytest.raises(IllFormed, match="off a tensor"):
        world(δ[2])


def test_stop_gradient_and_components():
    logits = rand(3, seed=8).requires_grad_()
    world = Tensors({θ: logits, q: lambda k: logits.softmax(0)[k], x_: 1, b_: 2})
    probability = logits.softmax(0)[1]
    close(world(sg[q(x_)]), probability.detach())
    assert not world(sg[q(x_)]).requires_grad
    close(world(grad(sg[q(x_)])), torch.zeros(3, dtype=DOUBLE))
    close(world(grad(sp.Integer(3))), torch.zeros(3, dtype=DOUBLE))
    close(world(grad(sg[q(x_)], θ[b_])), torch.zeros((), dtype=DOUBLE))
    close(world(grad(sg[q(x_)] * log(q(x_)))), torch.autograd.grad(probability, logits, retain_graph=True)[0])
    close(
        world(grad(grad(q(x_), θ[b_]), θ[b_])),
        torch.autograd.functional.hessian(lambda z: z.softmax(0)[1], logits)[2, 2],
    )


BAD = {
    "an index before the start": r[t - 4],
    "an index after the end": r[t + 2],
    "two indices too many": r[t, t, t],
    "no values": s[t],
    "no value": α,
    "an expectation": E[r[t]],
    "at old": AtOld(r[t]),
    "the objective": J(θ),
    "a probability of paths": P(τ),
    "a value function": V(s[t]),
    "an advantage": A(s[t], a[t]),
    "a set of unknown size": Σ(r[0], a_),
    "a bound that is no number": Σ(r[0], (l, 0, γ)),
    "a head without a table": f(x_),
    "a gradient without parameters": grad(r[0]),
    "a fractional index": r[γ],
    "a negative number of steps": V_togo(-1, s_),
    "a TD error of two times": δ[t, t],
    "a TD error past the end": δ[t + 1],
    "a TD error without a critic": δ[0],
    "an advantage at no time": Â[γ],
    "the error of a critic at a symbol": e(s_),
    "an advantage of two times": A(s[0], a[1]),
    "an advantage of one argument": A(s[0]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_value_is_refused(name):
    with pytest.raises(IllFormed):
        Tensors({r: rand(2, 5), t: 3, γ: 0.5, s_: 0})(BAD[name])


def test_gradients_of_more_than_one_number_are_refused():
    logits = rand(3).requires_grad_()
    world = Tensors({θ: logits, q: lambda k: logits})
    with pytest.raises(IllFormed, match="one number"):
        world(grad(q(x_)), {x_: 0})
    with pytest.raises(IllFormed, match="component"):
        Tensors({θ: logits, q: lambda k: logits[k]})(grad(q(x_), r[0]), {x_: 0})
