"""Module of PyTorch in, network out: its text, and the graph under the names of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import CnnccError
from cnncc.frontends.network import Network
from cnncc.frontends.network_name import is_generic
from cnncc.frontends.torch import require_torch

if TYPE_CHECKING:
    import torch

    from cnncc.base.input_shapes import FixedShapes
    from cnncc.base.size_ranges import Sizes
    from cnncc.frontends.torch.program import TorchProgram

UNNAMED = "network"
"""What a network is called whose class says nothing of it."""


def export(
    module: torch.nn.Module | torch.export.ExportedProgram,
    example: Any,
    kwargs: Mapping[str, Any] | None = None,
    batch: int | None = None,
    dynamic_shapes: Any = None,
) -> torch.export.ExportedProgram:
    """The program of a module for `batch` images, if that is given. `example` are the arguments of a call, or the only
    one."""
    require_torch()
    from cnncc.frontends.torch.batches import apart, of_batch
    from cnncc.frontends.torch.export import exported

    args = example if isinstance(example, tuple) else (example,)
    named = dict(kwargs or {})
    if batch is not None and not hasattr(module, "graph_signature") and dynamic_shapes is None:
        args, named = of_batch((args, named), batch)
    args, named = apart((args, named))
    return exported(module, args, named, dynamic_shapes)


def network_of(
    exported: torch.export.ExportedProgram, name: str | None = None, batch: int | None = None, strict: bool = False
) -> Network:
    """The network of an exported program. CnnccError if its batch is fixed, and not the one that is given."""
    from cnncc.frontends.torch.export import program_of
    from cnncc.frontends.torch.ranges import ranges_of

    if shapes := ranges_of(exported):
        return _ranged(exported, shapes, name, batch, strict)
    program = program_of(exported, strictly=batch is not None)
    if batch is not None and not program.free and program.batch != batch:
        raise _fixed_batch(program.batch, batch)
    return read(program, name, strict)


def _ranged(
    exported: torch.export.ExportedProgram,
    shapes: Mapping[str, Sizes],
    name: str | None,
    batch: int | None,
    strict: bool,
) -> Network:
    """The network of a program with open heights and widths, which the text has as ranges."""
    from cnncc.frontends.onnx.network import ranged_network
    from cnncc.frontends.onnx.ports import Imported
    from cnncc.frontends.torch.export import program_of
    from cnncc.frontends.torch.ranges import has_free_batch, program_at
    from cnncc.frontends.torch.reader import from_program

    free = has_free_batch(exported)

    def at(sizes: FixedShapes) -> Imported:
        return from_program(program_at(exported, sizes, strictly=free or batch is not None), strict)

    network = ranged_network(at, shapes, name or called(program_of(exported)), strict)
    if batch is not None and not free and network.batch != batch:
        raise _fixed_batch(network.batch, batch)
    return replace(network, batch_is_free=free)


def _fixed_batch(own: int, batch: int) -> CnnccError:
    hint = "export it with a dynamic first axis, or compile the module itself"
    return CnnccError(f"the program is for a batch of {own}, not {batch}", hint=hint)


def read(program: TorchProgram, name: str | None = None, strict: bool = False) -> Network:
    """The network of a program."""
    from cnncc.frontends.onnx.network import with_text
    from cnncc.frontends.torch.reader import from_program

    imported = from_program(program, strict)
    network = with_text(imported, name or called(program), strict)
    return replace(network, batch_is_free=program.free)


def called(program: TorchProgram) -> str:
    """What the module's class is called."""
    stacks = (node.meta.get("nn_module_stack") for node in program.graph.nodes)
    kind = next((next(iter(stack.values()))[1] for stack in stacks if stack), "")
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    return UNNAMED if not name or is_generic(name) else name
