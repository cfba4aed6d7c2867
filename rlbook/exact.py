"""Small decision processes, enumerated: the exact answer that every estimator of the book is held to.

Every trajectory τ = (s_0, a_0, ..., s_{T+1}) of a small MDP is written down once, so an expectation is a finite sum,
differentiable and exact up to rounding. Time is the last axis: actions and rewards have T+1 entries, states T+2.
The policy is a table of logits [S, A], π_θ(a|s) = softmax(logits[s])_a, and a gradient is flattened to S·A numbers,
state by state. Everything takes dtype (float64, please) and device from the MDP. NaN in the logits propagates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.returns import check_discount, check_integer, discounted_returns

MOST_TRAJECTORIES = 2_000_000


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite decision process with a fixed horizon.

    Fields: initial [S] = ρ_0(s); transition [S, A, S] = P(s'|s, a); reward [S, A, S] = r(s, a, s'); gamma in [0, 1];
    horizon T >= 0, the time of the last action, so a trajectory has T+1 actions.
    Raises ValueError for shapes that disagree, a mix of dtypes or devices, negative or non-finite entries, and rows
    that do not sum to one (within 1e-6, or within 1e-4 in float32).
    """

    initial: Tensor
    transition: Tensor
    reward: Tensor
    gamma: float
    horizon: int

    def __post_init__(self) -> None:
        for name in ("initial", "transition", "reward"):
            values = getattr(self, name)
            if not isinstance(values, Tensor) or not values.is_floating_point():
                raise ValueError(f"{name} must be a floating point tensor, got {values!r:.60}")
            if values.dtype != self.initial.dtype or values.device != self.initial.device:
                raise ValueError(f"{name} is {values.dtype} on {values.device}, but initial is "
                                 f"{self.initial.dtype} on {self.initial.device}")
            if not values.isfinite().all():
                raise ValueError(f"{name} has entries that are not finite")
        states = self.initial.numel()
        if self.initial.dim() != 1 or states == 0:
            raise ValueError(f"initial must be [S], got {tuple(self.initial.shape)}")
        shape = tuple(self.transition.shape)
        if len(shape) != 3 or shape[0] != states or shape[2] != states or shape[1] == 0:
            raise ValueError(f"transition must be [S, A, S] with S = {states}, got {shape}")
        if self.reward.shape != self.transition.shape:
            raise ValueError(f"reward must be {shape} as transition is, got {tuple(self.reward.shape)}")
        _check_distribution("initial", self.initial)
        _check_distribution("transition", self.transition)
        check_discount("gamma", self.gamma)
        check_integer("horizon, the time T of the last action,", self.horizon, 0)

    @property
    def num_states(self) -> int:
        return self.transition.shape[0]

    @property
    def num_actions(self) -> int:
        return self.transition.shape[1]


class Trajectories(NamedTuple):
    """A batch of trajectories: states [N, T+2] and actions [N, T+1], integers, and rewards [N, T+1]."""

    states: Tensor
    actions: Tensor
    rewards: Tensor


class Moments(NamedTuple):
    """Mean [D] and covariance [D, D] of an estimator with D components."""

    mean: Tensor
    covariance: Tensor


def two_state_mdp(horizon: int = 2) -> MDP:
    """The book's running example: fresh (0) or tired (1), rest (0) or work (1).

    Work pays 2 when fresh and 0.5 when tired, less 0.6 or 0.7 where it leaves you tired; rest pays 0.1 and mostly
    restores. The best policy works when fresh and rests when tired. S = A = 2, T = 2, γ = 0.9: 128 trajectories.
    """
    initial = torch.tensor([0.7, 0.3], dtype=torch.float64)
    transition = torch.tensor([[[0.9, 0.1], [0.35, 0.65]], [[0.75, 0.25], [0.15, 0.85]]], dtype=torch.float64)
    reward = torch.tensor([[[0.1, 0.1], [2.0, 1.4]], [[0.1, 0.1], [0.5, -0.2]]], dtype=torch.float64)
    return MDP(initial, transition, reward, gamma=0.9, horizon=horizon)


