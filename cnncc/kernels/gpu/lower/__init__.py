"""From a GPU kernel's configuration to TVM: one lowering per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm.tirx import PrimFunc

from cnncc.base.discovery import gathered
from cnncc.kernels import gpu
from cnncc.kernels.gpu import lower

LOWER: Mapping[str, Callable[[Any, str], PrimFunc]] = {**gathered(lower, "LOWER"), **gathered(gpu, "LOWER")}
"""Family of a kernel -> its lowering. One of few lines may stand beside the choice of its kernel, and import TVM where
it is called."""
