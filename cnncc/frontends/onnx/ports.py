"""What goes into an ONNX model and comes out of it: names, types, shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes, InputShapes, by_name, numbered
from cnncc.base.size_ranges import NAME, NO_NAMES, Sizes
from cnncc.frontends.network import ModelPort
from cnncc.frontends.onnx.tensors import shown
from cnncc.ir import Graph
from cnncc.ir.rules import Shape

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto

USUAL = 224
"""Height and width in examples."""


@dataclass(frozen=True)
class Imported:
    """A graph with bound weights, its ports in the model's order, and what a person should know."""

    graph: Graph
    inputs: tuple[ModelPort, ...]
    outputs: tuple[ModelPort, ...]
    notes: tuple[str, ...]
    sources: Mapping[str, str]
    """What the model calls the tensors that constants were made of."""


def computed_inputs(graph: GraphProto, known: Iterable[str] = ()) -> list[ValueInfoProto]:
    """The inputs that have no value in the model."""
    given = {t.name for t in graph.initializer} | set(known)
    return [port for port in graph.input if port.name not in given]


def input_shapes(graph: GraphProto, shapes: FixedShapes, known: Mapping[str, np.ndarray]) -> dict[str, Shape]:
    """The shape of every input. CnnccError for unknown names, sizes below 1, and axes without a size."""
    inputs = {port.name: port for port in computed_inputs(graph, known)}
    for name, port in inputs.items():
        if not port.type.HasField("tensor_type"):
            raise CnnccError(f"input {shown(name)} is no tensor")
    for name, given in shapes.items():
        if name not in inputs:
            raise CnnccError(f"the model has no input {name!r}", hint=f"its inputs: {', '.join(inputs)}")
        if any(s < 1 for s in given):
            raise CnnccError(f"input {name}: sizes must be at least 1, got {','.join(map(str, given))}")
    found = {name: tuple(shapes[name]) if name in shapes else declared(port) for name, port in inputs.items()}
    if open_ones := {name: inputs[name] for name, shape in found.items() if 0 in shape}:
        raise OpenShapes(open_ones)
    return found


def asked_shapes(graph: GraphProto, shapes: InputShapes) -> dict[str, Sizes]:
    """Shapes that a caller asks for, as the model has them. The name "" is the only input. A shape of one axis less
    than the model declares is that of one image, channels first. What the model declares itself is left out. CnnccError
    for "" where there are several inputs."""
    inputs = {port.name: port for port in computed_inputs(graph)}
    named = by_name(shapes, list(inputs))
    whole = {name: of_one(inputs[name], given) if name in inputs else given for name, given in named.items()}
    asked = {name: given for name, given in whole.items() if name not in inputs or given != declared(inputs[name])}
    return {**asked, **numbered(asked, list(inputs))}


def of_one(port: ValueInfoProto, given: Sizes) -> Sizes:
    """The shape of an input from that of one image of it, channels first."""
    known = declared(port)
    if len(given) + 1 != len(known):
        return given
    last = len(known) == 4 and known[3] == given[0] != known[1]
    return (known[0], *given[1:], given[0]) if last else (known[0], *given)


class OpenShapes(CnnccError):
    """Inputs have axes without a size."""

    def __init__(self, ports: Mapping[str, ValueInfoProto]) -> None:
        told = [f"{shown(name)} has no fixed shape: {shape_text(port)}" for name, port in ports.items()]
        sizes = {name: [s or USUAL for s in declared(port)] for name, port in ports.items()}
        options = " ".join(f"--shape {shown(name)}={','.join(map(str, given))}" for name, given in sizes.items())
        ranges = " ".join(f"--shape '{ranged_option(name, port)}'" for name, port in ports.items())
        hint = (
            f"say the size you want by `{options}`, in Python by shape={sizes}; or keep them open, between sizes that "
            f"you give, by `{ranges}`"
        )
        super().__init__(f"input {'; input '.join(told)}", hint=hint)


def ranged_option(name: str, port: ValueInfoProto) -> str:
    """`x=1,3,h,w where h in 32..1024 step 32, w in 32..1024 step 32`, with the names of the model if it has any."""
    sizes = declared(port)
    dims = port.type.tensor_type.shape.dim
    own = [dims[axis].dim_param if axis < len(dims) else "" for axis in range(len(sizes))]
    usable = [name if NAME.fullmatch(name) and name not in NO_NAMES else "" for name in own]
    named = [str(s) if s else usable[i] or OPEN_AXES[min(len(sizes) - i, 4) - 1] for i, s in enumerate(sizes)]
    ranges = ", ".join(dict.fromkeys(f"{n} in 32..1024 step 32" for n in named if not n.isdigit()))
    return f"{shown(name)}={','.join(named)} where {ranges}"


OPEN_AXES = ("w", "h", "c", "n")
"""What axes without a size are called, from the last one on."""


def declared(port: ValueInfoProto) -> Shape:
    """The shape a model declares for an input, its batch 1 if that is open; 0 where another axis is."""
    kind = port.type.tensor_type
    if not kind.HasField("shape"):
        return (1, 3, 0, 0)
    sizes = [max(0, d.dim_value) for d in kind.shape.dim]
    return (sizes[0] or 1, *sizes[1:]) if sizes else ()


def shape_text(port: ValueInfoProto) -> str:
    """The declared shape in the model's own words."""
    kind = port.type.tensor_type
    return ",".join(str(d.dim_value or shown(d.dim_param) or "?") for d in kind.shape.dim) or "of any number of axes"
