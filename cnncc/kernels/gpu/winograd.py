"""Winograd convolution F(2x2, 3x3) and F(4x4, 3x3), where the model says it pays: three kernels in turn.

The first transforms the input into a plane for each point of a tile, the second is one matrix product for each point,
the third transforms back, with bias and epilogue (`cnncc.kernels.shared.winograd` has the matrices).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnncc.kernels.gpu.conv import GpuConvConfig, configure, conv_kernel, estimate_of, pack_weights
from cnncc.kernels.gpu.model import LaunchWork, tiles
from cnncc.kernels.gpu.spec import VECTOR, GpuKernel, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry, pad_channels
from cnncc.kernels.shared.operands import Workspace
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection
from cnncc.kernels.shared.winograd import allowed_sizes, matrices

SIZES = (2, 4)
"""Output tiles for which there are kernels."""
LOADS = 4
"""Of the many numbers that a thread of a transform reads, so many vectors' worth are under way."""
WORTH = 0.85
"""Share of the direct kernel's time from which on three kernels are taken: the model has not been measured."""


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
class _Candidate:
    m: int
    forward: TransformConfig
    products: GpuConvConfig
    back: TransformConfig
    seconds: float


def select_winograd(site: GpuSite) -> Selection | None:
    """A dense 3x3 convolution with stride 1, if fewer multiplications are worth two more passes over memory."""
    attrs = site.node.attrs
    if site.options.dtype != "float32" or site.type().block != VECTOR or attrs["groups"] != 1:
        return None
    if (attrs["kernel"], attrs["stride"], attrs["dilation"]) != ((3, 3), (1, 1), (1, 1)):
        return None
    sizes = [m for m in SIZES if m in allowed_sizes(site.options.max_error, 3)]
    if not sizes:
        return None
    best = min((_candidate(site, m) for m in sizes), key=lambda c: c.seconds)
    direct = configure(site, conv_geometry(site), split=True)[1].seconds
    return _selection(site, best, direct) if best.seconds < WORTH * direct else None


def _candidate(site: GpuSite, m: int) -> _Candidate:
    """The three kernels of a tile size, with the tile of least predicted time."""
    node, source, result = site.node, site.view(site.node.inputs[0]), site.view(site.node.name)
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
    choices = [GpuConvConfig(site.batch, before, after, (), geometry, tile, 1) for tile in tiles(VECTOR)]
    timed = [(estimate_of(c, site.target, _middle_bytes(c)), c) for c in choices]
    middle, products = min(timed, key=lambda pair: pair[0].seconds)
    passes = sum(_pass_seconds(site, kernel) for kernel in (_kernel(forward, "input"), _kernel(back, "output")))
    launches = 2e-6 * site.target.launch_microseconds
    return _Candidate(m, forward, products, back, middle.seconds + passes + launches)


def _planes(view: View, points: int, count: int) -> View:
    channels = points * view.blocks * view.block
    return View(channels, 1, count, VECTOR, channels * count)


def _threads(site: GpuSite, image: View, tiles_of_image: int) -> int:
    """Of a block of a transform, which has a thread for each tile and channel."""
    return threads_for(site.batch * image.blocks * image.block * tiles_of_image, site.target)


def _middle_bytes(config: GpuConvConfig) -> int:
    g = config.geometry
    weights = g.out_channels * g.in_channels // g.groups
    return 4 * (weights + config.batch * (config.source.floats + config.result.floats))


def _pass_seconds(site: GpuSite, kernel: GpuKernel) -> float:
    return kernel.estimate(site.target, registers=96, shared_bytes=0).seconds


def _kernel(c: TransformConfig, which: str) -> GpuKernel:
    image = 4 * c.batch * c.image.floats * (1 + len(c.extras))
    flops = 4 * c.total * c.edge**3
    work = LaunchWork(flops, image + 4 * c.batch * c.planes.floats, products=False)
    grid = grid_of(c.total, c.threads)
    name = f"winograd_{which}_f32_{c.m}x{c.m}"
    return GpuKernel(f"winograd_{which}", name, c, grid[0], 0, grid, c.threads, work, loads=LOADS)


def _selection(site: GpuSite, best: _Candidate, direct: float) -> Selection:
    node = site.node
    products, count = best.products, site.batch
    size = products.steps * products.tile.depth * products.column_tiles * products.tile.columns
    weight, bias = site.constant("weight"), site.constant("bias")
    assert weight is not None
    total = size * products.geometry.groups
    packed = [Packed(f"{node.name}.weight", weight.map((total,), lambda w: _pack(w, best.m, products)))]
    if bias is not None:
        padded = best.back.channels
        packed.append(Packed(f"{node.name}.bias", bias.map((padded,), lambda b: pad_channels(b, padded))))
    floats = products.source.floats + products.result.floats
    before = Workspace(node.name)
    after = Workspace(node.name, count * products.source.floats)
    rest = (*(p.operand for p in packed[1:]), *site.values(node.inputs[1:]))
    product = conv_kernel(products, site, LaunchWork(products.flops, _middle_bytes(products)), "winograd")
    kernels = (_kernel(best.forward, "input"), product, _kernel(best.back, "output"))
    operands = (site.values(node.inputs[:1]), (before, packed[0].operand), (after, *rest))
    results = (before, after, site.result)
    calls = tuple(
        Call(node.name, kernel, read, written, True, floats)
        for kernel, read, written in zip(kernels, operands, results, strict=True)
    )
    times = f"{best.seconds * 1e6:.1f} us in three kernels, direct {direct * 1e6:.1f}"
    why = f"F({best.m}x{best.m}, 3x3), tile {products.tile.label}; model: {times}"
    return Selection(calls, tuple(packed), why)


def _pack(weight: np.ndarray, m: int, config: GpuConvConfig) -> np.ndarray:
    """(o, i, 3, 3) to G g G' of every filter, a group of the matrix product for each point."""
    g = np.array([[float(x) for x in row] for row in matrices(m, 3).filter])
    points = np.einsum("ar,oirs,bs->aboi", g, weight.astype(np.float64), g)
    out, read = config.result.channels // len(g) ** 2, config.source.channels // len(g) ** 2
    full = np.zeros((len(g) ** 2, out, read), np.float32)
    full[:, : weight.shape[0], : weight.shape[1]] = points.reshape(-1, *weight.shape[:2])
    return pack_weights(full.reshape(-1, read, 1, 1), config)
