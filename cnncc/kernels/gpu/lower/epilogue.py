"""What follows a sum: bias, epilogue, and the sum of the parts of a split one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.conv import SumConfig
from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, divmod_, image_of, load_vector, store_vector
from cnncc.kernels.gpu.spec import VECTOR, grid_of
from cnncc.kernels.shared.builder import Expr
from cnncc.kernels.shared.epilogue import costly
from cnncc.kernels.shared.vectors import apply_epilogue


def finished(
    k: CudaBuilder,
    values: list[Any],
    bias: Array | None,
    channel: Expr,
    extras: list[tuple[Array, Expr]],
    epilogue: Any,
) -> list[Any]:
    """A vector of sums with bias and epilogue. `channel` counts such vectors, as does the place in each extra of what
    is added."""
    lanes = len(values)
    biases = load_vector(k, bias, channel, lanes) if bias is not None else None
    added = [load_vector(k, buffer, at, lanes) for buffer, at in extras]
    whole = [value if biases is None else value + biases.load(lane) for lane, value in enumerate(values)]
    return applied(k, whole, epilogue, added)


def applied(k: CudaBuilder, values: list[Any], epilogue: Any, added: list[Array]) -> list[Any]:
    """The epilogue on a vector of numbers; a costly one in a loop, of which the CUDA compiler decides whether it is
    unrolled. `added` are vectors too."""
    if not costly(epilogue):
        return [apply_epilogue(k, v, epilogue, [a.load(lane) for a in added], 1) for lane, v in enumerate(values)]
    out = k.local(len(values))
    for lane, value in enumerate(values):
        out.store(lane, value)
    with k.loop(len(values), "lane") as lane:
        out.store(lane, apply_epilogue(k, out.load(lane), epilogue, [a.load(lane) for a in added], 1))
    return [out.load(lane) for lane in range(len(values))]


def lower_sum(c: SumConfig, symbol: str) -> PrimFunc:
    """Adds up the parts of a split sum, in order, one vector per thread."""
    vectors = c.result.floats // VECTOR
    total = c.batch * vectors
    k = CudaBuilder(grid_of(total, c.threads), c.threads)
    parts = k.operand("parts", c.splits * c.batch * c.result.floats)
    bias = k.operand("bias", c.result.blocks * VECTOR) if c.bias else None
    buffers = [k.operand(f"extra{i}", c.result.floats) for i in range(len(c.extras))]
    result = k.operand("result", c.batch * c.result.floats)
    with k.each(total) as index:
        image, vector = image_of(k, index, c.batch, vectors)
        values = load_vector(k, parts, index, VECTOR)
        with k.unrolled(c.splits - 1, "part") as part:
            more = load_vector(k, parts, (part + 1) * total + index, VECTOR)
            with k.unrolled(VECTOR) as lane:
                values.store(lane, values.load(lane) + more.load(lane))
        block, _ = divmod_(k, vector, c.result.pixels)
        extras = [(b, image * (stride // VECTOR) + vector) for b, stride in zip(buffers, c.extras, strict=True)]
        sums = [values.load(lane) for lane in range(VECTOR)]
        finals = finished(k, sums, bias, block, extras, c.epilogue)
        store_vector(k, result, image * (c.result.stride // VECTOR) + vector, finals)
    return k.finish(symbol)


LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {"sum": lower_sum}
"""Family of a kernel -> its lowering."""
