"""Kernels for non-maximum suppression. Each pass drops what overlaps the box found last, and finds the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.nms import NmsConfig, NmsRowsConfig
from cnncc.kernels.shared.boxes import box_at, overlaps
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat
from cnncc.ops.nms import NONE

BEST, BEST_SCORE = range(2)
"""Registers: the best box of a pass and its score. A box of -1 is none."""


def lower(c: NmsConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration; a unit is a class of an image."""
    return _Nms(c).build(symbol)


class _Nms:
    def __init__(self, config: NmsConfig) -> None:
        self.c = c = config
        self.k = k = KernelBuilder()
        self.boxes = k.operand("boxes", c.images * c.boxes * 4)
        self.scores = k.operand("scores", c.images * c.classes * c.boxes)
        self.result = k.operand("lists", c.images * c.classes * c.most)
        self.alive = k.scratch(c.boxes)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        with k.units() as u:
            best = k.registers(2)
            start = k.let(u // c.classes * (c.boxes * 4))
            self.first(u * c.boxes, best)
            with k.loop(c.most) as i:
                found = k.let(best.load(BEST))
                self.result.store(u * c.most + i, found)
                with k.when(found >= splat(0.0, 1)):
                    self.next(start, k.let(tirx.Cast("int32", found)), u * c.boxes, best)
        return k.finish(symbol)

    def first(self, scores: Expr, best: Buffer) -> None:
        """Which boxes are there at all, and the best of them."""
        k, c = self.k, self.c
        best.store(BEST, splat(NONE, 1))
        with k.loop(c.boxes) as j:
            score = k.let(self.scores.load(scores + j))
            alive = k.let(score > splat(c.score, 1))
            self.alive.store(j, tirx.Select(alive, splat(1.0, 1), splat(0.0, 1)))
            with k.when(alive):
                self.better(j, score, best)

    def next(self, start: Expr, found: Expr, scores: Expr, best: Buffer) -> None:
        """Drops the box that was found and those that overlap it; the best that stays."""
        k, c = self.k, self.c
        one = box_at(k, self.boxes, k.let(start + found * 4), c.center)
        self.alive.store(found, splat(0.0, 1))
        best.store(BEST, splat(NONE, 1))
        with k.loop(c.boxes) as j, k.when(self.alive.load(j) > splat(0.0, 1)):
            with k.when(overlaps(k, one, box_at(k, self.boxes, k.let(start + j * 4), c.center), c.iou)):
                self.alive.store(j, splat(0.0, 1))
            with k.otherwise():
                self.better(j, k.let(self.scores.load(scores + j)), best)

    def better(self, j: Expr, score: Expr, best: Buffer) -> None:
        """Keeps a box that is better than the best so far; of equal ones the first stays."""
        none = best.load(BEST) < splat(0.0, 1)
        with self.k.when(tirx.any(none, score > best.load(BEST_SCORE))):
            best.store(BEST, tirx.Cast("float32", j))
            best.store(BEST_SCORE, score)


def lower_rows(c: NmsRowsConfig, symbol: str) -> PrimFunc:
    """The lists of all classes as rows of image, class and box, then rows of -1; the one unit is all of it."""
    k, count = KernelBuilder(), c.images * c.classes * c.most
    lists, result = k.operand("lists", count), k.operand("rows", 3 * count)
    with k.units():
        used = k.registers(1)
        used.store(0, splat(0.0, 1))
        with k.loop(c.images * c.classes) as u, k.loop(c.most) as i:
            box = k.let(lists.load(u * c.most + i))
            with k.when(box >= splat(0.0, 1)):
                at = k.let(tirx.Cast("int32", used.load(0)) * 3)
                result.store(at, tirx.Cast("float32", u // c.classes))
                result.store(at + 1, tirx.Cast("float32", u % c.classes))
                result.store(at + 2, box)
                used.store(0, used.load(0) + splat(1.0, 1))
        first = k.let(tirx.Cast("int32", used.load(0)) * 3)
        with k.loop(3 * count - first) as i:
            result.store(first + i, splat(NONE, 1))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"nms": lower, "nms_rows": lower_rows}
"""Family of a kernel -> its lowering."""
