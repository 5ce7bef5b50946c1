"""How each op is said in ONNX: one rule an op. Where there is a choice, the form ONNX Runtime is fastest with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.base.discovery import gathered
from cnncc.base.elements import FLOAT32
from cnncc.frontends.onnx import convert
from cnncc.frontends.onnx.write_bytes import BYTE_RULES, bound
from cnncc.frontends.onnx.write_places import PLACE_RULES, refused
from cnncc.frontends.onnx.write_windows import WINDOW_RULES
from cnncc.ir import Node
from cnncc.ops import TABLE
from cnncc.ops.onnx import Onnx
from cnncc.ops.parts import places
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.source import is_prepared, port_type

if TYPE_CHECKING:
    from cnncc.frontends.onnx.model import OnnxModel

WriteRule = Callable[["OnnxModel", Node], object]


def source(model: OnnxModel, node: Node) -> None:
    """(x - mean) / std of what the caller passes, as float32, under the input's own name."""
    from cnncc.frontends.onnx.model import data_type

    steps = [(op, key) for op, key in (("Sub", "mean"), ("Div", "std")) if node.attrs[key]]
    # Only where an output has that name does the caller's array need another one.
    clash = is_prepared(node) and node.name in model.graph.output_names
    value = model.ports[node.name] = model.fresh(f"{node.name}:raw") if clash else node.name
    if not port_type(node).is_float:
        value = model.step("Cast", [value], f"{node.name}:float32", to=data_type(FLOAT32))
    for op, key in steps:
        column = np.array(node.attrs[key], np.float32).reshape(-1, *(1,) * (len(node.type.shape) - 2))
        value = model.step(op, [value, model.tensor(f"{node.name}.{key}", column)], f"{node.name}:{op.lower()}")
    if is_prepared(node):
        model.stands_for(node, value)


def const(model: OnnxModel, node: Node) -> None:
    """A tensor of the model is a value already."""
    model.stands_for(node, *model.weights(node))


def fc(model: OnnxModel, node: Node) -> None:
    """x @ weight.T + bias."""
    (data,) = model.data(node)
    if len(model.shape(node.inputs[0])) > 2:
        data = model.step("Flatten", [data], f"{node.name}:flat", axis=1)
    model.emit("Gemm", [data, *model.weights(node)], node.name, transB=1)


def bn(model: OnnxModel, node: Node) -> None:
    """Inference form: one result."""
    model.emit(
        "BatchNormalization", model.data(node) + model.weights(node), node.name, epsilon=float(node.attrs["eps"])
    )


def global_sum(model: OnnxModel, node: Node) -> None:
    """ONNX has no pool of this kind."""
    axes = model.integers(f"{node.name}.axes", (2, 3))
    model.emit("ReduceSum", [*model.data(node), axes], node.name, keepdims=1)


def lrn(model: OnnxModel, node: Node) -> None:
    """alpha / size in ONNX too. ONNX Runtime takes windows of odd size only, and images only, so a vector is made one
    for the time."""
    a = node.attrs
    if a["size"] % 2 == 0:
        even_lrn(model, node)
        return
    numbers = {"alpha": float(a["alpha"]), "beta": float(a["beta"]), "bias": float(a["k"]), "size": a["size"]}
    if len(node.type.shape) == 4:
        model.emit("LRN", model.data(node), node.name, **numbers)
        return
    column = model.integers(f"{node.name}.image", (*node.type.shape, 1, 1))
    image = model.step("Reshape", [*model.data(node), column], f"{node.name}:image")
    model.emit("Flatten", [model.step("LRN", [image], f"{node.name}:lrn", **numbers)], node.name, axis=1)


