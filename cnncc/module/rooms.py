"""Where in the arena kernels find their workspace and scratch, and threads their counters: in what the activations
leave free at each step, and above them where that is not enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from cnncc.ir import Graph
from cnncc.kernels.cpu.room import SHARE
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.module.occupied import Occupied
from cnncc.plan.pack_records import lowest
from cnncc.plan.plan_arena import ArenaPlan, activations_alive
from cnncc.runtime.interface import ALIGN

COUNTER_BYTES = 4
"""An int32: of a step and thread, the chunks taken from the thread's share; of a step, the chunks that are finished."""


@dataclass(frozen=True)
class Room:
    """Bytes of the arena in use during one step of the graph."""

    kind: str
    """workspace, which the calls of a node hand each other, or scratch, which each thread has of its own."""
    node: str
    step: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class CallMemory:
    """For one call: bytes from the start of the arena to its workspace and to the first thread's scratch, and from one
    thread's scratch to the next."""

    workspace: int
    scratch: int
    stride: int


@dataclass(frozen=True)
class ArenaLayout:
    """Everything in the arena but the activations, which lie where the plan says."""

    rooms: tuple[Room, ...]
    calls: tuple[CallMemory, ...]
    """In execution order."""
    counters: int
    """Offset of the counters of all steps, which must be zero when a run starts: a row for each thread, and one of what
    is finished. A thread mostly changes its own row, whose cache lines are no other's."""
    counter_row: int
    """Bytes from one row of counters to the next."""
    bytes: int
    bound: int
    """The largest sum at any step: with these kernels and this order, no arena is smaller."""


def rooms(graph: Graph, cores: int) -> dict[str, float]:
    """For each node, the bytes for an image that its workspace and scratch should keep to: those that activations
    leave free at its step, and a share of all of them on top, less the counters of a thread for each core. They
    are counted as if every node made two calls, as many as a convolution does: the kernels are not chosen yet."""
    alive = activations_alive(graph, ALIGN)
    most = max(alive, default=0)
    if not most:
        return dict.fromkeys(graph.by_name, math.inf)  # everything is in the caller's buffers
    images = max(n.type.shape[0] for n in graph.inputs)
    counters = (cores + 1) * counter_row_bytes(2 * len(graph.nodes))
    left = (most * (1 + SHARE) - counters - live for live in alive)
    return {node.name: room / images for node, room in zip(graph.nodes, left, strict=True)}


def lay_out(graph: Graph, plan: ArenaPlan, selections: Mapping[str, Selection], threads: int) -> ArenaLayout:
    """The arena of a program. Deterministic."""
    live = []
    rooms: list[Room] = []
    calls: list[CallMemory] = []
    for node, (step, taken) in zip(graph.nodes, enumerate(_in_use(graph, plan)), strict=True):
        live.append(taken.bytes)
        selection = selections.get(node.name)
        if selection is not None:
            batch = node.type.shape[0]
            placed = _place(_wanted(selection.calls, batch, threads), taken.runs)
            rooms += (Room(k, node.name, step, at, size) for k, (at, size) in placed.items() if size)
            live[step] += sum(size for _, size in placed.values())
            stride = max(_scratch(c) for c in selection.calls)
            calls += [CallMemory(placed["workspace"][0], placed["scratch"][0], stride)] * len(selection.calls)
    top = max([plan.bytes, *(r.offset + r.bytes for r in rooms)])
    row = counter_row_bytes(len(calls))
    counters = (threads + 1) * row
    return ArenaLayout(tuple(rooms), tuple(calls), top, row, top + counters, max(live, default=0) + counters)


def counter_row_bytes(steps: int) -> int:
    """Of one counter for each step, in whole cache lines."""
    return aligned(COUNTER_BYTES * steps)


def images(call: Call, batch: int) -> int:
    """How many times a call is made: once for each image, or once for all."""
    return 1 if call.whole_batch else batch


def _wanted(calls: Sequence[Call], batch: int, threads: int) -> dict[str, int]:
    return {
        "workspace": aligned(max(4 * c.workspace_floats * images(c, batch) for c in calls)),
        "scratch": threads * max(_scratch(c) for c in calls),
    }


def _scratch(call: Call) -> int:
    """Bytes of one thread, in whole cache lines."""
    return aligned(4 * call.kernel.scratch_floats)


def _in_use(graph: Graph, plan: ArenaPlan) -> Iterator[Occupied]:
    """At each step, the bytes of the arena that hold activations: the same object, changed from step to step."""
    begin: list[list[tuple[int, int]]] = [[] for _ in range(len(graph.nodes) + 1)]
    end: list[list[tuple[int, int]]] = [[] for _ in range(len(graph.nodes) + 2)]
    for tenant in plan.tenants:
        for piece in tenant.shape:
            taken = (tenant.offset + piece.start, tenant.offset + piece.stop)
            begin[piece.first].append(taken)
            end[min(piece.last, len(graph.nodes)) + 1].append(taken)
    occupied = Occupied()
    for step in range(len(graph.nodes)):
        for start, stop in end[step]:
            occupied.remove(start, stop)
        for start, stop in begin[step]:
            occupied.add(start, stop)
        yield occupied


def _place(wanted: Mapping[str, int], taken: Sequence[tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Offset and size of each thing wanted at one step, such that the highest ends as low as can be."""
    return min((_first_fit(order, wanted, taken) for order in permutations(wanted)), key=_height)


def _height(placed: Mapping[str, tuple[int, int]]) -> int:
    return max(at + size for at, size in placed.values())


def _first_fit(
    order: Sequence[str], wanted: Mapping[str, int], taken: Sequence[tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    placed: dict[str, tuple[int, int]] = {}
    for kind in order:
        size = wanted[kind]
        others = [(at, at + n) for at, n in placed.values() if n]
        at = lowest((start - size, stop) for start, stop in (*taken, *others)) if size else 0
        placed[kind] = (at, size)
    return placed


def aligned(size: int) -> int:
    """The next multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN
