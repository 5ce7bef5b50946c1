"""What is read at strides of a plain image: axes in another order, values repeated or taken at steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from cnncc.ir import Node
from cnncc.ir.rules import Shape
from cnncc.ops.parts import starts_and_steps


def merged(sizes: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same places with as few axes as possible: those of 1 go, those that continue each other are one."""
    axes: list[tuple[int, int]] = []
    for size, stride in zip(sizes, strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == stride * size:
            axes[-1] = (axes[-1][0] * size, stride)
        else:
            axes.append((size, stride))
    axes = axes or [(1, 1)]
    return tuple(a for a, _ in axes), tuple(b for _, b in axes)


def row_major(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of an array in logical order."""
    return tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))


def permuted(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    split, axes = node.attrs["split"], node.attrs["axes"]
    steps = row_major(split)
    return tuple(split[a] for a in axes), tuple(steps[a] for a in axes), 0


def expanded(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    steps = tuple(0 if size == 1 else step for size, step in zip(old, row_major(old), strict=True))
    return node.type.shape[1:], steps, 0


def sliced(node: Node, old: Shape) -> tuple[Shape, Shape, int]:
    steps, (starts, further) = row_major(old), starts_and_steps(node.attrs)
    strides = tuple(step * times for step, times in zip(steps, further, strict=True))
    start = sum(step * first for step, first in zip(steps, starts, strict=True))
    return node.type.shape[1:], strides, start


READ: Mapping[str, Callable[[Node, Shape], tuple[Shape, Shape, int]]] = {
    "permute": permuted,
    "expand": expanded,
    "strided_slice": sliced,
}
"""Op -> sizes, strides and start of what it reads, by the node and the shape of one image of its input."""
