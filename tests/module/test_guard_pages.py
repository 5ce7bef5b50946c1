"""No kernel touches a byte outside its arena, weights, inputs and outputs: a page that faults is on either side.

Runs in a child process, since a stray access is a segmentation fault.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
from itertools import product

import numpy as np
import pytest

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.kernels.cpu.conv_choice import DirectChoice
from cnncc.kernels.cpu.conv_direct import ConvConfig
from cnncc.kernels.shared.choices import Given, conv_key
from cnncc.machines import targets
from cnncc.module.cpu.build import Build, build_program
from cnncc.module.lower import lower
from cnncc.options import Options

PAGE = mmap.PAGESIZE
BODIES = {
    "convolutions": "conv 7x7 20 /2 bn relu; dwconv 3x3 relu; conv 1x1 33; upconv 3x3 16 /2 outpad 1; conv 3x3 16",
    "pools": "relu; lrn; maxpool 3x3 /2 ceil; avgpool 3x3 /1 pad 1; upsample 2; pad 1,0,2,1 reflect; gap; fc 10",
    "merges": "conv 3x3 24; save x; conv 3x3 24; save y; add { from x | from y }; concat { | from x }; fc 7",
    "winograd": "conv 3x3 64 relu; conv 3x3 64 relu; add { | conv 3x3 64 }; relu; conv 1x1 5",
    "groups": "conv 1x1 40; conv 3x3 40 groups 5; conv 3x3 36 groups 4 /2; conv 3x3 18 groups 9; conv 1x3 6 groups 6",
    "groups of the input": "conv 3x3 6 groups 3; conv 5x5 30 groups 2; conv 1x1 20 groups 10; conv 3x3 72 groups 2",
    "padded": "conv 1x1 40; conv 3x3 40 /2 relu; conv 3x3 33 dil 2; conv 5x5 16 groups 1 pad 2,0,1,3",
}

U8, S8 = "to uint8 scale 0.05 zero 30", "to int8 scale 0.05 zero -3"
BODIES |= {
    "bytes": f"quantize uint8 0.02 117; qconv 7x7 20 /2 {U8}; qconv 3x3 20 groups 20 {S8} relu; save x;"
    f" qconv 1x1 33 {U8}; qconv {{ | from x }} 3x3 20 {U8}; maxpool 3x3 /2;"
    f" qupconv 3x3 18 /2 outpad 1 {S8}; qgap {U8}; qfc 10",
    "depthwise bytes": f"quantize uint8 0.02 117; qconv 1x1 40 {U8}; qconv 5x5 40 /2 groups 40 {S8};"
    f" qconv 3x3 40 groups 40 {U8}; qconv 3x3 40 /2 groups 40 dil 2 {U8}; qconv 7x1 40 groups 40; conv 1x1 3",
    "tables of bytes": f"quantize int8 0.02 -3; dequantize; silu; quantize uint8 0.01 20; qconv 1x1 19 {U8}; save x;"
    f" qmul {{ | qgap; sigmoid }} {S8}; qadd {{ | from x }} {U8}; dequantize",
}


def guarded(size: int, at_end: bool) -> np.ndarray:
    """`size` bytes that end just before a page without access, or begin just after one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    body = -(-size // PAGE) * PAGE
    start = libc.mmap(None, body + 2 * PAGE, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    assert libc.mprotect(start, PAGE, 0) == 0
    assert libc.mprotect(start + PAGE + body, PAGE, 0) == 0
    first = start + PAGE + (body - size if at_end else 0)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(first))


def run_guarded(build: Build, images: int, at_end: bool) -> None:
    """A run of so many images in memory for just as many."""
    packed = build.weights()
    held = guarded(max(packed.nbytes, 4), at_end)
    held[: packed.size] = packed
    model = build.model(held)
    arena = guarded(model.arena_bytes_for(images), at_end)
    inputs, outputs = (
        [guarded(4 * images * int(np.prod(p.shape[1:])), at_end).view(np.float32) for p in ports]
        for ports in (model.inputs, model.outputs)
    )
    for array in inputs:
        array[:] = np.random.default_rng(0).standard_normal(array.size)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*inputs, *outputs, arena)]
    entry, size = model._entry, ctypes.c_size_t(arena.nbytes)
    assert entry.run(ctypes.c_void_p(entry.model), images, *pointers, size, ctypes.byref(model._threads)) == 0
    assert all(np.isfinite(o).all() for o in outputs)


def padded(text: str, batch: int) -> Build:
    """The network with every direct convolution that gathers its rows on an image copied between zeros instead."""
    graph, host = weights.bind(lang.parse(text)), targets.host()
    plain = lower(graph, host, Options(batch=batch, threads=2, max_error=0))
    choices = {}
    for node in plain.graph.nodes:
        config = plain.selections[node.name].calls[-1].kernel.config if node.op == "conv" else None
        if isinstance(config, ConvConfig) and (config.gathers or config.padded) and config.geometry.in_block > 1:
            choice = DirectChoice(config.tile, config.rows, config.sections, padded=True)
            choices[conv_key(node, plain.graph[node.inputs[0]].type)] = Given(choice, "a test")
    program = lower(graph, host, Options(batch=batch, threads=2, max_error=0), choices)
    assert [call.kernel.family for call in program.calls].count("pad") == 3
    return build_program(program)


def in_child(text: str, batch: int) -> None:
    build = (
        padded(text, batch)
        if BODIES["padded"] in text
        else api.build(weights.bind(lang.parse(text)), Options(batch=batch, threads=2))
    )
    for images, at_end in product({1, batch}, (True, False)):
        run_guarded(build, images, at_end)


def survives(text: str, batch: int) -> bool:
    child = multiprocessing.get_context("spawn").Process(target=in_child, args=(text, batch))
    child.start()
    child.join()
    return child.exitcode == 0


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("body", BODIES)
def test_small_networks(body: str, batch: int) -> None:
    assert survives(f"net t\ninput 3x19x23\n{BODIES[body]}\n", batch)


QUICK = ["lenet5", "squeezenet1_1"]
OTHERS = [p.stem for p in sorted(resources.directory("models").glob("*.net")) if p.stem not in QUICK]


@pytest.mark.parametrize("name", QUICK)
def test_zoo(name: str) -> None:
    assert survives((resources.directory("models") / f"{name}.net").read_text(), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_larger_zoo(name: str) -> None:
    assert survives((resources.directory("models") / f"{name}.net").read_text(), 1)


def test_the_guard_can_fail() -> None:
    """A read just outside is a fault, so the tests above can fail."""
    child = multiprocessing.get_context("spawn").Process(target=step_outside)
    child.start()
    child.join()
    assert child.exitcode == -11


def step_outside() -> None:
    held = guarded(64, at_end=True)
    ctypes.string_at(held.ctypes.data + 64, 1)
