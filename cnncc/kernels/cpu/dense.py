"""Fully connected layers: a stream of weights, each panel of which is read once for a tile of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cnncc.base.elements import FLOAT32, Element, encode
from cnncc.ir import TensorType
from cnncc.kernels.cpu.micro import Micro, micro_of
from cnncc.kernels.cpu.site import FLOATS, CpuRule, CpuSite
from cnncc.kernels.cpu.tiles import Tile, even_tiles, step_cycles
from cnncc.kernels.cpu.weights import after_image, with_bias
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Selection, blocks
from cnncc.machines.targets import Target
from cnncc.weights.half import check_range


@dataclass(frozen=True)
class DenseConfig:
    """Vectors of `inputs` numbers to vectors of `outputs` floats: of one image, or of as `many` as the run has."""

    many: bool
    inputs: int
    outputs: int
    extras: int
    """Further operands of the epilogue."""
    bias: bool
    epilogue: Epilogue
    image_tile: int
    """Images of a register tile."""
    tile_blocks: int
    """Output blocks of a register tile."""
    micro: Micro
    element: str = "float32"
    """Of the inputs."""

    @property
    def stored(self) -> Element:
        """What the weights are stored as."""
        return self.micro.stored

    @property
    def block(self) -> int:
        return self.micro.block

    @property
    def lanes(self) -> int:
        return self.micro.lanes

    @property
    def out_blocks(self) -> int:
        return blocks(self.outputs, self.block)

    @property
    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """Runs of equal register tiles: (first block, blocks of a tile, tiles)."""
        return even_tiles(self.out_blocks, self.tile_blocks)


def pack_dense(weight: np.ndarray, source: TensorType, config: DenseConfig) -> np.ndarray:
    """(o, c h w) to [panel][input, in the order it is stored][block][lane], flat."""
    packed = np.empty(config.out_blocks * config.block * config.inputs, config.stored.dtype)
    done = 0
    for start, size, count in config.runs:
        for panel in range(count):
            first = (start + panel * size) * config.block
            rows = as_stored(weight[first : first + size * config.block], source)
            packed_panel = config.micro.pack(encode(rows, config.stored), size)  # zeros are also the bits of 0.0
            packed[done : done + packed_panel.size] = packed_panel.ravel()
            done += packed_panel.size
    return packed


def as_stored(rows: np.ndarray, source: TensorType) -> np.ndarray:
    """Rows of (c h w) in the order in which `source` is stored: of a few at a time, since all may be 400 MB."""
    if source.block == 1:
        return rows
    _, c, h, w = source.shape
    stored = np.zeros((len(rows), source.stored_shape[1] * source.block, h, w), rows.dtype)
    stored[:, :c] = rows.reshape(len(rows), c, h, w)
    return stored.reshape(len(rows), -1, source.block, h, w).transpose(0, 1, 3, 4, 2).reshape(len(rows), -1)


def select_dense(site: CpuSite) -> Selection:
    """fc, whatever the layout of its input: the weights are packed in the order the input is stored."""
    node, source, target = site.node, site.type(), site.target
    inputs = math.prod(source.stored_shape[1:])
    outputs = node.attrs["out"]
    micro = micro_of(target, site.weights_dtype)
    many = site.batch > 1
    image_tile, tile_blocks = _tile(many, blocks(outputs, target.block), target, micro)
    config = DenseConfig(
        many=many,
        inputs=inputs,
        outputs=outputs,
        extras=len(node.inputs) - 1,
        bias=node.attrs["bias"],
        epilogue=node.attrs["epilogue"],
        image_tile=image_tile,
        tile_blocks=tile_blocks,
        micro=micro,
        element=source.element.name,
    )
    name = f"dense_{config.stored.short}_{image_tile}x{tile_blocks * target.block}_{target.isa}"
    kernel = Kernel("dense", name, config, sum(n for *_, n in config.runs), 0)
    weight = site.constant("weight")
    assert weight is not None
    padded = config.out_blocks * config.block
    given = node.weights["weight"]

    def pack(array: np.ndarray) -> np.ndarray:
        check_range(array, config.stored, given)
        return pack_dense(array, source, config)

    elements = weight.map((padded * inputs,), pack, element=config.stored)
    packed = with_bias(site, elements, padded)
    operands = (*site.values(node.inputs[:1]), *after_image(site, packed))
    call = Call(node.name, kernel, operands, site.result, whole_batch=many)
    stored = "" if config.stored == FLOAT32 else f", as {config.stored}"
    why = f"weights read once for {f'{image_tile} images' if many else 'the image'}{stored}; bound by reading them"
    return Selection((call,), tuple(packed), why)


FEWEST_VECTORS = 4
"""Of a tile for many images, for each image, if there are so many: a run of one image then still has sums enough under
way to read the weights as fast as memory gives them."""
MOST_IMAGES = 8
"""Images of a tile. There is code for each number of images up to it."""


def _tile(many: bool, out_blocks: int, target: Target, micro: Micro) -> tuple[int, int]:
    """Images x output blocks that keep the most products in flight within the registers; more blocks where equal."""

    def rate(shape: tuple[int, int]) -> tuple[float, int]:
        tile = Tile(1, *shape)
        return tile.pixels * tile.blocks / step_cycles(tile, target, working_set=0, micro=micro), shape[1]

    least, most = (min(-(-FEWEST_VECTORS // micro.vectors), out_blocks), MOST_IMAGES) if many else (1, 1)
    shapes = [(p, g) for p in range(1, most + 1) for g in range(least, min(out_blocks, 12) + 1) if micro.fits(p, g)]
    return max(shapes, key=rate)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "fc": (select_dense,),
}
"""Op -> its selectors."""
TAKES = {"fc": FLOATS}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
