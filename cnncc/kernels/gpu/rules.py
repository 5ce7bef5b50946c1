"""Which GPU kernel computes a node: the rules of its op in order, of which the first that answers wins."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.discovery import gathered
from cnncc.base.errors import CnnccError
from cnncc.kernels import gpu
from cnncc.kernels.gpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.gpu.spec import GpuRule, GpuSite
from cnncc.kernels.shared.spec import Selection
from cnncc.ops import TABLE

RULES: Mapping[str, tuple[GpuRule, ...]] = {
    **gathered(gpu, "RULES", without=("rules",)),
    **dict.fromkeys(ALGORITHMS, (select_by_algorithm,)),
}
"""Op -> its rules: those that the files of kernels have under this name, and the choice among algorithms."""


def without_kernel(op: str) -> str:
    """Why an op has no GPU kernel; empty if it has one."""
    if op in RULES or op in PLACED:
        return ""
    return "it takes or gives other numbers than float32" if TABLE[op].exact else "no kernel is written yet"


PLACED = frozenset({"const"})
"""Ops that are computed nowhere: their values lie in the weights."""


def select(site: GpuSite) -> Selection:
    """The kernel calls of a node. CnnccError for an op without a kernel."""
    node = site.node
    post_ops = [name for name, _ in node.attrs.get("epilogue", ())]
    if not any(map(without_kernel, (node.op, *post_ops))):
        for rule in RULES[node.op]:
            selection = rule(site)
            if selection is not None:
                return selection
    names = "+".join(sorted({node.op, *post_ops}))
    raise CnnccError(f"{names} has no GPU kernel", node.span, node.stack, "a target that is a processor has one")
