"""Where values come from: the network's inputs and learned tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cnncc.base import size_ranges
from cnncc.base.dim import Symbol
from cnncc.base.elements import ELEMENTS, FLOAT32, HALVES, Element, encode
from cnncc.base.errors import nearest
from cnncc.ir import Node, TensorType
from cnncc.ops.domains import untried
from cnncc.ops.forms import Always, Form, Syntax, Word, flags, unpack
from cnncc.ops.initial import gaussian, normal
from cnncc.ops.shapes import at_least
from cnncc.ops.table import (
    REQUIRED,
    Array,
    Arrays,
    Attrs,
    Op,
    Shape,
    ShapeError,
    Shapes,
    Types,
    Weights,
    no_macs,
    no_weights,
    one_position,
)
from cnncc.ops.traits import COMPUTED, LOGICAL, Kind


def check_dims(attrs: Attrs) -> Shape:
    """The dims of one image or vector, all at least 1."""
    shape = tuple(attrs["dims"])
    text = "x".join(map(str, shape))
    if len(shape) not in (1, 3):
        hint = f"a grey image is 1x{text}" if len(shape) == 2 else ""
        raise ShapeError(f"dims {text}: an image is channels x height x width, a vector one number", hint)
    at_least(1, {"dims": shape}, "dims")
    return shape


def dims_of(sizes: Sequence[int | Symbol]) -> dict[str, object]:
    """The attributes of an input of this shape, whose sizes may have ranges."""
    return {"dims": size_ranges.usual(sizes), "range": size_ranges.ranged(sizes)}


FILTERS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
"""How pictures are resized; Pillow's names."""
ORDERS = ("rgb", "bgr")
PICTURE: Attrs = {"crop": 1.0, "resize": (), "filter": "bilinear", "order": "rgb"}
"""How a picture of any size and kind becomes an input: attributes of `input` that no kernel sees. The middle share
`crop` of each side is cut out and resized: to (shorter side,) or (height, width), from whose middle the input is then
cut, or to the input's own size. `order` is that of the colours."""


TYPED: Mapping[str, Word] = flags("element", (name for name in ELEMENTS if name != FLOAT32.name))
"""The type of what is not float32."""
WHERE = "where"
"""In front of the ranges of sizes."""
UNUSED = "unused"
"""Behind an input that nothing reads; the graph shows it by itself."""
PICTURE_WORDS: Mapping[str, Word] = {
    "resize": ("resize", Syntax.SIDES),
    "crop": ("crop", Syntax.NUMBER),
    **flags("filter", FILTERS),
    **flags("order", ORDERS),
}
"""How pictures become an input."""


def picture(attrs: Attrs) -> dict[str, object]:
    """Those of PICTURE that are not the default."""
    return {key: attrs[key] for key, default in PICTURE.items() if attrs[key] != default}


def check_picture(shape: Shape, attrs: Attrs) -> None:
    """ShapeError for a way to prepare pictures that cannot lead to the input's shape."""
    if picture(attrs) and len(shape) != 3:
        raise ShapeError(f"{', '.join(picture(attrs))}: only for images, not for a vector of {shape[0]}")
    if not 0 < attrs["crop"] <= 1:
        raise ShapeError(f"crop {attrs['crop']:g}: must be above 0 and at most 1, a share of height and width")
    for key, known in (("filter", FILTERS), ("order", ORDERS)):
        if attrs[key] not in known:
            raise ShapeError(f"unknown {key} {attrs[key]!r}", nearest(attrs[key], known))
    if attrs["order"] == "bgr" and shape[0] != 3:
        raise ShapeError(f"bgr: the input has {shape[0]} channels, not 3")
    sides = attrs["resize"]
    if sides and (len(sides) > 2 or any(s < wanted for s, wanted in zip((sides * 2)[:2], shape[1:], strict=True))):
        raise ShapeError(f"resize {'x'.join(map(str, sides))}: the input of {shape[1]}x{shape[2]} is cut from that")


def check_range(shape: Shape, attrs: Attrs) -> None:
    """ShapeError for a range without the shape, and for one of what is no height or width."""
    sizes = attrs["range"]
    if not sizes:
        return
    if len(sizes) != 3 or not isinstance(sizes[0], int):
        hint = "weights have one size, and with it channels and vectors"
        raise ShapeError(f"range {size_ranges.written(sizes)}: only height and width of an image have ranges", hint)
    if not size_ranges.admits(sizes, shape):
        raise ShapeError(f"dims {'x'.join(map(str, shape))} are none of the range {size_ranges.written(sizes)}")


