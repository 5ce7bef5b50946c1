"""Objects linked into this process by LLVM's JIT. Whoever imports this file loads LLVM."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import llvmlite.binding as llvm

from cnncc.machines import targets
from cnncc.module.cpu.assemble import machine_of


def linked(bodies: Iterable[bytes], symbol: str, library: str) -> tuple[int, llvm.ResourceTracker]:
    """The address of `symbol` in objects linked as `library`, a name nobody else has; and what they live as long as."""
    builder = llvm.JITLibraryBuilder()
    for body in bodies:
        builder = builder.add_object_img(body)
    tracker = builder.export_symbol(symbol).add_current_process().link(_jit(), library)
    return tracker[symbol], tracker


@cache
def _jit() -> llvm.LLJIT:
    """One ORC JIT for the process, for code of this machine."""
    # Without JITLink, LLVM ends the process where parts of an object come to lie too far from each other.
    return llvm.create_lljit_compiler(machine_of(targets.host()), use_jit_link=True)
