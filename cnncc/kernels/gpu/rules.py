"""Which GPU kernel computes a node: ordered rules, the first that answers wins."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu.channels import select_global_pool, select_lrn, select_softmax
from cnncc.kernels.gpu.conv import select_conv, select_transposed
from cnncc.kernels.gpu.copy import select_copy
from cnncc.kernels.gpu.dense import select_dense
from cnncc.kernels.gpu.elementwise import select_elementwise
from cnncc.kernels.gpu.resample import select_resample
from cnncc.kernels.gpu.spec import GpuSite
from cnncc.kernels.gpu.window import select_depthwise, select_pool
from cnncc.kernels.gpu.winograd import select_winograd
from cnncc.kernels.shared.spec import Selection

RULES: tuple[Callable[[GpuSite], Selection | None], ...] = (
    select_depthwise,  # before conv, which would merge groups into a dense one
    select_winograd,  # before the direct kernel, which it must beat
    select_conv,
    select_transposed,
    select_dense,
    select_pool,
    select_global_pool,
    select_lrn,
    select_softmax,
    select_elementwise,
    select_resample,
    select_copy,
)


UNBOUNDED = frozenset({"log", "reciprocal", "power", "acosh", "div", "mod", "fmod"})
"""Ops that are not finite at 0, which is what fills up the last vector of channels."""


def select(site: GpuSite) -> Selection:
    """The kernel calls of a node. CnnccError for an op without a rule."""
    names = {site.node.op, *(name for name, _ in site.node.attrs.get("epilogue", ()))}
    for rule in RULES if not names & UNBOUNDED else ():
        selection = rule(site)
        if selection is not None:
            return selection
    node = site.node
    raise CnnccError(
        f"{'+'.join(sorted(names))} has no GPU kernel", node.span, node.stack, "a target that is a processor has one"
    )
