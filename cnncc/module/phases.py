"""The phases of a compile, in the order in which they run, from the graph as written to a plan of its memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cnncc import ops, passes
from cnncc.base.elements import ELEMENTS, FLOAT32, HALVES
from cnncc.base.errors import CnnccError, nearest
from cnncc.ir import Graph, Node
from cnncc.ir.text import print_graph
from cnncc.machines import Machine
from cnncc.module.backends import backend_of
from cnncc.module.listener import SILENT, Listener
from cnncc.options import DEFAULT, Options
from cnncc.plan import ArenaPlan, Placement, best_order, plan_arena
from cnncc.plan.homes import InArena, InConstant, InInput, InOutput


@dataclass(frozen=True)
class Stage:
    """What the phases hand on: the graph so far, and what the last ones found besides."""

    graph: Graph
    order_given: tuple[Node, ...] = ()
    """The nodes of the graph in the order of the source, from `order_steps` on."""
    proven: bool = False
    """Whether no order of the nodes needs less memory than that of the graph."""
    plan: ArenaPlan | None = None

    def text(self) -> str:
        """The graph, and after `plan_arena` where each value lies, for people."""
        lines = [print_graph(self.graph, ops.DEFAULTS).rstrip("\n"), *self._lines()]
        return "\n".join(lines) + "\n"

    def places(self) -> dict[str, dict[str, Any]]:
        """After `plan_arena`, for each value: the memory that it lies `in`, which input, output or constant that is,
        and its `offset` in bytes from the start of it. Empty before."""
        if self.plan is None:
            return {}
        return {node.name: _place(self.plan.placements[node.name]) for node in self.graph.nodes}

    def _lines(self) -> list[str]:
        if self.plan is None:
            return []
        where = (f"{name}: {_words(place)}" for name, place in self.places().items())
        return ["", f"arena of {self.plan.bytes} bytes, at least {self.plan.bound}; bytes from its start:", *where]


def _place(placement: Placement) -> dict[str, Any]:
    match placement.home:
        case InArena():
            return {"in": "arena", "offset": placement.offset + placement.inner}
        case InInput(index):
            return {"in": "input", "index": index, "offset": placement.inner}
        case InOutput(index):
            return {"in": "output", "index": index, "offset": placement.inner}
        case InConstant(node):
            return {"in": "constant", "node": node, "offset": placement.inner}


def _words(place: Mapping[str, Any]) -> str:
    if place["in"] == "arena":
        return str(place["offset"])
    return f"{place['in']} {place.get('index', place.get('node'))} + {place['offset']}"


@dataclass(frozen=True)
class Phase:
    """One of `PHASES`. A pass of `cnncc.passes` looks at the graph only, the last ones at the machine too."""

    name: str
    run: Callable[[Stage, Machine, Options], Stage]


def _pass(name: str, rewrite: Callable[[Graph], Graph]) -> Phase:
    return Phase(name, lambda stage, machine, options: replace(stage, graph=rewrite(stage.graph)))


def _narrow_values(stage: Stage, machine: Machine, options: Options) -> Stage:
    half = ELEMENTS.get(options.dtype, FLOAT32)
    if half not in HALVES:
        return stage
    takes = backend_of(machine).takes
    return replace(stage, graph=passes.narrow_values(stage.graph, half, lambda op: half in takes.get(op, {FLOAT32})))


def _assign_layouts(stage: Stage, machine: Machine, options: Options) -> Stage:
    return replace(stage, graph=passes.assign_layouts(stage.graph, machine.block_of))


def _order_steps(stage: Stage, machine: Machine, options: Options) -> Stage:
    best = best_order(stage.graph, machine.align)
    return replace(stage, graph=best.graph, order_given=stage.graph.nodes, proven=best.proven)


def _plan_arena(stage: Stage, machine: Machine, options: Options) -> Stage:
    plan = plan_arena(stage.graph, machine.align, reuse=not options.keep_all, apart=machine.images_apart)
    return replace(stage, plan=plan)


PHASES: tuple[Phase, ...] = (
    *(_pass(name, rewrite) for name, rewrite in passes.PASSES),
    Phase("narrow_values", _narrow_values),
    Phase("assign_layouts", _assign_layouts),
    Phase("order_steps", _order_steps),
    Phase("plan_arena", _plan_arena),
)
"""All phases; `cnncc.passes` knows the order of its own. Kernels are selected after the last one."""


LAST_PASS = "narrow_values"
"""After it comes the first phase that looks at the shape of the machine; it asks only what the kernels compute on."""


def names() -> list[str]:
    """What `--stop-after` takes."""
    return [phase.name for phase in PHASES]


def run(
    graph: Graph,
    machine: Machine,
    options: Options = DEFAULT,
    listener: Listener = SILENT,
    stop_after: str | None = None,
) -> Stage:
    """What all phases, or those up to the one named `stop_after`, make of a graph with its batch.

    The graph is verified after each that changed it. CnnccError for a `stop_after` that names no phase, and what the
    verifier raises.
    """
    if stop_after is not None and stop_after not in names():
        raise CnnccError(f"no phase is named {stop_after!r}", hint=nearest(stop_after, names()))
    stage, verified = Stage(graph), None
    for phase in PHASES:
        stage = phase.run(stage, machine, options)
        if stage.graph is not verified:  # most phases leave most networks as they are
            ops.verify(stage.graph)
            verified = stage.graph
        if listener.on_phase is not None:
            listener.on_phase(phase.name, stage)
        if phase.name == stop_after:
            break
    return stage
