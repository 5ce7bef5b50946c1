"""GPUs are data, as processors are: `targets/cuda*.toml` describe them. All figures in a file are those of one named
device."""

from __future__ import annotations

import tomllib
from collections.abc import Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cnncc.base import resources
from cnncc.base.errors import CnnccError, nearest

PREFIX = "cuda"
"""How the names of all GPU targets begin."""


@dataclass(frozen=True)
class Gpu:
    """What the compiler knows of a GPU. Rates are for one multiprocessor and cycle, unless their names say
    otherwise."""

    name: str
    description: str
    device: str
    """The product whose figures these are."""
    compute_capability: int
    """The compute capability that kernels need, times ten: 80 is 8.0."""
    cubins: tuple[str, ...]
    """Architectures that get machine code."""
    ptx: str
    """Virtual architecture of the PTX, which newer devices than those of `cubins` use."""
    multiprocessors: int
    clock_mhz: int
    fma_per_cycle: int
    """float32 multiply-adds."""
    tensor_fma_per_cycle: int
    """Multiply-adds of float16 with float32 sums on tensor cores."""
    threads_per_multiprocessor: int
    blocks_per_multiprocessor: int
    registers_per_multiprocessor: int
    shared_bytes_per_multiprocessor: int
    shared_bytes_per_block: int
    """What a block may use without asking the driver for more."""
    memory_gbytes_per_second: float
    l2_gbytes_per_second: float
    l2_bytes: int
    launch_microseconds: float
    """Time from the end of a kernel to the start of the next one in a CUDA graph."""
    block: int
    """Channels per block of the NCHWc layout: 16 bytes, the widest load."""

    @property
    def peak_flops(self) -> float:
        """float32 operations a second, two for a multiply-add."""
        return 2e6 * self.fma_per_cycle * self.multiprocessors * self.clock_mhz

    @property
    def tensor_flops(self) -> float:
        """Operations a second of tensor cores, halves with float32 sums."""
        return 2e6 * self.tensor_fma_per_cycle * self.multiprocessors * self.clock_mhz

    @property
    def bandwidth(self) -> float:
        """Bytes of device memory a second."""
        return 1e9 * self.memory_gbytes_per_second


def names() -> list[str]:
    """All GPU targets."""
    return sorted(p.stem for p in resources.directory("targets").glob(f"{PREFIX}*.toml"))


def is_gpu(name: str) -> bool:
    """Whether a name is that of a GPU target, which need not exist."""
    return name.split("-")[0] == PREFIX


def load(name: str) -> Gpu:
    """The GPU of that name; CnnccError for an unknown name or a file that does not fit the form."""
    path = resources.directory("targets") / f"{name}.toml"
    if not path.is_file():
        raise CnnccError(f"unknown target {name!r}", hint=nearest(name, names()))
    return Gpu(**read_form(path, {f.name for f in fields(Gpu)}))


def read_form(path: Path, keys: Set[str]) -> dict[str, Any]:
    """The values of a target file by key; `name` is the name of the file. CnnccError if the file has other keys than
    `keys`."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CnnccError(f"{path}: not a readable target file: {error}") from error
    wrong = sorted((keys - {"name"}) ^ data.keys())
    if wrong:
        raise CnnccError(f"{path}: missing or unknown keys: {', '.join(wrong)}")
    return {"name": path.stem, **{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}}
