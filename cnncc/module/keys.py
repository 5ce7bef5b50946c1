"""Cache keys: hashes of everything that turns a kernel's configuration, or the text of the glue, into code.

Needs neither TVM nor LLVM, so a warm compile never loads them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

from cnncc import ops
from cnncc.base import resources
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target
from cnncc.module import cache as disk


@cache
def compiler_digest() -> str:
    """A hash of the sources that kernels are made by, formulas of ops among them, and of the versions of TVM and its
    FFI. Of ops that a script adds there is no source to be known: their kernels are kept in memory, for this process
    only."""
    digest = hashlib.sha256(f"{version('apache-tvm')} {version('apache-tvm-ffi')}".encode())
    package = resources.PACKAGE
    for source in sorted(
        [
            *package.glob("kernels/**/*.py"),
            *package.glob("ops/*.py"),
            package / "base" / "dim.py",
            package / "module" / "cpu" / "objects.py",
        ]
    ):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    digest.update(os.urandom(16) if ops.ADDED else b"")
    return digest.hexdigest()


def kernel_key(kernel: Kernel, target: Target) -> str:
    """The key of a kernel's object for a target."""
    machine = (target.triple, target.abi, target.cpu, target.features)
    everything = (compiler_digest(), kernel.family, kernel.config, kernel.symbol, machine)
    return hashlib.sha256(repr(everything).encode()).hexdigest()


GLUE_OPTIONS = {"opt": 1, "reloc": "pic", "codemodel": "default"}
"""How llvmlite makes code of the glue."""


def glue_key(text: str, target: Target) -> str:
    """The key of the object that the glue, as LLVM IR, becomes for a target."""
    machine = (target.triple, target.abi, target.cpu, target.features, target.baseline)
    everything = (version("llvmlite"), sorted(GLUE_OPTIONS.items()), machine, text)
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def tvm_llvm_version() -> str:
    """The version of LLVM inside TVM, noted in the cache so that a warm compile need not load TVM to ask."""

    def ask() -> bytes:
        from cnncc.module.cpu.objects import llvm_version

        return llvm_version().encode()

    return _noted(f"LLVM of TVM {version('apache-tvm')}", ask)


def glue_llvm_version() -> str:
    """The version of LLVM inside llvmlite, noted in the cache as well."""

    def ask() -> bytes:
        import llvmlite.binding as llvm

        return ".".join(map(str, llvm.llvm_version_info)).encode()

    return _noted(f"LLVM of llvmlite {version('llvmlite')}", ask)


def _noted(what: str, ask: Callable[[], bytes]) -> str:
    return disk.fetch(hashlib.sha256(what.encode()).hexdigest(), ask).decode()
