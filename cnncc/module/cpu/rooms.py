"""The places of workspace, scratch and counters in the arena.

Workspace and scratch of a step lie in bytes that no activation uses at that step, and above the activations if these
bytes do not suffice. The counters of threads lie above everything.

Each image of a run has a part of the arena for its activations and workspace, all alike. What there is once for a run,
scratch and counters, has its place in and above the part of the last image: a run of one image needs no more than a
module for one image does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from cnncc.ir import Graph
from cnncc.kernels.cpu.budget import SHARE
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.module.occupied import Occupied
from cnncc.plan.pack_records import lowest
from cnncc.plan.plan_arena import ArenaPlan, activations_alive
from cnncc.runtime.interface import ALIGN

COUNTER_BYTES = 4
"""A counter is an int32. Each step has one for each thread, the chunks taken from that thread's share; and one more,
the chunks that are finished."""


RoomKind = Literal["workspace", "scratch"]


@dataclass(frozen=True)
class Room:
    """Bytes of the arena in use during one step of the graph."""

    kind: RoomKind
    """`workspace`, in which the calls of a node hand each other values, or `scratch`, of which each thread has its
    own."""
    node: str
    step: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class CallMemory:
    """The memory of one call, in bytes: the offsets of its workspace in the part of an image, and of the first thread's
    scratch in that of the last image; and the distance from one thread's scratch to the next."""

    workspace: int
    scratch: int
    stride: int


@dataclass(frozen=True)
class ArenaLayout:
    """What the arena holds besides the activations, whose places are in the plan. Offsets count from where the part of
    an image begins, of scratch and counters from where that of the last image does."""

    rooms: tuple[Room, ...]
    calls: tuple[CallMemory, ...]
    """In execution order."""
    counters: int
    """Offset of the counters of all steps. They must be zero when a run starts. There is a row for each thread, and one
    for the finished chunks. A row has cache lines of its own, and a thread mostly changes its own row."""
    counter_row: int
    """Bytes from one row of counters to the next."""
    bytes: int
    """Of a run of one image."""
    pitch: int
    """Bytes from the part of one image to that of the next: what a run needs more for each further image. 0 if there is
    one image."""
    bound: int
    """The largest sum of bytes in use at one step: with these kernels in this order, no arena is smaller."""


def budgets(graph: Graph, cores: int) -> dict[str, float]:
    """For each node, a budget for workspace and scratch, in bytes for each image of the batch.

    It is what the activations leave free in the arena at the node's step, plus `SHARE` of the largest sum of live
    activations, minus the counters of `cores` threads. The kernels are not chosen yet, so counters are counted as if
    each node made two calls, as many as a convolution may make."""
    alive = activations_alive(graph, ALIGN, apart=True)
    most = max(alive, default=0)
    if not most:
        return dict.fromkeys(graph.by_name, math.inf)  # all values are in the caller's buffers
    counters = (cores + 1) * counter_row_bytes(2 * len(graph.nodes))
    left = (most * (1 + SHARE) - counters - live for live in alive)
    return {node.name: budget for node, budget in zip(graph.nodes, left, strict=True)}


def lay_out(graph: Graph, plan: ArenaPlan, selections: Mapping[str, Selection], threads: int) -> ArenaLayout:
    """Places workspace and scratch of all steps, and the counters. Deterministic."""
    live = []
    rooms: list[Room] = []
    calls: list[CallMemory] = []
    for node, (step, taken) in zip(graph.nodes, enumerate(_in_use(graph, plan)), strict=True):
        live.append(taken.bytes)
        selection = selections.get(node.name)
        if selection is not None:
            placed = _place(_wanted(selection.calls, threads), taken.runs)
            rooms += (Room(k, node.name, step, at, size) for k, (at, size) in placed.items() if size)
            live[step] += sum(size for _, size in placed.values())
            stride = max(_scratch(c) for c in selection.calls)
            calls += [CallMemory(placed["workspace"][0], placed["scratch"][0], stride)] * len(selection.calls)
    top = max([plan.bytes, *(r.offset + r.bytes for r in rooms)])
    row = counter_row_bytes(len(calls))
    counters = (threads + 1) * row
    pitch = _pitch(plan, rooms) if max(n.type.shape[0] for n in graph.inputs) > 1 else 0
    return ArenaLayout(tuple(rooms), tuple(calls), top, row, top + counters, pitch, max(live, default=0) + counters)


def _pitch(plan: ArenaPlan, rooms: Sequence[Room]) -> int:
    """Bytes of what an image has for itself: activations and workspace."""
    return aligned(max([plan.bytes, *(r.offset + r.bytes for r in rooms if r.kind == "workspace")]))


def counter_row_bytes(steps: int) -> int:
    """Bytes of a row with one counter for each step, in whole cache lines."""
    return aligned(COUNTER_BYTES * steps)


def _wanted(calls: Sequence[Call], threads: int) -> dict[RoomKind, int]:
    return {
        "workspace": aligned(max(c.workspace_bytes for c in calls)),
        "scratch": threads * max(_scratch(c) for c in calls),
    }


def _scratch(call: Call) -> int:
    """Bytes of scratch that one thread needs, in whole cache lines."""
    return aligned(call.kernel.scratch_bytes)


def _in_use(graph: Graph, plan: ArenaPlan) -> Iterator[Occupied]:
    """For each step, the bytes of the arena that hold activations. It yields one object, which it changes from step to
    step."""
    begin: list[list[tuple[int, int]]] = [[] for _ in range(len(graph.nodes) + 1)]
    end: list[list[tuple[int, int]]] = [[] for _ in range(len(graph.nodes) + 2)]
    for tenant in plan.tenants:
        for piece in tenant.outline:
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


def _place(wanted: Mapping[RoomKind, int], taken: Sequence[tuple[int, int]]) -> dict[RoomKind, tuple[int, int]]:
    """Offset and size of each room that one step needs. Of all orders of placing, the one that ends lowest is taken."""
    return min((_first_fit(order, wanted, taken) for order in permutations(wanted)), key=_height)


def _height(placed: Mapping[RoomKind, tuple[int, int]]) -> int:
    return max(at + size for at, size in placed.values())


def _first_fit(
    order: Sequence[RoomKind], wanted: Mapping[RoomKind, int], taken: Sequence[tuple[int, int]]
) -> dict[RoomKind, tuple[int, int]]:
    placed: dict[RoomKind, tuple[int, int]] = {}
    for kind in order:
        size = wanted[kind]
        others = [(at, at + n) for at, n in placed.values() if n]
        at = lowest((start - size, stop) for start, stop in (*taken, *others)) if size else 0
        placed[kind] = (at, size)
    return placed


def aligned(size: int) -> int:
    """The next multiple of `ALIGN`."""
    return -(-size // ALIGN) * ALIGN
