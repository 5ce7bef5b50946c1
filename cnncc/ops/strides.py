"""What several moves in a row take of an image, and in which order, as one set of axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnncc.ops.parts import places
from cnncc.ops.table import Attrs, Shape


@dataclass(frozen=True)
class Strides:
    """Values of a source: that at (i, j, ...) is value `start` + i * steps[0] + j * steps[1] + ... of it."""

    start: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def after(self, op: str, attrs: Attrs) -> Strides | None:
        """What is left behind one more op; None if it is no move, or axes alone do not say what it does."""
        match op:
            case "reshape":
                return self.seen(attrs["dims"])
            case "permute":
                split = self.seen(attrs["split"])
                turned = split.turned(attrs["axes"]) if split else None
                return turned.seen(attrs["dims"]) if turned else None
            case "strided_slice":
                return self.taken(places(attrs))
            case "slice":
                return self.taken((range(attrs["start"], attrs["stop"]), *map(range, self.sizes[1:])))
        return None

    def taken(self, ranges: tuple[range, ...]) -> Strides:
        """Some positions of each axis."""
        start = self.start + sum(r.start * step for r, step in zip(ranges, self.steps, strict=True))
        steps = tuple(r.step * step for r, step in zip(ranges, self.steps, strict=True))
        return Strides(start, tuple(map(len, ranges)), steps)

    def turned(self, axes: tuple[int, ...]) -> Strides:
        """The axes in another order."""
        return Strides(self.start, tuple(self.sizes[a] for a in axes), tuple(self.steps[a] for a in axes))

    def joined(self) -> Strides:
        """With as few axes as there can be."""
        axes: list[tuple[int, int]] = []
        for size, step in zip(self.sizes, self.steps, strict=True):
            if axes and axes[-1][1] == size * step:
                axes[-1] = axes[-1][0] * size, step
            elif size > 1:
                axes.append((size, step))
        return Strides(self.start, tuple(size for size, _ in axes), tuple(step for _, step in axes))

    def seen(self, sizes: Shape) -> Strides | None:
        """The same values in the same order as axes of other sizes; None if a size has parts of two axes."""
        joined = self.joined()
        axes = list(zip(joined.sizes, joined.steps, strict=True))
        steps: list[int] = []
        for size in reversed(sizes):
            whole, step = axes.pop() if axes and size > 1 else (1, 1)
            if whole % size:
                return None
            steps.insert(0, step)
            if whole > size:
                axes.append((whole // size, size * step))
        return Strides(self.start, tuple(sizes), tuple(steps))

    def block(self) -> tuple[Shape, Shape] | None:
        """For all values from `start` on, in any order: the sizes of their axes in the order of the source, and these
        in the order of the values. None for values with others in between."""
        joined = self.joined()
        order = sorted(range(len(joined.sizes)), key=lambda axis: -joined.steps[axis])
        sizes = tuple(joined.sizes[axis] for axis in order)
        dense = all(joined.steps[axis] == math.prod(sizes[i + 1 :]) for i, axis in enumerate(order))
        return (sizes, tuple(order.index(axis) for axis in range(len(order)))) if dense else None


def whole(sizes: Shape) -> Strides:
    """All values of an image in their order."""
    return Strides(0, tuple(sizes), tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes))))
