"""Ops at computed places: results by hand, and what their shape rules refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc import ops
from cnncc.ops import ShapeError

IMAGE = (1, 4, 6, 8)


def value(name: str, *xs: Any, **attrs: Any) -> np.ndarray:
    arrays = tuple(np.array(x, np.float64) for x in xs)
    full = ops.complete(name, attrs)
    result = ops.TABLE[name].reference(arrays, {}, full)
    assert result.shape == ops.infer(name, tuple(x.shape for x in arrays), attrs)
    return result


def row(*numbers: float) -> list[Any]:
    """An image of one channel and one row."""
    return [[[list(numbers)]]]


@pytest.mark.parametrize(
    ("attrs", "at", "expected"),
    [
        ({}, [-1, -0.5, 0, 1], [0.5, 1.5, 2.5, 2]),
        ({"place": "align_corners"}, [-1, 0, 1, 1.5], [1, 2.5, 4, 1]),
        ({"place": "pixels"}, [-1, 0.5, 3, 9], [0, 1.5, 4, 0]),
        ({"place": "pixels", "outside": "border"}, [-9, 0.5, 3.25, np.inf], [1, 1.5, 4, 4]),
        ({"place": "pixels", "outside": "reflection"}, [-1, -2, 4, 9], [1, 2, 4, 2]),
        ({"place": "align_corners", "outside": "reflection"}, [-5 / 3, 5 / 3, 3, -1], [2, 3, 1, 1]),
        ({"place": "pixels", "mode": "nearest"}, [0.5, 1.5, 3.4, 3.6], [1, 3, 4, 0]),
        ({"place": "pixels", "mode": "cubic"}, [1, 1.5, 2, -9], [2, 2.5, 3, 0]),
    ],
)
def test_sample(attrs: dict[str, Any], at: list[float], expected: list[float]) -> None:
    got = value("sample", row(1, 2, 3, 4), [[[at], [[0] * 4]]], **attrs)
    np.testing.assert_allclose(got[0, 0, 0], expected, atol=1e-12)


def test_rows() -> None:
    rows = [[[[1, 2], [3, 4], [5, 6]]]]
    assert value("gather", rows, [[[[2], [0]]]]).tolist() == [[[[5, 6], [1, 2]]]]
    assert value("gather", rows, [[[[-1.0], [-3]]]], wrap=True).tolist() == [[[[5, 6], [1, 2]]]]
    assert np.isnan(value("gather", rows, [[[[-1.0], [3], [np.nan]]]])).all()
    assert value("gather", rows, [[[[0, 2], [1, 0]]]], sizes=(1, 3))[0, 0, 0].tolist() == [5, 6]
    written = value("scatter", rows, [[[[1], [9], [1]]]], [[[[10, 20], [0, 0], [30, 40]]]], reduction="add")
    assert written.tolist() == [[[[1, 2], [43, 64], [5, 6]]]]
    assert value("unpool", row(7, 8), row(3, 0), size=(2, 2)).tolist() == [[[[8, 0], [0, 7]]]]
    assert value("argmaxpool", [[[[1, 5, 5], [5, 0, 2]]]], kernel=(2, 2)).tolist() == [[[[1, 1]]]]


def test_argmaxpool_never_finds_padding() -> None:
    image = np.full((1, 1, 2, 2), -np.inf)
    assert value("argmaxpool", image, kernel=(2, 2), pad=(1, 1, 1, 1)).tolist() == [[[[0, 0, 1], [0, 0, 1], [2, 2, 3]]]]


def test_roi_align() -> None:
    image = [[[[0, 1, 2, 3], [10, 11, 12, 13]]]]
    got = value("roi_align", image, [[[[0.5, 0.5, 2.5, 1.5]]]], size=(1, 2), samples=1)
    np.testing.assert_allclose(got, [[[[5.5, 6.5]]]])
    empty = value("roi_align", image, [[[[3, 3, 2, 2]]]], size=(2, 3))
    assert empty.tolist() == np.zeros((1, 1, 2, 3)).tolist(), "a region that ends before it begins has no samples"
    got = value("roi_align", image, [[[[0, 0, 0, 0]]]], size=(1, 1), samples=1, place="output_half_pixel")
    np.testing.assert_allclose(got, [[[[5.5]]]])


def test_nms() -> None:
    boxes = [[[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [5, 5, 6, 6], [0, 0, 0, 0]]]]
    got = value("nms", boxes, [[[[0.9, 0.8, 0.7, 0.95]]]], most=9)
    assert got[0, :, 0].tolist() == [[0, 0, 3], [0, 0, 0], [0, 0, 2], [-1, -1, -1]]


REFUSED: list[tuple[str, list[tuple[int, ...]], dict[str, Any], str]] = [
    ("sample", [IMAGE, (1, 4, 2, 2)], {}, "the places are 4x2x2"),
    ("sample", [IMAGE, (1, 2, 2, 2)], {"depth": 2}, "the places are 2x2x2"),
    ("sample", [IMAGE, (1, 2, 2, 2)], {"mode": "area"}, "unknown mode 'area'"),
    ("sample", [IMAGE, (1, 2, 2, 2)], {"outside": "wrap"}, "unknown outside 'wrap'"),
    ("sample", [IMAGE, (1, 2, 2, 2)], {"place": "corner"}, "unknown place 'corner'"),
    ("sample", [IMAGE, (1, 3, 2, 2)], {"depth": 4}, "depth 4: 6 rows are not so many slices of one height"),
    ("sample", [IMAGE, (1, 3, 2, 2)], {"depth": 2, "mode": "cubic"}, "cubic needs an image, not a volume"),
    ("sample", [(2, *IMAGE[1:]), (3, 2, 2, 2)], {}, "batches differ: 2 and 3"),
    ("gather", [IMAGE, (1, 4, 3, 2)], {}, "the places of rows are channels x places x numbers of a place, got 4x3x2"),
    ("gather", [IMAGE, (1, 3, 3, 1)], {}, "the places of rows are channels x places x numbers of a place, got 3x3x1"),
    ("gather", [IMAGE, (1, 4, 3, 2)], {"sizes": (2, 2)}, "sizes 2x2: there are 6 rows"),
    ("gather", [IMAGE, (1, 4, 3, 2)], {"sizes": (6, 0)}, "sizes 6x0: must be at least 1"),
    ("scatter", [IMAGE, (1, 4, 3, 1), (1, 4, 2, 8)], {}, "the rows to write are 4x2x8"),
    ("scatter", [IMAGE, (1, 4, 3, 1), (1, 4, 3, 8)], {"reduction": "sub"}, "unknown reduction 'sub'"),
    ("unpool", [IMAGE, (1, 4, 6, 7)], {"size": (9, 9)}, "values are 4x6x8, their places 4x6x7"),
    ("unpool", [IMAGE, IMAGE], {"size": (0, 9)}, "size 0x9: must be at least 1"),
    ("roi_align", [IMAGE, (1, 5, 1, 5)], {"size": (2, 2)}, "regions are number x 1 x 4 (x1, y1, x2, y2), got 5x1x5"),
    ("roi_align", [IMAGE, (1, 5, 1, 4)], {"size": (2, 2), "images": 3}, "images 3: 4 channels are not so many images"),
    ("roi_align", [IMAGE, (1, 5, 1, 4)], {"size": (2, 2), "images": 2}, "the image of each region belongs to `images`"),
    (
        "roi_align",
        [IMAGE, (1, 5, 1, 4), (1, 4, 1, 1)],
        {"size": (2, 2), "images": 2},
        "the images of 5 regions are 5x1x1",
    ),
    ("nms", [IMAGE, IMAGE], {"most": 3}, "boxes are 4x6x8, scores 4x6x8"),
    ("nms", [(1, 1, 6, 4), (1, 1, 2, 6)], {"most": 3, "iou": 1.5}, "iou 1.5: a share from 0 to 1"),
    ("nms", [(1, 1, 6, 4), (1, 1, 2, 6)], {"most": 0}, "most 0: must be at least 1"),
    ("resize", [IMAGE], {"size": (2, 2), "region": (0.0, 0.0, 1.0, 1.0)}, "region: top, left, bottom, right as shares"),
]


@pytest.mark.parametrize(("name", "shapes", "attrs", "message"), REFUSED)
def test_refused(name: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        ops.infer(name, tuple(shapes), attrs)
    assert caught.value.message.startswith(message)
