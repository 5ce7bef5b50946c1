"""ONNX model in, network out: its text, and the graph under the names of the text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from cnncc.base.errors import CnnccError
from cnncc.base.input_shapes import FixedShapes, InputShapes, has_ranges
from cnncc.base.size_ranges import usual
from cnncc.frontends.network import Network
from cnncc.frontends.network_name import network_name
from cnncc.frontends.onnx.faults import Faults
from cnncc.frontends.onnx.file import read_model
from cnncc.frontends.onnx.origin import original
from cnncc.frontends.onnx.ports import Imported, asked_shapes
from cnncc.frontends.onnx.ranged import ModelAtSizes, check_alike, notes_of_outputs, with_ranges
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.kept_text import kept_text
from cnncc.frontends.text.write import Written
from cnncc.ir import Graph
from cnncc.ir.ranged import Ranged


def import_onnx(
    path: str | os.PathLike[str], shapes: InputShapes | None = None, name: str | None = None, strict: bool = False
) -> Network:
    """The network of an ONNX file. `shapes` gives inputs other shapes than the model does, by name, with the batch or
    without; the name "" is the only input. With ranges among them, the text has these.

    It is called `name`, else what the model calls its graph, or, where exporters call any graph that, as the file.
    A model that `cnncc export` wrote is the network it was written of. With `strict` an exception that is a mistake of
    ours passes. Raises CnnccError with all nodes that cannot be converted, and for files that are no models.
    """
    model = read_model(path)
    asked = asked_shapes(model.graph, shapes or {})
    if has_ranges(asked):
        read = partial(from_onnx, model, strict=strict)
        return ranged_network(read, asked, name or network_name(model.graph.name, path), strict)
    if not asked and (known := original(model)) is not None:
        text, graph = known
        return Network(text, graph, (), (), ()) if name is None else Network(*renamed(text, graph, name), (), (), ())
    imported = from_onnx(model, {of: usual(sizes) for of, sizes in asked.items()}, strict=strict)
    return with_text(imported, name or network_name(model.graph.name, path), strict)


def ranged_network(
    read: Callable[[FixedShapes], Imported], shapes: InputShapes, name: str, strict: bool = False
) -> Network:
    """The network of a model for ranges of sizes, called `name`, whose text says them. `read` gives its graph for one
    size. The graph is that of the size in the middle. Where the text is another network than the model at the largest
    size, or at one of the smallest, the network says why, and `at` reads the model for each size. CnnccError for ranges
    of what is no height or width."""
    imported = read({of: usual(sizes) for of, sizes in shapes.items()})
    imported = replace(imported, graph=with_ranges(imported, shapes))
    written = text_of(replace(imported.graph, name=name), imported.sources, strict)
    network = network_of(imported, written)
    network = replace(network, notes=(*network.notes, *notes_of_outputs(network)))
    try:
        model = Ranged(shapes, lambda sizes: read(sizes).graph)
        for steps in model.compared:
            check_alike(network, model, steps)
    except CnnccError as error:
        return replace(network, at=ModelAtSizes(read, shapes, network.graph, written.renamed), refused=error)
    return network


def with_text(imported: Imported, name: str, strict: bool = False) -> Network:
    """The network of a graph, called `name`: its text, and the graph and the ports under the names of the text."""
    return network_of(imported, text_of(replace(imported.graph, name=name), imported.sources, strict))


def text_of(graph: Graph, sources: Mapping[str, str], strict: bool) -> Written:
    """The text of a graph. CnnccError if there is none, which is a mistake of ours."""
    faults = Faults(strict)
    with faults.at("the text of the network"):
        written = kept_text(graph, sources)
    faults.refuse()
    return written


def network_of(imported: Imported, written: Written) -> Network:
    """The network of a graph and its text."""
    inputs, outputs = (
        [replace(port, node=written.renamed.get(port.node, "")) for port in ports]
        for ports in (imported.inputs, imported.outputs)
    )
    batch = max((node.type.shape[0] for node in imported.graph.inputs), default=1)
    return Network(written.text, written.graph, inputs, outputs, imported.notes, batch)


def renamed(text: str, graph: Graph, name: str) -> tuple[str, Graph]:
    """A network text and its graph, called `name`, a word of the language."""
    return re.sub(r"(?m)^net +\S+", lambda _: f"net {name}", text, count=1), replace(graph, name=name)
