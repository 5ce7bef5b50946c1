"""Targets are data: `targets/*.toml` says what a processor has; `host` is detected and put into the same class."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from cnncc.base.elements import Element
from cnncc.base.errors import CnnccError
from cnncc.machines import target_files
from cnncc.machines.units import DotUnit, PairUnit, VectorUnit
from cnncc.options import Options
from cnncc.runtime import cpu
from cnncc.runtime.interface import ALIGN

FORMATS = ("elf", "wasm")
"""Of modules for processors."""


SPLITTING = frozenset({"znver4"})
"""Processors, as LLVM calls them, with AVX-512 on units of 256 bits. Source: AMD, Software Optimization Guide for the
AMD Zen4 Microarchitecture, publication 57647."""


@dataclass(frozen=True)
class Target:
    """What the compiler knows of a processor. Sizes are in bytes; `vector_bits` are those of the widest vectors."""

    name: str
    triple: str
    abi: str
    """LLVM's name of the ABI; empty for the default of the triple."""
    cpu: str
    features: tuple[str, ...]
    """LLVM attributes on top of those of `cpu`, each with + or -."""
    requires: tuple[str, ...]
    """Feature names, as LLVM spells them, that a machine must have to load the module."""
    baseline: str
    """LLVM's name of a CPU whose features all machines of the kind have. A module checks the other features when it
    runs. Empty if there is nothing to check, or no way to do it."""
    isa: str
    """Short name of the vector unit, used in kernel names."""
    vector_bits: int
    units: tuple[VectorUnit, ...]
    """What multiplies and adds up vectors; `floats` is one of them."""
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    l3_bytes_per_cycle: float
    memory_bytes_per_cycle: float
    """What each core reads from the last cache, and from memory, while all cores read at the same time."""
    block: int
    """Channels per block of the NCHWc layout."""
    float16: bool
    """Whether it has an instruction that converts float16 to float32."""
    format: str
    """What a module is: `elf` (a shared object and a header) or `wasm` (WebAssembly, weights and JavaScript)."""
    pointer_bytes: int
    threads: bool
    """Whether a run may use several threads."""
    pause: str
    """The call of an LLVM intrinsic that a thread makes while it waits in a loop; empty for none."""
    linkers: tuple[str, ...]
    """Commands that compile C and link for the target, the preferred one first; `zig` stands for the wheel `ziglang`,
    too. On a machine of the same kind, the machine's own C compiler comes before them."""
    c_flags: tuple[str, ...]
    """Flags for the C parts of a module, in addition to the flags for all targets."""
    description: str

    @property
    def align(self) -> int:
        return ALIGN

    @property
    def images_apart(self) -> bool:
        return True

    @property
    def splits_vectors(self) -> bool:
        """Whether the processor computes its widest vectors as two halves, one after the other, so that half a vector
        takes half the time."""
        return self.cpu in SPLITTING

    def block_of(self, element: Element) -> int:
        """As many of each: a vector of results is one of float32, or of sums of 32 bits."""
        return self.block

    def check(self, options: Options) -> None:
        """CnnccError for options that the processor cannot do."""
        if options.dtype == "bfloat16" and self.pairs is None:
            hint = "`--weights-dtype bfloat16` stores weights so on any processor"
            raise CnnccError(f"target {self.name} has no instruction that multiplies bfloat16", hint=hint)
        if options.dtype not in ("float32", "bfloat16"):
            hint = "GPU targets have tensor cores"
            raise CnnccError(f"target {self.name} computes in float32, not {options.dtype}", hint=hint)
        if options.weights_dtype == "float16" and not self.float16:
            hint = "bfloat16 needs none; or a target that has one, such as x86-64-v3"
            raise CnnccError(f"target {self.name} has no instruction that converts float16 weights", hint=hint)
        if (options.threads or 1) > 1 and not self.threads:
            raise CnnccError(f"target {self.name} has no threads, got {options.threads}", hint="leave --threads out")

    def unfit(self) -> str:
        """Why this machine cannot run code for the target; empty if it can."""
        return cpu.unfit(self.triple, self.requires)

    def keeps(self, weight_bytes: int) -> bool:
        """Whether `weight_bytes` of weights stay in the last cache from one run to the next. It is assumed that they do
        if they fit into half of it."""
        return weight_bytes <= self.l3_bytes // 2

    @cached_property
    def floats(self) -> VectorUnit:
        """The unit that adds up products of float32 to float32."""
        return next(unit for unit in self.units if (unit.element, unit.sums) == ("float32", "float32"))

    @cached_property
    def dots(self) -> DotUnit | None:
        """The unit that adds up products of int8 to int32; None for a target whose file has none."""
        return next((unit for unit in self.units if isinstance(unit, DotUnit)), None)

    @cached_property
    def pairs(self) -> PairUnit | None:
        """The unit that adds up products of bfloat16 to float32; None for a target whose file has none."""
        return next((unit for unit in self.units if isinstance(unit, PairUnit)), None)

    @property
    def lanes(self) -> int:
        """float32 values of a vector register, at most one block of channels."""
        return min(self.floats.lanes, self.block)

    @property
    def vectors(self) -> int:
        """Vector registers that hold one block of channels."""
        return self.block // self.lanes


