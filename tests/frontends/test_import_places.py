"""ONNX ops at computed places, against ONNX Runtime: attributes and shapes that the official node tests do not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import cnncc.contrib.onnx_backend as backend
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.write import net_text

Arrays = dict[str, np.ndarray]
RNG = np.random.default_rng(3)


def model(nodes: list[onnx.NodeProto], arrays: Arrays, known: Arrays, outputs: dict[str, int], opset: int = 20) -> Any:
    """A model of nodes; `known` are its tensors, `outputs` names and types."""
    kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in arrays.items()}
    inputs = [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in arrays.items()]
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in known.items()]
    graph = helper.make_graph(nodes, "g", inputs, results, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made)


def check(made: Any, arrays: Arrays, tolerance: float = 1e-5) -> list[np.ndarray]:
    """The outputs, which are ONNX Runtime's, in shape and type too; the text of the network says the same graph."""
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, arrays)
    prepared = backend.prepare(made)
    got = prepared.run(list(arrays.values()))
    for found, right in zip(got, wanted, strict=True):
        assert (found.shape, found.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(found, right, atol=tolerance * max(1.0, abs(right).max(initial=0)), rtol=0)
    net_text(from_onnx(made).graph)
    return list(got)


def one(op: str, arrays: Arrays, known: Arrays | None = None, kind: int = TensorProto.FLOAT, **attrs: Any) -> Any:
    """A model of one node that reads all arrays, in order, then what is known; its opset is that of its name."""
    opset = attrs.pop("opset", 20)
    names = [*arrays, *(known or {})]
    return model([helper.make_node(op, names, ["y"], **attrs)], arrays, known or {}, {"y": kind}, opset)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape)


MODES = [(mode, outside, align) for mode in ("linear", "nearest", "cubic")
         for outside in ("zeros", "border", "reflection") for align in (0, 1)]  # fmt: skip


@pytest.mark.parametrize(("mode", "outside", "align"), MODES)
def test_grid_sample(mode: str, outside: str, align: int) -> None:
    arrays = {"x": real(2, 9, 7, 5), "g": RNG.uniform(-1.7, 1.7, (2, 3, 8, 2)).astype(np.float32)}
    check(one("GridSample", arrays, mode=mode, padding_mode=outside, align_corners=align), arrays)


def test_grid_sample_of_a_known_grid_and_of_a_volume() -> None:
    x = {"x": real(1, 3, 7, 5)}
    check(one("GridSample", x, {"g": RNG.uniform(-1, 1, (1, 3, 8, 2)).astype(np.float32)}), x)
    arrays = {"x": real(1, 3, 4, 7, 5), "g": RNG.uniform(-1.2, 1.2, (1, 2, 3, 8, 3)).astype(np.float32)}
    check(one("GridSample", arrays, padding_mode="border"), arrays)


@pytest.mark.parametrize("align", [0, 1])
def test_spatial_transformer(align: int) -> None:
    """AffineGrid of a computed matrix, then GridSample, and a layer after that."""
    nodes = [
        helper.make_node("AffineGrid", ["t", "size"], ["g"], align_corners=align),
        helper.make_node("GridSample", ["x", "g"], ["s"], align_corners=align),
        helper.make_node("Conv", ["s", "w"], ["y"]),
    ]
    arrays = {"x": real(2, 3, 9, 7), "t": real(2, 2, 3) / 2}
    known = {"size": np.array([2, 3, 6, 8]), "w": real(4, 3, 3, 3)}
    check(model(nodes, arrays, known, {"y": TensorProto.FLOAT}), arrays)


@pytest.mark.parametrize(
    "attrs",
    [
        {"sampling_ratio": 2, "spatial_scale": 0.5},
        {"mode": "max", "coordinate_transformation_mode": "output_half_pixel"},
        {"sampling_ratio": 0, "output_height": 7, "output_width": 7},
    ],
)
def test_roi_align(attrs: dict[str, Any]) -> None:
    low = RNG.uniform(-2, 9, (5, 2))
    rois = np.concatenate([low, low + RNG.uniform(1, 9, (5, 2))], axis=1).astype(np.float32)
    arrays = {"x": real(2, 3, 11, 9), "r": rois}
    attrs = {"output_height": 2, "output_width": 3, **attrs}
    check(one("RoiAlign", arrays, {"b": whole(0, 2, 5)}, **attrs), arrays, 3e-5)


