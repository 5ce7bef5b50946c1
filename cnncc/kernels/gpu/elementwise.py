"""Kernels that treat every element alike: activations, batch norm that could not be folded, slopes, merges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnncc.base.elements import BYTES, Element
from cnncc.kernels.gpu.model import LaunchWork
from cnncc.kernels.gpu.pointwise_bytes import select_bounded
from cnncc.kernels.gpu.spec import FLOATS, MOVED, GpuKernel, GpuRule, GpuSite, View, grid_of, threads_for
from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.elementwise import affine_weights, finite, label
from cnncc.kernels.shared.spec import Call, Epilogue, Packed, Selection
from cnncc.ops import TABLE
from cnncc.ops.epilogue import own_count
from cnncc.ops.pointwise import BOUNDED
from cnncc.ops.traits import Kind


@dataclass(frozen=True)
class GpuElementwiseConfig:
    """`start` is `first` (the first operand as it is), a merge, `affine` (x scale + shift, per channel) or `prelu` (x
    times a slope per channel where x is negative).

    `operands` are views of what is combined: of the result's size, or of one value per channel.
    """

    start: str
    batch: int
    operands: tuple[View, ...]
    extras: tuple[int, ...]
    result: View
    epilogue: Epilogue
    lanes: int
    threads: int
    clears: bool = False
    """Whether what fills up the last vector of channels is set to 0: some ops are not finite where their arguments
    are."""

    @property
    def per_image(self) -> int:
        return self.result.numbers // self.lanes


def select_merge(site: GpuSite) -> Selection:
    """Several values, element by element."""
    node = site.node
    own = own_count(len(node.inputs), node.attrs)
    return _elementwise(site, node.op, own, node.attrs["epilogue"])


def select_pointwise(site: GpuSite) -> Selection:
    """An activation on its own: the only post-op of a copy."""
    node = site.node
    return _elementwise(site, "first", 1, ((node.op, tuple(sorted(node.attrs.items()))),))


def select_unchanged(site: GpuSite) -> Selection:
    """A copy of a value."""
    return _elementwise(site, "first", 1, ())


def select_affine(site: GpuSite) -> Selection:
    """Batch norms and learned scales as x scale + shift, both computed at compile time, in float64."""
    node, view = site.node, site.view(site.node.name)
    packed = affine_weights(site, view.blocks * view.block)
    return _elementwise(site, "affine", 1, node.attrs["epilogue"], packed)


def select_prelu(site: GpuSite) -> Selection:
    """A slope per channel."""
    view, slope = site.view(site.node.name), site.constant("weight")
    assert slope is not None
    width = view.blocks * view.block
    packed = Packed(f"{site.node.name}.slope", slope.map((width,), lambda s: pad_channels(s, width)))
    return _elementwise(site, "prelu", 1, (), (packed,))


def _elementwise(site: GpuSite, start: str, own: int, epilogue: Epilogue, packed: tuple[Packed, ...] = ()) -> Selection:
    """The first `own` inputs are combined, the others belong to the epilogue."""
    node, result = site.node, site.view(site.node.name)
    values = site.values(node.inputs[:own])
    operands = tuple(site.view(name) for name in node.inputs[:own])
    lanes = result.block
    total = site.batch * result.numbers // lanes
    extras = tuple(site.view(name).stride for name in node.inputs[own:])
    threads = threads_for(total, site.target)
    clears = result.channels % lanes > 0 and not finite((start, *(name for name, _ in epilogue)))
    config = GpuElementwiseConfig(start, site.batch, operands, extras, result, epilogue, lanes, threads, clears)
    grid = grid_of(total, threads)
    work = LaunchWork(total * lanes * (len(operands) + len(epilogue)), site.bytes_of(node.name, *node.inputs))
    name = f"{label(start, epilogue)}_{result.label}"
    kernel = GpuKernel("elementwise", name, config, grid[0], 0, grid, threads, work)
    weights = tuple(p.operand for p in packed)
    call = Call(node.name, kernel, (*values, *weights, *site.values(node.inputs[own:])), site.result, True)
    return Selection((call,), packed, "one pass over memory")


OF_KIND: Mapping[Kind, GpuRule] = {Kind.POINTWISE: select_pointwise, Kind.MERGE: select_merge}
"""Kinds of ops that one kernel computes, whatever the op."""
RULES: Mapping[str, tuple[GpuRule, ...]] = {
    **{name: (OF_KIND[op.traits.kind],) for name, op in TABLE.items() if op.traits.kind in OF_KIND},
    **dict.fromkeys((name for name, op in TABLE.items() if op.traits.folds), (select_affine,)),
    **dict.fromkeys(BOUNDED, (select_bounded, select_pointwise)),
    "prelu": (select_prelu,),
    "identity": (select_unchanged,),
    "dropout": (select_unchanged,),
    "spread": (select_unchanged,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = {
    **dict.fromkeys(RULES, FLOATS),
    **dict.fromkeys(BOUNDED, FLOATS.union(BYTES)),
    **dict.fromkeys(("identity", "dropout", "spread"), MOVED),
}
"""Op -> the types of numbers that its kernels take and give."""
