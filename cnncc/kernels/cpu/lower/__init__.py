"""CPU kernels: from a configuration to a PrimFunc."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.dim import symbols_of
from cnncc.base.discovery import gathered
from cnncc.kernels import cpu
from cnncc.kernels.cpu import lower
from cnncc.kernels.shared.builder import for_sizes
from cnncc.kernels.shared.spec import Kernel

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {**gathered(lower, "LOWER"), **gathered(cpu, "LOWER")}
"""Family of a kernel -> its lowering. One of few lines may stand beside the choice of its kernel, and import TVM where
it is called."""


def function_of(kernel: Kernel) -> PrimFunc:
    """The function of a kernel."""
    make = LOWER[kernel.family]
    if not symbols_of(kernel.config):
        return make(kernel.config, kernel.symbol)
    with for_sizes():
        return make(kernel.config, kernel.symbol)
