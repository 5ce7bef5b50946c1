"""Rows at computed places: read (gather), written (scatter), and put back where a pool found them (unpool)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from cnncc.ops.combine import merged_batch
from cnncc.ops.domains import FLAG, Arm, Choice, Inputs, Tried, Whole, choice, untried
from cnncc.ops.forms import Always, Form, Syntax, Word, flags
from cnncc.ops.resize import check_choice
from cnncc.ops.shapes import at_least, dims, image, whole_image
from cnncc.ops.table import REQUIRED, Array, Arrays, Attrs, Op, Shape, ShapeError, Shapes, Weights, no_macs, no_weights
from cnncc.ops.traits import COMPUTED, LOGICAL

REDUCTIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "replace": lambda old, new: new,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
"""What becomes of a row that is written to."""
PLACES = "the places of rows are channels x places x numbers of a place, got"


def check_places(rows: Shape, places: Shape, attrs: Attrs) -> None:
    """ShapeError unless `places` (n, c, k, numbers of a place) can name rows of (n, c, h, w)."""
    sizes = attrs["sizes"] or (rows[2],)
    at_least(1, {"sizes": sizes}, "sizes")
    if math.prod(sizes) != rows[2]:
        raise ShapeError(f"sizes {'x'.join(map(str, sizes))}: there are {rows[2]} rows")
    if places[1] != rows[1] or places[3] != len(sizes):
        hint = f"{rows[1]} x any number x {len(sizes)}"
        raise ShapeError(f"{PLACES} {dims(places)} for {dims(rows)}", hint)


def gather_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w) at the places (n, c, k, m) -> (n, c, k, w)."""
    rows, places = map(image, shapes)
    check_places(rows, places, attrs)
    return merged_batch(shapes), rows[1], places[2], rows[3]


def found_rows(places: Array, rows: int, attrs: Attrs) -> Array:
    """The row of each place (.., m) -> (..), -1 where there is none. A place is a row counted from 0, or one number for
    each of `sizes`; with `wrap` negative ones count from the end."""
    total: Array = np.zeros(places.shape[:-1])
    for axis, size in enumerate(attrs["sizes"] or (rows,)):
        number = np.trunc(places[..., axis])
        if attrs["wrap"]:
            number = np.where(number < 0, number + size, number)
        total = np.where((number >= 0) & (number < size), total * size + number, -np.inf)
    return np.where(total >= 0, total, -1).astype(np.int64)


def gather_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Rows of each channel; a place that does not exist gives no number."""
    rows, places = xs
    batch = max(len(rows), len(places))
    rows = np.broadcast_to(rows, (batch, *rows.shape[1:]))
    at = np.broadcast_to(found_rows(places, rows.shape[2], attrs), (batch, *places.shape[1:3]))[..., None]
    return np.where(at >= 0, np.take_along_axis(rows, np.maximum(at, 0), axis=2), rows.dtype.type(np.nan))


def scatter_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """(n, c, h, w), the places (n, c, k, m) and rows (n, c, k, w) -> (n, c, h, w)."""
    rows, places, updates = map(image, shapes)
    check_places(rows, places, attrs)
    check_choice(attrs, "reduction", REDUCTIONS)
    if updates[1:] != (rows[1], places[2], rows[3]):
        hint = f"{rows[1]}x{places[2]}x{rows[3]}: a row for each place"
        raise ShapeError(f"the rows to write are {dims(updates)}", hint)
    return (merged_batch(shapes), *rows[1:])


def scatter_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Rows written one after the other; a place that does not exist is left out."""
    batch = max(map(len, xs))
    result = np.broadcast_to(xs[0], (batch, *xs[0].shape[1:])).copy()
    at = found_rows(xs[1], result.shape[2], attrs)
    reduce = REDUCTIONS[attrs["reduction"]]
    for n, c, i in np.ndindex(batch, *at.shape[1:]):
        row = at[n % len(at), c, i]
        if row >= 0:
            result[n, c, row] = reduce(result[n, c, row], xs[2][n % len(xs[2]), c, i])
    return result


def unpool_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """Values (n, c, h, w) and their places, of the same shape -> (n, c, *size)."""
    values, places = map(image, shapes)
    at_least(1, attrs, "size")
    if values[1:] != places[1:]:
        raise ShapeError(f"values are {dims(values)}, their places {dims(places)}", "a place for each value")
    return (merged_batch(shapes), values[1], *attrs["size"])


def unpool_reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
    """Each value at its place, row * width + column of the result; zeros elsewhere (SegNet, Badrinarayanan 2015)."""
    values, places = xs
    batch, (_, c, h, w) = max(map(len, xs)), values.shape
    rows = (c, math.prod(attrs["size"]), 1)
    empty = np.zeros((batch, *rows), values.dtype)
    seen = [a.reshape(len(a), c, h * w, 1) for a in (places, values)]
    how = {"sizes": (), "wrap": False, "reduction": "replace"}
    return scatter_reference((empty, *seen), weights, how).reshape(batch, c, *attrs["size"])


def thirds(shape: Shape) -> float:
    """Brings values around 1 to places of which some are outside."""
    return shape[2] / 3


ROWS: Mapping[str, Word] = {"sizes": ("sizes", Syntax.SIZES), "wrap": ("wrap", Always(True))}
GATHER = Op(
    name="gather",
    arity=(2, 2),
    attributes={"sizes": (), "wrap": False},
    weights=no_weights,
    shape=gather_shape,
    macs=no_macs,
    window=whole_image,
    reference=gather_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(Form("gather", "gather { | topk 3 indices; crop 0,0 8x1 }", words=ROWS, arms=True, leads=True),),
    tried=Tried(
        Inputs.IMAGE, {"wrap": FLAG}, arms=(Arm(lambda s: (Choice((s[1],)), Whole(1, 9), Choice((1,))), thirds),)
    ),
)
SCATTER = Op(
    name="scatter",
    arity=(3, 3),
    attributes={"reduction": "replace", "sizes": (), "wrap": False},
    weights=no_weights,
    shape=scatter_shape,
    macs=no_macs,
    window=whole_image,
    reference=scatter_reference,
    tolerance=1e-6,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(
        Form(
            "scatter",
            "scatter { | crop 0,0 8x1 | } add",
            words={**ROWS, **flags("reduction", REDUCTIONS)},
            arms=True,
            leads=True,
        ),
    ),
    tried=Tried(
        Inputs.IMAGE,
        {"wrap": FLAG, "reduction": choice(REDUCTIONS)},
        arms=(
            Arm(lambda s: (Choice((s[1],)), Choice((s[2],)), Choice((1,))), thirds),
            Arm(lambda s: tuple(Choice((side,)) for side in s[1:])),
        ),
    ),
)
UNPOOL = Op(
    name="unpool",
    arity=(2, 2),
    attributes={"size": REQUIRED},
    weights=no_weights,
    shape=unpool_shape,
    macs=no_macs,
    window=whole_image,
    reference=unpool_reference,
    tolerance=0.0,
    traits=replace(COMPUTED, layout=LOGICAL),
    forms=(
        Form(
            "unpool",
            "unpool { maxpool 2x2 /2 | argmaxpool 2x2 /2 } 16x16",
            (("size", Syntax.KERNEL),),
            arms=True,
            leads=True,
        ),
    ),
    tried=untried("its places are those that argmaxpool finds: others may meet"),
)
OPS = (GATHER, SCATTER, UNPOOL)
