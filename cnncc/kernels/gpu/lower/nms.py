"""Kernels for non-maximum suppression. Each pass drops what overlaps the box found last, and finds the next: the
threads of a block share the boxes, a tree finds the best of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower.builder import CudaBuilder, divmod_, image_of, rounds
from cnncc.kernels.gpu.nms import GpuNmsConfig, GpuNmsRowsConfig
from cnncc.kernels.gpu.spec import grid_of
from cnncc.kernels.shared.boxes import Box, box_at, overlaps
from cnncc.kernels.shared.builder import Expr, i32, splat
from cnncc.ops.nms import NONE


def lower(c: GpuNmsConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    return _Nms(c).build(symbol)


class _Nms:
    def __init__(self, config: GpuNmsConfig) -> None:
        self.c = c = config
        self.k = k = CudaBuilder(c.grid, c.threads)
        self.boxes = k.operand("boxes", c.batch * c.boxes.numbers)
        self.scores = k.operand("scores", c.batch * c.scores.numbers)
        self.lists = k.operand("lists", c.batch * c.lists * c.floats)
        # The best box of a thread, -1 for none, and its score.
        self.box, self.score = k.local(1), k.local(1)
        self.found, self.found_score = k.shared(c.threads), k.shared(c.threads)

    def build(self, symbol: str) -> PrimFunc:
        k, c = self.k, self.c
        image, number = image_of(k, k.block(0), c.batch, c.lists)
        self.start = k.let(image * c.boxes.stride + tirx.truncdiv(number, i32(c.scores.height)) * (c.count * 4))
        self.at = k.let(image * c.scores.stride + number * c.count)
        self.to = k.let(k.block(0) * c.floats)
        self.alive = k.let(self.to + (1 + c.most))
        count, going = k.local(1), k.local(1, "int32")
        count.store(0, splat(0.0, 1))
        going.store(0, i32(1))
        self.first()
        # All threads see the same best box, so they stop at the same pass: barriers stay together.
        with k.loop(c.most, "found") as i, k.when(going.load(0) > 0):
            best = self.best()
            with k.when(best >= splat(0.0, 1)):
                count.store(0, count.load(0) + splat(1.0, 1))
                with k.when(k.thread < 1):
                    self.lists.store(self.to + 1 + i, best)
                self.next(k.let(tirx.Cast("int32", best)))
            with k.otherwise():
                going.store(0, i32(0))
            k.barrier()
        with k.when(k.thread < 1):
            self.lists.store(self.to, count.load(0))
        return k.finish(symbol)

    def first(self) -> None:
        """Which boxes are there at all, and the best of the thread's."""
        k, c = self.k, self.c
        self.box.store(0, splat(NONE, 1))
        self.score.store(0, splat(0.0, 1))
        with rounds(k, c.count, k.thread, c.threads) as j:
            score = k.let(self.scores.load(self.at + j))
            alive = k.let(tirx.Select(score > splat(c.score, 1), splat(1.0, 1), splat(0.0, 1)))
            self.lists.store(self.alive + j, alive)
            with k.when(alive > splat(0.0, 1)):
                self.better(j, score)

    def next(self, found: Expr) -> None:
        """Drops the box that was found and those that overlap it; the best of the thread's that stay."""
        k, c = self.k, self.c
        one: Box = box_at(k, self.boxes, k.let(self.start + found * 4), c.center)
        self.box.store(0, splat(NONE, 1))
        self.score.store(0, splat(0.0, 1))
        with rounds(k, c.count, k.thread, c.threads) as j, k.when(self.lists.load(self.alive + j) > splat(0.0, 1)):
            other = box_at(k, self.boxes, k.let(self.start + j * 4), c.center)
            with k.when(tirx.any(j == found, overlaps(k, one, other, c.iou))):
                self.lists.store(self.alive + j, splat(0.0, 1))
            with k.otherwise():
                self.better(j, k.let(self.scores.load(self.at + j)))

    def better(self, j: Expr, score: Expr) -> None:
        """Keeps a box that is better than the thread's best so far; of equal ones the first stays."""
        none = self.box.load(0) < splat(0.0, 1)
        with self.k.when(tirx.any(none, score > self.score.load(0))):
            self.box.store(0, tirx.Cast("float32", j))
            self.score.store(0, score)

    def best(self) -> Expr:
        """The best of all threads; of equal ones the first box."""
        k, c = self.k, self.c
        self.found.store(k.thread, self.box.load(0))
        self.found_score.store(k.thread, self.score.load(0))
        k.barrier()
        half = c.threads // 2
        while half:
            with k.when(k.thread < half):
                mine, other = k.let(self.found.load(k.thread)), k.let(self.found.load(k.thread + half))
                score, rival = k.let(self.found_score.load(k.thread)), k.let(self.found_score.load(k.thread + half))
                known, none = other >= splat(0.0, 1), mine < splat(0.0, 1)
                earlier = tirx.all(rival == score, other < mine)
                with k.when(tirx.all(known, tirx.any(none, rival > score, earlier))):
                    self.found.store(k.thread, other)
                    self.found_score.store(k.thread, rival)
            k.barrier()
            half //= 2
        return k.let(self.found.load(0))


def lower_rows(c: GpuNmsRowsConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration: a thread finds its row by counting those of the lists."""
    lists = c.lists
    k = CudaBuilder(grid_of(c.total, c.threads), c.threads)
    source = k.operand("lists", lists.batch * lists.lists * lists.floats)
    result = k.operand("result", lists.batch * c.result.numbers)
    with k.each(c.total) as index:
        image, row = image_of(k, index, lists.batch, c.per_image)
        before, values = k.local(1, "int32"), k.local(3)
        before.store(0, i32(0))
        for i in range(3):
            values.store(i, splat(NONE, 1))
        with k.loop(lists.lists, "list") as number:
            at = k.let((image * lists.lists + number) * lists.floats)
            count = k.let(tirx.Cast("int32", source.load(at)))
            place = k.let(row - before.load(0))
            with k.when(tirx.all(place >= 0, place < count)):
                part, label = divmod_(k, number, lists.scores.height)
                for i, value in enumerate((part, label)):
                    values.store(i, tirx.Cast("float32", i32(value)))
                values.store(2, source.load(at + 1 + place))
            before.store(0, before.load(0) + count)
        for i in range(3):
            result.store(image * c.result.stride + row * 3 + i, values.load(i))
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"nms": lower, "nms_rows": lower_rows}
"""Family of a kernel -> its lowering."""
