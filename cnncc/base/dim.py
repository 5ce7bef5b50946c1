"""Sizes that are known when a module runs: numbers as expressions of the sizes that a caller may choose.

A `Dim` takes the place of an int in shapes, in what kernels are configured with and in plans of memory. It is a sum of
products of atoms with whole coefficients: an atom is a symbol, a quotient rounded down, or the largest of some numbers.
What equals a number for all sizes is that number, an int.

Comparisons answer for all sizes of the range at once. Two are equal if they are at every size. Where `<` and the like
hold at some sizes only they raise `Undecided`: code that would go one way must say what it does for both.

Within `lowering`, a `Dim` that meets an expression of another kind (TVM's) becomes one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Extent = Any
"""An int or a Dim. Python's types have no numbers that are neither, so it is not checked."""

MOST_POINTS = 1 << 16
"""Sizes at which an expression is evaluated to decide a comparison."""


STRIDES = 32
"""The product of the strides of a network that is looked for: padding of a layer may depend on what it leaves."""


class Undecided(Exception):
    """A comparison of sizes holds at some sizes of the range only."""


@dataclass(frozen=True, order=True)
class Symbol:
    """A size that a caller chooses: `least`, `least + step`, ... up to `most`. `index` is its place among the symbols
    of its network. In expressions it stands for the number of steps above the least."""

    index: int
    name: str
    least: int
    most: int
    step: int = 1

    @property
    def count(self) -> int:
        """How many sizes it takes."""
        return (self.most - self.least) // self.step + 1

    @property
    def sizes(self) -> range:
        """All of them."""
        return range(self.least, self.most + 1, self.step)

    @property
    def remainders(self) -> int:
        """How many sizes in a row have every remainder of the powers of two up to `STRIDES`."""
        return STRIDES // math.gcd(STRIDES, self.step)

    @property
    def middle(self) -> int:
        """The steps to the size in the middle, counted in factors: for which kernels are chosen."""
        return round(((self.least * self.most) ** 0.5 - self.least) / self.step)

    @property
    def extent(self) -> Extent:
        """The size itself."""
        return self.least + self.step * Dim({(self,): 1}) if self.count > 1 else self.least

    def __str__(self) -> str:
        stepped = f" step {self.step}" if self.step > 1 else ""
        return f"{self.name} in {self.least}..{self.most}{stepped}"


@dataclass(frozen=True)
class Quotient:
    """`over` divided by `under`, a number above 0, rounded down."""

    over: Dim
    under: int

    def __str__(self) -> str:
        return f"(({self.over})//{self.under})"


@dataclass(frozen=True)
class Largest:
    """The largest of some numbers."""

    of: tuple[Extent, ...]

    def __str__(self) -> str:
        return f"max({', '.join(map(str, self.of))})"


@dataclass(frozen=True)
class Smallest:
    """The smallest of some numbers."""

    of: tuple[Extent, ...]

    def __str__(self) -> str:
        return f"min({', '.join(map(str, self.of))})"


Atom = Symbol | Quotient | Largest | Smallest
Terms = Mapping[tuple[Atom, ...], int]
"""Products of atoms and their coefficients; () is 1."""

_RANK = {Symbol: 0, Quotient: 1, Largest: 2, Smallest: 3}