def even_lrn(model: OnnxModel, node: Node) -> None:
    """x / (k + alpha * mean)^beta with the mean of squares by a pool along the channels."""
    a, name, (x,) = node.attrs, node.name, model.data(node)
    shape, size = node.type.shape, a["size"]
    flat = model.integers(f"{name}.flat", (shape[0], 1, shape[1], math.prod(shape[2:])))
    squares = model.step("Reshape", [model.step("Mul", [x, x], f"{name}:squares"), flat], f"{name}:flat")
    pads = ((size - 1) // 2, 0, size // 2, 0)
    mean = model.step("AveragePool", [squares], f"{name}:mean", kernel_shape=(size, 1), pads=pads, count_include_pad=1)
    part = model.step("Mul", [mean, model.number(f"{name}.alpha", a["alpha"])], f"{name}:part")
    base = model.step("Add", [part, model.number(f"{name}.k", a["k"])], f"{name}:base")
    power = model.step("Pow", [base, model.number(f"{name}.beta", a["beta"])], f"{name}:power")
    model.emit("Div", [x, model.step("Reshape", [power, model.integers(f"{name}.shape", shape)], f"{name}:seen")], name)


def relu6(model: OnnxModel, node: Node) -> None:
    """Clip takes its bounds as tensors."""
    bounds = [model.number(f"{node.name}.{k}", v) for k, v in (("min", 0), ("max", 6))]
    model.emit("Clip", model.data(node) + bounds, node.name)


def silu(model: OnnxModel, node: Node) -> None:
    """x * sigmoid(x): Swish itself is an op of the newest opset only."""
    (data,) = model.data(node)
    model.emit("Mul", [data, model.step("Sigmoid", [data], f"{node.name}:sigmoid")], node.name)


def pairwise(op: str) -> WriteRule:
    """A merge as a chain of two at a time: ONNX Runtime fuses `Add` into a convolution, `Sum` it does not."""

    def rule(model: OnnxModel, node: Node) -> None:
        first, *middle, last = model.data(node)
        for i, arm in enumerate(middle):
            first = model.step(op, [first, arm], f"{node.name}:{i}")
        model.emit(op, [first, last], node.name)

    return rule


def compared(op: str) -> WriteRule:
    """A comparison, whose truth values become 1 and 0."""

    def rule(model: OnnxModel, node: Node) -> None:
        model.emit("Cast", [model.step(op, model.data(node), f"{node.name}:truth")], node.name, to=1)

    return rule


def where(model: OnnxModel, node: Node) -> None:
    """The mask becomes truth values."""
    mask, *values = model.data(node)
    model.emit("Where", [model.step("Cast", [mask], f"{node.name}:truth", to=9), *values], node.name)


def mod(model: OnnxModel, node: Node) -> None:
    """The remainder with the sign of the dividend; where that is the wrong one, once the divisor more."""
    (x, y), name = model.data(node), node.name
    rest = model.step("Mod", [x, y], f"{name}:rest", fmod=1)
    product = model.step("Mul", [rest, y], f"{name}:product")
    other = model.step("Less", [product, model.number(f"{name}.zero", 0)], f"{name}:other")
    model.emit("Where", [other, model.step("Add", [rest, y], f"{name}:moved"), rest], name)


def round_to_zero(model: OnnxModel, node: Node) -> None:
    """sign(x) * floor(|x|)"""
    (x,), name = model.data(node), node.name
    size = model.step("Floor", [model.step("Abs", [x], f"{name}:size")], f"{name}:floor")
    model.emit("Mul", [model.step("Sign", [x], f"{name}:sign"), size], name)


def power(model: OnnxModel, node: Node) -> None:
    """The exponent as a tensor."""
    model.emit("Pow", [*model.data(node), model.number(f"{node.name}.exponent", node.attrs["exponent"])], node.name)


def concat(model: OnnxModel, node: Node) -> None:
    """ONNX's does not broadcast: an arm with a batch of 1 is repeated first."""
    batch, arms = node.type.shape[0], model.data(node)
    for i, name in enumerate(node.inputs):
        if model.shape(name)[0] != batch:
            shape = model.integers(f"{node.name}.{i}", (batch, *model.shape(name)[1:]))
            arms[i] = model.step("Expand", [arms[i], shape], f"{node.name}:{i}")
    model.emit("Concat", arms, node.name, axis=1)


def cut(model: OnnxModel, node: Node, axes: tuple[int, ...], starts: tuple[int, ...], ends: tuple[int, ...]) -> None:
    """Positions `starts` .. `ends` - 1 along the axes."""
    bounds = {"starts": starts, "ends": ends, "axes": axes}
    model.emit(
        "Slice", model.data(node) + [model.integers(f"{node.name}.{k}", v) for k, v in bounds.items()], node.name
    )


def channels(model: OnnxModel, node: Node) -> None:
    """Channels start .. stop - 1."""
    cut(model, node, (1,), (node.attrs["start"],), (node.attrs["stop"],))


def crop(model: OnnxModel, node: Node) -> None:
    """The rectangle from (top, left)."""
    top, left, height, width = (node.attrs[k] for k in ("top", "left", "height", "width"))
    cut(model, node, (2, 3), (top, left), (top + height, left + width))


def reshape(model: OnnxModel, node: Node) -> None:
    """0 stands for the batch, whatever it is."""
    model.emit(
        "Reshape", [*model.data(node), model.integers(f"{node.name}.shape", (0, *node.attrs["dims"]))], node.name
    )


def dropout(model: OnnxModel, node: Node) -> None:
    """Kept, so that the network reads as it was written; every runtime drops it."""
    model.emit("Dropout", [*model.data(node), model.number(f"{node.name}.ratio", node.attrs["p"])], node.name)


def upsample(model: OnnxModel, node: Node) -> None:
    """Result i lies at i / scale (nearest, rounded down), (i + 1/2) / scale - 1/2, or corner to corner."""
    a = node.attrs
    scales = model.tensor(f"{node.name}.scales", np.array((1, 1, *a["scale"]), np.float32))
    if a["mode"] == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        where = "align_corners" if a["align_corners"] else "half_pixel"
        how = {"mode": "linear", "coordinate_transformation_mode": where}
    model.emit("Resize", [*model.data(node), "", scales], node.name, **how)


def clip(model: OnnxModel, node: Node) -> None:
    """Bounds as tensors."""
    bounds = [model.number(f"{node.name}.{k}", node.attrs[k]) for k in ("low", "high")]
    model.emit("Clip", model.data(node) + bounds, node.name)


def affine(model: OnnxModel, node: Node) -> None:
    """scale * x + shift."""
    scale, shift = (model.number(f"{node.name}.{k}", node.attrs[k]) for k in ("scale", "shift"))
    product = model.step("Mul", [*model.data(node), scale], f"{node.name}:mul")
    model.emit("Add", [product, shift], node.name)


def times_half(first: str) -> WriteRule:
    """x * (1 + f(..)) / 2 with the error function or tanh: Gelu itself is an op of opset 20."""

    def rule(model: OnnxModel, node: Node) -> None:
        (x,), name = model.data(node), node.name
        if first == "Erf":
            inner = model.step("Mul", [x, model.number(f"{name}.root", 0.5**0.5)], f"{name}:scaled")
        else:
            cube = model.step("Mul", [model.step("Mul", [x, x], f"{name}:square"), x], f"{name}:cube")
            small = model.step("Mul", [cube, model.number(f"{name}.cubic", 0.044715)], f"{name}:cubic")
            total = model.step("Add", [x, small], f"{name}:sum")
            inner = model.step("Mul", [total, model.number(f"{name}.root", (2 / math.pi) ** 0.5)], f"{name}:scaled")
        moved = model.step(
            "Add", [model.step(first, [inner], f"{name}:f"), model.number(f"{name}.one", 1)], f"{name}:up"
        )
        half = model.step("Mul", [x, model.number(f"{name}.half", 0.5)], f"{name}:half")
        model.emit("Mul", [half, moved], name)

    return rule


def mish(model: OnnxModel, node: Node) -> None:
    """x * tanh(softplus(x)): Mish itself is an op of opset 18."""
    (x,) = model.data(node)
    gate = model.step("Tanh", [model.step("Softplus", [x], f"{node.name}:softplus")], f"{node.name}:tanh")
    model.emit("Mul", [x, gate], node.name)


def prelu(model: OnnxModel, node: Node) -> None:
    """The slopes as a tensor that broadcasts."""
    (slope,) = model.weights(node)
    rank = len(node.type.shape)
    if rank > 2:
        dims = model.integers(f"{node.name}.dims", (-1, *(1,) * (rank - 2)))
        slope = model.step("Reshape", [slope, dims], f"{node.name}:slope")
    model.emit("PRelu", [*model.data(node), slope], node.name)


def group_norm(model: OnnxModel, node: Node) -> None:
    """Groups as the channels of an instance norm, then scale and shift: GroupNormalization is of opset 21."""
    groups, name, channels = node.attrs["groups"], node.name, node.type.shape[1]
    rows = model.step("Reshape", [*model.data(node), model.integers(f"{name}.groups", (0, groups, -1))], f"{name}:rows")
    units = [model.tensor(f"{name}.{k}", np.full(groups, v, np.float32)) for k, v in (("ones", 1), ("zeros", 0))]
    normed = model.step("InstanceNormalization", [rows, *units], f"{name}:normed", epsilon=float(node.attrs["eps"]))
    back = [normed, model.integers(f"{name}.shape", (0, *node.type.shape[1:]))]
    if not node.attrs["affine"]:
        model.emit("Reshape", back, name)
        return
    value = model.step("Reshape", back, f"{name}:back")
    dims = model.integers(f"{name}.column", (channels, *(1,) * (len(node.type.shape) - 2)))
    gain, bias = (
        model.step("Reshape", [w, dims], f"{name}:{slot}")
        for slot, w in zip(node.weights, model.weights(node), strict=True)
    )
    model.emit("Add", [model.step("Mul", [value, gain], f"{name}:mul"), bias], name)


def permute(model: OnnxModel, node: Node) -> None:
    """Reshape, transpose, reshape."""
    a, name = node.attrs, node.name
    seen = model.step(
        "Reshape", [*model.data(node), model.integers(f"{name}.split", (0, *a["split"]))], f"{name}:split"
    )
    moved = model.step("Transpose", [seen], f"{name}:moved", perm=(0, *(axis + 1 for axis in a["axes"])))
    model.emit("Reshape", [moved, model.integers(f"{name}.shape", (0, *a["dims"]))], name)


def strided_slice(model: OnnxModel, node: Node) -> None:
    """Slice; an end before the first position is any number below all of them."""
    taken = places(node.attrs)
    axes = [i for i, along in enumerate(taken) if along != range(model.shape(node.inputs[0])[i + 1])]
    ends = [taken[i].stop if taken[i].stop >= 0 else -(1 << 31) for i in axes]
    bounds = {
        "starts": [taken[i].start for i in axes],
        "ends": ends,
        "axes": [i + 1 for i in axes],
        "steps": [taken[i].step for i in axes],
    }
    model.emit(
        "Slice", model.data(node) + [model.integers(f"{node.name}.{k}", v) for k, v in bounds.items()], node.name
    )


def take(model: OnnxModel, node: Node) -> None:
    """Gather."""
    places = model.integers(f"{node.name}.places", node.attrs["indices"])
    model.emit("Gather", [*model.data(node), places], node.name, axis=node.attrs["axis"] + 1)


def expand(model: OnnxModel, node: Node) -> None:
    """1 keeps the batch, whatever it is."""
    model.emit("Expand", [*model.data(node), model.integers(f"{node.name}.shape", (1, *node.attrs["dims"]))], node.name)


def spread(model: OnnxModel, node: Node) -> None:
    """One image's value for each of them."""
    shape = model.integers(f"{node.name}.shape", (node.attrs["batch"], *node.type.shape[1:]))
    model.emit("Expand", [*model.data(node), shape], node.name)


def topk(model: OnnxModel, node: Node) -> None:
    """TopK, or ArgMax for one place. Of equal values TopK takes the first, so for the last the channels are turned."""
    a, name, (x,) = node.attrs, node.name, model.data(node)
    count = model.shape(node.inputs[0])[1]
    if a["last"]:
        turned = {"starts": (-1,), "ends": (-(1 << 31),), "axes": (1,), "steps": (-1,)}
        x = model.step("Slice", [x, *(model.integers(f"{name}.{k}", v) for k, v in turned.items())], f"{name}:turned")
    results = [model.fresh(f"{name}:{kind}") for kind in ("values", "places")]
    model.several("TopK", [x, model.integers(f"{name}.k", (a["k"],))], results, axis=1, largest=int(a["largest"]))
    if not a["indices"]:
        model.emit("Identity", results[:1], name)
        return
    places = model.step("Cast", results[1:], f"{name}:float", to=1)
    if a["last"]:
        turned_back = model.step("Neg", [places], f"{name}:neg")
        model.emit("Add", [turned_back, model.number(f"{name}.last", count - 1)], name)
    else:
        model.emit("Identity", [places], name)


def resize(model: OnnxModel, node: Node) -> None:
    """The names are ONNX's; scales only where they are not the ratio of sizes."""
    a, (n, c, h, w) = node.attrs, model.shape(node.inputs[0])
    size = {"sizes": (n, c, *a["size"])}
    region = ""
    if a["region"]:
        top, left, bottom, right = a["region"]
        region = model.tensor(f"{node.name}.region", np.array((0, 0, top, left, 1, 1, bottom, right), np.float32))
    inputs = [*model.data(node), region, "", model.integers(f"{node.name}.sizes", size["sizes"])]
    if any(a["scale"]):
        factors = [s or new / old for s, new, old in zip(a["scale"], a["size"], (h, w), strict=True)]
        inputs = [*model.data(node), "", model.tensor(f"{node.name}.scales", np.array((1, 1, *factors), np.float32))]
    more: dict[str, Any] = {"nearest_mode": a["rounding"]}
    if a["mode"] != "nearest":
        more = {"exclude_outside": int(a["exclude_outside"])}
        if a["mode"] == "cubic":
            more["cubic_coeff_a"] = float(a["coefficient"])
        if a["antialias"]:
            raise refused(node, "resize with antialias")
    model.emit("Resize", inputs, node.name, mode=a["mode"], coordinate_transformation_mode=a["place"], **more)


def named(onnx: Onnx) -> WriteRule:
    """An op that ONNX has too."""

    def rule(model: OnnxModel, node: Node) -> None:
        numbers = {theirs: float(node.attrs[ours]) for theirs, (ours, _) in onnx.numbers.items()}
        model.emit(onnx.name, model.data(node), node.name, **numbers, **onnx.fixed)

    return rule


OF_NUMBERS: Mapping[str, WriteRule] = {
    **{name: named(op.onnx) for name, op in TABLE.items() if op.onnx and op.onnx.is_written},
    **gathered(convert, "WRITTEN"),
    "clip": clip,
    "affine": affine,
    "mish": mish,
    "gelu": times_half("Erf"),
    "gelu_tanh": times_half("Tanh"),
    "prelu": prelu,
    "group_norm": group_norm,
    "permute": permute,
    "strided_slice": strided_slice,
    "take": take,
    "expand": expand,
    "spread": spread,
    "topk": topk,
    "resize": resize,
    "mod": mod,
    "greater": compared("Greater"),
    "greater_equal": compared("GreaterOrEqual"),
    "equal": compared("Equal"),
    "where": where,
    "round_to_zero": round_to_zero,
    "power": power,
    "input": source,
    "const": const,
    "fc": fc,
    "gsum": global_sum,
    "bn": bn,
    "lrn": lrn,
    "relu6": relu6,
    "silu": silu,
    "add": pairwise("Add"),
    "mul": pairwise("Mul"),
    "concat": concat,
    "upsample": upsample,
    "crop": crop,
    "slice": channels,
    "reshape": reshape,
    "dropout": dropout,
    **WINDOW_RULES,
    **PLACE_RULES,
}
"""Every op but those on bytes alone."""
RULES: Mapping[str, WriteRule] = {
    **OF_NUMBERS,
    **{op: bound(OF_NUMBERS[op]) for op in BOUNDED},
    **BYTE_RULES,
}
"""Every op that a network text can have."""
