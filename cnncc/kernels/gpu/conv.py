"""Convolution as an implicit matrix product: pixels of the whole batch x output channels, summed over input and taps.

Nothing is gathered in memory: each block of threads loads its part of the image into shared memory, tap by tap, two
parts in turn so that one is loaded while the other is multiplied. Where a layer has too few pixels and channels for
all multiprocessors, the sum is split among blocks. Each leaves its part in memory and counts itself; the one that is
done last adds up the parts. It adds them in the order of the sum, whichever block it is: the same bits every time.

Bytes are multiplied four at a time (dp4a), or on tensor cores as halves are; their sums are int32.

Values and weights of halves, float16 or bfloat16, are copied into shared memory as they are, several parts on their
way at a time, and multiplied by tensor cores; the sums are float32, and rounded once, after the epilogue.

With `--dtype tf32` operands of float32 are rounded to that type on their way into shared memory. With `tf32x3` each
operand is taken apart into two numbers of tf32, a large and a small one, and all products of them are added up but that
of the small ones (Ootomo and Yokota, Recovering single precision accuracy from Tensor Cores, 2022): it errs by at most
3 x 2^-22 of each product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from cnncc.base.elements import BYTES, FLOAT32, HALVES, Element, encode
from cnncc.ir import Constant
from cnncc.kernels.gpu.model import (
    BYTE_TENSOR_TILES,
    TENSOR_TILES,
    ByteTensorTile,
    ByteTile,
    Estimate,
    GpuTile,
    HalfTile,
    LaunchWork,
    Product,
    TensorTile,
    byte_tiles,
    estimate,
    part_bytes,
    resident_blocks,
    tiles,
)
from cnncc.kernels.gpu.raster import Raster, Reads, best_band, read_again
from cnncc.kernels.gpu.spec import GpuKernel, GpuSite, View
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry, pad_channels
from cnncc.kernels.shared.operands import BlockCounters, Workspace
from cnncc.kernels.shared.spec import Call, Packed, blocks
from cnncc.machines.gpus import Gpu
from cnncc.weights.half import check_range


@dataclass(frozen=True)
class GpuConvConfig:
    """One convolution of a batch; with `splits` above 1 so many blocks share each sum out."""

    batch: int
    source: View
    result: View
    extras: tuple[int, ...]
    """Numbers from image to image of the tensors that the epilogue adds."""
    geometry: ConvGeometry
    tile: GpuTile | TensorTile
    splits: int
    band: int = 1
    """Rows of tiles that blocks take at a time: `cnncc.kernels.gpu.raster`."""
    added: Element | None = None
    """The type of what the epilogue adds, where it is not that of the result."""

    @property
    def rows(self) -> int:
        """Pixels of the whole batch."""
        return self.batch * self.geometry.grid[0] * self.geometry.grid[1]

    @property
    def group_in(self) -> int:
        """Stored input channels of a group."""
        g = self.geometry
        return blocks(g.in_channels, g.in_block) * g.in_block // g.groups

    @property
    def group_out(self) -> int:
        """Stored output channels of a group."""
        return self.result.blocks * self.result.block // self.geometry.groups

    @property
    def depth(self) -> int:
        """Products in a sum."""
        return self.group_in * self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def steps(self) -> int:
        """Pieces of `tile.depth` products that the sum consists of."""
        return -(-self.depth // self.tile.depth)

    @property
    def steps_per_split(self) -> int:
        return -(-self.steps // self.splits)

    @property
    def column_tiles(self) -> int:
        return -(-self.group_out // self.tile.columns)

    @property
    def tiles(self) -> int:
        """Of the result."""
        return self.grid[0] * self.grid[1]

    @property
    def parts(self) -> int:
        """Floats of the parts of all sums, with those of rows and columns that only fill tiles up."""
        return self.splits * self.tiles * self.tile.rows * self.tile.columns if self.splits > 1 else 0

    @property
    def workspace_bytes(self) -> int:
        """For each image."""
        return -(-FLOAT32.bytes(self.parts) // self.batch)

    @property
    def raster(self) -> Raster:
        """The order of the tiles of a group."""
        rows = -(-self.rows // self.tile.rows)
        return Raster(rows, self.column_tiles, min(self.band, rows))

    @property
    def grid(self) -> tuple[int, int, int]:
        return (self.raster.tiles, self.geometry.groups, self.splits)

    @property
    def flops(self) -> int:
        g = self.geometry
        return 2 * self.rows * g.out_channels * (g.in_channels // g.groups) * g.kernel[0] * g.kernel[1]


def pack_weights(weight: np.ndarray, config: GpuConvConfig) -> np.ndarray:
    """(o, i / groups, kh, kw) to [group][tile of columns][depth][column], zeros where steps and tiles are not full.

    The depth counts (block of channels, kernel row, kernel column, channel in block), as the kernel reads the image.
    Numbers of the depth that fill a word stay together. For tensor cores it is [group][tile of columns][step][column]
    [depth], of halves and bytes as they lie in shared memory.
    """
    g, tile = config.geometry, config.tile
    taps = g.kernel[0] * g.kernel[1]
    deep, wide = config.steps * tile.depth, config.column_tiles * tile.columns
    out = np.zeros((g.groups, deep, wide), weight.dtype)
    per_out, per_in = g.out_channels // g.groups, weight.shape[1]
    full = np.zeros((g.groups, per_out, config.group_in, taps), weight.dtype)
    full[:, :, :per_in] = weight.reshape(g.groups, per_out, per_in, taps)
    blocked = full.reshape(g.groups, per_out, config.group_in // g.in_block, g.in_block, taps).transpose(0, 2, 4, 3, 1)
    out[:, : config.depth, :per_out] = blocked.reshape(g.groups, config.depth, per_out)
    tiled = out.reshape(g.groups, config.steps, tile.depth, config.column_tiles, tile.columns)
    if isinstance(tile, TensorTile):
        lines = np.ascontiguousarray(tiled.transpose(0, 3, 1, 4, 2))
        placed = _in_places(lines, tile) if isinstance(tile, HalfTile) else lines
        return (placed if tile.element.whole else encode(placed, tile.element)).ravel()
    words = tiled.reshape(*tiled.shape[:2], tile.words, tile.per_word, *tiled.shape[3:])
    return np.ascontiguousarray(words.transpose(0, 4, 1, 2, 5, 3)).ravel()


def _in_places(lines: np.ndarray, tile: HalfTile) -> np.ndarray:
    """(.., column, depth) with the vectors of each column where the kernel looks for them in shared memory, and the
    columns of bytes in the order in which threads have results of them."""
    if isinstance(tile, ByteTensorTile):
        order = np.arange(tile.columns).reshape(-1, 4, 2, 2).transpose(0, 2, 1, 3).ravel()
        lines = lines[..., order, :]
    vectors = lines.reshape(*lines.shape[:-1], tile.per_line, tile.depth // tile.per_line)
    columns = np.arange(tile.columns)[:, None]
    places = np.arange(tile.per_line) ^ np.array([[tile.key(column)] for column in range(tile.columns)])
    return vectors[..., columns, places, :].reshape(lines.shape)


PackedCall = tuple[Call, tuple[Packed, ...], str]
"""A launch, its weights, and why it is cut so."""


def conv_call(
    site: GpuSite, geometry: ConvGeometry, weight: Constant, choice: GpuDirectChoice, suffix: str = ""
) -> PackedCall:
    """The launch of a convolution, its weights, and why this tile. `weight` is (o, i / groups, kh, kw)."""
    config = configure(site, geometry, choice)
    node = site.node
    size = config.steps * config.tile.depth * config.column_tiles * config.tile.columns * geometry.groups
    stored = config.tile.stored

    def pack(array: np.ndarray) -> np.ndarray:
        check_range(array, stored, node.weights["weight"])
        return pack_weights(array, config)

    elements = weight.map((size,), pack, element=stored)
    packed = [Packed(f"{node.name}.weight{suffix}", elements)]
    bias = site.constant("bias")
    if bias is not None:
        padded = config.result.blocks * config.result.block
        packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
    read, *added = site.values(node.inputs)
    expected = estimate_conv(config, site)
    why = f"tile {config.tile.label}, {config.splits} parts of the sum; model: {expected.why}"
    shared = (Workspace(node.name), BlockCounters(node.name)) if config.splits > 1 else ()
    operands = (read, *(p.operand for p in packed), *added, *shared)
    call = Call(node.name, conv_kernel(config, site), operands, site.result, True, config.workspace_bytes)
    return call, tuple(packed), why


@dataclass(frozen=True)
class GpuDirectChoice:
    """The tile, and among how many blocks the sum of each result is split."""

    tile: GpuTile | TensorTile
    splits: int
    algorithm: str = "direct"


def configure(site: GpuSite, geometry: ConvGeometry, choice: GpuDirectChoice) -> GpuConvConfig:
    """The convolution cut as chosen."""
    node = site.node
    extras = tuple(site.view(name).stride for name in node.inputs[1:])
    source, result = site.view(node.inputs[0]), site.view(node.name)
    config = GpuConvConfig(site.batch, source, result, extras, geometry, choice.tile, choice.splits, added=site.added)
    return in_order(config, site.target)


def in_order(config: GpuConvConfig, gpu: Gpu) -> GpuConvConfig:
    """The same with the tiles in the order in which least is read from device memory."""
    return replace(config, band=best_band(reads_of(config, gpu), gpu.l2_bytes))


def reads_of(config: GpuConvConfig, gpu: Gpu) -> Reads:
    """What the blocks of one part of one group read."""
    g, tile, raster = config.geometry, config.tile, config.raster
    whole = config.source.element.bytes(config.batch * config.source.numbers)
    image = whole * read_share(g) / (g.groups * config.splits)
    weights = tile.stored.bytes(config.steps_per_split * tile.depth * tile.columns)
    at_once = gpu.multiprocessors * max(1, resident_blocks(gpu, tile.threads, tile.registers, tile.shared_bytes))
    return Reads(raster.rows, raster.columns, int(image / raster.rows), weights, part_bytes(tile), at_once)


def read_share(g: ConvGeometry) -> float:
    """Of the image that is read: of a strided 1x1 only every so many rows, of which whole sectors come along."""
    return 1 / g.stride[0] if g.kernel == (1, 1) else 1.0


SECTOR = 32
"""Bytes that the first cache asks the second one for at least."""


@cache
def touched(count: int, stride: int, taps: int, dilation: int, together: int = 1) -> int:
    """Positions along an axis that so many neighbouring windows cover, in whole groups of `together`."""
    places = {(i * stride + j * dilation) // together for i in range(count) for j in range(taps)}
    return together * len(places)


def share_to_l2(config: GpuConvConfig) -> float:
    """Share of a block's reads of the image that the first cache does not answer.

    Taps come one after the other for a vector of channels, so the pixels that they share are there already. With a
    stride a pixel brings along those of its sector, which may be of no use.
    """
    g, rows = config.geometry, config.tile.rows
    if not config.depth:
        return 1.0
    wide = min(rows, g.grid[1])
    high = min(-(-rows // wide), g.grid[0])
    per_sector = max(1, SECTOR // config.source.element.bytes(g.in_block)) if g.stride[1] > 1 else 1
    across = touched(wide, g.stride[1], g.kernel[1], g.dilation[1], per_sector)
    down = touched(high, g.stride[0], g.kernel[0], g.dilation[0])
    return across * down / (wide * high * g.kernel[0] * g.kernel[1])


def tiles_of(site: GpuSite, geometry: ConvGeometry) -> Sequence[GpuTile | TensorTile]:
    """Tiles with which the convolution may be computed: on tensor cores, if the type of what is read, or of the
    options, is one of theirs, and if it lies in blocks of channels."""
    read = site.type().element
    if read in BYTES:
        on_tensor_cores = site.target.compute_capability >= 80 and site.view(site.node.inputs[0]).block > 1
        return BYTE_TENSOR_TILES if on_tensor_cores else byte_tiles()
    dtype = read.name if read in HALVES else site.options.dtype
    if dtype not in TENSOR_TILES or geometry.in_block == 1:
        assert read == FLOAT32, "halves lie in blocks"
        return tiles(geometry.in_block)
    return TENSOR_TILES[dtype]


def direct_candidates(site: GpuSite, geometry: ConvGeometry, name: str = "direct") -> list[Candidate[GpuDirectChoice]]:
    """Every tile with every split."""
    found = []
    for tile in tiles_of(site, geometry):
        whole = configure(site, geometry, GpuDirectChoice(tile, 1, name))
        for splits in _split_choices(whole):
            config = in_order(replace(whole, splits=splits), site.target)
            choice, cost = GpuDirectChoice(tile, splits, name), estimate_conv(config, site).seconds
            found.append(Candidate(choice, cost, config.workspace_bytes, scratch_bytes=0))
    return found


def _split_choices(config: GpuConvConfig) -> list[int]:
    """Splits in which every part has steps to do, and a few of them."""
    steps = config.steps
    return [s for s in (1, 2, 3, 4, 6, 8, 12, 16) if s == 1 or (steps >= 4 * s and -(-steps // -(-steps // s)) == s)]


def estimate_conv(config: GpuConvConfig, site: GpuSite) -> Estimate:
    """The model's time of one candidate."""
    return estimate_of(config, site.target, _bytes(config, site))


