"""The statement builder: what each block becomes, read off the text of the function."""

from __future__ import annotations

import pytest

from cnncc.base.elements import BFLOAT16, FLOAT16, FLOAT32, INT8, INT32, UINT8
from cnncc.kernels.shared.builder import KernelBuilder, splat


def lines(k: KernelBuilder) -> list[str]:
    """The statements of the kernel, stripped, without the declarations."""
    body = k.finish("f").script().splitlines()
    first = next(i for i, line in enumerate(body) if "out = T.decl_buffer" in line)
    return [line.strip() for line in body[first + 1 :]]


@pytest.mark.parametrize(
    ("extent", "wanted"),
    [
        (0, ["out[9] = T.float32(2.0)"]),
        (1, ["out[0] = T.float32(1.0)", "out[9] = T.float32(2.0)"]),
        (2, ["for i_1 in range(2):", "out[i_1] = T.float32(1.0)", "out[9] = T.float32(2.0)"]),
    ],
)
def test_loop(extent: int, wanted: list[str]) -> None:
    k = KernelBuilder()
    out = k.operand("out", 10)
    with k.loop(extent) as i:
        out.store(i, splat(1.0, 1))
    out.store(9, splat(2.0, 1))
    assert lines(k) == wanted


def test_loop_of_no_step_leaves_no_names_behind() -> None:
    k = KernelBuilder()
    out = k.operand("out", 10)
    with k.loop(0):
        k.let(out.load(0))
    out.store(1, k.let(out.load(0)))
    assert lines(k) == ["t_1: T.let[T.float32] = out[0]", "out[1] = t_1"]


def test_when_and_otherwise() -> None:
    k = KernelBuilder()
    out = k.operand("out", 10)
    with k.loop(5) as i:
        with k.when(i < 3):
            out.store(i, splat(1.0, 1))
        with k.otherwise():
            out.store(i, splat(2.0, 1))
    wanted = ["for i_1 in range(5):", "if i_1 < 3:", "out[i_1] = T.float32(1.0)", "else:", "out[i_1] = T.float32(2.0)"]
    assert lines(k) == wanted


def test_otherwise_needs_a_when() -> None:
    k = KernelBuilder()
    out = k.operand("out", 10)
    out.store(0, splat(1.0, 1))
    with pytest.raises(AssertionError, match="follows a `when`"), k.otherwise():
        pass


def test_data_is_named_through_memory_and_indices_are_not() -> None:
    """TVM unfolds names of indices; it would unfold those of data too, each once for every use."""
    k = KernelBuilder()
    out = k.operand("out", 10)
    with k.loop(5) as i:
        at = k.let(i + 1)
        value = k.let(out.load(at))
        square = k.let(value * value)
        out.store(at, square + square)
    wanted = ["for i_1 in range(5):", "t_2: T.let[T.int32] = i_1 + 1", "t_3: T.let[T.float32] = out[t_2]"]
    wanted += ["kept_4: T.float32 = t_3 * t_3", "out[t_2] = kept_4 + kept_4"]  # so arrays of one element are printed
    assert lines(k) == wanted


def test_scratch_is_counted_in_bytes() -> None:
    """Each part begins at a multiple of 64 of them."""
    k = KernelBuilder()
    k.operand("out", 4)
    sizes = [k.scratch(70, UINT8), k.scratch(16), k.scratch(1, INT32), k.scratch(33, BFLOAT16)]
    assert [buffer.kind for buffer in sizes] == [UINT8, FLOAT32, INT32, BFLOAT16]
    assert k.scratch_bytes == 128 + 64 + 64 + 128
    text = k.finish("f").script()
    assert [f"handle_add_byte_offset(scratch, {at})" in text for at in (0, 128, 192, 256)] == [True] * 4


def test_integers_are_stored_as_they_are_and_halves_converted() -> None:
    k = KernelBuilder()
    source, out = k.operand("source", 10, INT8), k.operand("out", 10, INT8)
    halves = k.operand("halves", 10, FLOAT16)
    with k.loop(2) as i:
        out.store(i, source.load(i))
        halves.store(i, splat(1.0, 1))
        halves.store(i, halves.load(i))
    text = k.finish("f").script()
    assert "out[i_1] = source[i_1]" in text
    assert 'halves[i_1] = T.Cast("float16", T.Cast("float32", halves[i_1]))' in text
