"""Images that hold no kernels: as much as a driver looks at to decide whether it loads them. The emulated driver takes
the kernels from their source."""

from __future__ import annotations

import struct

from cnncc.module.gpu.images import Image
from cnncc.module.gpu.reach import driver_for_machine_code, driver_for_ptx, lowered_ptx


def stand_in(architecture: str, major: int = 12) -> Image:
    """An image for `sm_80` or `compute_80`, as the compiler of that major version of CUDA makes it."""
    number = int(architecture.split("_")[1])
    if architecture.startswith("compute_"):
        text = f"//\n.version {major - 4}.8\n.target sm_{number}\n".encode()
        return Image(architecture, lowered_ptx(text, architecture), {}, driver_for_ptx(architecture))
    return Image(architecture, elf(number, major), {}, driver_for_machine_code(architecture, f"{major}.0"))


def elf(number: int, major: int) -> bytes:
    """The header of machine code: its ABI is 7, and since CUDA 13 it is 8, with the architecture elsewhere."""
    system, abi, flags = (51, 7, number << 16 | number) if major < 13 else (65, 8, number << 8)
    start = struct.pack("<4s5B7x", b"\x7fELF", 2, 1, 1, system, abi)
    return start + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, 0, flags, 64, 0, 0, 0, 0, 0)
