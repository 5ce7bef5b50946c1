"""Kernels between element types and moves of integers: every byte is that of the reference."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from kernels.compare import RUNNABLE, network

from cnncc import api, lang, passes, weights
from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.kernels.cpu.rules import TAKES
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options

F32 = np.float32
MOVES = {
    "maxpool": "maxpool 3x3 /2 pad 1",
    "a large maxpool": "maxpool 5x5 pad 2",
    "a maxpool with ceil": "maxpool 2x2 /2 ceil",
    "pad": "pad 1,2 value 3",
    "edge": "pad 2 edge",
    "reflect": "pad 2 reflect",
    "wrap": "pad 2 wrap",
    "crop": "crop 1,2 5x4",
    "slice": "slice 3:19",
    "slice in blocks": "slice 0:16",
    "concat": "concat { pad 0,0,0,1; crop 0,0 9x13 | }",
    "ragged concat": "concat { slice 0:5 | slice 2:19 | }",
    "upsample": "upsample 2x3",
    "resize": "resize 5x20",
    "shuffle": "shuffle 4",
    "depth_to_space": "depth_to_space 2",
    "channels picked": "concat { shuffle 4; slice 0:9 | }",
    "strided": "strided_slice 10x4x4 at 1,0,2 step 1,2,3",
    "take": "take 3,0,7 axis 2",
    "take channels": "take 19,3,3",
    "flatten": "flatten",
    "reshape": "reshape 9x20x13",
    "identity": "identity; maxpool 2x2",
    "expand": "crop 0,0 9x1; expand 20x9x6",
}


def run(graph: Graph, target: str, batch: int, threads: int, keep: bool) -> tuple[list, dict]:
    """Inputs, and each value of a compiled network that is kept."""
    options = Options((target,), batch=batch, threads=threads, keep_all=keep)
    build = api.build(graph, options)
    source = passes.with_batch(graph, batch)
    inputs = list(random_inputs(source, 5).values())
    if keep:
        return inputs, build.trace(*inputs)
    results = build.model()(*inputs)
    return inputs, dict(zip(source.outputs, results if isinstance(results, tuple) else (results,), strict=True))


def same(graph: Graph, target: str = "host", batch: int = 2, threads: int = 2, keep: bool = True) -> None:
    """Integers, and what is computed of them alone, are equal to the bit."""
    inputs, found = run(graph, target, batch, threads, keep)
    source = passes.with_batch(graph, batch)
    wanted = reference.run(source, inputs, F32, keep_all=True, follow=found)
    exact = [n for n in graph.nodes if n.name in found and reference.has_other_types(graph, n)]
    assert exact
    for node in exact:
        assert found[node.name].dtype == (node.type.element.dtype if node.type.element.whole else F32)
        assert found[node.name].tobytes() == wanted[node.name].tobytes(), node.name


def arms(lines: Iterable[str], dims: str = "20x9x13") -> Graph:
    """A network of one input, and from it an output for each line."""
    body = "".join(f"from x\n{line}\noutput\n" for line in lines)
    return weights.bind(lang.parse(f"net t\ninput x {dims}\n{body}"), seed=3)


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("dims", ["20x9x13", "3x5x7", "37"])
def test_there_and_back(target, dims) -> None:
    """On plain images, in blocks (behind a relu), on vectors."""
    steps = ("uint8 0.02 128", "int8 0.031 -5", "uint8 0.007", "int8 1e-30")
    first = ("", "relu; ") if "x" in dims else ("",)
    same(arms((f"{relu}quantize {s}; dequantize" for s in steps for relu in first), dims), target=target)


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("first", ELEMENTS)
def test_casts(target, first) -> None:
    known = [e for e in ELEMENTS if e != "float16" or targets.load(target).float16]
    lines = (f"affine scale 700 shift 3; cast {first}; cast {second}; cast float32" for second in known)
    if first in known:
        same(arms(lines, "5x7x9"), target=target)


@pytest.mark.parametrize(
    "body", ["cast int8", "cast uint8", "cast int32", "quantize uint8 0.5 3", "quantize int8 2e37"]
)
def test_numbers_that_no_type_has(body) -> None:
    values = [np.nan, np.inf, -np.inf, 3e9, -3e9, 2147483520, 2147483648, -2147483648, 0.5, 1.5, 2.5]
    values += [-0.5, 1e-45, -1e38, 127.4999, 127.5, 254.5, 255.5, -128.5, -0.0]
    x = np.array([values], F32)
    graph = network(body, str(len(values)))
    (wanted,) = reference.run(graph, [x], dtype=F32).values()
    assert api.build(graph).model()(x).tobytes() == wanted.tobytes()


def test_every_half_survives() -> None:
    """All bits of bfloat16, read from float32 and written again, NaN but for its quiet bit."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(1, -1)
    graph = network("cast bfloat16", str(1 << 16))
    values = (bits.astype(np.uint32) << 16).view(F32)
    wanted = np.where(np.isnan(values), bits | 0x40, bits)
    assert (api.build(graph).model()(values) == wanted).all()


