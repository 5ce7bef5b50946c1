"""The ONNX backend interface (onnx.backend.base): models prepared here run in a module compiled by cnncc.

    import cnncc.contrib.onnx_backend as backend
    outputs = backend.run_model(onnx.load("model.onnx"), [image])

Some values must be known when a network is compiled: weights, shapes, bounds. A model may have them as inputs. Its
module is then compiled when the values are first given, and again when they change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.faults import NotImported
from cnncc.frontends.onnx.ports import Imported, computed_inputs
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.runtime.model import Model

__all__ = ["CnnccBackend", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class CompiledModel:
    """A model compiled for some known inputs."""

    def __init__(self, imported: Imported) -> None:
        from cnncc import api

        self.imported = imported
        self.model: Model | None = None
        if any(port.known is None for port in imported.outputs):
            batch = max((n.type.shape[0] for n in imported.graph.inputs), default=1)
            self.model = api.build(imported.graph, api.Options(batch=batch)).model()

    def run(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        ports, graph = self.imported.inputs, self.imported.graph
        fed = [port.to_graph(arrays[port.name], graph[port.node].type.shape) for port in ports if port.node]
        found = iter(self.model.run_in(self.model.new_arena(), fed) if self.model else [])
        results = []
        for port in self.imported.outputs:
            computed = next(found) if port.node and self.model else None
            results.append(port.from_graph(computed) if port.known is None and computed is not None else port.known)
        return [np.asarray(result) for result in results]


class CnnccRep(BackendRep):
    """A model that `CnnccBackend.prepare` made ready."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.names = [port.name for port in computed_inputs(model.graph)]
        self.outputs = [port.name for port in model.graph.output]
        self.known: set[str] = set()
        """Inputs that have to be known: those that `from_onnx` names, and those without elements."""
        self.compiled: CompiledModel | None = None
        self.compiled_for: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.compile_early()

    def compile_early(self) -> None:
        """Compiles now what does not depend on the values of inputs, so that `prepare` refuses what is not
        supported."""
        try:
            imported = from_onnx(self.model, keep_known=True)
        except NotImported as error:
            if not error.constants:
                raise
            return
        except CnnccError:
            return  # shapes are open
        self.shapes = {port.name: port.shape for port in imported.inputs}
        self.compiled = CompiledModel(imported)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs the model and returns its outputs as a named tuple, in the types and shapes that the model declares.

        `inputs` are arrays in the order of the model's inputs, or a dictionary by their names. New shapes, and new
        values that must be known, compile the model again. Raises CnnccError for arrays that do not fit, and for a
        model that cannot be compiled."""
        arrays = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(self.names, inputs, strict=False))
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        found = self.for_values(arrays).run(arrays)
        return namedtupledict("Outputs", self.outputs)(*found)

    def for_values(self, arrays: Mapping[str, np.ndarray]) -> CompiledModel:
        """The module for these arrays: their shapes, and the values of those that have to be known."""
        shapes = {name: array.shape for name, array in arrays.items() if name not in self.known}
        same = self.shapes == shapes and all(
            name in self.compiled_for and np.array_equal(arrays[name], self.compiled_for[name]) for name in self.known
        )
        if self.compiled is None or not same:
            self.compiled = CompiledModel(self.imported(arrays))
            self.compiled_for = {name: arrays[name] for name in self.known}
            self.shapes = {name: array.shape for name, array in arrays.items() if name not in self.known}
        return self.compiled

    def imported(self, arrays: Mapping[str, np.ndarray]) -> Imported:
        self.known |= {name for name, array in arrays.items() if not array.size}
        while True:
            known = {name: arrays[name] for name in self.known}
            shapes = {name: array.shape for name, array in arrays.items() if name not in self.known}
            try:
                return from_onnx(self.model, shapes, known, keep_known=True)
            except NotImported as error:
                more = {i for name in error.constants for i in sources(self.model, name)} & set(arrays) - self.known
                if not more:
                    raise
                self.known |= more


def sources(model: ModelProto, name: str) -> set[str]:
    """The inputs whose values a tensor depends on; shapes are known."""
    wanted = {name}
    for node in reversed(model.graph.node):
        if node.op_type not in ("Shape", "Size") and wanted.intersection(node.output):
            wanted.update(node.input)
    return wanted & {port.name for port in model.graph.input}


class CnnccBackend(Backend):
    """An ONNX backend that compiles models for the CPU of this machine. `run_model(model, inputs)` of the base class
    does `prepare` and `run`; all of its functions are there as functions of `cnncc.contrib.onnx_backend`, too."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be compiled as it is, for that device. A model whose shapes are open, or that has
        weights or shapes as inputs, may still be compiled by `prepare` and `run`."""
        try:
            from_onnx(model)
        except CnnccError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> CnnccRep:
        """The model, ready to run. Raises CnnccError for another device than the CPU, and for a model that cannot be
        converted."""
        super().prepare(model, device, **kwargs)
        if not cls.supports_device(device):
            raise CnnccError(f"cnncc compiles for the CPU, not for {device}")
        return CnnccRep(model)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node for arrays, in the order of its inputs. They are float32, unless `outputs_info` has
        their types and shapes. `opset_version` may be given; by default it is that of the installed package onnx.

        Raises CnnccError for a node that cannot be converted."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        arrays = [np.asarray(array) for array in inputs]
        names = [name for name in node.input if name]
        kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in zip(names, arrays, strict=True)}
        ports = [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in zip(names, arrays, strict=True)]
        types = [helper.np_dtype_to_tensor_dtype(np.dtype(info[0])) for info in outputs_info or ()]
        results = [
            helper.make_tensor_value_info(name, types[i] if i < len(types) else TensorProto.FLOAT, None)
            for i, name in enumerate(node.output)
            if name
        ]
        opset = int(kwargs.get("opset_version", checker.DEFAULT_CONTEXT.opset_imports.get("", 1)))
        graph = helper.make_graph([node], "node", ports, results)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        return CnnccRep(model).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can run on a device, such as `CPU` or `CPU:0`: only on the CPU."""
        return device.split(":")[0] == "CPU"


def to_array(value: Any) -> np.ndarray:
    """A tensor of ONNX or an array as an array."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


is_compatible = CnnccBackend.is_compatible
prepare = CnnccBackend.prepare
run_model = CnnccBackend.run_model
run_node = CnnccBackend.run_node
supports_device = CnnccBackend.supports_device
