"""A network as the list of kernel calls that computes it, with the memory each one uses. Needs no TVM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from cnncc import ops, passes
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.rules import select
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.operands import PackedWeight
from cnncc.kernels.shared.spec import Call, Kernel, Site
from cnncc.machines.targets import Target
from cnncc.module import rooms as arena
from cnncc.module.rooms import ArenaLayout
from cnncc.module.stored import Stored
from cnncc.runtime.interface import ALIGN
from cnncc.weights.half import check_dtype

LARGEST_INDEX = (1 << 31) - 1
"""Kernels count floats in int32."""


@dataclass(frozen=True, eq=False)
class Program(Stored):
    """Everything about a compiled network but its machine code."""

    target: Target
    threads: int
    order_given: tuple[Node, ...] = ()
    """The nodes of `graph` in the order of the source."""
    proven: bool = False
    """Whether no order of the nodes needs less memory than that of `graph`."""
    stamps: bool = False
    """Whether a run notes in its arena when each step ended, for `cnncc profile`."""
    weights_dtype: str = "float32"
    """Type in which the weights of `cnncc.weights.half.OPS` are stored."""
    max_error: float = 1e-5
    """Share of a layer's largest output by which an algorithm with fewer operations may be off."""
    tuned: bool = False
    """Whether kernels were chosen by measuring."""

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first use."""
        return tuple(dict.fromkeys(c.kernel for c in self.calls))

    @property
    def layers(self) -> dict[Kernel, tuple[str, ...]]:
        """The nodes that call each kernel, as in `conv1 (conv, add, relu)`."""
        found: dict[Kernel, dict[str, None]] = {}
        for call in self.calls:
            node = self.graph[call.node]
            steps = [node.op, *(name for name, _ in node.attrs.get("epilogue", ()))]
            found.setdefault(call.kernel, {})[f"{node.name} ({', '.join(steps)})"] = None
        return {kernel: tuple(layers) for kernel, layers in found.items()}

    @property
    def weight_align(self) -> int:
        return ALIGN

    @property
    def weights_stay(self) -> bool:
        """Whether weights are taken to come from the last cache, and not from memory, when the network runs again."""
        return _weights_stay(self.graph, self.target)

    @cached_property
    def memory(self) -> ArenaLayout:
        """What the arena holds besides activations."""
        return arena.lay_out(self.graph, self.plan, self.selections, self.threads)

    def images(self, call: Call) -> int:
        """How many times a call is made: once for each image, or once for all."""
        return arena.images(call, self.graph[call.node].type.shape[0])

    def images_innermost(self, call: Call) -> bool:
        """Whether a piece of a call's work is done for all images before the next piece: weights larger than an image
        of the result then stay in cache; otherwise the image does."""
        read = {o.name for o in call.operands if isinstance(o, PackedWeight)}
        weights = sum(p.nbytes for p in self.selections[call.node].weights if p.name in read)
        return weights > self.graph[call.node].type.nbytes // self.images(call)

    @property
    def arena_bytes(self) -> int:
        """The arena a run needs: activations, workspace and scratch of the kernels, the steps' counters, stamps."""
        return self.stamps_offset + (8 * (len(self.calls) + 1) if self.stamps else 0)

    @property
    def stamps_offset(self) -> int:
        """Where in the arena the stamps begin: cycles (uint64) at the start and at the end of each step."""
        return self.memory.bytes


