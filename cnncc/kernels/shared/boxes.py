"""Boxes of a detector as code of a kernel: their ends, and how much two of them overlap."""

from __future__ import annotations

from tvm import tirx

from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat

Box = tuple[Expr, Expr, Expr, Expr]
"""Lower ends, then upper ends."""


def box_at(k: KernelBuilder, boxes: Buffer, at: Expr, center: bool) -> Box:
    """The ends of a box along both axes, of any two opposite corners, or of centre and size."""
    a, b, c, d = (k.let(boxes.load(at + i)) for i in range(4))
    if center:
        half = splat(0.5, 1)
        w, h = k.let(c * half), k.let(d * half)
        return k.let(a - w), k.let(b - h), k.let(a + w), k.let(b + h)
    return k.let(vmin(a, c)), k.let(vmin(b, d)), k.let(vmax(a, c)), k.let(vmax(b, d))


def area_of(k: KernelBuilder, box: Box) -> Expr:
    """Of a box."""
    return k.let((box[2] - box[0]) * (box[3] - box[1]))


def overlaps(k: KernelBuilder, one: Box, other: Box, iou: float) -> Expr:
    """Whether intersection over union is above a bound."""
    zero = splat(0.0, 1)
    sides = [k.let(vmax(k.let(vmin(one[i + 2], other[i + 2])) - k.let(vmax(one[i], other[i])), zero)) for i in (0, 1)]
    shared = k.let(sides[0] * sides[1])
    area, own = area_of(k, one), area_of(k, other)
    total = k.let(area + own - shared)
    known = tirx.all(area > zero, own > zero, total > zero, shared > zero)
    return k.let(tirx.all(known, shared / total > splat(iou, 1)))
