"""Non-maximum suppression, and results whose number of rows depends on the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnncc.frontends.network import Ragged
from cnncc.frontends.onnx.control import REFUSED as CONTROL
from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of

WHOLE_NUMBERS = 1 << 24
"""Boxes are told by their numbers in float32."""


def nms(site: OnnxSite) -> Tensor:
    """As many rows as may be found; those after the last that is found are -1."""
    boxes, scores = site.value(0, (3,)), site.value(1, (3,))
    if site.b.batch > 1:
        raise Unsupported("the boxes of several images are one result")
    if boxes.shape[2] != 4 or (boxes.shape[0], boxes.shape[1]) != (scores.shape[0], scores.shape[2]):
        raise Unsupported(f"boxes of shape {list(boxes.shape)}, scores of shape {list(scores.shape)}")
    most = site.ints(2, "max_output_boxes_per_class", 1, low=0)[0] if site.has(2) else 0
    if not most or boxes.shape[1] > WHOLE_NUMBERS:
        return np.zeros((0, 3), np.int64)
    bounds: dict[str, Any] = {"iou": site.scalar(3, "iou_threshold") if site.has(3) else 0.0}
    if site.has(4) and (score := site.scalar(4, "score_threshold", finite=False)) > -np.inf:
        bounds["score"] = score
    node = site.add(
        "nms",
        *(site.b.seen(site.b.plain(v), v.shape) for v in (boxes, scores)),
        most=min(most, boxes.shape[1]),
        center=bool(site.integer("center_point_box", 0, 0, 1)),
        **bounds,
    )
    rows = site.b.shape(node)[1]
    site.b.ragged[node] = Ragged(minus_one=True)
    site.b.notes.append(
        f"{site.hint} has {rows} rows here, the most there may be: those after the last box are -1, or NaN where"
        " something is looked up by them"
    )
    return site.plain(node, (rows, 3))


# Rows that may be missing


def keeps_rows(site: OnnxSite) -> bool:
    """Whether an op keeps the rows of its first input apart, in order."""
    value = site.inputs[0]
    assert isinstance(value, Value)
    rank, op = len(value.shape), site.op_type
    if op in ("Cast", "Identity"):
        return True
    if op in ("Gather", "Split"):
        return axis_of(site.integer("axis", 0), rank) > 0
    if op in ("Squeeze", "Unsqueeze"):
        axes = site.ints_or(1, "axes") or ()
        return bool(axes) and all(axis % (rank + len(axes) * (op == "Unsqueeze")) > 0 for axis in axes)
    if op == "Slice":
        axes = site.ints_or(3, "axes") or (0,)
        return all(axis % rank > 0 for axis in axes)
    return op == "Concat" and axis_of(site.integer("axis", 1), rank) > 0


def looks_up(site: OnnxSite, ragged: Sequence[int]) -> bool:
    """Whether rows of something else are looked up by rows that may be missing."""
    if list(ragged) != [1] or not isinstance(site.inputs[1], Value):
        return False
    if site.op_type == "Gather":
        return site.integer("axis", 0) == 0
    return site.op_type == "GatherND" and site.integer("batch_dims", 0) == 0


def converted(rule: Callable[[OnnxSite], Tensor | list[Tensor]], site: OnnxSite) -> list[Tensor]:
    """The results of a node, some of whose inputs may have rows that are missing: that is kept in mind, or, if it would
    matter, refused."""
    known = site.b.ragged
    ragged = [i for i, t in enumerate(site.inputs) if isinstance(t, Value) and t.node in known]
    if not ragged:
        return listed(rule(site))
    if looks_up(site, ragged):
        kind = Ragged(nan=True)
    elif ragged == list(range(len(site.inputs)))[: len(ragged)] and keeps_rows(site):
        kinds = [known[t.node] for t in site.inputs if isinstance(t, Value) and t.node in known]
        kind = Ragged(any(k.minus_one for k in kinds), any(k.nan for k in kinds))
    else:
        raise Unsupported(
            "the number of rows of its input depends on the data; that can be an output, be cut along other axes, or"
            " look up rows by Gather or GatherND"
        )
    results = listed(rule(site))
    known.update({r.node: kind for r in results if isinstance(r, Value)})
    return results


def listed(result: Tensor | list[Tensor]) -> list[Tensor]:
    return result if isinstance(result, list) else [result]


RULES: Mapping[str, Callable[[OnnxSite], Tensor]] = {"NonMaxSuppression": nms}
"""Of one result each."""
REFUSED: Mapping[str, str] = {
    **CONTROL,
    **dict.fromkeys(
        ("EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT", "EfficientNMS_ONNX_TRT"),
        "a plugin of TensorRT: export the model without it, or with NonMaxSuppression of ONNX",
    ),
    **dict.fromkeys(("NonZero", "Unique"), "how large its result is depends on the data"),
    "ImageDecoder": "it reads files of pictures; a network here takes pixels",
    "MaxRoiPool": "regions of whole pixels; RoiAlign is read",
}
"""Why an op that people meet has no counterpart."""
