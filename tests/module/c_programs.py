"""Small networks as modules, and programs in C and C++ around them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cnncc import api, lang, weights
from cnncc.machines import targets
from cnncc.module.cpu.build import Build
from cnncc.options import Options, split_targets

NET = """net small
input 3x17x19
stem: conv 3x3 24 /2 bn relu
add { conv 3x3 24 bn | }; relu
concat { conv 1x1 16 relu | conv 3x3 32 relu }
gap
fc 10 softmax
"""
SETUP = """\
#define _GNU_SOURCE
#include "small.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static float in[SMALL_INPUT_FLOATS], out[SMALL_OUTPUT_FLOATS], wanted[SMALL_OUTPUT_FLOATS];
static void fill(void) {
    for (int i = 0; i < SMALL_INPUT_FLOATS; ++i) in[i] = (float)(i % 17) / 17;
}
static void *memory(size_t bytes) {
    return aligned_alloc(SMALL_ARENA_ALIGN, (bytes + SMALL_ARENA_ALIGN - 1) / SMALL_ARENA_ALIGN * SMALL_ARENA_ALIGN);
}
#define CHECK(holds) do { if (!(holds)) { printf("line %d: %s\\n", __LINE__, #holds); exit(1); } } while (0)
"""
"""Buffers of the network `small`, and a check that says which line failed."""


_UNUSED = ("-Wno-unused-function", "-Wno-unused-variable")
"""Not every program uses all of `SETUP`."""


def build(text: str = NET, target: str = "host", **options: object) -> Build:
    """A network compiled with random weights, for two threads unless said otherwise."""
    return api.build(weights.bind(lang.parse(text)), Options(split_targets(target), **{"threads": 2, **options}))  # type: ignore[arg-type]


def write(built: Build, folder: Path, *kinds: str, name: str = "small") -> dict[str, Path]:
    """Its files of those kinds."""
    return built.write({kind: folder / f"{name}.{'s' if kind == 'asm' else kind}" for kind in kinds})


def compile_and_run(
    folder: Path, source: str, *objects: Path | str, arguments: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> str:
    """What a program prints that is built in a folder and ends well."""
    cpp = "-x c++ -std=c++17" if "hpp" in source else "-x c -std=gnu11"
    (folder / "use.c").write_text(source)
    compiler = shutil.which("c++" if "hpp" in source else "cc") or "gcc"
    command = [compiler, *cpp.split(), "-Wall", "-Wextra", "-Werror", *_UNUSED, *flags, "use.c", "-x", "none"]
    command += [*map(str, objects), "-o", "use", "-pthread"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return run(folder, *arguments)


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """What the program of a folder prints."""
    done = subprocess.run(
        [folder / "use", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout} {done.stderr}"
    return done.stdout


def foreign(name: str, feature: str) -> targets.Target:
    """A target like another one, that also requires a feature."""
    from dataclasses import replace

    target = targets.load(name)
    return replace(target, requires=(*target.requires, feature))
