"""Networks by what a user calls them: a text, a file, a name of the zoo, or a model of another format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import warn
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes, has_ranges
from cnncc.base.size_ranges import usual
from cnncc.frontends.locate import find_net, find_weights
from cnncc.frontends.network_name import check_name

if TYPE_CHECKING:
    from cnncc.frontends.network import ModelPort, Network
    from cnncc.ir import Constant, Graph
    from cnncc.ir.ranged import Ranged
    from cnncc.quantization.scheme import Scheme
    from cnncc.runtime.declared import Declared
    from cnncc.runtime.model import Model


Reader = Callable[[str | os.PathLike[str], InputShapes, str | None], "Network"]
"""A network by its file, the shapes that its inputs should have, and the name that it should have."""


At = Callable[[InputShapes], "Graph"]
"""The graph of a network, with unbound weights, for images of these shapes."""


def _onnx(path: str | os.PathLike[str], shapes: InputShapes, name: str | None) -> Network:
    from cnncc.frontends.onnx.network import import_onnx

    return import_onnx(path, shapes, name)


READERS: Mapping[str, Reader] = {".onnx": _onnx}
"""What reads a file that is no text of the language, by the end of its name."""


def is_foreign(source: str | os.PathLike[str]) -> bool:
    """Whether a source is a model of another format, by the end of its name."""
    return "\n" not in os.fspath(source) and Path(source).suffix in READERS


def exists(source: str | os.PathLike[str]) -> bool:
    """Whether there is a file for what a user called a network."""
    return Path(find_net(source)).is_file()


@dataclass(frozen=True)
class NetworkSource:
    """A network with weights, the file they are from, None if they are drawn, and how the file that it is from declares
    its inputs (by name) and outputs (in order), if it has types and shapes of its own."""

    graph: Graph
    weights: str | None
    inputs: Mapping[str, Declared] = field(default_factory=dict)
    outputs: Sequence[Declared | None] = ()
    notes: Sequence[str] = ()
    """How it differs from its file."""
    unquantised: Graph | None = None
    """The graph in float32, where the weights' file says how `graph` is computed on bytes."""
    scheme: Scheme | None = None
    """What that file says."""
    ranged: Ranged | None = None
    """The network at any size of its range, with the same weights, if its inputs have a range. `graph` is then that of
    the size in the middle."""

    def declare(self, model: Model, outputs: bool = True, number: int = 0) -> Model:
        """The model of the network, which from now on also takes arrays as the file declares them, and gives results so
        unless `outputs` is false. `number` is that of the network's size, if the model has several."""
        if self.inputs or self.outputs:
            known, given = (self.inputs, self.outputs) if self.ranged is None else self._at_all_sizes(model)
            model.declare(known, given if outputs else [None] * len(model.outputs), number)
        return model

    def _at_all_sizes(self, model: Model) -> tuple[dict[str, Declared], list[Declared | None]]:
        """The declarations of a network for a range of sizes: their shapes follow those of the model. One that cannot,
        as its sizes are others than those of the value, is left out."""
        inputs = {}
        for port in model.inputs:
            if port.name in self.inputs:
                known = self.inputs[port.name]
                inputs[port.name] = followed(known, port.shape, self.graph[port.name].type.shape)
        values = zip(self.outputs, model.outputs, self.graph.outputs, strict=True)
        outputs = [known and followed(known, port.shape, self.graph[v].type.shape) for known, port, v in values]
        return {name: known for name, known in inputs.items() if known}, outputs


def read(source: str | os.PathLike[str], shapes: InputShapes = AS_WRITTEN, name: str | None = None) -> Graph:
    """The graph of a network, called `name` if that is given, with other input shapes if `shapes` says so. It has
    weights if its file has them, as an ONNX model. CnnccError for whatever is wrong with it, and a warning for what is
    most likely not meant."""
    check_name(name)
    if is_foreign(source):
        return imported(source, shapes, name).graph
    return _text(source, shapes, name)[0]


def _text(source: str | os.PathLike[str], shapes: InputShapes, name: str | None) -> tuple[Graph, At]:
    """The graph of a text, and what it is for images of other shapes."""
    from cnncc import lang

    text, file = lang.load(find_net(source))

    def at(shapes: InputShapes) -> Graph:
        graph = lang.parse(text, file, shapes)
        return replace(graph, name=name) if name else graph

    graph = at(shapes)
    lang.doubt(graph)
    return graph, at


def imported(source: str | os.PathLike[str], shapes: InputShapes = AS_WRITTEN, name: str | None = None) -> Network:
    """The network of a model of another format, with a warning for each way in which it differs from the file."""
    check_name(name)
    network = READERS[Path(source).suffix](source, shapes, name)
    for note in network.notes:
        warn(note)
    return network


def read_bound(
    source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, seed: int = 0
) -> tuple[Graph, str | None]:
    """The graph and the weights' file of `read_source`."""
    found = read_source(source, weights, seed)
    return found.graph, found.weights


def read_source(
    source: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
    shapes: InputShapes = AS_WRITTEN,
    name: str | None = None,
) -> NetworkSource:
    """A network, as `read` takes it, with weights from the file `weights`, else from the model itself or the file
    beside the network, else drawn from `seed`. CnnccError for what does not fit."""
    if is_foreign(source):
        network = imported(source, shapes, name)
        at = partial(_at, network)

        inputs = {port.node: declared(port, network.batch) for port in network.inputs if port.node}
        told = inputs, [declared(port, network.batch) for port in network.outputs if port.node], network.notes
        if weights is None and all(constant.bound for constant in network.graph.constants.values()):
            return NetworkSource(network.graph, os.fspath(source), *told, ranged=for_ranges(network.graph, at))
        return _with_weights(network.graph, at, find_weights(source, weights), seed, told)
    check_name(name)
    return _with_weights(*_text(source, shapes, name), find_weights(source, weights), seed, ({}, (), ()))


