"""The CUDA compiler of this machine: NVRTC from its wheel, else `nvcc` of a toolkit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnncc.base.errors import CnnccError
from cnncc.module.gpu import nvcc, nvrtc
from cnncc.module.gpu.compiled import Compiled


@dataclass(frozen=True)
class Compiler:
    """Compiles CUDA C without a GPU, without fast-math."""

    name: str
    version: str
    flags: tuple[str, ...]
    machine_code: Callable[[str, str], Compiled]
    ptx: Callable[[str, str], bytes]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cuda_compiler() -> Compiler:
    """NVRTC if it is installed: it starts at once, and its version is pinned; else nvcc. CnnccError without either."""
    try:
        nvrtc.folder()
    except CnnccError as error:
        if nvcc.command() is None:
            raise CnnccError(f"{error.message}, and there is no nvcc on the PATH", hint=error.hint) from error
        return Compiler(nvcc.NAME, nvcc.version(), nvcc.FLAGS, nvcc.machine_code, nvcc.ptx)
    return Compiler(nvrtc.NAME, nvrtc.version(), nvrtc.FLAGS, nvrtc.machine_code, nvrtc.ptx)
