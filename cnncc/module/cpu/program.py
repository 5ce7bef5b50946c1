"""A network as the list of kernel calls that computes it on a processor, with the memory each one uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from cnncc.base.dim import Extent, Symbol, most_of, typical
from cnncc.ir import Graph
from cnncc.kernels.shared.operands import PackedWeight
from cnncc.kernels.shared.spec import Call, Kernel, Packed
from cnncc.machines.targets import Target
from cnncc.module.cpu import rooms
from cnncc.module.cpu.rooms import ArenaLayout
from cnncc.module.program import Arena, Program
from cnncc.plan import plan_arena
from cnncc.plan.alias_values import image_bytes


@dataclass(frozen=True, eq=False)
class CpuProgram(Program[Target]):
    """A program for a processor: the caller of a run gives the arena, which holds more than activations."""

    further: tuple[CpuProgram, ...] = ()
    """The same network for further sizes of its inputs. This program holds the weights of all."""
    placed: tuple[tuple[Packed, int], ...] | None = None
    """The weights with their byte offsets, where several sizes share them."""
    symbols: tuple[Symbol, ...] = ()
    """The sizes that a caller chooses, where dimensions are expressions of these."""
    laid: ArenaLayout | None = None
    """What the arena then holds besides activations."""
    macs: Extent | None = None
    """The multiply-adds of the most images then, where it is known how they follow from the sizes."""

    @property
    def sizes(self) -> tuple[CpuProgram, ...]:
        """One program for each size of the inputs."""
        return (self, *self.further)

    @cached_property
    def weights(self) -> tuple[tuple[Packed, int], ...]:
        return super().weights if self.placed is None else self.placed

    @cached_property
    def weight_offsets(self) -> dict[str, int]:
        """Of its own weights. Those of further sizes, which may have the same names, come after them."""
        return {packed.name: offset for packed, offset in reversed(self.weights)}

    @property
    def threads(self) -> int:
        """Most threads that a run may use."""
        return self.options.threads or self.target.cores

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels of all sizes, in order of first use."""
        return tuple(dict.fromkeys(c.kernel for program in self.sizes for c in program.calls))

    @property
    def layers(self) -> dict[Kernel, tuple[str, ...]]:
        """The nodes that call each kernel, as in `conv1 (conv, add, relu)`."""
        found: dict[Kernel, dict[str, None]] = {}
        for program, call in ((p, c) for p in self.sizes for c in p.calls):
            node = program.graph[call.node]
            ops = [node.op, *(name for name, _ in node.attrs.get("epilogue", ()))]
            found.setdefault(call.kernel, {})[f"{node.name} ({', '.join(ops)})"] = None
        return {kernel: tuple(layers) for kernel, layers in found.items()}

    @property
    def weights_stay(self) -> bool:
        """Whether weights are taken to come from the last cache, and not from memory, when the network runs again."""
        return weights_stay(self.graph, self.target)

    @cached_property
    def memory(self) -> ArenaLayout:
        """What the arena holds besides activations."""
        return self.laid or rooms.lay_out(self.graph, self.plan, self.selections, self.threads)

    def images(self, call: Call) -> int:
        """How many times a call is made: once for each image, or once for all."""
        return 1 if call.whole_batch else self.graph[call.node].type.shape[0]

    @property
    def batch(self) -> int:
        """Most images of a run."""
        return self.options.batch

    def images_at_once(self, call: Call) -> int:
        """Of a call for the whole batch, the kernel counts in each image by itself."""
        return 1

    def workspace_at_once(self, call: Call) -> int:
        return call.workspace_bytes

    def images_innermost(self, call: Call) -> bool:
        """Whether a chunk of a call is computed for all images before the next chunk: weights larger than an image
        of the result then stay in cache; otherwise the image does."""
        read = {o.name for o in call.operands if isinstance(o, PackedWeight)}
        weights = sum(p.nbytes for p in self.selections[call.node].weights if p.name in read)
        return weights > typical(image_bytes(self.graph[call.node].type))

    def stamped(self) -> Self:
        """The program with stamps; see `Options.stamps`."""
        return replace(self, options=replace(self.options, stamps=True))

    @property
    def arena_bytes(self) -> int:
        """The arena that a run of the most images needs."""
        return self.arena_bytes_for(self.batch)

    def arena_bytes_for(self, images: int) -> int:
        """The arena that a run of so many images needs: activations, workspace and scratch of the kernels, the steps'
        counters, stamps."""
        return (images - 1) * self.memory.pitch + self.memory.bytes + self.stamp_bytes

    @property
    def stamp_bytes(self) -> int:
        """Behind all else: the cycles at the start and at the end of each step."""
        return 8 * (len(self.calls) + 1) if self.options.stamps else 0

    @property
    def arena(self) -> Arena:
        """The memory of a run of the most images, and what it holds; of a range, at its largest size."""
        total = most_of(self.arena_bytes)
        activations, bound = (self.batch * most_of(size) for size in (self.plan.bytes, self.plan.bound))
        return Arena(activations, bound, total - activations, total)

    @property
    def stamps_offset(self) -> int:
        """Where the stamps begin in the arena of a run of the most images: cycles (uint64) at the start and at the end
        of each step."""
        return (self.batch - 1) * self.memory.pitch + self.memory.bytes

    def settled(self) -> Self:
        """The program with its activations moved, if that makes the arena smaller; they take no more bytes."""
        memory = self.memory
        if memory.bytes == memory.bound:
            return self
        guests = [(room.step, room.step, room.bytes) for room in memory.rooms]
        other = replace(self, plan=plan_arena(self.graph, self.target.align, guests=guests, apart=True)).spaced()
        return min(self, other, key=lambda p: p.memory.bytes)

    def spaced(self) -> Self:
        """The program with its images as far apart as their activations and workspace need."""
        pitch = self.memory.pitch
        return self if pitch == self.plan.pitch else replace(self, plan=self.plan.spaced(pitch))


def weights_stay(graph: Graph, target: Target) -> bool:
    """Whether weights are still in the last cache when the network runs again.

    Judged by the weights as they are: how large kernels store them depends on the answer.
    """
    return target.keeps(sum(c.nbytes for c in graph.constants.values()))