def test_deformable_convolution() -> None:
    attrs = {"pads": [1, 0, 1, 1], "strides": [2, 1], "group": 2, "offset_group": 2, "kernel_shape": [3, 2]}
    mask = RNG.uniform(0, 1, (1, 2 * 6, 5, 7)).astype(np.float32)
    arrays = {"x": real(1, 4, 9, 7), "o": real(1, 2 * 6 * 2, 5, 7), "m": mask}
    node = helper.make_node("DeformConv", ["x", "w", "o", "b", "m"], ["y"], **attrs)
    check(model([node], arrays, {"w": real(6, 2, 3, 2), "b": real(6)}, {"y": TensorProto.FLOAT}, 19), arrays)


def deformed(filter: np.ndarray, offsets: np.ndarray) -> Any:
    """A deformable convolution of a small image."""
    node = helper.make_node("DeformConv", ["x", "w", "o"], ["y"])
    return model([node], {"x": real(1, 2, 5, 5), "o": offsets}, {"w": filter}, {"y": TensorProto.FLOAT}, 19)


GATHERS = {
    "rows of a table": ("Gather", {"x": real(11, 5), "i": whole(-11, 11, 2, 3)}, {"axis": 0}),
    "columns": ("Gather", {"x": real(3, 4, 7), "i": whole(-7, 7, 5)}, {"axis": 2}),
    "one row": ("Gather", {"x": real(3, 4, 7), "i": np.array(2)}, {"axis": 1}),
    "elements": ("GatherElements", {"x": real(3, 9, 7), "i": whole(-9, 9, 3, 4, 7)}, {"axis": 1}),
    "elements of a part": ("GatherElements", {"x": real(3, 9, 7), "i": whole(0, 7, 2, 9, 5)}, {"axis": 2}),
    "by two numbers": ("GatherND", {"x": real(4, 5, 7), "i": whole(-4, 4, 3, 2)}, {}),
    "by one number a batch": ("GatherND", {"x": real(3, 5, 7), "i": whole(0, 5, 3, 2, 1)}, {"batch_dims": 1}),
}


@pytest.mark.parametrize("case", GATHERS)
def test_gathers(case: str) -> None:
    op, arrays, attrs = GATHERS[case]
    check(one(op, arrays, **attrs), arrays, 0)


def distinct(count: int, size: int, *shape: int) -> np.ndarray:
    """Places along the middle axis, all different."""
    before, after = shape
    return np.argsort(RNG.random((before, size, after)), axis=1)[:, :count].astype(np.int64)


SCATTERS = {
    "elements": ("ScatterElements", [real(3, 9, 7), distinct(4, 9, 3, 7), real(3, 4, 7)], {"axis": 1}),
    "elements of a part": ("ScatterElements", [real(3, 9, 7), distinct(4, 9, 2, 5), real(2, 4, 5)], {"axis": 1}),
    "elements added": (
        "ScatterElements",
        [real(3, 9), whole(-9, 9, 3, 5), real(3, 5)],
        {"axis": 1, "reduction": "add"},
    ),
    "rows": ("ScatterND", [real(5, 3, 2), np.array([[3], [0]]), real(2, 3, 2)], {}),
    "rows, the least": ("ScatterND", [real(5, 3), whole(0, 3, 6, 2), real(6)], {"reduction": "min"}),
}


@pytest.mark.parametrize("case", SCATTERS)
def test_scatters(case: str) -> None:
    op, given, attrs = SCATTERS[case]
    arrays = dict(zip("xiu", given, strict=True))
    check(one(op, arrays, **attrs), arrays)


