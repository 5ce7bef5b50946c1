"""CPU kernels: from a configuration to a PrimFunc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower import (
    argmaxpool,
    conv_direct,
    copy,
    dense,
    elementwise,
    gather,
    group_norm,
    limits,
    matmul,
    nms,
    pad,
    resample,
    resize,
    roi_align,
    sample,
    strided,
    take,
    topk,
    unfold,
    window,
    winograd,
    winograd_transform,
)
from cnncc.kernels.cpu.lower.channels import lower_global_pool, lower_lrn, lower_softmax

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "conv_direct": conv_direct.lower,
    "pad": pad.lower,
    "window": window.lower,
    "winograd": winograd.lower,
    "winograd_input": winograd_transform.lower_input,
    "dense": dense.lower,
    "lrn": lower_lrn,
    "softmax": lower_softmax,
    "global_pool": lower_global_pool,
    "elementwise": elementwise.lower,
    "normalize": elementwise.lower_normalize,
    "copy": copy.lower,
    "resample": resample.lower,
    "resize": resize.lower,
    "group_norm": group_norm.lower,
    "matmul": matmul.lower,
    "topk": topk.lower,
    "strided": strided.lower,
    "take": take.lower,
    "unfold": unfold.lower,
    "sample": sample.lower,
    "gather": gather.lower_gather,
    "scatter": gather.lower_scatter,
    "argmaxpool": argmaxpool.lower,
    "roi_align": roi_align.lower,
    "nms": nms.lower,
    "nms_rows": nms.lower_rows,
    "limit_fma": limits.lower_fma,
    "limit_read": limits.lower_read,
}
