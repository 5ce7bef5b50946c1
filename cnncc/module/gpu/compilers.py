"""The CUDA compilers of this machine: NVRTC from its wheels, and `nvcc` of a toolkit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.module.gpu import nvcc, nvrtc
from cnncc.module.gpu.compiled import Compiled
from cnncc.module.gpu.reach import compiler_for, driver_text


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
        return self.cuda // 1000

    @property
    def cuda(self) -> int:
        """The version of CUDA it is of: 12080 for 12.8."""
        major, minor = [*self.version.split("."), "0"][:2]
        return 1000 * int(major) + 10 * int(minor)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cuda_compiler(*architectures: str) -> Compiler:
    """Of those that know all the architectures (`sm_80`, `compute_80` or the like) the one whose machine code the
    earliest drivers load, which is that of the earliest CUDA. Among equals NVRTC, which starts at once, and not nvcc.
    CnnccError without any."""
    least = max(map(compiler_for, architectures), default=0)
    found = _wheels()
    fit = [c for c in found if c.cuda >= least]
    if fit and fit[0].major == nvrtc.OLDEST:
        return fit[0]  # whatever nvcc is
    if nvcc.command() is not None:
        found.append(_nvcc())
        fit += [c for c in found[-1:] if c.cuda >= least]
    if not fit:
        newest, names = max(architectures, key=compiler_for), ", ".join(map(str, found))
        needed = f"it needs one of CUDA {driver_text(least)} or later, and there is {names}"
        raise CnnccError(f"no CUDA compiler for {newest}: {needed}", hint=f"install one with: {extras.install('cuda')}")
    return min([c for c in fit if c.major >= nvrtc.OLDEST] or fit, key=lambda c: c.major)


def _wheels() -> list[Compiler]:
    """NVRTC of each wheel, the earliest CUDA first. CnnccError without any, if there is no nvcc either."""
    try:
        folders = nvrtc.folders()
    except CnnccError as error:
        if nvcc.command() is None:
            raise CnnccError(f"{error.message}, and there is no nvcc on the PATH", hint=error.hint) from error
        return []
    return [
        Compiler(nvrtc.NAME, nvrtc.version(f), nvrtc.FLAGS, partial(nvrtc.machine_code, f), partial(nvrtc.ptx, f))
        for f in folders
    ]


def _nvcc() -> Compiler:
    return Compiler(nvcc.NAME, nvcc.version(), nvcc.FLAGS, nvcc.machine_code, nvcc.ptx)