def estimate_of(config: GpuConvConfig, gpu: Gpu, bytes_needed: int) -> Estimate:
    """The model's time of a launch that cannot do without so many bytes."""
    return estimate(gpu, product_of(config, gpu), config.grid, LaunchWork(config.flops, bytes_needed))


def product_of(config: GpuConvConfig, gpu: Gpu) -> Product:
    """What the model looks at."""
    again = config.geometry.groups * config.splits * read_again(reads_of(config, gpu), config.raster.band, gpu)
    return Product(config.tile, config.steps_per_split, config.splits, share_to_l2(config), again)


def _bytes(config: GpuConvConfig, site: GpuSite) -> int:
    g = config.geometry
    numbers = g.out_channels * (g.in_channels // g.groups) * g.kernel[0] * g.kernel[1]
    read, *added = site.node.inputs
    image = int(read_share(g) * site.bytes_of(read))
    return config.tile.stored.bytes(numbers) + image + site.bytes_of(site.node.name, *added)


def conv_kernel(config: GpuConvConfig, site: GpuSite, work: LaunchWork | None = None, stem: str = "") -> GpuKernel:
    """The matrix product as a kernel; its work and the beginning of its name unless they are said."""
    g, tile = config.geometry, config.tile
    stem = stem or ("gemm" if g.kernel == (1, 1) else "conv")
    split = f"_k{config.splits}" if config.splits > 1 else ""
    families = {
        GpuTile: "conv",
        ByteTile: "byte_conv",
        TensorTile: "tensor_conv",
        HalfTile: "half_conv",
        ByteTensorTile: "byte_tensor_conv",
    }
    return GpuKernel(
        family=families[type(tile)],
        name=f"{stem}_{tile.stored.short}_{config.source.layout}_{tile.label}{split}",
        config=config,
        units=config.grid[0] * config.grid[1] * config.grid[2],
        scratch_bytes=0,
        grid=config.grid,
        threads=tile.threads,
        work=work or LaunchWork(config.flops, _bytes(config, site), isinstance(tile, TensorTile)),
        product=product_of(config, site.target),
        counters=config.tiles if config.splits > 1 else 0,
    )
