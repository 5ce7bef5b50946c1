"""The arms of a merge: tensors that broadcast, computed or known, as nodes that fit each other."""

from __future__ import annotations

import math

import numpy as np

from cnncc.frontends.onnx.site import OnnxSite, Tensor
from cnncc.frontends.onnx.values import Builder, Unsupported, Value, broadcast, ranked


def merged(site: OnnxSite, op: str, *tensors: Tensor) -> Value:
    """A merge of tensors that broadcast, in their order; any but not all need be computed."""
    shape = broadcast(*(t.shape for t in tensors))
    computed = [t for t in tensors if isinstance(t, Value)]
    whole = [t for t in computed if t.shape == shape]
    if not computed:
        computed = [site.b.constant(np.asarray(tensors[0]), f"{site.hint}.left")]
        tensors = (computed[0], *tensors[1:])
    first = (whole or computed)[0]
    lead = site.b.expand(first, shape, site.hint)
    nodes = [lead.node if t is first else arm(site, lead, t) for t in tensors]
    return Value(site.add(op, *nodes), shape, lead.axes)


def arm(site: OnnxSite, lead: Value, tensor: Tensor) -> str:
    """A node with a tensor as it is beside `lead`: of its size, or one value for each channel."""
    if not isinstance(tensor, Value):
        return known_arm(site, lead, np.asarray(tensor))
    value = ranked(tensor, len(lead.shape))
    if value.axes != lead.axes:
        value = site.b.arrange(value, lead.order)
    dims = site.b.shape(lead.node)[1:]
    if per_channel(site.b, lead, value):
        return site.b.seen(value.node, (dims[0], 1, 1), site.hint)
    if per_pixel(site.b, lead, value):
        return site.b.seen(value.node, (1, *dims[1:]), site.hint)
    return site.b.seen(site.b.expand(value, lead.shape, site.hint).node, dims, site.hint)


def per_channel(b: Builder, lead: Value, value: Value) -> bool:
    """Whether a value, stored in the order of `lead`, has one element for each channel of its image."""
    outer = channel_axes(b, lead)
    return outer > 0 and value.stored[:outer] == lead.stored[:outer] and all(s == 1 for s in value.stored[outer:])


def per_pixel(b: Builder, lead: Value, value: Value) -> bool:
    """Whether it has one element for each pixel."""
    outer, images = channel_axes(b, lead), 1 if b.batch > 1 else 0
    batch = value.stored[:images] == lead.stored[:images]
    return (
        outer > 0
        and batch
        and all(s == 1 for s in value.stored[images:outer])
        and (value.stored[outer:] == lead.stored[outer:])
    )


def channel_axes(b: Builder, lead: Value) -> int:
    """How many stored axes, the batch among them, make up the channels of a value's image; 0 if it is a vector, or if
    an axis has parts of channels and of pixels."""
    channels, *pixels = b.shape(lead.node)[1:]
    if len(pixels) != 2 or math.prod(pixels) == 1:
        return 0
    outer, count = 1 if b.batch > 1 else 0, 1
    while count < channels:
        count *= lead.stored[outer]
        outer += 1
    return outer if count == channels else 0


def known_arm(site: OnnxSite, lead: Value, known: np.ndarray) -> str:
    """A learned tensor beside `lead`."""
    places = np.arange(known.size).reshape((1,) * (len(lead.shape) - known.ndim) + known.shape)
    column = places.transpose(lead.order)
    stored = lead.stored
    if site.b.batch > 1:
        if column.ndim and column.shape[0] != 1:
            raise Unsupported("a known tensor that differs from image to image")
        column, stored = column[0], stored[1:]
    dims = site.b.shape(lead.node)[1:]
    seen = by_channel(column, stored, dims)
    if seen is None:
        site.b.room_for(4 * math.prod(dims))  # places and copies of values
        seen = channel_column(np.broadcast_to(column, stored).reshape(dims))
    array = np.asarray(known, np.float32).reshape(-1)[seen]
    return site.b.add("const", [], f"{site.hint}.value", [array[None]], dims=array.shape)


def by_channel(column: np.ndarray, stored: tuple[int, ...], dims: tuple[int, ...]) -> np.ndarray | None:
    """A tensor that broadcasts to `stored` as c x 1 x 1 of an image `dims`, if its shape says that all pixels of a
    channel are equal: no large image has to be made for that."""
    outer, count = 0, 1
    while count < dims[0]:  # the first axes, which make up the channels
        count *= stored[outer]
        outer += 1
    if len(dims) != 3 or count != dims[0] or any(size != 1 for size in column.shape[outer:]):
        return None
    return np.broadcast_to(column.reshape(column.shape[:outer]), stored[:outer]).reshape(-1, 1, 1)


def channel_column(array: np.ndarray) -> np.ndarray:
    """An image of places in a tensor as c x 1 x 1 if each channel has one place: by where values come from, not by what
    they are, so that a network is written alike before and after training."""
    if array.ndim == 3 and np.array_equal(array, np.broadcast_to(array[:, :1, :1], array.shape)):
        return np.ascontiguousarray(array[:, :1, :1])
    return np.ascontiguousarray(array)
