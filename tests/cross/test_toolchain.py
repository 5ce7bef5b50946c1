"""Which command compiles C and links for a target: the machine's own, the target file's, `ziglang`'s, or an error."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from written import write_shared

from cnncc import api, lang, weights
from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.module import toolchain
from cnncc.options import Options

NET = "net t\ninput 3x8x8\nconv 3x3 8 relu\ngap\n"


@pytest.fixture
def present(monkeypatch):
    """Makes only the named programs, and maybe the wheel, be there."""

    def only(*programs: str, ziglang: bool = False) -> None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr(toolchain.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)
        monkeypatch.setattr(toolchain, "find_spec", lambda name: object() if ziglang and name == "ziglang" else None)

    return only


def test_the_system_comes_first(present):
    present("cc", "aarch64-linux-gnu-gcc", ziglang=True)
    assert toolchain.compiler(targets.host()) == ["cc"]
    assert toolchain.compiler(targets.load("aarch64")) == ["aarch64-linux-gnu-gcc"]


def test_cc_is_for_this_kind_of_machine_only(present, monkeypatch):
    present("cc", "aarch64-linux-gnu-gcc")
    monkeypatch.setenv("CC", "ccache clang-19")
    assert toolchain.compiler(targets.load("x86-64-v2")) == ["ccache", "clang-19"]
    assert toolchain.compiler(targets.load("aarch64")) == ["aarch64-linux-gnu-gcc"]


def test_the_wheel_comes_last(present):
    present(ziglang=True)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17"]
    assert toolchain.compiler(targets.load("aarch64")) == command
    assert toolchain.compiler(targets.load("wasm32"))[2:] == ["ziglang", "wasm-ld"]
    assert toolchain.compiler(targets.host())[3] == "cc"


def test_a_zig_on_the_path_is_as_good(present):
    present("zig")
    assert toolchain.compiler(targets.load("wasm32")) == ["zig", "wasm-ld"]


def test_none_is_an_error_that_names_both(present):
    present()
    with pytest.raises(CnnccError) as raised:
        toolchain.compiler(targets.load("aarch64"))
    assert raised.value.message == "no C compiler or linker found for target aarch64"
    assert raised.value.hint == (f"install aarch64-linux-gnu-gcc, or the ziglang wheel: {extras.install('cross')}")
    with pytest.raises(CnnccError) as raised:
        toolchain.compiler(targets.host())
    assert raised.value.hint.startswith("install cc or gcc or clang or x86_64-linux-gnu-gcc, or the ziglang wheel")
    assert raised.value.hint.endswith("compiling in-process with threads=1 needs none")


def test_a_target_without_threads_takes_one():
    graph = weights.bind(lang.parse(NET))
    with pytest.raises(CnnccError, match="target wasm32 has no threads, got 2"):
        api.build(graph, Options(("wasm32",), threads=2))
    assert api.build(graph, Options(("wasm32",))).program.threads == 1


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang not installed: pip install 'cnncc-inference[cross]'")
@pytest.mark.slow
def test_the_wheel_links_for_every_target(present, monkeypatch, tmp_path):
    """Slow: its first use for a target builds that target's C library stubs."""
    present(ziglang=True)
    for name, machine in (("aarch64", "AArch64"), ("riscv64", "RISC-V"), ("x86-64-v2", "X86-64")):
        module, _ = write_shared(api.build(weights.bind(lang.parse(NET)), Options((name,))), tmp_path / "t.so")
        listed = subprocess.run(["/usr/bin/readelf", "-h", module], capture_output=True, text=True, check=True).stdout
        assert machine in listed
