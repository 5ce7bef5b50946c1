"""Modules that cannot run here: the reason in a person's words, and what to do."""

from __future__ import annotations

import platform

import pytest
from written import write_shared

import cnncc
from cnncc import api, lang, machines, weights
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.options import Options
from cnncc.runtime import cpu
from cnncc.runtime.load import read_info

TEXT = "net small\ninput 3x8x8\nrelu\n"


@pytest.fixture(scope="module")
def built():
    return api.build(weights.bind(lang.parse(TEXT)), Options(threads=1))


def test_a_module_for_another_architecture(built, tmp_path, monkeypatch):
    module, _ = write_shared(built, tmp_path / "s.so")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(
        CnnccError, match=r"s\.so: compiled for host; this machine is aarch64\n  hint: compile the network"
    ):
        cnncc.load(module)


def test_a_target_of_another_architecture():
    with pytest.raises(CnnccError, match="target aarch64: this machine is x86-64\n  hint: `cnncc compile` writes"):
        machines.check_runs_here(targets.load("aarch64"))


@pytest.mark.parametrize(
    ("triple", "machine", "expected"),
    [
        ("aarch64-linux-gnu", "x86_64", "this machine is x86-64"),
        ("x86_64-unknown-linux-gnu", "arm64", "this machine is aarch64"),
        ("riscv64-linux-gnu", "AMD64", "this machine is x86-64"),
        ("x86_64-unknown-linux-gnu", "AMD64", ""),
        ("aarch64-linux-gnu", "arm64", ""),
        ("nvptx64", "x86_64", ""),
        ("wasm32-unknown-unknown", "x86_64", ""),
    ],
)
def test_architectures_under_their_many_names(monkeypatch, triple, machine, expected):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert cpu.foreign(triple) == expected


def test_features_that_are_lacking(monkeypatch):
    assert cpu.unfit("x86_64-linux", ["avx99", "avx98"]) == "this processor lacks avx98, avx99"
    assert cpu.unfit("x86_64-linux", []) == ""


def test_objects_and_archives_are_to_be_linked(built, tmp_path):
    files = built.write({"o": tmp_path / "s.o", "a": tmp_path / "s.a"})
    with pytest.raises(
        CnnccError, match=r"s\.o: an object to be linked, not a library\n  hint: link it into a program"
    ):
        cnncc.load(files["o"])
    with pytest.raises(CnnccError, match=r"s\.a: not a module compiled by cnncc\n  hint: it is an archive: link it"):
        read_info(files["a"])


def test_a_gpu_module_without_a_driver_says_what_to_do(monkeypatch):
    from cnncc.runtime.cuda.driver import CudaModel

    model = CudaModel.__new__(CudaModel)
    assert model._advice("no CUDA driver: libcuda.so.1: cannot open shared object file").startswith(
        "it needs an NVIDIA GPU and its driver, which `nvidia-smi` tells of; CNNCC_CUDA_DRIVER=emulated runs it"
    )
    assert model._advice("out of memory") == ""
