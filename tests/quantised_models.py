"""Small quantised ONNX models, in the forms that tools write, and how ONNX Runtime and our reference compute them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cnncc.frontends.onnx.ports import Imported
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.ops import reference

F32 = np.float32
HALF_RANGE = 63
"""Of weights beside uint8: with larger ones ONNX Runtime's sums of pairs leave 16 bits on processors without VNNI."""


@dataclass
class Model:
    """A model under construction: every tensor that is no node's result is known."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)

    def input(self, name: str, array: np.ndarray) -> str:
        self.inputs[name] = array
        return name

    def known(self, name: str, value: Any) -> str:
        self.tensors[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        result = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, [result], name=f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return result

    def steps(self, name: str, scale: Any, zero: Any) -> tuple[str, str]:
        """Scale and zero point as two tensors."""
        return self.known(f"{name}.s", np.asarray(scale, F32)), self.known(f"{name}.z", zero)

    def quantize(self, x: str, scale: Any, zero: Any) -> str:
        return self.add("QuantizeLinear", x, *self.steps(f"q{len(self.nodes)}", scale, zero))

    def dequantize(self, x: str, scale: Any, zero: Any, **more: Any) -> str:
        return self.add("DequantizeLinear", x, *self.steps(f"d{len(self.nodes)}", scale, zero), **more)

    def there_and_back(self, x: str, scale: Any, zero: Any) -> str:
        """What was rounded to bytes."""
        return self.dequantize(self.quantize(x, scale, zero), scale, zero)

    def proto(self, *outputs: str, opset: int = 17) -> ModelProto:
        port = helper.make_tensor_value_info
        ports = [port(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in self.inputs.items()]
        given = [helper.make_empty_tensor_value_info(name) for name in outputs]
        known = [numpy_helper.from_array(a, n) for n, a in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "t", ports, given, known)
        domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=8)


def runtime(model: ModelProto, inputs: Mapping[str, np.ndarray], as_written: bool = False) -> list[np.ndarray]:
    """The outputs by ONNX Runtime, which makes layers on bytes of a model unless it is to run as it is written."""
    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def ours(imported: Imported, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs by the reference, as the model declares them."""
    graph = imported.graph
    fed = {p.node: p.to_graph(inputs[p.name], graph[p.node].type.shape) for p in imported.inputs}
    values = reference.run(graph, fed, F32)
    return [port.from_graph(values[port.node]) for port in imported.outputs]


def compared(model: Model, *outputs: str, opset: int = 17) -> tuple[Counter[str], int, Sequence[str]]:
    """The ops of the imported graph, the largest difference to ONNX Runtime in steps, and the notes. Bytes only."""
    proto = model.proto(*outputs, opset=opset)
    imported = from_onnx(proto, strict=True)
    worst = 0
    for got, want in zip(ours(imported, model.inputs), runtime(proto, model.inputs), strict=True):
        assert (got.shape, want.dtype.kind in "iu") == (want.shape, True)
        worst = max(worst, int(np.abs(got.astype(int) - want.astype(int)).max()))
    return Counter(node.op for node in imported.graph.nodes), worst, imported.notes


def image(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(F32)


def small_weights(rng: np.random.Generator, kind: Any, *shape: int) -> np.ndarray:
    """int8 weights, or uint8 around 128, of half their range."""
    whole = rng.integers(-HALF_RANGE, HALF_RANGE + 1, shape)
    return (whole + (128 if kind is np.uint8 else 0)).astype(kind)
