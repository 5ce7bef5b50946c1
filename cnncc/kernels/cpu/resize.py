"""Resizing and bilinear upsampling: tables of taps for rows and columns, computed at compile time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.base.dim import Extent, least_of, most_of, symbols_of, typical
from cnncc.base.elements import FLOAT32
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.kernels.cpu.site import MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection, blocks
from cnncc.ops.resize import axes_taps


@dataclass(frozen=True)
class ResizeConfig:
    """Sizes in rows and columns, of `block` numbers each; `taps` along both axes."""

    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    taps: tuple[int, int]
    element: str = "float32"
    """Integers are only moved: they have one tap."""

    @property
    def rows_first(self) -> bool:
        """Whether whole rows of the image are blended before columns are: it takes fewer products."""
        (down, across), before, after = self.taps, typical(self.in_size[1]), typical(self.out_size[1])
        return down > 1 and before * down + after * across < after * down * across

    @property
    def scratch_floats(self) -> int:
        """A blended row."""
        return blocks(self.in_size[1] * self.block, 16) * 16 if self.rows_first else 0

    @property
    def scratch_bytes(self) -> int:
        return FLOAT32.bytes(self.scratch_floats)


@dataclass(frozen=True)
class TapsConfig:
    """The tables of taps of an image of any size: for each row of the result, then for each column, `taps` indices; and
    as many shares. A unit is an axis.

    Result i lies at (i * `rise` + `start`) / `below` of the image, three whole numbers for each axis."""

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    rise: tuple[int, int]
    start: tuple[int, int]
    below: tuple[int, int]
    taps: int

    @property
    def numbers(self) -> tuple[int, int]:
        """Of the tables of rows and of columns."""
        return self.out_size[0] * self.taps, self.out_size[1] * self.taps


def select_resize(site: CpuSite) -> Selection:
    """resize; a row of one channel block per unit."""
    return resize(site, f"resize_{site.node.attrs['mode']}", site.node.attrs)


def resize(site: CpuSite, label: str, attrs: Mapping[str, Any]) -> Selection:
    """What an op `resize` with these attributes would do to the first input of the node."""
    node, target = site.node, site.target
    source = site.type()
    if symbols_of((source.shape, node.type.shape)):
        return _resize_any(site, label, attrs)
    tables = axes_taps(source.shape, attrs)
    taps = (tables[0][0].shape[1], tables[1][0].shape[1])
    planes, out_size = blocks(source.shape[1], target.block), node.type.chw[1:]
    config = ResizeConfig(planes, target.block, target.lanes, source.chw[1:], out_size, taps, site.element.name)
    packed = [
        _packed(f"{node.name}.{axis}.{kind}", values)
        for axis, table in zip(("rows", "columns"), tables, strict=True)
        for kind, values in zip(("from", "share"), table, strict=True)
    ]
    name = f"{label}_{site.element.short}_nchw{target.block}c_{target.isa}"
    kernel = Kernel("resize", name, config, planes * out_size[0], config.scratch_bytes)
    operands = (*site.values(node.inputs), *(p.operand for p in packed))
    why = f"{taps[0]}x{taps[1]} taps from tables{', rows first' if config.rows_first else ''}"
    return Selection((Call(node.name, kernel, operands, site.result),), tuple(packed), why)


def _resize_any(site: CpuSite, label: str, attrs: Mapping[str, Any]) -> Selection:
    """The same of an image of any size: a call of its own makes the tables, in whole numbers and so as exactly as they
    are made at compile time."""
    node, target, source = site.node, site.target, site.type()
    in_size, out_size = source.chw[1:], node.type.chw[1:]
    plain = attrs["mode"] == "linear" and not (attrs["antialias"] or attrs["exclude_outside"])
    steps = [_steps(attrs["place"], *sizes) for sizes in zip(in_size, out_size, strict=True)]
    if not plain or None in steps or not all(map(_same_factor, in_size, out_size)):
        hint = "linear, by a whole factor, works; or compile the sizes that are needed"
        what = f"{label}: {attrs['mode']} {attrs['place']} has no kernel for a range of sizes yet"
        raise CnnccError(what, node.span, node.stack, hint)
    rise, start, below = zip(*(step for step in steps if step), strict=True)
    config = TapsConfig(in_size, out_size, rise, start, below, taps=2)
    planes = blocks(source.shape[1], target.block)
    blend = ResizeConfig(planes, target.block, target.lanes, in_size, out_size, (2, 2), site.element.name)
    size = FLOAT32.bytes(2 * sum(config.numbers))
    rows, columns = (FLOAT32.bytes(n) for n in config.numbers)
    tables = [Workspace(node.name, at) for at in (0, rows + columns, rows, 2 * rows + columns)]
    first = Kernel("resize_taps", f"resize_taps_f32_{target.isa}", config, 2, 0)
    name = f"{label}_{site.element.short}_nchw{target.block}c_{target.isa}"
    second = Kernel("resize", name, blend, planes * out_size[0], blend.scratch_bytes)
    calls = (
        Call(node.name, first, (), tables[0], workspace_bytes=size),
        Call(node.name, second, (*site.values(node.inputs), *tables), site.result, workspace_bytes=size),
    )
    return Selection(calls, (), "2x2 taps from tables that a call before makes for the size")


def _same_factor(size: Extent, out: Extent) -> bool:
    """Whether the result is as many times as large at every size, a whole number."""
    times = typical(out) // typical(size)
    return bool(out == size * times)


def _steps(place: str, size: Extent, out: Extent) -> tuple[Extent, Extent, Extent] | None:
    """Where result i lies, (i * rise + start) / below, of a whole number of times as many; None for a rule that is no
    such line."""
    times = typical(out) // typical(size)
    if place == "half_pixel" or (place == "pytorch_half_pixel" and least_of(out) > 1):
        return 2, 1 - times, 2 * times
    if place == "asymmetric":
        return 1, 0, times
    if place == "align_corners" and least_of(out) > 1 and most_of(out) * most_of(size) < LARGEST:
        return size - 1, 0, out - 1
    return None


LARGEST = 1 << 31
"""Above all numbers that kernels count with."""


def _packed(name: str, values: np.ndarray) -> Packed:
    flat = values.astype(np.float32).reshape(-1)
    return Packed(name, Constant(flat.shape, lambda: flat))


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "resize": (select_resize,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = {"resize": True}
"""Op -> whether its kernels compute images of any size of a range."""
TAKES = dict.fromkeys(RULES, MOVED)
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
