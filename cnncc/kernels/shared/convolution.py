"""The geometry of a convolution, and its groups merged until each fills whole blocks of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cnncc.base.dim import smallest
from cnncc.kernels.shared.spec import Epilogue, Site, blocks
from cnncc.machines import Machine


def densify(weight: np.ndarray, groups: int, merge: int) -> np.ndarray:
    """Merges each `merge` neighbouring groups into one, with zeros between them: (o, i / groups, ...) to
    (o, merge * i / groups, ...). A few wasted products cost less than lanes that stay empty."""
    if merge == 1:
        return weight
    out, narrow = weight.shape[:2]
    wide = np.zeros((out, merge * narrow, *weight.shape[2:]), weight.dtype)
    per_group = out // groups
    for o in range(out):
        at = (o // per_group) % merge * narrow
        wide[o, at : at + narrow] = weight[o]
    return wide


def merged_groups(groups: int, in_channels: int, out_channels: int, block: int) -> int:
    """How many groups to merge so that each has whole blocks of channels; all of them if nothing less will do."""
    whole = (block // math.gcd(block, channels // groups) for channels in (in_channels, out_channels))
    merge = math.lcm(*whole)
    return merge if groups % merge == 0 else groups


def pad_channels(values: np.ndarray, padded: int) -> np.ndarray:
    """A vector of channels with zeros up to whole blocks."""
    return np.pad(values, (0, padded - len(values)))


@dataclass(frozen=True)
class ConvGeometry:
    """The part of a configuration that the shape of the problem gives; tile and units follow from it and the target.

    `origin` is the input pixel under output (0, 0)'s first tap (minus the padding); the result is stored at every
    `out_step`-th pixel from `out_start` (one phase of the stride of a transposed convolution).
    """

    in_channels: int
    out_channels: int
    in_block: int
    in_size: tuple[int, int]
    grid: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    origin: tuple[int, int]
    groups: int
    bias: bool
    epilogue: Epilogue
    out_step: tuple[int, int] = (1, 1)
    out_start: tuple[int, int] = (0, 0)
    weights: str = "float32"
    """What weights are stored as where they are no integers, a key of `ELEMENTS`."""
    element: str = "float32"
    """Of the image, and of the result where that is no integer."""

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the image, or of what lies around it, that some tap reads."""
        height, width = (
            (self.grid[a] - 1) * self.stride[a] + (self.kernel[a] - 1) * self.dilation[a] + 1 for a in (0, 1)
        )
        return height, width

    @property
    def padded(self) -> ConvGeometry:
        """The same on an image that was copied between zeros."""
        return replace(self, in_size=self.window, origin=(0, 0))

    def framed(self, most: tuple[int, int]) -> ConvGeometry:
        """The same on an image that was copied between no more than so many rows and columns of zeros on each side:
        taps that reach beyond those are to be skipped."""
        before = [min(-self.origin[a], most[a]) for a in (0, 1)]
        after = [smallest(self.origin[a] + self.window[a] - self.in_size[a], most[a]) for a in (0, 1)]
        height, width = (before[a] + self.in_size[a] + after[a] for a in (0, 1))
        return replace(self, in_size=(height, width), origin=(self.origin[0] + before[0], self.origin[1] + before[1]))

    def in_whole_blocks(self, block: int) -> ConvGeometry:
        """The same with channels that fill up blocks, those of the result of size `block`."""
        return replace(
            self,
            in_channels=blocks(self.in_channels, self.in_block) * self.in_block,
            out_channels=blocks(self.out_channels, block) * block,
        )


def conv_geometry(site: Site[Machine]) -> ConvGeometry:
    """The geometry of a conv node, its groups merged until each fills whole blocks."""
    node, attrs, source = site.node, site.node.attrs, site.type()
    return ConvGeometry(
        in_channels=source.shape[1],
        out_channels=attrs["out"],
        in_block=source.block,
        in_size=source.chw[1:],
        grid=node.type.chw[1:],
        out_size=node.type.chw[1:],
        kernel=attrs["kernel"],
        stride=attrs["stride"],
        dilation=attrs["dilation"],
        origin=(-attrs["pad"][0], -attrs["pad"][1]),
        groups=attrs["groups"] // conv_merge(site),
        bias=attrs["bias"],
        epilogue=attrs["epilogue"],
        weights=site.weights_dtype,
        element=source.element.name,
    )


def conv_merge(site: Site[Machine]) -> int:
    """How many of a conv's groups are computed as one."""
    groups, source = site.node.attrs["groups"], site.type()
    if groups == 1:
        return 1
    merge = merged_groups(groups, source.shape[1], site.node.attrs["out"], site.block)
    return groups if source.block == 1 else merge
