"""Ops of quantised tensors, of the standard and of ONNX Runtime's domain.

Each is the op of numbers between what dequantises its inputs and what quantises its result, as other models write it:
so the rules for layers on bytes need to know one form only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cnncc.frontends.onnx.convert import reduce, shapes, windows
from cnncc.frontends.onnx.convert.arithmetic import RULES as ARITHMETIC
from cnncc.frontends.onnx.convert.convolutions import conv
from cnncc.frontends.onnx.convert.dense import gemm, matmul
from cnncc.frontends.onnx.convert.pointwise import RULES as POINTWISE
from cnncc.frontends.onnx.convert.quantize import from_steps, steps_at, to_steps
from cnncc.frontends.onnx.site import OnnxRule, OnnxSite, Tensor
from cnncc.frontends.onnx.steps import Dequantised, column, dequantised
from cnncc.frontends.onnx.types import FLOAT
from cnncc.frontends.onnx.values import Unsupported, Value

OWN = ("channels_last", "opset")
"""Attributes that ops of quantised tensors have besides those of the op of numbers."""


def of_numbers(site: OnnxSite, op: str, places: Sequence[int], tensors: Sequence[Tensor]) -> OnnxSite:
    """The node as one of an op of numbers, which reads `tensors`; they are called as the inputs at `places` are."""
    return replace(
        site,
        op_type=op,
        names=[site.names[i] for i in places],
        results=site.results[:1],
        attributes={name: a for name, a in site.attributes.items() if name not in OWN},
        inputs=list(tensors),
        kinds=(FLOAT,) * len(tensors),
    )


def numbers(site: OnnxSite, i: int, axis: int = 0) -> Tensor:
    """The numbers of an input whose scale and zero point come behind it. A known one may have a scale for each place of
    an axis."""
    tensor = site.tensor_at(i)
    if isinstance(tensor, Value):
        steps = steps_at(site, i + 1, i + 2)
        if steps.scale.size > 1:
            raise Unsupported("a computed tensor with several scales")
        return from_steps(site, tensor, steps)
    zero = along(site, tensor, i + 2, axis) if site.has(i + 2) else None
    return stated(site, i, dequantised(tensor, along(site, tensor, i + 1, axis), zero, axis), axis)


def along(site: OnnxSite, tensor: np.ndarray, i: int, axis: int) -> np.ndarray:
    """An input that is one number, or one for each place of an axis of a known tensor."""
    found = site.vector(i, f"input {i}")
    if found.size != 1 and (not tensor.ndim or found.size != tensor.shape[axis]):
        raise Unsupported(f"input {i}: {found.size} numbers along an axis of a tensor {list(tensor.shape)}")
    return found


def stated(site: OnnxSite, i: int, known: Dequantised, axis: int) -> np.ndarray:
    """A known input as float32, remembered as the integers it is."""
    assert known.integers is not None, i
    site.b.dequantised[site.names[i]] = known
    scale = column(known.scale, known.integers.ndim, axis)
    return np.asarray(known.integers.astype(np.float32) * scale, np.float32)


def bias(site: OnnxSite, i: int, x: int, weight: int) -> list[np.ndarray]:
    """A bias in steps of the sum, whose scale is the product of those of two inputs."""
    if not site.has(i):
        return []
    integers = site.vector(i, "the bias").astype(np.int64)
    scale = site.vector(x, "the scale", 1).astype(np.float32) * along(site, integers, weight, 0).astype(np.float32)
    known = Dequantised(scale * np.float32(site.number("alpha", 1.0)), integers)
    return [stated(site, i, known, 0)]


def quantised(site: OnnxSite, result: Tensor, scale: int) -> Value:
    """A result with the scale and the zero point that two inputs are."""
    assert isinstance(result, Value), site.op_type
    return to_steps(site, result, steps_at(site, scale, scale + 1))


def qlinear_conv(site: OnnxSite) -> Tensor:
    """x xs xz w ws wz ys yz bias"""
    tensors = [numbers(site, 0), numbers(site, 3), *bias(site, 8, 1, 4)]
    return quantised(site, conv(of_numbers(site, "Conv", (0, 3, 8)[: len(tensors)], tensors)), 6)


def qlinear_matmul(site: OnnxSite) -> Tensor:
    """a as az b bs bz ys yz"""
    return quantised(site, matmul(of_numbers(site, "MatMul", (0, 3), [numbers(site, 0), numbers(site, 3, -1)])), 6)


def qgemm(site: OnnxSite) -> Tensor:
    """a as az b bs bz c ys yz; without ys a result of numbers"""
    weight = numbers(site, 3, 0 if site.flag("transB") else 1)
    tensors = [numbers(site, 0), weight, *bias(site, 6, 1, 4)]
    found = gemm(of_numbers(site, "Gemm", (0, 3, 6)[: len(tensors)], tensors))
    return quantised(site, found, 7) if site.has(7) else found


def merge(op: str) -> OnnxRule:
    """a as az b bs bz ys yz"""

    def rule(site: OnnxSite) -> Tensor:
        inner = of_numbers(site, op, (0, 3), [numbers(site, 0), numbers(site, 3)])
        return quantised(site, ARITHMETIC[op](inner), 6)

    return rule


def single(op: str, of: OnnxRule) -> OnnxRule:
    """x xs xz ys yz"""

    def rule(site: OnnxSite) -> Tensor:
        if site.integer("channels_last", 0):
            raise Unsupported("attribute channels_last: only 0 is read")
        return quantised(site, of(of_numbers(site, op, (0,), [numbers(site, 0)])), 3)

    return rule


def concat(site: OnnxSite) -> Tensor:
    """ys yz, then x xs xz of each arm"""
    places = range(2, len(site.inputs), 3)
    inner = of_numbers(site, "Concat", places, [numbers(site, i) for i in places])
    return to_steps(site, as_value(shapes.RULES["Concat"](inner)), steps_at(site, 0, 1))


def softmax(site: OnnxSite) -> Tensor:
    """x xs xz ys yz; the opset says which axes `axis` means"""
    inner = replace(of_numbers(site, "Softmax", (0,), [numbers(site, 0)]), opset=site.integer("opset", 13))
    return quantised(site, as_value(reduce.RULES["Softmax"](inner)), 3)


def as_value(result: Tensor | list[Tensor]) -> Value:
    assert isinstance(result, Value), "of one result, and of arms that are not all known"
    return result


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
"""Of one result each."""
MICROSOFT: Mapping[str, OnnxRule] = {
    **RULES,
    "QGemm": qgemm,
    "QLinearAdd": merge("Add"),
    "QLinearMul": merge("Mul"),
    "QLinearAveragePool": single("AveragePool", windows.RULES["AveragePool"]),
    "QLinearGlobalAveragePool": single("GlobalAveragePool", windows.RULES["GlobalAveragePool"]),
    "QLinearLeakyRelu": single("LeakyRelu", POINTWISE["LeakyRelu"]),
    "QLinearSigmoid": single("Sigmoid", POINTWISE["Sigmoid"]),
    "QLinearSoftmax": softmax,
    "QLinearConcat": concat,
}
"""The same of the domain com.microsoft."""
