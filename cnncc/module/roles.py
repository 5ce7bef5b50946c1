"""The kinds of files that the compiler writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnncc.base.errors import CnnccError

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


def with_headers(kinds: Sequence[str]) -> list[str]:
    """The kinds, each once; the C++ header brings the C header that it includes."""
    found = list(dict.fromkeys(kinds))
    return found if "h" in found or "hpp" not in found else [*found, "h"]


def check_kinds(kinds: Sequence[str], known: Sequence[str], targets: Sequence[str], option: str = "emit") -> None:
    """CnnccError for kinds that a module for these targets does not have; `option` is what named them."""
    named = ",".join(targets)
    for kind in kinds:
        if kind not in known:
            raise CnnccError(f"{option} {kind}: target {named} has none", hint=f"known: {', '.join(known)}")
        if kind in LISTINGS and len(targets) > 1:
            raise CnnccError(f"{option} {kind} takes one target, got {named}")


def files_of(kinds: Sequence[str], name: Path) -> dict[str, Path]:
    """The file of each kind. `name` is that of the first kind, or has no ending, and then every kind adds its own."""
    base = name.with_suffix("") if name.suffix else name
    files = {kind: base.with_name(f"{base.name}.{ENDINGS[kind]}") for kind in kinds}
    return {**files, kinds[0]: name} if name.suffix else files
