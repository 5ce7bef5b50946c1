"""Holds a graph compiled for a range of sizes to the same graph compiled for each size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from fuzz.compiled import Mismatch, listed

from cnncc import api, ops, weights
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ir.ranged import Ranged
from cnncc.machines import targets
from cnncc.module.cpu.build import build_program
from cnncc.module.cpu.ranged_program import lower_ranged
from cnncc.ops import ShapeError
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.passes.infer_shapes import infer_shapes

EXACT = Options(batch=2, threads=2, max_error=0.0)
"""Without Winograd, whose tiles may be others for a range."""


def ranged_of(graph: Graph) -> Ranged | None:
    """The graph for images around the size of its first one; None if it has none. Inputs of the same height or width
    change together."""
    bound = weights.bind(graph, seed=0)
    images = [n for n in bound.inputs if len(n.type.shape) == 4]
    if not images:
        return None
    _, _, h, w = images[0].type.shape
    rows, columns = Symbol(0, "h", h, h + 12, 3), Symbol(1, "w", w, w + 10, 1)
    shapes: dict[str, tuple[int | Symbol, ...]] = {
        n.name: (n.type.shape[1], *(s if size == old else size for size, s, old in _sides(n.type.shape, rows, columns)))
        for n in images
    }

    def at(sizes: Mapping[str, Sequence[int]]) -> Graph:
        nodes = (
            n.with_(attrs={**n.attrs, "dims": tuple(sizes[n.name])}, type=replace(n.type, shape=(1, *sizes[n.name])))
            if n.name in sizes
            else n
            for n in bound.nodes
        )
        made = replace(bound, nodes=tuple(nodes))
        try:
            found = infer_shapes(made)
            ops.verify(found)
        except ShapeError as error:
            raise CnnccError(error.message) from None
        return found

    return Ranged(shapes, at)


def _sides(shape: Sequence[int], rows: Symbol, columns: Symbol) -> list[tuple[int, Symbol, int]]:
    return [(shape[2], rows, rows.least), (shape[3], columns, columns.least)]


def hold_range(network: Ranged, seed: int = 0) -> int:
    """The number of values that were compared at the ends of the range, and between."""
    program = lower_ranged(network, targets.load("host"), EXACT)
    model = build_program(program).model()
    compared = 0
    for steps in (network.least, network.typical, network.most):
        graph = network.graph(steps)
        arrays = [np.repeat(a, 2, axis=0) for a in random_inputs(graph, seed).values()]
        alone = cast("api.Model", api.build(graph, EXACT).model())
        for name, got, want in zip(graph.outputs, listed(model(*arrays)), listed(alone(*arrays)), strict=True):
            if got.shape != want.shape or not np.array_equal(got, want, equal_nan=True):
                off = np.abs(got - want).max() if got.shape == want.shape else got.shape
                raise Mismatch(f"{name} at {network.sizes(steps)}: {off}")
            compared += got.size
    return compared
