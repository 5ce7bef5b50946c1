"""Images of another size, or sampled at places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.torch.call import AtenCall, AtenRule

FACTORS = ("scales_d", "scales_h", "scales_w")
SAMPLES = ("bilinear", "nearest", "bicubic")
EDGES = ("zeros", "border", "reflection")


def resized(mode: str, rank: int, **settings: Any) -> AtenRule:
    """To a size, or by factors; where a program gives both, results lie as the factors say."""

    def rule(call: AtenCall) -> Tensor:
        corners = bool(call["align_corners"])
        where = "align_corners" if corners else settings.get("place", "half_pixel")
        how = {"mode": mode, "coordinate_transformation_mode": where, **settings}
        how.pop("place", None)
        factors = None if corners else factors_of(call, rank)
        shape = call.shape("input" if "input" in call.given else "self")
        source = "input" if "input" in call.given else "self"
        if factors is not None and sizes_by(shape[2:], factors) == sizes_of(call, shape[2:], factors):
            scales = np.array([1.0, 1.0, *factors], np.float32)
            return call.onnx("Resize", source, None, scales, **how)
        sizes = np.array([*shape[:2], *sizes_of(call, shape[2:], factors)])
        return call.onnx("Resize", source, None, None, sizes, **how)

    return rule


def factors_of(call: AtenCall, rank: int) -> tuple[float, ...] | None:
    """The factors along height, width and the like, if they are given."""
    given = (
        call["scale_factors"]
        if "scale_factors" in call.given
        else [call["scales" if rank == 1 else name] for name in FACTORS[-rank:]]
    )
    return None if given is None or None in given else tuple(map(float, given))


def sizes_by(sizes: tuple[int, ...], factors: tuple[float, ...]) -> tuple[int, ...]:
    return tuple(int(np.float32(s) * np.float32(f)) for s, f in zip(sizes, factors, strict=True))


def sizes_of(call: AtenCall, sizes: tuple[int, ...], factors: tuple[float, ...] | None) -> tuple[int, ...]:
    """The size of the result."""
    given = call.ints("output_size", len(sizes))
    return given or tuple(int(s * f) for s, f in zip(sizes, factors or (), strict=True))


def grid_sample(call: AtenCall) -> Tensor:
    """Numbers stand for the words of ONNX."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(found := SAMPLES[call["interpolation_mode"]], found)
    settings = {"mode": mode, "padding_mode": EDGES[call["padding_mode"]], "align_corners": bool(call["align_corners"])}
    return call.onnx("GridSample", "input", "grid", **settings)


def affine_grid(call: AtenCall) -> Tensor:
    return call.onnx("AffineGrid", "theta", np.array(call.ints("size")), align_corners=bool(call["align_corners"]))


def deform_conv(call: AtenCall) -> Tensor:
    """Of torchvision."""
    attributes = {
        **{
            ours: (call[f"{theirs}_h"], call[f"{theirs}_w"])
            for ours, theirs in (("strides", "stride"), ("dilations", "dilation"))
        },
        "pads": (call["pad_h"], call["pad_w"]) * 2,
        "group": call["groups"],
        "offset_group": call["offset_groups"],
    }
    mask = "mask" if call["use_mask"] else None
    return call.onnx("DeformConv", "input", "weight", "offset", "bias", mask, **attributes)


NEAREST = {"place": "asymmetric", "nearest_mode": "floor"}
EXACT = {"place": "half_pixel", "nearest_mode": "round_prefer_ceil"}
SMOOTH = {"linear1d": ("linear", 1), "bilinear2d": ("linear", 2), "trilinear3d": ("linear", 3)}
RULES: Mapping[str, AtenRule] = {
    **{f"aten.upsample_nearest{rank}d": resized("nearest", rank, **NEAREST) for rank in (1, 2, 3)},
    **{f"aten._upsample_nearest_exact{rank}d": resized("nearest", rank, **EXACT) for rank in (1, 2, 3)},
    **{f"aten.upsample_{name}": resized(*how) for name, how in SMOOTH.items()},
    "aten.upsample_bicubic2d": resized("cubic", 2, cubic_coeff_a=-0.75),
    "aten._upsample_bilinear2d_aa": resized("linear", 2, antialias=1, exclude_outside=1),
    "aten._upsample_bicubic2d_aa": resized("cubic", 2, cubic_coeff_a=-0.5, antialias=1, exclude_outside=1),
    "aten.grid_sampler": grid_sample,
    "aten.grid_sampler_2d": grid_sample,
    "aten.affine_grid_generator": affine_grid,
    "torchvision.deform_conv2d": deform_conv,
}