TYPES = {
    "quantize uint8 0.02 7": "dequantize",
    "quantize int8 0.02 7": "dequantize",
    "affine scale 30; cast int32": "cast float32",
    "cast bfloat16": "cast float32",
    "cast float16": "cast float32",
}
"""How a value becomes integers of each type, and float32 again."""


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("move", MOVES)
def test_moves(target, move) -> None:
    known = {t: back for t, back in TYPES.items() if "float16" not in t[:12] or targets.load(target).float16}
    same(arms(f"{there}; {MOVES[move]}; {back}" for there, back in known.items()), target=target)


@pytest.mark.parametrize("move", MOVES)
def test_moves_without_kept_values(move) -> None:
    """With the real plan, in which values share memory; the integers are the output."""
    graph = network(f"quantize uint8 0.02 9\n{MOVES[move]}", "20x9x13")
    same(graph, keep=False)
    same(graph, keep=False, batch=1, threads=1)


def test_views_and_arms_are_placed_by_bytes() -> None:
    """A slice of whole blocks and the arms of a concat lie inside the memory of others."""
    arms = "maxpool 2x2 | slice 16:32; maxpool 2x2 | slice 0:16; maxpool 2x2"
    body = f"quantize int8 0.02\nq: maxpool 1x1\nconcat {{ {arms} }}"
    graph = network(f"{body}\ndequantize", "32x8x8")
    same(graph, keep=False, batch=3)
    program = lower(graph, targets.load("x86-64-v3"))
    concat = next(n for n in program.graph.nodes if n.op == "concat")
    inner = sorted(program.plan.placements[name].inner for name in concat.inputs)
    assert inner == [0, 32 * 49, 48 * 49]
    assert program.graph["q"].type.nbytes == 32 * 64
    (view,) = (n for n in program.graph.nodes if n.op == "slice" and n.attrs["start"] == 16)
    assert program.plan.placements[view.name].inner == 16 * 64


def test_memory_is_a_quarter() -> None:
    pools = "p: maxpool 2x2 pad 1\nmaxpool 2x2"
    bodies = (f"relu\n{pools}\nrelu", f"relu\nquantize uint8 1\n{pools}\ndequantize")
    wide, narrow = (lower(network(body, "16x40x40"), targets.load("x86-64-v3")).graph["p"].type for body in bodies)
    assert wide.nbytes == 4 * narrow.nbytes == 4 * 16 * 41 * 41


def test_what_has_no_kernel_says_so(monkeypatch) -> None:
    monkeypatch.setattr("cnncc.kernels.cpu.rules.TAKES", {op: TAKES[op] for op in ("quantize", "relayout")})
    with pytest.raises(CnnccError, match="maxpool has no kernel for int8 yet"):
        lower(network("quantize int8 1\nmaxpool 2x2", "3x4x4"), targets.load("x86-64-v3"))


def test_a_target_that_cannot_convert_halves_says_so() -> None:
    target = next(t for t in map(targets.load, targets.names()) if not t.float16)
    for text in ("input 3x4x4\ncast float16\ncast float32", "input 3x4x4 float16\nrelu"):
        graph = weights.bind(lang.parse(f"net t\n{text}\n"))
        with pytest.raises(CnnccError, match="no instruction that converts float16"):
            lower(graph, target)


PIXELS = "mean (0.485, 0.456, 0.406) std (0.229, 0.224, 0.225)"
FRAMES = "mean (123.7, 116.3, 103.5) std (58.4, 57.1, 57.4)"


@pytest.mark.parametrize("target", RUNNABLE)
@pytest.mark.parametrize("dims", ["3x37x31", "3x16x16"])
@pytest.mark.parametrize("given", ["", "uint8", PIXELS, f"uint8 {FRAMES}", "mean (3, 4, 5)"])
def test_an_input_becomes_bytes_in_one_step(target, dims, given) -> None:
    """Each byte is that of the definition, in float64 too: the sum and the product are rounded apart everywhere."""
    scale = 1.87 if given == "uint8" else 0.0187
    graph = weights.bind(lang.parse(f"net t\ninput x {dims} {given}\nquantize uint8 {scale} 114\noutput\n"))
    program = lower(graph, targets.load(target), Options((target,)))
    assert [call.node for call in program.calls] == [graph.outputs[0]]
    inputs, found = run(graph, target, batch=3, threads=2, keep=False)
    (wanted,) = reference.run(passes.with_batch(graph, 3), inputs).values()
    assert np.unique(wanted).size > 20
    assert found[graph.outputs[0]].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("other", ["output x", "from x\nrelu\noutput", "from x\nquantize int8 0.5\noutput"])
def test_an_input_that_somebody_else_reads_has_a_value(other) -> None:
    graph = weights.bind(lang.parse(f"net t\ninput x 3x8x9 {PIXELS}\nquantize uint8 0.02 114\noutput\n{other}\n"))
    assert lower(graph, targets.host()).calls[0].node == "x"
    same(graph)
