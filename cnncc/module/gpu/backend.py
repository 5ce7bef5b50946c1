"""Kernels of GPUs, and modules made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.kernels.gpu.rules import TAKES, select
from cnncc.kernels.gpu.spec import GpuSite
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.spec import Selection
from cnncc.machines.gpus import Gpu
from cnncc.module.backends import Backend
from cnncc.module.gpu.program import CudaProgram
from cnncc.module.listener import Listener
from cnncc.module.phases import Stage
from cnncc.module.roles import CUDA_KINDS
from cnncc.ops.source import port_type
from cnncc.options import Options

if TYPE_CHECKING:
    from cnncc.module.gpu.build import CudaBuild


def refuse_elements(graph: Graph, machine: Gpu) -> None:
    """CnnccError for a value of halves that the machine has no instruction for."""
    for node in graph.nodes:
        kind = port_type(node) if node.is_input else node.type
        if not machine.multiplies(kind.element.name):
            what = f"target {machine.name} has no instruction that multiplies {kind.element}"
            raise CnnccError(what, node.span, node.stack, "it has those for float16")


class GpuBackend(Backend):
    arena_from = "of device memory, taken at the first run"
    kinds = CUDA_KINDS
    takes = TAKES

    def rules(
        self, stage: Stage, machine: Gpu, options: Options, choices: Choices, like: Mapping[str, Selection]
    ) -> Callable[[Node], Selection]:
        graph, plan = stage.graph, stage.plan
        assert plan is not None
        refuse_elements(graph, machine)

        def chosen(node: Node) -> Selection:
            copies = tuple(plan.copies.get(node.name, ()))
            return select(GpuSite(graph, node, machine, options, plan.placements, copies, choices=choices))

        return chosen

    def program(
        self, source: Graph, stage: Stage, selections: Mapping[str, Selection], machine: Gpu, options: Options
    ) -> CudaProgram:
        assert stage.plan is not None
        order = (stage.order_given, stage.proven)
        return CudaProgram(source, stage.graph, stage.plan, dict(selections), machine, options, *order)

    def build(self, programs: Sequence[CudaProgram], listener: Listener) -> CudaBuild:
        from cnncc.module.gpu.build import build_program  # loads TVM

        (program,) = programs
        return build_program(program, listener)


BACKEND = GpuBackend()
