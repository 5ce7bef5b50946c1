"""`cnncc compile` for other machines: what is written, what is refused, and what the other commands say."""

from __future__ import annotations

import numpy as np
import pytest
from cross.foreign import AARCH64
from web.node import needs_linker
from written import write_shared

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.options import Options

NET = "net tiny\ninput 1x8x8\nconv1: conv 3x3 4 relu\nfc 10 softmax\n"


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.net").write_text(NET)
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    return "tiny.net"


@needs_linker
def test_wasm32_writes_a_folder(cnncc, net, tmp_path):
    result = cnncc("compile", net, "--target", "wasm32", "-o", "web", "--json").json
    assert result["files"] == {kind: f"web/tiny.{kind}" for kind in ("weights", "wasm", "d.ts", "js")}
    assert (result["folder"], result["threads"]) == ("web", 1)
    assert result["bytes"] == sum((tmp_path / path).stat().st_size for path in result["files"].values())
    printed = cnncc("compile", net, "--target", "wasm32").out
    assert (tmp_path / "tiny").is_dir(), "the name of the network, unless told otherwise"
    assert 'import { load } from "./tiny.js"' in printed
    assert [p.name for p in (tmp_path / "web").iterdir() if p.name.startswith(".")] == []


def test_folders_that_cannot_be(cnncc, net, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "web" / "tiny.js").mkdir(parents=True)
    for folder, message in {
        "t/a.so": "t/a.so is the name of a file\n  hint: for this target, -o names a folder: t/a",
        "file": "cannot write folder file: it is a file\n  hint: for this target, -o names a folder",
        "no/web": "cannot make folder no/web: folder no does not exist",
        "web": "cannot write web/tiny.js: it is a folder",
    }.items():
        result = cnncc("compile", net, "--target", "wasm32", "-o", folder)
        assert (result.code, result.err) == (2, f"cnncc: {message}\n")


@pytest.mark.parametrize("option", ["--emit=a", "--weights-external"])
def test_a_folder_takes_no_kinds(cnncc, net, option):
    result = cnncc("compile", net, "--target", "wasm32", option)
    message = "cnncc: target wasm32 writes a folder and takes no --emit or --weights-external"
    assert (result.code, result.refusal) == (2, message)


def test_threads_where_there_are_none(cnncc, net):
    result = cnncc("compile", net, "--target", "wasm32", "--threads", "2")
    assert (result.code, result.refusal) == (2, "cnncc: target wasm32 has no threads, got 2")


def test_half_precision_where_there_is_none(cnncc, net):
    result = cnncc("compile", net, "--target", "riscv64", "--weights-dtype", "float16")
    message = "cnncc: target riscv64 has no instruction that converts float16 weights"
    assert (result.code, result.refusal) == (2, message)


@pytest.mark.parametrize("command", ["run tiny.net x.npy", "check tiny.net", "profile tiny.net"])
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("aarch64", "this machine is x86-64"),
        ("wasm32", "this processor lacks simd128"),
        ("riscv64", "this machine is x86-64"),
    ],
)
def test_what_cannot_run_here_is_said(cnncc, net, command, target, why):
    result = cnncc(*command.split(), "--target", target)
    first, hint = result.err.splitlines()[-2:]
    assert (result.code, first) == (2, f"cnncc: target {target}: {why}")
    assert hint == "  hint: `cnncc compile` writes a module for it"


def test_no_model_of_another_machine_is_made(net):
    build = api.build(weights.bind(lang.parse(NET)), Options(("aarch64",)))
    with pytest.raises(CnnccError, match="target aarch64: this machine is x86-64"):
        build.model()


def test_no_library_of_webassembly(tmp_path):
    build = api.build(weights.bind(lang.parse(NET)), Options(("wasm32",)))
    with pytest.raises(CnnccError, match="target wasm32 has no libraries, objects or headers"):
        write_shared(build, tmp_path / "x.so")


def test_a_module_for_another_processor_says_so(cnncc, net, tmp_path):
    AARCH64.require()
    printed = cnncc("compile", net, "--target", "aarch64").out
    assert "next: call it from C, see examples/c" in printed
    told = cnncc("info", "tiny.so").out
    assert "this machine is x86-64" in told
    assert cnncc("run", "tiny.so", "x.npy").refusal == "cnncc: tiny.so: compiled for aarch64; this machine is x86-64"
