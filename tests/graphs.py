"""Random graphs over every op of the table, for property tests of the language and of all passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cnncc.base.elements import ELEMENTS, FLOAT32
from cnncc.ir import Constant, Graph, Node
from cnncc.ops import TABLE, domains, infer_type
from cnncc.ops.domains import Domain, Inputs, Values
from cnncc.ops.source import FILTERS
from cnncc.ops.table import ShapeError

Draw = Callable[..., Any]
Shape = tuple[int, ...]

LATE_OPS = frozenset(name for name, op in TABLE.items() if not op.forms)
"""Ops only a late pass adds: no network text has them."""
CHAINED = frozenset({"matmul", "sample", "gather", "scatter", "roi_align"})
"""Ops whose further inputs are made of their first one here."""


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def tenths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n / 10)


def strategy(domain: Domain) -> st.SearchStrategy[Any]:
    """The values of a domain."""
    match domain:
        case domains.Choice(values):
            return st.sampled_from(values)
        case domains.Whole(low, high):
            return integers(low, high)
        case domains.Tenths(low, high):
            return tenths(low, high)
        case domains.Each(parts):
            return st.tuples(*map(strategy, parts))
        case domains.Several(part, least, most):
            return st.lists(strategy(part), min_size=least, max_size=most).map(tuple)
        case domains.Shuffled(count):
            return st.permutations(range(count)).map(tuple)


def attributes(draw: Draw, op: str, shape: Shape) -> dict[str, Any]:
    """Attributes of a node of the op that reads a value of this shape, from the op's own domains."""
    drawn: dict[str, Any] = {}
    for name, rule in TABLE[op].tried.attrs.items():
        drawn[name] = draw(strategy(rule(shape, drawn) if callable(rule) else rule))
    return drawn


def tried(inputs: Inputs, *values: Values) -> tuple[str, ...]:
    """The ops without arms of their own that are tried with such inputs and values."""
    ops = sorted(TABLE.items())
    return tuple(n for n, op in ops if op.tried.inputs is inputs and op.tried.values in values and not op.tried.arms)


ANY = tried(Inputs.VALUE, Values.ANY)
"""Ops of one tensor of any rank."""
IMAGE = tried(Inputs.IMAGE, Values.ANY)
"""Ops of one (n, c, h, w) tensor only."""
POSITIVE = tried(Inputs.VALUE, Values.POSITIVE, Values.INSIDE, Values.ABOVE_ONE)
"""Ops of one tensor that are for values between 0 and 1, or above 1."""
QUOTIENTS = tried(Inputs.FITTING, Values.POSITIVE, Values.LAST_POSITIVE)
"""Ops of a tensor and a positive one."""
STEPS = (*tried(Inputs.VALUE, Values.EXACT), *tried(Inputs.IMAGE, Values.EXACT))
"""Ops of one tensor that jump: a rounding error before them would be a large one behind them."""
JUMPS = tried(Inputs.FITTING, Values.EXACT)
"""Merges that jump."""
MERGES = tried(Inputs.FITTING, Values.ANY)
ARMED = tuple(name for name, op in sorted(TABLE.items()) if op.tried.arms)
"""Ops of an image and other tensors of sizes of their own."""
MOVED = {Values.INSIDE: {"scale": 0.9}, Values.ABOVE_ONE: {"shift": 1.5}}
"""How what a sigmoid gives becomes such values."""


LAYERS_ON_BYTES = {
    "qconv": "conv",
    "qconv_transpose": "conv_transpose",
    "qfc": "fc",
    "qgap": "",
    "qadd": "",
    "qmul": "",
}
"""Layers on bytes, and the ops of float32 whose attributes they have."""
SCALES = tuple(float(np.float32(s)) for s in (0.02, 1 / 3, 1.0, 0.007874016, 1e-30, 2.5e37))


