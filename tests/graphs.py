"""Random graphs over every op of the table, for property tests of the language and of all passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.ops import TABLE, infer
from cnncc.ops.gather import REDUCTIONS
from cnncc.ops.sample import MODES, OUTSIDE, PLACES
from cnncc.ops.source import FILTERS
from cnncc.ops.table import ShapeError

Draw = Callable[..., Any]
Shape = tuple[int, ...]
Maker = Callable[[Draw, Shape], dict[str, Any]]

LATE_OPS = frozenset({"relayout", "spread"})
"""Ops only a late pass adds: no network text has them."""
POINTWISE = (
    *("relu", "relu6", "sigmoid", "tanh", "hard_swish", "silu", "softmax", "identity", "flatten", "gap", "gmp", "gsum"),
    *("softplus", "softsign", "mish", "gelu", "gelu_tanh", "erf", "abs", "prelu"),
    *("sin", "cos", "atan", "asinh"),
)


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def tenths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda n: n / 10)


def four(draw: Draw, high: int) -> Shape:
    return tuple(draw(st.tuples(*[integers(0, high)] * 4)))


def pair(draw: Draw, low: int, high: int) -> tuple[int, int]:
    return draw(st.tuples(integers(low, high), integers(low, high)))


def window(draw: Draw, shape: Shape, pooling: bool) -> dict[str, Any]:
    """Kernel, stride, pads, dilation and rounding that fit a (n, c, h, w) shape."""
    kernel, dilation = pair(draw, 1, 3), pair(draw, 1, 2)
    pad = tuple(min(p, (kernel[i % 2] // 2) if pooling else 2) for i, p in enumerate(four(draw, 2)))
    sides = [shape[2 + i] + pad[i] + pad[i + 2] for i in (0, 1)]
    kernel = tuple(k if d * (k - 1) + 1 <= s else 1 for k, d, s in zip(kernel, dilation, sides, strict=True))
    if pooling:
        pad = tuple(min(p, kernel[i % 2] // 2) for i, p in enumerate(pad))
    rounding = draw(st.sampled_from(["floor", "ceil", "exact"]))
    stride = (1, 1) if rounding == "exact" else pair(draw, 1, 3)
    return {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation, "rounding": rounding}


def conv(draw: Draw, shape: Shape) -> dict[str, Any]:
    groups = draw(st.sampled_from([g for g in range(1, shape[1] + 1) if shape[1] % g == 0]))
    out = groups * draw(integers(1, 3))
    return {"out": out, "groups": groups, "bias": draw(st.booleans()), **window(draw, shape, pooling=False)}


def conv_transpose(draw: Draw, shape: Shape) -> dict[str, Any]:
    attrs = conv(draw, shape)
    del attrs["rounding"]
    stride = attrs["stride"]
    more = tuple(draw(integers(0, s - 1)) for s in stride)
    return {**attrs, "pad": four(draw, 1), "output_pad": more}


def avgpool(draw: Draw, shape: Shape) -> dict[str, Any]:
    attrs = window(draw, shape, pooling=True)
    del attrs["dilation"]
    return {**attrs, "count_include_pad": draw(st.booleans())}


def crop(draw: Draw, shape: Shape) -> dict[str, Any]:
    top, left = draw(integers(0, shape[2] - 1)), draw(integers(0, shape[3] - 1))
    height, width = draw(integers(1, shape[2] - top)), draw(integers(1, shape[3] - left))
    return {"top": top, "left": left, "height": height, "width": width}


def pad(draw: Draw, shape: Shape) -> dict[str, Any]:
    mode = draw(st.sampled_from(["constant", "edge", "reflect", "wrap"]))
    sides = tuple(min(p, shape[2 + i % 2] - 1) if mode == "reflect" else p for i, p in enumerate(four(draw, 2)))
    return {"pad": sides, "mode": mode, "value": draw(tenths(-20, 20)) if mode == "constant" else 0.0}


def channels(draw: Draw, shape: Shape) -> dict[str, Any]:
    start = draw(integers(0, shape[1] - 1))
    return {"start": start, "stop": draw(integers(start + 1, shape[1]))}


def reshape(draw: Draw, shape: Shape) -> dict[str, Any]:
    count = 1
    for side in shape[1:]:
        count *= side
    first = draw(st.sampled_from([d for d in range(1, count + 1) if count % d == 0]))
    return {"dims": draw(st.sampled_from([(count,), (first, count // first, 1), (1, first, count // first)]))}


def permute(draw: Draw, shape: Shape) -> dict[str, Any]:
    split = shape[1:]
    axes = tuple(draw(st.permutations(range(len(split)))))
    return {"split": split, "axes": axes, "dims": tuple(split[a] for a in axes)}


def expand(draw: Draw, shape: Shape) -> dict[str, Any]:
    return {"dims": tuple(s if s > 1 else draw(integers(1, 3)) for s in shape[1:])}


def strided_slice(draw: Draw, shape: Shape) -> dict[str, Any]:
    along = []
    for size in shape[1:]:
        start, step = draw(integers(0, size - 1)), draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        along.append((draw(integers(1, len(range(start, size if step > 0 else -1, step)))), start, step))
    dims, start, step = zip(*along, strict=True)
    return {"dims": dims, "start": start, "step": step}


def take(draw: Draw, shape: Shape) -> dict[str, Any]:
    axis = draw(integers(0, len(shape) - 2))
    return {"axis": axis, "indices": tuple(draw(st.lists(integers(0, shape[axis + 1] - 1), min_size=1, max_size=5)))}


def unfold(draw: Draw, shape: Shape) -> dict[str, Any]:
    attrs = window(draw, shape, pooling=False)
    del attrs["rounding"]
    return attrs


def group_norm(draw: Draw, shape: Shape) -> dict[str, Any]:
    groups = draw(st.sampled_from([g for g in range(1, shape[1] + 1) if shape[1] % g == 0]))
    return {"groups": groups, "affine": draw(st.booleans()), "eps": draw(st.sampled_from([1e-5, 0.1]))}


def topk(draw: Draw, shape: Shape) -> dict[str, Any]:
    flags = {name: draw(st.booleans()) for name in ("largest", "indices", "last")}
    return {"k": draw(integers(1, shape[1])), **flags}


def resize(draw: Draw, shape: Shape) -> dict[str, Any]:
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    place = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    more = {"antialias": draw(st.booleans()), "coefficient": -0.5} if mode != "nearest" else {"rounding": "floor"}
    return {"size": pair(draw, 1, 6), "mode": mode, "place": place, **more}


def upsample(draw: Draw, shape: Shape) -> dict[str, Any]:
    mode = draw(st.sampled_from(["nearest", "bilinear"]))
    align = mode == "bilinear" and draw(st.booleans())
    return {"scale": pair(draw, 1, 2), "mode": mode, "align_corners": align}


IMAGE: dict[str, Maker] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "maxpool": lambda draw, shape: window(draw, shape, pooling=True),
    "avgpool": avgpool,
    "lrn": lambda draw, _: {"size": draw(st.sampled_from([1, 3, 5])), "k": draw(tenths(10, 30))},
    "crop": crop,
    "pad": pad,
    "upsample": upsample,
    "resize": resize,
    "unfold": unfold,
}
"""Ops of (n, c, h, w) tensors only, with a maker of attributes."""
ANY: dict[str, Maker] = {
    "fc": lambda draw, _: {"out": draw(integers(1, 6)), "bias": draw(st.booleans())},
    "bn": lambda draw, _: {"eps": draw(st.sampled_from([1e-5, 1e-3]))},
    "leaky_relu": lambda draw, _: {"slope": draw(tenths(0, 5))},
    "hard_sigmoid": lambda draw, _: draw(st.sampled_from([{}, {"alpha": 0.2}, {"beta": 0.25}])),
    "dropout": lambda draw, _: {"p": draw(tenths(1, 9))},
    "clip": lambda draw, _: {"low": draw(tenths(-20, 0)), "high": draw(tenths(1, 20))},
    "affine": lambda draw, _: {"scale": draw(tenths(-20, 20)), "shift": draw(tenths(-20, 20))},
    "elu": lambda draw, _: {"alpha": draw(tenths(1, 20))},
    "thresholded_relu": lambda draw, _: {"alpha": draw(tenths(0, 20))},
    "shrink": lambda draw, _: {"shift": draw(tenths(0, 9)), "edge": draw(tenths(0, 9))},
    "permute": permute,
    "expand": expand,
    "strided_slice": strided_slice,
    "take": take,
    "group_norm": group_norm,
    "topk": topk,
    "slice": channels,
    "reshape": reshape,
    **{op: lambda draw, _: {} for op in POINTWISE},
}
POSITIVE = (*("exp", "log", "sqrt", "reciprocal", "tan", "asin", "acos", "sinh", "cosh", "atanh", "acosh", "power"),)
"""Ops of one tensor that are for values between 0 and 1, or above 1."""
QUOTIENTS = ("div", "pow")
"""Ops of a tensor and a positive one, in the order of `pow` the other way round."""
STEPS = ("round_down", "round_up", "round_to_zero", "round", "sign")
"""Ops of one tensor that jump: a rounding error before them would be a large one behind them."""
JUMPS = ("greater", "greater_equal", "equal", "mod", "fmod", "where")
"""Merges that jump."""
MERGES = ("add", "mul", "max", "min", "concat")


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
            shape = infer(op, shapes, full)
        except ShapeError:
            return None
        name = self.name(op)
        slots = TABLE[op].weights(shapes, full)
        names = {slot: f"{name}.{slot}" for slot in slots}
        self.constants |= {names[slot]: Constant(slots[slot]) for slot in slots}
        node = Node(name, op, tuple(n.name for n in inputs), TensorType(shape), full, names)
        self.nodes.append(node)
        return node

    def unary(self) -> Node | None:
        source = self.draw(st.sampled_from(self.nodes))
        shape = source.type.shape
        makers = {**ANY, **IMAGE} if len(shape) == 4 else ANY
        op = self.draw(st.sampled_from(sorted(makers)))
        return self.add(op, (source,), makers[op](self.draw, shape))

    def positive(self) -> Node | None:
        """An op that is for positive values, on what a sigmoid gives."""
        source = self.draw(st.sampled_from(self.nodes))
        inner = self.add("sigmoid", (source,), {})
        return inner and self.of_positive(self.draw(st.sampled_from((*POSITIVE, *QUOTIENTS))), inner, source)

    def of_positive(self, op: str, inner: Node, source: Node) -> Node | None:
        """An op of a value between 0 and 1, and of another one if it reads two."""
        if op in QUOTIENTS:
            return self.add(op, (source, inner) if op == "div" else (inner, source), {})
        if op in ("acosh", "atanh"):
            moved = self.add("affine", (inner,), {"shift": 1.5} if op == "acosh" else {"scale": 0.9})
            return moved and self.add(op, (moved,), {})
        return self.add(op, (inner,), {"exponent": self.draw(tenths(-30, 30))} if op == "power" else {})

    def jump(self, op: str, first: Node, others: list[Node]) -> Node | None:
        """An op that jumps, of one value or of several that fit each other."""
        count = {"where": 3}.get(op, 2) if op in JUMPS else 1
        fitting = [n for n in others if fits(op, n.type.shape, first.type.shape)]
        return self.add(op, (first, *(self.draw(st.sampled_from(fitting)) for _ in range(count - 1))), {})

    def step(self) -> Node | None:
        """An op that jumps, of what the caller passes: that is the same whatever has been rounded."""
        exact = [n for n in self.nodes if n.op == "input" and not n.attrs["mean"] and not n.attrs["std"]]
        if not exact:
            return None
        first = self.draw(st.sampled_from(exact))
        return self.jump(self.draw(st.sampled_from((*STEPS, *JUMPS))), first, exact)

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
        words = {"mode": MODES, "outside": OUTSIDE, "place": PLACES}
        return grid and self.add("sample", (source, grid), {k: self.draw(st.sampled_from(v)) for k, v in words.items()})

    def rows(self, source: Node) -> Node | None:
        """gather and scatter, with numbers of rows that exist."""
        _, c, h, _ = source.type.shape
        ranks = self.add("topk", (source,), {"k": c, "indices": True})
        column = {"top": 0, "left": 0, "height": h, "width": 1}
        places = self.chain(ranks, ("clip", {"low": 0.0, "high": float(h - 1)}), ("crop", column))
        if places is None or self.draw(st.booleans()):
            return places and self.add("gather", (source, places), {"wrap": self.draw(st.booleans())})
        how = self.draw(st.sampled_from(sorted(REDUCTIONS)))
        return self.add("scatter", (source, places, source), {"reduction": how})

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
            attrs = {"size": pair(self.draw, 1, 3), "samples": 2, "mode": self.draw(st.sampled_from(["avg", "max"]))}
            return regions and self.add("roi_align", (source, regions), attrs)
        boxes = self.chain(source, ("crop", {**wide, "height": h}))
        turn = {"split": (c, h, 1), "axes": (0, 2, 1), "dims": (c, 1, h)}
        scores = self.chain(source, ("crop", {**wide, "height": h, "width": 1}), ("permute", turn))
        return boxes and scores and self.add("nms", (boxes, scores), {"most": 3, "center": self.draw(st.booleans())})

    def merge(self) -> Node | None:
        """Two or three values that fit each other; the same value twice is allowed and likely."""
        op = self.draw(st.sampled_from(MERGES))
        first = self.draw(st.sampled_from(self.nodes))
        others = [n for n in self.nodes if fits(op, n.type.shape, first.type.shape)]
        rest = self.draw(st.lists(st.sampled_from(others), min_size=1, max_size=2))
        return self.add(op, (first, *rest), {})

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
    return a == b or (len(a) == 4 == len(b) and a[1] == b[1] and a[2:] == (1, 1))


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
        kinds += [builder.placed, builder.step]
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
