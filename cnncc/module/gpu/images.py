"""Machine code of a network's kernels for the architectures of a target, kept on disk by its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from cnncc.machines.gpus import Gpu
from cnncc.machines.targets import available_cores
from cnncc.module import cache
from cnncc.module.gpu.compiled import Resources
from cnncc.module.gpu.compilers import Compiler, cuda_compiler
from cnncc.module.gpu.reach import driver_for_machine_code, driver_for_ptx, lowered_ptx
from cnncc.module.gpu.source import source_digest
from cnncc.module.listener import Progress


@dataclass(frozen=True)
class Image:
    """Code for one architecture; `resources` of the kernels by symbol, none for PTX."""

    architecture: str
    code: bytes
    resources: Mapping[str, Resources]
    driver: int
    """The version of CUDA that a driver must be of to load it: 12080 for 12.8."""

    @property
    def is_ptx(self) -> bool:
        return self.architecture.startswith("compute_")

    @property
    def number(self) -> int:
        """80 for sm_80."""
        return int(self.architecture.split("_")[1])


def architectures_of(target: Gpu) -> list[str]:
    """Of all the code that a module for a target has."""
    return [*target.cubins, target.ptx]


def images(source: str, target: Gpu, progress: Progress | None = None) -> list[Image]:
    """Cubins for all of the target's architectures, then PTX; without any code if the source is empty, because then
    nothing is loaded. CnnccError without a CUDA compiler."""
    wanted = architectures_of(target)
    if not source:
        return [Image(name, b"", {}, 0) for name in wanted]
    compiler, made = cuda_compiler(*wanted), []
    # Both compilers work without the interpreter's lock.
    with ThreadPoolExecutor(min(available_cores(), len(wanted))) as pool:
        for image in pool.map(lambda name: image_for(source, name, compiler), wanted):
            made.append(image)
            if progress is not None:
                progress("compiling for " + image.architecture, len(made), len(wanted))
    return made


def image_for(source: str, architecture: str, compiler: Compiler | None = None) -> Image:
    """The code for one architecture, from the cache if it has it."""
    compiler = compiler or cuda_compiler(architecture)
    key = source_digest(f"{architecture} {compiler} {compiler.flags}\n{source}")
    head, _, code = cache.fetch(key, lambda: _compiled(compiler, source, architecture)).partition(b"\n")
    resources = {name: Resources(**values) for name, values in json.loads(head).items()}
    if architecture.startswith("compute_"):
        return Image(architecture, lowered_ptx(code, architecture), resources, driver_for_ptx(architecture))
    return Image(architecture, code, resources, driver_for_machine_code(architecture, compiler.version))


def _compiled(compiler: Compiler, source: str, architecture: str) -> bytes:
    """A line of JSON with the resources, then the code."""
    if architecture.startswith("compute_"):
        return b"{}\n" + compiler.ptx(source, architecture)
    made = compiler.machine_code(source, architecture)
    return json.dumps({name: asdict(r) for name, r in made.resources.items()}).encode() + b"\n" + made.image
