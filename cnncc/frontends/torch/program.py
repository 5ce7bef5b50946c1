"""A program of PyTorch as the reader sees it: a graph of ATen ops, its inputs, its outputs, and what is known."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.tensors import one_line
from cnncc.frontends.onnx.types import Kind
from cnncc.frontends.onnx.values import Unsupported
from cnncc.ir.rules import Shape

FREE = 2
"""Images that a program of any number of images is read for: what mixes them is refused."""


CHANNELS_LAST = (0, 3, 1, 2)
"""Where the axes of a tensor (n, c, h, w) lie in memory that has its channels last."""


def is_channels_last(tensor: Any) -> bool:
    """Whether the channels of an image lie side by side in memory, and nothing else does."""
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != len(CHANNELS_LAST) or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last)


def alike(made: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A tensor in the order in memory that an example has."""
    return made.contiguous(memory_format=torch.channels_last) if is_channels_last(example) else made


@dataclass(frozen=True)
class TorchPort:
    """An input or output of a program: its name, its node, and its type in NumPy."""

    name: str
    node: Node
    kind: Kind

    @classmethod
    def of(cls, name: str, node: Node) -> TorchPort:
        """What a node takes or gives."""
        return cls(name, node, kind_of(node) or np.dtype(np.float32))

    def axes(self, shape: Shape) -> Shape:
        """Where the axes of an input lie in the memory of the example. In their order where the shape does not tell
        both orders apart: arrays are known by their shapes."""
        last = is_channels_last(self.node.meta.get("val")) and len(set(shape[1:])) > 1
        return CHANNELS_LAST if last else tuple(range(len(shape)))


@dataclass(frozen=True)
class TorchProgram:
    """A graph of ATen ops without changes in place."""

    owner: GraphModule
    inputs: tuple[TorchPort, ...]
    """The tensors that a caller passes, in order."""
    outputs: tuple[TorchPort, ...]
    """The tensors that it gives, in order."""
    known: Mapping[Node, Any]
    """Parameters, buffers, tensors that the code of the module has, and inputs that are no tensors."""
    names: Mapping[Node, str]
    """Of parameters and buffers, as in the state dict."""
    strictly: bool = False
    """Whether its images must not be mixed, though their number is fixed."""

    @property
    def graph(self) -> FxGraph:
        return self.owner.graph

    @property
    def elements(self) -> int:
        """Of all known tensors."""
        return sum(tensor.numel() for tensor in self.known.values() if isinstance(tensor, torch.Tensor))

    # Sizes

    @cached_property
    def free(self) -> bool:
        """Whether its inputs are batches of any size. CnnccError for any other size that is not fixed."""
        sizes = [given.node.meta["val"].shape for given in self.inputs]
        open_ones = [
            (g.name, i) for g, s in zip(self.inputs, sizes, strict=True) for i, n in enumerate(s) if is_open(n)
        ]
        for name, axis in open_ones:
            if axis:
                hint = "export the module with fixed sizes; only the first axis, the batch, may be dynamic"
                raise CnnccError(f"axis {axis} of input {name} has no fixed size", hint=hint)
        if open_ones and len(open_ones) < len(sizes):
            raise CnnccError("the first axis of some inputs is the batch, that of others has a fixed size")
        return bool(open_ones)

    @cached_property
    def batch(self) -> int:
        """The first axis of all inputs; 1 if they have none in common."""
        sizes = [self.shape(given.node) for given in self.inputs]
        firsts = {shape[0] for shape in sizes if shape}
        return firsts.pop() if len(firsts) == 1 and all(sizes) else 1

    def shape(self, node: Node) -> tuple[int, ...]:
        """The shape of an input."""
        return tuple(FREE if self.free and is_open(size) else int(size) for size in node.meta["val"].shape)

    # Nodes

    def needed(self) -> list[Node]:
        """The nodes that outputs depend on, in order, without inputs."""
        wanted = {given.node for given in self.outputs}
        for node in reversed(self.graph.nodes):
            if node in wanted:
                wanted.update(node.all_input_nodes)
        wanted -= {given.node for given in self.inputs} | self.known.keys()
        return [node for node in self.graph.nodes if node in wanted]

    def evaluated(self, node: Node, values: Mapping[Node, Any]) -> Any:
        """What a node of known tensors gives. Unsupported for one that gives something else each time."""
        if isinstance(node.target, str):  # a tensor of the module
            return operator.attrgetter(node.target)(self.owner)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not is_idle_dropout(node):
            raise Unsupported("random")
        args, kwargs = map_arg((node.args, dict(node.kwargs)), lambda n: values[n])
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        try:
            with torch.no_grad():
                return node.target(*args, **kwargs)
        except Exception as error:  # its errors have no common base
            raise Unsupported(f"PyTorch cannot evaluate it: {one_line(error)}") from error

    def label(self, node: Node) -> str:
        """What a node is called in messages: its place in the module, its name and its op."""
        place = self.place(node)
        return f"{place + ': ' if place else ''}{node.name} ({node.target})"

    def hint(self, node: Node) -> str:
        """The name for what a node computes, below that of its module."""
        return "/".join([*self.place(node).split("."), node.name]).lstrip("/")

    @staticmethod
    def place(node: Node) -> str:
        """The module that a node is of, by its path."""
        *_, (path, _) = (node.meta.get("nn_module_stack") or {"": ("", "")}).values()
        return str(path)


