"""From sums to results of layers on bytes: one conversion, in which each operation is rounded by itself."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from cnncc.base.elements import BYTES, Element
from cnncc.kernels.gpu.lower.builder import (
    Array,
    CudaBuilder,
    divmod_,
    load_bytes,
    load_vector,
    store_bytes,
    store_vector,
)
from cnncc.kernels.gpu.lower.exact import nearest_int, plus, times
from cnncc.kernels.gpu.spec import VECTOR, View
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Expr, i32
from cnncc.kernels.shared.byte_steps import HIGH, LOW, SCALE_RESIDUAL, STEPS, ZERO, ZERO_RESIDUAL

Extras = Sequence[tuple[Array, int]]
"""What is added, at most one: it lies as the result does, with so many numbers from image to image."""


class ByteResults:
    """The operands that say what becomes of sums, and the stores of what becomes of them: four channels at a time."""

    def __init__(self, k: CudaBuilder, view: View, channels: int) -> None:
        """Declares biases, scales and steps; `channels` is how many there are of the first two."""
        self.k, self.view = k, view
        self.biases = k.typed("bias", channels, "int32")
        self.scales = k.operand("scale", channels)
        self.steps = k.typed("steps", STEPS, "int32")

    def step(self, which: int) -> Expr:
        return self.steps.load(which)

    def number(self, which: int) -> Expr:
        """A step that is a float32."""
        return tirx.reinterpret("float32", self.step(which))

    def made(self, sums: Sequence[Expr], four: Expr, added: Sequence[Expr]) -> list[Expr]:
        """Results of the sums of the channels from 4 `four` on, and of bytes that are added: int32 if they are
        bytes."""
        k = self.k
        scales = load_vector(k, self.scales, four, VECTOR)
        biases = k.local(VECTOR, "int32")
        biases.store(0, self.biases.load(four, VECTOR), VECTOR)
        values = []
        for lane, total in enumerate(sums):
            whole = k.let(total + biases.load(lane))
            value = k.let(times(tirx.Cast("float32", whole), scales.load(lane)))
            if added:
                steps = tirx.Cast("float32", added[lane] - self.step(ZERO_RESIDUAL))
                value = k.let(plus(value, k.let(times(steps, self.number(SCALE_RESIDUAL)))))
            values.append(self.bounded(value, self.view.element))
        return values

    def bounded(self, value: Expr, kind: Element) -> Expr:
        """A result within its bounds; of bytes, in steps from the zero point."""
        k = self.k
        if kind not in BYTES:
            return k.let(vmin(vmax(value, self.number(LOW)), self.number(HIGH)))
        steps = k.let(nearest_int(value) + self.step(ZERO))
        return k.let(tirx.min(tirx.max(steps, self.step(LOW)), self.step(HIGH)))

    def store(self, result: Array, extras: Extras, sums: Sequence[Expr], four: Expr, where: tuple[Expr, Expr]) -> None:
        """Stores what becomes of the sums of the channels from 4 `four` on, at an image and a place of its planes."""
        k, view, (image, place) = self.k, self.view, where
        if view.block == 1:
            self.store_each(result, extras, sums, four, where)
            return
        per_block = view.block // VECTOR
        block, part = divmod_(k, four, per_block)
        at = k.let((block * view.pixels + place) * per_block + part)
        places = [(array, image * (stride // VECTOR) + at) for array, stride in extras]
        added = [value for array, there in places for value in load_bytes(k, array, there, VECTOR)]
        values = self.made(sums, four, added)
        to = image * (view.stride // VECTOR) + at
        (store_bytes if view.element in BYTES else store_vector)(k, result, to, values)

    def store_each(
        self, result: Array, extras: Extras, sums: Sequence[Expr], four: Expr, where: tuple[Expr, Expr]
    ) -> None:
        """The same number by number, where channels do not lie side by side."""
        k, view, (image, place) = self.k, self.view, where
        places = [k.let((four * VECTOR + lane) * view.pixels + place) for lane in range(VECTOR)]
        exists = [four * VECTOR + lane < view.channels if view.channels % VECTOR else None for lane in range(VECTOR)]
        added = []
        for array, stride in extras:
            found = k.local(VECTOR, "int32")
            for lane, at in enumerate(places):
                found.store(lane, i32(0))
                with k.unless_certain(exists[lane]):
                    found.store(lane, tirx.Cast("int32", array.raw(image * stride + at)))
            added = [found.load(lane) for lane in range(VECTOR)]
        values = self.made(sums, four, added)
        for lane, value in enumerate(values):
            with k.unless_certain(exists[lane]):
                to = image * view.stride + places[lane]
                result.put(to, tirx.Cast(result.kind.tir, value) if view.element in BYTES else value)
