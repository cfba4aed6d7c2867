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
    linearity and Leibniz extend it to the ring: D f = Σ_g (∂f/∂g) D g.

    Some generators are inverses of polynomials that are never 0 (`invert`), such as 1/π_old(a | s). A value with inverses
    is 0 exactly if it is 0 after they are multiplied out (`cleared`)."""

    level = "F"
    says = "every number a symbol"

    def __init__(self, names):
        self.ring, *generators = ring(list(names), QQ)
        self.generators = dict(zip(map(str, self.ring.symbols), generators, strict=True))
        self.places = {name: at for at, name in enumerate(self.generators)}
        self.derivatives, self.inverses, self.logarithms = {}, {}, {}
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

    def invert(self, name, logarithm, value):
        """From here on the generators `name` and `logarithm` are 1/value and log value, of a polynomial that is > 0."""
        if value == 0 or any(value.degree(self.generators[x]) > 0 for x in self.inverses):
            raise ValueError(f"{name} cannot be the inverse of {value}")
        self.inverses[name], self.logarithms[logarithm] = value, value

    def cleared(self, value):
        """(value · below, below), where `below` is the product of powers that multiplies out every inverse."""
        value, below = self.ring(value), self.ring.one
        for name, base in self.inverses.items():
            at = self.places[name]
            degree = max((monomial[at] for monomial in value.itermonoms()), default=0)
            if degree > 0:
                parts = [self.ring.zero] * (degree + 1)
                for monomial, coefficient in value.iterterms():
                    rest = monomial[:at] + (0,) + monomial[at + 1:]
                    parts[monomial[at]] += self.ring({rest: coefficient})
                value = sum((part * base**(degree - k) for k, part in enumerate(parts) if part), self.ring.zero)
                below *= base**degree
        return value, below

    def renamed(self, value, names):
        """The value with one generator in the place of another, for each pair {old: new}."""
        places = {self.places[x]: self.places[y] for x, y in names.items()}
        out = self.ring.zero
        for monomial, coefficient in self.ring(value).iterterms():
            powers = list(monomial)
            for old, new in places.items():
                powers[new] += powers[old]
                powers[old] = 0
            out += self.ring({tuple(powers): coefficient})
        return out

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
        if self.cleared(below)[0] == 0:
            raise IllFormed("division by zero")
        quotient, remainder = above.div(below)
        if remainder == 0:
            return quotient
        for name, base in self.inverses.items():       # below is often a product of what has an inverse
            generator = self.generators[name]
            for factor, inverse in ((base, generator), (generator, base)):
                while not (split := below.div(factor))[1]:
                    above, below = above * inverse, split[0]
        quotient, remainder = above.div(below)
        if remainder != 0:
            raise IllFormed("the quotient is not a polynomial")
        return quotient

    def difference(self, left, right):
        """0 if they are equal, else a witness."""
        out, below = self.cleared(self.ring(left) - self.ring(right))
        return Witness(out, below=below, logarithms=self.logarithms) if out != 0 else 0


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

    def invert(self, name, logarithm, value):
        """Here every number that is not 0 has its inverse."""

    @staticmethod
    def still(value):
        """The number without its derivative."""
        return Dual(value.v, QQ(0))

    def divide(self, above, below):
        return Dual.of(above) / Dual.of(below)

    def difference(self, left, right):
        out = Dual.of(left).v - Dual.of(right).v
        return out
