"""A network for images of another size than its text says."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.base.errors import CnnccError, nearest
from cnncc.base.input_shapes import InputShapes, by_name
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
    """The shapes of one image by the names of inputs. CnnccError for what is none."""
    names = [node.name for node in graph.inputs]
    found = by_name(shapes, names, graph.name)
    for name, given in found.items():
        if name not in names:
            raise CnnccError(f"{graph.name} has no input {name!r}", hint=nearest(name, names, "its inputs"))
        if not given or min(given) < 1:
            raise CnnccError(f"input {name!r}: sizes must be at least 1, got {'x'.join(map(str, given))}")
    return {name: _one_image(graph[name], given) for name, given in found.items()}


def _one_image(node: Node, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one image; a batch of 1 may stand before it. CnnccError for another batch."""
    if len(given) != len(node.attrs["dims"]) + 1:
        return given
    if given[0] != 1:
        raise CnnccError(
            f"input {node.name!r}: {'x'.join(map(str, given))} is the shape of {given[0]} images",
            hint=f"give that of one image, {dims(given)}; --batch says how many",
        )
    return given[1:]


def _of_one_size(node: Node, slot: str, graph: Graph, made: Graph) -> CnnccError:
    """A weight would have another shape."""
    name = node.weights[slot]
    inputs = " and ".join(dims(n.type.shape) for n in made.inputs)
    new, old = ("x".join(map(str, g.constants[name].shape)) for g in (made, graph))
    message = f"{node.op}: with input {inputs} its {slot} would be {new}, and it is {old}"
    hint = "weights have one size; a network takes images of several if a pool over all of them (`gap`) comes before fc"
    return CnnccError(message, node.span, node.stack, hint)
