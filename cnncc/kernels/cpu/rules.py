"""Which kernel computes a node: the rules of its op in order, of which the first that answers wins."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.discovery import gathered
from cnncc.kernels import cpu
from cnncc.kernels.cpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.cpu.budget import explained
from cnncc.kernels.cpu.site import CpuRule, CpuSite
from cnncc.kernels.shared.spec import Selection

RULES: Mapping[str, tuple[CpuRule, ...]] = {
    **gathered(cpu, "RULES", without=("rules",)),
    **dict.fromkeys(ALGORITHMS, (select_by_algorithm,)),
}
"""Op -> its rules: those that the files of kernels have under this name, and the choice among algorithms."""


def select(site: CpuSite) -> Selection:
    """The kernel calls of a node. Every op of the table has a rule, which a test holds."""
    for rule in RULES.get(site.node.op, ()):
        selection = rule(site)
        if selection is not None:
            return explained(site, selection)
    raise AssertionError(f"no kernel rule for {site.node.op}")
