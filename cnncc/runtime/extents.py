"""Numbers that depend on the sizes of a call, as the description of a module has them.

A number of a module for a range of sizes may be an expression of the sizes. In JSON that is an integer, the name of a
size, or an array: an operator, then what it works on, which are expressions again.

    ["+", a, b, ...]    the sum
    ["*", a, b, ...]    the product
    ["//", a, b]        the quotient, rounded down; b is an integer above 0. It is exact where a is below 0
    ["max", a, b, ...]  the largest
    ["min", a, b, ...]  the smallest

So `["//", ["+", "h", 1], 2]` is (h + 1) // 2. Long ones share parts: `["part", i]` is expression i of a list beside
them, which refers to earlier ones only.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Expression = Any
"""An int, a str, or a list that begins with an operator; Python's types cannot say it."""


class Extent(str):
    """A dimension that depends on the sizes of a call: its text, such as `h//2`, that can tell its value."""

    expression: Expression

    @staticmethod
    def of(expression: Expression) -> int | Extent:
        """The dimension that an expression says; of a number the number."""
        if isinstance(expression, int):
            return expression
        extent = Extent(text(expression))
        extent.expression = expression
        return extent

    def at(self, sizes: Mapping[str, int]) -> int:
        """The number for sizes by name."""
        return value(self.expression, sizes)


def shape_at(shape: Sequence[int | Extent], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape for sizes by name."""
    return tuple(d.at(sizes) if isinstance(d, Extent) else d for d in shape)


_OPERATORS: Mapping[str, Callable[[Sequence[int]], int]] = {
    "+": sum,
    "*": math.prod,
    "//": lambda of: functools.reduce(operator.floordiv, of),
    "max": max,
    "min": min,
}


def value(expression: Expression, sizes: Mapping[str, int], parts: Sequence[int] = ()) -> int:
    """The number that an expression is for these sizes, by name. `parts` are the values of the parts that it shares
    with others."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return sizes[expression]
    sign, *of = expression
    if sign == "part":
        return parts[of[0]]
    return _OPERATORS[sign]([value(one, sizes, parts) for one in of])


def values(parts: Sequence[Expression], sizes: Mapping[str, int]) -> list[int]:
    """The values of parts that expressions share, each of which may refer to those before it."""
    found: list[int] = []
    for part in parts:
        found.append(value(part, sizes, found))
    return found


def text(expression: Expression) -> str:
    """An expression without shared parts for people, in Python's notation: `(h + 1)//2`."""
    if not isinstance(expression, list):
        return str(expression)
    sign, *of = expression
    if sign in ("max", "min"):
        return f"{sign}({', '.join(map(text, of))})"
    if sign == "+":
        return " + ".join(map(text, of)).replace("+ -", "- ")
    return sign.join(factor(one, first=i == 0) for i, one in enumerate(of))


def factor(expression: Expression, first: bool = True) -> str:
    """The text of an expression as one of several factors, the first or a later one: in brackets where an operator
    binds less, or would have to be applied first."""
    bound = isinstance(expression, list) and (expression[0] == "+" or (expression[0] in ("*", "//") and not first))
    return f"({text(expression)})" if bound else text(expression)
