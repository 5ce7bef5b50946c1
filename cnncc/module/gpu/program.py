"""A network as the list of kernel launches that computes it, with the device memory each one uses. Needs no TVM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu.spec import GpuKernel
from cnncc.kernels.shared.operands import BlockCounters, NodeValue, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call
from cnncc.machines.gpus import ALIGN, Gpu
from cnncc.module.program import Program
from cnncc.plan import Placement
from cnncc.plan.homes import InArena, InConstant, InInput, InOutput

MOST_BLOCKS = 65535
"""Of a grid, in its second and third direction."""

COUNTER_BYTES = 4
"""Of one counter of a launch."""

ARENA, WEIGHTS, FIRST_PORT = 0, 1, 2
"""What an argument's offset counts from: these two, then the inputs, then the outputs."""


@dataclass(frozen=True)
class Argument:
    """A pointer that a launch passes: so many bytes after a base."""

    base: int
    offset: int


@dataclass(frozen=True, eq=False)
class CudaProgram(Program[Gpu]):
    """A program for a GPU: the arena is in device memory, and a launch computes the whole batch."""

    @property
    def threads(self) -> int:
        """Of the host, which launches the kernels."""
        return 1

    @cached_property
    def kernels(self) -> tuple[GpuKernel, ...]:
        """The distinct kernels, in order of first use."""
        return tuple(dict.fromkeys(kernel_of(c) for c in self.calls))

    @property
    def weight_bytes(self) -> int:
        """Whole rows of device memory. A last weight of no bytes has a place too: kernels get its address."""
        if not self.weights:
            return 0
        packed, offset = self.weights[-1]
        return aligned(offset + max(packed.nbytes, 1))

    @property
    def workspace_offset(self) -> int:
        """Where in the arena the workspace begins that the launches of one node hand each other."""
        return aligned(self.plan.bytes)

    @cached_property
    def workspace_bytes(self) -> int:
        return aligned(max((self.workspace_at_once(c) for c in self.calls), default=0))

    @property
    def counter_offset(self) -> int:
        """Where in the arena the counters begin, which are zero between launches."""
        return self.workspace_offset + self.workspace_bytes

    @cached_property
    def counter_bytes(self) -> int:
        return aligned(COUNTER_BYTES * max((kernel.counters for kernel in self.kernels), default=0))

    @property
    def arena_bytes(self) -> int:
        """Device memory of a run: activations, workspace and counters."""
        return self.counter_offset + self.counter_bytes

    @property
    def ports(self) -> list[tuple[str, int]]:
        """Inputs, then outputs, of the laid-out graph: name and bytes of the whole batch."""
        names = [*(n.name for n in self.graph.inputs), *self.graph.outputs]
        return [(name, self.graph[name].type.nbytes) for name in names]

    @property
    def input_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(n.name, n.type.shape) for n in self.graph.inputs]

    @property
    def output_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(name, kind.shape) for name, kind in self.outputs.items()]

    def images_at_once(self, call: Call) -> int:
        return self.graph[call.node].type.shape[0]

    def workspace_at_once(self, call: Call) -> int:
        return call.workspace_bytes * self.images_at_once(call)

    def arguments(self, call: Call) -> tuple[Argument, ...]:
        """The pointers of a launch, in the order of the kernel's parameters."""
        return tuple(self._argument(o) for o in (*call.operands, call.result))

    def _argument(self, operand: Operand) -> Argument:
        extra = operand.offset
        match operand:
            case PackedWeight(name):
                return Argument(WEIGHTS, self.weight_offsets[name] + extra)
            case BlockCounters():
                return Argument(ARENA, self.counter_offset + extra)
            case Workspace():
                return Argument(ARENA, self.workspace_offset + extra)
            case RawInput(name):
                return Argument(FIRST_PORT + [n.name for n in self.graph.inputs].index(name), extra)
            case NodeValue(name):
                return self._value(self.plan.placements[name], extra)

    def _value(self, placement: Placement, extra: int) -> Argument:
        """Where a value lies, from byte `extra` of it on."""
        start = placement.inner + extra
        match placement.home:
            case InConstant(node):
                return Argument(WEIGHTS, self.weight_offsets[f"{node}.value"] + start)
            case InArena():
                return Argument(ARENA, placement.offset + start)
            case InInput(index):
                return Argument(FIRST_PORT + index, start)
            case InOutput(index):
                return Argument(FIRST_PORT + len(self.graph.inputs) + index, start)


def aligned(size: int) -> int:
    """Bytes rounded up to where the next thing may begin."""
    return -(-size // ALIGN) * ALIGN


def kernel_of(call: Call) -> GpuKernel:
    """A launch's kernel, which in a program for a GPU is one of these."""
    assert isinstance(call.kernel, GpuKernel)
    return call.kernel


def check_grids(program: CudaProgram) -> None:
    """CnnccError for a launch of more blocks than a grid has."""
    for call in program.calls:
        grid = kernel_of(call).grid
        if max(grid[1:]) > MOST_BLOCKS:
            node = program.graph[call.node]
            hint = "smaller images, fewer channels or fewer images in a batch"
            what = f"{node.op} needs a grid of {grid} blocks, more than a GPU launches"
            raise CnnccError(what, node.span, node.stack, hint)
