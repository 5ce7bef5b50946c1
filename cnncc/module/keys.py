"""Cache keys: hashes of everything that turns a kernel's configuration into code.

Needs no TVM, so a warm compile never loads it.
"""

from __future__ import annotations

import hashlib
import os
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
        [*package.glob("kernels/**/*.py"), *package.glob("ops/*.py"), package / "module" / "cpu" / "objects.py"]
    ):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    digest.update(os.urandom(16) if ops.ADDED else b"")
    return digest.hexdigest()


def kernel_key(kernel: Kernel, target: Target) -> str:
    """The key of a kernel's object for a target."""
    machine = (target.triple, target.abi, target.cpu, target.features)
    everything = (compiler_digest(), kernel.family, kernel.config, kernel.symbol, machine)
    return hashlib.sha256(repr(everything).encode()).hexdigest()


def tvm_llvm_version() -> str:
    """The version of LLVM inside TVM, noted in the cache so that a warm compile need not load TVM to ask."""
    key = hashlib.sha256(f"LLVM of TVM {version('apache-tvm')}".encode()).hexdigest()
    return disk.fetch(key, _ask_tvm).decode()


def _ask_tvm() -> bytes:
    from cnncc.module.cpu.objects import llvm_version

    return llvm_version().encode()
