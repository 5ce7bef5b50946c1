"""A block for pieces of a network that are alike: what they differ in becomes its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, count
from operator import mul

from cnncc.frontends.text.parts import Part, Run, saved
from cnncc.frontends.text.phrase import Hole
from cnncc.lang.forms import RESERVED

LETTERS = {"stride": "s", "kernel": "k", "groups": "g", "real": "r", "out": "cdefhijlmnopq"}
"""Names of parameters by what they stand for."""
START = "x"
"""What the value is called that a block starts from."""
LOCAL = "abtuvwyz"
"""Names of other values in a block: no parameter has these."""
COUNTED = ("out", "groups")
"""Families of holes whose numbers may be multiples of each other."""
Column = tuple[float, ...]
"""The number in a hole, in each use of a block."""
Names = dict[tuple[str, Column], str]
"""Parameters, by what they stand for and their value in each use."""


@dataclass(frozen=True)
class FoundBlock:
    """A block: the statements of one of its uses, and what is written for each of their holes."""

    name: str
    params: tuple[tuple[str, float | None], ...]
    body: tuple[Part, ...]
    fills: tuple[str, ...]
    values: dict[str, str]
    """What values are called in the block, by their names in the graph."""


def defined(spots: Sequence[Run], name: str) -> tuple[FoundBlock, list[Part]]:
    """A block for all spots, and the calls that stand for them."""
    rows = [[hole for part in spot.parts for hole in part.holes] for spot in spots]
    columns = [tuple(hole.value for hole in column) for column in zip(*rows, strict=True)]
    names = parameters(rows[0], columns)
    fills = [filled(hole, column, names) for hole, column in zip(rows[0], columns, strict=True)]
    params: list[tuple[str, float | None]] = [(p, None) for (kind, _), p in names.items() if kind != "stride"]
    params += [(p, 1) for (kind, _), p in names.items() if kind == "stride"]
    values = {p: column for (_, column), p in names.items()}
    depth = 1 + max(part.depth for part in spots[0].parts)
    calls = []
    for i, spot in enumerate(spots):
        args = [str(values[p][i]) for p, default in params if default is None]
        args += [f"{p}={values[p][i]}" for p, default in params if default is not None and values[p][i] != default]
        text = f"{name}({', '.join(args)})" if params else name
        calls.append(Part(((text,),), None, tuple(n for part in spot.parts for n in part.made), within=depth))
    return FoundBlock(name, tuple(params), body(spots[0]), tuple(fills), local(spots[0])), calls


def body(spot: Run) -> tuple[Part, ...]:
    """The statements of a use; the value that it starts from gets a name, if it needs one."""
    start = spot.values[0]
    named = any(ref.value == start for part in spot.parts for ref in part.refs)
    return (*((saved(start),) if named else ()), *spot.parts)


def local(spot: Run) -> dict[str, str]:
    """Short names for the values that are named in a use."""
    letters = (f"{letter}{number or ''}" for number in count() for letter in LOCAL)
    return {value: next(letters) if number else START for value, number in (spot.names or {}).items()}


def parameters(holes: Sequence[Hole], columns: Sequence[Column]) -> Names:
    """A name for each column of numbers that others do not give: those that stand in most places come first, and
    of these the smallest. The names are in the order of the text."""
    places = Counter((hole.family, column) for hole, column in zip(holes, columns, strict=True))
    chosen: Names = {}
    for family, column in sorted(places, key=lambda key: (-places[key], key[1])):
        if len(set(column)) > 1 and not expressed(family, column, chosen):
            chosen[family, column] = "?"
    for key in reversed([*chosen]):
        rest = {other: name for other, name in chosen.items() if other != key}
        chosen = rest if expressed(*key, rest) else chosen
    names: Names = {}
    for key in (key for key in places if key in chosen):
        letters = LETTERS.get(key[0], "n")
        free = (c for c in (*letters, *(f"{letters[0]}{i}" for i in range(2, 99))) if c not in names.values())
        names[key] = next(c for c in free if c not in RESERVED)
    return names


def filled(hole: Hole, column: Column, names: Names) -> str:
    """What stands in a hole: a number, or a parameter and what is done to it."""
    return str(column[0]) if len(set(column)) == 1 else expressed(hole.family, column, names)


def expressed(family: str, column: Column, names: Names) -> str:
    """A column of numbers by parameters: one of them, a multiple or a part of it, a product of two; else nothing."""
    if (family, column) in names:
        return names[family, column]
    if family not in COUNTED:
        return ""
    known = {c: name for (of, c), name in names.items() if of == family or (family == "groups" and of in COUNTED)}
    for other, name in known.items():
        if factor := multiple(column, other):
            return name if factor == 1 else f"{factor}*{name}"
    for other, name in known.items():
        if factor := multiple(other, column):
            return f"{name}//{factor}"
    pairs = combinations_with_replacement(known.items(), 2)
    return next((f"{p}*{q}" for (a, p), (b, q) in pairs if column == tuple(map(mul, a, b))), "")


def multiple(column: Column, known: Column) -> int:
    """The whole number that makes the one of the other; 0 if there is none."""
    factor = next((int(a // b) for a, b in zip(column, known, strict=True) if b), 0)
    return factor if all(a == factor * b for a, b in zip(column, known, strict=True)) else 0
