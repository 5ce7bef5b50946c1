"""Layers on bytes: convolution, fully connected, sum, average, product with a factor for each channel, table.

What they compute is the page docs/int8.md, in NumPy in `byte_arithmetic`. Their results are bytes of the given scale
and zero point, or float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.base.elements import FLOAT32, INT8, INT32, Element
from cnncc.ir import Graph
from cnncc.ir.types import Quantization, TensorType
from cnncc.ops.byte_arithmetic import (
    BYTES,
    MOST_ROUNDED,
    Residual,
    added_bytes,
    byte_bounds,
    exact_products,
    exact_totals,
    factored,
    int32_sums,
    known,
    mean_factor,
    saturated,
    scaled,
    scales,
    to_bytes,
)
from cnncc.ops.combine import elementwise_shape, merged_batch
from cnncc.ops.conv import (
    CONV,
    CONV_TRANSPOSE,
    CONV_WORDS,
    OUT,
    UPCONV_WORDS,
    conv_reference,
    transpose_reference,
    turned_weight,
)
from cnncc.ops.dense import FC
from cnncc.ops.domains import untried
from cnncc.ops.epilogue import own_count, with_epilogue
from cnncc.ops.forms import BIAS, KERNEL, Form, Syntax, Word, same_pad
from cnncc.ops.initial import Initial, Spread, uniform
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.pool import global_shape
from cnncc.ops.quantize import eight_bits, exact_only, named_element
from cnncc.ops.shapes import dims, image, whole_image
from cnncc.ops.table import (
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
    same_shape,
)
from cnncc.ops.traits import COMPUTED, KEPT, PostOps

Numbers = npt.NDArray[Any]

RESULT: Attrs = {"element": "float32", "scale": 1.0, "zero": 0}
"""Attributes of the type of a result."""
RESULT_WORDS: Mapping[str, Word] = {
    "to": ("element", Syntax.ELEMENT),
    "scale": ("scale", Syntax.SCALE),
    "zero": ("zero", Syntax.INTEGER),
}
ADDED: tuple[tuple[str, tuple[Any, ...]], ...] = (("add", ()),)
"""The epilogue of a layer with a second argument, which is added before the result is rounded."""


def result_type(attrs: Attrs, shape: Shape) -> TensorType:
    """float32, or bytes with the scale and the zero point of the attributes."""
    element = named_element(attrs["element"])
    if element == FLOAT32:
        if (attrs["scale"], attrs["zero"]) != (1.0, 0):
            raise ShapeError("float32 has no scale and no zero", "`to uint8` or `to int8` before them")
        return TensorType(shape)
    eight_bits(element)
    return TensorType(shape, element=element, quantization=Quantization(attrs["scale"], attrs["zero"]))


def refuse_others(types: Types) -> None:
    """ShapeError unless all are bytes with a scale."""
    for position, given in enumerate(types):
        if given.quantization is None or given.element.bits != 8:
            which = "" if len(types) == 1 else f" as input {position + 1}"
            raise ShapeError(f"takes bytes with a scale, got {given.numbers}{which}", "`quantize` makes such")


def refuse_fine(types: Types, result: TensorType) -> None:
    """ShapeError for a result of bytes whose scale is so small beside those of what is added that it could not be
    rounded: see `MOST_ROUNDED`."""
    if result.quantization is None:
        return
    most = BYTES * sum(known(given).scale for given in types) / result.quantization.scale
    if most > MOST_ROUNDED / 2:  # the other half is for what rounding adds, and for sums of products
        what = f"scale {result.quantization.scale:g} is too small beside those of the arguments"
        raise ShapeError(what, "no result may have more than 2^29 steps")


def layer_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Bytes to bytes or float32; something can be added to bytes only."""
    refuse_others(types)
    result = result_type(attrs, shape)
    if result.is_float and len(types) > 1:
        raise ShapeError("a second argument is added to results of bytes only", "e.g. `to uint8 scale 0.02 zero 0`")
    refuse_fine(types[1:], result)
    return result


def sum_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Bytes to bytes or float32, by their scales alone."""
    refuse_others(types)
    result = result_type(attrs, shape)
    refuse_fine(types, result)
    return result


def rounded_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Bytes to bytes."""
    result = sum_types(types, attrs, shape)
    return bytes_only(result)


