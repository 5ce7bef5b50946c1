"""From a kernel's configuration to machine code, through TVM."""

from __future__ import annotations

import os

import tvm
from tvm import tirx
from tvm.tirx import PrimFunc

from cnncc.kernels.cpu.lower import function_of
from cnncc.kernels.shared.builder import dtype_of
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target


def tvm_target(target: Target) -> tvm.target.Target:
    """TVM's description of the target."""
    fields = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu, "vector-width": target.vector_bits}
    more = {"mattr": list(target.features), "mabi": target.abi}
    return tvm.target.Target(fields | {key: value for key, value in more.items() if value})


def compile_kernel(kernel: Kernel, target: Target) -> bytes:
    """The object file of one kernel, with the one global function `kernel.symbol`."""
    library = _library(function_of(kernel), kernel.symbol, target)
    # A file in memory: LLVM ends the process where a disk is full.
    with os.fdopen(os.memfd_create(kernel.symbol[:200]), "rb") as file:
        library.write_to_file(f"/proc/self/fd/{file.fileno()}", "o")
        return file.read()


def kernel_text(kernel: Kernel, target: Target, form: str) -> str:
    """The code of a kernel as text: `ll` for LLVM IR, `asm` for assembly."""
    func = function_of(kernel)
    text: str = _library(func, kernel.symbol, target).inspect_source(form)
    return text


def _library(func: PrimFunc, symbol: str, target: Target) -> tvm.runtime.Module:
    return tvm.get_global_func("target.build.llvm")(lowered(func, symbol, target), tvm_target(target))


def lowered(func: PrimFunc, symbol: str, target: Target) -> tvm.IRModule:
    """A function after TVM's passes: what becomes LLVM IR, statement by statement."""
    built = tvm_target(target)
    module = tirx.transform.BindTarget(built.with_host(built))(tvm.IRModule({symbol: func}))
    passes = [tirx.transform.StmtSimplify(), tirx.transform.LowerTVMBuiltin(), tirx.transform.LowerIntrin()]
    return tvm.ir.transform.Sequential(passes)(module)


def _to_even(call: tirx.Call) -> tirx.PrimExpr:
    """Rounding to the nearest integer by `llvm.rint`. Of TVM's own `llvm.nearbyint`, LLVM makes calls of the C
    library on RISC-V, which modules do not link."""
    return tirx.call_llvm_pure_intrin(dtype_of(call), "llvm.rint", *call.args)


tvm.ir.register_op_attr("tirx.nearbyint", "llvm.FLowerIntrinsic", _to_even, level=99)


def llvm_version() -> str:
    """The version of LLVM that TVM was built with, as far as it says: the major one."""
    return str(tvm.get_global_func("target.llvm_version_major")())
