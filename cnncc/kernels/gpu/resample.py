"""Kernels that take each output pixel from one input pixel or a few: crop, pad, upsampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnncc.kernels.gpu.spec import VECTOR, GpuKernel, GpuSite, LaunchWork, View, grid_of, threads_for
from cnncc.kernels.shared.modes import ResampleMode
from cnncc.kernels.shared.spec import Call, Selection


@dataclass(frozen=True)
class GpuResampleConfig:
    """`mode` is `crop`, `constant`, `edge`, `reflect`, `nearest` or `bilinear`; `offset` is the crop's or the padding's
    corner, `scale` the upsampling factor."""

    mode: ResampleMode
    batch: int
    source: View
    result: View
    threads: int
    offset: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (1, 1)
    align_corners: bool = False
    value: float = 0.0

    @property
    def total(self) -> int:
        return self.batch * self.result.floats // VECTOR


def select_resample(site: GpuSite) -> Selection | None:
    """crop, pad and upsample; a vector of channels of an output pixel per thread."""
    node, attrs = site.node, site.node.attrs
    if node.op not in ("crop", "pad", "upsample"):
        return None
    source, result = site.view(node.inputs[0]), site.view(node.name)
    total = site.batch * result.floats // VECTOR
    config = GpuResampleConfig("crop", site.batch, source, result, threads_for(total, site.target))
    if node.op == "crop":
        config = replace(config, offset=(attrs["top"], attrs["left"]))
    elif node.op == "pad":
        config = replace(config, mode=attrs["mode"], offset=tuple(attrs["pad"][:2]), value=float(attrs["value"]))
    else:
        scale, aligned = tuple(attrs["scale"]), attrs["align_corners"]
        config = replace(config, mode=attrs["mode"], scale=scale, align_corners=aligned)
    label = "crop" if node.op == "crop" else f"{node.op}_{config.mode}"
    grid = grid_of(total, config.threads)
    work = LaunchWork(8 * total * VECTOR if config.mode == "bilinear" else 0, site.bytes_of(node.name, *node.inputs))
    kernel = GpuKernel("resample", f"{label}_f32_{result.label}", config, grid[0], 0, grid, config.threads, work)
    call = Call(node.name, kernel, site.values(node.inputs), site.result, True)
    return Selection((call,), (), "one pass over the output")
