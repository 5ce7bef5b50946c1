"""Non-maximum suppression: of boxes that overlap, the one with the largest score; by the rules of ONNX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cnncc.ops.activation import LARGEST
from cnncc.ops.combine import merged_batch
from cnncc.ops.domains import untried
from cnncc.ops.forms import Always, Form, Syntax, numbers
from cnncc.ops.shapes import at_least, dims, image, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights
from cnncc.ops.traits import COMPUTED, LOGICAL

NONE = -1.0
"""What fills the rows after the last box that was found."""


def nms_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Boxes (n, images, k, 4) and scores (n, images, classes, k) -> (n, rows, 1, 3): a row for each box that may be
    found."""
    at_least(1, attrs, "most")
    (_, images, k, four), (_, images2, classes, k2) = map(image, shapes)
    if four != 4 or (images, k) != (images2, k2):
        hint = "boxes are images x number x 4, scores images x classes x number"
        raise ShapeError(f"boxes are {dims(shapes[0])}, scores {dims(shapes[1])}", hint)
    if not 0 <= attrs["iou"] <= 1:
        raise ShapeError(f"iou {attrs['iou']:g}: a share from 0 to 1")
    return merged_batch(shapes), images * classes * min(attrs["most"], k), 1, 3


def nms_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Rows of (image, class, box), class by class, the largest score first; then rows of -1."""
    boxes, scores = xs
    rows = nms_shape((boxes.shape, scores.shape), attrs)[1]
    result = np.full((max(map(len, xs)), rows, 1, 3), NONE, boxes.dtype)
    for n, found in enumerate(result):
        count = 0
        for i, c in np.ndindex(scores.shape[1:3]):
            edges = corners(boxes[n % len(boxes), i], attrs["center"])
            for box in kept(edges, scores[n % len(scores), i, c], attrs):
                found[count, 0] = i, c, box
                count += 1
    return result


def corners(boxes: Array, center: bool) -> Array:
    """Boxes (k, 4) as their lower and upper ends along both axes, (k, 2, 2); of any two opposite corners, or of centre
    and size."""
    a, b = boxes[:, :2], boxes[:, 2:]
    ends = (a - b / 2, a + b / 2) if center else (np.minimum(a, b), np.maximum(a, b))
    return np.stack(ends, axis=1)


def kept(boxes: Array, scores: Array, attrs: Attrs) -> list[int]:
    """The boxes of one class that stay, in order."""
    alive = scores > attrs["score"]
    found: list[int] = []
    while alive.any() and len(found) < attrs["most"]:
        best = int(np.argmax(np.where(alive, scores, -np.inf)))
        found.append(best)
        alive &= overlap(boxes, boxes[best]) <= attrs["iou"]
        alive[best] = False
    return found


def overlap(boxes: Array, one: Array) -> Array:
    """Intersection over union of each box with one; 0 for boxes without an area."""
    shared = np.prod(np.maximum(np.minimum(boxes[:, 1], one[1]) - np.maximum(boxes[:, 0], one[0]), 0), axis=1)
    areas, area = np.prod(boxes[:, 1] - boxes[:, 0], axis=1), np.prod(one[1] - one[0])
    total = areas + area - shared
    valid = (areas > 0) & (area > 0) & (total > 0) & (shared > 0)
    return np.where(valid, shared / np.where(valid, total, 1), 0)


NMS = Op(
    name="nms",
    arity=(2, 2),
    attributes={"most": REQUIRED, "iou": 0.5, "score": -LARGEST, "center": False},
    weights=no_weights,
    shape=nms_shape,
    macs=no_macs,
    window=whole_image,
    reference=nms_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(
        Form(
            "nms",
            "nms { reshape 1x48x4 | conv 1x1 3; reshape 1x4x48 } 10 iou 0.5",
            (("most", Syntax.COUNT),),
            words={**numbers("iou", "score"), "center": ("center", Always(True))},
            arms=True,
            leads=True,
            synonyms=("nonmaxsuppression", "nonmaximumsuppression"),
        ),
    ),
    tried=untried("the scores need a column for each box, of two inputs that are no image"),
)
OPS = (NMS,)
