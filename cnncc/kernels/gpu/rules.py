"""Which GPU kernel computes a node: the rules of its op in order, of which the first that answers wins."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.discovery import gathered
from cnncc.base.elements import FLOAT32, Element
from cnncc.base.errors import CnnccError
from cnncc.kernels import gpu
from cnncc.kernels.gpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.gpu.spec import GpuRule, GpuSite
from cnncc.kernels.shared.spec import Selection

RULES: Mapping[str, tuple[GpuRule, ...]] = {
    **gathered(gpu, "RULES", without=("rules",)),
    **dict.fromkeys(ALGORITHMS, (select_by_algorithm,)),
}
"""Op -> its rules: those that the files of kernels have under this name, and the choice among algorithms."""


TAKES: Mapping[str, frozenset[Element]] = gathered(gpu, "TAKES", without=("rules",))
"""Op -> the types of numbers that its kernels take and give; of all other ops these are float32."""


def without_kernel(op: str) -> str:
    """Why an op has no GPU kernel; empty if it has one."""
    return "" if op in RULES or op in PLACED else "no kernel is written yet"


PLACED = frozenset({"const"})
"""Ops that are computed nowhere: their values lie in the weights."""


def select(site: GpuSite) -> Selection:
    """The kernel calls of a node. CnnccError for an op without a kernel, or without one for the types of its values."""
    node = site.node
    kinds = dict.fromkeys(site.graph[name].type.element for name in (*node.inputs, node.name))
    missing = [str(kind) for kind in kinds if kind not in TAKES.get(node.op, {FLOAT32})]
    if missing:
        what = f"{node.op} has no GPU kernel for {' and '.join(missing)}"
        raise CnnccError(what, node.span, node.stack, "`dequantize` or `cast float32` before it: it takes float32")
    post_ops = [name for name, _ in node.attrs.get("epilogue", ())]
    if not any(map(without_kernel, (node.op, *post_ops))):
        for rule in RULES[node.op]:
            selection = rule(site)
            if selection is not None:
                return selection
    names = "+".join(sorted({node.op, *post_ops}))
    raise CnnccError(f"{names} has no GPU kernel", node.span, node.stack, "a target that is a processor has one")
