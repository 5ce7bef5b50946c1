"""What `--emit` writes besides the shared object: each kind works, and needs what it may need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from module.c_programs import NET, SETUP, build, compile_and_run, write
from module.test_shared import ALLOWED_UNDEFINED, INTERFACE

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.module.cpu.assemble import initialise_llvm

LIBM = {"expf", "logf", "powf", "tanhf", "sqrtf", "erff", "floorf", "ceilf", "roundf", "exp2f", "log2f", "fmaxf"}
BODIES = {
    "convolutions": "conv 7x7 20 /2 bn relu; dwconv 3x3 relu6; conv 1x1 33 silu; upconv 3x3 16 /2 outpad 1",
    "winograd": "conv 3x3 64 relu; conv 3x3 64 hard_swish; add { | conv 3x3 64 }; conv 3x3 12 groups 4",
    "windows": "relu; lrn; maxpool 3x3 /2 ceil; avgpool 3x3 /1 pad 1; upsample 2; pad 1,0,2,1 reflect",
    "classes": "gap; fc 33 tanh; fc 13 sigmoid; leaky_relu 0.1; fc 10 softmax",
}
"""A network of each kind of op."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("emitted")
    write(build(), place, "so", "a", "o", "h", "ll", "asm")
    write(build("net other\ninput 1x4x4\nconv 3x3 8 relu\nconv 3x3 24\n"), place, "o", "a", "h", name="other")
    return place


def undefined(path: Path, *flags: str) -> set[str]:
    listed = subprocess.run(["nm", "-u", *flags, path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in listed.splitlines() if line and not line.endswith(":")}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_needs_libc_libm_and_pthread_only(tmp_path, body, dtype):
    built = build(f"net t\ninput 12x19x23\n{BODIES[body]}\n", weights_dtype=dtype)
    files = write(built, tmp_path, "so", "o", "weights")
    allowed = ALLOWED_UNDEFINED | LIBM | {"fstat", "mmap", "munmap", "__errno_location"}
    assert undefined(files["so"], "-D") <= allowed
    assert undefined(files["o"]) <= allowed | {"_GLOBAL_OFFSET_TABLE_"}
    needed = subprocess.run(["readelf", "-d", files["so"]], capture_output=True, text=True, check=True).stdout
    libraries = {line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line}
    assert libraries <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}


def test_one_thread_needs_no_threads(tmp_path):
    files = write(build(threads=1), tmp_path, "so")
    assert not {name for name in undefined(files["so"], "-D") if name.startswith(("pthread", "syscall", "open"))}


@pytest.mark.parametrize("kind", ["o", "a"])
def test_two_networks_in_one_program(folder, kind):
    """Linked statically: kernels and helpers of the same name do not meet."""
    source = (
        SETUP
        + """
#include "other.h"
static float x[OTHER_INPUT_FLOATS], y[OTHER_OUTPUT_FLOATS];
int main(void) {
    void *arena = memory(SMALL_ARENA_BYTES + OTHER_ARENA_BYTES);
    fill();
    CHECK(!small_run(small_model_get(), 1, in, out, arena) && !other_run(other_model_get(), 1, x, y, arena));
    for (int i = 0; i < SMALL_OUTPUT_FLOATS; ++i) printf("%a ", out[i]);
    return 0;
}
"""
    )
    printed = compile_and_run(folder, source, f"./small.{kind}", f"./other.{kind}")
    image = (np.arange(3 * 17 * 19) % 17 / np.float32(17)).astype(np.float32).reshape(1, 3, 17, 19)
    assert [float.fromhex(t) for t in printed.split()] == cnncc.load(folder / "small.so")(image)[0].tolist()


def test_only_the_interface_is_global(folder):
    listed = subprocess.run(
        ["nm", "-g", "--defined-only", folder / "small.o"], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert names == {f"small_{name}" for name in INTERFACE}


def test_the_ir_is_the_whole_module_but_its_weights(folder):
    initialise_llvm()
    module = llvm.parse_assembly((folder / "small.ll").read_text())
    module.verify()
    defined = {f.name for f in module.functions if not f.is_declaration}
    assert {"small_run", "small_run_with", "small_info", "small_steps0"} <= defined
    assert any(name.startswith("conv_f32_") for name in defined)
    assert "!DILocation" not in (folder / "small.ll").read_text()


def mnemonics(path: Path, symbol: str) -> list[str]:
    """The instructions of a function, without operands, addresses and padding."""
    command = ["objdump", "-d", "--no-show-raw-insn", "--no-addresses", f"--disassemble={symbol}", path]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split()[0] for line in listed.splitlines() if line.startswith("\t")]
    return [name for name in found if name not in ("nop", "nopw", "nopl", "cs", "data16", "xchg")]


def test_the_assembly_is_the_code(folder, tmp_path):
    """It assembles, to the very instructions of the object file."""
    again = tmp_path / "again.o"
    subprocess.run(["cc", "-c", folder / "small.s", "-o", again], check=True)
    names = subprocess.run(["nm", again], capture_output=True, text=True, check=True).stdout.split()
    kernels = sorted(n for n in names if n.startswith(("conv_f32_", "winograd_f32_", "dense_f32_")))
    assert len(kernels) >= 3
    for name in (*kernels, "small_run_with"):
        wanted = mnemonics(folder / "small.o", name)
        assert len(wanted) > 20
        assert mnemonics(again, name) == wanted


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    from cnncc.module import toolchain

    real = toolchain.shutil.which
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if "objcopy" in name else real(name))
    with pytest.raises(CnnccError, match="no objcopy found for target host, which objects"):
        write(build(NET), tmp_path, "o")
    assert list(tmp_path.iterdir()) == []
