"""Finds the features of this processor without LLVM, so that a module that needs others is refused and does not
crash."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

MOST_THREADS = 256
"""Most threads of the thread pool of a module (`LARGEST_POOL` in pool.c)."""

LINUX_FLAGS = {
    "sse3": "pni", "ssse3": "ssse3", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "sse4a": "sse4a", "popcnt": "popcnt",
    "avx": "avx", "avx2": "avx2", "fma": "fma", "f16c": "f16c", "bmi": "bmi1", "bmi2": "bmi2", "lzcnt": "abm",
    "movbe": "movbe", "adx": "adx", "clwb": "clwb", "sha": "sha_ni", "vaes": "vaes", "vpclmulqdq": "vpclmulqdq",
    "gfni": "gfni", "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512cd": "avx512cd", "avx512dq": "avx512dq",
    "avx512vl": "avx512vl", "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg", "avx512vpopcntdq": "avx512_vpopcntdq", "avx512ifma": "avx512ifma",
    "avx512bf16": "avx512_bf16", "avx512vp2intersect": "avx512_vp2intersect", "avxvnni": "avx_vnni",
    "neon": "asimd", "dotprod": "asimddp", "bf16": "bf16",
}  # fmt: skip
"""LLVM's names of features, and the names in /proc/cpuinfo of Linux."""


MACHINES = {"x86_64": "x86-64", "amd64": "x86-64", "arm64": "aarch64"}
"""Names of architectures that systems use, and the names that cnncc uses."""


def foreign(triple: str) -> str:
    """`this machine is x86-64` if a triple is of another architecture; else an empty text. The text is empty for
    triples of GPUs and of WebAssembly."""
    theirs = triple.split("-")[0].lower()
    mine = platform.machine().lower()
    if theirs.startswith(("nvptx", "wasm")) or MACHINES.get(theirs, theirs) == MACHINES.get(mine, mine):
        return ""
    return f"this machine is {MACHINES.get(mine, mine)}"


def unfit(triple: str, required: tuple[str, ...] | list[str]) -> str:
    """Why this machine cannot run code for a triple that requires these features; an empty text if it can."""
    lacking = missing(required)
    return foreign(triple) or (f"this processor lacks {', '.join(lacking)}" if lacking else "")


@cache
def features() -> frozenset[str]:
    """LLVM's names of the features of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("flags", "Features")):  # x86-64, aarch64
            flags = set(line.split(":", 1)[1].split())
            return frozenset(name for name, flag in LINUX_FLAGS.items() if flag in flags)
    return frozenset()


def missing(required: tuple[str, ...] | list[str]) -> list[str]:
    """The required features that this processor lacks, sorted."""
    return sorted(set(required) - features())
