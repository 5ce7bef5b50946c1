"""Which kernel computes a node: the rules of its op in order, of which the first that answers wins."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.dim import symbols_of
from cnncc.base.discovery import gathered
from cnncc.base.elements import FLOAT16, FLOAT32, Element
from cnncc.base.errors import CnnccError
from cnncc.kernels import cpu
from cnncc.kernels.cpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.cpu.budget import explained
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Selection
from cnncc.ops.source import is_prepared, port_type

RULES: Mapping[str, tuple[CpuRule, ...]] = {
    **gathered(cpu, "RULES", without=("rules",)),
    **dict.fromkeys(ALGORITHMS, (select_by_algorithm,)),
}
"""Op -> its rules: those that the files of kernels have under this name, and the choice among algorithms."""


TAKES: Mapping[str, frozenset[Element]] = gathered(cpu, "TAKES", without=("rules",))
"""Op -> the element types of the values that its kernels take and give; of all other ops these are float32."""


RANGES: Mapping[str, bool] = gathered(cpu, "RANGES", without=("rules",))
"""The ops whose kernels compute images of any size of a range."""


def refuse_range(site: CpuSite) -> None:
    """CnnccError in a module for a range of sizes, where the kernels of the op are for one each."""
    node = site.node
    types = [site.graph[name].type for name in (*node.inputs, node.name)]
    if site.usual is None or not any(symbols_of(kind.shape) for kind in types):
        return
    hint = "compile the sizes that are needed: --shape 3x224x224,3x320x480"
    if not RANGES.get(node.op):
        raise CnnccError(f"{node.op} has no kernel for a range of sizes yet", node.span, node.stack, hint)


def refuse_elements(site: CpuSite) -> None:
    """CnnccError if the kernels of the op have no code for the types of the node's values."""
    node = site.node
    kinds = dict.fromkeys(site.graph[name].type.element for name in (*node.inputs, node.name))
    if is_prepared(node):
        kinds[port_type(node).element] = None
    missing = [str(kind) for kind in kinds if kind not in TAKES.get(node.op, {FLOAT32})]
    if FLOAT16 in kinds and not site.target.float16:
        what = f"target {site.target.name} has no instruction that converts float16"
        raise CnnccError(
            what, node.span, node.stack, "bfloat16 needs none; or a target that has one, such as x86-64-v3"
        )
    if missing:
        what = f"{node.op} has no kernel for {' and '.join(missing)} yet"
        raise CnnccError(what, node.span, node.stack, "`dequantize` or `cast float32` before it: it takes float32")


def select(site: CpuSite) -> Selection:
    """The kernel calls of a node. Every op of the table has a rule, which a test holds. CnnccError for types of values
    that have no kernel."""
    refuse_elements(site)
    refuse_range(site)
    for rule in RULES.get(site.node.op, ()):
        selection = rule(site)
        if selection is not None:
            return explained(site, selection)
    raise AssertionError(f"no kernel rule for {site.node.op}")