def input_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(batch, *dims); mean and std have one number, or one per channel, or none."""
    shape = check_dims(attrs)
    at_least(1, attrs, "batch")
    for name in ("mean", "std"):
        if len(attrs[name]) not in (0, 1, shape[0]):
            raise ShapeError(f"{name} has {len(attrs[name])} numbers, the input {shape[0]} channels")
    if any(s == 0 for s in attrs["std"]):
        raise ShapeError("std is 0: the input is divided by it")
    element_of(attrs)
    check_picture(shape, attrs)
    check_range(shape, attrs)
    return (attrs["batch"], *shape)


def element_of(attrs: Attrs) -> Element:
    """The type of the numbers; ShapeError for no element type."""
    if attrs["element"] not in ELEMENTS:
        raise ShapeError(f"no element type {attrs['element']!r}", nearest(str(attrs["element"]), ELEMENTS))
    return ELEMENTS[attrs["element"]]


def input_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """float32, whatever the caller passes, or what it is rounded to."""
    return TensorType(shape, element=ELEMENTS[attrs["value"]])


def port_type(node: Node) -> TensorType:
    """The type of the array that the caller passes for an input. The value of the node is float32 of it, or of less."""
    return replace(node.type, element=ELEMENTS[node.attrs["element"]]).with_block(1)


def is_narrow(node: Node) -> bool:
    """Whether a node is an input whose value is rounded to halves, which lie as those of other ops do."""
    return node.op == "input" and node.type.element in HALVES


def is_prepared(node: Node) -> bool:
    """Whether a node is an input whose value is computed from the array that the caller passes: with mean or std, or
    from another type. Else it is that array."""
    return node.op == "input" and bool(node.attrs["mean"] or node.attrs["std"] or node.attrs["element"] != FLOAT32.name)


def scale_and_shift(attrs: Attrs, channels: int) -> tuple[Array, Array]:
    """(x - mean) / std as x scale + shift: float32, a number for each channel."""
    mean, std = (
        np.broadcast_to(np.asarray(attrs[name] or (neutral,), np.float64), (channels,))
        for name, neutral in (("mean", 0.0), ("std", 1.0))
    )
    return (1 / std).astype(np.float32), (-mean / std).astype(np.float32)


def input_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """x scale + shift of what the caller passes, channel by channel. Integers become float32 first. Product and sum are
    each rounded to float32, as modules for processors do: so bytes made of it are the same on all of these."""
    x = xs[0] if xs[0].dtype.kind == "f" else xs[0].astype(np.float32)
    if not (attrs["mean"] or attrs["std"]):
        return x
    scale, shift = (each.reshape((-1, *(1,) * (x.ndim - 2))) for each in scale_and_shift(attrs, x.shape[1]))
    return (x.astype(np.float32) * scale + shift).astype(x.dtype)


def const_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(1, *dims), for every batch."""
    return (1, *check_dims(attrs))


def const_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """One slot, `value`."""
    return {"value": (1, *attrs["dims"])}


def const_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Numbers of the type that is said."""
    return TensorType(shape, element=element_of(attrs))


def const_elements(attrs: Attrs) -> Mapping[str, Element]:
    """The value has the type of the result."""
    return {"value": element_of(attrs)}


def learned(rng: np.random.Generator, shape: Shape, attrs: Attrs, moment: float) -> Array:
    """Normally distributed; small integers where it is of integers."""
    element = element_of(attrs)
    if element.whole:
        return rng.integers(max(-9, int(element.least)), 9, shape, endpoint=True).astype(element.dtype)
    values = normal(1.0)(rng, shape, attrs, moment)
    return values if element == FLOAT32 else encode(values, element)


def const_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """The value, in the dtype it is given in."""
    return weights["value"]


INPUT = Op(
    name="input",
    arity=(0, 0),
    attributes={
        "dims": REQUIRED,
        "batch": 1,
        "element": FLOAT32.name,
        **PICTURE,
        "mean": (),
        "std": (),
        "range": (),
        "value": FLOAT32.name,
    },
    weights=no_weights,
    shape=input_shape,
    macs=no_macs,
    window=one_position,
    reference=input_reference,
    tolerance=1e-6,
    traits=replace(COMPUTED, kind=Kind.INPUT, layout=LOGICAL),
    forms=(
        Form(
            "input",
            "input 3x224x224",
            (("dims+range", Syntax.RANGED),),
            words={
                "mean": ("mean", Syntax.NUMBERS),
                "std": ("std", Syntax.NUMBERS),
                "batch": ("batch", Syntax.COUNT),
                **TYPED,
                **PICTURE_WORDS,
                UNUSED: (UNUSED, Always(True)),
                WHERE: ("range", Syntax.WHERE),
            },
            finish=unpack("dims+range"),
            source=True,
            synonyms=("inputs", "placeholder"),
        ),
    ),
    tried=untried("it reads nothing: what is drawn first in a graph"),
    spread=gaussian,
    types=input_types,
)
CONST = Op(
    name="const",
    arity=(0, 0),
    attributes={"dims": REQUIRED, "element": FLOAT32.name},
    weights=const_weights,
    shape=const_shape,
    macs=no_macs,
    window=one_position,
    reference=const_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, kind=Kind.CONSTANT),
    forms=(
        Form(
            "const",
            "const 3x1x1",
            (("dims", Syntax.DIMS),),
            words=TYPED,
            source=True,
            synonyms=("constant", "parameter"),
        ),
    ),
    tried=untried("it reads nothing: its size is that of a value it is multiplied into"),
    initial={"value": learned},
    spread=gaussian,
    types=const_types,
    elements=const_elements,
)
OPS = (INPUT, CONST)
