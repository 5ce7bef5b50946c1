"""A compiled network: in this process, or as a shared object and its header."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import llvmlite.binding as llvm
import numpy as np

import cnncc
from cnncc import ops
from cnncc.codegen import toolchain
from cnncc.codegen.emit import Progress, glue_object, kernel_objects, machine_of, parse_glue
from cnncc.codegen.glue import ERRORS, INTERFACE, c_name, glue_ir
from cnncc.codegen.header import header
from cnncc.codegen.keys import compiler_digest
from cnncc.codegen.layout import from_stored
from cnncc.codegen.program import ALIGN, Arena, Program, arena_of, check_indices
from cnncc.errors import CnnccError
from cnncc.files import check_outputs
from cnncc.ir import Node, TensorType
from cnncc.ir.text import print_graph
from cnncc.runtime.model import Model

_serial = count()


@dataclass(frozen=True, eq=False)
class Build:
    """A program with the machine code of its kernels."""

    program: Program
    objects: Sequence[bytes]
    progress: Progress | None = None

    @property
    def arena(self) -> Arena:
        return arena_of(self.program)

    @property
    def kernels(self) -> list[tuple[str, str, str]]:
        """(node, kernel, why) of every call."""
        return [(c.node, c.kernel.name, s.why) for s in self.program.selections.values() for c in s.calls]

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the module says of itself."""
        p = self.program
        return {
            "format": 1,
            "name": p.graph.name,
            "symbol": c_name(p.graph.name),
            "inputs": [{**_port(n.name, n.type), **_preprocessing(n)} for n in p.graph.inputs],
            "outputs": [_port(o, p.graph[laid].type) for laid, o in p.output_names.items()],
            "params": sum(ops.params(p.source, n) for n in p.source.nodes),
            "macs": sum(ops.macs(p.source, n) for n in p.source.nodes),
            "memory": {
                **asdict(self.arena),
                "arena_bytes": p.arena_bytes,
                "arena_align": ALIGN,
                "weight_bytes": p.weight_bytes,
            },
            "weights_dtype": p.weights_dtype,
            "threads": p.threads,
            "target": {k: v for k, v in asdict(p.target).items() if k in ("name", "triple", "cpu", "requires", "isa")},
            "source_sha256": hashlib.sha256(print_graph(p.source).encode()).hexdigest(),
            "compiler": {
                "cnncc": cnncc.__version__,
                "apache-tvm": version("apache-tvm"),
                "llvmlite": version("llvmlite"),
                "kernels_sha256": compiler_digest(),
            },
            "kernels": [{"node": n, "kernel": k, "why": w} for n, k, w in self.kernels],
        }

    def weights(self) -> np.ndarray:
        """All packed weights in one aligned array of bytes."""
        raw = np.zeros(self.program.weight_bytes + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        array = raw[start : start + self.program.weight_bytes]
        for i, (packed, offset) in enumerate(self.program.weights, start=1):
            array[offset : offset + packed.nbytes] = packed.compute().view(np.uint8)
            self._tell("packing weights", i)
        return array

    def _tell(self, what: str, done: int) -> None:
        if self.progress is not None:
            self.progress(what, done, len(self.program.weights))

    def model(self, weights: np.ndarray | None = None) -> Model:
        """The network linked into this process, with weights that `weights()` returned, or its own."""
        return self.models([self.weights() if weights is None else weights])[0]

    def models(self, copies: Sequence[np.ndarray]) -> list[Model]:
        """The network linked once, as a model for each of several arrays of weights."""
        name = c_name(self.program.graph.name)
        text = glue_ir(self.program, "", standalone=False)
        library = llvm.JITLibraryBuilder().add_ir(parse_glue(text, self.program.target))
        for body in self.objects:
            library = library.add_object_img(body)
        tracker = library.export_symbol(f"{name}_run").add_current_process().link(_jit(), f"{name}.{next(_serial)}")
        pointers = 2 + len(self.program.graph.inputs) + len(self.program.graph.outputs)
        run = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * pointers)(tracker[f"{name}_run"])
        return [self._model(tracker, run, weights) for weights in copies]

    def _model(self, tracker: object, run: Callable[..., int], weights: np.ndarray) -> Model:
        launch = _pool_launch() if self.program.threads > 1 else None
        state = _ModelState(weights.ctypes.data, launch, self.program.threads)

        def set_threads(threads: int) -> int:
            state.threads = max(1, min(threads, self.program.threads))
            return int(state.threads)

        keep = (tracker, weights, state)
        return Model(self.info, run, ctypes.addressof(state), ERRORS.__getitem__, set_threads, keep)

    def trace(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Runs in-process and returns every value that survives the passes, by name, in NCHW. Only for a program
        made with `keep_all`; otherwise values overwrite each other."""
        model = self.model()
        arena = model.new_arena()
        arena[:] = 0xFF  # NaNs: a value nobody wrote shows
        outputs = model.run_in(arena, arrays)
        buffers = {"arena": arena, **{f"output{i}": o.reshape(-1).view(np.uint8) for i, o in enumerate(outputs)}}
        values = {}
        names = self.program.output_names
        for node in self.program.graph.nodes:
            slot = self.program.plan.slots[node.name]
            buffer = buffers.get(slot.kind if slot.kind == "arena" else f"{slot.kind}{slot.storage}")
            if buffer is None:
                continue
            size = node.type.nbytes // node.type.shape[0]
            starts = [slot.offset + slot.inner + i * slot.image_stride for i in range(node.type.shape[0])]
            stored = np.concatenate([buffer[s : s + size] for s in starts]).view(np.float32)
            values[names.get(node.name, node.name)] = from_stored(stored, node.type)
        return values

    def write_shared(self, path: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Writes the shared object and, beside it, its header; both whole or not at all. Returns their paths."""
        out = Path(path)
        if out.is_dir() or not out.parent.is_dir():
            reason = "is a folder" if out.is_dir() else f"folder {out.parent} does not exist"
            raise CnnccError(f"cannot write {out}: {reason}")
        beside = out.with_suffix(".h")
        check_outputs({"the module": out, "its header": beside}, {})
        try:
            with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
                work = Path(folder)
                self._link(work)
                (work / "module.h").write_text(header(self.program), encoding="utf-8")
                os.replace(work / "module.h", beside)
                os.replace(work / "module.so", out)
        except OSError as error:
            raise CnnccError(f"cannot write {out}: {error.strerror}") from error
        return out, beside

    def _link(self, work: Path) -> None:
        name = c_name(self.program.graph.name)
        names = ["glue.o", "pool.o", *(f"kernel{i}.o" for i in range(len(self.objects)))]
        text = glue_ir(self.program, json.dumps(self.info), standalone=True)
        bodies = [glue_object(text, self.program.target), toolchain.pool_object(), *self.objects]
        for file, body in zip(names, bodies, strict=True):
            (work / file).write_bytes(body)
        interface = "".join(f" {name}_{function};" for function in INTERFACE)
        (work / "exports.map").write_text(f"{{ global:{interface} local: *; }};\n")
        if self.program.weight_bytes:
            with (work / "weights.bin").open("wb") as opened:
                self._write_weights(opened)
            (work / "weights.S").write_text(_weights_assembly(name))
            names.append("weights.S")
        # nodelete: the pool's threads live in the library, so a dlclose must not take their code away.
        options = ["--version-script=exports.map", "-z,noexecstack", "-z,nodelete", "--build-id=none", "--no-undefined"]
        flags = ["-shared", *(f"-Wl,{option}" for option in options)]
        (work / "objects.txt").write_text("\n".join(names))
        toolchain.call([*flags, "-o", "module.so", "@objects.txt", "-pthread"], work)

    def _write_weights(self, file: BinaryIO) -> None:
        for i, (packed, offset) in enumerate(self.program.weights, start=1):
            file.seek(offset)
            file.write(packed.compute().data)
            self._tell("writing weights", i)


class _ModelState(ctypes.Structure):
    """The model that run reads, as `glue.py` lays it out."""

    _fields_ = (("weights", ctypes.c_void_p), ("launch", ctypes.c_void_p), ("threads", ctypes.c_int32))


def _port(name: str, kind: TensorType) -> dict[str, Any]:
    return {"name": name, "shape": list(kind.shape), "dtype": "float32"}


def _preprocessing(node: Node) -> dict[str, Any]:
    """Mean and std that the module applies itself, where the network has them."""
    return {key: list(node.attrs[key]) for key in ("mean", "std") if node.attrs[key]}


def _weights_assembly(name: str) -> str:
    """Weights from a file, as read-only data: the assembler copies them, no compiler ever sees them."""
    return f"""\
.section .rodata
.globl {name}_weights
.hidden {name}_weights
.type {name}_weights, @object
.balign {ALIGN}
{name}_weights:
.incbin "weights.bin"
.size {name}_weights, . - {name}_weights
.section .note.GNU-stack,"",@progbits
"""


@cache
def _jit() -> llvm.LLJIT:
    """One ORC JIT for the process, for code of this machine."""
    from cnncc import targets

    return llvm.create_lljit_compiler(machine_of(targets.host()))


@cache
def _pool_launch() -> int:
    """Address of the launch function of the process-wide pool. Its library is never closed: its threads live in it."""
    path = toolchain.pool_library()
    library = ctypes.CDLL(str(path))
    path.unlink()
    address = ctypes.cast(library.cnncc_pool_launch, ctypes.c_void_p).value
    assert address is not None
    return address


def build_program(program: Program, progress: Progress | None = None) -> Build:
    """Compiles what the cache does not have. CnnccError for arrays that kernels cannot index."""
    check_indices(program)
    return Build(program, kernel_objects(program.kernels, program.target, progress), progress)
