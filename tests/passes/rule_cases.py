"""For every rewrite rule a graph where it fires, and graphs where it must not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from passes.pass_helpers import Net, image

from cnncc.ir import Graph
from cnncc.passes.fuse_epilogues import MOST_POST_OPS

RELU = (("relu", ()),)


@dataclass(frozen=True)
class Case:
    """What a rule is held to."""

    fires: Graph
    stays: Mapping[str, Graph]
    """By why it must not fire."""
    text: Graph | None = None
    """Where the rule fires among all passes, if that is another graph."""


def moved(op: str, shape: tuple[int, int, int] = (4, 6, 8), **attrs: Any) -> Net:
    """x, and y = op(x)."""
    return image(*shape)("y", op, "x", **attrs)


def rows_softmax(
    axes: tuple[int, ...] = (2, 0, 1), back: tuple[int, ...] = (1, 2, 0), dims: tuple[int, ...] = (4, 6, 8)
) -> Net:
    """z = softmax over the columns of x, which are made channels and put back."""
    net = image(4, 6, 8)("p", "permute", "x", split=(4, 6, 8), axes=axes, dims=(8, 4, 6))
    return net("s", "softmax", "p")("z", "permute", "s", split=(8, 4, 6), axes=back, dims=dims)


def last(*, of: str = "x") -> Net:
    """p = the channels of x behind its rows and columns."""
    return image(6, 2, 4)("p", "permute", of, split=(6, 2, 4), axes=(1, 2, 0), dims=(2, 4, 6))


def matrices(axes: tuple[int, ...], dims: tuple[int, ...]) -> Graph:
    """y = the matrices that x consists of, in another order of axes."""
    return image(6, 2, 4)("y", "permute", "x", split=(2, 3, 8), axes=axes, dims=dims).graph("y")


def by_length(
    *outputs: str,
    squared: str = "p",
    total: str = "channel_sum",
    seen: tuple[int, ...] = (1, 1, 6),
    grown: tuple[int, ...] = (8, 1, 6),
    turned: bool = False,
    op: str = "div",
) -> Graph:
    """p = the pixels of x, each with its channels, y = p / sqrt(sum(squared^2)), `turned` with channels in turns."""
    net = image(6, 2, 4)("p", "permute", "x", split=(6, 8), axes=(1, 0), dims=(8, 1, 6))("t", "tanh", "p")
    net("q", "mul", squared, squared)("s", total, "q")("l", "sqrt", "s")
    net("u", "permute", "l", split=(2, 3), axes=(1, 0), dims=seen) if turned else net("u", "reshape", "l", dims=seen)
    grows = [seen[0], *grown[1:]] if seen[0] > 1 else [1, grown[0], grown[2]]
    net("w", "reshape", "u", dims=(seen[0], 1, seen[2]))("e", "expand", "w", dims=tuple(grows))
    return net("r", "reshape", "e", dims=(8, 1, 6))("y", op, "p", "r").graph("y", *outputs)


def pixels(op: str = "relu", dims: tuple[int, ...] = (6, 2, 4), window: tuple[int, int] = (1, 1), **attrs: Any) -> Net:
    """y = op(1x1 convolution(x as one row)) as an image again."""
    net = image(6, 2, 4)("r", "reshape", "x", dims=(6, 1, 8))
    net.conv("c", "r", 6, kernel=window, pad=(0, window[1] // 2) * 2)("n", op, "c", **attrs)
    return net("y", "reshape", "n", dims=dims)


def between_bytes(*ops: str, scale: float = 0.25) -> Net:
    """z = ops of x, of bytes and made bytes again."""
    net, last = image()("q", "quantize", "x", element="uint8", scale=0.5, zero=9)("d", "dequantize", "q"), "d"
    for op in ops:
        net, last = net(op, op, last), op
    return net("z", "quantize", last, element="uint8", scale=scale, zero=9)


def read(net: Net, *outputs: str) -> Graph:
    """The graph in which y is read by r; `outputs` come before r."""
    return net("r", "tanh", "y").graph(*outputs, "r")


def gate(*ops: str) -> Net:
    """x, and m = x * last(first(x))."""
    net, last = image(), "x"
    for op in ops:
        net, last = net(op, op, last), op
    return net("m", "mul", "x", last)


def sixth(scale: float = 1 / 6, up: float = 3.0, down: float = 0.0) -> Net:
    """a = x + 3, b = relu6(a), m = x * b, y = m / 6, z = b / 6."""
    net = image()("a", "affine", "x", scale=1.0, shift=up)("b", "relu6", "a")("m", "mul", "x", "b")
    return net("y", "affine", "m", scale=scale, shift=down)("z", "affine", "b", scale=scale, shift=down)


def gelu(half: float = 0.5, root: float = 0.5**0.5, one: float = 1.0) -> Net:
    """h = x / 2, d = 1 + erf(x / sqrt(2)), m = h * d, n = x * d, y = n / 2."""
    net = image()("h", "affine", "x", scale=half, shift=0.0)("i", "affine", "x", scale=root, shift=0.0)("e", "erf", "i")
    net("d", "affine", "e", scale=1.0, shift=one)("m", "mul", "h", "d")("n", "mul", "d", "x")
    return net("y", "affine", "n", scale=half, shift=0.0)


def hard(alpha: float = 1 / 6, beta: float = 0.5) -> Net:
    return image()("g", "hard_sigmoid", "x", alpha=alpha, beta=beta)("m", "mul", "g", "x")


def affine(scale: float, shift: float) -> Net:
    return image()("a", "affine", "x", scale=3.0, shift=0.5)("y", "affine", "a", scale=scale, shift=shift)


def norm(op: str, first: str = "bn", column: int = 16, **attrs: Any) -> Net:
    """n = norm(x), y = n op k."""
    net = image()("n", first, "x", **attrs)("k", "const", dims=(column, 1, 1) if column else (16, 4, 4))
    return net("y", op, "k", "n")


def biased(bias: bool = False, dims: tuple[int, ...] = (8, 1, 1), **attrs: Any) -> Net:
    """c = conv(x), y = c + k."""
    return image().conv("c", "x", 8, bias=bias, **attrs)("k", "const", dims=dims)("y", "add", "c", "k")


def expanded(start: tuple[int, ...], *shapes: tuple[int, ...]) -> Net:
    """y = x * e, e being a pool of x seen as `start`, then expanded or reshaped to the other shapes."""
    net, last = image()("c", "gap", "x")("r0", "reshape", "c", dims=start), "r0"
    for i, (before, after) in enumerate(pairwise((start, *shapes))):
        grows = math.prod(after) > math.prod(before)
        net(last := f"r{i + 1}", "expand" if grows else "reshape", f"r{i}", dims=after)
    return net("y", "mul", "x", last)


def column(op: str, first: str = "relu", dims: tuple[int, ...] = (16, 1, 1), **attrs: Any) -> Net:
    """n = first(x), y = n op k."""
    return image()("n", first, "x", **attrs)("k", "const", dims=dims)("y", op, "n", "k")


def over_channels(net: Net, name: str, x: str, *, across: bool = True, total: bool = False) -> Net:
    """name = the mean, or the sum, of the 16 channels of each pixel, or, not `across`, of the pixels of 4 channels."""
    axes = (1, 2, 0) if across else (0, 1, 2)
    return net(f"{name}p", "permute", x, split=(16, 4, 4), axes=axes, dims=(16, 1, 16))(
        name, "gsum" if total else "gap", f"{name}p"
    )


def layer(eps: float = 0.1, *, across: bool = True, of: str = "d", factor: float = 1.0, root: str = "sqrt") -> Net:
    """d = x - mean(x), v = mean(of * of), y = d / sqrt(v + eps)."""
    net = over_channels(image(), "m", "x", across=across)
    net("n", "affine", "m", scale=-1.0, shift=0.0)("e", "reshape", "n", dims=(1, 4, 4))
    net("f", "expand", "e", dims=(16, 4, 4))("d", "add", "x", "f")("q", "mul", of, of)
    over_channels(net, "v", "q", across=across)("a", "affine", "v", scale=factor, shift=eps)("s", root, "a")
    return net("r", "reshape", "s", dims=(1, 4, 4))("z", "expand", "r", dims=(16, 4, 4))("y", "div", "d", "z")


def response(*, bias: bool = True, of: str = "x", mean: str = "gap", sum_of: str = "gsum", eps: float = 1e-6) -> Net:
    """l = sqrt(sum(of * of)), n = l / (mean(l) + eps), y = x + (w (x n) + b)."""
    net = image()("t", "tanh", "x")("q", "mul", of, of)("g", sum_of, "q")("l", "sqrt", "g")
    net("v", "reshape", "l", dims=(1, 1, 16))("m", mean, "v")("a", "affine", "m", scale=1.0, shift=eps)
    net("e", "expand", "a", dims=(1, 16, 1))("f", "reshape", "e", dims=(16, 1, 1))("n", "div", "l", "f")
    return net("p", "mul", "x", "n")("s", "scale", "p", bias=bias)("y", "add", "x", "s")


def conv_bn(**attrs: Any) -> Net:
    return image().conv("c", "x", 8, **attrs)("b", "bn", "c")


def shared_weights() -> Graph:
    net = conv_bn().conv("d", "x", 8)
    net.nodes["d"] = net.nodes["d"].with_(weights=net.nodes["c"].weights)
    return net.graph("b", "d")


def factored(**attrs: Any) -> Net:
    """A convolution of a multiple of x."""
    return image()("a", "affine", "x", **{"scale": -1.7, "shift": 0.0, **attrs}).conv("c", "a", 8, kernel=(3, 3))


def pooled(pool: str = "avgpool", **attrs: Any) -> Net:
    """Another convolution d, of a pool p of the same multiple of x."""
    window = {} if pool == "gap" else {"kernel": (2, 2), "stride": (2, 2), "pad": (1, 1, 1, 1), **attrs}
    return factored()("p", pool, "a", **window).conv("d", "p", 8)


def factored_after(**attrs: Any) -> Net:
    """y = a multiple of a convolution c of x."""
    settings = {"scale": -1.7, "shift": 0.0} | {k: v for k, v in attrs.items() if k != "epilogue"}
    post_ops = {k: v for k, v in attrs.items() if k == "epilogue"}
    return image().conv("c", "x", 8, kernel=(3, 3), **post_ops)("y", "affine", "c", **settings)


def shared_after() -> Graph:
    net = factored_after().conv("d", "x", 8, kernel=(3, 3))
    net.nodes["d"] = net.nodes["d"].with_(weights=net.nodes["c"].weights)
    return net.graph("y", "d")


def shared_factor() -> Graph:
    net = factored().conv("d", "x", 8, kernel=(3, 3))
    net.nodes["d"] = net.nodes["d"].with_(weights=net.nodes["c"].weights)
    return net.graph("c", "d")


def padded(op: str = "conv", mode: str = "constant", value: float = 0.0, **attrs: Any) -> Net:
    """p = pad(x), y = window(p)."""
    window = {"out": 2, **attrs} if op == "conv" else attrs
    net = image(2, 6, 6)("p", "pad", "x", pad=(1, 1, 2, 0), mode=mode, value=value)
    return net("y", op, "p", **{"kernel": (3, 3), **window})


def wide(**attrs: Any) -> Net:
    """y = conv3x3(x) of two groups."""
    return image(2, 4, 6)("y", "conv", "x", **{"out": 4, "kernel": (3, 3), "groups": 2, **attrs})


def parts(*starts: tuple[int, int]) -> Net:
    """y = concat of x[:, :, i::2, j::2]."""
    net = image(3, 4, 6)
    for i, j in starts:
        net(f"s{i}{j}", "strided_slice", "x", dims=(3, 2, 3), start=(0, i, j), step=(1, 2, 2))
    return net("y", "concat", *(f"s{i}{j}" for i, j in starts))


def focused(source: str = "x", **last: Any) -> Net:
    """z = concat of all four parts, of which the last one differs."""
    net = parts(*ORDER[:3])("t", "tanh", "x")
    attrs = {"dims": (3, 2, 3), "start": (0, 1, 1), "step": (1, 2, 2), **last}
    return net("s11", "strided_slice", source, **attrs)("z", "concat", "s00", "s01", "s10", "s11")


def arms() -> Net:
    """Three values to concat."""
    return image(2)("a", "tanh", "x")("b", "sigmoid", "x")("c", "relu", "x")


def siblings(*, a: Mapping[str, Any] | None = None, b: Mapping[str, Any] | None = None) -> Net:
    """Two 1x1 convs that read x, and a reader of each."""
    net = image().conv("a", "x", **{"out": 16, **(a or {})}).conv("b", "x", **{"out": 32, **(b or {})})
    return net("p", "softmax", "a")("q", "softmax", "b")


def residual_siblings() -> Graph:
    """Two 1x1 convs that read x and add r."""
    net, attrs = image().conv("r", "x", 16), {"out": 16, "kernel": (1, 1), "epilogue": (("add", ()),)}
    net("a", "conv", "x", "r", **attrs)("b", "conv", "x", "r", **attrs)
    return net("p", "softmax", "a")("q", "softmax", "b").graph("p", "q")


def long_chain() -> Graph:
    post_ops = (("tanh", ()), ("sigmoid", ())) * (MOST_POST_OPS // 2)
    return image().conv("c", "x", 8, epilogue=post_ops)("y", "tanh", "c").graph("y")


ORDER = ((0, 0), (0, 1), (1, 0), (1, 1))
STEP2 = {"dims": (4, 3, 4), "start": (0, 1, 0), "step": (1, 2, 2)}
WHOLE_CROP = {"top": 0, "left": 0, "height": 6, "width": 8}

CASES: Mapping[str, Case] = {
    # drop_identities
    "identity": Case(
        image()("t", "tanh", "x")("y", "identity", "t")("d", "dropout", "t")("r", "relu", "y").graph("d", "r"),
        {
            "of an input that is an output": moved("identity").graph("y"),
            "both are outputs": image()("t", "tanh", "x")("y", "dropout", "t").graph("t", "y"),
            "of a constant that is an output": Net()("k", "const", dims=(3,))("y", "identity", "k").graph("y"),
        },
    ),
    "nothing_moved": Case(
        read(moved("crop", **WHOLE_CROP)),
        {
            "values move": read(moved("pad", pad=(1, 0, 0, 0))),
            "less than before": read(moved("crop", **{**WHOLE_CROP, "height": 5})),
            "a flattened image": read(moved("flatten")),
            "an output": moved("crop", **WHOLE_CROP).graph("y"),
        },
    ),
    "fc_of_flatten": Case(
        moved("flatten")("v", "fc", "x", out=3)("f", "fc", "y", "v", out=3, epilogue=(("add", ()),)).graph("f"),
        {
            "another reader": moved("flatten")("f", "softmax", "y").graph("f"),
            "in the epilogue": image(2, 1, 1)("v", "tanh", "x")("y", "flatten", "x")(
                "f", "fc", "v", "y", out=2, epilogue=(("add", ()),)
            ).graph("f"),
        },
        text=moved("flatten")("f", "fc", "y", out=3).graph("f"),
    ),
    "fc_of_reshape": Case(
        moved("reshape", dims=(2, 12, 8))("f", "fc", "y", out=3).graph("f"),
        {
            "another reader": read(moved("reshape", dims=(2, 12, 8))),
            "in another order": moved("permute", split=(4, 6, 8), axes=(1, 0, 2), dims=(6, 4, 8))(
                "f", "fc", "y", out=3
            ).graph("f"),
        },
    ),
    # fold_constants
    "known_result": Case(
        image()("k", "const", dims=(16, 1, 1))("s", "sigmoid", "k")("m", "mul", "x", "s").graph("m"),
        {
            "of an input": image()("k", "const", dims=(16, 1, 1))("m", "mul", "x", "k").graph("m"),
            "an epilogue": image()("k", "const", dims=(4,))("m", "mul", "k", "k", epilogue=RELU).graph("m"),
            "for each image": Net()("k", "const", dims=(4,))("m", "spread", "k", batch=2).graph("m"),
        },
    ),
    # join_moves
    "pad_before_window": Case(
        padded().graph("y"),
        {
            "two users": padded()("t", "tanh", "p").graph("y", "t"),
            "an output": padded().graph("y", "p"),
            "another mode": padded(mode="edge").graph("y"),
            "another value": padded(value=1.0).graph("y"),
            "another number of windows": padded(rounding="ceil", kernel=(1, 1), stride=(2, 1)).graph("y"),
            "a maximum": padded("maxpool").graph("y"),
            "own padding is not counted": padded(
                "avgpool", kernel=(4, 4), pad=(1, 1, 1, 1), count_include_pad=False
            ).graph("y"),
        },
    ),
    "reshape_to_the_same": Case(
        read(moved("reshape", dims=(4, 6, 8))),
        {"another shape": read(moved("reshape", dims=(4, 8, 6)))},
        text=moved("reshape", dims=(8, 8, 3))("z", "reshape", "y", dims=(4, 6, 8))("r", "tanh", "z").graph("r"),
    ),
    "reshape_twice": Case(
        moved("reshape", dims=(8, 8, 3))("z", "reshape", "y", dims=(3, 8, 8)).graph("z"),
        {
            "other moves": moved("crop", top=1, left=1, height=2, width=2)("z", "reshape", "y", dims=(2, 4, 2)).graph(
                "z"
            )
        },
    ),
    "reshape_of_permute": Case(
        moved("permute", split=(4, 6, 8), axes=(1, 0, 2), dims=(6, 4, 8))("z", "reshape", "y", dims=(3, 8, 8)).graph(
            "z"
        ),
        {
            "two users": read(
                moved("permute", split=(4, 6, 8), axes=(1, 0, 2), dims=(6, 4, 8))("z", "reshape", "y", dims=(3, 8, 8)),
                "z",
            ),
            "an output": moved("permute", split=(4, 6, 8), axes=(1, 0, 2), dims=(6, 4, 8))(
                "z", "reshape", "y", dims=(3, 8, 8)
            ).graph("z", "y"),
        },
    ),
    "copies_in_a_row": Case(
        last()("y", "strided_slice", "p", dims=(2, 4, 3), start=(0, 0, 3)).graph("y"),
        {
            "every second channel": last()("y", "strided_slice", "p", dims=(2, 4, 3), step=(1, 1, 2)).graph("y"),
            "some pixels": last()("y", "strided_slice", "p", dims=(1, 4, 6)).graph("y"),
            "axes that do not fit": last()("y", "permute", "p", split=(3, 16), axes=(1, 0), dims=(16, 3, 1)).graph("y"),
            "one copy": last()("r", "reshape", "p", dims=(4, 2, 6))("y", "tanh", "r").graph("y"),
            "another op in between": last()("t", "tanh", "p")(
                "y", "permute", "t", split=(8, 6), axes=(1, 0), dims=(6, 2, 4)
            ).graph("y"),
        },
    ),
    "transposition": Case(
        matrices((0, 2, 1), (2, 8, 3)),
        {
            "another order": matrices((2, 0, 1), (8, 2, 3)),
            "a vector": matrices((0, 2, 1), (48,)),
            "another shape": matrices((0, 2, 1), (2, 3, 8)),
            "rows and columns already": moved("permute", split=(4, 6, 8), axes=(0, 2, 1), dims=(4, 8, 6)).graph("y"),
        },
    ),
    "length_of_permuted": Case(
        by_length(),
        {
            "of another value": by_length(squared="t"),
            "sums of channels": by_length(total="gsum", seen=(8, 1, 1), grown=(8, 1, 6)),
            "for other channels": by_length(turned=True),
            "a product": by_length(op="mul"),
            "another reader": by_length("p"),
            "an output": by_length("q"),
        },
    ),
    "reshape_behind_pixels": Case(
        pixels().graph("y"),
        {
            "two users": pixels()("z", "tanh", "n").graph("y", "z"),
            "an output": pixels().graph("y", "n"),
            "other channels": pixels(dims=(3, 4, 4)).graph("y"),
            "several pixels": pixels("maxpool", kernel=(1, 1)).graph("y"),
            "a window": pixels(window=(1, 3)).graph("y"),
            "a vector": pixels(dims=(48,)).graph("y"),
            "no reshape before": image(6, 2, 4).conv("c", "x", 6)("y", "reshape", "c", dims=(6, 4, 2)).graph("y"),
        },
    ),
    "softmax_of_rows": Case(
        rows_softmax().graph("z"),
        {
            "another order": rows_softmax(axes=(2, 1, 0)).graph("z"),
            "not put back": rows_softmax(back=(0, 2, 1), dims=(8, 6, 4)).graph("z"),
            "no row of the result": rows_softmax(dims=(8, 4, 6)).graph("z"),
            "two users": read(rows_softmax()("y", "tanh", "s"), "z"),
            "an output": rows_softmax().graph("z", "s"),
            "permuted for others too": rows_softmax().graph("z", "p"),
            "a vector": rows_softmax(dims=(192,)).graph("z"),
        },
    ),
    "table_of_function": Case(
        between_bytes("silu", "tanh").graph("z"),
        {
            "two users": read(between_bytes("silu")("y", "tanh", "silu"), "z"),
            "an output": between_bytes("silu").graph("z", "silu"),
            "the same bytes, which are an output": between_bytes(scale=0.5).graph("z"),
            "no function of one number": between_bytes("softmax").graph("z"),
            "of another tensor too": between_bytes("silu")("m", "mul", "silu", "x")(
                "y", "quantize", "m", element="uint8", scale=0.25, zero=9
            ).graph("y"),
            "more than 8 bits": image()("z", "quantize", "x", element="uint8", scale=0.25, zero=0).graph("z"),
        },
    ),
    "reshape_to_vector": Case(
        moved("reshape", dims=(192,)).graph("y"), {"an image": moved("reshape", dims=(192, 1, 1)).graph("y")}
    ),
    "crop_twice": Case(
        moved("crop", top=1, left=2, height=4, width=5)("z", "crop", "y", top=1, left=1, height=2, width=3).graph("z"),
        {
            "two users": read(
                moved("crop", top=1, left=2, height=4, width=5)("z", "crop", "y", top=1, left=1, height=2, width=3), "z"
            ),
            "an output": moved("crop", top=1, left=2, height=4, width=5)(
                "z", "crop", "y", top=1, left=1, height=2, width=3
            ).graph("z", "y"),
        },
    ),
    "strided_twice": Case(
        moved("strided_slice", **STEP2)(
            "z", "strided_slice", "y", dims=(2, 3, 2), start=(3, 2, 1), step=(-2, -1, 2)
        ).graph("z"),
        {
            "other parts": moved("slice", start=0, stop=2)(
                "z", "strided_slice", "y", dims=(1, 3, 4), step=(1, 2, 2)
            ).graph("z")
        },
    ),
    "focus": Case(
        parts(*ORDER).graph("y"),
        {
            "a part is missing": parts(*ORDER[:3]).graph("y"),
            "another order": parts(*reversed(ORDER)).graph("y"),
            "two users": parts(*ORDER)("t", "tanh", "s00").graph("y", "t"),
            "an output": parts(*ORDER).graph("y", "s11"),
            "one more arm": parts(*ORDER)("e", "maxpool", "x", kernel=(2, 2), stride=(2, 2))(
                "z", "concat", "s00", "s01", "s10", "s11", "e"
            ).graph("z"),
            "other arms": arms()("y", "concat", "a", "b").graph("y"),
            "parts of a vector": image(8, 1, 1)("v", "flatten", "x")("a", "strided_slice", "v", dims=(4,), step=(2,))(
                "b", "strided_slice", "v", dims=(4,), start=(1,), step=(2,)
            )("y", "concat", "a", "b").graph("y"),
            "parts of two values": focused(source="t").graph("z"),
            "another step": focused(step=(1, 2, 1)).graph("z"),
            "fewer channels in one": focused(dims=(2, 2, 3)).graph("z"),
        },
    ),
    "growing_concats": Case(
        arms()("ab", "concat", "a", "b")("y", "concat", "a", "b", "c").graph("ab", "y"),
        {
            "another order": arms()("ab", "concat", "b", "a")("y", "concat", "a", "b", "c").graph("ab", "y"),
            "another order behind the first": arms()("ab", "concat", "a", "c", "b")(
                "y", "concat", "a", "b", "c", "x"
            ).graph("ab", "y"),
            "not the first arms": arms()("bc", "concat", "b", "c")("y", "concat", "a", "b", "c").graph("bc", "y"),
            "the same arms": arms()("ab", "concat", "a", "b")("y", "concat", "a", "b").graph("ab", "y"),
        },
    ),
    "expanded_column": Case(
        expanded((16, 1, 1), (16, 4, 1), (16, 1, 4), (16, 4, 4)).graph("y"),
        {
            "along the channels": expanded((1, 16, 1), (4, 16, 4), (16, 4, 4)).graph("y"),
            "one value for each pixel": expanded((1, 4, 4), (16, 4, 4)).graph("y"),
            "moved": expanded((16, 1, 1), (1, 16, 1), (4, 16, 4), (16, 4, 4)).graph("y"),
            "no arm has all values": image()("c", "gap", "x")("e", "expand", "c", dims=(16, 4, 4))(
                "y", "mul", "e", "e"
            ).graph("y"),
        },
    ),
    # drop_taps
    "taps_in_the_padding": Case(
        wide(pad=(6, 9, 6, 0), dilation=(6, 4)).graph("y"),
        {
            "each tap sees the image": wide(pad=(2, 2, 2, 2), dilation=(2, 2)).graph("y"),
            "one window sees it": wide(pad=(6, 6, 6, 6), dilation=(3, 3)).graph("y"),
            "the image would be cut": wide(pad=(7, 0, 9, 0), dilation=(8, 1)).graph("y"),
            "one tap": image(2, 4, 6).conv("y", "x", 4, pad=(3, 3, 3, 3)).graph("y"),
            "another number of windows": wide(pad=(6, 6, 6, 6), dilation=(6, 6), stride=(2, 2), rounding="ceil").graph(
                "y"
            ),
        },
    ),
    # join_activations
    "silu": Case(
        gate("sigmoid").graph("m"),
        {
            "two users": gate("sigmoid")("t", "tanh", "sigmoid").graph("m", "t"),
            "an output": gate("sigmoid").graph("m", "sigmoid"),
            "of another value": image()("t", "tanh", "x")("s", "sigmoid", "t")("m", "mul", "x", "s").graph("m"),
            "an epilogue": image()("s", "sigmoid", "x")("m", "mul", "x", "s", epilogue=RELU).graph("m"),
            "three arms": image()("s", "sigmoid", "x")("m", "mul", "x", "s", "x").graph("m"),
        },
    ),
    "hard_swish": Case(
        hard().graph("m"),
        {
            "another alpha": hard(alpha=0.2).graph("m"),
            "a number that is near": hard(alpha=0.1666667).graph("m"),
            "another beta": hard(beta=0.4).graph("m"),
            "of another value": hard()("t", "tanh", "x")("o", "mul", "g", "t").graph("o"),
            "two users": hard()("t", "tanh", "g").graph("m", "t"),
            "an output": hard().graph("m", "g"),
        },
    ),
    "mish": Case(
        gate("softplus", "tanh").graph("m"),
        {
            "two users": gate("softplus", "tanh")("r", "relu", "softplus").graph("m", "r"),
            "an output": gate("softplus", "tanh").graph("m", "tanh"),
            "the other way round": gate("tanh", "softplus").graph("m"),
        },
    ),
    "gelu_of_half": Case(
        gelu().graph("m"),
        {
            "another factor": gelu(half=0.25).graph("m"),
            "another root": gelu(root=0.7).graph("m"),
            "a number that is near": gelu(root=0.707107).graph("m"),
            "another summand": gelu(one=2.0).graph("m"),
            "two users": gelu()("r", "relu", "h").graph("m", "r"),
            "an output": gelu().graph("m", "e"),
        },
    ),
    "half_gelu": Case(
        gelu().graph("y"),
        {
            "another factor": gelu(half=0.25).graph("y"),
            "another root": gelu(root=0.7).graph("y"),
            "a number that is near": gelu(root=0.707107).graph("y"),
            "two users": gelu()("r", "relu", "n").graph("y", "r"),
            "an output": gelu().graph("y", "d"),
        },
    ),
    "hard_sigmoid": Case(
        sixth().graph("z"),
        {
            "another factor": sixth(scale=0.2).graph("z"),
            "a number that is near": sixth(scale=0.1666667).graph("z"),
            "another summand": sixth(up=2.0).graph("z"),
            "a shift": sixth(down=1.0).graph("z"),
            "two users": sixth().graph("z", "m"),
            "an output": sixth().graph("z", "a"),
        },
    ),
    "hard_swish_over_6": Case(
        sixth().graph("y"),
        {
            "another factor": sixth(scale=0.2).graph("y"),
            "a number that is near": sixth(scale=0.1666667).graph("y"),
            "another summand": sixth(up=2.0).graph("y"),
            "a shift": sixth(down=1.0).graph("y"),
            "two users": sixth().graph("y", "z"),
            "an output": sixth().graph("y", "m"),
        },
    ),
    "affine_of_nothing": Case(
        image()("y", "affine", "x", scale=1.0, shift=0.0)("r", "relu", "y").graph("r"),
        {"a scale": affine(2.0, 0.0).graph("y"), "a shift": affine(1.0, 2.0).graph("y")},
    ),
    "affine_twice": Case(
        affine(2.0, 1.0).graph("y"),
        {
            "two users": affine(2.0, 1.0)("r", "relu", "a").graph("y", "r"),
            "an output": affine(2.0, 1.0).graph("y", "a"),
            "beyond float32": affine(3e38, 0.0).graph("y"),
        },
    ),
    # fold_scales
    "scale_after_norm": Case(
        norm("mul", eps=1e-3).graph("y"),
        {
            "two users": norm("mul")("r", "relu", "n").graph("y", "r"),
            "an output": norm("mul").graph("y", "n"),
            "one for each position": norm("mul", column=0).graph("y"),
            "no scale": norm("mul", "group_norm", groups=4, affine=False).graph("y"),
            "an epilogue": norm("mul", epilogue=RELU).graph("y"),
            "another op": norm("add").graph("y"),
        },
    ),
    "shift_after_norm": Case(
        norm("add", "group_norm", groups=4).graph("y"),
        {
            "two users": norm("add")("r", "relu", "n").graph("y", "r"),
            "an output": norm("add").graph("y", "n"),
            "one for each position": norm("add", column=0).graph("y"),
            "no shift": norm("add", "group_norm", groups=4, affine=False).graph("y"),
            "an epilogue": norm("add", epilogue=RELU).graph("y"),
        },
    ),
    "bias_after_conv": Case(
        biased().graph("y"),
        {
            "two users": biased()("r", "relu", "c").graph("y", "r"),
            "an output": biased().graph("y", "c"),
            "a bias": biased(bias=True).graph("y"),
            "an epilogue": biased(epilogue=RELU).graph("y"),
            "one for each position": biased(dims=(8, 4, 4)).graph("y"),
            "not learned": image(8)("k", "gap", "x").conv("c", "x", 8, bias=False)("y", "add", "c", "k").graph("y"),
        },
    ),
    "factor_before_conv": Case(
        pooled()("q", "gap", "a")("f", "fc", "q", out=3).graph("c", "d", "f"),
        {
            "another user": factored()("r", "relu", "a").graph("c", "r"),
            "an output": factored().graph("c", "a"),
            "a pool with another user": pooled()("r", "relu", "p").graph("c", "d", "r"),
            "a pool that is an output": pooled().graph("c", "d", "p"),
            "a pool of a pool": pooled()("q", "avgpool", "p", kernel=(2, 2)).conv("e", "q", 8).graph("c", "d", "e"),
            "a largest value": pooled("maxpool").graph("c", "d"),
            "a residual input": image()("a", "affine", "x", scale=-1.7, shift=0.0)(
                "c", "conv", "a", "a", out=16, kernel=(1, 1), epilogue=(("add", ()),)
            ).graph("c"),
            "a sum": factored(shift=0.5).graph("c"),
            "shared weights": shared_factor(),
            "nothing": factored(scale=0.0).graph("c"),
            "infinite": factored(scale=math.inf).graph("c"),
            "far from 1": factored(scale=2.0**-30).graph("c"),
        },
    ),
    "factor_after_conv": Case(
        factored_after().graph("y"),
        {
            "another user": factored_after()("r", "relu", "c").graph("y", "r"),
            "an output": factored_after().graph("y", "c"),
            "an epilogue": factored_after(epilogue=RELU).graph("y"),
            "a sum": factored_after(shift=0.5).graph("y"),
            "shared weights": shared_after(),
            "nothing": factored_after(scale=0.0).graph("y"),
            "infinite": factored_after(scale=math.inf).graph("y"),
            "far from 1": factored_after(scale=2.0**-30).graph("y"),
        },
    ),
    "weight_of_norm": Case(
        column("mul", "layernorm", affine=False).graph("y"),
        {
            "two users": column("mul", "layernorm", affine=False)("r", "relu", "n").graph("y", "r"),
            "an output": column("mul", "rmsnorm", affine=False).graph("y", "n"),
            "has a weight": column("mul", "rmsnorm").graph("y"),
            "one for each position": column("mul", "rmsnorm", dims=(16, 4, 4), affine=False).graph("y"),
            "an epilogue": column("mul", "rmsnorm", affine=False, epilogue=RELU).graph("y"),
        },
    ),
    "bias_after_scale": Case(
        column("add", "scale").graph("y"),
        {
            "two users": column("add", "scale")("r", "relu", "n").graph("y", "r"),
            "an output": column("add", "scale").graph("y", "n"),
            "has a bias": column("add", "scale", bias=True).graph("y"),
            "has no weight": column("add", "layernorm", affine=False).graph("y"),
            "one for each position": column("add", "scale", (16, 4, 4)).graph("y"),
        },
    ),
    "scale_of_column": Case(
        column("mul").graph("y"),
        {
            "one for each position": column("mul", dims=(16, 4, 4)).graph("y"),
            "not learned": image()("g", "gap", "x")("y", "mul", "x", "g").graph("y"),
            "both are learned": Net()("a", "const", dims=(4, 1, 1))("k", "const", dims=(4, 1, 1))(
                "y", "mul", "a", "k"
            ).graph("y"),
        },
    ),
    # join_norms
    "layer_norm": Case(
        layer().graph("y"),
        {
            "means of pixels": layer(across=False).graph("y"),
            "the square of another value": layer(of="x").graph("y"),
            "another divisor": layer(factor=16 / 15).graph("y"),
            "another root": layer(root="exp").graph("y"),
            "a negative eps": layer(-0.1).graph("y"),
        },
    ),
    "response_norm": Case(
        response().graph("y"),
        {
            "no shift": response(bias=False).graph("y"),
            "the length of another value": response(of="t").graph("y"),
            "the largest length": response(mean="gmp").graph("y"),
            "a mean of squares": response(sum_of="gap").graph("y"),
            "two users": response()("r", "relu", "s").graph("y", "r"),
            "an output": response().graph("y", "p"),
        },
    ),
    # fold_batchnorm
    "bn_after_conv": Case(
        conv_bn(bias=False).graph("b"),
        {
            "two users": conv_bn()("r", "relu", "c").graph("b", "r"),
            "an output": conv_bn().graph("b", "c"),
            "an epilogue": conv_bn(epilogue=RELU).graph("b"),
            "another op": image()("r", "relu", "x")("b", "bn", "r").graph("b"),
            "shared weights": shared_weights(),
        },
    ),
    # fuse_epilogues
    "post_op_into_producer": Case(
        image().conv("c", "x", 16)("r", "relu", "c")("s", "add", "r", "x", epilogue=RELU).graph("s"),
        {
            "two users": image().conv("c", "x", 8)("r", "relu", "c")("t", "tanh", "c").graph("r", "t"),
            "an output": image().conv("c", "x", 8)("r", "relu", "c").graph("r", "c"),
            "too many arms": image().conv("c", "x", 16)("s", "add", "c", *["x"] * 25).graph("s"),
            "read twice": image().conv("c", "x", 16)("s", "add", "c", "c").graph("s"),
            "another merge": image().conv("c", "x", 16)("s", "mul", "c", "x").graph("s"),
            "broadcasts": image().conv("c", "x", 16)("g", "gap", "x")("s", "add", "c", "g").graph("s"),
            "the same for all images": image()("k", "const", dims=(16, 4, 4))
            .conv("c", "k", 16)("s", "add", "c", "x")
            .graph("s"),
            "would be infinite": image().conv("c", "x", 8)("r", "reciprocal", "c").graph("r"),
            "too many post-ops": long_chain(),
        },
        text=image().conv("c", "x", 16)("r", "relu", "c")("s", "add", "r", "x").graph("s"),
    ),
    # merge_siblings
    "narrow_convs_of_one_tensor": Case(
        siblings().graph("p", "q"),
        {
            "an output": siblings().graph("p", "b"),
            "arms of a concat": siblings()("y", "concat", "b", "p").graph("y", "q"),
            "other channels": siblings(b={"out": 24}).graph("p", "q"),
            "strides": siblings(a={"stride": (2, 2)}, b={"stride": (2, 2)}).graph("p", "q"),
            "pads": siblings(a={"pad": (1, 0, 0, 0)}, b={"pad": (1, 0, 0, 0)}).graph("p", "q"),
            "kernels": siblings(a={"kernel": (3, 3)}, b={"kernel": (3, 3)}).graph("p", "q"),
            "a bias of one": siblings(a={"bias": False}, b={"bias": True}).graph("p", "q"),
            "residual inputs": residual_siblings(),
            "groups": siblings(a={"groups": 2}, b={"groups": 2}).graph("p", "q"),
            "another epilogue": siblings(b={"epilogue": RELU}).graph("p", "q"),
        },
    ),
}
