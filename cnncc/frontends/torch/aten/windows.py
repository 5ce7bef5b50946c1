"""Convolutions, pools, borders, patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cnncc.frontends.onnx.convert.dense import along
from cnncc.frontends.onnx.convert.shapes import viewed
from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, plain_value
from cnncc.frontends.torch.call import AtenCall, AtenRule

BORDERS = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's words for borders, and ONNX's."""


def with_images(call: AtenCall, name: str, rank: int) -> tuple[Value, bool]:
    """An argument of so many axes; one image without its axis gets it, which is told."""
    value = call.value(name)
    if len(value.shape) == rank - 1:
        return viewed(call.site("Reshape", name), value, (1, *value.shape)), True
    return value, False


def without_images(call: AtenCall, result: Tensor, added: bool) -> Tensor:
    """A result, without the axis that was added."""
    return call.onnx("Squeeze", result, np.array([0])) if added else result


def convolution(call: AtenCall) -> Tensor:
    """Forward or, where it says so, transposed."""
    weight = call.shape("weight")
    rank = len(weight) - 2
    x, added = with_images(call, "input", len(weight))
    stride, dilation = call.ints("stride", rank), call.ints("dilation", rank)
    attributes = {"strides": stride, "dilations": dilation, "group": call["groups"]}
    if is_transposed(call):
        pads = call.ints("padding", rank)
        more = call.ints("output_padding", rank)
        made = call.onnx("ConvTranspose", x, "weight", "bias", pads=pads * 2, output_padding=more, **attributes)
    else:
        made = call.onnx("Conv", x, "weight", "bias", pads=padding(call, weight[2:], dilation), **attributes)
    return without_images(call, made, added)


def is_transposed(call: AtenCall) -> bool:
    return bool(call["transposed"]) or "transpose" in call.op


def padding(call: AtenCall, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """On both sides of each axis; `same` puts more behind than in front."""
    given = call["padding"]
    if not isinstance(given, str):
        return call.ints("padding", len(kernel)) * 2
    if given == "valid":
        return (0,) * 2 * len(kernel)
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))


# Pools


def pool(op: str, rank: int) -> AtenRule:
    """A pool along so many axes; its stride is its size unless it says another."""

    def rule(call: AtenCall) -> list[Tensor]:
        x, added = with_images(call, "self", rank + 2)
        kernel = call.ints("kernel_size", rank)
        settings = {
            "kernel_shape": kernel,
            "strides": call.ints("stride", rank) or kernel,
            "pads": call.ints("padding", rank) * 2,
            "ceil_mode": bool(call["ceil_mode"]),
        }
        if op == "MaxPool":
            settings["dilations"] = call.ints("dilation", rank)
            made = [*call.several(op, 2, x, **settings)]
            made[1:] = [in_planes(call, places) for places in made[1:] if isinstance(places, Value)]
        else:
            call.only("divisor_override", None)
            made = [call.onnx(op, x, count_include_pad=bool(call["count_include_pad"]), **settings)]
        return [without_images(call, tensor, added) for tensor in made]

    return rule


def in_planes(call: AtenCall, places: Value) -> Value:
    """Places as PyTorch counts them, in each channel; ONNX counts in the whole tensor."""
    node, _ = call.b.places[places.node]
    return plain_value(node, places.shape)


def adaptive(op: str, rank: int) -> AtenRule:
    """A pool to a size: over all, in equal windows, or, of means, by a matrix for each axis. Of the largest values
    PyTorch gives the places, too; these are not read."""

    def rule(call: AtenCall) -> list[Tensor]:
        x, added = with_images(call, "self", rank + 2)
        sizes = x.shape[2:]
        wanted = tuple(
            old if new is None else new for old, new in zip(sizes, call.ints("output_size", rank), strict=True)
        )
        if set(wanted) == {1}:
            made = call.onnx(f"Global{op}", x)
        elif all(old % new == 0 for old, new in zip(sizes, wanted, strict=True)):
            windows = tuple(old // new for old, new in zip(sizes, wanted, strict=True))
            made = x if set(windows) == {1} else call.onnx(op, x, kernel_shape=windows, strides=windows)
        elif op == "AveragePool":
            made = x
            for i, (old, new) in enumerate(zip(sizes, wanted, strict=True)):
                made = made if old == new else along(call.site("MatMul", made), made, i + 2, shares(old, new))
        else:
            raise Unsupported(f"the largest of windows of several sizes: {list(sizes)} to {list(wanted)}")
        return [without_images(call, made, added)]

    return rule


def shares(old: int, new: int) -> np.ndarray:
    """(old, new): the share of each place in the mean of each window."""
    found = np.zeros((old, new), np.float32)
    for i in range(new):
        window = slice(i * old // new, -(-(i + 1) * old // new))
        found[window, i] = 1 / (window.stop - window.start)
    return found


# Borders and patches


def border(call: AtenCall) -> Tensor:
    """Sizes come in pairs from the last axis on."""
    rank, amounts = len(call.shape("self")), call.ints("pad")
    sides = [(0, 0)] * rank
    for i in range(len(amounts) // 2):
        sides[rank - 1 - i] = (amounts[2 * i], amounts[2 * i + 1])
    pads = np.array([*(before for before, _ in sides), *(after for _, after in sides)])
    return call.onnx("Pad", "self", pads, call["value"], mode=BORDERS[call["mode"] or "constant"])


def unfold(call: AtenCall) -> Tensor:
    """Windows as columns (n, c taps, places): a convolution whose filters pick one tap each."""
    x, added = with_images(call, "self", 4)
    kernel = call.ints("kernel_size", 2)
    channels, taps = x.shape[1], math.prod(kernel)
    filters = np.tile(np.eye(taps, dtype=np.float32), (channels, 1)).reshape(channels * taps, 1, *kernel)
    made = call.onnx(
        "Conv",
        x,
        filters,
        strides=call.ints("stride", 2),
        dilations=call.ints("dilation", 2),
        pads=call.ints("padding", 2) * 2,
        group=channels,
    )
    return without_images(
        call, viewed(call.site("Reshape", made), made, (*made.shape[:2], math.prod(made.shape[2:]))), added
    )


CONVOLUTIONS = ("convolution", *(f"conv{t}{rank}d" for t in ("", "_transpose") for rank in (1, 2, 3)))
POOLS = {
    **{f"max_pool{rank}d": pool("MaxPool", rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": pool("MaxPool", rank) for rank in (2, 3)},
    **{f"avg_pool{rank}d": pool("AveragePool", rank) for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d": adaptive("AveragePool", rank) for rank in (1, 2, 3)},
    **{f"_adaptive_avg_pool{rank}d": adaptive("AveragePool", rank) for rank in (2, 3)},
    **{f"adaptive_max_pool{rank}d": adaptive("MaxPool", rank) for rank in (1, 2, 3)},
}
RULES: Mapping[str, AtenRule] = {
    **{f"aten.{name}": convolution for name in CONVOLUTIONS},
    **{f"aten.{name}": rule for name, rule in POOLS.items()},
    "aten.pad": border,
    "aten.constant_pad_nd": border,
    "aten.im2col": unfold,
}
