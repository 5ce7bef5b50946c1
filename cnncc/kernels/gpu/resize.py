"""Resizing: tables of taps for rows and columns, computed at compile time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import Element
from cnncc.ir import Constant
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.spec import MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.ops.resize import axes_taps


@dataclass(frozen=True)
class GpuResizeConfig:
    """The weighted sum of `taps` rows and columns: a vector of channels of an output pixel per thread."""

    batch: int
    source: View
    result: View
    taps: tuple[int, int]
    moves: bool
    """Whether each number is one of the image, as it is."""
    threads: int

    @property
    def total(self) -> int:
        return self.batch * self.result.numbers // self.result.block


def select_resize(site: GpuSite) -> Selection:
    """resize."""
    node = site.node
    source, result = site.view(node.inputs[0]), site.view(node.name)
    tables = axes_taps(site.type().shape, node.attrs)
    taps = (tables[0][0].shape[1], tables[1][0].shape[1])
    total = site.batch * result.numbers // result.block
    moves = taps == (1, 1) and all((share == 1).all() for _, share in tables)
    config = GpuResizeConfig(site.batch, source, result, taps, moves, threads_for(total, site.target))
    packed = tuple(
        _packed(f"{node.name}.{axis}.{kind}", values)
        for axis, table in zip(("rows", "columns"), tables, strict=True)
        for kind, values in zip(("from", "share"), table, strict=True)
    )
    grid = grid_of(total, config.threads)
    work = LaunchWork(2 * total * result.block * taps[0] * taps[1], site.bytes_of(node.name, *node.inputs))
    name = f"resize_{node.attrs['mode']}_{result.label}"
    kernel = GpuKernel("resize", name, config, grid[0], 0, grid, config.threads, work)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    call = Call(node.name, kernel, operands, site.result, True)
    return Selection((call,), packed, f"{taps[0]}x{taps[1]} taps from tables")


def _packed(name: str, values: np.ndarray) -> Packed:
    flat = values.astype(np.float32).reshape(-1)
    return Packed(name, Constant(flat.shape, lambda: flat))


RULES: Mapping[str, tuple[GpuRule, ...]] = {"resize": (select_resize,)}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, MOVED)
"""Op -> the types of numbers that its kernels take and give."""
