"""ONNX model in, network out: its text, and the graph under the names of the text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cnncc.base.input_shapes import FixedShapes, InputShapes, has_ranges
from cnncc.base.size_ranges import usual
from cnncc.frontends.network import Network
from cnncc.frontends.network_name import network_name
from cnncc.frontends.onnx.faults import Faults
from cnncc.frontends.onnx.file import read_model
from cnncc.frontends.onnx.origin import original
from cnncc.frontends.onnx.ports import Imported, asked_shapes
from cnncc.frontends.onnx.ranged import check_alike, ends, notes_of_outputs, with_ranges
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.kept_text import kept_text
from cnncc.ir import Graph


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
    size. The graph is that of the size in the middle. CnnccError for a model that is another network at the smallest or
    the largest size, or has other constants."""
    imported = read({of: usual(sizes) for of, sizes in shapes.items()})
    marked = with_ranges(imported, shapes)
    network = with_text(replace(imported, graph=marked), name, strict)
    for size in ends(shapes):
        check_alike(network, read(size), shapes, size)
    return replace(network, notes=(*network.notes, *notes_of_outputs(network)))


def with_text(imported: Imported, name: str, strict: bool = False) -> Network:
    """The network of a graph, called `name`: its text, and the graph and the ports under the names of the text."""
    graph = replace(imported.graph, name=name)
    faults = Faults(strict)
    with faults.at("the text of the network"):
        written = kept_text(graph, imported.sources)
    faults.refuse()
    inputs, outputs = (
        [replace(port, node=written.renamed.get(port.node, "")) for port in ports]
        for ports in (imported.inputs, imported.outputs)
    )
    batch = max((node.type.shape[0] for node in imported.graph.inputs), default=1)
    return Network(written.text, written.graph, inputs, outputs, imported.notes, batch)


def renamed(text: str, graph: Graph, name: str) -> tuple[str, Graph]:
    """A network text and its graph, called `name`, a word of the language."""
    return re.sub(r"(?m)^net +\S+", lambda _: f"net {name}", text, count=1), replace(graph, name=name)
