"""Matrix products of ONNX: fully connected layers, 1x1 convolutions over positions, products of computed tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, broadcast, plain_value


def swapped(value: Tensor) -> Tensor:
    """The last two axes change places."""
    if isinstance(value, np.ndarray):
        return value.swapaxes(-1, -2)
    order = [*range(len(value.shape) - 2), len(value.shape) - 1, len(value.shape) - 2]
    return Value(value.node, tuple(value.shape[i] for i in order), tuple(value.axes[i] for i in order))


def scaled(site: OnnxSite, tensor: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return tensor
    if isinstance(tensor, np.ndarray):
        return (tensor * np.float32(factor)).astype(np.float32)
    return site.pointwise("affine", tensor, scale=factor)


def gemm(site: OnnxSite) -> Tensor:
    """alpha A B + beta C; with a known B and a C for each column an fc."""
    a, b = (site.tensor_at(i) for i in (0, 1))
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise Unsupported(f"multiplies matrices, got {list(a.shape)} and {list(b.shape)}")
    a = swapped(a) if site.flag("transA") else a
    b = swapped(b) if site.flag("transB") else b
    alpha, beta = site.number("alpha", 1.0), site.number("beta", 1.0)
    c = site.inputs[2] if site.has(2) else None
    if isinstance(a, Value) and isinstance(b, np.ndarray) and is_rows(site, a):
        columns = b.shape[1]
        fits = isinstance(c, np.ndarray) and (c.size == 1 or c.shape in ((columns,), (1, columns)))
        bias = None
        if isinstance(c, np.ndarray) and fits:
            bias = np.broadcast_to(c.reshape(-1) * beta, (columns,))
        result: Tensor = fully_connected(site, a, b * np.float32(alpha), bias)
        c = None if fits else c
    else:
        result = scaled(site, product(site, a, b), alpha)
    return result if c is None else combined(site, "add", result, scaled(site, c, beta))


def is_rows(site: OnnxSite, a: Value) -> bool:
    """Whether a matrix has one row for each image."""
    return len(a.shape) == 2 and a.shape[0] == site.b.batch


def fully_connected(site: OnnxSite, a: Value, weight: np.ndarray, bias: np.ndarray | None = None) -> Value:
    """A (n, k) times (k, m)."""
    if a.shape[1] != weight.shape[0]:
        raise Unsupported(f"product of {list(a.shape)} and {list(weight.shape)}")
    weights = [np.ascontiguousarray(weight.T, np.float32), *([] if bias is None else [bias.astype(np.float32)])]
    node = site.add("fc", site.b.plain(a), weights=weights, out=weight.shape[1], bias=bias is not None)
    return plain_value(node, (a.shape[0], weight.shape[1]))


def product(site: OnnxSite, a: Tensor, b: Tensor) -> Value:
    """NumPy's matmul."""
    if isinstance(a, Value) and isinstance(b, np.ndarray) and b.ndim == 2 and len(a.shape) > 1:
        return fully_connected(site, a, b) if is_rows(site, a) else along(site, a, len(a.shape) - 1, b)
    if isinstance(b, Value) and isinstance(a, np.ndarray) and a.ndim == 2 and len(b.shape) > 1:
        return along(site, b, len(b.shape) - 2, a.T)
    left = site.b.constant(a, f"{site.hint}.left") if isinstance(a, np.ndarray) else a
    right = site.b.constant(b, f"{site.hint}.right") if isinstance(b, np.ndarray) else b
    return computed(site, left, right)


def along(site: OnnxSite, value: Value, axis: int, weight: np.ndarray) -> Value:
    """Each vector along an axis times (k, m): a 1x1 convolution with the axis as channels."""
    if value.shape[axis] != weight.shape[0]:
        raise Unsupported(f"product of {list(value.shape)} along axis {axis} and {list(weight.shape)}")
    site.b.refuse_batch(value, axis)
    arranged, node = site.b.front(value, axis, site.hint)
    k, m = weight.shape
    shape = site.b.shape(node)
    image = site.b.seen(node, (k, 1, math.prod(shape[2:]))) if len(shape) != 4 else node
    filters = np.ascontiguousarray(weight.T, np.float32)[:, :, None, None]
    made = site.add("conv", image, weights=[filters], out=m, kernel=(1, 1), bias=False)
    return Value(made, tuple(m if i == axis else s for i, s in enumerate(value.shape)), arranged.axes)


def computed(site: OnnxSite, a: Value, b: Value) -> Value:
    """Both sides computed; vectors are matrices of one row or column."""
    if not a.shape or not b.shape:
        raise Unsupported("a product with a number in place of a matrix")
    row, column = len(a.shape) == 1, len(b.shape) == 1
    if row:
        a = plain_value(site.b.plain(a), (1, *a.shape))
    if column:
        b = plain_value(site.b.plain(b), (*b.shape, 1))
    outer = broadcast(a.shape[:-2], b.shape[:-2])
    (h, k), (k2, w) = a.shape[-2:], b.shape[-2:]
    if k != k2:
        raise Unsupported(f"product of {list(a.shape)} and {list(b.shape)}")
    planes = math.prod(outer) // (site.b.batch if site.b.batch > 1 else 1)
    if site.b.batch > 1 and (not outer or outer[0] != site.b.batch):
        raise Unsupported("a product that mixes the images of the batch")
    nodes = [
        site.b.seen(site.b.plain(site.b.expand(side, (*outer, *side.shape[-2:]))), (planes, *side.shape[-2:]))
        for side in (a, b)
    ]
    node = site.add("matmul", *nodes)
    shape = (*outer, *([] if row else [h]), *([] if column else [w]))
    return plain_value(node, shape)


def matmul(site: OnnxSite) -> Tensor:
    return product(site, site.tensor_at(0), site.tensor_at(1))


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {"Gemm": gemm, "MatMul": matmul}
"""Of one result each."""