class Dim:
    """A number that depends on the sizes that a caller chooses."""

    __slots__ = ("__dict__", "terms")

    def __init__(self, terms: Terms) -> None:
        self.terms: Terms = terms

    # Arithmetic

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int | Dim):
            return _lowered(self) + other if _foreign(other) else NotImplemented
        terms = dict(self.terms)
        for product, factor in _terms(other).items():
            terms[product] = terms.get(product, 0) + factor
        return _made(terms)

    def __radd__(self, other: Any) -> Any:
        return other + _lowered(self) if _foreign(other) else self + other

    def __neg__(self) -> Extent:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return _lowered(self) - other if _foreign(other) else self + other * -1

    def __rsub__(self, other: Any) -> Any:
        return other - _lowered(self) if _foreign(other) else self * -1 + other

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int | Dim):
            return _lowered(self) * other if _foreign(other) else NotImplemented
        terms: dict[tuple[Atom, ...], int] = {}
        for left, factor in self.terms.items():
            for right, times in _terms(other).items():
                product = tuple(sorted((*left, *right), key=_order))
                terms[product] = terms.get(product, 0) + factor * times
        return _made(terms)

    def __rmul__(self, other: Any) -> Any:
        return other * _lowered(self) if _foreign(other) else self * other

    def __floordiv__(self, other: Any) -> Any:
        if _foreign(other):
            return _lowered(self) // other
        if not isinstance(other, int):
            return NotImplemented
        return _divided(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        if _foreign(other):
            return other // _lowered(self)
        return NotImplemented

    def __mod__(self, other: Any) -> Any:
        if _foreign(other):
            return _lowered(self) % other
        return self - self // other * other

    def __rmod__(self, other: Any) -> Any:
        return other % _lowered(self) if _foreign(other) else NotImplemented

    # Comparisons

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int | Dim):
            return NotImplemented
        difference = self - other
        if isinstance(difference, int):
            return difference == 0
        low, high = difference.reach
        if low > 0 or high < 0:
            return False
        try:
            return difference.bounds == (0, 0)
        except Undecided:
            return False

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        """Kept: expressions stand in each other."""
        return hash(frozenset(self.terms.items()))

    def __lt__(self, other: Any) -> Any:
        return _compared(self, other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return _compared(self, other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return _compared(self, other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return _compared(self, other, operator.ge)

    def __bool__(self) -> bool:
        return bool(self != 0)

    # Values

    @functools.cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """What it depends on, in order."""
        return tuple(sorted({s for product in self.terms for atom in product for s in _symbols(atom)}))

    def at(self, steps: Mapping[Symbol, Any]) -> Any:
        """Its value where each symbol has made so many steps: ints, or arrays of them."""
        return _sum(self, steps, {})

    @functools.cached_property
    def values(self) -> npt.NDArray[np.int64]:
        """All its values, an axis for each symbol it depends on. Undecided if these are too many to look at."""
        if np.prod([s.count for s in self.symbols], dtype=float) > MOST_POINTS:
            raise Undecided(f"{self} has more values than can be looked at")
        axes = np.meshgrid(*(np.arange(s.count) for s in self.symbols), indexing="ij", sparse=True)
        whole = tuple(s.count for s in self.symbols)
        return np.broadcast_to(np.asarray(self.at(dict(zip(self.symbols, axes, strict=True))), np.int64), whole)

    @functools.cached_property
    def bounds(self) -> tuple[int, int]:
        """Its least and its largest value. Undecided if it has too many values to look at, and more than one bound
        could be."""
        low, high = self.reach
        if low == high or all(len(p) <= 1 and all(isinstance(a, Symbol) for a in p) for p in self.terms):
            return low, high
        return int(self.values.min()), int(self.values.max())

    @functools.cached_property
    def reach(self) -> tuple[int, int]:
        """Numbers that its values lie between, by those of its atoms alone: quickly told, and never too narrow."""
        low = high = 0
        for product, factor in self.terms.items():
            least = most = factor
            for atom in product:
                ends = [a * b for a in (least, most) for b in _reach(atom)]
                least, most = min(ends), max(ends)
            low, high = low + least, high + most
        return low, high

    @functools.cached_property
    def typical(self) -> int:
        """Its value at the size in the middle of the range."""
        return int(self.at({s: s.middle for s in self.symbols}))

    def __tvm_ffi_object__(self) -> Any:
        """What TVM asks of values that it does not know."""
        return _lowered(self)

    def __repr__(self) -> str:
        """With the place of each symbol, by which kernels read it: kernels are told apart by this text."""
        return f"Dim({self}; {', '.join(f'{s.index}: {s}' for s in self.symbols)})"

    def __str__(self) -> str:
        """In terms of the sizes: `h//2`, `3*h - 1`."""
        return _words(self)


def largest(*of: Extent) -> Extent:
    """The largest of some numbers."""
    return _extreme(of, Largest, max, lambda a, b: a <= b)


def smallest(*of: Extent) -> Extent:
    """The smallest of some numbers."""
    return _extreme(of, Smallest, min, lambda a, b: a >= b)


def above(a: Extent, b: Extent) -> bool:
    """Whether one number is larger than another at any size."""
    difference = a - b
    return most_of(difference) > 0


def most_of(extent: Extent) -> int:
    """The largest value, or a number above it."""
    return _bounds(extent)[1] if isinstance(extent, Dim) else int(extent)


def least_of(extent: Extent) -> int:
    """The least value, or a number below it."""
    return _bounds(extent)[0] if isinstance(extent, Dim) else int(extent)


def _bounds(dim: Dim) -> tuple[int, int]:
    try:
        return dim.bounds
    except Undecided:
        return dim.reach


def typical(thing: Any) -> Any:
    """What numbers of a tree of dataclasses and tuples are at the size in the middle of the range."""
    if isinstance(thing, Dim):
        return thing.typical
    if isinstance(thing, tuple):
        return tuple(map(typical, thing))
    if hasattr(thing, "__dataclass_fields__") and any(True for _ in dims_of(thing)):
        fields = (f.name for f in dataclasses.fields(thing) if f.init)
        return dataclasses.replace(thing, **{name: typical(getattr(thing, name)) for name in fields})
    return thing


def value_at(extent: Extent, steps: Mapping[Symbol, int]) -> int:
    """The value where each symbol has made so many steps."""
    return int(extent.at(steps)) if isinstance(extent, Dim) else int(extent)


def values_of(extent: Extent) -> Iterable[int]:
    """All different values, in rising order."""
    return map(int, np.unique(extent.values)) if isinstance(extent, Dim) else (int(extent),)


def symbols_of(thing: Any) -> tuple[Symbol, ...]:
    """The symbols on which any number in a tree of dataclasses and tuples depends, in order."""
    found: set[Symbol] = set()
    for dim in dims_of(thing):
        found.update(dim.symbols)
    return tuple(sorted(found))


def dims_of(thing: Any) -> Iterator[Dim]:
    """The numbers of a tree of dataclasses and tuples that depend on sizes."""
    if isinstance(thing, Dim):
        yield thing
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from dims_of(part)
    elif hasattr(thing, "__dataclass_fields__"):
        for field in thing.__dataclass_fields__:
            yield from dims_of(getattr(thing, field))


def fitted(symbol: Symbol, values: Mapping[int, int]) -> Extent | None:
    """The expression (a * steps + b) // d * c + e that has these values, by the number of steps; None if there is
    none."""
    least = min(values.values())
    common = math.gcd(*(value - least for value in values.values()))
    if common == 0:
        return least
    made = _quotient(symbol, {step: (value - least) // common for step, value in values.items()})
    return None if made is None else made * common + least


def _quotient(symbol: Symbol, values: Mapping[int, int]) -> Extent | None:
    """The expression (a * steps + b) // d that has these values."""
    steps = np.array(sorted(values))
    wanted = np.array([values[int(step)] for step in steps])
    slopes = []
    for period in range(1, MOST_PERIOD + 1):
        pairs = [(s, s + period) for s in values if s + period in values]
        if pairs:
            rises = {values[b] - values[a] for a, b in pairs}
            if len(rises) == 1:
                slopes.append(Fraction(rises.pop(), period))
    if len(steps) > 1:
        slopes.append(Fraction(int(wanted[-1] - wanted[0]), int(steps[-1] - steps[0])))
    for slope in dict.fromkeys([*slopes, Fraction(0)]):
        up, down = slope.numerator, slope.denominator
        rest = down * wanted - up * steps
        low, high = int(rest.max()), int(rest.min()) + down - 1
        if low <= high:
            return (up * Dim({(symbol,): 1}) + low) // down if up else int(wanted[0])
    return None


MOST_PERIOD = 128
"""Steps after which sizes repeat, at most: the product of the strides of a network."""


_LOWERING: ContextVar[Callable[[Dim], Any] | None] = ContextVar("lowering", default=None)


@contextmanager
def lowering(lower: Callable[[Dim], Any]) -> Iterator[None]:
    """Inside, a Dim that meets an expression of another kind becomes what `lower` makes of it."""
    token = _LOWERING.set(lower)
    try:
        yield
    finally:
        _LOWERING.reset(token)


def _lowered(dim: Dim) -> Any:
    lower = _LOWERING.get()
    assert lower is not None, f"{dim!r} outside of a kernel"
    return lower(dim)


def _foreign(value: Any) -> bool:
    """Whether a value is an expression of another kind."""
    return not isinstance(value, int | float | Dim | Fraction | np.generic | np.ndarray) and _LOWERING.get() is not None


def _terms(value: Extent) -> Terms:
    return value.terms if isinstance(value, Dim) else {(): int(value)}


def _made(terms: Mapping[tuple[Atom, ...], int]) -> Extent:
    kept = {product: terms[product] for product in sorted(terms, key=_key) if terms[product]}
    return Dim(kept) if any(kept) else kept.get((), 0)


def _key(product: tuple[Atom, ...]) -> tuple[Any, ...]:
    return len(product), tuple(map(_order, product))


@functools.lru_cache(maxsize=1 << 16)
def _order(atom: Atom) -> tuple[int, str]:
    """Kept, since the text of an atom is long where atoms stand in each other."""
    return _RANK[type(atom)], repr(atom)


def _symbols(atom: Atom) -> set[Symbol]:
    if isinstance(atom, Symbol):
        return {atom}
    parts: Sequence[Extent] = (atom.over,) if isinstance(atom, Quotient) else atom.of
    return {s for part in parts if isinstance(part, Dim) for s in part.symbols}


def _divided(over: Dim, under: int) -> Extent:
    """What is a multiple of `under` leaves the quotient, so it is simpler."""
    assert under > 0, "sizes are divided by numbers above 0"
    whole: dict[tuple[Atom, ...], int] = {}
    rest: dict[tuple[Atom, ...], int] = {}
    for product, factor in over.terms.items():
        times, left = divmod(factor, under)
        whole[product], rest[product] = times, left
    left = _made(rest)
    if isinstance(left, Dim):
        inner = _within(left)
        if inner is not None:  # a quotient of a quotient
            quotient, added = inner
            return _made(whole) + _divided(quotient.over + added * quotient.under, quotient.under * under)
        low, high = _bounds(left)
        if low // under == high // under:
            return _made(whole) + low // under
        return _made(whole) + Dim({(Quotient(left, under),): 1})
    return _made(whole) + left // under


def _reach(atom: Atom) -> tuple[int, int]:
    """The numbers that an atom's values lie between."""
    match atom:
        case Symbol(count=count):
            return 0, count - 1
        case Quotient(over, under):
            return over.reach[0] // under, over.reach[1] // under
    reaches = [part.reach if isinstance(part, Dim) else (part, part) for part in atom.of]
    extreme = max if isinstance(atom, Largest) else min
    return extreme(low for low, _ in reaches), extreme(high for _, high in reaches)


def _within(left: Dim) -> tuple[Quotient, int] | None:
    """The quotient and the number of which it is the sum, if it is that."""
    products = [p for p in left.terms if p]
    if len(products) == 1 and len(products[0]) == 1 and left.terms[products[0]] == 1:
        atom = products[0][0]
        if isinstance(atom, Quotient):
            return atom, left.terms.get((), 0)
    return None


def _extreme(
    of: Sequence[Extent],
    atom: type[Largest] | type[Smallest],
    known: Callable[[Iterable[int]], int],
    beaten: Callable[[Any, Any], bool],
) -> Extent:
    """Numbers that another beats at all sizes are left out."""
    kept: list[Extent] = []
    for number in of:
        if not any(_decided(beaten, number, other) for other in kept):
            kept = [other for other in kept if not _decided(beaten, other, number)]
            kept.append(number)
    if len(kept) == 1:
        return kept[0]
    return Dim({(atom(tuple(kept)),): 1}) if any(isinstance(k, Dim) for k in kept) else known(kept)


def _decided(relation: Callable[[Any, Any], bool], a: Extent, b: Extent) -> bool:
    try:
        return relation(a, b)
    except Undecided:
        return False


def _compared(a: Dim, b: Any, relation: Callable[[Any, Any], Any]) -> Any:
    if _foreign(b):
        return relation(_lowered(a), b)
    if not isinstance(b, int | Dim):
        return NotImplemented
    difference = a - b
    if isinstance(difference, int):
        return relation(difference, 0)
    told = {relation(end, 0) for end in difference.reach}
    if len(told) > 1:
        told = {relation(end, 0) for end in difference.bounds}
    if len(told) == 1:
        return told.pop()
    raise Undecided(f"{a} against {b}")


def _sum(extent: Extent, steps: Mapping[Symbol, Any], known: dict[Atom, Any]) -> Any:
    """The value of an expression; `known` are those of the atoms that were met."""
    if not isinstance(extent, Dim):
        return extent
    total: Any = 0
    for product, factor in extent.terms.items():
        value: Any = factor
        for atom in product:
            if atom not in known:
                known[atom] = _value(atom, steps, known)
            value = value * known[atom]
        total = total + value
    return total


def _value(atom: Atom, steps: Mapping[Symbol, Any], known: dict[Atom, Any]) -> Any:
    match atom:
        case Symbol():
            return steps[atom]
        case Quotient(over, under):
            return _sum(over, steps, known) // under
        case Largest(of):
            return functools.reduce(np.maximum, [_sum(x, steps, known) for x in of])
        case Smallest(of):
            return functools.reduce(np.minimum, [_sum(x, steps, known) for x in of])


def _words(dim: Dim) -> str:
    """Each symbol is written as the size: steps are (size - least) / step."""
    parts, constant = [], Fraction(dim.terms.get((), 0))
    for product, factor in dim.terms.items():
        if not product:
            continue
        if len(product) == 1 and isinstance(product[0], Symbol):
            symbol = product[0]
            times = Fraction(factor, symbol.step)
            constant -= times * symbol.least
            up = "" if times.numerator == 1 else f"{times.numerator}*"
            parts.append(f"{up}{symbol.name}" + (f"/{times.denominator}" if times.denominator > 1 else ""))
        else:
            factors = [_steps(a) if isinstance(a, Symbol) else str(a) for a in product]
            parts.append("*".join([*([str(factor)] if factor != 1 else []), *factors]))
    if constant or not parts:
        parts.append(str(constant))
    return " + ".join(parts).replace("+ -", "- ")


def _steps(symbol: Symbol) -> str:
    above = symbol.name if symbol.least == 0 else f"({symbol.name} - {symbol.least})"
    return above if symbol.step == 1 else f"({above}/{symbol.step})"
