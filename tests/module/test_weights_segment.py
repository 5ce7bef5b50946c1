"""Weights written straight into the linked library: the same module as when the linker copies them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written import write_shared

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.module import toolchain
from cnncc.module.cpu import weights_segment
from cnncc.module.cpu.build import Build
from cnncc.options import Options
from cnncc.runtime.load import load

HOST = targets.host()
NET = "net placed\ninput 3x9x9\nconv 3x3 40 relu\ngap\nfc 7\n"
pytestmark = pytest.mark.skipif(
    not toolchain.places_sections(HOST), reason="the C compiler does not link by GNU ld: weights are copied"
)


@pytest.fixture(scope="module")
def build() -> Build:
    return api.build(weights.bind(lang.parse(NET)), Options(threads=1))


@pytest.fixture(scope="module")
def placed(build: Build, tmp_path_factory) -> Path:
    return write_shared(build, tmp_path_factory.mktemp("placed") / "placed.so")[0]


def answer(module: Path) -> np.ndarray:
    return load(module)(np.random.default_rng(3).standard_normal((1, 3, 9, 9)).astype(np.float32))


def test_copied_or_placed_is_the_same_module(build, placed, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(toolchain, "places_sections", lambda target: False)
    copied, _ = write_shared(build, tmp_path / "copied.so")
    assert (
        answer(copied).tobytes()
        == answer(placed).tobytes()
        == build.model()(np.random.default_rng(3).standard_normal((1, 3, 9, 9)).astype(np.float32)).tobytes()
    )
    assert load(copied).info == load(placed).info
    assert b".cnncc_weights" in placed.read_bytes()
    assert b".cnncc_weights" not in copied.read_bytes()


def test_its_hash_takes_the_place_of_the_mark(build, placed) -> None:
    body, said = placed.read_bytes(), load(placed).info["weights"]["blake2b"]
    assert weights_segment.MARK.hex().encode() not in body
    assert body.count(said.encode()) == 1
    array = build.weights()
    assert body.count(array.tobytes()) == 1


def test_weights_are_read_only_and_take_no_other_segment(placed) -> None:
    listed = subprocess.run(["readelf", "-lW", placed], capture_output=True, text=True, check=True).stdout
    loads = [line.split() for line in listed.splitlines() if line.split()[:1] == ["LOAD"]]
    assert loads[-1][6:-1] == ["R"]
    size = load(placed).info["weights"]["bytes"]
    assert int(loads[-1][4], 16) == int(loads[-1][5], 16) == size


@pytest.mark.skipif(shutil.which("strip") is None, reason="needs binutils")
def test_tools_that_copy_libraries_keep_the_weights(placed, tmp_path) -> None:
    subprocess.run(["strip", "-o", tmp_path / "stripped.so", placed], check=True)
    assert answer(tmp_path / "stripped.so").tobytes() == answer(placed).tobytes()


def test_a_library_that_is_laid_out_otherwise_is_refused(tmp_path) -> None:
    (tmp_path / "a.c").write_text("int a = 1;\n")
    toolchain.call(HOST, ["-shared", "-fPIC", "-o", "a.so", "a.c"], tmp_path)
    with (tmp_path / "a.so").open("r+b") as file, pytest.raises(CnnccError, match="did not put the weights behind all"):
        weights_segment.extend(file, 64)


@pytest.mark.parametrize(("said", "places"), [("GNU ld (GNU Binutils) 2.40", True), ("GNU gold (version 2.40)", False)])
def test_only_gnu_ld_is_asked_to_place(said, places, tmp_path, monkeypatch) -> None:
    fake = tmp_path / "fake-cc"
    fake.write_text(f"#!/bin/sh\necho '{said}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    assert toolchain.places_sections(HOST) is places


def test_other_formats_than_elf_are_linked_whole() -> None:
    assert not toolchain.places_sections(replace(HOST, format="macho"))


def test_no_compiler_places_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "nothing"))
    assert not toolchain.places_sections(HOST)
