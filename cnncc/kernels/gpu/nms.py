"""Non-maximum suppression: each class by itself, then the rows of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import FLOAT32
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class GpuNmsConfig:
    """At most `most` boxes of each class of each image of a batch, a class per block. Its list begins with how many it
    has; behind the list is a number for each box, whether it is still there."""

    batch: int
    boxes: View
    scores: View
    most: int
    iou: float
    score: float
    center: bool
    threads: int

    @property
    def lists(self) -> int:
        """Of one image of the batch, which is of several images of the detector."""
        return self.scores.channels * self.scores.height

    @property
    def count(self) -> int:
        """Boxes of an image."""
        return self.scores.width

    @property
    def floats(self) -> int:
        """Of a list, with what comes before and behind it."""
        return 1 + self.most + self.count

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.batch * self.lists, 1, 1)


@dataclass(frozen=True)
class GpuNmsRowsConfig:
    """The lists of all classes as rows of image, class and box, then rows of -1: a row per thread."""

    lists: GpuNmsConfig
    result: View
    threads: int

    @property
    def per_image(self) -> int:
        return self.lists.lists * self.lists.most

    @property
    def total(self) -> int:
        return self.lists.batch * self.per_image


def select_nms(site: GpuSite) -> Selection:
    """nms in two launches."""
    node, attrs = site.node, site.node.attrs
    boxes, scores = (site.view(name) for name in node.inputs)
    most = min(attrs["most"], scores.width)
    threads = min(256, max(32, 1 << (scores.width - 1).bit_length()))
    how = (float(attrs["iou"]), float(attrs["score"]), attrs["center"])
    config = GpuNmsConfig(site.batch, boxes, scores, most, *how, threads)
    total = site.batch * config.lists * most
    rows = GpuNmsRowsConfig(config, site.view(node.name), threads_for(total, site.target))
    lists, size = Workspace(node.name), FLOAT32.bytes(config.lists * config.floats)
    work = LaunchWork(20 * most * site.batch * scores.numbers, site.bytes_of(*node.inputs))
    find = GpuKernel("nms", "nms_f32", config, config.grid[0], 0, config.grid, threads, work)
    grid = grid_of(total, rows.threads)
    join_work = LaunchWork(0, 2 * site.bytes_of(node.name), products=False)
    join = GpuKernel("nms_rows", "nms_rows_f32", rows, grid[0], 0, grid, rows.threads, join_work)
    calls = (
        Call(node.name, find, site.values(node.inputs), lists, True, size),
        Call(node.name, join, (lists,), site.result, True, size),
    )
    return Selection(calls, (), "a class per block, one pass over its boxes for each that is found")


RULES: Mapping[str, tuple[GpuRule, ...]] = {"nms": (select_nms,)}
"""Op -> its selectors."""
