"""The arena of a module for a range of sizes: for each storage and room, the order in which they are stacked, and where
each then lies as an expression of the sizes.

Two that are in use at the same step lie one above the other. Which one lies above is found by packing one size; at any
other size each begins where all that lie below it end. So no two ever overlap, and the arena is about as small as a
plan for that size, since values grow and shrink together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnncc.base.dim import Extent, largest, most_of, typical
from cnncc.ir import Graph
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.module.cpu.rooms import ArenaLayout, CallMemory, Room, RoomKind, aligned, counter_row_bytes
from cnncc.plan.alias_values import Aliases, Storage, image_bytes
from cnncc.plan.homes import InArena
from cnncc.plan.pack_records import pack
from cnncc.plan.plan_arena import ArenaPlan, Placement

_Key = str | tuple[str, RoomKind]
"""The root of a storage, or the node and the kind of a room."""


@dataclass(frozen=True)
class Resident:
    """Bytes that are in use from one step to another, inclusive."""

    first: int
    last: int
    bytes: Extent


@dataclass(frozen=True, eq=False)
class _Parts:
    """What lies in the part of an image or above it."""

    storages: Mapping[str, Resident]
    rooms: Mapping[tuple[str, RoomKind], Resident]

    @property
    def all(self) -> list[Resident]:
        return [*self.storages.values(), *self.rooms.values()]


def planned(
    graph: Graph, aliases: Aliases, selections: Mapping[str, Selection], threads: int, batch: int
) -> tuple[ArenaPlan, ArenaLayout]:
    """The plan and the layout of the arena of a graph whose dimensions are expressions."""
    parts = _Parts(_storages(aliases), _rooms(graph, selections, threads))
    starts, stops = stacked(parts.all)
    offsets: dict[_Key, Extent] = dict(zip([key for key, _ in _keys(parts)], starts, strict=True))
    calls = [call for node in graph.nodes if node.name in selections for call in selections[node.name].calls]
    row = counter_row_bytes(len(calls))
    top = largest(0, *stops)
    own = [s for (key, _), s in zip(_keys(parts), stops, strict=True) if isinstance(key, str) or key[1] == "workspace"]
    pitch = largest(0, *own) if batch > 1 else 0
    layout = ArenaLayout(
        rooms=tuple(
            Room(kind, node, tenant.first, offsets[node, kind], tenant.bytes)
            for (node, kind), tenant in parts.rooms.items()
        ),
        calls=tuple(_memory(call, selections[call.node], offsets) for call in calls),
        counters=top,
        counter_row=row,
        bytes=top + (threads + 1) * row,
        pitch=pitch,
        bound=0,
    )
    activations = largest(0, *stops[: len(parts.storages)])
    return ArenaPlan(
        activations, _bound(parts), _placements(graph, aliases, offsets, pitch), aliases.copies, (), pitch
    ), layout


def _bound(parts: _Parts) -> int:
    """The most bytes of activations that are in use at one step, at the largest size: no plan needs less."""
    tenants = parts.storages.values()
    return max((sum(most_of(t.bytes) for t in tenants if t.first <= of.first <= t.last) for of in tenants), default=0)


def _keys(parts: _Parts) -> list[tuple[_Key, Resident]]:
    return [*parts.storages.items(), *parts.rooms.items()]


def _storages(aliases: Aliases) -> dict[str, Resident]:
    return {
        root: Resident(s.first, s.last, aligned(s.of_one_image().nbytes))
        for root, s in aliases.storages.items()
        if isinstance(s.home, InArena)
    }


def _rooms(graph: Graph, selections: Mapping[str, Selection], threads: int) -> dict[tuple[str, RoomKind], Resident]:
    found: dict[tuple[str, RoomKind], Resident] = {}
    for step, node in enumerate(graph.nodes):
        if node.name in selections:
            calls = selections[node.name].calls
            wanted: dict[RoomKind, Extent] = {
                "workspace": aligned(largest(*(c.workspace_bytes for c in calls))),
                "scratch": threads * _stride(calls),
            }
            found |= {(node.name, k): Resident(step, step, n) for k, n in wanted.items() if n != 0}
    return found


def _stride(calls: Sequence[Call]) -> Extent:
    """Bytes from one thread's scratch to the next."""
    return largest(*(aligned(c.kernel.scratch_bytes) for c in calls))


def _memory(call: Call, selection: Selection, offsets: Mapping[_Key, Extent]) -> CallMemory:
    workspace, scratch = offsets.get((call.node, "workspace"), 0), offsets.get((call.node, "scratch"), 0)
    return CallMemory(workspace, scratch, _stride(selection.calls))


def stacked(tenants: Sequence[Resident]) -> tuple[list[Extent], list[Extent]]:
    """Where each begins and ends. Those that are in use at the same step do not overlap, whatever the sizes."""
    records = [(t.first, t.last, typical(t.bytes)) for t in tenants]
    found, _ = pack(records)
    order = sorted(range(len(tenants)), key=lambda i: (found[i], tenants[i].first, i))
    below: list[set[int]] = [set() for _ in tenants]
    starts: list[Extent] = [0] * len(tenants)
    stops: list[Extent] = [0] * len(tenants)
    done: list[int] = []
    for i in order:
        under = {j for j in done if tenants[j].first <= tenants[i].last and tenants[i].first <= tenants[j].last}
        below[i] = under
        # What lies below another that lies below this one ends before that one begins.
        nearest = [j for j in sorted(under) if not any(j in below[m] for m in under)]
        starts[i] = largest(0, *(stops[j] for j in nearest))
        stops[i] = starts[i] + tenants[i].bytes
        done.append(i)
    return starts, stops


def _placements(graph: Graph, aliases: Aliases, offsets: Mapping[_Key, Extent], pitch: Extent) -> dict[str, Placement]:
    placements = {}
    batch = max(node.type.shape[0] for node in graph.inputs)
    for node in graph.nodes:
        root, inner = aliases.place[node.name]
        storage = aliases.storages[root]
        placements[node.name] = Placement(
            home=storage.home,
            offset=offsets.get(root, 0),
            inner=inner,
            image_stride=_image_stride(storage, batch, pitch),
            in_place=node.name in aliases.in_place,
            placed=node.name in aliases.placed,
            view=node.name in aliases.views,
        )
    return placements


def _image_stride(storage: Storage, batch: int, pitch: Extent) -> Extent:
    if storage.type.shape[0] < batch:
        return 0
    return pitch if isinstance(storage.home, InArena) and batch > 1 else image_bytes(storage.type)
