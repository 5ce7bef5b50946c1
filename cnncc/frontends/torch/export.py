"""A module as a program of `torch.export`: for inference, and with ops whole where there is a rule for them."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Node

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.tensors import one_line
from cnncc.frontends.torch import trees
from cnncc.frontends.torch.aten import RULES
from cnncc.frontends.torch.program import TorchPort, TorchProgram, arguments_of, op_name

KNOWN = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
EVAL = "call module.eval() first"
PARTS = "torch.compile(module, backend='cnncc') leaves to PyTorch what cannot be compiled"


class NotExported(CnnccError):
    """A module that is no program of tensors in, tensors out."""


def exported(
    module: torch.nn.Module | ExportedProgram, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any = None
) -> ExportedProgram:
    """The program of a module on such inputs. CnnccError for a module in training mode, and for one that PyTorch cannot
    export."""
    if isinstance(module, ExportedProgram):
        return whole(module)
    if not isinstance(module, torch.nn.Module):
        raise CnnccError(f"a module of PyTorch or an ExportedProgram is needed, got {type(module).__name__}")
    refuse_training(module)
    return whole(traced(module, args, kwargs, dynamic))


def refuse_training(module: torch.nn.Module) -> None:
    """CnnccError unless a module and all in it are in eval mode."""
    for name, part in module.named_modules():
        if part.training:
            what = f"{name} ({type(part).__name__})" if name else type(part).__name__
            raise CnnccError(f"{what} is in training mode: a compiled network only infers", hint=EVAL)


def refuse_training_ops(program: ExportedProgram) -> None:
    """CnnccError for ops that do something else in training, and do it."""
    for node in program.graph.nodes:
        given = arguments_of(node)
        trains = given.get("training") and given.get("running_mean") is not None
        drops = (given.get("train") or given.get("training")) and given.get("p")
        if trains or drops:
            raise CnnccError(
                f"{node.name} ({node.target}) is in training mode: a compiled network only infers", hint=EVAL
            )


def traced(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any = None
) -> ExportedProgram:
    """What PyTorch exports; CnnccError if that fails."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, args, dict(kwargs), dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # its errors have no common base
        what = f"{type(error).__name__}: {one_line(error)}"
        raise NotExported(f"PyTorch cannot export the module: {what}", hint=PARTS) from error


def whole(program: ExportedProgram) -> ExportedProgram:
    """The program without changes in place; what has no rule is taken apart into PyTorch's core ops."""
    from torch.export import default_decompositions

    if all(map(is_ready, program.graph.nodes)):
        return program
    table = default_decompositions()
    for op in list(table):
        if op._schema.name.replace("::", ".") in RULES:
            table.pop(op)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions(table)


def is_ready(node: Node) -> bool:
    """Whether a node has a rule and changes nothing in place."""
    if isinstance(node.target, str) or node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.is_mutable and op_name(node) in RULES


# The program


def program_of(exported: ExportedProgram, strictly: bool = False) -> TorchProgram:
    """What the reader sees of an exported program. CnnccError for one that changes what it is given, or a buffer."""
    nodes = {node.name: node for node in exported.graph.nodes}
    inputs = [
        TorchPort.of(spec.arg.name, nodes[spec.arg.name])
        for spec in exported.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]
    names = {nodes[spec.arg.name]: spec.target for spec in exported.graph_signature.input_specs if spec.kind in KNOWN}
    held = {**exported.constants, **exported.state_dict}
    known = {node: held[name] for node, name in names.items()} | constants(exported, nodes)
    return TorchProgram(exported.graph_module, tuple(inputs), outputs(exported, nodes), known, names, strictly)


def constants(exported: ExportedProgram, nodes: Mapping[str, Node]) -> dict[Node, Any]:
    """Inputs that are no tensors: they are what they were in the example."""
    specs = [s for s in exported.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    return {nodes[s.arg.name]: s.arg.value for s in specs if hasattr(s.arg, "value") and s.arg.name in nodes}


def outputs(exported: ExportedProgram, nodes: Mapping[str, Node]) -> tuple[TorchPort, ...]:
    """The tensors that a program gives."""
    found = []
    for name, spec in zip(output_names(exported), exported.graph_signature.output_specs, strict=True):
        if spec.kind is not OutputKind.USER_OUTPUT:
            changed = spec.target or "an input"
            raise NotExported(f"the module changes {changed} when it is called: only what it returns is computed")
        if isinstance(spec.arg, TensorArgument):
            found.append(TorchPort.of(name, nodes[spec.arg.name]))
        elif not hasattr(spec.arg, "value"):
            raise CnnccError(f"output {name} is a size that is not fixed")
    return tuple(found)


def output_names(exported: ExportedProgram) -> list[str]:
    """By their places in what the module returns: `output`, `output_1`, or the keys of a dictionary."""
    spec, count = exported.call_spec.out_spec, len(exported.graph_signature.output_specs)
    if spec is None or spec.num_leaves != count:
        return [f"output_{i}" for i in range(count)]
    places, _ = trees.with_places(trees.unflatten(range(count), spec))
    return ["_".join(map(word, path)) or "output" for path, _ in places]


def word(key: Any) -> str:
    """A step of a path into what a module returns."""
    found = getattr(key, "key", getattr(key, "name", None))
    return f"output_{key.idx}" if found is None else str(found)