def kind_of(node: Node) -> Kind | None:
    """NumPy's type of the first tensor that a node gives; None if it gives none."""
    value = node.meta.get("val")
    first = next(iter(value), None) if isinstance(value, list | tuple) else value
    return numpy_type(first.dtype) if isinstance(first, torch.Tensor) else None


def arguments_of(node: Node) -> dict[str, Any]:
    """All arguments of an op, by the names of its schema; of other functions those that have names."""
    schema = getattr(node.target, "_schema", None)
    given = {a.name: a.default_value if a.has_default_value() else None for a in schema.arguments} if schema else {}
    given.update(zip(given, node.args, strict=False))
    return {**given, **node.kwargs}


def is_idle_dropout(node: Node) -> bool:
    """Whether a node is a dropout in eval mode."""
    return op_name(node).endswith("dropout") and not arguments_of(node).get("train", True)


def is_open(size: Any) -> bool:
    """Whether a size is not fixed."""
    return not isinstance(size, int)


def numpy_type(dtype: torch.dtype) -> Kind:
    """NumPy's type for one of PyTorch; float32 for floats that NumPy does not have."""
    if dtype.is_floating_point and dtype not in (torch.float16, torch.float32, torch.float64):
        return np.dtype(np.float32)
    return torch.empty(0, dtype=dtype).numpy().dtype


def array_of(value: Any) -> Any:
    """A tensor as an array of the same memory, if that is the CPU's; everything else as it is. Unsupported for one that
    is sparse or quantised."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout is not torch.strided or value.is_quantized:
        raise Unsupported("a tensor that is sparse or quantised")
    plain = value.detach().cpu()
    return plain.numpy() if plain.dtype.is_complex else plain.to(of_numpy(numpy_type(plain.dtype))).numpy()


def tensor_of(value: Any) -> Any:
    """What a rule gives, an array as a known tensor."""
    return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value


def of_numpy(kind: Kind) -> torch.dtype:
    """PyTorch's type for one of NumPy."""
    return torch.from_numpy(np.empty(0, kind)).dtype


def op_name(node: Node) -> str:
    """Namespace and name of the op of a node, `aten.conv2d`; of a function of Python its own."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.replace("::", ".") if schema else f"python.{getattr(node.target, '__name__', node.target)}"


def is_several(node: Node) -> bool:
    """Whether an op gives a list or tuple."""
    returns = node.target._schema.returns
    return len(returns) > 1 or str(returns[0].type) == "List[Tensor]"


def mapped(change: Callable[[Node], Any], value: Any) -> Any:
    """An argument with something in place of each node in it."""
    return map_arg(value, change)