def make_program(
    source: Graph,
    target: Target,
    batch: int = 1,
    threads: int = 1,
    keep_all: bool = False,
    max_error: float = 1e-5,
    on_pass: Callable[[str, Graph], object] | None = None,
    weights_dtype: str = "float32",
    choices: Choices | None = None,
) -> Program:
    """Runs all passes for a target and selects the kernels.

    `keep_all` keeps every value readable after a run. `max_error` is the share of a layer's largest output by which an
    algorithm with fewer operations may be off. `choices` take the place of the model's picks.
    CnnccError if the target cannot convert from `weights_dtype`, or has no threads and more than one is asked for.
    """
    _check_weights_dtype(weights_dtype, target)
    if threads > 1 and not target.threads:
        raise CnnccError(f"target {target.name} has no threads, got {threads}", hint="leave --threads out")
    batched = passes.with_batch(source, batch)
    graph = passes.assign_layouts(passes.run(batched, on_pass=on_pass), target.block)
    ops.verify(graph)
    if on_pass is not None:
        on_pass("assign_layouts", graph)
    given, best = graph.nodes, passes.best_order(graph, ALIGN)
    graph = best.graph
    plan = passes.plan_arena(graph, align=ALIGN, reuse=not keep_all)
    rooms, selections = arena.rooms(graph, target.cores), {}
    stay = _weights_stay(graph, target)
    for node in graph.nodes:
        slot = plan.slots[node.name]
        if not slot.computed:
            continue
        if node.op == "concat" and not plan.copies.get(node.name):
            continue  # every arm is written where it belongs
        near = (node.name, *node.inputs)
        strides = {name: plan.slots[name].image_stride for name in near}
        copies = tuple(plan.copies.get(node.name, ()))
        room = rooms[node.name]
        site = Site(graph, node, target, strides, max_error, copies, weights_dtype, choices or {}, room, stay)
        selections[node.name] = select(site)
    program = Program(
        batched,
        graph,
        plan,
        selections,
        target,
        threads,
        order_given=given,
        proven=best.proven,
        weights_dtype=weights_dtype,
        max_error=max_error,
        tuned=choices is not None,
    )
    return program if keep_all else _roomier(program)


def _weights_stay(graph: Graph, target: Target) -> bool:
    """Judged by the weights as they are: how large kernels store them depends on the answer."""
    return target.keeps(4 * sum(math.prod(c.shape) for c in graph.constants.values()))


def _roomier(program: Program) -> Program:
    """The program with its activations moved, if that makes the arena smaller; they take as many bytes as before."""
    memory = program.memory
    if memory.bytes == memory.bound:
        return program
    guests = [(room.step, room.step, room.bytes) for room in memory.rooms]
    other = replace(program, plan=passes.plan_arena(program.graph, ALIGN, guests=guests))
    return min(program, other, key=lambda p: p.memory.bytes)


def _check_weights_dtype(dtype: str, target: Target) -> None:
    check_dtype(dtype)
    if dtype == "float16" and not target.float16:
        hint = "bfloat16 needs none; or a target that has one, such as x86-64-v3"
        raise CnnccError(f"target {target.name} has no instruction that converts float16 weights", hint=hint)


def check_indices(program: Program) -> None:
    """CnnccError if a kernel would have to count beyond its 32-bit indices: in one image, or in the whole batch where
    it takes that at once; in its weights, scratch or workspace."""
    graph, plan = program.graph, program.plan
    for name, selection in program.selections.items():
        node = graph[name]
        for call in selection.calls:
            images = node.type.shape[0] if call.whole_batch else 1
            strides = [plan.slots[value].image_stride // 4 for value in (name, *node.inputs)]
            sizes = [images * stride for stride in strides] + [packed.constant.shape[0] for packed in selection.weights]
            most = max(*sizes, call.kernel.scratch_floats, call.workspace_floats)
            if most > LARGEST_INDEX:
                what = f"{node.op} needs an array of {most} numbers, more than {LARGEST_INDEX}"
                hint = "smaller images, fewer channels or, for fc, fewer images in a batch"
                raise CnnccError(what, span=node.span, stack=node.stack, hint=hint)


@dataclass(frozen=True)
class Arena:
    """Bytes of a run's memory and what they hold. `bound` is the least any plan of the activations could need."""

    bytes: int
    bound: int
    added_bytes: int
    """That the kernels' workspace and scratch and the counters take beyond the activations' bytes."""
    total_bytes: int


def arena_of(program: Program) -> Arena:
    """The memory a program needs."""
    added = program.arena_bytes - program.plan.bytes
    return Arena(program.plan.bytes, program.plan.bound, added, program.arena_bytes)
