"""Modules for other processors compute what the reference computes: run under qemu, on every kind of kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from cross.foreign import MACHINES, Machine

from cnncc import api, images, lang, passes, reference, resources, weights
from cnncc.codegen.build import Build
from cnncc.ir import Graph

MODELS = resources.directory("models")
DIGITS = Path(__file__).parent.parent.parent / "examples/digits"
LIBRARIES = ("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1", "ld-linux-riscv64-lp64d.so.1")
BOUND = 2e-5
"""Share of the largest output, as for kernels of this machine."""
BODIES = {
    "convolutions": ("3x29x31", "conv 7x7 20 /2 bn relu; dwconv 3x3 relu; conv 1x1 33; upconv 3x3 16 /2 outpad 1"),
    "groups": ("12x15x14", "conv 3x3 24 groups 3 relu6; conv 1x5 9 dil 1x2 silu; conv 3x3 8 /2x1 nobias"),
    "winograd": ("16x21x19", "conv 3x3 40 relu; conv 3x3 24 bn; add { | conv 3x3 24 }; relu; conv 1x1 5"),
    "windows": ("11x17x13", "relu; lrn; maxpool 3x3 /2 ceil; avgpool 3x3 /1 pad 1; upsample 2; pad 1,0,2,1 reflect"),
    "merges": ("5x9x9", "conv 3x3 24; save x; conv 3x3 24; save y; add { from x | from y }; concat { | from x }"),
    "classes": ("6x9x7", "conv 3x3 19 hard_swish; gap; fc 33 tanh; fc 13 sigmoid; fc 10 softmax"),
}


def sizes_around_the_vectors(seed: int, count: int) -> list[tuple[str, str]]:
    """Random convolutions whose channels and sides lie around multiples of the vectors, as (dims, line)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        channels, out = (int(rng.choice([1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])) for _ in range(2))
        height, width = (int(rng.integers(5, 30)) for _ in range(2))
        kernel, stride = int(rng.choice([1, 3, 5])), int(rng.integers(1, 3))
        found.append((f"{channels}x{height}x{width}", f"conv {kernel}x{kernel} {out} /{stride} relu"))
    return found


CASES = {**BODIES, **{f"{dims} {line}": (dims, line) for dims, line in sizes_around_the_vectors(seed=4, count=4)}}


@pytest.fixture(scope="module", params=MACHINES, ids=lambda m: m.target)
def machine(request) -> Machine:
    request.param.require()
    return request.param


@pytest.fixture(scope="module")
def harness(machine, tmp_path_factory) -> Path:
    return machine.build_harness(tmp_path_factory.mktemp("harness"))


def network(dims: str, body: str) -> Graph:
    return weights.bind(lang.parse(f"net t\ninput {dims}\n{body}\n"), seed=3)


def random_inputs(build: Build) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(p["shape"]).astype(np.float32) for p in build.info["inputs"]]


def error_of(
    machine: Machine, harness: Path, build: Build, folder: Path, arrays: list[np.ndarray], threads: int = 1
) -> float:
    """The largest error of a network with one output, as a share of its largest; both runs must give the same bits."""
    module, _ = build.write_shared(folder / "t.so")
    first, second = machine.run(harness, module, build, arrays, threads)
    assert first == second
    (wanted,) = reference.run(build.program.source, arrays).values()
    got = np.frombuffer(first, np.float32).reshape(wanted.shape)
    assert np.isfinite(got).all()
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
def test_kernels(machine, harness, case, tmp_path):
    build = api.build(network(*CASES[case]), machine.target, threads=1)
    assert error_of(machine, harness, build, tmp_path, random_inputs(build)) <= BOUND


def test_a_batch_on_several_threads(machine, harness, tmp_path):
    build = api.build(network(*BODIES["convolutions"]), machine.target, batch=3, threads=3)
    assert error_of(machine, harness, build, tmp_path, random_inputs(build), threads=3) <= BOUND


def test_weights_in_bfloat16(machine, harness, tmp_path):
    graph = weights.bind(lang.parse("net t\ninput 40\nfc 33 relu; fc 10\n"), seed=1)
    build = api.build(graph, machine.target, threads=1, weights_dtype="bfloat16")
    assert error_of(machine, harness, build, tmp_path, random_inputs(build)) <= 2**-8


def test_lenet5_reads_digits(machine, harness, tmp_path):
    graph = weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")
    build = api.build(graph, machine.target, threads=1)
    digit = images.load(DIGITS / "7_a.png", graph.inputs[0].attrs["dims"], std=(1,))
    assert error_of(machine, harness, build, tmp_path, [digit]) <= 1e-4
    output, _ = machine.run(harness, tmp_path / "t.so", build, [digit], 1)
    assert np.frombuffer(output, np.float32).argmax() == 7


def test_it_needs_only_the_c_library(machine, harness, tmp_path):
    module, _ = api.build(network(*BODIES["windows"]), machine.target).write_shared(tmp_path / "t.so")
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
        "pthread_create", "pthread_detach", "pthread_sigmask", "__register_atfork", "__getauxval",
    )
    for version in ("2.17", "2.27", "2.32", "2.34")
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_whole_networks(machine, harness, name, tmp_path):
    graph = passes.with_batch(weights.bind(lang.read(MODELS / f"{name}.net")), 1)
    build = api.build(graph, machine.target, threads=2)
    assert error_of(machine, harness, build, tmp_path, random_inputs(build), threads=2) <= 1e-4
