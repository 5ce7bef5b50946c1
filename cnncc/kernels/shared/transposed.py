"""A transposed convolution as one small convolution for each phase of its stride."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from cnncc.base.dim import smallest
from cnncc.ir import Constant
from cnncc.kernels.shared.convolution import ConvGeometry, densify, merged_groups
from cnncc.kernels.shared.spec import Site
from cnncc.machines import Machine
from cnncc.ops.conv import outputs_first


def transposed_phases(site: Site[Machine], weight: Constant) -> Iterator[tuple[ConvGeometry, Constant, str]]:
    """The convolutions that a transposed one consists of: geometry, weight (o, i / groups, kh, kw), a suffix for names.
    One without taps has only the bias to write. `weight` is that of the node, (o, i / groups, kh, kw)."""
    attrs, source = site.node.attrs, site.type()
    in_channels, out_channels = source.shape[1], attrs["out"]
    groups = attrs["groups"]
    merge = merged_groups(groups, in_channels, out_channels, site.block) if groups > 1 else 1
    for row, column in product(_phases(0, site), _phases(1, site)):
        shape = (out_channels, in_channels // groups * merge, len(row.taps), len(column.taps))
        part = weight.map(
            shape, lambda w, r=row, c=column: densify(w[:, :, list(r.taps)][:, :, :, list(c.taps)], groups, merge)
        )
        geometry = ConvGeometry(
            in_channels=in_channels,
            out_channels=out_channels,
            in_block=source.block,
            in_size=source.chw[1:],
            grid=(row.grid, column.grid),
            out_size=site.node.type.chw[1:],
            kernel=(len(row.taps), len(column.taps)),
            stride=(1, 1),
            dilation=(row.dilation, column.dilation),
            origin=(row.origin, column.origin),
            groups=groups // merge,
            bias=attrs["bias"],
            epilogue=attrs["epilogue"],
            out_step=attrs["stride"],
            out_start=(row.start, column.start),
            weights=site.weights_dtype,
            element=source.element.name,
        )
        yield geometry, part, f".{row.start}.{column.start}"


def weight_by_output(site: Site[Machine]) -> Constant:
    """The weight of a `conv_transpose` node as (o, i / groups, kh, kw)."""
    weight = site.constant("weight")
    assert weight is not None
    return outputs_first(weight, site.node.attrs["groups"])


@dataclass(frozen=True)
class _Phase:
    """Outputs start, start + stride, ... along one axis: which taps reach them, in input order, and from where."""

    start: int
    grid: int
    taps: tuple[int, ...]
    dilation: int
    origin: int


def _phases(axis: int, site: Site[Machine]) -> list[_Phase]:
    """Output y gets input (y + pad - k * dilation) / stride for every tap k where that is whole."""
    attrs = site.node.attrs
    stride, dilation, pad = attrs["stride"][axis], attrs["dilation"][axis], attrs["pad"][axis]
    size = site.node.type.shape[2 + axis]
    phases = []
    for start in range(smallest(stride, size)):
        taps = [k for k in range(attrs["kernel"][axis]) if (start + pad - k * dilation) % stride == 0]
        taps.reverse()  # the largest tap reads the smallest input index
        origin = (start + pad - taps[0] * dilation) // stride if taps else 0
        grid = -(-(size - start) // stride)
        phases.append(_Phase(start, grid, tuple(taps), dilation // math.gcd(stride, dilation), origin))
    return phases
