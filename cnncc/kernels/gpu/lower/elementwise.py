"""The elementwise kernel: one vector of the result per thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.elementwise import GpuElementwiseConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.lower.epilogue import applied
from cnncc.kernels.gpu.spec import View, grid_of
from cnncc.kernels.shared.builder import Expr, splat
from cnncc.kernels.shared.vectors import merged

WEIGHTS: Mapping[str, tuple[str, ...]] = {"affine": ("scale", "shift"), "prelu": ("slope",)}
"""Start -> its weights of a number per channel."""


def lower(c: GpuElementwiseConfig, symbol: str) -> PrimFunc:
    """The kernel for one configuration."""
    total = c.batch * c.per_image
    k = CudaBuilder(grid_of(total, c.threads), c.threads)
    operands = [k.images(f"operand{i}", v, c.batch) for i, v in enumerate(c.operands)]
    wide = c.result.blocks * c.result.block
    weights = [k.operand(name, wide) for name in WEIGHTS.get(c.start, ())]
    extras = [k.images(f"extra{i}", c.result, c.batch) for i in range(len(c.extras))]
    result = k.images("result", c.result, c.batch)
    with k.each(total) as index:
        image, element = image_of(k, index, c.batch, c.per_image)
        at, channel = element, divmod_(k, element, c.result.pixels)[0]
        pixel = divmod_(k, element, c.result.pixels)[1]
        loaded = [
            _loaded(k, c, b, v, {"image": image, "full": at, "channel": channel, "pixel": pixel})
            for b, v in zip(operands, c.operands, strict=True)
        ]
        factors = [load_vector(k, b, channel, c.lanes) for b in weights]
        added = [load_vector(k, b, image * (s // c.lanes) + at, c.lanes) for b, s in zip(extras, c.extras, strict=True)]
        combined = [_combined(k, c.start, [v.load(lane) for v in (*loaded, *factors)]) for lane in range(c.lanes)]
        values = applied(k, combined, c.epilogue, added)
        if c.clears:
            values = _cleared(k, c, values, channel)
        store_vector(k, result, image * (c.result.stride // c.lanes) + at, values)
    return k.finish(symbol)


def _loaded(k: CudaBuilder, c: GpuElementwiseConfig, source: Array, view: View, places: Mapping[str, Expr]) -> Array:
    """The vector of an operand: of its own, of a vector of channels, or one number of the first channel of a pixel."""
    if (view.height, view.width) != (c.result.height, c.result.width):
        return load_vector(k, source, places["image"] * (view.stride // c.lanes) + places["channel"], c.lanes)
    if view.channels == c.result.channels:
        return load_vector(k, source, places["image"] * (view.stride // c.lanes) + places["full"], c.lanes)
    values = k.local(c.lanes)
    number = k.let(source.load(places["image"] * view.stride + places["pixel"] * view.block))
    for lane in range(c.lanes):
        values.store(lane, number)
    return values


def _cleared(k: CudaBuilder, c: GpuElementwiseConfig, values: list[Any], block: Expr) -> list[Any]:
    """Zeros in the lanes beyond the last channel."""
    last, rest = c.result.blocks - 1, c.result.channels % c.lanes
    return [
        k.let(value if lane < rest else tirx.Select(block < last, value, splat(0.0, 1)))
        for lane, value in enumerate(values)
    ]


def _combined(k: CudaBuilder, start: str, values: list[Any]) -> Expr:
    if start == "affine":
        first, scale, shift = values
        return first * scale + shift
    if start == "prelu":
        first, slope = map(k.let, values)
        return tirx.Select(first < splat(0.0, 1), first * slope, first)
    return merged(k, start, values, 1)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"elementwise": lower}
"""Family of a kernel -> its lowering."""