def bandit(rewards: Tensor) -> MDP:
    """A bandit: one state, one step, action a pays rewards[a]. Raises ValueError unless rewards is [A]."""
    if not isinstance(rewards, Tensor) or rewards.dim() != 1 or rewards.numel() == 0 or not rewards.is_floating_point():
        raise ValueError(f"rewards must be a floating point tensor [A], got {rewards!r:.60}")
    table = rewards[None, :, None]
    one = torch.ones(1, dtype=rewards.dtype, device=rewards.device)
    return MDP(one, torch.ones_like(table), table, gamma=1.0, horizon=0)


def trajectories(mdp: MDP) -> Trajectories:
    """Every trajectory that the dynamics allow, once, in lexicographic order.

    Those with ρ_0(s_0) Π_t P(s_{t+1}|s_t, a_t) = 0 are left out: no policy can reach them.
    Raises ValueError beyond two million. Tests hold it to Σ_τ P(τ|θ) = 1 (eq-trajectory-probability) and to a
    nested loop.
    """
    possible = mdp.transition > 0
    states = torch.nonzero(mdp.initial > 0)
    actions = states[:, :0]
    for _ in range(mdp.horizon + 1):
        row, action, next_state = torch.nonzero(possible[states[:, -1]], as_tuple=True)
        if len(row) > MOST_TRAJECTORIES:
            raise ValueError(f"more than {MOST_TRAJECTORIES} trajectories: S = {mdp.num_states}, "
                             f"A = {mdp.num_actions}, T = {mdp.horizon} is too large to enumerate")
        states = torch.cat([states[row], next_state[:, None]], dim=1)
        actions = torch.cat([actions[row], action[:, None]], dim=1)
    return Trajectories(states, actions, mdp.reward[states[:, :-1], actions, states[:, 1:]])


def sample(mdp: MDP, logits: Tensor, n: int, generator: torch.Generator | None = None) -> Trajectories:
    """Draw n independent trajectories by living through them, step by step.

    s_0 ~ ρ_0,  a_t ~ π_θ(·|s_t),  s_{t+1} ~ P(·|s_t, a_t),  t = 0..T  (eq-trajectory-probability)

    Raises ValueError for an n that is no integer >= 1, for logits that are not [S, A] and finite, and for a `generator`
    that is not on the MDP's device. Tests hold its frequencies to the enumerated probabilities (χ²).
    """
    check_integer("n", n, 1)
    _check_generator(mdp, generator)
    policy = _log_policy(mdp, logits).detach().exp()
    if not logits.isfinite().all():
        raise ValueError(f"logits must be finite to draw actions, got {logits[~logits.isfinite()][0].item()}")
    states, actions = [_draw(mdp.initial.expand(n, -1), generator)], []
    for _ in range(mdp.horizon + 1):
        actions.append(_draw(policy[states[-1]], generator))
        states.append(_draw(mdp.transition[states[-1], actions[-1]], generator))
    states, actions = torch.stack(states, dim=1), torch.stack(actions, dim=1)
    return Trajectories(states, actions, mdp.reward[states[:, :-1], actions, states[:, 1:]])


