"""The kinds of files that the compiler writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ROLES = {
    "so": "the module",
    "a": "the archive",
    "o": "the object",
    "h": "its header",
    "hpp": "its C++ header",
    "ll": "its LLVM IR",
    "asm": "its assembly",
    "weights": "its weights",
    "cu": "its CUDA source",
    "ptx": "its PTX",
    "cubin": "its GPU code",
}
"""The kinds of files, and how messages call them."""

CUDA_KINDS = ("so", "h", "cu", "ptx", "cubin")
"""Of those, what a module for a GPU has."""

CPU_KINDS = ("so", "a", "o", "h", "hpp", "ll", "asm", "weights")
"""What a module for processors has."""

LISTINGS = ("ll", "asm")
"""Of those, what is of one target only."""

ENDINGS = {**{kind: kind for kind in ROLES}, "asm": "s"}
"""Of the file names of each kind."""

DEFAULT = ("so", "h")
"""What is written unless other kinds are named."""


def files_of(kinds: Sequence[str], name: Path) -> dict[str, Path]:
    """The file of each kind. `name` is that of the first kind, or has no ending, and then every kind adds its own."""
    base = name.with_suffix("") if name.suffix else name
    files = {kind: base.with_name(f"{base.name}.{ENDINGS[kind]}") for kind in kinds}
    return {**files, kinds[0]: name} if name.suffix else files
