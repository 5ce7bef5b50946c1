"""Ops of the domain com.microsoft, which ONNX Runtime's optimiser writes: what it fused, apart again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cnncc.frontends.onnx.convert.convolutions import conv
from cnncc.frontends.onnx.convert.pointwise import combined
from cnncc.frontends.onnx.convert.qlinear import MICROSOFT
from cnncc.frontends.onnx.convert.quantize import dequantize, quantize
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value

Activation = Callable[[OnnxSite, Value, tuple[float, ...]], Value]


def plain(op: str) -> Activation:
    return lambda site, value, numbers: site.pointwise(op, value)


def numbered(op: str, *names: str) -> Activation:
    """An activation whose numbers are given in this order."""

    def apply(site: OnnxSite, value: Value, numbers: tuple[float, ...]) -> Value:
        if len(numbers) != len(names):
            raise Unsupported(f"attribute activation_params: expected {len(names)} numbers, got {len(numbers)}")
        return site.pointwise(op, value, **dict(zip(names, numbers, strict=True)))

    return apply


ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": plain("relu"),
    "Sigmoid": plain("sigmoid"),
    "Tanh": plain("tanh"),
    "LeakyRelu": numbered("leaky_relu", "slope"),
    "Clip": numbered("clip", "low", "high"),
    "HardSigmoid": numbered("hard_sigmoid", "alpha", "beta"),
    "HardSwish": plain("hard_swish"),
}


def fused_conv(site: OnnxSite) -> Tensor:
    """activation(conv(x, w) + b + z)."""
    found = conv(site)
    assert isinstance(found, Value)
    if site.has(3):
        found = combined(site, "add", found, site.tensor_at(3))
    if not site.gives("activation"):
        return found
    name = site.choice("activation", ACTIVATIONS)
    return ACTIVATIONS[name](site, found, site.numbers("activation_params", ()))


def biased(op: str) -> Callable[[OnnxSite], Tensor]:
    """An activation of x + b."""

    def rule(site: OnnxSite) -> Tensor:
        value = site.value(0)
        if site.has(1):
            value = combined(site, "add", value, site.tensor_at(1))
        return site.pointwise(op, value)

    return rule


def quick_gelu(site: OnnxSite) -> Tensor:
    """x sigmoid(alpha x)."""
    value = site.value(0)
    gate = site.pointwise("sigmoid", site.pointwise("affine", value, scale=site.number("alpha", 1.702)))
    return combined(site, "mul", value, gate)


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {
    "FusedConv": fused_conv,
    "Gelu": biased("gelu"),
    "BiasGelu": biased("gelu"),
    "FastGelu": biased("gelu_tanh"),
    "QuickGelu": quick_gelu,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    **MICROSOFT,
}
"""Of one result each."""
