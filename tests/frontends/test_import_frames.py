"""Convolutions along three axes, of images folded into other axes, and with computed filters, in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frontends.test_import_onnx import agrees, model, node, ops, random
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.reader import from_onnx

Case = tuple[tuple[int, ...], list[Any], dict[str, np.ndarray]]


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


VIDEO = (1, 4, 5, 8, 7)
SPACE: dict[str, Case] = {
    "3x3x3": (VIDEO, [node("Conv", "x w b", "y", pads=[1] * 6)], {"w": random(4, 4, 3, 3, 3), "b": random(4)}),
    "strided, dilated, grouped": (
        VIDEO,
        [node("Conv", "x w b", "y", pads=[0, 1, 2, 1, 0, 1], strides=[2, 3, 2], dilations=[1, 2, 1], group=2)],
        {"w": random(6, 2, 2, 3, 3), "b": random(6)},
    ),
    "depthwise": (VIDEO, [node("Conv", "x w", "y", pads=[1] * 6, group=4)], {"w": random(4, 1, 3, 3, 3)}),
    "along the depth": (
        VIDEO,
        [node("Conv", "x w", "y", pads=[1, 0, 0, 1, 0, 0], strides=[2, 1, 1])],
        {"w": random(6, 4, 3, 1, 1)},
    ),
    "within frames": (
        VIDEO,
        [node("Conv", "x w", "y", pads=[0, 1, 1, 0, 1, 1], strides=[1, 2, 2])],
        {"w": random(6, 4, 1, 3, 3)},
    ),
    "auto_pad": (
        VIDEO,
        [node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2, 2])],
        {"w": random(6, 4, 3, 3, 2)},
    ),
    "a batch of two": ((2, *VIDEO[1:]), [node("Conv", "x w", "y", pads=[1] * 6)], {"w": random(4, 4, 3, 3, 3)}),
    "pools between": (
        VIDEO,
        [
            node("Conv", "x w", "a", pads=[1] * 6),
            node("MaxPool", "a", "p", kernel_shape=[2, 2, 2], strides=[1, 2, 2]),
            node("Relu", "p", "r"),
            node("Conv", "r v", "c", pads=[0, 1, 1, 0, 1, 1]),
            node("GlobalAveragePool", "c", "y"),
        ],
        {"w": random(5, 4, 3, 3, 3), "v": random(3, 5, 1, 3, 3)},
    ),
    "transposed": (VIDEO, [node("ConvTranspose", "x w b", "y", strides=[2, 2, 2])],
                   {"w": random(4, 3, 2, 2, 2), "b": random(3)}),
    "transposed, everything": (
        VIDEO,
        [node("ConvTranspose", "x w b", "y", strides=[2, 3, 1], pads=[1, 0, 1, 0, 2, 1], output_padding=[1, 2, 0],
              dilations=[1, 2, 1], group=2)],
        {"w": random(4, 3, 3, 2, 3), "b": random(6)},
    ),
    "transposed to a shape": (
        (2, 4, 3, 4, 5),
        [node("ConvTranspose", "x w", "y", strides=[3, 2, 2], output_shape=[10, 8, 9])],
        {"w": random(4, 3, 3, 2, 3)},
    ),
    "transposed, cut deep": (VIDEO, [node("ConvTranspose", "x w", "y", pads=[3, 0, 0, 2, 0, 0])],
                             {"w": random(4, 3, 3, 2, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("case", SPACE)
def test_three_axes(case: str) -> None:
    shape, nodes, tensors = SPACE[case]
    found = ops(agrees(model(nodes, {"x": shape}, ["y"], tensors)))
    assert found["conv"] + found["conv_transpose"] == sum("Conv" in n.op_type for n in nodes)


AXIS = st.tuples(*(st.integers(*bounds) for bounds in ((1, 4), (1, 3), (1, 2), (0, 2), (0, 2))))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(["Conv", "ConvTranspose"]), st.sampled_from([(1, 1), (2, 1), (1, 3)]))
def test_any_window(data: st.DataObject, op: str, images_and_groups: tuple[int, int]) -> None:
    """Kernels, strides, dilations and pads along one to three axes, of one image and of several in one."""
    images, groups = images_and_groups
    axes = [data.draw(AXIS) for _ in range(data.draw(st.integers(1, 3)))]
    kernel, strides, dilations, begin, end = map(list, zip(*axes, strict=True))
    sizes = [d * (k - 1) + 1 + data.draw(st.integers(0, 3)) for k, d in zip(kernel, dilations, strict=True)]
    settings = {"strides": strides, "dilations": dilations, "pads": begin + end, "group": groups}
    if op == "ConvTranspose":
        fits = [(s - 1) * t + d * (k - 1) + 1 - a - b
                for s, t, d, k, a, b in zip(sizes, strides, dilations, kernel, begin, end, strict=True)]  # fmt: skip
        settings["pads"] = settings["pads"] if min(fits) > 0 else [0] * 2 * len(axes)
        most = [max(s, d) - 1 for s, d in zip(strides, dilations, strict=True)]
        settings["output_padding"] = [data.draw(st.integers(0, m)) for m in most]
    channels = 2 * groups
    weight = random(*((groups, 2) if op == "Conv" else (channels, 2)), *kernel)
    folded = (1, images, channels, *sizes)
    nodes = [node("Reshape", "x s", "f"), node(op, "f w", "y", **settings)]
    agrees(model(nodes, {"x": folded}, ["y"], {"s": whole(*folded[1:]), "w": weight}))


def folded(*nodes: Any, shape: tuple[int, ...] = (1, 3, 4, 9, 5), **tensors: np.ndarray) -> Case:
    """Nodes on f, three images that are one input."""
    return shape, [node("Reshape", "x s", "f"), *nodes], {"s": whole(*shape[1:]), **tensors}


BN = {name: random(4) for name in ("g", "h", "m")} | {"v": abs(random(4)) + 1}
FOLDED: dict[str, Case] = {
    "conv": folded(node("Conv", "f w b", "y", pads=[1, 2, 0, 1], strides=[2, 1]), w=random(5, 4, 3, 2), b=random(5)),
    "1x1": folded(node("Conv", "f w", "y"), w=random(5, 4, 1, 1)),
    "of rows": folded(node("Conv", "f w", "y", pads=[1, 1]), shape=(1, 3, 4, 9), w=random(5, 4, 3)),
    "transposed of rows": folded(node("ConvTranspose", "f w", "y", strides=[2]), shape=(1, 3, 4, 9), w=random(4, 5, 3)),
    "transposed": folded(
        node("ConvTranspose", "f w b", "y", pads=[1, 1, 0, 2], strides=[2, 2], output_padding=[1, 0]),
        w=random(4, 5, 3, 2), b=random(5),
    ),
    "transposed with gaps": folded(node("ConvTranspose", "f w", "y", strides=[3, 2]), w=random(4, 5, 2, 2)),
    "batch norm": folded(node("BatchNormalization", "f g h m v", "y"), **BN),
    "lrn": folded(node("LRN", "f", "y", size=3)),
    "instance norm": folded(node("InstanceNormalization", "f w b", "y"), w=random(4), b=random(4)),
    "global pool": folded(node("GlobalAveragePool", "f", "y")),
    "global max pool": folded(node("GlobalMaxPool", "f", "y")),
    "average pool": folded(node("AveragePool", "f", "y", kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1])),
    "max pool along three": folded(node("MaxPool", "f", "y", kernel_shape=[2, 2, 2]), shape=(1, 3, 2, 4, 5, 6)),
    "conv along three": folded(
        node("Conv", "f w", "y", pads=[1] * 6), shape=(1, 3, 2, 4, 5, 6), w=random(4, 2, 3, 3, 3)
    ),
    "depth to space": folded(node("DepthToSpace", "f", "y", blocksize=2)),
    "depth to space, crd": folded(node("DepthToSpace", "f", "y", blocksize=2, mode="CRD")),
    "space to depth": folded(node("SpaceToDepth", "f", "y", blocksize=2), shape=(1, 3, 4, 8, 6)),
    "prelu": folded(node("PRelu", "f w", "y"), w=random(4, 1, 1)),
    "prelu, as many channels as images": folded(node("PRelu", "f w", "y"), shape=(1, 3, 3, 9, 5), w=random(3, 1, 1)),
    "pad": folded(node("Pad", "f p", "y"), p=whole(0, 0, 1, 2, 0, 0, 3, 0)),
    "resize": folded(node("Resize", "f _ r", "y", mode="linear"), r=np.array([1, 1, 2, 1.5], np.float32)),
    "softmax": folded(node("Softmax", "f", "y", axis=1)),
    "a factor per channel": folded(
        node("ReduceMean", "f", "r", axes=[0, 2, 3]), node("Mul", "f r", "y"), shape=(1, 3, 3, 9, 5)
    ),
    "a factor per image": folded(node("ReduceMean", "f", "r", axes=[1, 2, 3]), node("Mul", "f r", "y")),
    "squeeze and excite": folded(
        node("GlobalAveragePool", "f", "p"), node("Conv", "p w", "q"), node("Sigmoid", "q", "r"),
        node("Mul", "f r", "y"), w=random(4, 4, 1, 1),
    ),
    "head": folded(
        node("Conv", "f w", "c", pads=[1] * 4), node("BatchNormalization", "c g h m v", "n"), node("Relu", "n", "r"),
        node("Conv", "r w", "d", pads=[1] * 4), node("Flatten", "d", "e"), node("Gemm", "e u", "k", transB=1),
        node("Reshape", "k t", "y"), w=random(4, 4, 3, 3), u=random(7, 180), t=whole(1, 3, 7), **BN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_several_images_in_one(case: str) -> None:
    shape, nodes, tensors = FOLDED[case]
    agrees(model(nodes, {"x": shape}, ["y"], tensors))


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_frames_of_a_batch(batch: int) -> None:
    """(n, t, c, h, w) as n * t images and back."""
    nodes = [
        node("Reshape", "x s", "f"), node("Conv", "f w", "c", pads=[1] * 4), node("Relu", "c", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]), node("Reshape", "p t", "y"),
    ]  # fmt: skip
    tensors = {"s": whole(-1, 3, 6, 6), "w": random(4, 3, 3, 3), "t": whole(batch, -1, 4, 3, 3)}
    agrees(model(nodes, {"x": (batch, 5, 3, 6, 6)}, ["y"], tensors))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_head_that_two_branches_share(batch: int) -> None:
    """Joined along the batch, and split again."""
    nodes = [
        node("Conv", "a w", "p", pads=[1] * 4), node("Conv", "b w", "q", pads=[1] * 4),
        node("Concat", "p q", "c", axis=0), node("Conv", "c v", "d"), node("Add", "d u", "e"),
        node("Split", "e", "y z", axis=0),
    ]  # fmt: skip
    shapes = {"a": (batch, 3, 6, 6), "b": (batch, 3, 6, 6)}
    tensors = {"w": random(4, 3, 3, 3), "v": random(4, 4, 3, 3), "u": random(1, 4, 1, 1)}
    agrees(model(nodes, shapes, ["y", "z"], tensors, opset=13))


COMPUTED = {
    "filter and bias": ([1, 4, 6, 6], [6, 4, 3, 3], [6], {"pads": [1] * 4, "strides": [1, 2]}),
    "groups": ([1, 4, 6, 6], [6, 2, 3, 3], None, {"group": 2, "dilations": [2, 1], "pads": [1] * 4}),
    "three images": ([3, 4, 6, 6], [6, 2, 3, 3], None, {"group": 2, "pads": [1] * 4}),
    "correlation": ([1, 4, 9, 9], [4, 1, 4, 4], None, {"group": 4}),
    "1x1": ([1, 4, 9, 9], [5, 4, 1, 1], None, {}),
    "of rows": ([1, 4, 9], [5, 4, 3], [5], {"pads": [1, 1]}),
    "three axes": ([1, 4, 5, 6, 7], [6, 2, 3, 2, 3], [6], {"pads": [1, 0, 1, 1, 1, 0], "group": 2}),
    "three axes of two images": ([2, 4, 5, 6, 7], [6, 2, 3, 2, 3], None, {"strides": [2, 1, 1], "group": 2}),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_computed_filters(case: str) -> None:
    image, filters, bias, attributes = COMPUTED[case]
    inputs = {"x": tuple(image), "w": tuple(filters), **({"b": tuple(bias)} if bias else {})}
    found = ops(agrees(model([node("Conv", " ".join(inputs), "y", **attributes)], inputs, ["y"])))
    assert found["matmul"] == 1
    assert found["conv"] == 0


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_filter_for_each_image(batch: int) -> None:
    """StyleGAN's modulated convolution: as many groups as images."""
    nodes = [
        node("Reshape", "s sm", "s5"), node("Mul", "w s5", "ws"),
        node("ReduceSumSquare", "ws", "q", axes=[2, 3, 4]), node("Sqrt", "q", "d"), node("Div", "ws d", "wd"),
        node("Reshape", "wd wr", "wf"), node("Reshape", "x xr", "xf"),
        node("Conv", "xf wf", "c", group=batch, pads=[1] * 4), node("Reshape", "c yr", "y"),
    ]  # fmt: skip
    tensors = {
        "w": random(1, 5, 4, 3, 3), "sm": whole(batch, 1, 4, 1, 1), "wr": whole(batch * 5, 4, 3, 3),
        "xr": whole(1, batch * 4, 6, 7), "yr": whole(batch, 5, 6, 7),
    }  # fmt: skip
    agrees(model(nodes, {"x": (batch, 4, 6, 7), "s": (batch, 4)}, ["y"], tensors))


