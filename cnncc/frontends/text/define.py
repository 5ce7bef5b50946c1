"""A block for pieces of a network that are alike: what they differ in becomes its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from cnncc.frontends.text.parts import Part, Run, saved
from cnncc.frontends.text.phrase import Hole
from cnncc.lang.forms import RESERVED

LETTERS = {"stride": "s", "kernel": "k", "groups": "g", "real": "r", "out": "cdefhijlmnopq"}
"""Names of parameters by what they stand for."""
START = "x"
"""What the value is called that a block starts from."""
LOCAL = "abtuvwyz"
"""Names of other values in a block: no parameter has these."""
Names = dict[tuple[str, tuple[float, ...]], str]
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
    names: Names = {}
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


def filled(hole: Hole, column: tuple[float, ...], names: Names) -> str:
    """What stands in a hole: a number, a parameter, or a multiple of one."""
    if len(set(column)) == 1:
        return str(column[0])
    for (family, known), name in names.items():
        if family == hole.family or (hole.kind == "groups" and family != "real"):
            if factor := multiple(column, known):
                return name if factor == 1 else f"{factor}*{name}"
    letters = LETTERS.get(hole.family, "n")
    free = (c for c in (*letters, *(f"{letters[0]}{i}" for i in range(2, 99))) if c not in names.values())
    name = names[hole.family, column] = next(c for c in free if c not in RESERVED)
    return name


def multiple(column: Sequence[float], known: Sequence[float]) -> int:
    """The whole number that makes the one of the other; 0 if there is none."""
    if column == known:
        return 1
    factor = next((int(a // b) for a, b in zip(column, known, strict=True) if b), 0)
    return factor if all(a == factor * b for a, b in zip(column, known, strict=True)) else 0
