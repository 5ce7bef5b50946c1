"""The code of a module to read: all its LLVM IR, or all its assembly, in one file. The weights are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping

import llvmlite.binding as llvm

from cnncc.machines.targets import Target
from cnncc.module.cpu.assemble import glue_machine, parse_glue
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.listener import Progress

_DEBUG_IR = re.compile(r"^ *#dbg_.*\n|,? !dbg !\d+|, !tbaa !\d+|^!llvm\.dbg\.cu = .*\n", re.M)
"""Notes for debuggers; and types of memory accesses, which TVM names after addresses of its own, new in each run."""
_DEBUG_LINES = re.compile(r"^\t\.(loc|file|cfi_sections)\b.*\n", re.M)
_DEBUG_SECTIONS = re.compile(r'^\t\.section\t\.debug_.*?(?=^\t\.section\t"\.note|\Z)', re.M | re.S)
_HELPERS = re.compile(r"^\t\.section\t\.text\.tvm\.fp16\.conv,.*?(?=^\t\.section\t(?!\.text\.tvm)|\Z)", re.M | re.S)
"""Conversions of half precision in software, which TVM adds to each kernel and none of ours calls."""
_UNUSED_LABELS = re.compile(r"^\.L(tmp|func_begin)\d+:.*\n", re.M)
_LOCAL_LABEL = re.compile(r"\.L(?=[A-Za-z_])")


def llvm_ir(texts: Mapping[str, str], program: CpuProgram, progress: Progress | None) -> str:
    """The kernels as LLVM left them, optimised, and the rest as written (`texts`), linked into one module."""
    target = program.target
    whole = parse_glue("", target)
    for text in (*texts.values(), *(_DEBUG_IR.sub("", t) for t in _kernels(program, progress, "ll"))):
        part = llvm.parse_assembly(text)
        part.data_layout = whole.data_layout
        part.triple = target.triple
        whole.link_in(part)
    whole.verify()
    whole.name = program.graph.name
    return str(whole)


def assembly(texts: Mapping[str, str], program: CpuProgram, progress: Progress | None) -> str:
    """What the object files hold, as text that assembles again. Local labels carry the number of their part, so that
    those of two parts differ; notes for debuggers are left out."""
    parts = [*(_glue(text, program.target) for text in texts.values()), *_kernels(program, progress, "asm")]
    return "\n".join(_LOCAL_LABEL.sub(f".L{i}_", _plain(part)) for i, part in enumerate(parts))


def _plain(text: str) -> str:
    for noise in (_DEBUG_SECTIONS, _DEBUG_LINES, _HELPERS, _UNUSED_LABELS):
        text = noise.sub("", text)
    return text


def _glue(text: str, target: Target) -> str:
    assembled: str = glue_machine(target).emit_assembly(parse_glue(text, target))
    return assembled


def _kernels(program: CpuProgram, progress: Progress | None, form: str) -> list[str]:
    from cnncc.module.cpu.objects import kernel_text  # loads TVM

    kernels, texts = program.kernels, []
    for i, kernel in enumerate(kernels, start=1):
        texts.append(kernel_text(kernel, program.target, form))
        if progress is not None:
            progress("listing kernels", i, len(kernels))
    return texts
