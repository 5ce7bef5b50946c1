"""A graph under construction from an ONNX model: what its tensors are here.

An ONNX tensor of any rank is the value of a node whose elements lie in the same order, up to a permutation of axes
that nothing has asked for yet. So Reshape and Transpose cost nothing by themselves, and layouts that a model changes
back and forth (NHWC exports) disappear.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.base.elements import FLOAT32, Element
from cnncc.frontends.network import Ragged
from cnncc.ir import Constant, Graph, Node
from cnncc.ir.rules import Shape
from cnncc.ops import TABLE, ShapeError, complete, infer_type, refuse_huge

if TYPE_CHECKING:
    from cnncc.frontends.onnx.steps import Dequantised

ROOM = 3 << 26
"""Elements of all constants together, besides `SHARE` times as many as the file has: large classifiers have as many
weights, and models without their weights say ConstantOfShape instead."""
SHARE = 8
REAL = "fiubV"
"""Kinds of NumPy's types that are numbers; V are the narrow floats and integers of the package ml_dtypes."""


class Unsupported(Exception):
    """What a node asks for has no counterpart; `constants` are tensors that would have to be known."""

    def __init__(self, message: str, constants: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.constants = frozenset(constants)


@dataclass(frozen=True)
class Value:
    """A computed tensor: axis i of its ONNX `shape` is axis `axes[i]` of the order in which `node` has the elements."""

    node: str
    shape: Shape
    axes: Shape

    @property
    def stored(self) -> Shape:
        """The shape in the order of the elements."""
        sizes = dict(zip(self.axes, self.shape, strict=True))
        return tuple(sizes[j] for j in range(len(self.shape)))

    @property
    def order(self) -> Shape:
        """The ONNX axes in the order of the elements."""
        return tuple(self.axes.index(j) for j in range(len(self.axes)))


def plain_value(node: str, shape: Sequence[int]) -> Value:
    """A value whose elements lie in ONNX's order."""
    return Value(node, tuple(map(int, shape)), tuple(range(len(shape))))


class Builder:
    """Collects nodes and constants; every node is one the op table accepts. `batch` images at a time: all values have
    it as their first axis, or, if it is 1, any shape. `own` is how many elements the model's own tensors have:
    constants may be repeated, but a few bytes shall not fill the memory."""

    def __init__(self, batch: int, own: int = 0) -> None:
        self.batch = batch
        self.room = ROOM + SHARE * own
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}
        self.sources: dict[str, str] = {}
        """What the model calls the tensor that a constant was made of."""
        self.ragged: dict[str, Ragged] = {}
        """Nodes whose number of rows, along the first axis, depends on the data."""
        self.places: dict[str, tuple[str, tuple[int, int]]] = {}
        """Nodes of places in a whole tensor: a node of the places in each channel, and the channels' size."""
        self.notes: list[str] = []
        """What a person should know about the nodes."""
        self.dequantised: dict[str, Dequantised] = {}
        """Known tensors of the model that are integers times scales, by their names there."""
        self.steps: dict[str, Dequantised] = {}
        """The same of constants."""
        self.label = ""
        """The node of the model that is being converted."""
        self.labels: dict[str, str] = {}
        """For which node of the model each node was added."""
        self.reasons: dict[str, str] = {}
        """Why nodes of the model are computed in float32, by their labels."""

    # Nodes

    def fresh(self, hint: str) -> str:
        """A name that no node has."""
        name, count = hint or "value", 2
        while name in self.nodes:
            name, count = f"{hint or 'value'}_{count}", count + 1
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        hint: str,
        weights: Sequence[np.ndarray] = (),
        source: str = "",
        **attrs: Any,
    ) -> str:
        """A node with its constants in the order of the op's slots; its name. `source` is what the model calls the
        first of them. Unsupported if the op refuses it."""
        name = self.fresh(hint)
        shapes = tuple(self.shape(i) for i in inputs)
        try:
            kind = infer_type(op, tuple(self.nodes[i].type for i in inputs), attrs)
        except ShapeError as error:
            raise Unsupported(error.message) from error
        full = complete(op, attrs)
        slots = TABLE[op].weights(shapes, full)
        names = {slot: f"{name}.{slot}" for slot in slots}
        if len(slots) != len(weights):
            raise Unsupported(f"{op} takes {len(slots)} tensors, got {len(weights)}")
        self.reserve(sum(array.size for array in weights))
        elements = TABLE[op].elements(full)
        for (slot, wanted), array in zip(slots.items(), weights, strict=True):
            if array.shape != wanted:
                raise Unsupported(f"{slot} has shape {list(array.shape)}, {op} takes {list(wanted)}")
            self.constants[names[slot]] = bound(array, elements.get(slot, FLOAT32))
            self.sources.setdefault(names[slot], source)
        self.nodes[name] = Node(name, op, tuple(inputs), kind, full, names)
        self.labels[name] = self.label
        return name

    def because(self, reason: str) -> None:
        """Says why the node that is being converted computes in float32."""
        self.reasons.setdefault(self.label, reason)

    def trace(self, node: str, tensors: Iterable[str]) -> None:
        """Remembers which constants of a node are integers times scales: those made of such tensors of the model."""
        for constant, tensor in zip(self.nodes[node].weights.values(), tensors, strict=False):
            if tensor in self.dequantised:
                self.steps[constant] = self.dequantised[tensor]

    def reserve(self, elements: int) -> None:
        """Counts elements of constants. Unsupported if they are too many by far."""
        self.room_for(elements)
        self.room -= elements

    def room_for(self, elements: int) -> None:
        """Unsupported if a constant of so many elements would be too many: to be asked before it is made."""
        if elements > self.room:
            raise Unsupported(f"needs constants of {elements} elements, {self.room} are left of what a model may have")

    def refuse_batch(self, value: Value, axis: int) -> None:
        """Unsupported for the axis on which the images of a batch lie, wherever a transposition has put it."""
        if self.batch > 1 and value.axes[axis] == 0:
            raise Unsupported("works along the batch")

    def fits(self, shape: Sequence[int]) -> None:
        """Unsupported if a value of that ONNX shape would be too large."""
        try:
            refuse_huge((1, *shape), "the result would be")
        except ShapeError as error:
            raise Unsupported(f"{error.message}; {error.hint}") from error

    def shape(self, node: str) -> Shape:
        return self.nodes[node].type.shape

    def graph(self, name: str, outputs: Sequence[str], ports: Sequence[str]) -> Graph:
        """The inputs, and what the outputs need; `ports` are the names of the outputs."""
        every = Graph(name, tuple(self.nodes.values()), tuple(outputs), self.constants, tuple(ports))
        return every.rebuild(every.nodes)

    # Shapes

    def per_image(self, shape: Sequence[int]) -> Shape:
        """An ONNX shape without the batch, if it has one."""
        if self.batch == 1:
            return tuple(shape[1:]) if shape and shape[0] == 1 else tuple(shape)
        if not shape or shape[0] != self.batch:
            raise Unsupported(f"the batch of {self.batch} is no longer the first axis: {list(shape)}")
        return tuple(shape[1:])

    def dims(self, shape: Sequence[int]) -> Shape:
        """How a tensor is seen here: an image, or a vector."""
        rest = self.per_image(shape)
        if 0 in rest:
            raise Unsupported("the tensor is empty")
        if len(rest) < 2:
            return rest or (1,)
        return (rest[0], math.prod(rest[1:-1]), rest[-1])

    def seen(self, node: str, dims: Shape, hint: str = "") -> str:
        """The node, or a reshape of it, with these dims."""
        if self.shape(node)[1:] == dims:
            return node
        return self.add("reshape", [node], f"{hint or node}.reshape", dims=dims)

    def split(self, node: str, channels: int, hint: str = "") -> str:
        """The node with so many channels: as it is if it has them, else an image of one row, or a vector."""
        shape = self.shape(node)
        if shape[1] == channels:
            return node
        rest = math.prod(shape[1:]) // channels
        return self.seen(node, (channels,) if rest == 1 else (channels, 1, rest), hint)

    # Values

    def constant(self, array: np.ndarray, hint: str) -> Value:
        """A learned tensor."""
        if array.dtype.kind not in REAL:
            raise Unsupported(f"a tensor of {array.dtype}")
        self.room_for(array.size)
        shape = array.shape if self.batch == 1 else (self.batch, *array.shape[1:])
        if self.batch > 1 and array.shape[:1] != (1,):
            raise Unsupported("a constant that differs from image to image")
        dims = self.dims(shape)
        node = self.add("const", [], hint, [array.astype(np.float32).reshape(1, *dims)], dims=dims)
        return plain_value(node, array.shape)

    def arrange(self, value: Value, order: Sequence[int], hint: str = "", dims: Shape | None = None) -> Value:
        """The value with its elements in the order of these ONNX axes; what has to be moved becomes an image of
        `dims`."""
        wanted = tuple(order)
        axes = tuple(wanted.index(i) for i in range(len(wanted)))
        moved = [i for i in value.order if value.shape[i] != 1]
        if moved == [i for i in wanted if value.shape[i] != 1]:
            return Value(value.node, value.shape, axes)
        if self.batch > 1 and (moved[0] != 0 or wanted[0] != 0):
            raise Unsupported("axes change places with the batch")
        parts = [i for i in (moved[1:] if self.batch > 1 else moved)]
        places = [i for i in wanted if i in parts]
        split = tuple(value.shape[i] for i in parts)
        dims = dims or self.dims(tuple(value.shape[i] for i in wanted))
        positions = tuple(parts.index(i) for i in places)
        node = self.add("permute", [value.node], hint or f"{value.node}.t", split=split, axes=positions, dims=dims)
        return Value(node, value.shape, axes)

    def plain(self, value: Value, hint: str = "", dims: Shape | None = None) -> str:
        """The node of a value, with its elements in ONNX's order; `dims` as for `arrange`."""
        return self.arrange(value, range(len(value.shape)), hint, dims).node

    def image(self, value: Value, hint: str = "") -> str:
        """A node (batch, c, h, w) of a value (n, c, h, w) or (n, c, w)."""
        if len(value.shape) not in (3, 4) or value.shape[0] != self.batch:
            raise Unsupported(f"needs an image (n, c, h, w), got {list(value.shape)}")
        c, *space = value.shape[1:]
        return self.seen(self.plain(value, hint), (c, *space) if len(space) == 2 else (c, 1, *space), hint)

    def planes(self, value: Value, count: int, hint: str = "") -> tuple[Value, str]:
        """The value with its last `count` axes stored last, and a node that has them as rows and columns: what works on
        each channel of each image alone does not care where those lie."""
        rank = len(value.shape)
        space = range(rank - count, rank)
        arranged = self.arrange(value, [*(i for i in value.order if i not in space), *space], hint)
        sides = value.shape[-count:]
        rows = (1, *sides) if count == 1 else sides
        return arranged, self.seen(arranged.node, (math.prod(value.shape[:-count]) // self.batch, *rows), hint)

    def first(self, value: Value, axis: int, hint: str = "") -> Value:
        """The value with one axis stored first (after the batch)."""
        rest = [i for i in value.order if i != axis and not (self.batch > 1 and i == 0)]
        order = [*([0] if self.batch > 1 else []), axis, *rest]
        if math.prod(value.stored[: value.axes[axis]]) == self.batch:
            order = list(value.order)  # what lies before it has one element: it is first already
        return self.arrange(value, order, hint)

    def front(self, value: Value, axis: int, hint: str = "") -> tuple[Value, str]:
        """The value with one axis stored first, and a node that has it as its channels."""
        arranged = self.first(value, axis, hint)
        return arranged, self.split(arranged.node, value.shape[axis], hint)

    def channels_each(self, node: str, size: int) -> int:
        """Channels of the node for each index of an axis of that size which is stored first; 0 if some channel has
        values of several."""
        channels = self.shape(node)[1]
        return 0 if channels % size else channels // size

    def expand(self, value: Value, shape: Sequence[int], hint: str = "") -> Value:
        """The value broadcast to an ONNX shape of at least its rank."""
        value = ranked(value, len(shape))
        if value.shape == tuple(shape):
            return value
        stored, target = value.stored, tuple(shape[i] for i in value.order)
        if any(a not in (1, b) for a, b in zip(stored, target, strict=True)):
            raise Unsupported(f"{list(value.shape)} does not broadcast to {list(shape)}")
        if self.batch > 1 and stored[0] != target[0]:
            raise Unsupported("a tensor is repeated along the batch")
        node = value.node
        for j in reversed(range(len(stored))):
            if stored[j] != target[j]:
                outer = math.prod(stored[:j]) // (self.batch if self.batch > 1 else 1)
                inner = math.prod(target[j + 1 :])
                node = self.seen(node, (outer, 1, inner))
                node = self.add("expand", [node], f"{hint or value.node}.expand", dims=(outer, target[j], inner))
        node = self.seen(node, self.dims(target), hint)
        return Value(node, tuple(shape), value.axes)


def ranked(value: Value, rank: int) -> Value:
    """The value with axes of 1 in front, up to a rank."""
    more = rank - len(value.shape)
    if more <= 0:
        return value
    axes = (*range(more), *(a + more for a in value.axes))
    return Value(value.node, (1,) * more + value.shape, axes)


MOST_KNOWN = 1 << 26
"""Elements of a tensor that is made for a node: a model of a few bytes can ask for any number."""


def refuse_many(count: int) -> None:
    """Unsupported if so many elements would be made."""
    if count > MOST_KNOWN:
        raise Unsupported(f"asks for a tensor of {count:.3g} elements")


def bound(array: np.ndarray, element: Element = FLOAT32) -> Constant:
    """A constant of that value."""
    value = np.ascontiguousarray(array, element.dtype)
    return Constant(value.shape, lambda: value, element)


def broadcast(*shapes: Sequence[int]) -> Shape:
    """The shape that all of them broadcast to."""
    try:
        return np.broadcast_shapes(*map(tuple, shapes))
    except ValueError as error:
        raise Unsupported(f"do not broadcast: {', '.join(str(list(s)) for s in shapes)}") from error


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from 0; ONNX counts negative ones from the end."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> list[int]:
    """Axes counted from 0, each once."""
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise Unsupported(f"an axis is named twice: {list(axes)}")
    return found
