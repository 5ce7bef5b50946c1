"""What a step has to do: operations, and bytes to be moved if nothing were in a cache."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnncc import ops
from cnncc.kernels.shared.operands import NodeValue, Operand, PackedWeight, RawInput, Workspace
from cnncc.kernels.shared.spec import Call
from cnncc.module.cpu.program import CpuProgram


@dataclass(frozen=True)
class Work:
    """Of the whole batch. `flops` counts a multiply-add as two, and of convolutions and fc only; Winograd its own.
    `direct_flops` is the same for the operation as written, whatever the algorithm."""

    flops: int
    direct_flops: int
    bytes: int


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
    return Work(_winograd_flops(program, call) or direct, direct, reads + writes)


def _winograd_flops(program: CpuProgram, call: Call) -> int:
    """The products of the transformed tiles: a multiply-add for each point, tile and pair of channels."""
    if call.kernel.family != "winograd":
        return 0
    node, config = program.graph[call.node], call.kernel.config
    channels = program.graph[node.inputs[0]].type.shape[1]
    return int(2 * config.points * config.total * channels * node.type.shape[1] * program.images(call))


def _share(program: CpuProgram, siblings: tuple[Call, ...], call: Call) -> float:
    """The part of its node's value that a call computes: phases of a transposed convolution, arms of a concat."""
    writers = [c for c in siblings if not isinstance(c.result, Workspace)]
    return _extent(program, call) / sum(_extent(program, c) for c in writers)


def _extent(program: CpuProgram, call: Call) -> int:
    """A measure of a call's part that can be compared between the calls of one node."""
    if call.kernel.family == "conv_direct":
        config = call.kernel.config
        return math.prod(config.grid) * math.prod(config.kernel)
    return sum(_operand_bytes(program, call, o) for o in call.operands) or 1


def _operand_bytes(program: CpuProgram, call: Call, operand: Operand) -> int:
    match operand:
        case PackedWeight(name):
            return _packed_bytes(program, name)
        case Workspace():
            return 4 * call.workspace_floats * program.images(call)
        case NodeValue(name) | RawInput(name):
            return program.graph[name].type.nbytes


def _packed_bytes(program: CpuProgram, name: str) -> int:
    selections = program.selections.values()
    return next(p.nbytes for s in selections for p in s.weights if p.name == name)
