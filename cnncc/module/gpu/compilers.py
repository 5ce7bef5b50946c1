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

    @property
    def major(self) -> int:
        """The version of CUDA it is of, without the part after the point."""
        return int(self.version.split(".")[0])

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cuda_compiler() -> Compiler:
    """The one whose machine code the earlier drivers load, which is that of the earlier CUDA. Among equals NVRTC, which
    starts at once, and not nvcc. CnnccError without either."""
    try:
        nvrtc.folder()
    except CnnccError as error:
        if nvcc.command() is None:
            raise CnnccError(f"{error.message}, and there is no nvcc on the PATH", hint=error.hint) from error
        return _nvcc()
    found = Compiler(nvrtc.NAME, nvrtc.version(), nvrtc.FLAGS, nvrtc.machine_code, nvrtc.ptx)
    if found.major > nvrtc.OLDEST and nvcc.command() is not None and nvrtc.OLDEST <= _nvcc().major < found.major:
        return _nvcc()
    return found


def _nvcc() -> Compiler:
    return Compiler(nvcc.NAME, nvcc.version(), nvcc.FLAGS, nvcc.machine_code, nvcc.ptx)
