"""The graph while it grows: names, shapes, weights, limits."""

from __future__ import annotations

from cnncc.base import size_ranges
from cnncc.base.elements import FLOAT32, Element
from cnncc.base.errors import CnnccError, Span
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ir.ranged import said
from cnncc.lang.source import Stack
from cnncc.ops import TABLE, ShapeError, complete, infer_type, traits
from cnncc.ops.source import dims_of
from cnncc.ops.traits import Kind

MAX_NODES = 20_000
MAX_STEPS = 10 * MAX_NODES
"""Most statements that are run. Without a limit, repeats of a statement that adds no node could run for ever."""


class GraphBuilder:
    """Adds nodes to a graph. What the op table refuses is a CnnccError with the place and the blocks around it."""

    def __init__(self, shapes: InputShapes = AS_WRITTEN) -> None:
        self.given = shapes
        """The shapes of inputs that the caller gives in place of those in the text."""
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Constant] = {}
        self.read: set[str] = set()
        self.outputs: list[str] = []
        self.ports: list[str] = []
        """The name of each output in the text; "" if it has none."""
        self.spare: set[str] = set()
        """Inputs that the text says are unused."""
        self.steps = 0

    @property
    def output_names(self) -> list[str]:
        return [port or value for port, value in zip(self.ports, self.outputs, strict=True)]

    @property
    def at_size(self) -> str:
        """`at h = 45, w = 48: ` in front of what is wrong with a shape, if the sizes of inputs have ranges."""
        sizes = [
            size for node in self.nodes.values() if traits(node).kind is Kind.INPUT for size in node.attrs["range"]
        ]
        return "".join(f"at {said({s: s.middle for s in found})}: " for found in [size_ranges.symbols(sizes)] if found)

    def step(self, span: Span, stack: Stack) -> None:
        """Counts one statement. CnnccError if there were too many."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise CnnccError(f"more than {MAX_STEPS} statements", span, stack, "look at the repeats (x3) around this")

    def shape(self, name: str) -> tuple[int, ...]:
        return self.nodes[name].type.shape

    def shapes(self, inputs: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(map(self.shape, inputs))

    def infer(self, node: Node, word: str) -> TensorType:
        """Type of a node's result; `word` names the op in the error."""
        try:
            return infer_type(node.op, tuple(self.nodes[i].type for i in node.inputs), node.attrs)
        except ShapeError as error:
            raise CnnccError(f"{self.at_size}{word}: {error.message}", node.span, node.stack, error.hint) from None

    def add(self, node: Node, word: str, weights: tuple[str, ...] = ()) -> str:
        """Adds a node and returns its name. The node may come without a type, and with attributes left out: both are
        filled in. `weights` are names for its constants, in the order of the op's slots; without them they get the
        usual names."""
        if len(self.nodes) >= MAX_NODES:
            hint = "look at the repeats (x3) around this"
            raise CnnccError(f"the network has more than {MAX_NODES} ops", node.span, node.stack, hint)
        self.refuse_taken(node)
        if node.name in self.given and traits(node).kind is Kind.INPUT:
            node = node.with_(attrs={**node.attrs, **dims_of(self.given[node.name])})
        kind = self.infer(node, word)
        attrs = complete(node.op, node.attrs)
        op = TABLE[node.op]
        slots, elements = op.weights(self.shapes(node.inputs), attrs), op.elements(attrs)
        names = self.weight_names(node, tuple(slots), weights)
        for slot, name in names.items():
            self.add_constant(node, name, slots[slot], elements.get(slot, FLOAT32))
        self.nodes[node.name] = node.with_(type=kind, attrs=attrs, weights=names)
        self.read.update(node.inputs)
        return node.name

    def refuse_taken(self, node: Node) -> None:
        if node.name in self.nodes:
            first = self.nodes[node.name].span
            how = (
                "`input NAME 3x224x224` names an input"
                if traits(node).kind is Kind.INPUT
                else "give one of them another label"
            )
            hint = f"the first is at {first}; {how}"
            raise CnnccError(f"two values are called {node.name!r}", node.span, node.stack, hint)

    def weight_names(self, node: Node, slots: tuple[str, ...], given: tuple[str, ...]) -> dict[str, str]:
        if given and len(given) != len(slots):
            wanted = f"{len(slots)} ({', '.join(slots)})" if slots else "none"
            raise CnnccError(f"weights: {len(given)} names, {node.op} needs {wanted}", node.span, node.stack)
        return dict(zip(slots, given or [f"{node.name}.{slot}" for slot in slots], strict=True))

    def add_constant(self, node: Node, name: str, shape: tuple[int, ...], element: Element) -> None:
        """Adds a constant without a value. Several nodes may share one if they agree about its shape and element."""
        known = self.constants.setdefault(name, Constant(shape, element=element))
        if known.shape != shape:
            sizes = ["x".join(map(str, s)) for s in (known.shape, shape)]
            raise CnnccError(f"weights {name!r} are shared, but of shapes {' and '.join(sizes)}", node.span, node.stack)
        if known.element != element:
            found = f"{known.element} and {element}"
            raise CnnccError(f"weights {name!r} are shared, but of types {found}", node.span, node.stack)

    def finish(self, name: str, last: str | None) -> Graph:
        """The finished graph. Its output is the last value, unless the text marks outputs. CnnccError for a value that
        is not used."""
        outputs = tuple(self.outputs) or ((last,) if last else ())
        for node in self.nodes.values():
            self.check_use(node, node.name in self.read or node.name in outputs)
        return Graph(name, tuple(self.nodes.values()), outputs, self.constants, tuple(self.ports))

    def check_use(self, node: Node, used: bool) -> None:
        """CnnccError for a value that nothing reads, unless it is an input that the text says is unused."""
        spare = node.name in self.spare
        if used and spare:
            raise CnnccError(f"the input {node.name!r} is used", node.span, node.stack, "leave `unused` out")
        if not used and not spare:
            hint = "`from` went on with another value; use this one in a merge, mark it with `output`, or remove it"
            if traits(node).kind is Kind.INPUT:
                hint = "use it in a merge, or with `from`; `unused` behind it keeps an input that nothing reads"
            raise CnnccError(f"the value {node.name!r} is never used", node.span, node.stack, hint)
