"""Modules for other processors compute what the reference computes: run under qemu, on every kind of kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from cross.cases import BODIES, BOUND, CASES, network, random_inputs
from cross.foreign import MACHINES, Machine
from written import write_shared

from cnncc import api, lang, passes, weights
from cnncc.base import resources
from cnncc.machines import targets
from cnncc.module.cpu.build import Build
from cnncc.module.cpu.write import write
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.pictures import images

MODELS = resources.directory("models")
DIGITS = Path(__file__).parent.parent.parent / "examples/digits"
LIBRARIES = ("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1", "ld-linux-riscv64-lp64d.so.1")


@pytest.fixture(scope="module", params=MACHINES, ids=lambda m: m.target)
def machine(request) -> Machine:
    request.param.require()
    return request.param


@pytest.fixture(scope="module")
def harness(machine, tmp_path_factory) -> Path:
    return machine.build_harness(tmp_path_factory.mktemp("harness"))


def error_of(
    machine: Machine, harness: Path, build: Build, folder: Path, arrays: list[np.ndarray], threads: int = 1
) -> float:
    """The largest error of a network with one output, as a share of its largest; both runs must give the same bits."""
    module, _ = write_shared(build, folder / "t.so")
    first, second = machine.run(harness, module, build, arrays, threads)
    assert first == second
    (wanted,) = reference.run(build.program.source, arrays).values()
    got = np.frombuffer(first, np.float32).reshape(wanted.shape)
    assert np.isfinite(got).all()
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
def test_kernels(machine, harness, case, tmp_path):
    build = api.build(network(*CASES[case]), Options((machine.target,), threads=1))
    assert error_of(machine, harness, build, tmp_path, random_inputs(build)) <= BOUND


def test_a_batch_on_several_threads(machine, harness, tmp_path):
    build = api.build(network(*BODIES["convolutions"]), Options((machine.target,), batch=3, threads=3))
    assert error_of(machine, harness, build, tmp_path, random_inputs(build), threads=3) <= BOUND


@pytest.mark.parametrize(("dtype", "rounding"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_weights_in_half_precision(machine, harness, dtype, rounding, tmp_path):
    if dtype == "float16" and not targets.load(machine.target).float16:
        pytest.skip(f"{machine.target} has no instruction for float16")
    graph = weights.bind(lang.parse("net t\ninput 40\nfc 33 relu; fc 10\n"), seed=1)
    build = api.build(graph, Options((machine.target,), threads=1, weights_dtype=dtype))
    assert error_of(machine, harness, build, tmp_path, random_inputs(build)) <= rounding


def test_lenet5_reads_digits(machine, harness, tmp_path):
    graph = weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")
    build = api.build(graph, Options((machine.target,), threads=1))
    digit = images.load(DIGITS / "7_a.png", graph.inputs[0].attrs["dims"], std=(1,))
    assert error_of(machine, harness, build, tmp_path, [digit]) <= 1e-4
    output, _ = machine.run(harness, tmp_path / "t.so", build, [digit], 1)
    assert np.frombuffer(output, np.float32).argmax() == 7


def test_it_needs_only_the_c_library(machine, harness, tmp_path):
    module, _ = write_shared(api.build(network(*BODIES["windows"]), Options((machine.target,))), tmp_path / "t.so")
    listed = subprocess.run([f"{machine.gnu}-nm", "-D", "-u", module], capture_output=True, text=True, check=True)
    names = {line.split()[1] for line in listed.stdout.splitlines() if line.split()[0] == "U"}
    assert names <= NEEDED
    dynamic = subprocess.run([f"{machine.gnu}-readelf", "-d", module], capture_output=True, text=True, check=True)
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.stdout.splitlines() if "(NEEDED)" in line}
    assert needed <= set(LIBRARIES)


NEEDED = {
    f"{name}@GLIBC_{version}"
    for name in (
        "memset", "memcpy", "memmove", "sched_yield", "sched_getaffinity", "__sched_cpucount", "sigfillset", "syscall",
        "pthread_create", "pthread_detach", "pthread_sigmask", "__register_atfork",
        "open", "read", "close", "madvise", "sysconf",
    )
    for version in ("2.17", "2.27", "2.32", "2.34")
}  # fmt: skip


def test_an_archive_is_linked_into_a_program_without_libraries(machine, tmp_path):
    graph = weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")
    build = api.build(graph, Options((machine.target,), threads=2))
    write(build, {"a": tmp_path / "lenet5.a", "h": tmp_path / "lenet5.h"})
    listed = subprocess.run(
        [f"{machine.gnu}-nm", "-u", "lenet5.a"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    undefined = {line.split()[1] for line in listed.stdout.splitlines() if line.strip().startswith("U ")}
    assert undefined <= {name.split("@")[0] for name in NEEDED} | {"pthread_atfork"}
    source = DIGITS.parent / "c/digit.c"
    command = [f"{machine.gnu}-gcc", "-static", "-I.", source, "lenet5.a", "-o", "digit", "-pthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    image = images.load(DIGITS / "4_a.png", graph.inputs[0].attrs["dims"], std=(1,))[0, 0]
    (tmp_path / "4.pgm").write_bytes(b"P5 32 32 255\n" + image.astype(np.uint8).tobytes())
    done = subprocess.run([*machine.emulator, tmp_path / "digit", tmp_path / "4.pgm"], capture_output=True, check=True)
    _, *rows = done.stdout.decode().splitlines()
    assert max(rows, key=lambda row: float(row.split()[1])).split()[0] == "4"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_whole_networks(machine, harness, name, tmp_path):
    graph = passes.with_batch(weights.bind(lang.read(MODELS / f"{name}.net")), 1)
    build = api.build(graph, Options((machine.target,), threads=2))
    assert error_of(machine, harness, build, tmp_path, random_inputs(build), threads=2) <= 1e-4