def log_probs(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Log-probability [N] of each trajectory, differentiable in the logits.

    log P(τ|θ) = log ρ_0(s_0) + Σ_t [log P(s_{t+1}|s_t, a_t) + log π_θ(a_t|s_t)]  (eq-trajectory-probability)

    Raises ValueError for logits that are not [S, A] in the MDP's dtype and device, and for states [N, T+2] or actions
    [N, T+1] of other shapes or that the MDP does not have.
    """
    _check_batch(mdp, batch)
    before, after = batch.states[:, :-1], batch.states[:, 1:]
    dynamics = mdp.initial[batch.states[:, 0]].log() + mdp.transition[before, batch.actions, after].log().sum(dim=1)
    return dynamics + _log_policy(mdp, logits)[before, batch.actions].sum(dim=1)


def returns(mdp: MDP, batch: Trajectories) -> Tensor:
    """Return [N] of each trajectory: R(τ) = Σ_t γ^t r_t  (eq-return). Raises ValueError unless rewards is [N, T+1]."""
    rewards = getattr(batch, "rewards", None)
    if not isinstance(rewards, Tensor) or rewards.dim() != 2:
        raise ValueError(f"rewards must be a tensor [N, T+1], got {_describe(rewards)}")
    return discounted_returns(rewards, mdp.gamma)[:, 0]


def expected_return(mdp: MDP, logits: Tensor) -> Tensor:
    """The objective, a scalar, differentiable: J(π_θ) = Σ_τ P(τ|θ) R(τ)  (eq-expected-return).

    Tests hold it to backward induction on the Bellman equation.
    """
    every = trajectories(mdp)
    return log_probs(mdp, every, logits).exp() @ returns(mdp, every)


def gradient(mdp: MDP, logits: Tensor) -> Tensor:
    """The exact gradient [S, A] of the objective, by differentiating the sum: ∇_θ J(π_θ) = Σ_τ ∇_θ P(τ|θ) R(τ).

    No score function is involved, so eq-policy-gradient can be tested against it; it is held to finite differences.
    """
    _check_logits(mdp, logits)
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(expected_return(mdp, logits), logits)[0]


def kl(mdp: MDP, logits: Tensor, other: Tensor) -> Tensor:
    """Divergence of the trajectories of two policies, a scalar, differentiable in both.

    KL(P_θ ‖ P_θ') = Σ_τ P(τ|θ) log [P(τ|θ) / P(τ|θ')];  the dynamics cancel in the ratio.

    A trajectory that the first policy never takes (a logit of -inf) adds nothing: 0 · log 0 = 0. One that only the
    first takes makes it infinite.
    Tests hold it to the sum over time of the expected divergence of the action distributions (the chain rule).
    """
    every = trajectories(mdp)
    ours, theirs = log_probs(mdp, every, logits), log_probs(mdp, every, other)
    return ours.exp() @ torch.where(ours.isneginf(), 0.0, ours - theirs)


def score(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Score [N, S·A] of each trajectory, in closed form.

    ∇_θ log P(τ|θ) = Σ_t ∇_θ log π_θ(a_t|s_t),  (∇_{θ[s]} log π_θ(a|s))_b = 1[b = a] − π_θ(b|s)  (eq-trajectory-score)

    Tests hold it to automatic differentiation of `log_probs`, and its exact mean to zero (eq-score-mean-zero).
    """
    _check_batch(mdp, batch)
    return policy_gradient_estimates(mdp, batch, logits, torch.ones_like(batch.actions, dtype=mdp.reward.dtype))


def policy_gradient_estimates(
    mdp: MDP, batch: Trajectories, logits: Tensor, weights: Tensor | None = None
) -> Tensor:
    """One estimate [N, S·A] of the gradient from each trajectory, in closed form; their mean is ĝ.

    ĝ(τ) = Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t,  Φ_t = R(τ) by default  (eq-policy-gradient, eq-gradient-estimate)

    weights: Φ_t as [N, T+1], or one number per trajectory, [N], in the MDP's dtype. Raises ValueError for any other
    shape, type or dtype, and for logits and trajectories as `log_probs` does.
    Tests hold its exact mean to `gradient`, and each row to the gradient of `losses.policy_gradient_loss`.
    """
    _check_batch(mdp, batch)
    if weights is None:
        weights = returns(mdp, batch)
    _check_weights(mdp, batch, weights)
    if weights.dim() == 1:
        weights = weights[:, None].expand(batch.actions.shape)
    policy = _log_policy(mdp, logits).exp()
    taken = batch.states[:, :-1] * mdp.num_actions + batch.actions
    weight_of_taken = torch.zeros(len(weights), policy.numel(), dtype=policy.dtype, device=policy.device)
    weight_of_taken = weight_of_taken.scatter_add(1, taken, weights).unflatten(1, policy.shape)
    weight_of_state = weight_of_taken.sum(dim=2, keepdim=True)
    return (weight_of_taken - weight_of_state * policy).flatten(1)