def names() -> list[str]:
    """The names of all targets that are processors, `host` first; `cnncc.machines.gpus` has the others."""
    return [target_files.HOST, *target_files.names(*FORMATS)]


def load(name: str) -> Target:
    """The processor of that name; CnnccError for an unknown name, a GPU or a file that does not fit."""
    if name == target_files.HOST:
        return host()
    data = target_files.read(name)
    if data.get("format") not in FORMATS:
        raise CnnccError(f"target {name} is a GPU", hint="this command is for processors")
    target = target_files.fill(Target, data)
    _refuse_words(target)
    return target


def _refuse_words(target: Target) -> None:
    """CnnccError for words of a target file that LLVM, or the name of a kernel, cannot take."""
    if not target.isa.isidentifier():
        raise CnnccError(f"{target.name}.toml: isa: must be letters, digits and `_`, got {target.isa!r}")
    for feature in target.features:
        if not feature.startswith(("+", "-")):
            hint = f"`+{feature}` or `-{feature}`"
            raise CnnccError(f"{target.name}.toml: features: {feature!r} has no sign", hint=hint)


@cache
def host() -> Target:
    """This machine: the widest generic target it can run, with its own CPU name, features, caches and cores."""
    import llvmlite.binding as llvm

    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise CnnccError(
            f"no host target for {platform.system()} on {platform.machine()}",
            hint="this version compiles on x86-64 Linux",
        )
    levels = [load(n) for n in HOST_LEVELS]
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


HOST_LEVELS = ("x86-64-v4-bf16", "x86-64-v4-vnni", "x86-64-v4", "x86-64-v3-vnni", "x86-64-v3", "x86-64-v2")
"""From the widest on."""

EVERY_X86_64 = ("64bit", "cmov", "cx8", "fxsr", "mmx", "prfchw", "sse", "sse2")
"""LLVM's names of features that all x86-64 processors have. `prfchw` is a hint, which older ones ignore."""


def _host_features(base: Target) -> list[str]:
    """LLVM attributes of this machine: one for each feature, on or off.

    On are only features that `base` requires or every x86-64 has, so that any machine that has what the module requires
    can run it. Kernels gain nothing from the others (sha, clwb, gfni, avx512fp16). Features that this machine lacks are
    turned off by name, because a virtual machine may lack some that processors of its name have."""
    import llvmlite.binding as llvm

    detected: dict[str, bool] = llvm.get_host_cpu_features()
    kept = {name: on and (name in base.requires or name in EVERY_X86_64) for name, on in detected.items()}
    return [f"{'+' if on else '-'}{name}" for name, on in sorted(kept.items())]


def available_cores() -> int:
    """How many cores this process may use: those of its affinity, and at most the CPU quota of its cgroup, rounded
    up."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _cache_bytes(level: int) -> int | None:
    """Bytes of the data cache of that level, as Linux reports them; None if it does not."""
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            found, kind, size = ((index / f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if int(found) == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) * 1024
    return None
