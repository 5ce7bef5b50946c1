"""How old a driver may be that loads the code of a module: the version of PTX, and what machine code asks for."""

from __future__ import annotations

import re

from cnncc.base.errors import CnnccError

HOST_NEEDS = 11_040
"""The version of CUDA whose driver has all functions that the host's part calls. As a driver tells its own: 11.4."""

_PTX_OF = {75: (6, 5), 80: (7, 0), 86: (7, 1), 89: (7, 8), 90: (7, 8), 100: (8, 6)}
"""For each architecture the first version of PTX that knows it and all instructions of the kernels for it. Of `sm_75`
that is the version of its `mma.sync`."""
_DRIVER_OF = {(6, 5): 10_020, (7, 0): 11_000, (7, 1): 11_010, (7, 8): 11_080, (8, 6): 12_070}
"""The first version of CUDA that reads a version of PTX."""
_FIRST_CUDA_OF = {75: 10_000, 80: 11_000, 86: 11_010, 89: 11_080, 90: 11_080, 100: 12_080}
"""The first version of CUDA whose driver and compiler know the architecture."""

_VERSION = re.compile(rb"^\.version [0-9.]+$", re.MULTILINE)
_HINTS = re.compile(rb'^\s*\.pragma "used_bytes_mask [^"]*";\n', re.MULTILINE)
"""They say which bytes of a load are used, for tools that look for unset memory. PTX has them since 8.3; without them
the code is the same."""


def lowered_ptx(text: bytes, architecture: str) -> bytes:
    """PTX for `compute_80` or the like that says the least version of PTX it needs. Compilers write the newest that
    they know, which older drivers refuse. CnnccError for an architecture that is not known here."""
    major, minor = _PTX_OF[_known(architecture)]
    lowered, found = _VERSION.subn(f".version {major}.{minor}".encode(), _HINTS.sub(b"", text), count=1)
    if not found:
        raise CnnccError("the CUDA compiler wrote PTX without a version")
    return lowered


def driver_for_ptx(architecture: str) -> int:
    """The version of CUDA, 12080 for 12.8, that a driver must be of to translate what `lowered_ptx` gives."""
    return max(HOST_NEEDS, _DRIVER_OF[_PTX_OF[_known(architecture)]])


def driver_for_machine_code(architecture: str, compiler_version: str) -> int:
    """The same for machine code for `sm_80` or the like. A driver loads that of all compilers of its own major version
    (NVIDIA calls it minor version compatibility) and of earlier ones."""
    major = int(compiler_version.split(".")[0])
    return max(HOST_NEEDS, 1000 * major, _FIRST_CUDA_OF[_known(architecture)])


def compiler_for(architecture: str) -> int:
    """The version of CUDA that a compiler must be of to compile for `sm_80`, `compute_80` or the like; 0 if that is not
    known here."""
    return _FIRST_CUDA_OF.get(int(architecture.split("_")[1]), 0)


def driver_text(version: int) -> str:
    """`12.8` for 12080."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _known(architecture: str) -> int:
    number = int(architecture.split("_")[1])
    if number not in _PTX_OF:
        names = ", ".join(f"sm_{n}" for n in _PTX_OF)
        raise CnnccError(f"nothing is known of the drivers for {architecture}", hint=f"known: {names}")
    return number
