"""Truncated power series in several infinitesimals, for the floating-point reader."""
import hashlib
import itertools
import math

import numpy as np


def noise(*key):
    """A reproducible number in (-1, 1), other for every key."""
    return 2 * int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16) / 2**48 - 1


def table(shape, *key):
    """An array of noise."""
    return np.array([noise(*key, *where) for where in itertools.product(*map(range, shape))]).reshape(shape)


class Jet:
    """A number in which each of the first m infinitesimals may occur once: `c[mask]` is the coefficient of the product of
    those in `mask`. The second axis runs over trajectories or data sets (or has length 1)."""

    __slots__ = ("c",)

    def __init__(self, c):
        self.c = c

    @staticmethod
    def of(x):
        return x if isinstance(x, Jet) else Jet(np.array([[float(x)]]))

    @property
    def value(self):
        return self.c[0]

    def padded(self, size):
        missing = size - len(self.c)
        return np.concatenate([self.c, np.zeros((missing, *self.c.shape[1:]))]) if missing > 0 else self.c

    def __add__(self, other):
        size = max(len(self.c), len(other.c))
        return Jet(self.padded(size) + other.padded(size))

    def __neg__(self):
        return Jet(-self.c)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        return Jet(self._times(self.c, other.c))

    @staticmethod
    def _times(x, y):
        if len(x) < len(y):
            x, y = y, x
        if len(y) == 1:
            return x * y
        half = len(x) // 2
        low, high = x[:half], x[half:]
        if len(y) <= half:
            return np.concatenate(np.broadcast_arrays(Jet._times(low, y), Jet._times(high, y)))
        first, second = Jet._times(low, y[:half]), Jet._times(low, y[half:]) + Jet._times(high, y[:half])
        return np.concatenate(np.broadcast_arrays(first, second))

    def series(self, derivatives):
        """f(x0 + e) = Σ_k f^(k)(x0) e^k / k!: exact, because e^(m+1) = 0."""
        small = self.c.copy()
        small[0] = 0
        out, power, order = Jet(derivatives(0, self.value)[None]), Jet.of(1), int(math.log2(len(self.c)))
        for k in range(1, order + 1):
            power = power * Jet(small)
            out = out + Jet(derivatives(k, self.value)[None] / math.factorial(k)) * power
        return out

    def inverse(self):
        return self.series(lambda k, x: (-1)**k * math.factorial(k) / x**(k + 1))

    def log(self):
        return self.series(lambda k, x: np.log(x) if k == 0 else (-1)**(k - 1) * math.factorial(k - 1) / x**k)

    def exp(self):
        return self.series(lambda k, x: np.exp(x))

    def power(self, n):
        if n < 0:
            return self.inverse().power(-n)
        out = Jet.of(1)
        for _ in range(n):
            out = out * self
        return out

    def take(self, chosen):
        """The same numbers at chosen places of the second axis."""
        return Jet(self.c[:, chosen]) if self.c.shape[1] > 1 else self

    def sum(self):
        return Jet(self.c.sum(axis=1, keepdims=True))