@pytest.mark.parametrize("order", [0, 1])
def test_pool_and_unpool(order: int) -> None:
    """SegNet: what one pool found is put back by its places; these are an output, too."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2], storage_order=order),
        helper.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ][: 2 - order]
    arrays = {"x": real(2, 9, 8, 6)}
    outputs = {"i": TensorProto.INT64} if order else {"y": TensorProto.FLOAT, "i": TensorProto.INT64}
    check(model(nodes, arrays, {}, outputs), arrays, 0)


def boxes(images: int, count: int) -> np.ndarray:
    low = RNG.uniform(0, 20, (images, count, 2))
    return np.concatenate([low, low + RNG.uniform(1, 9, (images, count, 2))], axis=2).astype(np.float32)


def suppressed(most: int, score: float = 0.4) -> Arrays:
    return {"most": np.array([most]), "iou": np.array([0.4], np.float32), "score": np.array([score], np.float32)}


@pytest.mark.parametrize(("images", "most", "center"), [(1, 4, 0), (2, 100, 0), (2, 5, 1)])
def test_non_max_suppression(images: int, most: int, center: int) -> None:
    """As many rows as ONNX has."""
    scores = (
        np.random.default_rng(most).random((images, 3, 31)).astype(np.float32)
    )  # some rows, but not as many as may be
    arrays = {"b": boxes(images, 31), "s": scores}
    made = one("NonMaxSuppression", arrays, suppressed(most, 0.9), TensorProto.INT64, center_point_box=center)
    assert 0 < len(check(made, arrays, 0)[0]) < images * 3 * min(most, 31)


def test_nothing_is_found() -> None:
    arrays = {"b": boxes(1, 7), "s": RNG.random((1, 1, 7)).astype(np.float32)}
    made = one("NonMaxSuppression", arrays, suppressed(3, 2.0), TensorProto.INT64)
    assert check(made, arrays, 0)[0].shape == (0, 3)


def test_boxes_looked_up_by_what_suppression_found() -> None:
    """The end of many exported detectors: rows that are none appear nowhere."""
    nodes = [
        helper.make_node("NonMaxSuppression", ["b", "s", "most", "iou", "score"], ["found"]),
        helper.make_node("Gather", ["found", "two"], ["box"], axis=1),
        helper.make_node("Squeeze", ["b", "zero"], ["flat"]),
        helper.make_node("Gather", ["flat", "box"], ["y"], axis=0),
        helper.make_node("Slice", ["found", "zero", "two1", "one1"], ["rows"]),
    ]
    arrays = {"b": boxes(1, 31), "s": RNG.random((1, 2, 31)).astype(np.float32)}
    known = {
        **suppressed(9, 0.8),
        "two": np.array(2),
        "zero": np.array([0]),
        "two1": np.array([2]),
        "one1": np.array([1]),
    }
    outputs = {"y": TensorProto.FLOAT, "rows": TensorProto.INT64}
    made = model(nodes, arrays, known, outputs)
    y, rows = check(made, arrays, 0)
    assert len(y) == len(rows) < 18
    assert "18 rows here" in from_onnx(made).notes[0]


RESIZES = {
    "channels": ([real(1, 4, 5, 6)], {"sizes": [1, 6, 5, 6]}, {"mode": "linear"}),
    "a volume": ([real(1, 2, 4, 5, 6)], {"sizes": [1, 2, 6, 9, 3]}, {"mode": "linear"}),
    "one axis": ([real(1, 4, 5)], {"sizes": [1, 4, 9]},
                 {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "halves": ([real(1, 2, 8, 8)], {"scales": [1, 1, 0.5, 2]},
               {"mode": "nearest", "coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}),
}  # fmt: skip


@pytest.mark.parametrize("case", RESIZES)
def test_resizes(case: str) -> None:
    (x,), sizes, attrs = RESIZES[case]
    known = {"none": np.zeros(0, np.float32)}
    if "scales" in sizes:
        known["scales"] = np.array(sizes["scales"], np.float32)
    else:
        known |= {"empty": np.zeros(0, np.float32), "sizes": np.array(sizes["sizes"])}
    check(one("Resize", {"x": x}, known, opset=12, **attrs), {"x": x})


@pytest.mark.parametrize("fill", [0.0, 5.0])
def test_resize_of_a_region(fill: float) -> None:
    region = np.array([0, 0, 0.1, -0.3, 1, 1, 0.9, 1.2], np.float32)
    known = {"region": region, "none": np.zeros(0, np.float32), "sizes": np.array([1, 3, 5, 7])}
    attrs = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": fill, "mode": "linear"}
    x = {"x": real(1, 3, 6, 8)}
    check(one("Resize", x, known, opset=13, **attrs), x)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p: int) -> None:
    x = {"x": real(2, 3, 5, 6)}
    check(one("GlobalLpPool", x, p=p), x)


def test_lp_pool_of_another_power() -> None:
    x = {"x": real(2, 3, 9, 6)}
    check(one("LpPool", x, p=3, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]), x)


REFUSED = {
    "a grid of shape [1, 3, 8, 3] for": one("GridSample", {"x": real(1, 3, 7, 5), "g": real(1, 3, 8, 3)}),
    "regions of shape [2, 5]: x1": one(
        "RoiAlign", {"x": real(1, 3, 7, 5), "r": real(2, 5)}, {"b": np.zeros(2, np.int64)}),
    "boxes of shape [1, 5, 4], scores of shape [1, 2, 6]": one(
        "NonMaxSuppression", {"b": real(1, 5, 4), "s": real(1, 2, 6)}, suppressed(3), TensorProto.INT64),
    "indices of shape [2, 3] for a tensor of shape [4]": one("GatherElements", {"x": real(4), "i": whole(0, 2, 2, 3)}),
    "indices of shape [2, 3] for a tensor of shape [4, 4]": one("GatherND", {"x": real(4, 4), "i": whole(0, 2, 2, 3)}),
    "shapes that do not fit: data [4, 4], indices [2, 1], updates [2, 5]": one(
        "ScatterND", {"x": real(4, 4), "i": whole(0, 2, 2, 1), "u": real(2, 5)}),
    "indices of shape [4, 2], updates of shape [4, 3]": one(
        "ScatterElements", {"x": real(4, 4), "i": whole(0, 2, 4, 2), "u": real(4, 3)}, axis=1),
    "lengths [1, 9] of 2 sequences of 4 steps": one("ReverseSequence", {"x": real(4, 2, 3)}, {"l": np.array([1, 9])}),
    "the condition: place 5 of an axis of 4": one("Compress", {"x": real(4, 3)}, {"c": np.arange(6) == 5}, axis=0),
    "the depth: expected a whole number of 1": one(
        "OneHot", {"x": whole(0, 2, 3)}, {"d": np.array(0), "v": np.array([0.0, 1.0], np.float32)}),
    "values of shape [1, 2, 3, 3], places of shape [1, 2, 3, 2]": one(
        "MaxUnpool", {"x": real(1, 2, 3, 3), "i": whole(0, 9, 1, 2, 3, 2)}, kernel_shape=[2, 2]),
    "a result of [-1, -1]": one(
        "MaxUnpool", {"x": real(1, 2, 1, 1), "i": whole(0, 9, 1, 2, 1, 1)}, kernel_shape=[1, 1], pads=[1, 1, 1, 1]),
    "are not the blocks of [2, 2] of an image of [5, 5]": one(
        "Col2Im", {"x": real(1, 8, 9)}, {"s": np.array([5, 5]), "b": np.array([2, 2])}),
    "asks for a tensor of 1.26e+08 elements": one(
        "OneHot", {"x": whole(0, 2, 9)}, {"d": np.array(14000000), "v": np.array([0.0, 1.0], np.float32)}),
    "asks for a tensor of 3e+16 elements": one(
        "AffineGrid", {"t": real(1, 2, 3)}, {"s": np.array([1, 1, 100000000, 100000000])}),
    "asks for a tensor of 2e+18 elements": one(
        "LpPool", {"x": real(1, 2, 4, 4)}, kernel_shape=[1000000000, 1000000000]),
    "would be 1x2x100000000x4; 16777216 is the most along an axis": one(
        "Resize", {"x": real(1, 2, 4, 4)}, {"r": np.zeros(0, np.float32), "e": np.zeros(0, np.float32),
                                            "s": np.array([1, 2, 100000000, 4])}),
    "the region: expected finite numbers": one(
        "Resize", {"x": real(1, 4)}, {"r": np.array([0, 0, 1, np.inf], np.float32), "e": np.zeros(0, np.float32),
                                      "s": np.array([1, 2])}, coordinate_transformation_mode="tf_crop_and_resize"),
    "leaves nothing of [1, 4]": one(
        "Resize", {"x": real(1, 4)}, {"r": np.array([0, 0, 1, 0.1], np.float32), "s": np.array([1, 1], np.float32)},
        coordinate_transformation_mode="tf_crop_and_resize"),
    "tf_half_pixel_for_nn, rounded up, along other axes": one(
        "Resize", {"x": real(1, 2, 4, 4, 4)}, {"r": np.zeros(0, np.float32),
                                               "s": np.array([1, 1, 2, 1, 1], np.float32)}, opset=12,
        coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="ceil"),
    "a convolution along 1 axes": deformed(real(1, 2, 3), real(1, 9, 3, 3)),
    "needs a matrix, got [1, 2, 3]": one("EyeLike", {"x": real(1, 2, 3)}),
    "images along 3 axes": one("Col2Im", {"x": real(1, 8, 8)}, {"s": np.array([3, 3, 3]), "b": np.array([2, 2, 2])}),
    "matrices of shape [1, 2, 3] for a size of [1, 1, 2, 2, 2]": one(
        "AffineGrid", {"t": real(1, 2, 3)}, {"s": np.array([1, 1, 2, 2, 2])}),
    "shapes that do not fit: [1, 2, 5, 5], filter [1, 2, 3, 3], offsets [1, 9, 3, 3]": deformed(
        real(1, 2, 3, 3), real(1, 9, 3, 3)),
    "windows of [7, 7] on an image of [5, 5]": deformed(
        real(1, 2, 7, 7), real(1, 98, 1, 1)),
    "how large its result is depends on the data": one("NonZero", {"x": real(4, 4)}, kind=TensorProto.INT64),
    "regions of whole pixels; RoiAlign is read": one(
        "MaxRoiPool", {"x": real(1, 2, 5, 5), "r": real(2, 5)}, pooled_shape=[2, 2]),
    "the places of the largest values along 3 axes": model(
        [helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2, 2])],
        {"x": real(1, 2, 4, 4, 4)}, {}, {"i": TensorProto.INT64}),
}  # fmt: skip
"""What is said, and a model."""


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message: str) -> None:
    with pytest.raises(CnnccError) as caught:
        from_onnx(REFUSED[message])
    assert message in caught.value.message


def test_rows_that_may_be_missing_are_not_computed_with() -> None:
    nodes = [
        helper.make_node("NonMaxSuppression", ["b", "s", "most"], ["found"]),
        helper.make_node("Cast", ["found"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["real"], ["y"]),
    ]
    arrays = {"b": boxes(1, 5), "s": real(1, 1, 5)}
    with pytest.raises(CnnccError, match="the number of rows of its input depends on the data"):
        from_onnx(model(nodes, arrays, {"most": np.array([3])}, {"y": TensorProto.FLOAT}))
    nodes[1:] = [helper.make_node("Shape", ["found"], ["y"])]
    with pytest.raises(CnnccError, match="its result depends on the data"):
        from_onnx(model(nodes, arrays, {"most": np.array([3])}, {"y": TensorProto.INT64}))


def test_plugins_are_named() -> None:
    made = model([helper.make_node("EfficientNMS_TRT", ["x"], ["y"])], {"x": real(1, 4)}, {}, {"y": TensorProto.FLOAT})
    with pytest.raises(CnnccError, match="a plugin of TensorRT: export the model without it"):
        from_onnx(made)
