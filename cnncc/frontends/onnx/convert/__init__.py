"""What each ONNX op is here: one rule an op, one family a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cnncc.frontends.onnx.convert import (
    arithmetic,
    convolutions,
    dense,
    detect,
    logic,
    microsoft,
    norms,
    patches,
    pointwise,
    quantize,
    reduce,
    resize,
    rows,
    sample,
    scans,
    shapes,
    slices,
    windows,
)
from cnncc.frontends.onnx.schema import DOMAINS
from cnncc.frontends.onnx.site import Site, Tensor

RULES: Mapping[str, Callable[[Site], Tensor | list[Tensor]]] = {
    **windows.RULES,
    **convolutions.RULES,
    **dense.RULES,
    **norms.RULES,
    **pointwise.RULES,
    **arithmetic.RULES,
    **logic.RULES,
    **reduce.RULES,
    **scans.RULES,
    **resize.RULES,
    **shapes.RULES,
    **slices.RULES,
    **quantize.RULES,
    **sample.RULES,
    **rows.RULES,
    **patches.RULES,
    **detect.RULES,
}
"""Every ONNX op that may be computed; what depends on known tensors only is evaluated by `onnx_fold.py`."""
RULES_OF: Mapping[str, Mapping[str, Callable[[Site], Tensor | list[Tensor]]]] = {
    **dict.fromkeys(DOMAINS, RULES),
    "com.microsoft": microsoft.RULES,
}
"""The rules of each domain that has any."""
