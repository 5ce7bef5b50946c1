"""A network for images of another size than its text says."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError, nearest
from cnncc.base.input_shapes import InputShapes, by_name, numbered
from cnncc.base.size_ranges import Sizes
from cnncc.ir import Graph, Node
from cnncc.ops.shapes import dims


def reshaped(graph: Graph, again: Callable[[InputShapes], Graph], shapes: InputShapes) -> Graph:
    """What `again` makes of a network with these shapes by name. `graph` is the network as its text says. CnnccError
    for names of no input, for sizes below 1, and if the shape of a weight would change."""
    made = again(_of_one_image(graph, shapes))
    for node in made.nodes:
        for slot, name in node.weights.items():
            if name in graph.constants and made.constants[name].shape != graph.constants[name].shape:
                raise _of_one_size(node, slot, graph, made)
    return made


def _of_one_image(graph: Graph, shapes: InputShapes) -> InputShapes:
    """The shapes of one image by the names of inputs. CnnccError for what is none, and for sizes that the text does not
    have among its own."""
    names = [node.name for node in graph.inputs]
    named = by_name(shapes, names, graph.name)
    for name, given in named.items():
        if name not in names:
            raise CnnccError(f"{graph.name} has no input {name!r}", hint=nearest(name, names, "its inputs"))
        if not given or min(size_ranges.usual(given)) < 1:
            raise CnnccError(f"input {name!r}: sizes must be at least 1, got {size_ranges.written(given)}")
    whole: dict[str, Sizes] = {name: _one_image(graph[name], given) for name, given in named.items()}
    for name, sizes in whole.items():
        _refuse_outside(graph[name], sizes)
    return numbered({**_others(graph, whole), **whole}, names)


def _one_image(node: Node, given: Sizes) -> Sizes:
    """The shape of one image; a batch of 1 may stand before it. CnnccError for another batch."""
    if len(given) != len(node.attrs["dims"]) + 1:
        return given
    if given[0] != 1:
        raise CnnccError(
            f"input {node.name!r}: {size_ranges.written(given)} is the shape of {given[0]} images",
            hint=f"give that of one image, {size_ranges.written(given[1:])}; --batch says how many",
        )
    return given[1:]


def _refuse_outside(node: Node, given: Sizes) -> None:
    """CnnccError for a size, or one of a range, that is none of those in the text."""
    own = node.attrs["range"]
    if own and not size_ranges.within(given, own):
        hint = "the text says which sizes it takes"
        what = f"input {node.name!r}: {size_ranges.told(given)} is not within {size_ranges.told(own)}"
        raise CnnccError(what, node.span, hint=hint)


def _others(graph: Graph, given: InputShapes) -> InputShapes:
    """What inputs of which nothing is said have to be: a size with the name of one that is given is that. CnnccError
    for one that is given two values."""
    values: dict[Symbol, int | Symbol] = {}
    for name, sizes in given.items():
        for own, size in zip(graph[name].attrs["range"], sizes, strict=False):
            if isinstance(own, Symbol) and values.setdefault(own, size) != size:
                hint = "inputs that share the name of a size have the same"
                raise CnnccError(f"input {name!r}: {own.name} is {size} here and {values[own]} elsewhere", hint=hint)
    rest = {n.name: n.attrs["range"] for n in graph.inputs if n.name not in given and n.attrs["range"]}
    return {name: tuple(values.get(s, s) if isinstance(s, Symbol) else s for s in own) for name, own in rest.items()}


def _of_one_size(node: Node, slot: str, graph: Graph, made: Graph) -> CnnccError:
    """A weight would have another shape."""
    name = node.weights[slot]
    inputs = " and ".join(dims(n.type.shape) for n in made.inputs)
    new, old = ("x".join(map(str, g.constants[name].shape)) for g in (made, graph))
    message = f"{node.op}: with input {inputs} its {slot} would be {new}, and it is {old}"
    hint = "weights have one size; a network takes images of several if a pool over all of them (`gap`) comes before fc"
    return CnnccError(message, node.span, node.stack, hint)
