"""Slices, gathers and pads of ONNX: one op whatever their length, direction and axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frontends.test_import_onnx import agrees, model, node, ops
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.text.write import net_text

BIG, LOW = 2**63 - 1, -(2**63)
IMAGE = (1, 3, 8, 10)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def sliced(starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    given = {"s": whole(*starts), "e": whole(*ends), "a": whole(*axes), "t": whole(*steps)}
    return [node("Slice", "x s e a t", "y")], given


SLICES = {
    "every second row": (IMAGE, sliced((1,), (BIG,), (2,), (2,))),
    "a mirrored image": (IMAGE, sliced((-1,), (LOW,), (3,), (-1,))),
    "channels backwards": (IMAGE, sliced((BIG,), (LOW,), (1,), (-1,))),
    "all axes at once": (IMAGE, sliced((-1, 1, 5), (-3, 100, 0), (1, 2, -1), (-1, 3, -2))),
    "five axes": ((1, 3, 8, 4, 10), sliced((-1, 1, 5), (-30, 100, 0), (1, 2, -1), (-1, 3, -2))),
    "a range of a middle axis": ((1, 3, 8, 4, 10), sliced((1,), (3,), (3,), (1,))),
    "channels": ((1, 16, 4, 5), sliced((8,), (16,), (1,), (1,))),
    "rows and columns": (IMAGE, sliced((1, 2), (-1, -2), (2, 3), (1, 1))),
    "a vector": ((1, 9), sliced((8,), (LOW,), (1,), (-3,))),
    "of several images": ((4, 3, 5, 6), sliced((-1,), (LOW,), (0,), (-2,))),
}
KINDS = {"every second row": {"strided_slice": 1}, "channels": {"slice": 1}, "rows and columns": {"crop": 1}}


@pytest.mark.parametrize("case", SLICES)
def test_slices(case: str) -> None:
    shape, (nodes, tensors) = SLICES[case]
    found = ops(agrees(model(nodes, {"x": shape}, ["y"], tensors)))
    if case in KINDS:
        assert found == KINDS[case]
    assert found["concat"] == 0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_any_slice(data: st.DataObject) -> None:
    """Starts and ends beyond both ends, any steps, some axes of up to five."""
    shape = (1, *data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    axes = data.draw(st.lists(st.integers(1, len(shape) - 1), min_size=1, unique=True))
    reach = st.sampled_from([LOW, -9, -8, *range(-4, 5), 8, 9, BIG])
    starts, ends = ([data.draw(reach) for _ in axes] for _ in range(2))
    steps = [data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3])) for _ in axes]
    taken = [range(*slice(a, b, s).indices(shape[i])) for i, a, b, s in zip(axes, starts, ends, steps, strict=True)]
    nodes, tensors = sliced(tuple(starts), tuple(ends), tuple(axes), tuple(steps))
    if all(taken):
        found = ops(agrees(model([node("Relu", "x", "r"), *nodes], {"x": shape}, ["y"], tensors)))
        assert found["strided_slice"] <= len(axes)


GATHERS = {
    "a table of rows": (2, np.array([[0, 3, 3], [7, -8, -1]])),
    "columns": (3, np.array([5, 1, 1])),
    "channels": (1, np.array([2, 0, 1])),
    "one row": (2, np.array(-1)),
    "evenly spaced": (3, np.array([9, 6, 3, 0])),
}


@pytest.mark.parametrize("case", GATHERS)
def test_gathers(case: str) -> None:
    axis, places = GATHERS[case]
    found = ops(agrees(model([node("Gather", "x i", "y", axis=axis)], {"x": IMAGE}, ["y"], {"i": places})))
    assert found["take"] + found["strided_slice"] + found["crop"] == 1


def test_long_gathers_are_one_op() -> None:
    places = np.random.default_rng(0).permutation(640)
    found = agrees(model([node("Gather", "x i", "y", axis=3)], {"x": (1, 1, 2, 640)}, ["y"], {"i": places}))
    assert ops(found)["take"] == 1


PADS = {
    "wrap": ("wrap", (0, 1, 2, 3, 0, 2, 0, 4)),
    "wrap rows and columns": ("wrap", (0, 0, 9, 3, 0, 0, 0, 4)),
    "reflected channels": ("reflect", (0, 2, 0, 0, 0, 1, 0, 0)),
    "cut and pad": ("constant", (0, -1, -2, 3, 0, 0, -1, -4)),
    "edges of channels and columns": ("edge", (0, 2, 0, 1, 0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", PADS)
def test_pads(case: str) -> None:
    mode, amounts = PADS[case]
    nodes = [node("Pad", "x p", "y", mode=mode)]
    agrees(model(nodes, {"x": IMAGE}, ["y"], {"p": whole(*amounts)}, opset=19))


@pytest.mark.parametrize("rows_first", [True, False])
def test_focus(rows_first: bool) -> None:
    """YOLOv5's and YOLOX's: four strided slices of two nodes each are one permute, and with it a space_to_depth."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1)] if rows_first else [(0, 0), (1, 0), (0, 1), (1, 1)]
    nodes, arms = [], []
    for i, j in places:
        nodes += [node("Slice", f"x s{i} e rows t", f"r{i}{j}"), node("Slice", f"r{i}{j} s{j} e columns t", f"c{i}{j}")]
        arms.append(f"c{i}{j}")
    nodes.append(node("Concat", " ".join(arms), "y", axis=1))
    tensors = {"s0": whole(0), "s1": whole(1), "e": whole(BIG), "t": whole(2), "rows": whole(2), "columns": whole(3)}
    imported = agrees(model(nodes, {"x": (1, 3, 12, 16)}, ["y"], tensors))
    assert ops(imported) == {"permute": 1}
    text = net_text(imported.graph, imported.sources).text
    assert ("space_to_depth 2" in text) == rows_first


REFUSED = {
    "outside": (node("Gather", "x i", "y", axis=2), {"i": whole(8)}, "the indices: 8 of an axis of 8"),
    "uneven": (node("Split", "x i", "y", axis=2), {"i": whole(5)}, r"split: \[5\] of an axis of 8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    made, tensors, text = REFUSED[case]
    with pytest.raises(CnnccError, match=text):
        from_onnx(model([made], {"x": IMAGE}, ["y"], tensors))


def test_empty_parts_are_known() -> None:
    nodes = [node("Split", "x n", "a b", axis=1), node("Concat", "a b", "y", axis=1)]
    assert ops(agrees(model(nodes, {"x": IMAGE}, ["y"], {"n": whole(3, 0)})))["concat"] == 0


@pytest.mark.parametrize("sixth", [1 / 6, float(np.float32(1 / 6)), 0.166667])
def test_a_definition_with_few_digits_is_the_op(sixth: float) -> None:
    """Exporters write 1/6 with six digits, too. A network text has to give the number itself (tests/passes)."""
    tensors = {"three": np.float32(3), "low": np.float32(0), "high": np.float32(6), "sixth": np.float32(sixth)}
    nodes = [node("Add", "x three", "a"), node("Clip", "a low high", "b"), node("Mul", "b sixth", "c")]
    nodes.append(node("Mul", "x c", "y"))
    assert ops(agrees(model(nodes, {"x": IMAGE}, ["y"], tensors))) == {"hard_swish": 1}
