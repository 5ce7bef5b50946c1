"""A network of cnncc as a module of PyTorch, with its weights: the same network for the rival, batch norms folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from cnncc.ir import Graph, Node
from cnncc.passes.drop_identities import drop_identities
from cnncc.passes.fold_batchnorm import fold_batchnorm
from cnncc.passes.infer_shapes import infer_shapes

Tensor = torch.Tensor


class TorchNet(torch.nn.Module):
    """Runs the nodes of a graph in order. It takes the first input, gives the first output."""

    def __init__(self, source: Graph) -> None:
        super().__init__()
        graph = fold_batchnorm(drop_identities(infer_shapes(source)))
        unknown = sorted({node.op for node in graph.nodes} - RULES.keys())
        if unknown:
            raise ValueError(f"{source.name} has ops without a rule for PyTorch: {', '.join(unknown)}")
        self.output = graph.outputs[0]
        self.steps = [(node, _weights_of(node)) for node in graph.nodes]
        self.last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
        for name, constant in graph.constants.items():
            value = torch.from_numpy(np.ascontiguousarray(constant.value))
            self.register_buffer(_plain(name), value)
        for node in graph.inputs:
            mean, std = node.attrs["mean"] or (0.0,), node.attrs["std"] or (1.0,)
            self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
            self.register_buffer("scale", 1 / torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        values: dict[str, Tensor] = {}
        for i, (node, weights) in enumerate(self.steps):
            if node.is_input:
                values[node.name] = (image - self.mean) * self.scale
                continue
            given = {slot: getattr(self, name) for slot, name in weights.items()}
            values[node.name] = RULES[node.op]([values[name] for name in node.inputs], node.attrs, given)
            for name in node.inputs:
                if self.last_use[name] == i and name != self.output:
                    values.pop(name, None)
        return values[self.output]


def _weights_of(node: Node) -> dict[str, str]:
    return {slot: _plain(name) for slot, name in node.weights.items()}


def _plain(name: str) -> str:
    """A buffer's name has no dots."""
    return "c_" + name.replace(".", "_")


Rule = Callable[[list[Tensor], Mapping[str, Any], Mapping[str, Tensor]], Tensor]


def _padded(x: Tensor, pad: tuple[int, ...], value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """Padding that is the same on both sides is left to the layer, other padding is done before it."""
    top, left, bottom, right = pad
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    x, pad = _padded(args[0], attrs["pad"])
    more = (attrs["stride"], pad, attrs["dilation"], attrs["groups"])
    return F.conv2d(x, weights["weight"], weights.get("bias"), *more)


def _fc(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    return F.linear(args[0].flatten(1), weights["weight"].flatten(1), weights.get("bias"))[..., None, None]


def _maxpool(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    x, pad = _padded(args[0], attrs["pad"], float("-inf"))
    return F.max_pool2d(x, attrs["kernel"], attrs["stride"], pad, attrs["dilation"], attrs["rounding"] == "ceil")


def _avgpool(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    top, left, *_ = attrs["pad"]
    counted = attrs["count_include_pad"]
    return F.avg_pool2d(args[0], attrs["kernel"], attrs["stride"], (top, left), attrs["rounding"] == "ceil", counted)


def _bn(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    means = weights["running_mean"], weights["running_var"]
    return F.batch_norm(args[0], *means, weights["weight"], weights["bias"], False, 0.0, attrs["eps"])


def _lrn(args: list[Tensor], attrs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    return F.local_response_norm(args[0], attrs["size"], attrs["alpha"], attrs["beta"], attrs["k"])


RULES: Mapping[str, Rule] = {
    "input": lambda args, attrs, weights: args[0],
    "conv": _conv,
    "fc": _fc,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "bn": _bn,
    "lrn": _lrn,
    "add": lambda args, attrs, weights: sum(args[1:], args[0]),
    "concat": lambda args, attrs, weights: torch.cat(args, 1),
    "relu": lambda args, attrs, weights: F.relu(args[0]),
    "relu6": lambda args, attrs, weights: F.relu6(args[0]),
    "gap": lambda args, attrs, weights: F.adaptive_avg_pool2d(args[0], 1),
    "softmax": lambda args, attrs, weights: F.softmax(args[0], 1),
    "flatten": lambda args, attrs, weights: args[0].flatten(1)[..., None, None],
}
"""An op of our table as PyTorch has it. Vectors have two axes of 1 behind."""
