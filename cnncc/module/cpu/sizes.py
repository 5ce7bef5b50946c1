"""One module for several sizes of a network's inputs: a program for each, and one set of packed weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.kernels.shared.spec import Packed
from cnncc.module.cpu.code import aligned
from cnncc.module.cpu.program import CpuProgram


def joined(programs: Sequence[CpuProgram]) -> CpuProgram:
    """The program of the first size, with those of the others; weights that are the same bytes are stored once.

    CnnccError for two programs with inputs of one size, or whose inputs or outputs are not alike.
    """
    first, *others = programs
    if not others:
        return first
    _check(programs)
    pool = _Pool(list(first.weights))
    shared = [replace(other, placed=tuple(pool.place(packed) for packed, _ in other.weights)) for other in others]
    return replace(first, placed=tuple(pool.weights), further=tuple(shared))


class _Pool:
    """Packed weights one after the other. What is there already has its place."""

    def __init__(self, weights: list[tuple[Packed, int]]) -> None:
        self.weights = weights

    def place(self, packed: Packed) -> tuple[Packed, int]:
        """Where the weight lies: with an equal one of its name, else behind all."""
        for other, offset in self.weights:
            if other.name == packed.name and _equal(other, packed):
                return packed, offset
        last, start = self.weights[-1]
        self.weights.append((packed, start + aligned(max(last.nbytes, 1))))
        return self.weights[-1]


def _equal(one: Packed, other: Packed) -> bool:
    """Whether two weights are the same bytes. They are compared themselves: passes may have moved numbers into weights
    that depend on the size of an image."""
    alike = (one.constant.shape, one.constant.element) == (other.constant.shape, other.constant.element)
    return alike and np.array_equal(one.compute().view(np.uint8), other.compute().view(np.uint8))


def _check(programs: Sequence[CpuProgram]) -> None:
    ports = [_ports(program) for program in programs]
    if len(set(ports)) > 1:
        raise CnnccError(f"{programs[0].source.name}: its sizes have other inputs or outputs, or types of them")
    shapes = [tuple(node.type.shape for node in program.source.inputs) for program in programs]
    if len(set(shapes)) < len(shapes):
        raise CnnccError(f"{programs[0].source.name}: two of its sizes are the same")


def _ports(program: CpuProgram) -> tuple[object, ...]:
    """What callers see of inputs and outputs, but their sizes."""
    inputs = ((node.name, node.type.element, node.attrs["element"]) for node in program.source.inputs)
    return (*inputs, *((name, kind.element) for name, kind in program.outputs.items()))
