"""Transposed convolutions: one small convolution for each phase of the stride."""

from __future__ import annotations

from collections.abc import Mapping

from cnncc.kernels.cpu.budget import choose
from cnncc.kernels.cpu.conv_algorithm import conv_calls
from cnncc.kernels.cpu.conv_choice import configure, direct_candidates
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.site import FLOATS, CpuRule, CpuSite
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.kernels.shared.transposed import transposed_phases, weight_by_output


def select_transposed(site: CpuSite) -> Selection:
    """A transposed convolution as one small convolution for each phase of its stride (no zeros are ever inserted)."""
    calls: list[Call] = []
    phases = 0
    packed: dict[str, Packed] = {}
    others = [] if site.like is None else [c for c in site.like.calls if isinstance(c.kernel.config, ConvConfig)]
    for i, (geometry, part, suffix) in enumerate(transposed_phases(site, weight_by_output(site))):
        options = direct_candidates(geometry, site.target, wide=bool(others))
        if others:
            wanted = others[i].kernel.config.weight_order
            alike = [o for o in options if configure(geometry, site.target, o.choice).weight_order == wanted]
            options = tuple(alike) or direct_candidates(geometry, site.target)
        best, _ = choose(site, options)
        made, weights = conv_calls(site, geometry, part, best.choice, suffix)
        calls += made
        phases += 1
        packed.update({p.name: p for p in weights})
    why = f"{phases} phase{'s' * (phases > 1)} of the stride, each a direct convolution"
    return Selection(tuple(calls), tuple(packed.values()), why)


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "conv_transpose": (select_transposed,),
}
"""Op -> its selectors."""
TAKES = {"conv_transpose": FLOATS}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
