"""What follows a sum: bias and epilogue."""

from __future__ import annotations

from typing import Any

from cnncc.kernels.gpu.lower.builder import Array, CudaBuilder, load_vector
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