def bytes_only(result: TensorType) -> TensorType:
    """The type of a result; ShapeError for float32."""
    if result.is_float:
        raise ShapeError("gives bytes", "e.g. `to uint8 scale 0.02 zero 0` behind it")
    return result


def table_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Bytes to bytes, of any scales."""
    refuse_others(types)
    return bytes_only(result_type(attrs, shape))


def factor_types(types: Types, attrs: Attrs, shape: Shape) -> TensorType:
    """Bytes times float32 to bytes."""
    if not types[1].is_float:
        raise ShapeError(f"takes float32 as input 2, got {types[1].numbers}")
    refuse_others(types[:1])
    return bytes_only(result_type(attrs, shape))


def bounds_of(epilogue: tuple[tuple[str, Any], ...]) -> tuple[float, float]:
    """The least and the largest result that the activations of an epilogue leave."""
    low, high = -np.inf, np.inf
    for name, attrs in epilogue:
        if name != "add":
            least, most = BOUNDED[name](dict(attrs))
            low, high = min(max(low, least), most), min(max(high, least), most)
    return float(low), float(high)


def residual_of(values: Numbers, kind: TensorType, result: TensorType) -> Residual:
    """A tensor that is added to a result of bytes."""
    scale = np.float32(known(kind).scale) / np.float32(known(result).scale)
    return Residual(values, known(kind).zero, np.float32(scale))


def layer_factors(source: TensorType, result: TensorType, weight_scales: Numbers) -> Numbers:
    """Steps of the result, or numbers, for one step of the sum; by channel."""
    return scales(known(source).scale, weight_scales, 1.0 if result.quantization is None else result.quantization.scale)


def finished(sums: Numbers, xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The result of a layer with weights, from its sums."""
    source, result = types[0], types[-1]
    factors = layer_factors(source, result, weights["weight_scale"])
    own = own_count(len(xs), attrs)
    residual = residual_of(xs[own], types[own], result) if own < len(xs) else None
    value = scaled(sums, factors, residual)
    low, high = bounds_of(attrs["epilogue"])
    if result.is_float:
        return np.clip(value, np.float32(low), np.float32(high))
    return to_bytes(value, byte_bounds(result, low, high))


def bias_of(weights: Weights) -> Numbers:
    """In steps of the sum; 0 without one."""
    return weights["bias"] if "bias" in weights else np.zeros(len(weights["weight"]), np.int64)


def exact_sums(
    x: Numbers, weight: Numbers, bias: Numbers, zero: int, attrs: Attrs, sums_of: Any = conv_reference
) -> Numbers:
    """bias + sum of (x - zero) w of a convolution, int32; x (n, c, h, w), weight (o, c / groups, kh, kw). `attrs` are
    those of a `conv`. Padding is zero, so it adds nothing. `sums_of` is the float32 op's reference, which has its own
    order of the weight."""
    weights = {"weight": weight.astype(np.float64)}
    sums = sums_of((x.astype(np.float64) - zero,), weights, attrs)  # exact below 2^53
    return int32_sums(np.rint(sums).astype(np.int64) + bias.astype(np.int64).reshape(-1, *[1] * (sums.ndim - 2)))


def conv_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """Exact sums, and then one conversion."""
    sums = exact_sums(xs[0], weights["weight"], bias_of(weights), known(types[0]).zero, attrs)
    return finished(sums, xs, weights, attrs, types)


def transpose_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The same of a transposed convolution."""
    weight = turned_weight(weights["weight"], attrs["groups"])
    sums = exact_sums(xs[0], weight, bias_of(weights), known(types[0]).zero, attrs, transpose_reference)
    return finished(sums, xs, weights, attrs, types)


def fc_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The same of a fully connected layer."""
    flat = xs[0].reshape(len(xs[0]), -1)
    sums = exact_products(flat, weights["weight"], bias_of(weights), known(types[0]).zero)
    return finished(sums, xs, weights, attrs, types)


