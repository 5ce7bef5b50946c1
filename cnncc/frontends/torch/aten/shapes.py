"""Ops that move, join, cut or only rename values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cnncc.frontends.onnx.convert.shapes import viewed
from cnncc.frontends.onnx.convert.slices import taken
from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported, axis_of
from cnncc.frontends.torch.call import AtenCall, AtenRule

WHOLE = 1 << 62
"""Beyond the end of any axis."""


def vector(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers), np.int64)


def view(call: AtenCall) -> Tensor:
    return call.onnx("Reshape", "self", vector(call.ints("size" if "size" in call.given else "shape")), allowzero=1)


def flatten(call: AtenCall) -> Tensor:
    """Neighbouring axes as one."""
    shape = call.shape("self")
    start, end = (axis_of(call[name], max(1, len(shape))) for name in ("start_dim", "end_dim"))
    return call.onnx("Reshape", "self", vector((*shape[:start], -1, *shape[end + 1 :])), allowzero=1)


def unflatten(call: AtenCall) -> Tensor:
    shape, axis = call.shape("self"), axis_of(call["dim"], len(call.shape("self")))
    return call.onnx("Reshape", "self", vector((*shape[:axis], *call.ints("sizes"), *shape[axis + 1 :])), allowzero=1)


def squeeze(call: AtenCall) -> Tensor:
    """Axes that are not 1 stay."""
    shape = call.shape("self")
    named = call.ints("dim") if call["dim"] is not None else range(len(shape))
    axes = [a for a in (axis_of(axis, len(shape)) for axis in named) if shape[a] == 1]
    return call.onnx("Squeeze", "self", vector(axes)) if axes else call.value("self")


def unsqueeze(call: AtenCall) -> Tensor:
    return call.onnx("Unsqueeze", "self", vector([call["dim"]]))


def permute(call: AtenCall) -> Tensor:
    rank = len(call.shape("self"))
    return call.onnx("Transpose", "self", perm=[axis_of(axis, rank) for axis in call.ints("dims")])


def transpose(call: AtenCall) -> Tensor:
    """Two axes change places; by default the only two."""
    rank = len(call.shape("self"))
    order = list(range(rank))
    if rank > 1:
        i, j = (axis_of(call[n], rank) if n in call.given else default for n, default in (("dim0", 0), ("dim1", 1)))
        order[i], order[j] = order[j], order[i]
    return call.onnx("Transpose", "self", perm=order)


def expand(call: AtenCall) -> Tensor:
    """-1 keeps an axis."""
    shape, sizes = call.shape("self"), call.ints("size")
    old = (*(1,) * (len(sizes) - len(shape)), *shape)
    return call.onnx("Expand", "self", vector(o if n == -1 else n for o, n in zip(old, sizes, strict=True)))


def repeat(call: AtenCall) -> Tensor:
    """More repeats than axes add axes in front."""
    shape, times = call.shape("self"), call.ints("repeats")
    times = (*(1,) * (len(shape) - len(times)), *times)
    seen = call.onnx("Reshape", "self", vector((*(1,) * (len(times) - len(shape)), *shape)), allowzero=1)
    return call.onnx("Tile", seen, vector(times))


# Joining


def joined(call: AtenCall, tensors: Sequence[Any], axis: int) -> Tensor:
    """Tensors without any element, as people begin a list with, add nothing."""
    full = [t for t in tensors if tuple(t.shape) != (0,)]
    return call.onnx("Concat", *full, axis=axis)


def cat(call: AtenCall) -> Tensor:
    return joined(call, call["tensors"], call["dim"] or 0)


def stack(call: AtenCall) -> Tensor:
    tensors = call["tensors"]
    axis = axis_of(call["dim"] or 0, len(tensors[0].shape) + 1)
    return joined(call, [call.onnx("Unsqueeze", t, vector([axis])) for t in tensors], axis)


def slice_scatter(call: AtenCall) -> Tensor:
    """A part of an axis from elsewhere."""
    axis = axis_of(call["dim"] or 0, len(call.shape("self")))
    size = call.shape("self")[axis]
    along = range(*slice(call["start"], call["end"], call["step"]).indices(size))
    if along.step != 1:
        raise Unsupported(f"writes places {call['step']} apart")
    return between(call, axis, along, "src")


def select_scatter(call: AtenCall) -> Tensor:
    """One place of an axis from elsewhere."""
    axis = axis_of(call["dim"], len(call.shape("self")))
    place = axis_of(call["index"], call.shape("self")[axis])
    return between(call, axis, range(place, place + 1), call.onnx("Unsqueeze", "src", vector([axis])))


def between(call: AtenCall, axis: int, along: range, source: Any) -> Tensor:
    """What lies before a part of an axis, the new part, what lies behind."""
    if not along:
        return call.value("self")
    cuts = [cut(call, "self", axis, 0, along.start), cut(call, "self", axis, along.stop, WHOLE)]
    parts = [cuts[0], call[source] if isinstance(source, str) else source, cuts[1]]
    return call.onnx("Concat", *(p for p in parts if p.shape[axis]), axis=axis)


def overwritten(call: AtenCall) -> Tensor:
    """Another tensor in the shape of this one."""
    return call.onnx("Expand", "src", vector(call.shape("self")))


# Cutting


def cut(call: AtenCall, source: Any, axis: int, start: int, end: int, step: int = 1) -> Any:
    """A part of an axis."""
    return call.onnx("Slice", source, vector([start]), vector([end]), vector([axis]), vector([step]))


def sliced(call: AtenCall) -> Tensor:
    start, end = call["start"] or 0, WHOLE if call["end"] is None else call["end"]
    return cut(call, "self", call["dim"] or 0, start, min(end, WHOLE), call["step"] or 1)


def narrow(call: AtenCall) -> Tensor:
    return cut(call, "self", call["dim"], int(call["start"]), int(call["start"]) + call["length"])


def select(call: AtenCall) -> Tensor:
    return call.onnx("Gather", "self", np.array(call["index"], np.int64), axis=call["dim"])


def split(call: AtenCall) -> list[Tensor]:
    """In parts of one size, the last of which may be smaller, or of several."""
    axis = axis_of(call["dim"] or 0, len(call.shape("self")))
    size = call.shape("self")[axis]
    given = call["split_sizes"] if "split_sizes" in call.given else call["split_size"]
    if isinstance(given, int):
        given = [min(given, size - start) for start in range(0, size, given)]
    return call.several("Split", len(given), "self", vector(given), axis=axis)


def chunk(call: AtenCall) -> list[Tensor]:
    """In so many parts, or fewer."""
    axis = axis_of(call["dim"] or 0, len(call.shape("self")))
    size = call.shape("self")[axis]
    each = -(-size // call["chunks"])
    sizes = [min(each, size - start) for start in range(0, size, each)]
    return call.several("Split", len(sizes), "self", vector(sizes), axis=axis)


def unbind(call: AtenCall) -> list[Tensor]:
    axis = axis_of(call["dim"] or 0, len(call.shape("self")))
    places = range(call.shape("self")[axis])
    return [call.onnx("Gather", "self", np.array(i, np.int64), axis=axis) for i in places]


def index_select(call: AtenCall) -> Tensor:
    return call.onnx("Gather", "self", "index", axis=call["dim"])


def index(call: AtenCall) -> Tensor:
    """By one tensor, of places along one axis."""
    given = [(axis, i) for axis, i in enumerate(call["indices"]) if i is not None]
    if len(given) != 1 or (isinstance(given[0][1], np.ndarray) and given[0][1].dtype.kind not in "iu"):
        raise Unsupported("places along several axes, or by a mask")
    ((axis, places),) = given
    return call.onnx("Gather", "self", places, axis=axis)


def gather(call: AtenCall) -> Tensor:
    return call.onnx("GatherElements", "self", "index", axis=call["dim"])


def embedding(call: AtenCall) -> Tensor:
    return call.onnx("Gather", "weight", "indices", axis=0)


def flip(call: AtenCall) -> Tensor:
    made = call.value("self")
    for axis in call.ints("dims"):
        made = cut(call, made, axis, -1, -WHOLE, -1)
    return made


def roll(call: AtenCall) -> Tensor:
    """Without axes, all elements in a row."""
    shape, made = call.shape("self"), call.value("self")
    axes, site = call.ints("dims"), call.site("Identity", "self")
    seen = made if axes else viewed(site, made, (made_size(shape),))
    for axis, shift in zip(axes or (0,), call.ints("shifts"), strict=True):
        place = axis_of(axis, len(seen.shape))
        size = seen.shape[place]
        seen = taken(site, seen, place, [(i - shift) % size for i in range(size)])
    return seen if axes else viewed(site, seen, shape)


def unfold(call: AtenCall) -> Tensor:
    """Windows along an axis: their number takes its place, and the places in a window are an axis behind all others."""
    shape = call.shape("self")
    axis, size = axis_of(call["dimension"], len(shape)), call["size"]
    starts = range(0, shape[axis] - size + 1, call["step"])
    windows = call.onnx("Gather", "self", vector(start + i for start in starts for i in range(size)), axis=axis)
    parted = (*shape[:axis], len(starts), size, *shape[axis + 1 :])
    behind = [i for i in range(len(parted)) if i != axis + 1]
    return call.onnx("Transpose", call.onnx("Reshape", windows, vector(parted)), perm=[*behind, axis + 1])


def made_size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


# Pixels and channels


def pixel_shuffle(call: AtenCall) -> Tensor:
    return call.onnx("DepthToSpace", "self", blocksize=call["upscale_factor"], mode="CRD")


def pixel_unshuffle(call: AtenCall) -> Tensor:
    return call.onnx("SpaceToDepth", "self", blocksize=call["downscale_factor"], mode="CRD")


def triangle(upper: bool) -> AtenRule:
    return lambda call: call.onnx("Trilu", "self", vector([call["diagonal"] or 0]), upper=upper)


def filled(name: str | None, number: float = 0.0) -> AtenRule:
    """A known tensor: it depends on a shape alone."""

    def rule(call: AtenCall) -> np.ndarray:
        shape = call.ints("size") if "size" in call.given else call.shape("self")
        return np.full(shape, call[name] if name else number, call.kind)

    return rule


def length(call: AtenCall) -> int:
    """The size of an axis, where the program asks for it."""
    return call.shape("self")[call["dim"]]


RULES: Mapping[str, AtenRule] = {
    **{f"aten.{name}": view for name in ("view", "reshape", "_unsafe_view")},
    "aten.flatten": flatten,
    "aten.unflatten": unflatten,
    "aten.squeeze": squeeze,
    "aten.unsqueeze": unsqueeze,
    "aten.permute": permute,
    "aten.transpose": transpose,
    "aten.t": transpose,
    "aten.expand": expand,
    "aten.repeat": repeat,
    "aten.cat": cat,
    "aten.stack": stack,
    "aten.slice_scatter": slice_scatter,
    "aten.select_scatter": select_scatter,
    "aten.copy": overwritten,
    "aten.slice": sliced,
    "aten.narrow": narrow,
    "aten.select": select,
    "aten.split": split,
    "aten.split_with_sizes": split,
    "aten.chunk": chunk,
    "aten.unbind": unbind,
    "aten.index_select": index_select,
    "aten.index": index,
    "aten.gather": gather,
    "aten.embedding": embedding,
    "aten.flip": flip,
    "aten.roll": roll,
    "aten.unfold": unfold,
    "aten.pixel_shuffle": pixel_shuffle,
    "aten.pixel_unshuffle": pixel_unshuffle,
    "aten.tril": triangle(False),
    "aten.triu": triangle(True),
    "aten.zeros_like": filled(None),
    "aten.ones_like": filled(None, 1.0),
    "aten.full_like": filled("fill_value"),
    "aten.new_zeros": filled(None),
    "aten.new_ones": filled(None, 1.0),
    "aten.new_full": filled("fill_value"),
    "aten.sym_size": length,
}
