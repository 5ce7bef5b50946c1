"""From a program to the facts about its arena: parts, bound, the step that sets its size, what is alive there."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.ir import Node
from cnncc.kernels.cpu.budget import SHARE
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.cpu.rooms import Room
from cnncc.plan.homes import InArena
from cnncc.plan.pieces import alive_at
from cnncc.plan.plan_arena import Tenant
from cnncc.report.memory.facts import Held, MemoryBlock, MemoryReport, MemoryStep


def report(program: CpuProgram) -> MemoryReport:
    """The report on a program made without `keep_all`."""
    memory, plan = program.memory, program.plan
    steps = _steps(program)
    peak = max(range(len(steps)), key=lambda i: steps[i].activations)
    unordered = program.order_given
    return MemoryReport(
        name=program.graph.name,
        target=program.target.name,
        batch=program.batch,
        threads=program.threads,
        further=memory.pitch,
        total=memory.bytes,
        total_bound=memory.bound,
        activations=plan.bytes,
        bound=plan.bound,
        workspace=max(s.workspace for s in steps),
        scratch=max(s.scratch for s in steps),
        counters=memory.bytes - memory.counters,
        padding=_padding(program, peak),
        reordered=unordered != program.graph.nodes,
        proven=program.proven,
        steps=steps,
        peak=peak,
        held=_held(program, peak),
        largest=max(range(len(steps)), key=lambda i: steps[i].bytes),
        exceeding=_exceeding(program, steps),
        blocks=tuple(_blocks(program)),
    )


def _steps(program: CpuProgram) -> tuple[MemoryStep, ...]:
    taken = {(room.kind, room.step): room.bytes for room in program.memory.rooms}
    alive = alive_at([tenant.outline for tenant in program.plan.tenants], len(program.graph.nodes))
    return tuple(
        MemoryStep(n.name, _what(n), alive[i], taken.get(("workspace", i), 0), taken.get(("scratch", i), 0))
        for i, n in enumerate(program.graph.nodes)
    )


def _what(node: Node) -> str:
    """The op and what is fused into it."""
    return "+".join([node.op, *(name for name, _ in node.attrs.get("epilogue", ()))])


def _alive_in(tenant: Tenant, step: int) -> int:
    return sum(p.size for p in tenant.outline if p.first <= step <= p.last)


def _held(program: CpuProgram, step: int) -> tuple[Held, ...]:
    placements, node = program.plan.placements, program.graph.nodes[step]
    read = {placements[name].home for name in node.inputs}
    later = _next_uses(program, step)
    held = []
    for tenant in program.plan.tenants:
        size = _alive_in(tenant, step)
        if not size:
            continue
        home = InArena(tenant.storage)
        if placements[node.name].home == home:
            role = "in place" if home in read else "writes"
        else:
            role = "reads" if home in read else f"held for {later[tenant.storage]}"
        held.append(Held(tenant.storage, size, role))
    return tuple(sorted(held, key=lambda h: (-h.bytes, h.name)))


def _next_uses(program: CpuProgram, step: int) -> dict[str, str]:
    """For each storage of the arena, the next node that reads or writes something in it."""
    placements, found = program.plan.placements, dict[str, str]()
    for node in program.graph.nodes[step + 1 :]:
        if not placements[node.name].view:
            for home in (placements[name].home for name in (*node.inputs, node.name)):
                if isinstance(home, InArena):
                    found.setdefault(home.storage, node.name)
    return found


def _padding(program: CpuProgram, step: int) -> int:
    """A storage counts in the shape of its root, as far as it is in use."""
    wasted = 0.0
    for tenant in program.plan.tenants:
        kind = program.graph[tenant.storage].type
        wasted += _alive_in(tenant, step) * (1 - kind.with_block(1).nbytes / kind.nbytes)
    return round(wasted)


def _exceeding(program: CpuProgram, steps: Sequence[MemoryStep]) -> tuple[tuple[str, int, str], ...]:
    limit = round(program.plan.bytes * (1 + SHARE))
    counters = program.memory.bytes - program.memory.counters
    over = {s.node: s.bytes + counters - limit for s in steps if s.workspace + s.scratch}
    ordered = sorted(over.items(), key=lambda item: (-item[1], item[0]))
    return tuple((node, size, program.selections[node].why) for node, size in ordered if size > 0)


def _blocks(program: CpuProgram) -> list[MemoryBlock]:
    memory, last = program.memory, len(program.graph.nodes) - 1
    blocks = [
        MemoryBlock("activation", t.storage, t.offset + p.start, p.size, p.first, p.last)
        for t in program.plan.tenants
        for p in t.outline
    ]
    blocks += [_room_block(room) for room in memory.rooms]
    size = memory.bytes - memory.counters
    return [*blocks, MemoryBlock("counters", "counters", memory.counters, size, 0, last)] if size else blocks


def _room_block(room: Room) -> MemoryBlock:
    return MemoryBlock(room.kind, room.node, room.offset, room.bytes, room.step, room.step)