def add_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The sum of two tensors."""
    a, b = (residual_of(x, kind, types[-1]) for x, kind in zip(xs, types[:-1], strict=True))
    return added_bytes(a, b, byte_bounds(types[-1]))


def gap_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The mean of each channel."""
    source, result = types
    count = xs[0].shape[2] * xs[0].shape[3]
    factor = mean_factor(known(source).scale, count, 1.0 if result.is_float else known(result).scale)
    value = scaled(exact_totals(xs[0], known(source).zero), np.full(xs[0].shape[1], factor))
    return value if result.is_float else to_bytes(value, byte_bounds(result))


def mul_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """A tensor times a factor for each channel of each image."""
    source, result = known(types[0]), types[-1]
    ratio = np.float32(source.scale) / np.float32(known(result).scale)
    return saturated(factored(xs[0], source.zero, xs[1], ratio), byte_bounds(result))


def lookup_exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Numbers:
    """The entry of the table for each byte, by its bits."""
    entries = weights["table"].view(types[-1].element.dtype)
    return entries[np.ascontiguousarray(xs[0]).view(np.uint8)]


def add_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """That of both; one of them may be the same for all images."""
    if shapes[0][1:] != shapes[1][1:]:
        raise ShapeError(f"arms differ: {dims(shapes[0])} and {dims(shapes[1])}", "both need the same shape")
    return (merged_batch(shapes), *shapes[0][1:])


def mul_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """c x h x w times c x 1 x 1."""
    image(shapes[0])
    if shapes[1][1:] != (shapes[0][1], 1, 1):
        raise ShapeError(f"the factor is {dims(shapes[1])}", f"it has to be {shapes[0][1]}x1x1")
    return elementwise_shape(shapes, attrs)


def weight_slots(op: Op) -> Any:
    """Those of the float32 op, and the scale of each output channel's weights."""
    return lambda shapes, attrs: {**op.weights(shapes[:1], attrs), "weight_scale": (attrs["out"],)}


def weight_elements(attrs: Attrs) -> Mapping[str, Element]:
    return {"weight": INT8, "bias": INT32}


def some_bytes(rng: np.random.Generator, shape: Shape, attrs: Attrs, moment: float) -> Numbers:
    """Weights as they are spread in trained networks: about normal, the largest near 127."""
    return np.clip(np.rint(rng.standard_normal(shape) * 40), -127, 127).astype(np.int8)


def some_steps(rng: np.random.Generator, shape: Shape, attrs: Attrs, moment: float) -> Numbers:
    return rng.integers(-1000, 1000, shape).astype(np.int32)


def some_numbers(s: Spread) -> Numbers:
    """Of results of any scale."""
    return s.rng.standard_normal(len(s.args[0]))


INITIAL: Mapping[str, Initial] = {"weight": some_bytes, "bias": some_steps, "weight_scale": uniform(0.002, 0.004)}
UNTRIED = untried("which values it takes, types say")
RESULT_TEXT = "to uint8 scale 0.02 zero 128"


def layer(op: Op, name: str, exact: Any, forms: tuple[Form, ...], traits: Any, slots_of: Op | None = None) -> Op:
    """The layer on bytes that a layer of float32 numbers is quantised to; its constants are those of another op, if
    that is given."""
    own = Op(
        name=name,
        arity=(1, 1),
        attributes={**op.attributes, **RESULT},
        weights=weight_slots(slots_of or op),
        shape=op.shape,
        macs=op.macs,
        window=op.window,
        reference=exact_only,
        tolerance=0.0,
        traits=traits,
        forms=forms,
        tried=UNTRIED,
        initial=INITIAL,
        spread=some_numbers,
        types=layer_types,
        elements=weight_elements,
        exact=exact,
    )
    return replace(with_epilogue(own), reference=exact_only)


def arms_too(form: Form, example: str) -> tuple[Form, Form]:
    """The form, and the same with a second argument that is added."""
    return form, replace(form, arms=True, example=f"{form.word} {{ | from x }} {example} {RESULT_TEXT}", epilogue=ADDED)


