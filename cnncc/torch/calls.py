"""Tensors of PyTorch into a compiled network, and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument

from cnncc.base.errors import CnnccError
from cnncc.frontends.network import ModelPort, Network
from cnncc.frontends.onnx.values import Unsupported
from cnncc.frontends.torch import trees
from cnncc.frontends.torch.program import array_of as plain_array
from cnncc.runtime.arrays import InputError
from cnncc.runtime.model import Model

GRADIENTS = "cnncc computes no gradients"
INFER = "call it inside torch.inference_mode() or torch.no_grad()"


@dataclass(frozen=True)
class Calls:
    """How a program is called: the structure of its arguments and of what it returns."""

    in_spec: Any
    inputs: Sequence[Any]
    """For each leaf of the arguments the name of a tensor, or what it has to be."""
    out_spec: Any
    outputs: Sequence[Any]
    """For each leaf of the result the type of a tensor that is computed, or the value."""
    any_batch: bool = False
    """Whether a call may pass any number of images."""

    @classmethod
    def of(cls, exported: ExportedProgram, network: Network) -> Calls:
        """How an exported program is called."""
        signature, spec = exported.graph_signature, exported.call_spec
        given = [s.arg for s in signature.input_specs if s.kind is InputKind.USER_INPUT]
        inputs = [Named(a.name) if isinstance(a, TensorArgument) else a.value for a in given]
        ports = iter(network.outputs)
        meta = {node.name: node.meta.get("val") for node in exported.graph.nodes}
        outputs = [
            result_of(next(ports), meta[s.arg.name].dtype) if isinstance(s.arg, TensorArgument) else s.arg.value
            for s in signature.output_specs
        ]
        return cls(spec.in_spec, inputs, spec.out_spec, outputs, network.batch_is_free)

    def run(self, model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Calls a model as the program is called."""
        arrays = [array_of(f"input {i.name!r}", leaf) for i, leaf in self.pairs(args, kwargs) if isinstance(i, Named)]
        found = self.results(model, arrays)
        computed = iter(found if isinstance(found, tuple) else (found,))
        results = [tensor_of(next(computed), o) if isinstance(o, torch.dtype) else copied(o) for o in self.outputs]
        return trees.unflatten(results, self.out_spec)

    def results(self, model: Model, arrays: Sequence[Any]) -> Any:
        """What the model gives of these arrays. InputError for others than those of the example."""
        try:
            return (model.run_many if self.any_batch else model)(*arrays)
        except InputError as error:
            hint = "it was compiled for tensors as the example has them; with `batch=8` for up to 8 images"
            raise InputError(error.message, hint=error.hint if model.ranges else hint) from error

    def pairs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """What is wanted and what is given. InputError for arguments that are built otherwise."""
        _, named = trees.unflatten(range(len(self.inputs)), self.in_spec)
        given = {name: kwargs[name] for name in named if name in kwargs} | dict(kwargs)
        leaves, spec = trees.flatten((args, given))
        if spec != self.in_spec:
            what = (
                f"the arguments are not built as those of the example: {shape_of(spec)}, not {shape_of(self.in_spec)}"
            )
            raise InputError(what)
        pairs = list(zip(self.inputs, leaves, strict=True))
        for wanted, leaf in pairs:
            if not isinstance(wanted, Named) and wanted != leaf:
                raise InputError(f"an argument is {leaf!r}; the module was compiled for {wanted!r}")
        return pairs


def shape_of(spec: Any) -> str:
    """How the arguments of a call are built, for people: a * for each leaf."""
    args, named = trees.unflatten(["*"] * spec.num_leaves, spec)
    return f"({', '.join([*map(_plain, args), *(f'{name}={_plain(value)}' for name, value in named.items())])})"


def _plain(value: Any) -> str:
    return str(value).replace("'*'", "*")


@dataclass(frozen=True)
class Named:
    """A tensor that a caller passes."""

    name: str


def result_of(port: ModelPort, dtype: torch.dtype) -> Any:
    """The type of a result, or a known one."""
    return dtype if port.node else torch.from_numpy(np.array(port.known)).to(dtype)


def copied(value: Any) -> Any:
    """A known result: the caller may change it."""
    return value.clone() if isinstance(value, torch.Tensor) else value


def array_of(what: str, value: Any) -> Any:
    """A tensor as an array of the same memory; one of a type that NumPy does not have is copied as float32."""
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{what} must be a tensor, got {type(value).__name__}")
    if value.device.type != "cpu":
        raise InputError(f"{what} is on {value.device}; a network on the processor takes tensors in its memory")
    if value.requires_grad and torch.is_grad_enabled():
        raise CnnccError(f"{what} wants gradients, and {GRADIENTS}", hint=INFER)
    try:
        return plain_array(value)
    except Unsupported as error:
        raise InputError(f"{what}: {error.message}") from error


def tensor_of(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """A result as a tensor of the same memory, if it has the type."""
    return torch.from_numpy(array).to(dtype)
