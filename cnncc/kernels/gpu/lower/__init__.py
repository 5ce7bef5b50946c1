"""From a GPU kernel's configuration to TVM: one lowering per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.kernels.gpu.lower import (
    channels,
    conv,
    copy,
    dense,
    elementwise,
    epilogue,
    resample,
    tensor_conv,
    window,
    winograd,
)

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {
    "conv": conv.lower,
    "tensor_conv": tensor_conv.lower,
    "sum": epilogue.lower_sum,
    "winograd_input": winograd.lower_input,
    "winograd_output": winograd.lower_output,
    "window": window.lower,
    "dense": dense.lower,
    "lrn": channels.lower_lrn,
    "softmax": channels.lower_softmax,
    "global_pool": channels.lower_global_pool,
    "elementwise": elementwise.lower,
    "resample": resample.lower,
    "copy": copy.lower,
}
"""Family of a `GpuKernel` -> its lowering."""
