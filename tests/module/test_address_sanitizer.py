"""AddressSanitizer in kernels and glue: not one access outside a tensor.

The LLVM IR that `--emit ll` writes is compiled once more with checks in it, by the clang of the ziglang wheel, which is
of the same LLVM as TVM's; the C parts and the runtime are GCC's. In the arena every value gets bytes of its own with a
poisoned gap around it, so that a step into the neighbour is found too; the activations of the usual plan, where values
follow each other in the same bytes, are run as well. Weights have only the gaps that alignment leaves between them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from module.test_guard_pages import BODIES

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.module import toolchain
from cnncc.module.cpu.build import Build, build_program
from cnncc.options import Options
from cnncc.plan.homes import InArena
from cnncc.plan.pieces import Piece
from cnncc.plan.plan_arena import Tenant

GAP = 256
"""Bytes between values: the widest tile of floats, so that no access jumps over it."""
HARNESS = """
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include "t.h"
/* t WEIGHTS THREADS [GAP_START GAP_BYTES]... */
int main(int count, char **words) {
    t_model model;
    const cnncc_port *in, *out;
    const cnncc_threads threads = {atoi(words[2]), NULL, NULL};
    int code = t_open(&model, words[1]);
    if (code) return code;
    t_inputs(&in);
    t_outputs(&out);
    const size_t images = T_MAX_IMAGES, numbers = images * in->count, results = images * out->count;
    float *x = malloc(numbers * sizeof(float)), *y = malloc(results * sizeof(float));
    char *arena = aligned_alloc(T_ARENA_ALIGN, (T_ARENA_BYTES + T_ARENA_ALIGN - 1) / T_ARENA_ALIGN * T_ARENA_ALIGN);
    for (size_t i = 0; i < numbers; ++i) x[i] = (float)(i * 7919 % 1000) / 500 - 1;
    for (int i = 3; i + 1 < count; i += 2) __asan_poison_memory_region(arena + atol(words[i]), atol(words[i + 1]));
    for (int repeat = 0; repeat < 2 && !code; ++repeat)
        code = t_run_with(&model, images, x, y, arena, T_ARENA_BYTES, &threads);
    for (size_t i = 0; i < results; ++i) code |= !(y[i] == y[i]);
    t_close(&model);
    free(x), free(y), free(arena);
    return code;
}
"""


def instrumented(listing: str) -> str:
    """The IR with checks asked for in every function of ours (not in TVM's helpers of sections of their own)."""
    return re.sub(r"^(define (?!.* section ).*) \{$", r"\1 sanitize_address {", listing, flags=re.MULTILINE)


def sanitized(build: Build, folder: Path) -> None:
    """A program `t` in the folder that runs the network with checks."""
    build.write({kind: folder / f"t.{kind}" for kind in ("ll", "h", "weights")})
    (folder / "checked.ll").write_text(instrumented((folder / "t.ll").read_text()))
    (folder / "main.c").write_text(HARNESS)
    clang = [sys.executable, "-m", "ziglang", "clang", f"--target={build.program.target.triple}", "-x", "ir"]
    call(folder, *clang, "checked.ll", "-fsanitize=address", "-O1", "-fPIC", "-c", "-o", "checked.o")
    parts = [str(toolchain.RUNTIME / f"{part}.c") for part in ("pool", "cpu", "weights")]
    call(folder, "gcc", "-fsanitize=address", "-O1", "main.c", *parts, "checked.o", "-o", "t", "-pthread")


def call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module", autouse=True)
def _tools(tmp_path_factory) -> None:
    if find_spec("ziglang") is None:
        pytest.skip("ziglang not installed: pip install 'cnncc-inference[cross]'")
    folder = tmp_path_factory.mktemp("asan")
    (folder / "a.c").write_text("int main(void) { return 0; }")
    done = subprocess.run(["gcc", "-fsanitize=address", "a.c"], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("gcc with libasan not installed")


def spread(build: Build) -> tuple[Build, list[int]]:
    """The network with a gap before each value of the arena and after the last, in the part of each image; and where
    the gaps are."""
    plan = build.program.plan
    starts = sorted({placement.offset for placement in plan.placements.values() if isinstance(placement.home, InArena)})
    moved = {start: start + GAP * (i + 1) for i, start in enumerate(starts)}
    end = -(-plan.bytes // 64) * 64 + GAP * len(starts)
    placements = {
        name: replace(placement, offset=moved[placement.offset]) if isinstance(placement.home, InArena) else placement
        for name, placement in plan.placements.items()
    }
    whole = Tenant("values and gaps", 0, (Piece(0, end + GAP, 0, len(plan.placements)),))
    apart = replace(
        build.program, plan=replace(plan, placements=placements, bytes=end + GAP, tenants=(whole,))
    ).spaced()
    parts = [i * apart.memory.pitch for i in range(apart.batch)]
    return build_program(apart), [part + at for part in parts for at in (*(s - GAP for s in moved.values()), end)]


def check(text: str, folder: Path, batch: int, apart: bool) -> None:
    """Runs the network on one thread and on two, with values apart or as usual."""
    graph = weights.bind(lang.parse(re.sub(r"^net \S+", "net t", text, count=1, flags=re.MULTILINE)))
    build = api.build(graph, Options(batch=batch, threads=2, keep_all=apart))
    build, gaps = spread(build) if apart else (build, [])
    sanitized(build, folder)
    words = [word for start in gaps for word in (str(start), str(GAP))]
    for threads in ("1", "2"):
        call(folder, "./t", "t.weights", threads, *words)


SMALL = [body if body == "pools" else pytest.param(body, marks=pytest.mark.slow) for body in BODIES]


@pytest.mark.parametrize("body", SMALL)
def test_small_networks(body, tmp_path):
    check(f"net t\ninput 3x19x23\n{BODIES[body]}\n", tmp_path, batch=2, apart=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [p.stem for p in sorted(resources.directory("models").glob("*.net"))])
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "usual"])
def test_the_zoo(name, apart, tmp_path):
    check((resources.directory("models") / f"{name}.net").read_text(), tmp_path, 1, apart)


def test_the_check_can_fail(tmp_path):
    """A gap that lies over the first value is stepped into by the kernel that writes it, and that kernel is named."""
    graph = weights.bind(lang.parse("net t\ninput 3x19x23\nconv 3x3 16 relu\nconv 3x3 8\n"))
    build, gaps = spread(api.build(graph, Options(threads=1, keep_all=True)))
    sanitized(build, tmp_path)
    call(tmp_path, "./t", "t.weights", "1", *(str(n) for start in gaps for n in (start, GAP)))
    with pytest.raises(AssertionError, match=r"AddressSanitizer: use-after-poison[\s\S]*in (conv|relayout)_f32"):
        call(tmp_path, "./t", "t.weights", "1", str(gaps[0]), str(GAP + 64))
