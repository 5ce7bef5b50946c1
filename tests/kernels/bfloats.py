"""A unit for bfloat16 on this machine: the instructions of AVX512_BF16 written with those of AVX2, so that all kernels
but the instruction itself run as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cnncc.base import resources
from cnncc.base.elements import BFLOAT16, decode, encode
from cnncc.kernels.cpu.lower import bfloats

TARGET = "emulated"
UNIT = """
[[units]]
element = "bfloat16"
sums = "float32"
lanes = 8
depth = 2
registers = 16
ports = 2
latency = 4
instruction = "vdpbf16ps"
"""


def dot_text(name: str, instruction: str, lanes: int) -> str:
    """vdpbf16ps: the products of the upper halves are added first, then those of the lower ones, each with one
    rounding."""
    sums, words = f"<{lanes} x float>", f"<{lanes} x i32>"
    upper, shift = "splat (i32 -65536)", "splat (i32 16)"
    return f"""
declare {sums} @llvm.fma.v{lanes}f32({sums}, {sums}, {sums})
define internal {sums} @{name}({sums} %sums, {words} %x, {words} %w) alwaysinline {{
  %xh = and {words} %x, {upper}
  %wh = and {words} %w, {upper}
  %xl = shl {words} %x, {shift}
  %wl = shl {words} %w, {shift}
  %a = bitcast {words} %xh to {sums}
  %b = bitcast {words} %wh to {sums}
  %c = bitcast {words} %xl to {sums}
  %d = bitcast {words} %wl to {sums}
  %first = call {sums} @llvm.fma.v{lanes}f32({sums} %a, {sums} %b, {sums} %sums)
  %both = call {sums} @llvm.fma.v{lanes}f32({sums} %c, {sums} %d, {sums} %first)
  ret {sums} %both
}}
"""


def narrow_text(name: str, lanes: int) -> str:
    """vcvtneps2bf16, of numbers."""
    wide, whole, bits = (kind if lanes == 1 else f"<{lanes} x {kind}>" for kind in ("float", "i32", "i16"))

    def number(value: int) -> str:
        return str(value) if lanes == 1 else f"splat (i32 {value})"

    return f"""
define internal {bits} @{name}({wide} %x) alwaysinline {{
  %whole = bitcast {wide} %x to {whole}
  %upper = lshr {whole} %whole, {number(16)}
  %odd = and {whole} %upper, {number(1)}
  %half = add {whole} %odd, {number(0x7FFF)}
  %next = add {whole} %whole, %half
  %found = lshr {whole} %next, {number(16)}
  %bits = trunc {whole} %found to {bits}
  ret {bits} %bits
}}
"""


def emulate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes `TARGET` a target: x86-64-v3 with a unit for bfloat16."""
    targets = folder / "targets"
    shutil.copytree(resources.directory("targets"), targets)
    text = (targets / "x86-64-v3.toml").read_text().replace('isa = "avx2"', f'isa = "{TARGET}"')
    (targets / f"{TARGET}.toml").write_text(text + UNIT)
    directory = resources.directory
    monkeypatch.setattr(resources, "directory", lambda name: targets if name == "targets" else directory(name))
    monkeypatch.setattr(bfloats, "dot_text", dot_text)
    monkeypatch.setattr(bfloats, "narrow_text", narrow_text)
    monkeypatch.setenv("CNNCC_CACHE", str(folder / "cache"))


def dot(sums: np.ndarray, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What vdpbf16ps makes of float32 sums (n,) and bfloat16 numbers (n, 2), given as float32: a product of two of
    these is exact in float64, and so is its sum with a float32 unless they are far apart."""
    for half in (1, 0):
        sums = (sums.astype(np.float64) + x[:, half].astype(np.float64) * w[:, half]).astype(np.float32)
    return sums


def halves(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random numbers of bfloat16, as float32."""
    return decode(encode(rng.standard_normal(shape, dtype=np.float32), BFLOAT16), BFLOAT16)
