"""The direct convolution as an algorithm for GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.ir import Constant
from cnncc.kernels.gpu.conv import GpuDirectChoice, PackedCall, conv_call, direct_candidates
from cnncc.kernels.gpu.spec import GpuSite
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import ConvGeometry, conv_geometry, conv_merge, densify
from cnncc.kernels.shared.spec import Selection


@dataclass(frozen=True)
class GpuDirect:
    """Any convolution. Groups are merged until each fills whole blocks."""

    name: str = "direct"

    def applies(self, site: GpuSite) -> bool:
        return True

    def candidates(self, site: GpuSite) -> list[Candidate[GpuDirectChoice]]:
        return direct_candidates(site, self.geometry(site), self.name)

    def geometry(self, site: GpuSite) -> ConvGeometry:
        """What the kernel computes."""
        return conv_geometry(site)

    def call(self, site: GpuSite, weight: Constant, choice: GpuDirectChoice) -> PackedCall:
        """The launch, its weights, and why this tile. `weight` has its groups merged."""
        return conv_call(site, self.geometry(site), weight, choice)

    def calls(self, site: GpuSite, choice: GpuDirectChoice, why: str) -> Selection:
        groups, merge = site.node.attrs["groups"], conv_merge(site)
        weight = site.constant("weight")
        assert weight is not None
        out, narrow, kh, kw = weight.shape
        dense = weight.map((out, narrow * merge, kh, kw), lambda w: densify(w, groups, merge))
        call, packed, tile = self.call(site, dense, choice)
        merged = f"; {merge} groups merged to fill a block" if merge > 1 else ""
        return Selection((call,), packed, tile + merged + why)
