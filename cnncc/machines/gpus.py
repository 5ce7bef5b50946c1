"""GPUs are data, as processors are: `targets/cuda*.toml` describe them. All figures in a file are those of one named
device."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.base.elements import FLOAT32, Element
from cnncc.base.errors import CnnccError
from cnncc.machines import target_files
from cnncc.options import Options

FORMATS = ("cuda",)
"""Of modules for GPUs."""

SINCE_AMPERE = ("bfloat16", "tf32", "tf32x3")
"""What tensor cores multiply since compute capability 8.0."""

ALIGN = 256
"""Bytes, of everything in device memory: what cuMemAlloc gives, and more than any load needs."""


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
    memory_gbytes_per_second: float
    l2_gbytes_per_second: float
    l2_bytes: int
    host_gbytes_per_second: float
    """Of the bus to the host, in one direction."""
    launch_microseconds: float
    """Time from the end of a kernel to the start of the next one in a CUDA graph."""
    block: int
    """Channels per block of the NCHWc layout, of float32: 16 bytes, the widest load."""
    format: str
    """What a module is: `cuda`, a shared object with machine code for the GPU."""

    @property
    def align(self) -> int:
        return ALIGN

    @property
    def images_apart(self) -> bool:
        """A launch computes all images, whose values lie side by side."""
        return False

    def block_of(self, element: Element) -> int:
        """As many bytes of each type."""
        return FLOAT32.bytes(self.block) // element.itemsize

    def multiplies(self, dtype: str) -> bool:
        """Whether it has an instruction for a dtype of operands, on tensor cores or not."""
        return dtype not in SINCE_AMPERE or self.compute_capability >= 80

    @property
    def cores(self) -> int:
        """Of the processor that starts the kernels."""
        return 1

    def check(self, options: Options) -> None:
        """CnnccError for options that a GPU cannot do. It has no threads to set: their number means nothing."""
        if options.tuned:
            hint = "leave --tune out"
            raise CnnccError(f"target {self.name} cannot be tuned: its kernels are picked by a model", hint=hint)
        if not self.multiplies(options.dtype):
            hint = "`--dtype float16` multiplies on its tensor cores, numbers up to 65504"
            raise CnnccError(f"target {self.name} has no instruction that multiplies {options.dtype}", hint=hint)
        if options.weights_dtype not in ("float32", options.dtype):
            raise CnnccError(f"target {self.name} stores float32 weights only, not {options.weights_dtype}")

    def unfit(self) -> str:
        """Nothing: whether there is a GPU, its driver tells when the module runs."""
        return ""

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
    return target_files.names(*FORMATS)


def load(name: str) -> Gpu:
    """The GPU of that name; CnnccError for an unknown name or a file that does not fit."""
    return target_files.fill(Gpu, target_files.read(name))
