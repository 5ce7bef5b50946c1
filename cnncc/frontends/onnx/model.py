"""An ONNX model under construction: its nodes, its tensors, and the names of both. The one file that imports onnx."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from cnncc import __version__
from cnncc.base.elements import FLOAT32, Element
from cnncc.ir import Graph, Node, TensorType
from cnncc.ops.onnx import OPSET
from cnncc.ops.source import port_type

IR_VERSION = 8


class OnnxModel:
    """What rules write to. A value has the name of the graph's node that computes it, a tensor that of the constant.

    ONNX keeps both in one namespace, so what the graph does not name gets a name that nothing else has.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, TensorProto] = {}
        self.ports: dict[str, str] = {}
        """What the caller passes, by the name of the input node: its value differs if there is a mean."""
        self._taken = {n.name for n in graph.nodes} | set(graph.ports)
        self._constants: dict[str, str] = {}
        self._values: dict[str, str] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape, batch first, of a value of the graph."""
        return self.graph[name].type.shape

    def data(self, node: Node) -> list[str]:
        """The inputs of a node, by the names of their values in the model."""
        return [self._values.get(name, name) for name in node.inputs]

    def weights(self, node: Node) -> list[str]:
        """The constants of a node as tensors, in the order of its slots."""
        return [self.weight(name) for name in node.weights.values()]

    def weight(self, constant: str) -> str:
        """A constant as a tensor."""
        if constant not in self._constants:
            known = self.graph.constants[constant]
            value = known.compute()
            exact = known.element == FLOAT32
            self._constants[constant] = self.tensor(constant, value.astype(np.float32, copy=False) if exact else value)
            self.tensors[self._constants[constant]].data_type = data_type(known.element)
        return self._constants[constant]

    def tensor(self, name: str, value: np.ndarray) -> str:
        """Stores a tensor; returns its name, which is `name` unless that is taken."""
        unique = self.fresh(name)
        self.tensors[unique] = numpy_helper.from_array(value, unique)
        return unique

    def integers(self, name: str, values: Iterable[int]) -> str:
        """Stores a vector of integers, as ONNX has shapes and bounds."""
        return self.tensor(name, np.array(list(values), np.int64))

    def number(self, name: str, value: float) -> str:
        """Stores a scalar."""
        return self.tensor(name, np.array(value, np.float32))

    def fresh(self, name: str) -> str:
        """`name`, or `name` with as many colons at its end as make it new; it is taken from now on."""
        while name in self._taken:
            name += ":"
        self._taken.add(name)
        return name

    def emit(self, op: str, inputs: list[str], result: str, **attributes: Any) -> str:
        """Appends one node, named as its result is; returns that name."""
        self.nodes.append(helper.make_node(op, inputs, [result], name=result, **attributes))
        return result

    def several(self, op: str, inputs: list[str], results: list[str], **attributes: Any) -> None:
        """Appends one node with several results."""
        self.nodes.append(helper.make_node(op, inputs, results, name=results[0], **attributes))

    def step(self, op: str, inputs: list[str], result: str, **attributes: Any) -> str:
        """`emit` for a value that the graph does not have; returns the name it got."""
        return self.emit(op, inputs, self.fresh(result), **attributes)

    def stands_for(self, node: Node, value: str) -> None:
        """The value of a node is in the model under another name."""
        self._values[node.name] = value

    def proto(self) -> ModelProto:
        """The whole model: types and shapes of all values of the graph, ports by the names of the graph."""
        inputs = [self._port(self.ports[n.name], port_type(n)) for n in self.graph.inputs]
        self._give_outputs({port.name for port in inputs})
        outputs = [self._port(name, n.type) for name, n in zip(self.graph.output_names, self._outputs(), strict=True)]
        known = {port.name for port in (*inputs, *outputs)}
        between = [n.output[0] for n in self.nodes if n.output[0] in self.graph.by_name and n.output[0] not in known]
        body = helper.make_graph(
            self.nodes,
            self.graph.name,
            inputs,
            outputs,
            initializer=list(self.tensors.values()),
            value_info=[self._port(name, self.graph[name].type) for name in between],
        )
        return helper.make_model(
            body,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="cnncc",
            producer_version=__version__,
        )

    def _outputs(self) -> list[Node]:
        return [self.graph[value] for value in self.graph.outputs]

    def _give_outputs(self, inputs: set[str]) -> None:
        """Lets each output have its name: the tensor itself is called so, or, where it is an input, a weight or another
        output too, a copy of it."""
        ports = self.graph.output_names
        rename = {v: self.fresh(f"{v}:inner") for v in self.graph.by_name if v in ports and v not in inputs}
        copies = []
        for value, port in zip(self.graph.outputs, ports, strict=True):
            held = self._values.get(value, value)
            if held in self.tensors or held in inputs or (held in rename and rename[held] in ports):
                copies += [(held, port)] if held != port else []
            else:
                rename[held] = port
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [rename.get(name, name) for name in names]
            node.name = node.output[0]
        for held, port in copies:
            self.emit("Identity", [rename.get(held, held)], port)

    def _port(self, name: str, kind: TensorType) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, data_type(kind.element), kind.shape)


def data_type(element: Element) -> int:
    """ONNX's number of an element type."""
    return int(TensorProto.DataType.Value("FLOAT" if element == FLOAT32 else element.name.upper()))
