"""NVIDIA's run-time compiler, from its wheel: CUDA C to machine code and PTX, without a GPU."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.module.gpu.compiled import Compiled, parse_resources

FLAGS = ("--std=c++17", "--device-as-default-execution-space", "-w")
"""No fast-math: division, square root and denormals as IEEE 754 says. Fused multiply-adds are the default."""
NAME = "nvrtc"
PLACES = ("cuda_nvrtc/lib", "cu*/lib")
"""Of the library below the folder `nvidia`: in the wheels up to CUDA 12, and in later ones."""
OLDEST = 12
"""The first major version that knows most of the architectures."""
_BUILTINS = "libnvrtc-builtins.so."


def _hint() -> str:
    return f"install it with: {extras.install('cuda')}"


def folders() -> list[Path]:
    """The folders of the wheels' libraries, that of the earliest CUDA first. CnnccError if there is none."""
    spec = find_spec("nvidia")
    roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
    found = [path for root in roots for place in PLACES for path in root.glob(f"{place}/libnvrtc.so.*")]
    fit = sorted({(_major(path), path) for path in found if _major(path) >= OLDEST})
    if not fit:
        raise CnnccError("no CUDA compiler: the package nvidia-cuda-nvrtc-cu12 is not installed", hint=_hint())
    return [path.parent for _, path in fit]


def _major(library: Path) -> int:
    """12 for `libnvrtc.so.12`."""
    number = library.name.removeprefix("libnvrtc.so.").split(".")[0]
    return int(number) if number.isdecimal() else 0


@cache
def _library(where: Path) -> ctypes.CDLL:
    """NVRTC, with the library of built-in functions that it looks for by name."""
    try:
        ctypes.CDLL(str(next(where.glob(f"{_BUILTINS}*"))), mode=ctypes.RTLD_GLOBAL)
        return ctypes.CDLL(str(next(where.glob("libnvrtc.so.*"))))
    except (StopIteration, OSError) as error:
        raise CnnccError(f"{where}: the CUDA compiler cannot be loaded: {error}", hint=_hint()) from error


def version(where: Path) -> str:
    """The version of the compiler in a folder, as the name of one of its libraries tells it."""
    named = [path.name.removeprefix(_BUILTINS) for path in where.glob(f"{_BUILTINS}*")]
    return next(iter(named), f"{_major(next(where.glob('libnvrtc.so.*')))}.0")


def machine_code(where: Path, source: str, architecture: str) -> Compiled:
    """A cubin for `sm_80` or the like, by the compiler in a folder."""
    image, log = _compile(where, source, architecture, "CUBIN", ["--ptxas-options=-v"])
    return Compiled(image, parse_resources(log))


def ptx(where: Path, source: str, architecture: str) -> bytes:
    """PTX for `compute_80` or the like, which a driver translates for the device it finds."""
    return _compile(where, source, architecture, "PTX", [])[0]


def _compile(where: Path, source: str, architecture: str, kind: str, options: list[str]) -> tuple[bytes, str]:
    library = _library(where)
    program = ctypes.c_void_p()
    flags = [f"--gpu-architecture={architecture}", *FLAGS, *options]
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None))
    try:
        array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        code = library.nvrtcCompileProgram(program, len(flags), array)
        log = _text(library, program, "ProgramLog").decode(errors="replace").rstrip("\0")
        if code:
            raise CnnccError(f"the CUDA compiler failed for {architecture}: {_name(library, code)}\n{log.strip()}")
        return _text(library, program, kind), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(library, library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, library[f"nvrtcGet{what}"](program, buffer))
    return buffer.raw


def _check(library: ctypes.CDLL, code: int) -> None:
    if code:
        raise CnnccError(f"the CUDA compiler failed: {_name(library, code)}")


def _name(library: ctypes.CDLL, code: int) -> str:
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return str(library.nvrtcGetErrorString(code).decode())
