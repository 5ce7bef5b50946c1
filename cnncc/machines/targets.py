"""Targets are data: `targets/*.toml` says what a processor has; `host` is detected and filled into the same form."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from pathlib import Path

from cnncc.base import resources
from cnncc.base.errors import CnnccError, nearest
from cnncc.machines import gpus
from cnncc.machines.units import Unit, read_units
from cnncc.runtime import cpu


@dataclass(frozen=True)
class Target:
    """A processor as the compiler sees it. Sizes in bytes; `vector_bits` of the widest vectors."""

    name: str
    triple: str
    abi: str
    """LLVM's name of the calling convention; empty for the usual one of the triple."""
    cpu: str
    features: tuple[str, ...]
    """LLVM attributes on top of those of `cpu`, each with + or -."""
    requires: tuple[str, ...]
    """Feature names, as LLVM spells them, that a machine must have to load the module."""
    baseline: str
    """CPU, as LLVM calls it, whose features all machines of the kind have: a module checks the others when it runs.
    Empty if there is nothing to check, or no way."""
    isa: str
    """Short name of the vector unit, used in kernel names."""
    vector_bits: int
    units: tuple[Unit, ...]
    """What multiplies and adds up vectors; `floats` is one of them."""
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    l3_bytes_per_cycle: float
    memory_bytes_per_cycle: float
    """What each core reads from the last cache, and from memory, while all of them read."""
    block: int
    """Channels per block of the NCHWc layout."""
    float16: bool
    """Whether it has an instruction that converts float16 to float32."""
    format: str
    """What a module is: `elf`, a shared object and a header, or `wasm`, WebAssembly with weights and JavaScript."""
    pointer_bytes: int
    threads: bool
    """Whether a run may use several threads."""
    pause: str
    """Call of an LLVM intrinsic for a thread that waits in a loop; empty for none."""
    linkers: tuple[str, ...]
    """Commands that compile C and link for it, best first; `zig` is that of the `ziglang` wheel. On a machine of the
    same kind its own C compiler comes before them."""
    c_flags: tuple[str, ...]
    """Flags for the C parts of a module, beside those of all targets."""
    description: str

    def keeps(self, weight_bytes: int) -> bool:
        """Whether so many bytes of weights are still in the last cache when a network runs again: if they fit half of
        it."""
        return weight_bytes <= self.l3_bytes // 2

    @cached_property
    def floats(self) -> Unit:
        """The unit that adds up products of float32 to float32."""
        return next(unit for unit in self.units if (unit.element, unit.sums) == ("float32", "float32"))

    @property
    def lanes(self) -> int:
        """float32 values in one vector register."""
        return min(self.floats.lanes, self.block)

    @property
    def vectors(self) -> int:
        """Vector registers that hold one block of channels."""
        return self.block // self.lanes


def names() -> list[str]:
    """The names of all targets that are processors, `host` first; `cnncc.machines.gpus` has the others."""
    return ["host", *sorted(p.stem for p in resources.directory("targets").glob("*.toml") if not gpus.is_gpu(p.stem))]


def load(name: str) -> Target:
    """The target of that name; CnnccError for an unknown name or a file that does not fit the form."""
    if name == "host":
        return host()
    path = resources.directory("targets") / f"{name}.toml"
    if not path.is_file():
        raise CnnccError(f"unknown target {name!r}", hint=nearest(name, [*names(), *gpus.names()]))
    if gpus.is_gpu(name):
        raise CnnccError(f"target {name} is a GPU", hint="this command is for processors")
    form = gpus.read_form(path, {f.name for f in fields(Target)})
    return Target(**{**form, "units": read_units(str(path), form["units"], form["vector_bits"])})


def check_name_runs_here(name: str) -> None:
    """As `check_runs_here`; of a GPU, its driver tells when it runs."""
    if gpus.is_gpu(name):
        gpus.load(name)
    else:
        check_runs_here(load(name))


def check_runs_here(target: Target) -> None:
    """CnnccError unless this machine can run code for the target."""
    if why := cpu.unfit(target.triple, target.requires):
        hint = "`cnncc compile` writes a module for it"
        raise CnnccError(f"target {target.name}: {why}", hint=hint)


@cache
def host() -> Target:
    """This machine: the widest generic target it can run, with its own CPU name, features, caches and cores."""
    import llvmlite.binding as llvm

    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise CnnccError(
            f"no host target for {platform.system()} on {platform.machine()}",
            hint="this version compiles on x86-64 Linux",
        )
    levels = [load(n) for n in ("x86-64-v4", "x86-64-v3", "x86-64-v2")]
    base = next((t for t in levels if not cpu.missing(t.requires)), None)
    if base is None:
        raise CnnccError("this processor lacks SSE4.2, which every target needs")
    caches = {level: _cache_bytes(level) or getattr(base, f"l{level}_bytes") for level in (1, 2, 3)}
    name = llvm.get_host_cpu_name()
    return replace(
        base,
        name="host",
        cpu=name,
        features=(*_host_features(base), *base.features),
        cores=available_cores(),
        l1_bytes=caches[1],
        l2_bytes=caches[2],
        l3_bytes=caches[3],
        description=f"this machine, detected: {name}",
    )


EVERY_X86_64 = ("64bit", "cmov", "cx8", "fxsr", "mmx", "prfchw", "sse", "sse2")
"""LLVM's names of what all of them have, or ignore: `prfchw` is a hint, for older ones no operation."""


def _host_features(base: Target) -> list[str]:
    """LLVM attributes of this machine, cut down to what `base` requires and every x86-64 has: loops over floats gain
    nothing from the others (sha, clwb, gfni, and avx512fp16, whose moves LLVM likes for halves), and another machine
    may load the module that has what it says it requires, and lacks these. The name of the processor alone would
    promise what a virtual machine may mask, so every feature is said, present or not."""
    import llvmlite.binding as llvm

    detected: dict[str, bool] = llvm.get_host_cpu_features()
    kept = {name: on and (name in base.requires or name in EVERY_X86_64) for name, on in detected.items()}
    return [f"{'+' if on else '-'}{name}" for name, on in sorted(kept.items())]


def available_cores() -> int:
    """Cores this process may use: its affinity, cut by the cgroup's CPU quota (rounded up)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _cache_bytes(level: int) -> int | None:
    """Size of the data cache of that level as Linux tells it, None where it does not."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            found, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if int(found) == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) * 1024
    return None
