"""A program of `torch.export` as the reader sees it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Node
from torch.fx.node import map_arg

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.types import Kind
from cnncc.frontends.onnx.values import Unsupported

FREE = 2
"""Images that a program of any number of images is read for: what mixes them is refused."""


@dataclass(frozen=True)
class Given:
    """An input or output of a program: its name, its node, and its type in NumPy."""

    name: str
    node: Node
    kind: Kind


@dataclass(frozen=True)
class Program:
    """A program without changes in place, whose ops have a rule each if that can be."""

    exported: ExportedProgram
    strictly: bool = False
    """Whether its images must not be mixed, though their number is fixed."""

    # Inputs and outputs

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.exported.graph.nodes}

    @cached_property
    def inputs(self) -> tuple[Given, ...]:
        """The tensors that a caller passes, in order. CnnccError for something else that is no constant."""
        specs = [spec for spec in self.exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
        return tuple(self.named(s.arg.name, s.arg.name) for s in specs if isinstance(s.arg, TensorArgument))

    @cached_property
    def outputs(self) -> tuple[Given, ...]:
        """The tensors that it gives, in order. CnnccError for a program that changes what it is given, or a buffer."""
        found = []
        for name, spec in zip(self.output_names, self.exported.graph_signature.output_specs, strict=True):
            if spec.kind is not OutputKind.USER_OUTPUT:
                raise CnnccError(f"the module changes {spec.target} when it is called: only what is returned is computed")
            if isinstance(spec.arg, TensorArgument):
                found.append(self.named(name, spec.arg.name))
            elif not hasattr(spec.arg, "value"):
                raise CnnccError(f"output {name} is a size that is not fixed")
        return tuple(found)

    def named(self, name: str, node: str) -> Given:
        return Given(name, self.nodes[node], self.kind(self.nodes[node]) or np.dtype(np.float32))

    @cached_property
    def output_names(self) -> list[str]:
        """Their places in what the module returns: `output`, `output_1`, or the keys of a dictionary."""
        from torch.utils import _pytree as pytree

        spec = self.exported.call_spec.out_spec
        specs = self.exported.graph_signature.output_specs
        if spec is None or spec.num_leaves != len(specs):
            return [f"output_{i}" for i in range(len(specs))]
        places, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(spec.num_leaves)), spec))
        return ["_".join(map(word, path)) or "output" for path, _ in places]

    @cached_property
    def known(self) -> Mapping[Node, Any]:
        """Parameters, buffers, tensors that the code of the module has, and inputs that are no tensors."""
        found: dict[Node, Any] = {}
        for spec in self.exported.graph_signature.input_specs:
            node = self.nodes.get(spec.arg.name)
            if spec.target is not None and node is not None:
                held = self.exported.state_dict if spec.target in self.exported.state_dict else self.exported.constants
                found[node] = held[spec.target]
            elif node is not None and not isinstance(spec.arg, TensorArgument):
                found[node] = getattr(spec.arg, "value", None)
        return found

    @cached_property
    def names(self) -> Mapping[Node, str]:
        """Of parameters and buffers, as in the state dict."""
        specs = self.exported.graph_signature.input_specs
        return {self.nodes[spec.arg.name]: spec.target for spec in specs if spec.target and spec.arg.name in self.nodes}

    @cached_property
    def elements(self) -> int:
        """Of all known tensors."""
        return sum(tensor.numel() for tensor in self.known.values() if isinstance(tensor, torch.Tensor))

    # Sizes

    @cached_property
    def free(self) -> bool:
        """Whether its inputs are batches of any size. CnnccError for any other size that is not fixed."""
        sizes = [given.node.meta["val"].shape for given in self.inputs]
        open_ones = [(g.name, i) for g, s in zip(self.inputs, sizes, strict=True) for i, n in enumerate(s) if is_open(n)]
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
        for node in reversed(self.exported.graph.nodes):
            if node in wanted:
                wanted.update(node.all_input_nodes)
        return [node for node in self.exported.graph.nodes if node in wanted and node.op != "placeholder"]

    def arguments(self, node: Node) -> dict[str, Any]:
        """All arguments of an op, by the names of its schema."""
        formal = node.target._schema.arguments  # type: ignore[union-attr]
        given = {a.name: a.default_value if a.has_default_value() else None for a in formal}
        given.update(zip(given, node.args, strict=False))
        return {**given, **node.kwargs}

    def evaluated(self, node: Node, values: Mapping[Node, Any]) -> Any:
        """What a node of known tensors gives. Unsupported for one that gives something else each time."""
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.exported.graph_module)
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise Unsupported("random")
        args, kwargs = map_arg((node.args, dict(node.kwargs)), lambda n: values[n])
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        with torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]

    def kind(self, node: Node) -> Kind | None:
        """NumPy's type of the first tensor that a node gives; None if it gives none."""
        value = node.meta.get("val")
        first = next(iter(value), None) if isinstance(value, list | tuple) else value
        return numpy_type(first.dtype) if isinstance(first, torch.Tensor) else None

    def label(self, node: Node) -> str:
        """What a node is called in messages: its place in the module, its name and its op."""
        place = self.place(node)
        return f"{place + ': ' if place else ''}{node.name} ({node.target})"

    def hint(self, node: Node) -> str:
        """The name for what a node computes, below that of its module."""
        return "/".join([*self.place(node).split("."), node.name]).lstrip("/")

    def place(self, node: Node) -> str:
        """The module that a node is of, by its path."""
        *_, (path, _) = (node.meta.get("nn_module_stack") or {"": ("", "")}).values()
        return str(path)


def is_open(size: Any) -> bool:
    """Whether a size is not fixed."""
    return not isinstance(size, int)


def word(key: Any) -> str:
    """A step of a path into what a module returns."""
    found = getattr(key, "key", getattr(key, "name", None))
    return f"output_{key.idx}" if found is None else str(found)


def numpy_type(dtype: torch.dtype) -> Kind:
    """NumPy's type for one of PyTorch; float32 for floats that NumPy does not have."""
    if dtype.is_floating_point and dtype not in (torch.float16, torch.float32, torch.float64):
        return np.dtype(np.float32)
    return torch.empty(0, dtype=dtype).numpy().dtype


def array_of(value: Any) -> Any:
    """A known tensor as an array; everything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    plain = value.detach().cpu()
    return plain.numpy() if plain.dtype.is_complex else plain.to(of_numpy(numpy_type(plain.dtype))).numpy()


def of_numpy(kind: Kind) -> torch.dtype:
    """PyTorch's type for one of NumPy."""
    return torch.from_numpy(np.empty(0, kind)).dtype


def op_name(node: Node) -> str:
    """Namespace and name of the op of a node, `aten.conv2d`; of a function of Python its own."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.replace("::", ".") if schema else f"python.{getattr(node.target, '__name__', node.target)}"


def is_several(node: Node) -> bool:
    """Whether an op gives a list or tuple."""
    returns = node.target._schema.returns  # type: ignore[union-attr]
    return len(returns) > 1 or str(returns[0].type) == "List[Tensor]"


def mapped(change: Callable[[Node], Any], value: Any) -> Any:
    """An argument with something in place of each node in it."""
    return map_arg(value, change)