def read_sizes(
    source: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None,
    seed: int,
    sizes: Sequence[InputShapes],
    name: str | None = None,
) -> list[NetworkSource]:
    """A network as `read_source` takes it, for each of several sizes of its inputs. The weights of a text are those of
    the first size: drawn ones depend on the values in the network, and so on the size."""
    networks = [read_source(source, weights, seed, shapes, name) for shapes in sizes]
    return networks if is_foreign(source) else with_first_weights(networks)


def with_first_weights(networks: Sequence[NetworkSource]) -> list[NetworkSource]:
    """One network at several sizes, with the weights of the first. Those of other shapes stay."""
    first, *others = networks
    known = first.graph.constants
    return [first, *(replace(other, graph=_with_constants(other.graph, known)) for other in others)]


def _with_constants(graph: Graph, known: Mapping[str, Constant]) -> Graph:
    """The graph with the constants of these names that have the shapes and types of its own."""

    def taken(name: str, own: Constant) -> Constant:
        other = known.get(name, own)
        return other if (other.shape, other.element) == (own.shape, own.element) else own

    return replace(graph, constants={name: taken(name, own) for name, own in graph.constants.items()})


def _with_weights(graph: Graph, at: At, path: str | None, seed: int, told: tuple[Any, Any, Any]) -> NetworkSource:
    """A network with its weights, on bytes if their file says how."""
    bound, known = bind(graph, path, seed), scales(path)
    if known is None:
        return NetworkSource(bound, path, *told, ranged=for_ranges(bound, at))
    from cnncc.quantization.rewrite import quantized

    ranged = for_ranges(bound, at, lambda graph: quantized(graph, known, of_a_range=True))
    return NetworkSource(quantized(bound, known, ranged is not None), path, *told, bound, known, ranged)


def _at(network: Network, shapes: InputShapes) -> Graph:
    """A network of another format for images of other shapes: its text says it, or else its file."""
    from cnncc import lang

    if network.at is not None:
        return network.at({name: usual(sizes) for name, sizes in shapes.items()})
    return lang.parse(network.text, f"<text of {network.graph.name}>", shapes)


def ranged(network: Network) -> Ranged | None:
    """A network of another format for the ranges of its inputs; None without any."""
    return for_ranges(network.graph, partial(_at, network))


def for_ranges(graph: Graph, at: At, finish: Callable[[Graph], Graph] = lambda graph: graph) -> Ranged | None:
    """A network for the ranges of its inputs, None without any: what `at` reads for other shapes, with the weights that
    the graph has, and what `finish` makes of it."""
    from cnncc.ir.ranged import Ranged

    shapes = {node.name: node.attrs["range"] or node.attrs["dims"] for node in graph.inputs}
    if not has_ranges(shapes):
        return None
    return Ranged(shapes, lambda shapes: finish(_with_constants(at(shapes), graph.constants)))


def scales(path: str | None) -> Scheme | None:
    """What a file of weights says of how a network is computed on bytes."""
    from cnncc.weights import checkpoint

    if path is None or is_foreign(path) or checkpoint.is_checkpoint(path):
        return None
    from cnncc.quantization import scheme

    return scheme.load(path)


def declared(port: ModelPort, batch: int) -> Declared:
    """How a file of another format declares an input or output of a graph of so many images."""
    from cnncc.runtime.declared import Declared

    batched = bool(port.shape) and port.axes[0] == 0 and port.shape[0] == batch
    return Declared(port.dtype.name, port.shape, port.axes, batched)


def followed(known: Declared, sizes: Sequence[Any], shape: Sequence[int]) -> Declared | None:
    """A declaration for sizes of which some depend on the caller. `known` is that of the size in the middle, where the
    value has this shape; None if its sizes are not those of the value."""
    from cnncc.frontends.network import value_axes

    axes = value_axes(known.shape, known.axes, tuple(shape))
    if axes is None or any(not isinstance(sizes[axis], int) for axis in range(1, len(shape)) if axis not in axes):
        return None
    return replace(known, shape=(known.shape[0], *(1 if axis is None else sizes[axis] for axis in axes)))


def bind(graph: Graph, path: str | None, seed: int) -> Graph:
    """The graph with the weights of a file, a checkpoint's under the graph's own names, those of a model of another
    format by the structure of both, or seeded ones."""
    from cnncc import weights
    from cnncc.weights import checkpoint

    if path is not None and is_foreign(path):
        return bind_model(graph, path)
    if path is not None and checkpoint.is_checkpoint(path):
        return checkpoint.bind(graph, path)
    return weights.bind(graph, path, seed=seed)


def bind_model(graph: Graph, path: str | os.PathLike[str]) -> Graph:
    """The graph with the weights of a model of another format, of the same network. CnnccError if they differ in
    anything but values."""
    from cnncc.frontends.retrained import with_weights_of

    only = len(graph.inputs) == 1
    shapes = {"" if only else node.name: node.attrs["dims"] for node in graph.inputs}
    return with_weights_of(graph, READERS[Path(path).suffix](path, shapes, graph.name).graph, path)
