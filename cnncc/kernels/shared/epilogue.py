"""Epilogues over the vectors of a register tile: a cheap one is written out for each, a costly one stands in a loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cnncc.ir.rules import added_inputs
from cnncc.kernels.shared.builder import Buffer, KernelBuilder, splat
from cnncc.kernels.shared.spec import Epilogue
from cnncc.kernels.shared.vectors import apply_epilogue

CHEAP_STATEMENTS = 12
"""Statements of an epilogue on one vector up to which it is written out: a relu6 and an add take 9, a sigmoid 17."""


def costly(epilogue: Epilogue) -> bool:
    """Whether an epilogue would make the code of a tile long, if it stood there once for each vector."""
    return statements(epilogue) > CHEAP_STATEMENTS


def statements(epilogue: Epilogue) -> int:
    """Statements that an epilogue takes on one vector: it is written once, to nowhere."""
    k = KernelBuilder()
    value = k.registers(1).load(0)
    before = k.statements
    apply_epilogue(k, value, epilogue, [splat(0.0, 1)] * added_inputs(epilogue), 1)
    return k.statements - before


def each(k: KernelBuilder, extents: tuple[int, ...], looped: bool, then: Callable[..., None]) -> None:
    """`then` of every index of an array with these extents: in a loop nest, or written out."""
    if not extents:
        then()
    elif looped:
        with k.loop(extents[0]) as i:
            each(k, extents[1:], looped, partial(then, i))
    else:
        for i in range(extents[0]):
            each(k, extents[1:], looped, partial(then, i))


def readable(k: KernelBuilder, acc: Buffer, floats: int, lanes: int, looped: bool) -> Buffer:
    """The sums of a tile where an epilogue can read them. A loop counts through memory: had it to count through the
    sums themselves, these could not stay in registers."""
    if not looped:
        return acc
    kept = k.registers(floats)
    for at in range(0, floats, lanes):
        kept.store(at, acc.load(at, lanes), lanes)
    return kept