REFUSED = {
    "four axes": ((1, 2, 3, 3, 3, 3), (2, 2, 1, 1, 1, 1), {}, "a convolution along 4 axes"),
    "too large": (VIDEO, (2, 4, 6, 1, 1), {}, r"a window of 6 does not fit 5 with padding 0\+0"),
    "other channels": (VIDEO, (2, 3, 1, 3, 3), {}, "weight has shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    shape, filters, attributes, text = REFUSED[case]
    proto = model([node("Conv", "x w", "y", **attributes)], {"x": shape}, ["y"], {"w": random(*filters)})
    with pytest.raises(CnnccError, match=text):
        from_onnx(proto)


COMPUTED_REFUSED = {
    "groups": ((1, 4, 8, 7), (2, 3, 2, 2), r"1 groups of filters \[2, 3, 2, 2\] on 4 channels"),
}


@pytest.mark.parametrize("case", COMPUTED_REFUSED)
def test_computed_filters_refused(case: str) -> None:
    shape, filters, text = COMPUTED_REFUSED[case]
    with pytest.raises(CnnccError, match=text):
        from_onnx(model([node("Conv", "x w", "y")], {"x": shape, "w": filters}, ["y"]))


def test_transposed_refusals() -> None:
    nodes = [node("ConvTranspose", "x w", "y", pads=[9, 0, 0, 9, 0, 0])]
    with pytest.raises(CnnccError, match=r"padding 9\+9 leaves nothing of 5"):
        from_onnx(model(nodes, {"x": VIDEO}, ["y"], {"w": random(4, 2, 3, 3, 3)}))
    with pytest.raises(CnnccError, match="computed filters of a transposed convolution along three axes"):
        from_onnx(model([node("ConvTranspose", "x w", "y")], {"x": (1, 2, 4, 4, 4), "w": (2, 2, 2, 2, 2)}, ["y"]))
    with pytest.raises(CnnccError, match=r"1 groups of filters \[3, 2, 2, 2\] on 2 channels"):
        from_onnx(model([node("ConvTranspose", "x w", "y")], {"x": (1, 2, 4, 4), "w": (3, 2, 2, 2)}, ["y"]))


TRANSPOSED = {
    "everything": (
        [1, 4, 5, 6], [4, 3, 3, 2], [6],
        {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2], "dilations": [1, 2], "group": 2},
    ),
    "plain": ([1, 4, 5, 6], [4, 3, 3, 2], None, {}),
    "cut deep": ([1, 4, 5, 6], [4, 3, 2, 2], None, {"pads": [3, 0, 0, 2]}),
    "two images": ([2, 4, 5, 6], [4, 3, 4, 4], None, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "of rows": ([1, 4, 9], [4, 5, 3], [5], {"strides": [2]}),
}  # fmt: skip


@pytest.mark.parametrize("case", TRANSPOSED)
def test_computed_filters_transposed(case: str) -> None:
    image, filters, bias, attributes = TRANSPOSED[case]
    inputs = {"x": tuple(image), "w": tuple(filters), **({"b": tuple(bias)} if bias else {})}
    found = ops(agrees(model([node("ConvTranspose", " ".join(inputs), "y", **attributes)], inputs, ["y"])))
    assert found["matmul"] == 1
