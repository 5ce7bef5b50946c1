"""Which kernels compute layers on bytes besides convolutions: fully connected, sums, averages, factors, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cnncc.base.elements import FLOAT32, INT8, INT32, UINT8
from cnncc.ir import Constant
from cnncc.kernels.cpu.byte_operands import ByteTypes, kernel_steps
from cnncc.kernels.cpu.conv_bytes import byte_candidates, byte_kernel, configure_dense, dense_geometry
from cnncc.kernels.cpu.conv_bytes_algorithm import types_of, weights_of
from cnncc.kernels.cpu.conv_direct import pack_conv
from cnncc.kernels.cpu.dense import as_stored
from cnncc.kernels.cpu.pointwise_bytes import (
    BlockConfig,
    add_kernel,
    factor_kernel,
    mean_kernel,
    table_kernel,
)
from cnncc.kernels.cpu.site import FLOATS, CpuRule, CpuSite
from cnncc.kernels.shared.byte_steps import NOTHING, Steps
from cnncc.kernels.shared.spec import Call, Kernel, Packed, Selection
from cnncc.ops.byte_arithmetic import byte_bounds, known, mean_factor
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.quantized import residual_of


def select_qfc(site: CpuSite) -> Selection:
    """A fully connected layer as a convolution of one pixel; its weights lie in the order in which its input does."""
    source, outputs, target = site.type(), site.node.attrs["out"], site.target
    geometry = dense_geometry(math.prod(source.stored_shape[1:]), outputs, target.block)
    best = min(byte_candidates(geometry, types_of(site), target, "dense"), key=lambda c: c.cost)
    config = configure_dense(geometry, types_of(site), target, best.choice)
    weight = site.constant("weight")
    assert weight is not None

    def stored(rows: np.ndarray) -> np.ndarray:
        return as_stored(rows, source).reshape(outputs, -1, 1, 1)

    packed = weights_of(site, config, weight, lambda w: pack_conv(stored(w), config))
    why = f"on bytes, {config.unit.instruction}; {best.choice.tile.blocks} blocks of results"
    return _selection(site, byte_kernel(config, target), packed, why)


def select_qadd(site: CpuSite) -> Selection:
    """A sum of two images."""
    a, b = (residual_of(NOTHING, site.type(i), site.node.type) for i in (0, 1))
    kernel = add_kernel(_types(site), math.prod(site.type().stored_shape[1:]), site.target)
    to = byte_bounds(site.node.type)
    steps = Steps(a.zero, to.low, to.high, to.zero, b.zero, float(b.scale))
    return _selection(site, kernel, _numbers(site, kernel, [a.scale], steps), "number by number")


def select_qgap(site: CpuSite) -> Selection:
    """The average of each channel."""
    source, result = site.type(), site.node.type
    pixels = source.shape[2] * source.shape[3]
    kernel = mean_kernel(_types(site), source.stored_shape[1], pixels, site.target)
    quantization = known(source)
    if result.is_float:
        steps = Steps(quantization.zero, -np.inf, np.inf)
    else:
        to = byte_bounds(result)
        steps = Steps(quantization.zero, to.low, to.high, to.zero)
    own = 1.0 if result.is_float else known(result).scale
    config: BlockConfig = kernel.config
    if config.averages:
        factors = [np.float32(quantization.scale), np.float32(own)]
    else:
        factors = [mean_factor(quantization.scale, pixels, own)]
    return _selection(site, kernel, _numbers(site, kernel, factors, steps), "each lane is a channel")


def select_qmul(site: CpuSite) -> Selection:
    """An image times a factor for each channel."""
    source, result = site.type(), site.node.type
    types = ByteTypes(source.element.name, result.element.name)
    kernel = factor_kernel(types, source.stored_shape[1], source.shape[2] * source.shape[3], site.target)
    ratio = np.float32(known(source).scale) / np.float32(known(result).scale)
    to = byte_bounds(result)
    numbers = np.array([ratio, known(source).zero, to.zero, to.low - to.zero, to.high - to.zero], np.float32)
    steps = Packed(f"{site.node.name}.steps", Constant(numbers.shape, lambda: numbers))
    return _selection(site, kernel, [steps], "each lane is a channel", weights_last=True)


def select_lookup(site: CpuSite) -> Selection:
    """A table of 256 bytes."""
    table = site.constant("table")
    assert table is not None
    return _table(site, Packed(f"{site.node.name}.table", table))


def select_bounded(site: CpuSite) -> Selection:
    """An activation that bounds bytes."""
    kind = site.type()
    low, high = BOUNDED[site.node.op](site.node.attrs)
    to = byte_bounds(kind, low, high)
    bits = np.clip(np.arange(256, dtype=np.uint8).view(kind.element.dtype), to.low, to.high).view(np.int8)
    return _table(site, Packed(f"{site.node.name}.table", Constant(bits.shape, lambda: bits, INT8)))


def _table(site: CpuSite, table: Packed) -> Selection:
    count = math.prod(site.node.type.stored_shape[1:])
    return _selection(site, table_kernel(_types(site), count, site.target), [table], "a table of 256 bytes")


def _types(site: CpuSite) -> ByteTypes:
    residual = site.type(1).element.name if len(site.node.inputs) > 1 else ""
    return ByteTypes(site.type().element.name, site.node.type.element.name, residual)


def _numbers(site: CpuSite, kernel: Kernel, factors: Sequence[np.float32], steps: Steps) -> list[Packed]:
    """A vector of each factor, and what else the kernel has to know."""
    config: BlockConfig = kernel.config
    name, numbers = site.node.name, kernel_steps(steps, config)
    scale = np.repeat(np.array(factors, np.float32), config.block)
    return [
        Packed(f"{name}.scale", Constant(scale.shape, lambda: scale)),
        Packed(f"{name}.steps", Constant(numbers.shape, lambda: numbers, INT32)),
    ]


def _selection(site: CpuSite, kernel: Kernel, packed: list[Packed], why: str, weights_last: bool = False) -> Selection:
    """One call. Weights come behind the first value, unless they come last."""
    image, *rest = site.values(site.node.inputs)
    weights = [p.operand for p in packed]
    operands = (image, *rest, *weights) if weights_last else (image, *weights, *rest)
    return Selection((Call(site.node.name, kernel, operands, site.result),), tuple(packed), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "qfc": (select_qfc,),
    "qadd": (select_qadd,),
    "qgap": (select_qgap,),
    "qmul": (select_qmul,),
    "lookup": (select_lookup,),
}
"""Op -> its selectors."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES.keys() - {"qfc"}, True)
"""Op -> whether its kernels compute images of any size of a range."""
BYTES_OR_FLOAT = frozenset((UINT8, INT8, FLOAT32))
TAKES = {
    **dict.fromkeys((*RULES, "qconv", "qconv_transpose"), BYTES_OR_FLOAT),
    **dict.fromkeys(BOUNDED, BYTES_OR_FLOAT | FLOATS),
}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
