"""From a graph to a program: the phases of a compile, then a kernel for each node. Needs no TVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from cnncc import ops, passes
from cnncc.ir import Graph, Node
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.spec import Selection
from cnncc.machines import Machine
from cnncc.machines.gpus import Gpu
from cnncc.machines.targets import Target
from cnncc.module import phases
from cnncc.module.backends import backend_of
from cnncc.module.listener import SILENT, Listener
from cnncc.module.phases import Stage
from cnncc.module.program import Program
from cnncc.ops.traits import Kind
from cnncc.options import DEFAULT, Options

if TYPE_CHECKING:
    from cnncc.module.cpu.program import CpuProgram
    from cnncc.module.gpu.program import CudaProgram

NO_CHOICES: Choices = MappingProxyType({})
"""All kernels are the model's picks."""
NO_OTHERS: Mapping[str, Selection] = MappingProxyType({})
"""The network has one size."""


@overload
def lower(
    source: Graph,
    machine: Target,
    options: Options = ...,
    choices: Choices = ...,
    listener: Listener = ...,
    like: Mapping[str, Selection] = ...,
) -> CpuProgram: ...
@overload
def lower(
    source: Graph,
    machine: Gpu,
    options: Options = ...,
    choices: Choices = ...,
    listener: Listener = ...,
    like: Mapping[str, Selection] = ...,
) -> CudaProgram: ...
@overload
def lower(
    source: Graph,
    machine: Machine,
    options: Options = ...,
    choices: Choices = ...,
    listener: Listener = ...,
    like: Mapping[str, Selection] = ...,
) -> Program[Machine]: ...
def lower(
    source: Graph,
    machine: Any,
    options: Options = DEFAULT,
    choices: Choices = NO_CHOICES,
    listener: Listener = SILENT,
    like: Mapping[str, Selection] = NO_OTHERS,
) -> Any:
    """Runs all phases for a machine and selects the kernels; of `options.targets` nothing is asked.

    `choices` take the place of the model's picks. `like` are the kernels of the same network for another size of its
    inputs: those that read their packed weights are preferred. CnnccError for options that the machine cannot do, and
    for an op that it has no kernel for.
    """
    machine.check(options)
    backend = backend_of(machine)
    batched = passes.with_batch(source, options.batch)
    stage = phases.run(batched, machine, options, listener)
    select = backend.rules(stage, machine, options, choices, like)
    selections = {node.name: select(node) for node in with_work(stage)}
    program = backend.program(batched, stage, selections, machine, options)
    return program if options.keep_all else program.settled()


def with_work(stage: Stage) -> Iterator[Node]:
    """The nodes that something has to be computed for: not what the caller or the module already holds, no views, no
    concat whose arms are all written where they belong."""
    assert stage.plan is not None, "the last phase plans the arena"
    for node in stage.graph.nodes:
        placement = stage.plan.placements[node.name]
        if placement.computed and (ops.traits(node).kind is not Kind.CONCAT or stage.plan.copies.get(node.name)):
            yield node
