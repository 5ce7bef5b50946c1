"""Weights on their way into a module: in order whoever computes them, and as an object that linkers take."""

from __future__ import annotations

import io
import subprocess
import threading
import time

import numpy as np
import pytest

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.kernels.shared.spec import Packed
from cnncc.machines import targets
from cnncc.module import toolchain
from cnncc.module.cpu import packing, weights_object, write
from cnncc.module.cpu.packing import Packing
from cnncc.options import Options


def packed(value: float, seconds: float = 0.0) -> Packed:
    def compute() -> np.ndarray:
        time.sleep(seconds)
        return np.full(3, value, np.float32)

    return Packed(f"w{value}", Constant((3,), compute))


def test_weights_come_in_order_whichever_is_ready_first(monkeypatch):
    monkeypatch.setattr(packing, "available_cores", lambda: 3)
    listed = [(packed(i, seconds=0.02 if i % 3 == 0 else 0.0), 64 * i) for i in range(12)]
    assert [(at, float(value[0])) for at, value in Packing(listed)] == [(64 * i, i) for i in range(12)]


def test_a_weight_that_cannot_be_packed_ends_it(monkeypatch):
    monkeypatch.setattr(packing, "available_cores", lambda: 2)
    monkeypatch.setattr(packing, "AHEAD", 0)

    def refuse() -> np.ndarray:
        raise CnnccError("beyond the range")

    later = []
    rest = [
        (Packed(f"l{i}", Constant((1,), lambda i=i: later.append(i) or np.zeros(1, np.float32))), 0) for i in range(50)
    ]
    with pytest.raises(CnnccError, match="beyond the range"):
        list(Packing([(Packed("w", Constant((1,), refuse)), 0), *rest]))
    assert len(later) < 10


def counted(begun: list[int], count: int) -> list[tuple[Packed, int]]:
    """Weights of four bytes that note when they are computed; each lies at its own number."""

    def one(i: int) -> Packed:
        return Packed(f"w{i}", Constant((1,), lambda: begun.append(i) or np.zeros(1, np.float32)))

    return [(one(i), i) for i in range(count)]


@pytest.mark.parametrize(("room", "most"), [(0, 2), (16, 4)])
def test_few_are_held_at_a_time(monkeypatch, room, most):
    """As many as there are threads, or as fit into the room for those that wait."""
    monkeypatch.setattr(packing, "available_cores", lambda: 2)
    monkeypatch.setattr(packing, "AHEAD", room)
    begun = []
    for at, _ in Packing(counted(begun, 20)):
        assert len(begun) <= at + 1 + most
    assert len(begun) == 20


def test_threads_begin_before_anybody_asks_and_end_when_nobody_does(monkeypatch):
    monkeypatch.setattr(packing, "available_cores", lambda: 1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> np.ndarray:
        begun.set()
        assert go_on.wait(30)
        return np.zeros(1, np.float32)

    later = []
    held = Packing([(Packed("first", Constant((1,), wait)), 0), *counted(later, 3)])
    assert begun.wait(30)
    threading.Timer(0.2, go_on.set).start()
    held.close()
    assert go_on.is_set()
    assert later == []


def test_weights_are_handed_out_once():
    """A second round would find nothing left, and a module would lack them."""
    held = Packing(counted([], 3))
    assert [at for at, _ in held] == [0, 1, 2]
    with pytest.raises(AssertionError, match="once"):
        list(held)
    closed = Packing(counted([], 3))
    closed.close()
    with pytest.raises(AssertionError, match="closed"):
        list(closed)


@pytest.mark.parametrize("kind", ["so", "ll", "h"])
def test_packing_begins_before_the_code_is_made(monkeypatch, tmp_path, kind):
    """And is ended if that fails; a header alone needs no weights."""
    made = []

    class Noted(Packing):
        def __init__(self, weights):
            made.append(self)
            super().__init__(weights)

    def fail(*_):
        assert len(made) == (kind != "h")
        raise OSError("disk full")

    monkeypatch.setattr(write, "Packing", Noted)
    monkeypatch.setattr(write._Work, "make", fail)
    build = api.build(weights.bind(lang.parse("net t\ninput 3x4x4\nconv 1x1 4\n")), Options(threads=1))
    with pytest.raises(CnnccError, match="disk full"):
        build.write({kind: tmp_path / f"t.{kind}"})
    assert [held._used for held in made] == [True] * len(made)
    assert list(tmp_path.iterdir()) == []


def test_an_object_of_weights_links_and_is_read_only(tmp_path):
    """A C program that prints what it finds under the symbol, and where."""
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\n#include <stdint.h>\nextern const float t_weights[];\n"
        'int main(void) { printf("%g %g %d\\n", t_weights[0], t_weights[4], (int)((uintptr_t)t_weights % 64)); }\n'
    )
    target = api.build(weights.bind(lang.parse("net t\ninput 1x4x4\nrelu\n")), Options(threads=1)).program.target
    assert target.triple.startswith("x86_64")
    toolchain.call(targets.host(), ["-c", "main.c", "-o", "main.o"], tmp_path)
    data = np.arange(5, dtype=np.float32)
    with (tmp_path / "weights.o").open("wb") as file:
        file.seek(weights_object.START)
        file.write(data.data)
        weights_object.finish(file, (tmp_path / "main.o").read_bytes(), "t_weights", data.nbytes)
    toolchain.call(targets.host(), ["main.o", "weights.o", "-o", "main"], tmp_path)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "4", "0"]
    (tmp_path / "write.c").write_text("extern float t_weights[];\nint main(void) { t_weights[0] = 1; }\n")
    toolchain.call(targets.host(), ["write.c", "weights.o", "-o", "write"], tmp_path)
    assert subprocess.run([tmp_path / "write"], check=False).returncode < 0


def test_only_an_elf_object_says_what_machine_it_is_for():
    with pytest.raises(AssertionError, match="64-bit little-endian ELF"):
        weights_object.finish(io.BytesIO(), b"\0asm" + bytes(60), "w", 4)