QCONV = layer(
    CONV,
    "qconv",
    conv_exact,
    (
        *arms_too(
            Form(
                "qconv",
                f"qconv 3x3 64 /2 {RESULT_TEXT}",
                (KERNEL, OUT),
                words={**CONV_WORDS, **RESULT_WORDS},
                finish=same_pad,
                leads=True,
                synonyms=("qlinearconv", "convinteger"),
            ),
            "3x3 3",
        ),
    ),
    replace(CONV.traits, kind=COMPUTED.kind, post_ops=PostOps.BOUNDS),
)
QCONV_TRANSPOSE = layer(
    CONV_TRANSPOSE,
    "qconv_transpose",
    transpose_exact,
    (
        *arms_too(
            Form(
                "qupconv",
                f"qupconv 2x2 64 /2 {RESULT_TEXT}",
                (KERNEL, OUT),
                words={**UPCONV_WORDS, **RESULT_WORDS},
                leads=True,
                synonyms=("qconvtranspose", "qdeconv"),
            ),
            "1x1 3",
        ),
    ),
    replace(
        CONV_TRANSPOSE.traits,
        kind=COMPUTED.kind,
        post_ops=PostOps.BOUNDS,
        half_weights=False,
        weight_by_input=False,
    ),
    slots_of=CONV,
)
QFC = layer(
    FC,
    "qfc",
    fc_exact,
    (
        Form(
            "qfc",
            f"qfc 1000 {RESULT_TEXT}",
            (("out", Syntax.RESULTS),),
            words={**BIAS, **RESULT_WORDS},
            leads=True,
            synonyms=("qlinearmatmul", "qgemm", "matmulinteger"),
        ),
    ),
    replace(FC.traits, kind=COMPUTED.kind, post_ops=PostOps.BOUNDS, half_weights=False),
)
ALONE: dict[str, Any] = {
    "weights": no_weights,
    "macs": no_macs,
    "window": one_position,
    "reference": exact_only,
    "tolerance": 0.0,
    "tried": UNTRIED,
    "spread": some_numbers,
}
QADD = Op(
    name="qadd",
    arity=(2, 2),
    attributes=RESULT,
    shape=add_shape,
    traits=replace(COMPUTED, in_place=True),
    forms=(
        Form(
            "qadd",
            f"qadd {{ | from x }} {RESULT_TEXT}",
            words=RESULT_WORDS,
            arms=True,
            leads=True,
            synonyms=("qlinearadd",),
        ),
    ),
    types=rounded_types,
    exact=add_exact,
    **ALONE,
)
QGAP = Op(
    name="qgap",
    arity=(1, 1),
    attributes=RESULT,
    shape=global_shape,
    traits=COMPUTED,
    forms=(Form("qgap", f"qgap {RESULT_TEXT}", words=RESULT_WORDS, synonyms=("qlinearglobalaveragepool",)),),
    types=sum_types,
    exact=gap_exact,
    **{**ALONE, "window": whole_image},
)
QMUL = Op(
    name="qmul",
    arity=(2, 2),
    attributes=RESULT,
    shape=mul_shape,
    traits=COMPUTED,
    forms=(
        Form("qmul", f"qmul {{ | from x }} {RESULT_TEXT}", words=RESULT_WORDS, arms=True, synonyms=("qlinearmul",)),
    ),
    types=factor_types,
    exact=mul_exact,
    **ALONE,
)
LOOKUP = Op(
    name="lookup",
    arity=(1, 1),
    attributes=RESULT,
    shape=same_shape,
    traits=replace(COMPUTED, layout=KEPT, in_place=True),
    forms=(),
    types=table_types,
    exact=lookup_exact,
    initial={"table": some_bytes},
    **{**ALONE, "weights": lambda shapes, attrs: {"table": (256,)}},
    elements=lambda attrs: {"table": INT8},
)
ON_BYTES: Mapping[str, str] = {
    "conv": "qconv",
    "conv_transpose": "qconv_transpose",
    "fc": "qfc",
    "add": "qadd",
    "gap": "qgap",
    "mul": "qmul",
}
"""What an op of float32 numbers is on bytes."""


def is_on_bytes(graph: Graph) -> bool:
    """Whether a graph has layers on bytes."""
    return any(node.op in ON_BYTES.values() for node in graph.nodes)


OPS = (QCONV, QCONV_TRANSPOSE, QFC, QADD, QGAP, QMUL, LOOKUP)
