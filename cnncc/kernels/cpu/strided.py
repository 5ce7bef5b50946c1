"""Kernels that read a plain image at strides: axes in another order, values repeated or taken at steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cnncc.ir import Node
from cnncc.ir.rules import Shape
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Kernel, Selection
from cnncc.ops.parts import places


@dataclass(frozen=True)
class StridedConfig:
    """The result, of `sizes`, in order; along axis i its source moves by `strides[i]` numbers, 0 where values repeat,
    from `start` on."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    source: int
    """Numbers of the source image."""
    start: int = 0
    element: str = "float32"

    @property
    def rows(self) -> int:
        return math.prod(self.sizes[:-1])


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
    steps, taken = row_major(old), places(node.attrs)
    strides = tuple(step * along.step for step, along in zip(steps, taken, strict=True))
    start = sum(step * along.start for step, along in zip(steps, taken, strict=True))
    return node.type.shape[1:], strides, start


READ: Mapping[str, Callable[[Node, Shape], tuple[Shape, Shape, int]]] = {
    "permute": permuted,
    "expand": expanded,
    "strided_slice": sliced,
}
"""Op -> sizes, strides and start of what it reads, by the node and the shape of one image of its input."""


def select_strided(site: CpuSite) -> Selection:
    """A copy that reads rows at strides."""
    node, old = site.node, site.type().shape[1:]
    sizes, strides, start = READ[node.op](node, old)
    config = StridedConfig(*merged(sizes, strides), math.prod(old), start, site.element.name)
    kernel = Kernel("strided", f"{node.op}_{site.element.short}_{site.target.isa}", config, config.rows, 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "rows read at strides")


RULES: Mapping[str, tuple[CpuRule, ...]] = dict.fromkeys(READ, (select_strided,))
"""Op -> its selectors."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
