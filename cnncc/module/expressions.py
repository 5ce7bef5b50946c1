"""Numbers that depend on the sizes of a call, as the description of a module has them: see `cnncc.runtime.extents`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm

from cnncc.base.dim import Atom, Dim, Extent, Largest, Quotient, Smallest, Symbol
from cnncc.runtime.extents import Expression

_Terms = Mapping[tuple[str, ...], Fraction]
"""A polynomial: products of factors, each named by its text, and their coefficients."""


class Expressions:
    """Makes expressions of numbers. With `shared`, what is an atom of several numbers is made once, as one of
    `parts`; there may be very many ways through the largest of the largest of some. `names` are of sizes that are not
    called as their symbols are."""

    def __init__(self, shared: bool = False, names: Mapping[Symbol, str] | None = None) -> None:
        self._names = names or {}
        self.parts: list[Expression] | None = [] if shared else None
        """What expressions share."""
        self._made: dict[Atom, Expression] = {}
        self._named: dict[str, Expression] = {}

    def of(self, extent: Extent) -> Expression:
        """The number in terms of the sizes themselves: a `Dim` counts steps."""
        if not isinstance(extent, Dim):
            return int(extent)
        terms: dict[tuple[str, ...], Fraction] = {}
        for product, factor in extent.terms.items():
            for names, times in self._expanded(product).items():
                terms[names] = terms.get(names, Fraction(0)) + factor * times
        kept = {names: times for names, times in terms.items() if times}
        under = lcm(*(times.denominator for times in kept.values()))
        constant = int(kept.pop((), Fraction(0)) * under)
        over = [self._product(names, int(times * under)) for names, times in kept.items()]
        return _divided(_sum(_listed("+", over), constant), under)

    def _expanded(self, product: Sequence[Atom]) -> _Terms:
        """A product of atoms, with (size - least) / step for each symbol."""
        terms: dict[tuple[str, ...], Fraction] = {(): Fraction(1)}
        for atom in product:
            name = self._name(atom)
            up, fixed = Fraction(1), Fraction(0)
            if isinstance(atom, Symbol):
                up, fixed = Fraction(1, atom.step), Fraction(-atom.least, atom.step)
            more: dict[tuple[str, ...], Fraction] = {}
            for names, times in terms.items():
                longer = tuple(sorted((*names, name)))
                more[longer] = more.get(longer, Fraction(0)) + times * up
                more[names] = more.get(names, Fraction(0)) + times * fixed
            terms = more
        return terms

    def _name(self, atom: Atom) -> str:
        """What tells an atom from others."""
        made = self._atom(atom)
        name = repr(made)
        self._named[name] = made
        return name

    def _product(self, names: Sequence[str], times: int) -> Expression:
        return _listed("*", [*([times] if times != 1 else []), *(self._named[name] for name in names)])

    def _atom(self, atom: Atom) -> Expression:
        if isinstance(atom, Symbol):
            return self._names.get(atom, atom.name)
        if atom not in self._made:
            match atom:
                case Quotient(over, under):
                    up = max(0, -(over.reach[0] // under))  # languages differ in how they round below 0
                    made = _sum(_divided(self.of(over + up * under), under), -up)
                case Largest(of):
                    made = ["max", *map(self.of, of)]
                case Smallest(of):
                    made = ["min", *map(self.of, of)]
            if self.parts is not None:
                self.parts.append(made)
                made = ["part", len(self.parts) - 1]
            self._made[atom] = made
        return self._made[atom]


def expression(extent: Extent) -> Expression:
    """A number alone."""
    return Expressions().of(extent)


def c_expression(expression: Expression) -> str:
    """An expression without shared parts in C, whose sizes are parameters of a macro: an int64_t, constant if they
    are."""
    if isinstance(expression, str):
        return f"(int64_t)({expression})"
    if not isinstance(expression, list):
        return str(expression)
    sign, *of = expression
    made = [f"({c_expression(one)})" if isinstance(one, list) else c_expression(one) for one in of]
    if sign not in ("max", "min"):
        return f" {sign[0]} ".join(made)
    relation = ">" if sign == "max" else "<"
    return functools.reduce(lambda a, b: f"({a} {relation} {b} ? {a} : {b})", made)


def _sum(expression: Expression, number: int) -> Expression:
    """A number is added to the one that is there, and to what is divided, as long as that stays above 0."""
    if not number:
        return expression
    sign, *of = expression if isinstance(expression, list) else ("", expression)
    if sign == "//" and number > 0:
        return ["//", _sum(of[0], number * of[1]), of[1]]
    if sign == "+" and isinstance(of[-1], int):
        return _sum(_listed("+", of[:-1]), of[-1] + number)
    return ["+", *of, number] if sign == "+" else ["+", expression, number]


def _listed(sign: str, of: Sequence[Expression]) -> Expression:
    return of[0] if len(of) == 1 else [sign, *of]


def _divided(over: Expression, under: int) -> Expression:
    """A quotient of a quotient is divided once."""
    if under == 1:
        return over
    if isinstance(over, list) and over[0] == "//":
        return ["//", over[1], over[2] * under]
    return ["//", over, under]
