"""Transposed convolutions: one small convolution for each phase of the stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from cnncc.kernels.cpu.budget import choose
from cnncc.kernels.cpu.conv_algorithm import conv_calls
from cnncc.kernels.cpu.conv_choice import DirectChoice, configure, direct_candidates, of_phase
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.cpu.site import FLOATS, CpuRule, CpuSite
from cnncc.kernels.cpu.weights import weight_name
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry
from cnncc.kernels.shared.spec import Call, Packed, Selection
from cnncc.kernels.shared.transposed import transposed_phases, weight_by_output
from cnncc.machines.targets import Target


def select_transposed(site: CpuSite) -> Selection:
    """A transposed convolution as one small convolution for each phase of its stride (no zeros are ever inserted)."""
    calls: list[Call] = []
    phases = 0
    packed: dict[str, Packed] = {}
    for geometry, part, suffix in transposed_phases(site, weight_by_output(site)):
        alike = _alike(site, geometry, suffix)
        best, _ = choose(site, alike or of_phase(site, geometry, partial(_ways, site.target)))
        made, weights = conv_calls(site, geometry, part, best.choice, suffix)
        calls += made
        phases += 1
        packed.update({p.name: p for p in weights})
    why = f"{phases} phase{'s' * (phases > 1)} of the stride, each a direct convolution"
    return Selection(tuple(calls), tuple(packed.values()), why)


def _ways(target: Target, geometry: ConvGeometry, wide: bool) -> Sequence[Candidate[DirectChoice]]:
    return direct_candidates(geometry, target, wide=wide)


def _alike(site: CpuSite, geometry: ConvGeometry, suffix: str) -> list[Candidate[DirectChoice]]:
    """The ways to compute a phase with the packed weights that it has at another size of the inputs. An image of few
    rows or columns lacks some phases."""
    for call in () if site.like is None else site.like.calls:
        config = call.kernel.config
        if isinstance(config, ConvConfig) and weight_name(site, suffix) in [o.name for o in call.operands]:
            ways = direct_candidates(geometry, site.target, wide=True)
            made = ((way, configure(geometry, site.target, way.choice)) for way in ways)
            return [way for way, own in made if own.weight_order == config.weight_order]
    return []


RULES: Mapping[str, tuple[CpuRule, ...]] = {
    "conv_transpose": (select_transposed,),
}
"""Op -> its selectors."""
TAKES = {"conv_transpose": FLOATS}
"""Op -> the element types of the values that its kernels take and give, where these are more than float32."""
RANGES: Mapping[str, bool] = {"conv_transpose": True}
"""Op -> whether its kernels compute images of any size of a range."""