def moments(mdp: MDP, logits: Tensor, estimator: Callable[[Trajectories, Tensor], Tensor]) -> Moments:
    """Exact mean and covariance of any estimator that maps one trajectory to D numbers.

    E[X] = Σ_τ P(τ|θ) X(τ),  Cov[X] = Σ_τ P(τ|θ) (X(τ) − E[X]) (X(τ) − E[X])ᵀ

    estimator(trajectories, logits) -> [N, D]. The mean of n independent ones has covariance Cov[X]/n
    (eq-sample-mean-variance). Raises ValueError if the estimator returns another shape or dtype.
    """
    if not callable(estimator):
        raise ValueError(f"estimator must be a function of trajectories and logits, got {estimator!r:.60}")
    every = trajectories(mdp)
    values = estimator(every, logits)
    kind, n = mdp.reward.dtype, len(every.actions)
    if not isinstance(values, Tensor) or values.dim() != 2 or len(values) != n or values.dtype != kind:
        raise ValueError(f"the estimator must return a {kind} tensor [N, D] with N = {n}, got {_describe(values)}")
    probabilities = log_probs(mdp, every, logits).exp()
    mean = probabilities @ values
    centred = values - mean
    return Moments(mean, centred.T @ (probabilities[:, None] * centred))


def _log_policy(mdp: MDP, logits: Tensor) -> Tensor:
    """log π_θ(a|s) as a table [S, A]."""
    _check_logits(mdp, logits)
    return logits.log_softmax(dim=-1)


def _check_logits(mdp: MDP, logits: Tensor) -> None:
    shape = (mdp.num_states, mdp.num_actions)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        raise ValueError(f"logits must be [S, A] = {shape}, got {_describe(logits)}")
    if logits.dtype != mdp.reward.dtype or logits.device != mdp.reward.device:
        raise ValueError(f"logits are {logits.dtype} on {logits.device}, but the MDP is {mdp.reward.dtype} "
                         f"on {mdp.reward.device}")


def _check_batch(mdp: MDP, batch: Trajectories) -> None:
    """Raise ValueError unless states [N, T+2] and actions [N, T+1] index the MDP's."""
    states, actions = getattr(batch, "states", None), getattr(batch, "actions", None)
    for name, shape, values, count in (("states", "[N, T+2]", states, mdp.num_states),
                                       ("actions", "[N, T+1]", actions, mdp.num_actions)):
        if not isinstance(values, Tensor) or values.dim() != 2 or values.dtype != torch.int64:
            raise ValueError(f"{name} must be a tensor {shape} of int64, got {_describe(values)}")
        if values.device != mdp.reward.device:
            raise ValueError(f"{name} are on {values.device}, but the MDP is on {mdp.reward.device}")
        outside = (values < 0) | (values >= count)
        if outside.any():
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {values[outside][0].item()}")
    if states.shape != (len(actions), actions.shape[1] + 1):
        raise ValueError(f"states [N, T+2] and actions [N, T+1] disagree: {tuple(states.shape)} and {tuple(actions.shape)}")


def _check_weights(mdp: MDP, batch: Trajectories, weights: Tensor) -> None:
    shape, like = tuple(batch.actions.shape), mdp.reward
    if not isinstance(weights, Tensor) or tuple(weights.shape) not in (shape, shape[:1]):
        raise ValueError(f"weights must be a tensor [N] or [N, T+1] with [N, T+1] = {shape}, got {_describe(weights)}")
    if weights.dtype != like.dtype or weights.device != like.device:
        raise ValueError(f"weights are {weights.dtype} on {weights.device}, but the MDP is {like.dtype} on {like.device}")


def _check_generator(mdp: MDP, generator: torch.Generator | None) -> None:
    if generator is None:
        return
    device = mdp.reward.device
    if not isinstance(generator, torch.Generator) or generator.device.type != device.type:
        raise ValueError(f"generator must be a torch.Generator on {device}, got {generator!r}")


def _describe(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _draw(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """One index per row [N, K], by inverting the distribution function; an entry of probability 0 is never drawn."""
    cumulative = probabilities.cumsum(dim=-1)
    cumulative = cumulative / cumulative[:, -1:]
    uniform = torch.rand(len(probabilities), 1, dtype=cumulative.dtype, device=cumulative.device, generator=generator)
    return (uniform >= cumulative).sum(dim=-1)


def _check_distribution(name: str, values: Tensor) -> None:
    if (values < 0).any():
        raise ValueError(f"{name} has a negative probability: {values.min().item():g}")
    worst = (values.sum(dim=-1) - 1).abs().max().item()
    if worst > (1e-6 if values.dtype == torch.float64 else 1e-4):
        raise ValueError(f"{name} must sum to one over its last axis, but one sum is off by {worst:.3g}")
