"""A network compiled for GPUs: a shared object with its header, also for this process."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cnncc.base import resources
from cnncc.base.errors import CnnccError, reason
from cnncc.base.files import check_outputs, replacing, scratch_folder
from cnncc.machines import targets
from cnncc.machines.gpus import ALIGN
from cnncc.module import describe, toolchain
from cnncc.module.built import Built, traced
from cnncc.module.gpu.compilers import cuda_compiler
from cnncc.module.gpu.host import blobs_assembly, host_c, host_header
from cnncc.module.gpu.images import Image, architectures_of, images
from cnncc.module.gpu.program import CudaProgram, check_grids
from cnncc.module.gpu.reach import HOST_NEEDS, driver_text
from cnncc.module.gpu.source import program_source
from cnncc.module.listener import SILENT, Listener
from cnncc.module.names import c_name
from cnncc.module.program import check_indices
from cnncc.module.roles import CUDA_KINDS, ROLES
from cnncc.runtime.cuda.driver import CudaModel
from cnncc.runtime.cuda.interface import INTERFACE
from cnncc.runtime.load import load

_RUNTIME = resources.PACKAGE / "runtime" / "cuda"


@dataclass(frozen=True, eq=False)
class CudaBuild(Built[CudaProgram]):
    """A program with the source of its kernels and their machine code."""

    source: str
    images: Sequence[Image]

    def _of_machine(self) -> Mapping[str, Any]:
        p, target = self.program, self.program.target
        return {
            "memory": {
                **asdict(p.arena),
                "arena_bytes": 0,
                "arena_bytes_per_image": 0,
                "arena_align": 64,
                "device_arena_bytes": p.arena_bytes,
                "device_arena_align": ALIGN,
                "weight_bytes": p.weight_bytes,
            },
            "target": {"name": target.name, "triple": "nvptx64", "cpu": target.device, "requires": [], "isa": "cuda"},
            "cuda": {
                "cubins": list(target.cubins),
                "ptx": target.ptx,
                "compiler": str(cuda_compiler(*architectures_of(target))),
                "driver": driver_text(max(HOST_NEEDS, min(image.driver for image in self.images))),
                "drivers": {image.architecture: driver_text(image.driver) for image in self.images if image.code},
            },
            "compiler": describe.compiler(),
        }

    def model(self) -> CudaModel:
        """The network in this process, on the first device; its file is gone already, its code is not."""
        with scratch_folder() as folder:
            model = load(self._link(folder))
        assert isinstance(model, CudaModel)
        return model

    def trace(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        model = self.model()
        outputs = model.run_in(model.new_arena(), arrays)
        return traced(self.program, model.peek(self.program.plan.bytes), outputs)

    def write(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Writes files of the network by kind, one of `CUDA_KINDS`: nothing appears before everything is made. Returns
        the files. CnnccError for a kind that a GPU module has not, or a file that cannot be written."""
        unknown = [kind for kind in files if kind not in CUDA_KINDS]
        if unknown:
            raise CnnccError(f"a GPU module has no {unknown[0]!r}", hint=f"known: {', '.join(CUDA_KINDS)}")
        check_outputs({ROLES[kind]: path for kind, path in files.items()}, {})
        first = next(iter(files.values()))
        try:
            with scratch_folder(first.parent, prefix=f".{first.name}.") as folder:
                made = {kind: self._make(kind, folder) for kind in files}
                for kind, path in files.items():
                    with replacing(path) as scratch:
                        shutil.copyfile(made[kind], scratch)
        except OSError as error:
            raise CnnccError(f"cannot write {first}: {reason(error)}") from error
        return dict(files)

    def write_unfilled(self, path: Path) -> None:
        """Writes the shared object without its weights: at the symbol `NAME_weights` it has zeroed memory of their
        size, which takes no room in the file. Whoever loads it puts the weights there before the first run."""
        with scratch_folder() as folder:
            shutil.copyfile(self._link(folder, filled=False), path)

    def _make(self, kind: str, work: Path) -> Path:
        """The finished file of a kind, in a folder of its own."""
        if kind == "so":
            return self._link(work)
        file = work / f"made.{kind}"
        if kind == "h":
            file.write_text(host_header(self.program), encoding="utf-8")
        elif kind == "cu":
            file.write_text(self.source, encoding="utf-8")
        else:
            image = self._image(kind == "ptx")
            file.write_bytes(image.code.rstrip(b"\0") if image.is_ptx else image.code)
        return file

    def _image(self, is_ptx: bool) -> Image:
        found = [image for image in self.images if image.is_ptx == is_ptx]
        if len(found) > 1:
            names = ", ".join(image.architecture for image in found)
            raise CnnccError(f"a cubin is for one architecture, and target {self.program.target.name} has {names}",
                             hint="name one of them: --target cuda-sm_80")  # fmt: skip
        return found[0]

    def _link(self, work: Path, filled: bool = True) -> Path:
        """The shared object in a folder of its own, with its weights or with room for them."""
        name = c_name(self.program.graph.name)
        for file in ("host.c", "host.h", "driver.c", "driver.h"):
            shutil.copyfile(_RUNTIME / file, work / file)
        (work / "module.c").write_text(host_c(self.program, self.images))
        room = "" if filled else f"{name}_weights"
        (work / "blobs.S").write_text(blobs_assembly(self.images, self.program.weight_bytes, room))
        (work / "source.cu").write_text(self.source)
        for i, image in enumerate(self.images):
            (work / f"image{i}.bin").write_bytes(image.code)
        digest = self._weights_file(work / "weights.bin") if filled else None
        held = {"bytes": self.program.weight_bytes, "blake2b": digest, "file": None, "from": self.weights_from}
        (work / "info.json").write_text(json.dumps({**self.info, "weights": held}))
        interface = "".join(f" {symbol};" for symbol in (*(f"{name}_{f}" for f in INTERFACE), room) if symbol)
        (work / "exports.map").write_text(f"{{ global:{interface} local: *; }};\n")
        options = ["--version-script=exports.map", "-z,noexecstack", "--build-id=none", "--no-undefined"]
        flags = ["-std=c11", "-O2", "-fPIC", "-shared", *(f"-Wl,{o}" for o in options)]
        sources = ["module.c", "host.c", "driver.c", "blobs.S"]
        toolchain.call(targets.host(), [*flags, "-o", "module.so", *sources, "-ldl", "-pthread"], work)
        return work / "module.so"

    def _weights_file(self, path: Path) -> str:
        """Writes all packed weights and returns their hash."""
        with path.open("wb+") as opened:
            self._write_weights(opened)
            opened.seek(0)
            return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=32)).hexdigest()

    def _write_weights(self, file: BinaryIO) -> None:
        """All packed weights, with zeros up to where each begins and after the last."""
        for i, (packed, offset) in enumerate(self.program.weights, start=1):
            file.seek(offset)
            file.write(packed.compute().data)
            if self.progress is not None:
                self.progress("writing weights", i, len(self.program.weights))
        file.truncate(self.program.weight_bytes)


def build_program(program: CudaProgram, listener: Listener = SILENT) -> CudaBuild:
    """Source through TVM, machine code through NVRTC or nvcc. CnnccError without a CUDA compiler, and for arrays that
    kernels cannot index."""
    check_indices(program)
    check_grids(program)
    source = program_source(program)
    made = images(source, program.target, listener.progress)
    return CudaBuild(program, source, made, progress=listener.progress)
