"""A program for a range of sizes: passes see the largest size, kernels are chosen for one in the middle, and all that
then depends on the size is an expression of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cnncc import ops, passes
from cnncc.base.dim import Extent, Undecided
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.ir.ranged import Ranged, Steps
from cnncc.kernels.cpu.rules import select
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.spec import Selection
from cnncc.machines.targets import Target
from cnncc.module import phases, ranged
from cnncc.module.cpu import rooms
from cnncc.module.cpu.program import CpuProgram, weights_stay
from cnncc.module.cpu.ranged_memory import planned
from cnncc.module.listener import SILENT, Listener
from cnncc.module.lower import NO_CHOICES, with_work
from cnncc.options import Options
from cnncc.plan import plan_arena
from cnncc.plan.alias_values import alias_values

LAST_REWRITE = "assign_layouts"
"""After it phases only order the steps, and place values."""


def lower_ranged(
    network: Ranged, machine: Target, options: Options, choices: Choices = NO_CHOICES, listener: Listener = SILENT
) -> CpuProgram:
    """Runs all phases and selects the kernels. CnnccError for a network that has other ops at another size, for a rule
    that refuses a size, and for an op that has no kernel for a range of sizes."""
    machine.check(options)
    source, changing = ranged.check(network)
    batched = passes.with_batch(source, options.batch)
    stage = phases.run(batched, machine, options, listener)

    def remade(other: Graph) -> Graph:
        return phases.run(passes.with_batch(other, options.batch), machine, options, stop_after=LAST_REWRITE).graph

    graph = ranged.followed(stage.graph, network, remade if changing else None)
    usual = ranged.usual(graph)
    others = [ranged.of_size(graph, steps) for steps in _compared(network)]
    aliases = alias_values(graph)
    plan = replace(plan_arena(usual, machine.align, apart=True), copies=aliases.copies)
    budgets, stay = rooms.budgets(usual, machine.cores), weights_stay(graph, machine)

    def chosen(node: Node) -> Selection:
        copies = tuple(plan.copies.get(node.name, ()))
        known, *tried = (
            CpuSite(g, g[node.name], machine, options, copies, budgets[node.name], None, stay, choices=choices)
            for g in (usual, *others)
        )
        site = replace(known, graph=graph, node=node, usual=known, tried=tuple(tried))
        try:
            return select(site)
        except Undecided as error:
            what = f"{node.op} has no kernel for a range of sizes yet ({error})"
            hint = "compile the sizes that are needed, separated by commas"
            raise CnnccError(what, node.span, node.stack, hint) from None

    selections = {node.name: chosen(node) for node in with_work(replace(stage, graph=graph, plan=plan))}
    arena, memory = planned(graph, aliases, selections, options.threads or machine.cores, options.batch)
    middle = passes.with_batch(network.middle, options.batch)
    return CpuProgram(
        middle,
        graph,
        arena,
        selections,
        machine,
        options,
        stage.order_given,
        symbols=network.symbols,
        laid=memory,
        macs=_macs(batched, network, (lambda other: passes.with_batch(other, options.batch)) if changing else None),
    )


def _compared(network: Ranged) -> list[Steps]:
    """The sizes besides the middle one at which kernels are compared."""
    return [{s: round(share * (s.count - 1)) for s in network.symbols} for share in COMPARED]


COMPARED = 0.1, 0.4, 0.7, 1.0
"""Where they lie between the least size and the largest. The middle one, counted in factors, is among the smaller."""


def _macs(source: Graph, network: Ranged, remade: Callable[[Graph], Graph] | None) -> Extent | None:
    """The multiply-adds of the network as written; None if it has something that passes remove, of which it is not
    understood how it follows from the size."""
    try:
        graph = ranged.followed(source, network, remade)
    except CnnccError:
        return None
    return sum(ops.macs(graph, node) for node in graph.nodes)
