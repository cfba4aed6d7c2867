"""The affine recurrence y_t = b_t + a_t · y_{t+1}, solved backwards in time: step by step, and fast.

Time is the last axis and runs over t = 0..T. All methods keep one rule: where a_t is exactly 0, or the caller says so,
the recurrence is cut, and y_t equals b_t whatever follows, NaN and infinity included.
"""

import math
import sys
from functools import lru_cache, reduce
from numbers import Real

import torch
from torch import Tensor
from torch.nn.functional import pad

METHODS = ("auto", "loop", "scan")
CHUNK = 16  # times in a chunk: 8 to 32 are equally fast
POWERS = 16  # the same in `scan_powers`; a multiple of 8
SMALL = 2**16  # up to so many numbers, doubling takes less time than `scan_powers`
BLOCK = 2**18  # numbers that `scan` works on at once, so that they stay in a CPU's cache
NUMBER_BLOCK = 2**20  # the same for `scan_powers`, which takes fewer passes over them
HALF = (torch.float16, torch.bfloat16)


def reverse_scan(
    a: float | Tensor, b: Tensor, init: Tensor | None = None, method: str = "auto", *, cut: Tensor | None = None
) -> Tensor:
    """Solve an affine recurrence backwards in time.

    y_t = b_t + a_t · y_{t+1},  t = T..0,  y_{T+1} = init (0 if None);  where a_t = 0 exactly, y_t = b_t whatever follows

    Shapes: b [..., T+1]; a a number or a tensor of b's shape; init [...], b's shape without time; cut, b's shape, True
    where a_t counts as 0. Returns [..., T+1]. Differentiable in a, b and init, twice and more, in reverse mode only.
    `method` is "loop", one step after the other; "scan", chunks of the time axis, all at once; or "auto", the loop where
    there are too few times for chunks. The two differ in rounding only; both work in float32 if b has half precision,
    and neither looks at values on a GPU. An a that is one number, with cuts where it stops, is the fastest form on a CPU.
    NaN propagates to earlier times up to the next cut. ("scan" multiplies the a of many times. Where that over- or
    underflows, which takes |a| > 1 or infinite values, values may come out as NaN if a is a tensor, or on a GPU.)
    Raises ValueError for shapes that differ (nothing is broadcast), an empty time axis, integers, a mix of dtypes or
    devices, an a that is neither number nor tensor, a cut that is not boolean, an unknown method.
    Tests hold it to the double sum y_t = Σ_{k≥t} (Π_{t≤j<k} a_j) b_k + (Π_{j≥t} a_j) init.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    check_recurrence(a=a, b=b, init=init)
    check_cut(cut, b)
    a = a if isinstance(a, Tensor) else float(a)
    if b.dtype in HALF:
        a, wide, init = (x.float() if isinstance(x, Tensor) else x for x in (a, b, init))
        return reverse_scan(a, wide, init, method, cut=cut).to(b.dtype)
    wanted = torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in (a, b, init))
    wanted = wanted or torch.autograd.forward_ad._current_level >= 0  # forward mode: the Function refuses it
    if not isinstance(a, Tensor):
        cut = torch.zeros_like(b, dtype=torch.bool) if cut is None else cut
        return NumberRecurrence.apply(a, b, init, cut, method) if wanted else solve_number(a, b, init, cut, method)
    a = a if cut is None else a.masked_fill(cut, 0.0)
    init = b.new_zeros(b.shape[:-1]) if init is None else init
    return Recurrence.apply(a, b, init, method) if wanted else solve(a, b, init, method)


class Recurrence(torch.autograd.Function):
    """The derivative of a reverse scan is a forward scan: ḡ_t = ȳ_t + a_{t-1} ḡ_{t-1};  b̄_t = ḡ_t,  ā_t = ḡ_t y_{t+1}."""

    @staticmethod
    def forward(ctx, a, b, init, method):
        solution = solve(a, b, init, method)
        ctx.method = method
        ctx.save_for_backward(a, *((solution, init) if ctx.needs_input_grad[0] else ()))
        return solution

    @staticmethod
    def backward(ctx, grad):
        a, *rest = ctx.saved_tensors
        entered = torch.cat([torch.zeros_like(a[..., :1]), a[..., :-1]], dim=-1)  # the factor of y_t in y_{t-1}
        grad_b = reverse_scan(entered.flip(-1), grad.flip(-1), method=ctx.method).flip(-1)
        grad_a = None
        if rest:
            solution, init = rest
            grad_a = grad_b * torch.cat([solution[..., 1:], init.unsqueeze(-1)], dim=-1)
        return grad_a, grad_b, a[..., -1] * grad_b[..., -1], None


class NumberRecurrence(torch.autograd.Function):
    """The same for one number a: only the cuts are shifted."""

    @staticmethod
    def forward(ctx, a, b, init, cut, method):
        ctx.a, ctx.method = a, method
        ctx.save_for_backward(cut)
        return solve_number(a, b, init, cut, method)

    @staticmethod
    def backward(ctx, grad):
        (cut,) = ctx.saved_tensors
        entered = torch.cat([torch.ones_like(cut[..., :1]), cut[..., :-1]], dim=-1)  # y_t does not enter y_{t-1}
        grad_b = reverse_scan(ctx.a, grad.flip(-1), method=ctx.method, cut=entered.flip(-1)).flip(-1)
        grad_init = ctx.a * grad_b[..., -1].masked_fill(cut[..., -1], 0.0) if ctx.needs_input_grad[2] else None
        return None, grad_b, grad_init, None, None


def solve(a: Tensor, b: Tensor, init: Tensor, method: str) -> Tensor:
    """The solution without derivatives; arguments as `reverse_scan`'s, checked."""
    a, b, init = a.detach(), b.detach(), init.detach()
    times = b.shape[-1]
    if method == "loop" or (method == "auto" and times <= CHUNK) or not b.numel():
        return loop(a, b, init)
    rows = [x.reshape(-1, times) for x in (a, b)] + [init.reshape(-1)]
    blocks = zip(*(x.split(max(1, BLOCK // times)) for x in rows), strict=True)
    return torch.cat([finite_or_cut(*block) for block in blocks]).view(b.shape)


def loop(a: Tensor, b: Tensor, following: Tensor) -> Tensor:
    """The recurrence as it is written, one time after the other."""
    solution = []
    for a_t, b_t, cut in zip(*(reversed(x.unbind(-1)) for x in (a, b, a == 0)), strict=True):
        following = torch.where(cut, b_t, b_t + a_t * following)
        solution.append(following)
    return torch.stack(solution[::-1], dim=-1)


def solve_number(a: float, b: Tensor, init: Tensor | None, cut: Tensor, method: str) -> Tensor:
    """`solve` for one number a and its cuts.

    On a CPU a cut is at first a product with 0, and 0 · NaN is NaN. So unless all is finite, the values that NaN and
    infinity do reach come from the loop, and the others, equal bit for bit, from what is finite.
    """
    b, init = b.detach(), None if init is None else init.detach()
    few = method == "auto" and b.shape[-1] <= CHUNK
    fast = not few and method != "loop" and b.device.type == "cpu" and b.numel() > 0
    if fast:
        solution = powers_or_doubling(a, b, init, cut)
        if math.isfinite(solution.sum().item()):
            return solution
    ending = b.new_zeros(b.shape[:-1]) if init is None else init
    factors = torch.full_like(b, a).masked_fill_(cut, 0.0)
    exact = loop(factors, b, ending) if fast else solve(factors, b, ending, method)
    if not fast:
        return exact
    solution = powers_or_doubling(a, *(x.nan_to_num(0.0, 0.0, 0.0) for x in (b, ending)), cut)
    return torch.where(exact.isfinite() & solution.isfinite(), solution, exact)


def powers_or_doubling(a: float, b: Tensor, init: Tensor | None, cut: Tensor) -> Tensor:
    """The solution for one number a, if it is finite: by `doubling` if it is small, else by `scan_powers`."""
    shape, times = b.shape, b.shape[-1]
    b, cut = (x.reshape(-1, times) for x in (b, cut))
    if init is not None:
        last = b[:, -1] + a * init.reshape(-1) * unset(cut[:, -1], b.dtype)
        b = torch.cat([b[:, :-1], last.unsqueeze(1)], dim=1)  # and nothing follows any more
    if a == 0 or b.numel() <= SMALL:
        factor = unset(cut, b.dtype).contiguous().mul_(a)
        factor[:, -1] = 0
        return doubling(factor.view(-1), b.reshape(-1).clone(), times if a else 1).view(shape)
    blocks = zip(*(x.split(max(1, NUMBER_BLOCK // times)) for x in (b, cut)), strict=True)
    solved = [scan_powers(a, *block) for block in blocks]
    return (solved[0] if len(solved) == 1 else torch.cat(solved)).view(shape)


def scan_powers(a: float, b: Tensor, cut: Tensor) -> Tensor:
    """`scan` for one number a: the map of a chunk without a cut is a matrix of powers. b, cut [R, T+1]; y_{T+1} = 0.

    y_t = Σ_{k≥t} a^{k-t} b_k + a^{L-t} c,  t = 0..L-1,  where the carry c is the head of the next chunk, its y_0.
    The heads obey the recurrence too, with the factor a^L, or 0 where the chunk is cut. Chunks with a cut are doubled.
    """
    rows, times = b.shape
    missing = -times % POWERS
    if missing:
        b, cut = (pad(x, (0, missing)) for x in (b, cut))
    b, cut = (x.reshape(-1, POWERS) for x in (b, cut))  # [chunks of all rows, L]
    matrix, powers = _power_matrix(a, b.dtype)
    y = b @ matrix
    broken = chunks_with(cut)
    uncut = unset(cut.index_select(0, broken), b.dtype)
    passing = uncut.flip(1).cumprod(1).flip(1).mul_(powers)  # the carry reaches back to the last cut
    uncut[:, -1] = 0
    pieces = doubling(uncut.mul_(a).view(-1), b.index_select(0, broken).view(-1), POWERS).view(-1, POWERS)

    head = y[:, 0].index_copy(0, broken, pieces[:, 0])
    factor = powers[0].repeat(len(head)).index_fill_(0, broken, 0.0).view(rows, -1)
    factor[:, -1] = 0
    carry = doubling(factor.view(-1), head, factor.shape[1]).roll(-1).view(rows, -1)
    carry[:, -1] = 0
    carry = carry.view(-1, 1)
    y.addcmul_(carry, powers).index_copy_(0, broken, pieces.addcmul_(carry.index_select(0, broken), passing))
    return y.view(rows, -1)[:, :times].contiguous()


def doubling(a: Tensor, b: Tensor, times: int) -> Tensor:
    """The recurrence along one axis [N] of rows of so many times each, a = 0 at the last of each. Written over b.

    Before a run with step n, b_t is the sum of the first n terms of y_t, and a_t the factor of what follows them.
    """
    step = 1
    while step < times:
        b[:-step].add_(a[:-1] * b[step:])
        step *= 2
        if step < times:
            a = a[: -step // 2] * a[step // 2 :]
    return b


@lru_cache(maxsize=64)
def _power_matrix(a: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For a chunk of L times: a^{k-t} where k ≥ t, else 0, as [k, t]; and a^{L-t} as [t]."""
    time = torch.arange(POWERS, dtype=torch.float64, device="cpu")
    matrix = (float(a) ** (time.unsqueeze(1) - time).clamp(min=0)).tril()
    return matrix.to(dtype), (float(a) ** (POWERS - time)).to(dtype)


def chunks_with(cut: Tensor) -> Tensor:
    """The chunks [C, L] that hold a cut, by their numbers. Eight booleans are read as one integer."""
    cut = cut.clone() if cut.storage_offset() else cut
    return reduce(torch.bitwise_or, cut.view(torch.int64).unbind(1)).nonzero().squeeze(1)


def unset(flags: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where a flag is False, else 0. (Bytes become floating point ten times as fast as booleans do.)"""
    return torch.logical_not(flags).view(torch.uint8).to(dtype)


def finite_or_cut(a: Tensor, b: Tensor, init: Tensor) -> Tensor:
    """`scan`, with 0 · y for a cut, which is twice as fast; but 0 · NaN is NaN, so unless all is finite, with real cuts.

    A GPU would have to be waited for to know, so there the cuts are always real.
    """
    if b.device.type == "cpu":
        solution = scan(a, b, init)
        if math.isfinite(solution.sum().item()):
            return solution
    return scan(a, b, init, a == 0)


def scan(a: Tensor, b: Tensor, init: Tensor, cuts: Tensor | None = None) -> Tensor:
    """Run all chunks of the time axis at once, and again from the right values. a, b, cuts [R, T+1], init [R].

    In a chunk of times t..t+L-1 the recurrence is an affine map of what follows, y_t = B + A · y_{t+L}, and the maps of
    neighbours compose: (A, B) ∘ (A', B') = (A A', B + A B'). So the first values of the chunks obey the recurrence too,
    with a time axis that is L times shorter.
    """
    rows, times = b.shape
    length = CHUNK if times > CHUNK else times
    chunks = -(-times // length)
    missing = chunks * length - times
    if missing:  # later times that pass on what follows: y_t = 0 + 1 · y_{t+1}
        a, b = (pad(x, (0, missing), value=value) for x, value in ((a, 1.0), (b, 0.0)))
        cuts = None if cuts is None else pad(cuts, (0, missing))
    a, b, cuts = (None if x is None else transposed(x.reshape(-1, length)) for x in (a, b, cuts))  # [L, R · chunks]
    following = init
    if chunks > 1:
        A, B = a.prod(0), run(a, b, cuts, torch.zeros_like(b[0]))
        cut = None if cuts is None else cuts.any(0).view(rows, chunks)
        first = scan(A.view(rows, chunks), B.view(rows, chunks), init, cut)
        following = torch.cat([first[:, 1:], init.unsqueeze(1)], dim=1).view(-1)  # what follows a chunk is the next's first
    run(a, b, cuts, following, keep=True)
    return transposed(b).view(rows, -1)[:, :times]


def run(a: Tensor, b: Tensor, cuts: Tensor | None, following: Tensor, keep: bool = False) -> Tensor:
    """The recurrence along the first axis. Returns the value at time 0; with `keep` every value is written over its b."""
    y = following.clone()
    steps = zip(a.unbind(), b.unbind(), [None] * len(b) if cuts is None else cuts.unbind(), strict=True)
    for a_t, b_t, cut in reversed(list(steps)):
        if cut is None:
            y = torch.addcmul(b_t, a_t, y, out=b_t if keep else y)
        else:
            y = torch.where(cut, b_t, torch.addcmul(b_t, a_t, y))
            if keep:
                b_t.copy_(y)
    return y


def transposed(x: Tensor) -> Tensor:
    """A copy of the matrix x with the axes swapped.

    To shuffle channels is to swap the axes [groups, channels of a group]; for float32 on a CPU torch does that three
    times as fast as a copy of x.t(), if the groups are many.
    """
    if x.dtype == torch.float32 and x.device.type == "cpu" and len(x) > x.shape[1]:
        groups = len(x)
        channels = x.reshape(1, 1, 1, -1).permute(0, 3, 1, 2)
        return torch.nn.functional.channel_shuffle(channels, groups).reshape(-1, groups)
    return x.t().clone(memory_format=torch.contiguous_format)


def check_recurrence(**named: float | Tensor | None) -> None:
    """Raise ValueError, under the names given, unless factor, sequence and last value make one recurrence."""
    (a_name, a), (b_name, b), (init_name, init) = named.items()
    check_sequence(b_name, b)
    if isinstance(a, Tensor):
        check_like(a_name, a, b, b.shape)
    elif isinstance(a, bool) or not isinstance(a, Real) or abs(a) > sys.float_info.max:
        raise ValueError(f"{a_name} must be a number or a tensor of shape {tuple(b.shape)} as {b_name} is, got {a!r}")
    if init is not None:
        check_like(init_name, init, b, b.shape[:-1])


def check_cut(cut: Tensor | None, b: Tensor) -> None:
    """Raise ValueError unless cut is None or boolean, with the shape and device of b."""
    if cut is None:
        return
    if not isinstance(cut, Tensor) or cut.dtype != torch.bool or cut.shape != b.shape or cut.device != b.device:
        given = describe(cut) if isinstance(cut, Tensor) else type(cut).__name__
        raise ValueError(f"cut must be boolean, with the shape and device of b, {describe(b)}, got {given}")


def check_sequence(name: str, values: Tensor) -> None:
    """Raise ValueError unless values is a floating-point tensor with a time axis that is not empty."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor [..., T+1], got {type(values).__name__}")
    if values.dim() == 0 or values.shape[-1] == 0:
        raise ValueError(f"{name} needs a last axis of time with at least one entry, got shape {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {values.dtype}; convert it, e.g. {name}.float()")


def check_like(name: str, values: Tensor, like: Tensor, shape: torch.Size) -> None:
    """Raise ValueError unless values is a tensor of this shape, with the dtype and the device of `like`."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor of shape {tuple(shape)}, got {type(values).__name__}")
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}; nothing is broadcast")
    if values.dtype != like.dtype or values.device != like.device:
        raise ValueError(f"{name} is {describe(values)}, but it must agree with {describe(like)} in dtype and device")


def describe(values: Tensor) -> str:
    return f"{values.dtype} {tuple(values.shape)} on {values.device}"
