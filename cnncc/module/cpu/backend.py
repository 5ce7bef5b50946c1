"""Kernels of processors, WebAssembly among them, and modules made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.ir.ranged import Ranged
from cnncc.kernels.cpu.rules import TAKES, select
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.spec import Selection
from cnncc.machines.targets import Target
from cnncc.module.backends import Backend
from cnncc.module.cpu import rooms, sizes
from cnncc.module.cpu.program import CpuProgram, weights_stay
from cnncc.module.cpu.ranged_program import lower_ranged
from cnncc.module.listener import Listener
from cnncc.module.phases import Stage
from cnncc.module.roles import CPU_KINDS
from cnncc.options import Options

if TYPE_CHECKING:
    from cnncc.module.cpu.build import Build


class CpuBackend(Backend):
    arena_from = "from the caller, no allocation in run"
    kinds = CPU_KINDS
    takes = TAKES

    def rules(
        self, stage: Stage, machine: Target, options: Options, choices: Choices, like: Mapping[str, Selection]
    ) -> Callable[[Node], Selection]:
        graph, plan = stage.graph, stage.plan
        assert plan is not None
        budgets = rooms.budgets(graph, machine.cores)
        stay = weights_stay(graph, machine)

        def chosen(node: Node) -> Selection:
            copies = tuple(plan.copies.get(node.name, ()))
            budget, other = budgets[node.name], like.get(node.name)
            return select(CpuSite(graph, node, machine, options, copies, budget, other, stay, choices=choices))

        return chosen

    def program(
        self, source: Graph, stage: Stage, selections: Mapping[str, Selection], machine: Target, options: Options
    ) -> CpuProgram:
        assert stage.plan is not None
        order = (stage.order_given, stage.proven)
        return CpuProgram(source, stage.graph, stage.plan, dict(selections), machine, options, *order).spaced()

    def joined(self, programs: Sequence[CpuProgram]) -> CpuProgram:
        first = programs[0]
        return super().joined(programs) if first.target.format == "wasm" else sizes.joined(programs)

    def ranged(
        self, network: Ranged, machine: Target, options: Options, choices: Choices, listener: Listener
    ) -> CpuProgram:
        return lower_ranged(network, machine, options, choices, listener)

    def build(self, programs: Sequence[CpuProgram], listener: Listener) -> Build:
        from cnncc.module.cpu.build import build_programs  # how modules are made: most commands make none

        return build_programs(programs, listener)

    def best_first(self, machines: Sequence[Target]) -> Sequence[Target]:
        triples = {machine.triple for machine in machines}
        if len(triples) > 1 or not machines[0].triple.startswith("x86_64"):
            return super().best_first(machines)
        if len({frozenset(machine.requires) for machine in machines}) < len(machines):
            names = ",".join(machine.name for machine in machines)
            raise CnnccError(f"target {names}: two of them require the same features, so one would never be taken")
        return sorted(machines, key=lambda machine: -len(machine.requires))


BACKEND = CpuBackend()
