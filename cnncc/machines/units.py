"""The vector units of a processor, `[[units]]` of its target file: what micro-kernels have to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError, nearest


@dataclass(frozen=True)
class VectorUnit:
    """A unit that multiplies vectors and adds up the products, lane by lane."""

    element: str
    """What it multiplies, a key of `ELEMENTS`."""
    sums: str
    """What it adds the products up to, a key of `ELEMENTS`."""
    lanes: int
    """Sums in a register."""
    depth: int
    """Products that one instruction adds to each lane: 1 for a multiply-add, 4 for a dot product of int8."""
    registers: int
    """That kernels may use."""
    ports: int
    """Instructions in a cycle."""
    latency: int
    """Cycles from an instruction to the next one that adds to the same sums."""

    @property
    def element_bytes(self) -> int:
        """Of an element in memory."""
        return ELEMENTS[self.element].itemsize


def read_units(file: str, data: object, vector_bits: int) -> tuple[VectorUnit, ...]:
    """The units of a target file whose vectors have so many bits. CnnccError, which names file and field, for what does
    not fit, and if no unit multiplies float32 and adds up float32."""
    if not isinstance(data, list | tuple) or not all(isinstance(one, dict) for one in data):
        raise CnnccError(f"{file}: units: must be a list of tables, [[units]]")
    units = tuple(_read_unit(f"{file}: units[{i}]", one, vector_bits) for i, one in enumerate(data))
    _check_pairs(file, [(unit.element, unit.sums) for unit in units])
    return units


def _check_pairs(file: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Each pair of element and sums has one unit."""
    for pair in pairs:
        if pairs.count(pair) > 1:
            raise CnnccError(f"{file}: units: {pairs.count(pair)} of them add up products of {pair[0]} to {pair[1]}")
    if ("float32", "float32") not in pairs:
        raise CnnccError(f"{file}: units: none adds up products of float32 to float32, which every network needs")


def _read_unit(place: str, data: dict[str, Any], vector_bits: int) -> VectorUnit:
    keys = {field.name for field in fields(VectorUnit)}
    wrong = sorted(keys ^ data.keys())
    if wrong:
        raise CnnccError(f"{place}: missing or unknown keys: {', '.join(wrong)}")
    for key in ("element", "sums"):
        if data[key] not in ELEMENTS:
            raise CnnccError(f"{place}.{key}: no element {data[key]!r}", hint=nearest(str(data[key]), ELEMENTS))
    for key in ("lanes", "depth", "registers", "ports", "latency"):
        value = data[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CnnccError(f"{place}.{key}: must be a whole number above 0, got {value!r}")
    unit = VectorUnit(**data)
    bits, sum_bits = ELEMENTS[unit.element].bits, ELEMENTS[unit.sums].bits
    if unit.lanes * sum_bits > vector_bits:
        raise CnnccError(f"{place}.lanes: {unit.lanes} of {unit.sums} do not fit into {vector_bits} bits")
    if unit.depth * bits > sum_bits:
        raise CnnccError(f"{place}.depth: {unit.depth} of {unit.element} do not fit into a lane of {unit.sums}")
    return unit
