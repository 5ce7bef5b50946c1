"""Pointwise nonlinearities. They also appear by name in the epilogues of other ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.ops.table import Array, Arrays, Attrs, Op, Weights, no_macs, no_weights, pointwise, same_shape

Function = Callable[[Array, Attrs], Array]


def relu(x: Array, attrs: Attrs) -> Array:
    """max(x, 0)"""
    return np.maximum(x, 0)


def relu6(x: Array, attrs: Attrs) -> Array:
    """min(max(x, 0), 6)"""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array, attrs: Attrs) -> Array:
    """x if x > 0, else slope * x"""
    return np.where(x > 0, x, x * x.dtype.type(attrs["slope"]))


def sigmoid(x: Array, attrs: Attrs) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that nothing overflows"""
    return (np.tanh(x / 2) + 1) / 2


def tanh(x: Array, attrs: Attrs) -> Array:
    """tanh(x)"""
    return np.tanh(x)


def hard_sigmoid(x: Array, attrs: Attrs) -> Array:
    """min(max(alpha * x + beta, 0), 1)"""
    kind = x.dtype.type
    return np.clip(x * kind(attrs["alpha"]) + kind(attrs["beta"]), 0, 1)


def hard_swish(x: Array, attrs: Attrs) -> Array:
    """x * min(max(x / 6 + 1/2, 0), 1)  (MobileNetV3)"""
    return x * np.clip(x / 6 + x.dtype.type(0.5), 0, 1)


def silu(x: Array, attrs: Attrs) -> Array:
    """x * sigmoid(x)"""
    return x * sigmoid(x, attrs)


FUNCTIONS: Mapping[str, Function] = {
    f.__name__: f for f in (relu, relu6, leaky_relu, sigmoid, tanh, hard_sigmoid, hard_swish, silu)
}
DEFAULTS: Mapping[str, Attrs] = {"leaky_relu": {"slope": 0.01}, "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5}}
TOLERANCES = {"relu": 0.0, "relu6": 0.0, "leaky_relu": 1e-6}


def activation(name: str, function: Function) -> Op:
    """The op of a pointwise function of one tensor."""

    def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
        return function(xs[0], attrs)

    return Op(
        name=name,
        arity=(1, 1),
        attributes=DEFAULTS.get(name, {}),
        weights=no_weights,
        shape=same_shape,
        macs=no_macs,
        window=pointwise,
        reference=reference,
        tolerance=TOLERANCES.get(name, 2e-6),
    )


OPS = tuple(activation(name, function) for name, function in FUNCTIONS.items())
