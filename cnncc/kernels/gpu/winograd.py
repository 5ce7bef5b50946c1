"""Winograd convolution F(2x2, 3x3) and F(4x4, 3x3), as an algorithm for GPUs: three kernels in turn.

The first transforms the input into a plane for each point of a tile, the second is one matrix product for each point,
the third transforms back, with bias and epilogue (`cnncc.kernels.shared.winograd` has the matrices).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cnncc.base.elements import FLOAT32
from cnncc.kernels.gpu.conv import GpuConvConfig, conv_kernel, estimate_of, in_order, pack_weights
from cnncc.kernels.gpu.model import GpuTile, LaunchWork, tiles
from cnncc.kernels.gpu.spec import VECTOR, GpuKernel, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry, pad_channels
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection
from cnncc.kernels.shared.winograd import ERRORS, allowed_sizes, matrices

SIZES = (2, 4)
"""Output tiles for which there are kernels."""
LOADS = 4
"""Of the many numbers that a thread of a transform reads, so many vectors' worth are under way."""


@dataclass(frozen=True)
class TransformConfig:
    """One of the transforms: a thread for each tile and channel. `planes` holds a plane for each point, in vectors of
    channels: its channels are those of all points, its pixels the tiles of an image."""

    m: int
    batch: int
    image: View
    planes: View
    grid: tuple[int, int]
    """Rows and columns of tiles."""
    pad: tuple[int, int]
    extras: tuple[int, ...]
    bias: bool
    epilogue: Epilogue
    threads: int

    @property
    def edge(self) -> int:
        return self.m + 2

    @property
    def channels(self) -> int:
        """Of a point, with those that fill up the last vector."""
        return self.image.blocks * self.image.block

    @property
    def total(self) -> int:
        """Threads that have work."""
        return self.batch * self.channels * self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class GpuWinogradChoice:
    """Rows and columns of an output tile, and the tile of the matrix product."""

    m: int
    tile: GpuTile
    algorithm: str = "winograd"


@dataclass(frozen=True)
class Kernels:
    """The configurations of the three kernels."""

    forward: TransformConfig
    products: GpuConvConfig
    back: TransformConfig

    @property
    def workspace_bytes(self) -> int:
        """Of an image: the planes before and after the products."""
        return FLOAT32.bytes(self.products.source.numbers + self.products.result.numbers)


@dataclass(frozen=True)
class GpuWinograd:
    """A dense 3x3 convolution with stride 1: fewer multiplications, and two more passes over memory."""

    name: str = "winograd"

    def applies(self, site: GpuSite) -> bool:
        attrs = site.node.attrs
        if site.options.dtype != "float32" or site.type().block != VECTOR or attrs["groups"] != 1:
            return False
        return (attrs["kernel"], attrs["stride"], attrs["dilation"]) == ((3, 3), (1, 1), (1, 1))

    def candidates(self, site: GpuSite) -> list[Candidate[GpuWinogradChoice]]:
        sizes = [m for m in SIZES if m in allowed_sizes(site.options.max_error, 3)]
        return [candidate for m in sizes for candidate in _candidates(site, m, self.name)]

    def calls(self, site: GpuSite, choice: GpuWinogradChoice, why: str) -> Selection:
        kernels = configure(site, choice)
        seconds = _passes(site, kernels) + _products_seconds(site, kernels.products)
        told = f"model: {seconds * 1e6:.1f} us in three kernels"
        text = f"F({choice.m}x{choice.m}, 3x3), tile {choice.tile.label}; {told}{why}"
        return _selection(site, choice.m, kernels, text)


def _candidates(site: GpuSite, m: int, name: str) -> list[Candidate[GpuWinogradChoice]]:
    """Of one size, with every tile of the product; the transforms are the same for all."""
    choices = [GpuWinogradChoice(m, tile, name) for tile in tiles(VECTOR)]
    one = configure(site, choices[0])
    passes = _passes(site, one)
    found = []
    for choice in choices:
        cost = _products_seconds(site, in_order(replace(one.products, tile=choice.tile), site.target)) + passes
        found.append(Candidate(choice, cost, one.workspace_bytes, 0, ERRORS[m, 3]))
    return found


