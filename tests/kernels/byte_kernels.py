"""Builds kernels on bytes, runs them alone, and holds every byte to the definition."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target
from cnncc.module.cpu.objects import compile_kernel

PAGE = 4096


def aligned(array: np.ndarray, spare: int = 4096) -> np.ndarray:
    """A flat copy that begins on a page, with zeros behind it that a prefetch may read."""
    flat = np.ascontiguousarray(array).ravel()
    raw = np.zeros(flat.nbytes + spare + PAGE, np.uint8)
    at = -raw.ctypes.data % PAGE
    found = raw[at : at + flat.nbytes].view(flat.dtype)
    found[:] = flat
    return found


def run(kernel: Kernel, target: Target, folder: Path, operands: list[np.ndarray], result: np.ndarray) -> np.ndarray:
    """The result of all units of a kernel. Its memory holds 77 before, and bytes around it must stay as they are."""
    stem = folder / kernel.symbol
    stem.with_suffix(".o").write_bytes(compile_kernel(kernel, target))
    subprocess.run(["cc", "-shared", "-o", stem.with_suffix(".so"), stem.with_suffix(".o"), "-lm"], check=True)
    function = ctypes.CDLL(str(stem.with_suffix(".so")))[kernel.symbol]
    guarded = aligned(np.full(result.nbytes + 128, 77, np.uint8))
    held = [*map(aligned, operands), guarded[64:], aligned(np.full(kernel.scratch_bytes + 64, 77, np.uint8))]
    function(*(ctypes.c_void_p(a.ctypes.data) for a in held), ctypes.c_int32(0), ctypes.c_int32(kernel.units))
    assert (guarded[:64] == 77).all()
    assert (guarded[-64:] == 77).all()
    return guarded[64:-64].view(result.dtype).reshape(result.shape)


def to_blocks(x: np.ndarray, block: int, fill: int = 0) -> np.ndarray:
    """(c, h, w) in blocks of channels, [block][h][w][channel], with `fill` in the channels that are missing."""
    channels, height, width = x.shape
    full = np.full((-(-channels // block) * block, height, width), fill, x.dtype)
    full[:channels] = x
    return np.ascontiguousarray(full.reshape(-1, block, height, width).transpose(0, 2, 3, 1))


def from_blocks(y: np.ndarray, channels: int) -> np.ndarray:
    """[block][h][w][channel] as (c, h, w)."""
    height, width = y.shape[1:3]
    return y.transpose(0, 3, 1, 2).reshape(-1, height, width)[:channels]
