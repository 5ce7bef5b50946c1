"""Kernels that take each output pixel from one input pixel or a few: crop, pad, upsampling."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.kernels.spec import Call, Kernel, Selection, Site, blocks


@dataclass(frozen=True)
class ResampleConfig:
    """`mode` is `crop`, `constant`, `edge`, `reflect`, `nearest` or `bilinear`; `offset` is the crop's or the padding's
    corner, `scale` the upsampling factor."""

    mode: str
    channel_blocks: int
    block: int
    lanes: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    scale: tuple[int, int] = (1, 1)
    align_corners: bool = False
    value: float = 0.0


def select_resample(site: Site) -> Selection | None:
    """crop, pad and upsample; a row of one channel block per unit."""
    node, source, target = site.node, site.type(), site.target
    attrs = node.attrs
    if node.op == "crop":
        mode, extra = "crop", {"offset": (attrs["top"], attrs["left"])}
    elif node.op == "pad":
        mode, extra = attrs["mode"], {"offset": tuple(attrs["pad"][:2]), "value": float(attrs["value"])}
    elif node.op == "upsample":
        mode, extra = attrs["mode"], {"scale": tuple(attrs["scale"]), "align_corners": attrs["align_corners"]}
    else:
        return None
    planes = blocks(source.shape[1], target.block)
    out_size = node.type.shape[2:]
    config = ResampleConfig(mode, planes, target.block, target.lanes, source.shape[2:], out_size, **extra)  # type: ignore[arg-type]
    label = "crop" if node.op == "crop" else f"{node.op}_{mode}"
    kernel = Kernel("resample", f"{label}_f32_nchw{target.block}c_{target.isa}", config, planes * out_size[0], 0)
    return Selection((Call(node.name, kernel, site.values(node.inputs), site.result),), (), "one pass over the output")
