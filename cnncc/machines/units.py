"""The vector units of a processor, `[[units]]` of its target file: what micro-kernels have to know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    @property
    def step_bytes(self) -> int:
        """Bytes of the weights of one lane that an instruction multiplies."""
        return self.element_bytes * self.depth


DOTS = {"vpdpbusd": 4, "vpmaddwd": 2, "sdot": 4, "dot_i16x8": 2, "mla": 1}
"""Instructions that multiply int8 and add up int32, and products of each that a lane adds up."""


PAIRS = {"vdpbf16ps": 2, "bfdot": 2}
"""The same of bfloat16 and float32."""


@dataclass(frozen=True)
class PairUnit(VectorUnit):
    """A unit that multiplies bfloat16 and adds up float32. Its instruction comes with one that rounds float32 to
    bfloat16."""

    instruction: str
    """A key of `PAIRS`."""


@dataclass(frozen=True)
class DotUnit(VectorUnit):
    """A unit that multiplies weights of int8 and values of 8 bits, and adds up int32. Micro-kernels know its code by
    name: what is multiplied with what differs."""

    instruction: str
    """A key of `DOTS`."""

    @property
    def widens(self) -> bool:
        """Whether weights, which are bytes in memory, are made longer before they are multiplied."""
        return self.depth < 4


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
    kind = KINDS.get(str(data.get("element")), VectorUnit)
    keys = {field.name for field in fields(kind)}
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
    unit = kind(**data)
    bits, sum_bits = ELEMENTS[unit.element].bits, ELEMENTS[unit.sums].bits
    if unit.lanes * sum_bits > vector_bits:
        raise CnnccError(f"{place}.lanes: {unit.lanes} of {unit.sums} do not fit into {vector_bits} bits")
    if unit.depth * bits > sum_bits:
        raise CnnccError(f"{place}.depth: {unit.depth} of {unit.element} do not fit into a lane of {unit.sums}")
    if isinstance(unit, DotUnit | PairUnit):
        _check_instruction(place, unit, DOTS if isinstance(unit, DotUnit) else PAIRS)
    return unit


KINDS: Mapping[str, type[VectorUnit]] = {"int8": DotUnit, "bfloat16": PairUnit}
"""The classes of units that multiply something else than float32."""


def _check_instruction(place: str, unit: DotUnit | PairUnit, known: Mapping[str, int]) -> None:
    """CnnccError for an instruction that no kernel has, or of another depth."""
    if unit.instruction not in known:
        hint = nearest(str(unit.instruction), known)
        raise CnnccError(f"{place}.instruction: no instruction {unit.instruction!r}", hint=hint)
    if unit.depth != known[unit.instruction]:
        raise CnnccError(f"{place}.depth: {unit.instruction} adds up {known[unit.instruction]}, got {unit.depth}")
