"""What the kernels of a network would take on a GPU: predicted from their code and the data sheet, not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cnncc.ir import Node
from cnncc.kernels.gpu.model import copy_seconds
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.machines import gpus
from cnncc.machines.gpus import Gpu

if TYPE_CHECKING:
    from cnncc.module.gpu.build import CudaBuild
    from cnncc.module.gpu.compiled import Resources


FORMATS = gpus.FORMATS
"""Of the modules whose time is predicted."""


@dataclass(frozen=True)
class PredictedStep:
    """One launch. Seconds are predictions; `limit` is the roofline's: operations at the peak, or bytes at the bandwidth
    of device memory, whichever takes longer."""

    node: str
    op: str
    kernel: str
    grid: tuple[int, int, int]
    threads: int
    registers: int
    shared_bytes: int
    spilled_bytes: int
    occupancy: float
    flops: int
    bytes: int
    limit: float
    seconds: float
    bound: str
    why: str
    products: bool
    """Whether the launch computes products of its node, or only serves one that does."""

    @property
    def of_limit(self) -> float:
        return self.limit / self.seconds


@dataclass(frozen=True)
class Copies:
    """All inputs from the host to the device, or all outputs back."""

    count: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Prediction:
    """A network on a device it has not run on."""

    name: str
    target: str
    device: str
    architecture: str
    batch: int
    steps: tuple[PredictedStep, ...]
    launch: float
    """Seconds between two kernels of a CUDA graph."""
    inputs: Copies
    outputs: Copies

    @property
    def kernels(self) -> float:
        """Seconds of all kernels."""
        return sum(s.seconds for s in self.steps)

    @property
    def on_device(self) -> float:
        """Seconds of a run whose inputs and outputs lie in device memory."""
        return self.kernels + self.launch * len(self.steps)

    @property
    def total(self) -> float:
        """Seconds of a run with arrays of the host."""
        return self.inputs.seconds + self.on_device + self.outputs.seconds

    @property
    def limit(self) -> float:
        return sum(s.limit for s in self.steps)

    def slowest(self) -> list[PredictedStep]:
        """The steps by falling time."""
        return sorted(self.steps, key=lambda s: -s.seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc profile --json`, steps in order."""
        told: dict[str, Any] = {f: getattr(self, f) for f in ("name", "target", "device", "architecture", "batch")}
        told["seconds"] = {f: getattr(self, f) for f in ("total", "on_device", "kernels", "limit")}
        told["copies"] = {"inputs": asdict(self.inputs), "outputs": asdict(self.outputs)}
        told["steps"] = [{**asdict(s), "of_limit": s.of_limit} for s in self.steps]
        return {"predicted": True, **told}


def predict(build: CudaBuild) -> Prediction:
    """The launches of a compiled network, with what the assembler said of each kernel for the first architecture."""
    program = build.program
    gpu = program.target
    image = build.images[0]
    steps = []
    for name, selection in program.selections.items():
        for call in selection.calls:
            assert isinstance(call.kernel, GpuKernel)
            found = image.resources[call.kernel.symbol]
            steps.append(_step(gpu, program.graph[name], call.kernel, found, selection.why))
    sizes = [size for _, size in program.ports]
    first = len(program.graph.inputs)
    return Prediction(
        name=program.source.name,
        target=gpu.name,
        device=gpu.device,
        architecture=image.architecture,
        batch=program.source.inputs[0].type.shape[0],
        steps=tuple(steps),
        launch=1e-6 * gpu.launch_microseconds,
        inputs=_copies(gpu, sizes[:first]),
        outputs=_copies(gpu, sizes[first:]),
    )


def _copies(gpu: Gpu, sizes: Sequence[int]) -> Copies:
    return Copies(len(sizes), sum(sizes), sum(copy_seconds(gpu, size) for size in sizes))


def _step(gpu: Gpu, node: Node, kernel: GpuKernel, found: Resources, why: str) -> PredictedStep:
    expected = kernel.estimate(gpu, found.registers, found.shared_bytes)
    return PredictedStep(
        node=node.name,
        op="+".join([node.op, *(name for name, _ in node.attrs.get("epilogue", ()))]),
        kernel=kernel.name,
        grid=kernel.grid,
        threads=kernel.threads,
        registers=found.registers,
        shared_bytes=found.shared_bytes,
        spilled_bytes=found.spill_stores + found.spill_loads,
        occupancy=expected.occupancy,
        flops=kernel.work.flops,
        bytes=kernel.work.bytes,
        limit=expected.limit,
        seconds=expected.seconds,
        bound=expected.bound,
        why=why,
        products=kernel.work.products,
    )
