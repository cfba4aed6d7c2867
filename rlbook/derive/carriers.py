"""Where the numbers of a finite MDP live. The same tree is evaluated in each carrier, and the carrier decides the level.

    Symbolic   polynomials over the rationals, one generator a number     F: exact for every value
    Point      rationals at one random point, with a first derivative     R: error at most degree / 2^61

Neither simplifies anything: the zero test is the normal form of the ring (a dictionary of monomials), or
the equality of two rationals.
"""
import random
from collections import namedtuple

from sympy.polys.domains import QQ
from sympy.polys.rings import ring

from .errors import IllFormed
from .witness import Witness


class Node(namedtuple("Node", "at time")):
    """A state or an action, and when it was visited: a value on a trajectory, but no number."""

    def _refuse(self, *_):
        raise IllFormed("a state or an action is no number")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = __pow__ = _refuse


class Symbolic:
    """A polynomial ring with a derivation: the derivative of each generator is declared, and the rules of
    linearity and Leibniz extend it to the ring: D f = Σ_g (∂f/∂g) D g."""

    level = "F"
    says = "every number a symbol"

    def __init__(self, names):
        self.ring, *generators = ring(list(names), QQ)
        self.generators = dict(zip(map(str, self.ring.symbols), generators, strict=True))
        self.derivatives = {}
        self.zero, self.one = self.ring.zero, self.ring.one

    def generator(self, name):
        try:
            return self.generators[name]
        except KeyError:
            raise IllFormed(f"the symbol {name} has no value here") from None

    def constant(self, number):
        return self.ring(QQ(number.p, number.q) if hasattr(number, "p") else QQ(number))

    def declare(self, name, value, derivative):
        """The generator `name`, whose derivative is `derivative`."""
        self.derivatives[name] = derivative
        return value

    def D(self, value):
        value, out = self.ring(value), self.ring.zero
        for name, derivative in self.derivatives.items():
            partial = value.diff(self.generators[name])
            if partial:
                out += partial * derivative
        return out

    def partials(self, value, directions):
        """The coefficients of a value that is linear in the generators `directions`."""
        value, places = self.ring(value), [self.ring.gens.index(self.generators[name]) for name in directions]
        if any(sum(monomial[at] for at in places) != 1 for monomial in value.itermonoms()):
            raise IllFormed("not linear in the direction: no gradient of a function")
        return [value.diff(self.generators[name]) for name in directions]

    def divide(self, above, below):
        above, below = self.ring(above), self.ring(below)
        if below == 0:
            raise IllFormed("division by zero")
        quotient, remainder = above.div(below)
        if remainder != 0:
            raise IllFormed("the quotient is not a polynomial")
        return quotient

    def difference(self, left, right):
        """0 if they are equal, else a witness."""
        out = self.ring(left) - self.ring(right)
        return Witness(out) if out != 0 else 0


class Dual:
    """v + d ε with ε² = 0: a number and its derivative. d = None: the derivative is not known."""

    __slots__ = ("v", "d")

    def __init__(self, v, d=0):
        self.v, self.d = v, d

    @staticmethod
    def of(x):
        if isinstance(x, Node):
            x._refuse()
        return x if isinstance(x, Dual) else Dual(QQ(x), QQ(0))

    def __add__(self, other):
        other = Dual.of(other)
        return Dual(self.v + other.v, None if None in (self.d, other.d) else self.d + other.d)

    def __neg__(self):
        return Dual(-self.v, None if self.d is None else -self.d)

    def __sub__(self, other):
        return self + -Dual.of(other)

    def __rsub__(self, other):
        return Dual.of(other) - self

    def __mul__(self, other):
        other = Dual.of(other)
        known = None not in (self.d, other.d)
        return Dual(self.v * other.v, self.v * other.d + self.d * other.v if known else None)

    def __truediv__(self, other):
        other = Dual.of(other)
        if other.v == 0:
            raise IllFormed("division by zero")
        quotient, known = self.v / other.v, None not in (self.d, other.d)
        return Dual(quotient, (self.d - quotient * other.d) / other.v if known else None)

    def __rtruediv__(self, other):
        return Dual.of(other) / self

    def __pow__(self, n):
        out = Dual(QQ(1), QQ(0))
        for _ in range(n):
            out = out * self
        return out

    __radd__, __rmul__ = __add__, __mul__


class Point:
    """Every symbol a rational drawn from 1, ..., 2^61 (Schwartz and Zippel: a false identity of total degree d
    passes with probability at most d / 2^61; a refutation is certain)."""

    level = "R"
    says = "at a random rational point, error below 1e-15"

    def __init__(self, names=(), seed=0):
        self.random, self.values = random.Random(seed), {}
        self.zero, self.one = Dual(QQ(0), QQ(0)), Dual(QQ(1), QQ(0))
        self.names = set(names)

    def generator(self, name):
        if name not in self.names:
            raise IllFormed(f"the symbol {name} has no value here")
        if name not in self.values:
            self.values[name] = Dual(QQ(self.random.randrange(1, 2**61)), QQ(0))
        return self.values[name]

    def constant(self, number):
        return Dual(QQ(number.p, number.q) if hasattr(number, "p") else QQ(number), QQ(0))

    def declare(self, name, value, derivative):
        return Dual(value.v, Dual.of(derivative).v)

    def D(self, value):
        value = Dual.of(value)
        if value.d is None:
            raise NotImplementedError("a random point carries one derivative, not two")
        return Dual(value.d, None)

    def partials(self, value, directions):
        raise NotImplementedError("at a point the direction is a number: its coefficients are gone")

    def divide(self, above, below):
        return Dual.of(above) / Dual.of(below)

    def difference(self, left, right):
        out = Dual.of(left).v - Dual.of(right).v
        return out
