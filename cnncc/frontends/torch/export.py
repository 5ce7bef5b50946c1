"""A module as a program of `torch.export`: for inference, and with ops whole where there is a rule for them."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.tensors import one_line
from cnncc.frontends.torch.aten import RULES
from cnncc.frontends.torch.program import op_name

PARTS = "torch.compile(module, backend='cnncc') leaves to PyTorch what cannot be compiled"


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
            raise CnnccError(f"{what} is in training mode: a compiled network only infers", hint="call module.eval() first")


def traced(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], dynamic: Any = None
) -> ExportedProgram:
    """What PyTorch exports; CnnccError if that fails."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, args, dict(kwargs), dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # its errors have no common base
        raise CnnccError(f"PyTorch cannot export the module: {type(error).__name__}: {one_line(error)}", hint=PARTS) from error


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
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.is_mutable and op_name(node) in RULES
