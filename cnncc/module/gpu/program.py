"""A network as the list of kernel launches that computes it, with the device memory each one uses. Needs no TVM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from cnncc import ops, passes
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.kernels.gpu.rules import select
from cnncc.kernels.gpu.spec import GpuKernel, GpuSite
from cnncc.kernels.shared.operands import NodeValue, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call
from cnncc.machines.gpus import Gpu
from cnncc.module.program import LARGEST_INDEX, Arena
from cnncc.module.stored import Stored
from cnncc.plan import Slot
from cnncc.plan.homes import InArena, InConstant, InInput, InOutput

ALIGN = 256
"""Bytes, of everything in device memory: what cuMemAlloc gives, and more than any load needs."""

ARENA, WEIGHTS, FIRST_PORT = 0, 1, 2
"""What an argument's offset counts from: these two, then the inputs, then the outputs."""


@dataclass(frozen=True)
class Argument:
    """A pointer that a launch passes: so many bytes after a base."""

    base: int
    offset: int


@dataclass(frozen=True, eq=False)
class CudaProgram(Stored):
    """Everything about a compiled network but its machine code."""

    target: Gpu
    max_error: float = 1e-5
    dtype: str = "float32"
    """Of the operands of convolutions, `float16` for tensor cores; sums and values in memory are float32."""

    @cached_property
    def kernels(self) -> tuple[GpuKernel, ...]:
        """The distinct kernels, in order of first use."""
        return tuple(dict.fromkeys(kernel_of(c) for c in self.calls))

    @property
    def weight_align(self) -> int:
        return ALIGN

    @property
    def weight_bytes(self) -> int:
        """Whole rows of device memory."""
        return aligned(super().weight_bytes)

    @property
    def workspace_offset(self) -> int:
        """Where in the arena the workspace begins that the launches of one node hand each other."""
        return aligned(self.plan.bytes)

    @cached_property
    def workspace_bytes(self) -> int:
        return aligned(max((4 * c.workspace_floats * self.batch(c) for c in self.calls), default=0))

    @property
    def arena_bytes(self) -> int:
        """Device memory of a run: activations and workspace."""
        return self.workspace_offset + self.workspace_bytes

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

    def batch(self, call: Call) -> int:
        return self.graph[call.node].type.shape[0]

    def arguments(self, call: Call) -> tuple[Argument, ...]:
        """The pointers of a launch, in the order of the kernel's parameters."""
        return tuple(self._argument(o) for o in (*call.operands, call.result))

    def _argument(self, operand: Operand) -> Argument:
        extra = 4 * operand.offset
        match operand:
            case PackedWeight(name):
                return Argument(WEIGHTS, self.weight_offsets[name] + extra)
            case Workspace():
                return Argument(ARENA, self.workspace_offset + extra)
            case RawInput(name):
                return Argument(FIRST_PORT + [n.name for n in self.graph.inputs].index(name), extra)
            case NodeValue(name):
                return self._value(self.plan.slots[name], extra)

    def _value(self, slot: Slot, extra: int) -> Argument:
        """Where a value lies, from byte `extra` of it on."""
        start = slot.inner + extra
        match slot.home:
            case InConstant(node):
                return Argument(WEIGHTS, self.weight_offsets[f"{node}.value"] + start)
            case InArena():
                return Argument(ARENA, slot.offset + start)
            case InInput(index):
                return Argument(FIRST_PORT + index, start)
            case InOutput(index):
                return Argument(FIRST_PORT + len(self.graph.inputs) + index, start)

    @property
    def arena(self) -> Arena:
        """Device memory and what it holds."""
        return Arena(self.plan.bytes, self.plan.bound, self.arena_bytes - self.plan.bytes, self.arena_bytes)


def aligned(size: int) -> int:
    """Bytes rounded up to where the next thing may begin."""
    return -(-size // ALIGN) * ALIGN


def kernel_of(call: Call) -> GpuKernel:
    """A launch's kernel, which in a program for a GPU is one of these."""
    assert isinstance(call.kernel, GpuKernel)
    return call.kernel


def make_program(
    source: Graph,
    target: Gpu,
    batch: int = 1,
    keep_all: bool = False,
    max_error: float = 1e-5,
    on_pass: Callable[[str, Graph], object] | None = None,
    dtype: str = "float32",
) -> CudaProgram:
    """Runs all passes for a GPU and selects the kernels; `keep_all` keeps every value readable after a run.

    CnnccError for arrays that kernels cannot index.
    """
    batched = passes.with_batch(source, batch)
    graph = passes.assign_layouts(passes.run(batched, on_pass=on_pass), target.block)
    ops.verify(graph)
    if on_pass is not None:
        on_pass("assign_layouts", graph)
    plan = passes.plan_arena(graph, align=ALIGN, reuse=not keep_all)
    selections = {}
    for node in graph.nodes:
        slot = plan.slots[node.name]
        copies = tuple(plan.copies.get(node.name, ()))
        if not slot.computed or (node.op == "concat" and not copies):
            continue
        selections[node.name] = select(GpuSite(graph, node, target, plan.slots, max_error, copies, dtype))
    program = CudaProgram(batched, graph, plan, selections, target, max_error, dtype)
    _check_indices(program)
    return program


def _check_indices(program: CudaProgram) -> None:
    """CnnccError if a kernel would have to count beyond its 32-bit indices, or launch more blocks than a grid has."""
    for name, selection in program.selections.items():
        node = program.graph[name]
        for call in selection.calls:
            images = node.type.shape[0]
            strides = [program.plan.slots[value].image_stride // 4 for value in (name, *node.inputs)]
            weights = [packed.constant.shape[0] for packed in selection.weights]
            most = max(*(images * s for s in strides), *weights, call.workspace_floats * images, 0)
            if most > LARGEST_INDEX or max(kernel_of(call).grid[1:]) > 65535:
                what = f"{node.op} needs an array of {most} numbers or a grid of {kernel_of(call).grid} blocks"
                hint = "smaller images, fewer channels or fewer images in a batch"
                raise CnnccError(f"{what}, more than a GPU kernel counts", node.span, node.stack, hint)
