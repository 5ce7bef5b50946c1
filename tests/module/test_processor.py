"""A module asks for the features its code uses, and says which are missing, from C as from Python."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

import pytest
from module.c_programs import SETUP, build, compile_and_run, foreign, write

import cnncc
from cnncc import machines
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.module import toolchain
from cnncc.runtime import cpu

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="features of x86-64")
REFUSED = (
    SETUP
    + """
int main(void) {
    void *arena = memory(SMALL_ARENA_BYTES);
    for (int i = 0; i < 3; ++i) CHECK(small_run(small_model_get(), 1, in, out, arena) == CNNCC_WRONG_PROCESSOR);
    printf("%s", small_error(CNNCC_WRONG_PROCESSOR));
    return 0;
}
"""
)


def test_c_and_python_see_the_same_features(tmp_path):
    source = """
#include <stdint.h>
#include <stdio.h>
int32_t cnncc_cpu_lacks(const char *required);
int main(int count, char **names) {
    for (int i = 1; i < count; ++i)
        if (!cnncc_cpu_lacks(names[i])) printf("%s ", names[i]);
    return cnncc_cpu_lacks("nonsense,more") == 2 && cnncc_cpu_lacks("") == 0 ? 0 : 1;
}
"""
    names = tuple(cpu.LINUX_FLAGS)
    printed = compile_and_run(tmp_path, source, "-x", "c", os.fspath(toolchain.RUNTIME / "cpu.c"), arguments=names)
    assert set(printed.split()) == cpu.features()


def test_missing_features_are_named(tmp_path, monkeypatch):
    target = foreign("x86-64-v2", "avx99")
    monkeypatch.setattr(machines, "load", lambda name: target)
    files = write(build(target="x86-64-v2"), tmp_path, "so", "h")
    assert compile_and_run(tmp_path, REFUSED, "./small.so") == "this processor lacks avx99"
    with pytest.raises(CnnccError, match=r"compiled for x86-64-v2; this processor lacks avx99$"):
        cnncc.load(files["so"])


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-x86_64 not installed (package qemu-user)")
def test_an_old_processor_refuses_instead_of_dying(tmp_path):
    """Code for AVX-512 on an emulated Nehalem: one line, and no illegal instruction before it."""
    write(build(target="x86-64-v4"), tmp_path, "o", "h")
    compile_and_run(tmp_path, "int main(void) { return 0; }")
    (tmp_path / "use.c").write_text(REFUSED)
    subprocess.run(["cc", "use.c", "small.o", "-o", "use", "-static", "-pthread"], cwd=tmp_path, check=True)
    command = ["qemu-x86_64", "-cpu", "Nehalem", "./use"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout.startswith("this processor lacks avx512f, avx512bw")
    assert done.stdout.endswith("lzcnt, movbe")


def test_the_host_asks_for_what_its_code_uses():
    """Not for sha, clwb and the like: detected, but of no use to loops over floats, and so turned off."""
    host = targets.host()
    levels = [targets.load(name).requires for name in targets.names() if name.startswith("x86-64-v")]
    assert host.requires in levels
    off = cpu.features() - set(host.requires)
    assert {f"-{name}" for name in off} <= set(host.features)
    on = {name[1:] for name in host.features if name.startswith("+")}
    assert on <= {*host.requires, *targets.EVERY_X86_64}
    assert not cpu.missing(host.requires)
