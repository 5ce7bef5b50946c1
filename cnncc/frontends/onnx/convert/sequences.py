"""Lists of tensors that only stand between a split and what reads its parts, and optional tensors that are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from cnncc.frontends.onnx.convert.shapes import guarded, joined, viewed, without
from cnncc.frontends.onnx.convert.slices import part
from cnncc.frontends.onnx.site import OnnxSite, Tensor, Tensors
from cnncc.frontends.onnx.values import Unsupported, Value, axis_of
from cnncc.ir.rules import Shape


def converted(site: OnnxSite) -> Tensor | Tensors:
    """The result of a node that takes or gives a list. Unsupported for any other op."""
    if site.op_type not in RULES:
        raise Unsupported("a sequence of tensors")
    return RULES[site.op_type](site)


def tensors(site: OnnxSite) -> tuple[Tensor, ...]:
    """The list that is the first input."""
    given: object = site.inputs[0]
    if not isinstance(given, Tensors):
        raise Unsupported("needs a sequence of tensors")
    return given.items


def place(site: OnnxSite, i: int, count: int) -> int:
    """A known position in a list of so many; negative ones count from the end."""
    (at,) = site.ints(i, "the position", 1)
    if not -count <= at < count:
        raise Unsupported(f"position {at} of a sequence of {count}")
    return at % count


def split_to_sequence(site: OnnxSite) -> Tensors:
    """Parts of some sizes, or of one size; by default of one element each, without the axis unless `keepdims`."""
    tensor = site.tensor_at(0)
    axis = axis_of(site.integer("axis", 0), len(tensor.shape))
    sizes = parts_of(site, tensor.shape[axis])
    ends = np.cumsum(sizes)
    single = not site.has(1) and not site.flag("keepdims", True)
    if isinstance(tensor, np.ndarray):
        known = np.split(tensor, ends[:-1], axis)
        return Tensors(tuple(k.squeeze(axis) if single else k for k in known))
    parts = [part(site, tensor, axis, range(end - n, end)) for end, n in zip(ends.tolist(), sizes, strict=True)]
    return Tensors(tuple(guarded(site, without(p, [axis])) if single and isinstance(p, Value) else p for p in parts))


def parts_of(site: OnnxSite, size: int) -> Shape:
    """The sizes of the parts of an axis; Unsupported unless they add up to it."""
    if not site.has(1):
        return (1,) * size
    given = site.ints(1, "split", low=0, high=size)
    if site.const(1, "split").ndim == 0:
        each = given[0]
        if each < 1:
            raise Unsupported(f"split: parts of {each} of an axis of {size}")
        given = tuple(min(each, size - start) for start in range(0, size, each))
    if sum(given) != size:
        raise Unsupported(f"split: {list(given)} of an axis of {size}")
    return given


def at(site: OnnxSite) -> Tensor:
    items = tensors(site)
    return items[place(site, 1, len(items))]


def construct(site: OnnxSite) -> Tensors:
    return Tensors(tuple(site.tensor_at(i) for i in range(len(site.inputs))))


def insert(site: OnnxSite) -> Tensors:
    """At the end, or before a known position."""
    items = list(tensors(site))
    items.insert(place(site, 2, len(items) + 1) if site.has(2) else len(items), site.tensor_at(1))
    return Tensors(tuple(items))


def erase(site: OnnxSite) -> Tensors:
    """The last one, or that of a known position."""
    items = list(tensors(site))
    del items[place(site, 1, len(items)) if site.has(1) else -1]
    return Tensors(tuple(items))


def concat(site: OnnxSite) -> Tensor:
    """Joined along an axis that they have, or along a new one."""
    given = tensors(site)
    if not given:
        raise Unsupported("joins an empty sequence")
    fresh = site.flag("new_axis")
    axis = axis_of(site.integer("axis"), len(given[0].shape) + fresh)
    known = [item for item in given if isinstance(item, np.ndarray)]
    if len(known) == len(given):
        return np.stack(known, axis) if fresh else np.concatenate(known, axis)
    items = [item if isinstance(item, Value) else site.b.constant(item, site.hint) for item in given]
    if fresh:
        items = [viewed(site, v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in items]
    return joined(site, items, axis)


RULES: Mapping[str, Callable[[OnnxSite], Tensor | Tensors]] = {
    "SplitToSequence": split_to_sequence,
    "SequenceAt": at,
    "SequenceConstruct": construct,
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceLength": lambda site: np.array(len(tensors(site)), np.int64),
    "ConcatFromSequence": concat,
    "Optional": lambda site: site.tensor_at(0),
    "OptionalGetElement": lambda site: site.tensor_at(0),
    "OptionalHasElement": lambda site: np.array(True),
}
"""Of one result each. The only rules that see lists, or give them."""
