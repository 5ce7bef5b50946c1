"""Transposed convolutions: one small convolution for each phase of the stride."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.base.elements import Element
from cnncc.kernels.gpu.conv import conv_call, direct_candidates
from cnncc.kernels.gpu.spec import FLOATS, GpuRule, GpuSite
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.kernels.shared.transposed import transposed_phases, weight_by_output


def select_transposed(site: GpuSite) -> Selection:
    """A transposed convolution as one small convolution for each phase of its stride."""
    calls: list[Call] = []
    packed: dict[str, Packed] = {}
    for geometry, part, suffix in transposed_phases(site, weight_by_output(site)):
        best = min(direct_candidates(site, geometry), key=lambda c: c.cost)
        call, weights, _ = conv_call(site, geometry, part, best.choice, suffix)
        calls.append(call)
        packed.update({p.name: p for p in weights})
    return Selection(tuple(calls), tuple(packed.values()), f"{len(calls)} phases of the stride, each a convolution")


RULES: Mapping[str, tuple[GpuRule, ...]] = {
    "conv_transpose": (select_transposed,),
}
"""Op -> its selectors."""
TAKES: Mapping[str, frozenset[Element]] = dict.fromkeys(RULES, FLOATS)
"""Op -> the types of numbers that its kernels take and give."""