class Builder:
    """Collects nodes; every value has a type the op table agrees with."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.nodes: list[Node] = []
        self.constants: dict[str, Constant] = {}

    def name(self, op: str) -> str:
        plain = f"{op}{len(self.nodes)}"
        return self.draw(st.sampled_from([plain, plain, f"{len(self.nodes)}.{op}.0", f'/{op}/x:{len(self.nodes)} "ü']))

    def add(self, op: str, inputs: tuple[Node, ...], attrs: dict[str, Any]) -> Node | None:
        """A node if the shape rule accepts it, else None."""
        shapes = tuple(n.type.shape for n in inputs)
        full = {**TABLE[op].attributes, **attrs}
        try:
            kind = infer_type(op, tuple(n.type for n in inputs), full)
        except ShapeError:
            return None
        name = self.name(op)
        slots = TABLE[op].weights(shapes, full)
        names = {slot: f"{name}.{slot}" for slot in slots}
        elements = TABLE[op].elements(full)
        self.constants |= {names[s]: Constant(slots[s], element=elements.get(s, FLOAT32)) for s in slots}
        node = Node(name, op, tuple(n.name for n in inputs), kind, full, names)
        self.nodes.append(node)
        return node

    def unary(self) -> Node | None:
        source = self.draw(st.sampled_from(self.nodes))
        shape = source.type.shape
        op = self.draw(st.sampled_from((*ANY, *IMAGE) if len(shape) == 4 else ANY))
        return self.add(op, (source,), attributes(self.draw, op, shape))

    def positive(self) -> Node | None:
        """An op that is for positive values, on what a sigmoid gives."""
        source = self.draw(st.sampled_from(self.nodes))
        inner = self.add("sigmoid", (source,), {})
        return inner and self.of_positive(self.draw(st.sampled_from((*POSITIVE, *QUOTIENTS))), inner, source)

    def of_positive(self, op: str, inner: Node, source: Node) -> Node | None:
        """An op of a value between 0 and 1, and of another one if it reads two."""
        values = TABLE[op].tried.values
        if op in QUOTIENTS:
            return self.add(op, (source, inner) if values is Values.LAST_POSITIVE else (inner, source), {})
        moved = self.add("affine", (inner,), MOVED[values]) if values in MOVED else inner
        return moved and self.add(op, (moved,), attributes(self.draw, op, moved.type.shape))

    def jump(self, op: str, first: Node, others: list[Node]) -> Node | None:
        """An op that jumps, of one value or of several that fit each other."""
        count = TABLE[op].arity[0]
        fitting = [n for n in others if fits(op, n.type.shape, first.type.shape)]
        if op in tried(Inputs.IMAGE, Values.EXACT) and len(first.type.shape) != 4:
            return None
        more = (self.draw(st.sampled_from(fitting)) for _ in range(count - 1))
        return self.add(op, (first, *more), attributes(self.draw, op, first.type.shape))

    def step(self) -> Node | None:
        """An op that jumps, of what the caller passes: that is the same whatever has been rounded."""
        exact = [n for n in self.nodes if n.op == "input" and not n.attrs["mean"] and not n.attrs["std"]]
        if not exact:
            return None
        first = self.draw(st.sampled_from(exact))
        return self.jump(self.draw(st.sampled_from((*STEPS, *JUMPS))), first, exact)

    def armed(self, op: str, source: Node, arm: Callable[[tuple[int, ...]], Node | None]) -> Node | None:
        """An op of an image and other tensors, which `arm` makes by their size."""
        arms = []
        for wanted in TABLE[op].tried.arms:
            dims = tuple(self.draw(strategy(domain)) for domain in wanted.dims(source.type.shape))
            made = arm(dims)
            factor = wanted.factor(source.type.shape)
            arms.append(made if made is None or factor == 1 else self.add("affine", (made,), {"scale": factor}))
        if not all(arms):
            return None
        return self.add(op, (source, *arms), attributes(self.draw, op, source.type.shape))

    def others(self) -> Node | None:
        """An op of an image and of learned tensors."""
        images, ops = [n for n in self.nodes if len(n.type.shape) == 4], sorted({*ARMED} - CHAINED)
        if not images or not ops:
            return None
        source, op = self.draw(st.sampled_from(images)), self.draw(st.sampled_from(ops))
        return self.armed(op, source, lambda dims: self.add("const", (), {"dims": dims}))

    def matmul(self) -> Node | None:
        """A product with the transposed image."""
        source = self.draw(st.sampled_from(self.nodes))
        if len(source.type.shape) != 4:
            return None
        _, c, h, w = source.type.shape
        turned = self.add("permute", (source,), {"split": (c, h, w), "axes": (0, 2, 1), "dims": (c, w, h)})
        return turned and self.add("matmul", (source, turned), {})

    def chain(self, source: Node | None, *steps: tuple[str, dict[str, Any]]) -> Node | None:
        """One op after the other."""
        for op, attrs in steps:
            source = source and self.add(op, (source,), attrs)
        return source

    def placed(self) -> Node | None:
        """An op that reads or writes at computed places of an image."""
        source = self.draw(st.sampled_from(self.nodes))
        if len(source.type.shape) != 4 or source.type.shape[3] < 4:
            return None
        kind = self.draw(st.sampled_from([self.sample, self.rows, self.unpool, self.boxes]))
        return kind(source)

    def sample(self, source: Node) -> Node | None:
        conv = {"out": 2, "kernel": (1, 1), "bias": False}
        grid = self.chain(source, ("conv", conv), ("tanh", {}), ("affine", {"scale": 1.3}))
        return grid and self.add("sample", (source, grid), attributes(self.draw, "sample", source.type.shape))

    def rows(self, source: Node) -> Node | None:
        """gather and scatter, with numbers of rows that exist."""
        _, c, h, _ = source.type.shape
        ranks = self.add("topk", (source,), {"k": c, "indices": True})
        column = {"top": 0, "left": 0, "height": h, "width": 1}
        places = self.chain(ranks, ("clip", {"low": 0.0, "high": float(h - 1)}), ("crop", column))
        if places is None or self.draw(st.booleans()):
            return places and self.add("gather", (source, places), attributes(self.draw, "gather", source.type.shape))
        return self.add("scatter", (source, places, source), attributes(self.draw, "scatter", source.type.shape))

    def unpool(self, source: Node) -> Node | None:
        window = {"kernel": (2, 2), "stride": (2, 2)}
        values, places = self.add("maxpool", (source,), window), self.add("argmaxpool", (source,), window)
        return values and places and self.add("unpool", (values, places), {"size": source.type.shape[2:]})

    def boxes(self, source: Node) -> Node | None:
        """roi_align and nms, of what the image happens to hold."""
        _, c, h, _ = source.type.shape
        wide = {"top": 0, "left": 0, "height": 1, "width": 4}
        if self.draw(st.booleans()):
            regions = self.chain(source, ("crop", wide), ("abs", {}))
            return regions and self.add(
                "roi_align", (source, regions), attributes(self.draw, "roi_align", source.type.shape)
            )
        boxes = self.chain(source, ("crop", {**wide, "height": h}))
        turn = {"split": (c, h, 1), "axes": (0, 2, 1), "dims": (c, 1, h)}
        scores = self.chain(source, ("crop", {**wide, "height": h, "width": 1}), ("permute", turn))
        return boxes and scores and self.add("nms", (boxes, scores), {"most": 3, "center": self.draw(st.booleans())})

    def merge(self) -> Node | None:
        """Two or three values that fit each other; the same value twice is allowed and likely."""
        op = self.draw(st.sampled_from(MERGES))
        low, high = TABLE[op].arity
        first = self.draw(st.sampled_from(self.nodes))
        others = [n for n in self.nodes if fits(op, n.type.shape, first.type.shape)]
        rest = self.draw(st.lists(st.sampled_from(others), min_size=low - 1, max_size=2 if high is None else high - 1))
        return self.add(op, (first, *rest), {})

    def stepped(self, source: Node) -> Node | None:
        """A value quantised, of any scale and zero that its type has."""
        element = self.draw(st.sampled_from(["uint8", "int8"]))
        zero = self.draw(integers(int(ELEMENTS[element].least), int(ELEMENTS[element].most)))
        scale = self.draw(st.sampled_from(SCALES))
        return self.add("quantize", (source,), {"element": element, "scale": scale, "zero": zero})

    def result_of_bytes(self) -> dict[str, Any]:
        """Attributes of a result of any byte type, of a scale that a sum of some products has."""
        element = self.draw(st.sampled_from(("uint8", "int8")))
        zero = self.draw(integers(int(ELEMENTS[element].least), int(ELEMENTS[element].most)))
        scale = float(np.float32(self.draw(st.sampled_from((0.02, 0.1, 0.7)))))
        return {"element": element, "scale": scale, "zero": zero}

    def near(self, source: Node) -> Node | None:
        """A value quantised to steps that layers on bytes can add up."""
        return self.add("quantize", (source,), self.result_of_bytes())

    def on_bytes(self, op: str, source: Node) -> Node | None:
        """A layer on bytes; what else it reads is made of the value, or a constant."""
        like, shape, result = LAYERS_ON_BYTES[op], source.type.shape, self.result_of_bytes()
        if len(shape) != 4 and op != "qfc":
            return None
        if op == "qadd":
            return self.add(op, (source, source), result)
        if op == "qmul":
            factor = self.add("const", (), {"dims": (shape[1], 1, 1)})
            return factor and self.add(op, (source, factor), result)
        if op == "qconv" and self.draw(integers(0, 3)) == 0:
            added = {"out": shape[1], "kernel": (1, 1), "epilogue": (("add", ()),)}
            return self.add(op, (source, source), {**added, **result})
        attrs = attributes(self.draw, like, shape) if like else {}
        return self.add(op, (source,), {**attrs, **(result if self.draw(st.booleans()) else {})})

    def numbers(self) -> Node | None:
        """Between element types, of what the caller passes: a rounding error before a step would be a large one behind
        it. Other ops read the integers if they can."""
        exact = [n for n in self.nodes if n.op == "input" and not n.attrs["mean"] and not n.attrs["std"]]
        typed = [n for n in self.nodes if not n.type.is_float]
        if not exact:
            return None
        source = self.draw(st.sampled_from(typed or exact))
        layer = self.draw(st.sampled_from((*LAYERS_ON_BYTES, *[""] * 6)))
        if layer:
            near = [n for n in typed if n.type.quantization and 0.01 < n.type.quantization.scale < 2]
            given = self.draw(st.sampled_from(near)) if near else self.near(self.draw(st.sampled_from(exact)))
            return given and self.on_bytes(layer, given)
        if source.type.quantization is not None:
            return self.add("dequantize", (source,), {})
        if source.type.is_float and self.draw(st.booleans()):
            return self.stepped(source)
        return self.add("cast", (source,), {"to": self.draw(st.sampled_from(sorted(ELEMENTS)))})

    def const(self) -> Node | None:
        """A learned tensor, multiplied into a value so that somebody reads it."""
        source = self.draw(st.sampled_from(self.nodes))
        shape = source.type.shape
        dims = shape[1:2] + (1,) * (len(shape) - 2) if self.draw(st.booleans()) else shape[1:]
        made = self.add("const", (), {"dims": dims})
        return made and self.add("mul", (source, made), {})


def fits(op: str, a: Shape, b: Shape) -> bool:
    if op == "concat":
        return len(a) == len(b) and a[2:] == b[2:]
    return a == b or (len(a) == 4 == len(b) and a[1:] in ((b[1], 1, 1), (1, *b[2:])))


def source(draw: Draw, builder: Builder) -> None:
    rank3 = draw(st.integers(0, 4)) > 0
    sides = (draw(integers(1, 4)), draw(integers(3, 8)), draw(integers(3, 8)))
    dims = sides if rank3 else (draw(integers(1, 6)),)
    scaled = draw(st.booleans())
    mean = tuple(float(i) for i in range(dims[0])) if scaled else ()
    std = tuple(i + 0.5 for i in range(dims[0])) if scaled and draw(st.booleans()) else ()
    picture = pictures(draw, dims) if rank3 and draw(st.booleans()) else {}
    builder.add("input", (), {"dims": dims, "mean": mean, "std": std, **picture})


def pictures(draw: Draw, dims: tuple[int, ...]) -> dict[str, Any]:
    """A way to make pictures an input of these dims."""
    least = max(dims[1:])
    return {
        "crop": draw(st.sampled_from([1.0, 0.875])),
        "resize": draw(st.sampled_from([(), (least,), (dims[1], dims[2] + 1), (least, least)])),
        "filter": draw(st.sampled_from(FILTERS)),
        "order": draw(st.sampled_from(["rgb", "bgr"])) if dims[0] == 3 else "rgb",
    }


def random_graph(draw: Draw, max_ops: int = 10) -> Graph:
    """A graph of one or two inputs (batch 1), up to `max_ops` ops and no dead values; weights are unbound."""
    builder = Builder(draw)
    for _ in range(draw(integers(1, 2))):
        source(draw, builder)
    for _ in range(draw(integers(1, max_ops))):
        kinds = [*[builder.unary] * 5, builder.merge, builder.merge, builder.const, builder.positive, builder.matmul]
        kinds += [builder.placed, builder.step, builder.others, builder.numbers]
        kind = draw(st.sampled_from(kinds))
        kind()
    read = {i for n in builder.nodes for i in n.inputs}
    for node in [n for n in builder.nodes if n.op in ("input", "const") and n.name not in read]:
        builder.add("relu", (node,), {})
    read = {i for n in builder.nodes for i in n.inputs}
    sinks = [n.name for n in builder.nodes if n.name not in read]
    more = draw(st.lists(st.sampled_from([n.name for n in builder.nodes if n.op != "input"]), max_size=1))
    outputs = tuple(dict.fromkeys([*sinks, *more]))
    return Graph("random", tuple(builder.nodes), outputs, builder.constants)


graphs = st.composite(random_graph)
