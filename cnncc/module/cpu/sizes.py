"""One module for several sizes of a network's inputs: a program for each, and one set of packed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.kernels.cpu.algorithms import find
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
    pool = _Pool(first)
    further = tuple(pool.place(other) for other in others)
    return replace(first, placed=tuple(pool.placed), further=further)


class _Pool:
    """The packed weights of all sizes, one after the other."""

    def __init__(self, first: CpuProgram) -> None:
        self.placed = list(first.weights)
        self._sizes = [(first, _by_node(first))]

    def place(self, program: CpuProgram) -> CpuProgram:
        """The program of a further size with its weights where equal ones of a size before lie, else behind all."""
        placed: list[tuple[Packed, int]] = []
        for node, weights in (own := _by_node(program)).items():
            alike = (p for p, known in self._sizes if _equal((p, known.get(node, ())), (program, weights), node))
            like = next(alike, None)
            placed += [(w, self._behind(w) if like is None else like.weight_offsets[w.name]) for w in weights]
        made = replace(program, placed=tuple(placed))
        self._sizes.append((made, own))
        return made

    def _behind(self, packed: Packed) -> int:
        last, start = self.placed[-1] if self.placed else (packed, -aligned(max(packed.nbytes, 1)))
        self.placed.append((packed, start + aligned(max(last.nbytes, 1))))
        return self.placed[-1][1]


def _by_node(program: CpuProgram) -> Mapping[str, Sequence[Packed]]:
    """The packed weights of each node, and the value of each constant, in the order of `program.weights`."""
    found: dict[str, list[Packed]] = {}
    owner = {packed.name: node for node, selection in program.selections.items() for packed in selection.weights}
    for packed, _ in program.weights:
        found.setdefault(owner.get(packed.name, packed.name), []).append(packed)
    return found


_Of = tuple[CpuProgram, Sequence[Packed]]
"""A program, and the packed weights that it has for a node."""


def _equal(mine: _Of, theirs: _Of, node: str) -> bool:
    """Whether a node has the same packed weights at two sizes. Numbers are compared, whatever they are called: passes
    may have moved some into weights that depend on the size of an image."""
    (one, first), (other, second) = mine, theirs
    if [_form(packed) for packed in first] != [_form(packed) for packed in second]:
        return False
    if _packed_alike(one, other, node):  # then what is packed is compared, which is sooner computed
        slots = one.graph[node].weights.items(), other.graph[node].weights.items()
        constants = [
            (one.graph.constants[mine], other.graph.constants[theirs])
            for (_, mine), (_, theirs) in zip(*map(sorted, slots), strict=True)
        ]
        return all(np.array_equal(a.compute(), b.compute()) for a, b in constants)
    return all(
        np.array_equal(a.compute().view(np.uint8), b.compute().view(np.uint8))
        for a, b in zip(first, second, strict=True)
    )


def _form(packed: Packed) -> tuple[object, ...]:
    return packed.name, packed.constant.shape, packed.constant.element


def _packed_alike(one: CpuProgram, other: CpuProgram, node: str) -> bool:
    """Whether a node's weights are packed by one algorithm in one order at both sizes."""
    orders = []
    for program in (one, other):
        selection = program.selections.get(node)
        if selection is None or selection.choice is None:
            return False
        algorithm = find(selection.choice.algorithm)
        orders.append((algorithm.name, algorithm.weight_order(selection.calls[-1])))
    slots = [set(program.graph[node].weights) for program in (one, other)]
    return orders[0] == orders[1] and slots[0] == slots[1]


def _check(programs: Sequence[CpuProgram]) -> None:
    ports = [_ports(program) for program in programs]
    if len(set(ports)) > 1:
        what = f"{programs[0].source.name}: its sizes have other inputs or outputs, or types of them"
        raise CnnccError(what, hint="compile a module for each")
    shapes = [tuple(node.type.shape for node in program.source.inputs) for program in programs]
    if len(set(shapes)) < len(shapes):
        raise CnnccError(f"{programs[0].source.name}: two of its sizes are the same", hint="name each once")


def _ports(program: CpuProgram) -> tuple[object, ...]:
    """What callers see of inputs and outputs, but their sizes."""
    inputs = ((node.name, node.type.element, node.attrs["element"]) for node in program.source.inputs)
    return (*inputs, *((name, kind.element) for name, kind in program.outputs.items()))
