"""What a step has to do: operations, and bytes to be moved if nothing were in a cache."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc import ops
from cnncc.base.elements import FLOAT32
from cnncc.kernels.cpu.algorithms import find
from cnncc.kernels.cpu.micro import Micro
from cnncc.kernels.shared.operands import NodeValue, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call
from cnncc.module.cpu.program import CpuProgram
from cnncc.ops.source import port_type


@dataclass(frozen=True)
class Work:
    """Of the whole batch. `flops` counts a multiply-add as two, and of convolutions and fc only, as the
    algorithm does them.
    `direct_flops` is the same for the operation as written, whatever the algorithm."""

    flops: int
    direct_flops: int
    bytes: int
    element: str = FLOAT32.name
    """What is multiplied."""


def works(program: CpuProgram) -> list[Work]:
    """The work of every call of a program, in order."""
    return [_work(program, s.calls, c) for s in program.selections.values() for c in s.calls]


def _work(program: CpuProgram, siblings: tuple[Call, ...], call: Call) -> Work:
    reads = sum(_operand_bytes(program, call, o) for o in call.operands)
    if isinstance(call.result, Workspace):
        return Work(0, 0, reads + _operand_bytes(program, call, call.result))
    share = _share(program, siblings, call)
    direct = round(2 * ops.macs(program.graph, program.graph[call.node]) * share)
    writes = round(_operand_bytes(program, call, call.result) * share)
    return Work(_own_flops(program, call, direct), direct, reads + writes, element_of(call))


def element_of(call: Call) -> str:
    """The type that a call multiplies: that of its micro-kernel's unit. Other kernels compute in float32."""
    micro = getattr(call.kernel.config, "micro", None)
    return micro.unit.element if isinstance(micro, Micro) else FLOAT32.name


def _own_flops(program: CpuProgram, call: Call, direct: int) -> int:
    """The operations of the algorithm that was chosen; those of the op as written where there was no choice."""
    choice = program.selections[call.node].choice
    if choice is None:
        return direct
    return find(choice.algorithm).work(program.graph, program.graph[call.node], call)


def _share(program: CpuProgram, siblings: tuple[Call, ...], call: Call) -> float:
    """The part of its node's value that a call computes: phases of a transposed convolution, arms of a concat."""
    writers = [c for c in siblings if not isinstance(c.result, Workspace)]
    return _extent(program, call) / sum(_extent(program, c) for c in writers)


def _extent(program: CpuProgram, call: Call) -> int:
    """A measure of a call's part that can be compared between the calls of one node."""
    if call.extent is not None:
        return call.extent
    return sum(_operand_bytes(program, call, o) for o in call.operands) or 1


def _operand_bytes(program: CpuProgram, call: Call, operand: Operand) -> int:
    match operand:
        case PackedWeight(name):
            return _packed_bytes(program, name)
        case Workspace():
            return call.workspace_bytes * program.images(call)
        case RawInput(name):
            return port_type(program.graph[name]).nbytes
        case NodeValue(name):
            return program.graph[name].type.nbytes


def _packed_bytes(program: CpuProgram, name: str) -> int:
    selections = program.selections.values()
    return next(p.nbytes for s in selections for p in s.weights if p.name == name)
