"""Kernels that treat every element alike: activations, batch norm that could not be folded, add and mul."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.dim import typical
from cnncc.kernels.cpu.convert import select_moved
from cnncc.kernels.cpu.quantized import select_bounded
from cnncc.kernels.cpu.site import FLOATS, MOVED, CpuRule, CpuSite
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.elementwise import affine_weights, finite, label
from cnncc.kernels.shared.spec import Call, Epilogue, Kernel, Packed, Selection
from cnncc.ops import TABLE
from cnncc.ops.epilogue import own_count
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.traits import Kind


@dataclass(frozen=True)
class ElementwiseConfig:
    """`start` is `first` (the first operand as it is), a merge, `affine` (x scale + shift, per channel) or `prelu` (x
    times a slope per channel where x is negative).

    Operands are `full` (as the result), `channel` (one value per channel) or `pixel` (one value per pixel). An image
    has `pixels` of `channel_blocks` blocks; a vector is one pixel of `tail` floats in one block of any length.
    """

    start: str
    operands: tuple[str, ...]
    channel_blocks: int
    pixels: int
    width: int
    """Floats per pixel and block: the block, or the length of a vector."""
    lanes: int
    epilogue: Epilogue
    parts: int
    """Units per channel block."""
    channels: int
    """Where not 0, the channels of the image: what fills up the last block is set to 0."""
    element: str = "float32"
    """Of all operands but weights, and of the result."""
    rounds: str = ""
    """The instruction of a unit for bfloat16, which comes with one that rounds; empty for none."""


def select_merge(site: CpuSite) -> Selection:
    """Several values, element by element."""
    node = site.node
    arms = node.inputs[: own_count(len(node.inputs), node.attrs)]
    kinds = tuple(_kind(site, a) for a in arms)
    return _elementwise(site, node.op, kinds, node.attrs["epilogue"])


def select_pointwise(site: CpuSite) -> Selection:
    """An activation on its own: the only post-op of a copy."""
    node = site.node
    if site.type().quantization is not None:
        return select_bounded(site)
    return _elementwise(site, "first", ("full",), ((node.op, tuple(sorted(node.attrs.items()))),))


def select_unchanged(site: CpuSite) -> Selection:
    """A copy of a value."""
    if not site.node.type.is_float:
        return select_moved(site)
    return _elementwise(site, "first", ("full",), ())


def _kind(site: CpuSite, name: str) -> str:
    shape, result = site.graph[name].type.shape[1:], site.node.type.shape[1:]
    return "full" if shape == result else "channel" if shape[0] == result[0] else "pixel"


def select_affine(site: CpuSite) -> Selection:
    """Batch norms and learned scales as x scale + shift, both computed at compile time, in float64."""
    node = site.node
    width = math.prod(node.type.stored_shape[1:]) if len(node.type.shape) == 2 else _padded(site)
    return _elementwise(site, "affine", ("full",), node.attrs["epilogue"], affine_weights(site, width))


def select_prelu(site: CpuSite) -> Selection:
    """A slope per channel."""
    node, slope = site.node, site.constant("weight")
    assert slope is not None
    width = math.prod(node.type.stored_shape[1:]) if len(node.type.shape) == 2 else _padded(site)
    packed = Packed(f"{node.name}.slope", slope.map((width,), lambda s: pad_channels(s, width)))
    return _elementwise(site, "prelu", ("full",), (), (packed,))


def _padded(site: CpuSite) -> int:
    stored = site.node.type.stored_shape
    return stored[1] * site.node.type.block


def _elementwise(
    site: CpuSite, start: str, kinds: tuple[str, ...], epilogue: Epilogue, packed: tuple[Packed, ...] = ()
) -> Selection:
    node, target = site.node, site.target
    stored = node.type.stored_shape
    image = node.type.block > 1
    channel_blocks = stored[1] if image else 1
    pixels = stored[2] * stored[3] if image else 1
    width = node.type.block if image else math.prod(stored[1:])
    parts = max(1, min(-(-typical(pixels) // 64), -(-16 // typical(channel_blocks))))
    clears = image and node.type.shape[1] % width and not finite((start, *(name for name, _ in epilogue)))
    channels = node.type.shape[1] if clears else 0
    config = ElementwiseConfig(
        start, kinds, channel_blocks, pixels, width, target.lanes, epilogue, parts, channels,
        site.element.name, site.rounds,
    )  # fmt: skip
    name = f"{label(start, epilogue)}_{site.element.short}_{target.isa}"
    kernel = Kernel("elementwise", name, config, channel_blocks * parts, 0)
    operands = (
        *site.values(node.inputs[: len(kinds)]),
        *(p.operand for p in packed),
        *site.values(node.inputs[len(kinds) :]),
    )
    return Selection((Call(node.name, kernel, operands, site.result),), packed, "one pass over memory")


OF_KIND: Mapping[Kind, CpuRule] = {Kind.POINTWISE: select_pointwise, Kind.MERGE: select_merge}
"""Kinds of ops that one kernel computes, whatever the op."""
RULES: Mapping[str, tuple[CpuRule, ...]] = {
    **{name: (OF_KIND[op.traits.kind],) for name, op in TABLE.items() if op.traits.kind in OF_KIND},
    **dict.fromkeys((name for name, op in TABLE.items() if op.traits.folds), (select_affine,)),
    "prelu": (select_prelu,),
    "identity": (select_unchanged,),
    "dropout": (select_unchanged,),
    "spread": (select_unchanged,),
}
"""Op -> its selectors."""
TAKES = {
    **{name: FLOATS for name, op in TABLE.items() if op.traits.kind in OF_KIND and name not in BOUNDED},
    **{name: FLOATS for name, op in TABLE.items() if op.traits.folds},
    **dict.fromkeys(("identity", "dropout", "spread"), MOVED),
}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = dict.fromkeys(RULES, True)
"""Op -> whether its kernels compute images of any size of a range."""
