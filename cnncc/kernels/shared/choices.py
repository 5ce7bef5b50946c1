"""How a convolution may be computed otherwise than the model would: plain values, given from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.ir import Node, TensorType
from cnncc.kernels.cpu.tiles import Tile


@dataclass(frozen=True)
class ConvKey:
    """What tells convolutions apart for a choice: geometry and layout, neither weights nor epilogue.

    `source` and `result` are logical shapes with the batch, `block` is the source's channels per block.
    """

    source: tuple[int, ...]
    block: int
    result: tuple[int, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    groups: int


@dataclass(frozen=True)
class DirectChoice:
    """The direct kernel: register tile, output rows of a unit, pieces of the output blocks; whether the image is copied
    between zeros once for all units, where its taps reach over the border."""

    tile: Tile
    rows: int
    chunks: int
    padded: bool = False


@dataclass(frozen=True)
class WinogradChoice:
    """F(m x m): Winograd tiles of a unit, pieces of the output blocks, output blocks of a register tile, and whether
    the input is transformed once for all pieces."""

    m: int
    tiles: int
    chunks: int
    groups: int
    shared: bool


Choice = DirectChoice | WinogradChoice


@dataclass(frozen=True)
class Given:
    """A choice that takes the model's place, and why."""

    choice: Choice
    why: str


Choices = Mapping[ConvKey, Given]


def conv_key(node: Node, source: TensorType) -> ConvKey:
    """The key of a conv node that reads a value of type `source`."""
    a = node.attrs
    shapes = (tuple(source.shape), source.block, tuple(node.type.shape))
    return ConvKey(*shapes, a["kernel"], a["stride"], a["dilation"], a["pad"], a["groups"])