def configure(site: GpuSite, choice: GpuWinogradChoice) -> Kernels:
    """The three kernels of a choice."""
    node, source, result, m = site.node, site.view(site.node.inputs[0]), site.view(site.node.name), choice.m
    points = (m + 2) ** 2
    grid = (-(-result.height // m), -(-result.width // m))
    count = grid[0] * grid[1]
    before, after = (_planes(view, points, count) for view in (source, result))
    pad = node.attrs["pad"][:2]
    extras = tuple(site.view(name).stride for name in node.inputs[1:])
    bias, epilogue = node.attrs["bias"], node.attrs["epilogue"]
    forward = TransformConfig(m, site.batch, source, before, grid, pad, (), False, (), _threads(site, source, count))
    back = TransformConfig(
        m, site.batch, result, after, grid, pad, extras, bias, epilogue, _threads(site, result, count)
    )
    geometry = ConvGeometry(
        in_channels=before.channels,
        out_channels=after.channels,
        in_block=VECTOR,
        in_size=(1, count),
        grid=(1, count),
        out_size=(1, count),
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        origin=(0, 0),
        groups=points,
        bias=False,
        epilogue=(),
    )
    products = GpuConvConfig(site.batch, before, after, (), geometry, choice.tile, 1)
    return Kernels(forward, in_order(products, site.target), back)


def _products_seconds(site: GpuSite, products: GpuConvConfig) -> float:
    return estimate_of(products, site.target, _middle_bytes(products)).seconds


def _passes(site: GpuSite, kernels: Kernels) -> float:
    """Seconds of both transforms, and of starting two kernels more."""
    transforms = (_kernel(kernels.forward, "input"), _kernel(kernels.back, "output"))
    return sum(_pass_seconds(site, kernel) for kernel in transforms) + 2e-6 * site.target.launch_microseconds


def _planes(view: View, points: int, count: int) -> View:
    channels = points * view.blocks * view.block
    return View(channels, 1, count, VECTOR, channels * count)


def _threads(site: GpuSite, image: View, tiles_of_image: int) -> int:
    """Of a block of a transform, which has a thread for each tile and channel."""
    return threads_for(site.batch * image.blocks * image.block * tiles_of_image, site.target)


def _middle_bytes(config: GpuConvConfig) -> int:
    g = config.geometry
    weights = g.out_channels * g.in_channels // g.groups
    return 4 * (weights + config.batch * (config.source.numbers + config.result.numbers))


def _pass_seconds(site: GpuSite, kernel: GpuKernel) -> float:
    return kernel.estimate(site.target, registers=96, shared_bytes=0).seconds


def _kernel(c: TransformConfig, which: str) -> GpuKernel:
    image = 4 * c.batch * c.image.numbers * (1 + len(c.extras))
    flops = 4 * c.total * c.edge**3
    work = LaunchWork(flops, image + 4 * c.batch * c.planes.numbers, products=False)
    grid = grid_of(c.total, c.threads)
    name = f"winograd_{which}_f32_{c.m}x{c.m}"
    return GpuKernel(f"winograd_{which}", name, c, grid[0], 0, grid, c.threads, work, loads=LOADS)


def _selection(site: GpuSite, m: int, chosen: Kernels, why: str) -> Selection:
    node = site.node
    products, count = chosen.products, site.batch
    size = products.steps * products.tile.depth * products.column_tiles * products.tile.columns
    weight, bias = site.constant("weight"), site.constant("bias")
    assert weight is not None
    total = size * products.geometry.groups
    packed = [Packed(f"{node.name}.weight", weight.map((total,), lambda w: _pack(w, m, products)))]
    if bias is not None:
        padded = chosen.back.channels
        packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
    before = Workspace(node.name)
    after = Workspace(node.name, FLOAT32.bytes(count * products.source.numbers))
    rest = (*(p.operand for p in packed[1:]), *site.values(node.inputs[1:]))
    product = conv_kernel(products, site, LaunchWork(products.flops, _middle_bytes(products)), "winograd")
    kernels = (_kernel(chosen.forward, "input"), product, _kernel(chosen.back, "output"))
    operands = (site.values(node.inputs[:1]), (before, packed[0].operand), (after, *rest))
    results = (before, after, site.result)
    calls = tuple(
        Call(node.name, kernel, read, written, True, chosen.workspace_bytes)
        for kernel, read, written in zip(kernels, operands, results, strict=True)
    )
    return Selection(calls, tuple(packed), why)


def _pack(weight: np.ndarray, m: int, config: GpuConvConfig) -> np.ndarray:
    """(o, i, 3, 3) to G g G' of every filter, a group of the matrix product for each point."""
    g = np.array([[float(x) for x in row] for row in matrices(m, 3).filter])
    points = np.einsum("ar,oirs,bs->aboi", g, weight.astype(np.float64), g)
    out, read = config.result.channels // len(g) ** 2, config.source.channels // len(g) ** 2
    full = np.zeros((len(g) ** 2, out, read), np.float32)
    full[:, : weight.shape[0], : weight.shape[1]] = points.reshape(-1, *weight.shape[:2])
    return pack_weights(full.reshape(-1, read, 1, 1), config)
