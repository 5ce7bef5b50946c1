"""Kernels with a mistake put in are caught: what holds for the tests of kernels cannot hold by chance."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cuda.checked import Mistake, NodeRun, library
from cuda.test_kernels import TENSOR_TOLERANCE, program

from cnncc.ops import reference

BODIES = {
    "conv": "input 8x9x7\nlrn; conv 3x3 20",
    "first": "input 3x15x13\nconv 5x5 33 /2",
    "split": "input 300x5x5\nconv 1x1 40 relu",
    "depthwise": "input 12x9x9\ndwconv 3x3 /2",
    "pool": "input 8x9x9\nmaxpool 3x3 /2 pad 1",
    "fc": "input 300\nfc 130",
    "softmax": "input 100\nsoftmax",
    "gap": "input 8x9x9\ngap",
    "matmul": "input a 2x40x20\ninput b 2x20x37\nmatmul { from a | from b }",
    "turn": "input 3x33x40\npermute 3x33x40 axes 0,2,1 to 3x40x33",
    "layernorm": "input 9x5x7\nrelu; layernorm",
    "groups": "input 8x9x7\nrelu; group_norm 2",
    "grn": "input 9x9x7\nrelu; grn",
    "rows": "input 2x3x70\nsoftmax_rows",
    "ranks": "input 40x2x3\ntopk 3",
    "unpool": "input 3x8x9\nsave a; argmaxpool 2x2 /2; save p; from a; maxpool 2x2 /2; unpool { | from p } 8x9",
    "resize": "input 5x4x6\nrelu; resize 7x5 linear",
    "tensor": "input 24x9x7\nlrn; conv 3x3 20",
    "bfloat": "input 24x9x7\nlrn; conv 3x3 20",
    "tf32": "input 24x9x7\nlrn; conv 3x3 20",
    "three": "input 24x9x7\nlrn; conv 3x3 20",
    "bytes": "input 24x9x7\nquantize uint8 0.02 99; qconv 3x3 20",
    "words": "input 100\nquantize uint8 0.02 99; qfc 20",
    "sum": "input 24x9x7\nquantize uint8 0.02 99; save a; qadd { | from a } to uint8 scale 0.05 zero 70",
    "mean": "input 24x9x7\nquantize uint8 0.02 99; qgap to uint8 scale 0.003 zero 70",
    "convert": "input 9x9x7 mean 0.3 std 2\nquantize uint8 0.02 99",
}
DTYPES = {"tensor": "float16", "bfloat": "bfloat16", "tf32": "tf32", "three": "tf32x3"}
"""Of those that use tensor cores."""


def caught(body: str, mutate: object, kept: Path) -> str:
    """What finds the mistake; empty if nothing does."""
    dtype = DTYPES.get(body, "float32")
    chosen = program(BODIES[body], 2, dtype=dtype)
    node = [n for n in chosen.graph.nodes if n.name in chosen.selections and n.op not in ("relayout", "cast")][-1]
    own = chosen.graph.inputs[0]
    pixels = np.random.default_rng(2).standard_normal(own.type.shape).astype(np.float32)
    prepared = (reference.evaluate(chosen.graph, own, (pixels,), pixels.dtype),)
    run = NodeRun(chosen, node, arrays=prepared if body == "convert" else None, raw={own.name: pixels})
    text = run.source()
    changed = mutate(text)  # type: ignore[operator]
    assert changed != text, "the mutation does not apply"
    lib = library(changed, kept)
    for order in (0, 1, 3):
        try:
            got = run.run(lib, order)
        except Mistake as mistake:
            return str(mistake)
        if not run.error(got) <= TENSOR_TOLERANCE[dtype]:
            return "wrong result"
    return ""


def nth(pattern: str, replacement: str, n: int) -> object:
    """A mutation: the nth match of a pattern replaced."""

    def mutate(text: str) -> str:
        found = list(re.finditer(pattern, text))
        assert len(found) > n, (pattern, len(found))
        match = found[n]
        return text[: match.start()] + match.expand(replacement) + text[match.end() :]

    return mutate


BARRIER = r"__syncthreads\(\);"


DROPPED = {
    "conv": (0, 1),
    "split": (0, 1, 2),
    "tensor": (0,),
    "softmax": (0, 1, 2),
    "fc": (0,),
    "gap": (2,),
    "matmul": (0, 1),
    "turn": (0,),
    "layernorm": (0, 1, 3),
    "groups": (0, 1, 5),
    "grn": (0, 2),
    "rows": (0, 1, 3),
    "unpool": (0,),
}


@pytest.mark.parametrize(("body", "n"), [(body, n) for body, all_n in DROPPED.items() for n in all_n])
def test_a_dropped_barrier(body: str, n: int, kept: Path) -> None:
    found = caught(body, nth(BARRIER, "", n), kept)
    assert "race" in found or "that nobody wrote" in found or "on its way" in found


def test_a_dropped_wait_for_copies(kept: Path) -> None:
    found = caught("tensor", nth(r"cnncc_wait_2\(\);", "", 0), kept)
    assert "reads shared memory that a copy is on its way to" in found


@pytest.mark.parametrize("body", ["conv", "first"])
def test_a_barrier_for_a_part_of_the_block(body: str, kept: Path) -> None:
    found = caught(body, nth(BARRIER, "if (threadIdx.x < 40) __syncthreads();", 1), kept)
    assert "only a part of the block" in found or "different barriers" in found or "race" in found


@pytest.mark.parametrize(
    ("body", "pattern", "replacement", "n"),
    [
        ("conv", r" && \(\w+ >= 0\)", "", 0),  # a predicate less
        ("conv", r" && \(\w+ < 9\)", "", 1),
        ("first", r" && \(\w+ < 13\)", "", 0),
        ("depthwise", r"\(\w+ >= 0\)", "true", 1),
        ("pool", r"\(\w+ >= 0\)", "true", 1),
        ("fc", r"if \(\(?\(?\(?int\)threadIdx\.x\)? < (\d+)\)", r"if (((int)threadIdx.x) < \1 - 1)", 0),
        ("conv", r"(r_\d+_ptr\[[^]]*\]) \* (r_\d+_ptr\[[^]]*\])", r"\1 + \2", 0),  # another operation
        ("conv", r"% (\d+)\)", r"% \1 / 2)", 0),  # a wrong index
        ("conv", r"\+ 1\) \* ", "+ 2) * ", 0),  # the step after next
        ("first", r"& 1", "& 0", 0),  # one buffer instead of two
        ("conv", r"& 1", "& 0", 0),
        ("split", r"blockIdx\.z", "blockIdx.x", 0),
        ("split", r"__threadfence\(\);", "", 0),  # before the count, and after it
        ("split", r"__threadfence\(\);", "", 1),
        ("split", r"\(uint\)(\d+)\);", r"(uint)\1 + 1);", 0),  # the counter goes on
        ("split", r">= \(uint\)(\d+)", r">= (uint)(\1 - 1)", 0),  # the last but one
        ("split", r"if \(__syncthreads_or\((.*)\) > 0\)", r"if (\1 > 0)", 0),  # a part of the block
        ("split", r"if \(\(\(int\)threadIdx\.x\) < 1\)", "if (((int)threadIdx.x) < 2)", 0),  # counted twice
        ("split", r"(\w+_ptr\[\w+\]) \+ (r_\d+_ptr\[\(\(\w+ \* \d+\) \+ \w+\)\])\)", r"\2)", 0),  # the last part alone
        ("split", r"cnncc_follow\(\);", "", 0),
        ("conv", r"cnncc_follow\(\);", "", 0),
        ("depthwise", r"\+ \(\w+ \* \w+\)", "", 0),
        ("tensor", r"cnncc_wait_2\(\);", "", 0),  # for copies
        ("tensor", r"cnncc_commit\(\);", "", 0),
        ("tensor", r"\+ 3\) % 4", "+ 4) % 4", 0),  # into the stage that is multiplied
        ("tensor", r"\+ 3\) % 4", "+ 2) % 4", 0),  # into one that is on its way
        ("tensor", r"(\w+) \^ \w+\) \* 4", r"\1) * 4", 3),  # the place in a line
        ("tensor", r"\? 16 : 0", "? 16 : 8", 3),
        ("tensor", r"(cnncc_copy\(shared_\w+, \w+)", r"\1 + 2", 3),  # not a multiple of 16 bytes
        ("tensor", r"(cnncc_copy\(.*) \* 8\)", r"\1 * 8 + 4)", 3),
        ("tensor", r"& 1\) > 0", "| 1) > 0", 3),  # what is outside of the image
        ("tensor", r"(cnncc_fragments\(.*) \+ 512\)", r"\1)", 0),
        ("tensor", r"(cnncc_fragments\(.*) \+ 512\)", r"\1 + 514)", 0),
        ("tensor", r"(cnncc_mma\(\(&\(r_\d+_ptr\[)0", r"\g<1>4", 0),  # the sums of another piece
        ("tensor", r" && \(\(\w+ \+ 2\) < 7\)", "", 0),
        ("tensor", r"cnncc_halves\((.*), (.*)\)", r"cnncc_halves(\2, \1)", 1),
        ("bfloat", r"cnncc_bfloats\((.*), (.*)\)", r"cnncc_bfloats(\2, \1)", 1),
        ("bfloat", r"(cnncc_mma_bfloat\(\(&\(r_\d+_ptr\[)0", r"\g<1>4", 0),
        ("tf32", r"(cnncc_mma_tf32\(\(&\(r_\d+_ptr\[)0", r"\g<1>4", 0),
        ("tf32", r"& 1", "& 0", 0),
        ("three", r"cnncc_mma_tf32\(.*\);", "", 0),  # without the products of a small number
        ("three", r"cnncc_mma_tf32\(.*\);", "", 8),
        ("three", r"- \(\*\(float \*\)\(&\(v__\w+\)\)\)", "", 0),
        ("bytes", r"cnncc_wait_2\(\);", "", 0),
        ("bytes", r"(cnncc_mma_unsigned\(\(&\(r_\d+_ptr\[)0", r"\g<1>4", 0),
        ("bytes", r"cnncc_mma_unsigned\(", "cnncc_mma_signed(", 0),
        ("bytes", r"(cnncc_copy_or_fill\(.*), around_ptr\)", r"\1, image_ptr)", 0),
        ("bytes", r"bias_ptr", "steps_ptr", 1),
        ("words", r"cnncc_dot_unsigned\(r", "cnncc_dot_signed(r", 0),
        ("words", r"& 1", "& 0", 0),
        ("words", r"<< \(uint\)8", "<< (uint)9", 0),
        ("sum", "__float2int_rn", "__float2int_rz", 0),
        ("sum", r"steps_ptr\[4\]", "steps_ptr[5]", 0),
        ("sum", r"min\(", "max(", 0),
        ("mean", r"\* 63\)", "* 62)", 0),
        ("mean", r"< 63", "< 62", 0),
        ("convert", r"__fdiv_rn", "__fmul_rn", 0),
        ("convert", r"shift_ptr", "scale_ptr", 1),
        ("softmax", r"(\w+) < 100", r"\1 < 99", 1),
        ("matmul", r"& 1", "& 0", 0),
        ("matmul", r" && \(\w+ < 20\)", "", 3),
        ("matmul", r"if \(\w+ < 37\)", "if (true)", 0),
        ("turn", r"\* 33\)", "* 32)", 0),
        ("turn", r"\(\w+ < 40\) && ", "", 5),
        ("layernorm", r"\(\w+ < 2\) \? ", "true ? ", 3),  # what fills up the last vector counts
        ("layernorm", r"0x1\.c71c\w*p-4f", "0.1f", 0),
        ("groups", r"\* 126\)", "* 125)", 0),
        ("grn", r"\* 63\)", "* 62)", 0),
        ("rows", r"\* 70\)", "* 69)", 0),
        ("ranks", r"\((\w+) < (\w+)\) && !", r"(\1 <= \2) && !", 0),
        ("unpool", r"\* 72\)", "* 71)", 0),
        ("resize", r" / 35\)", " / 34)", 0),
    ],
)
def test_a_mistake(body: str, pattern: str, replacement: str, n: int, kept: Path) -> None:
    assert caught(body, nth(pattern, replacement, n), kept)


@pytest.mark.parametrize("body", BODIES)
def test_without_a_mistake_nothing_is_caught(body: str, kept: Path) -> None:
    assert caught(body, lambda text: text + "// nothing\n", kept) == ""
