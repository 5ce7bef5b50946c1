"""What goes wrong on the machine of the first run costs no more than it must: parts of the scripts, without a pack."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu import context, drawing, launches
from gpu.context import Skipped, need_torch
from gpu.driver import DriverError
from gpu.jobs import Job
from gpu.packed import PackError
from gpu.phases import families, times, versions
from gpu.processes import run_group, run_session
from gpu.table import table
from pages import ROOT

JOB = Job("lenet5", "float32", 1)
DRAWING = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {benchmarks!r}]
from gpu import drawing
from gpu.jobs import Job

FOLDER = Path({folder!r})


class Weights:
    def __init__(self, folder):
        pass

    def draw(self, pack, job):
        begun = FOLDER / f"{{job.net}}.begun"
        first = not begun.exists()
        begun.touch()
        if job.net == "fatal" or (job.net == "once" and first):
            os.abort()
        if job.net == "wrong":
            raise OSError("no space left")
        (FOLDER / f"{{job.key}}.bin").touch()


def prepare(emulated):
    drawing.Weights = Weights


if __name__ == "__main__":
    jobs = [Job(net, "float32", n) for n, net in enumerate(("a", "fatal", "b", "once", "wrong", "c", "d"))]
    drawing.workers = lambda: 2
    drawing.Drawing.start(FOLDER, FOLDER, prepare, True, jobs)
    done = lambda job: any((FOLDER / f"{{job.key}}.{{kind}}").exists() for kind in ("bin", "error"))
    import time
    for _ in range(600):
        if all(map(done, jobs)):
            break
        time.sleep(0.1)
"""


def test_a_process_that_dies_costs_its_own_weights_alone(tmp_path: Path) -> None:
    """What is drawn after it, and beside it, is there; what nobody can draw is told, and not waited for."""
    script = tmp_path / "script.py"
    script.write_text(DRAWING.format(root=str(ROOT), benchmarks=str(ROOT / "benchmarks"), folder=str(tmp_path)))
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True)
    drawn = {path.name.split("-")[0] for path in tmp_path.glob("*.bin")}
    assert drawn == {"a", "b", "once", "c", "d"}
    fatal, wrong = (path.read_text() for path in sorted(tmp_path.glob("*.error")))
    assert fatal == "the weights of fatal-float32-b1 cannot be drawn: the process that drew them died, 2 times"
    assert wrong == "the weights of wrong-float32-b4 cannot be drawn: OSError: no space left"


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (3, 1), (8, 6), (16, 14), (224, 14)])
def test_not_every_core_draws(cores: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that this process may use, whatever the machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert drawing.workers() == expected


# ---- processes ----

CHILDREN = """
import subprocess, sys, time
words = [sys.executable, "-c", "import time; time.sleep(1000)"]
children = [subprocess.Popen(words), subprocess.Popen(words, process_group=0)]
open(sys.argv[1], "w").write(" ".join(str(child.pid) for child in children))
time.sleep(float(sys.argv[2]))
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def none_left(file: Path) -> bool:
    """None of the processes is alive, or not for long."""
    for _ in range(100):
        if not any(map(is_alive, map(int, file.read_text().split()))):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("seconds", "status"), [("0", 0), ("1000", -9)])
def test_a_session_leaves_no_process_behind(seconds: str, status: int, tmp_path: Path) -> None:
    """Neither one that ends nor one whose time is over: also those that are groups of their own."""
    command = [sys.executable, "-c", CHILDREN, str(tmp_path / "pids"), seconds]
    with (tmp_path / "log").open("w") as out:
        assert run_session(command, 3, out) == status
    assert none_left(tmp_path / "pids")


def test_a_group_whose_time_is_over_is_ended(tmp_path: Path) -> None:
    """With what it started, which has its output open: waiting for the end of that would take for ever."""
    text = CHILDREN.replace(", subprocess.Popen(words, process_group=0)", "")
    start = time.time()
    assert run_group(
        [sys.executable, "-c", f"print('here', flush=True)\n{text}", str(tmp_path / "pids"), "1000"], 3
    ) == (
        None,
        "here\n",
    )
    assert time.time() - start < 60
    assert none_left(tmp_path / "pids")
    assert run_group([sys.executable, "-c", "print(1); raise SystemExit(3)"], 30) == (3, "1\n")


# ---- what a phase does without ----


def fake_torch(monkeypatch: pytest.MonkeyPatch, **cuda: Any) -> None:
    fake = SimpleNamespace(__version__="2.9", __spec__=SimpleNamespace(), cuda=SimpleNamespace(**cuda))
    monkeypatch.setitem(sys.modules, "torch", fake)
    context._no_torch.cache_clear()


RUN: Any = SimpleNamespace(emulated=False)


def test_a_pytorch_without_a_device_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, is_available=lambda: False)
    with pytest.raises(Skipped, match=r"PyTorch 2\.9 finds no CUDA device that it can use"):
        need_torch(RUN)


def test_a_pytorch_that_cannot_be_used_is_skipped_and_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def is_available() -> bool:
        tries.append(1)
        raise RuntimeError("no kernel image is available for execution on the device")

    fake_torch(monkeypatch, is_available=is_available)
    for _ in range(2):
        with pytest.raises(Skipped, match="PyTorch cannot be used: RuntimeError: no kernel image"):
            need_torch(RUN)
    assert len(tries) == 1


def test_a_pytorch_that_cannot_be_imported_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    context._no_torch.cache_clear()
    with pytest.raises(Skipped, match=r"PyTorch cannot be used: OSError: libcudart\.so\.12"):
        need_torch(RUN)
    context._no_torch.cache_clear()


@pytest.mark.parametrize("error", [PackError("of another NumPy"), DriverError("out of memory"), OSError("no file")])
def test_times_of_whole_runs_stand_without_those_of_kernels(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    loaded = SimpleNamespace(free=lambda: freed.append(1))
    run: Any = SimpleNamespace(driver=None, pack=SimpleNamespace(code=lambda job: ()), weights=None, until=math.inf)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(times, "Loaded", SimpleNamespace(of=lambda *_: loaded))
    monkeypatch.setattr(times, "Launches", fail)
    told = times.kernels(run, JOB, [])
    assert told == {"kernels_error": f"{type(error).__name__}: {error}", "kernels": []}
    assert freed == [1]


def test_a_program_that_does_not_fit_leaves_no_memory_taken() -> None:
    """What it has got already is free for another one."""
    taken: set[int] = set()

    def allocate(size: int) -> int:
        if len(taken) == 3:
            raise DriverError("out of memory")
        taken.add(len(taken))
        return len(taken) - 1

    driver: Any = SimpleNamespace(upload=lambda array: allocate(array.nbytes), allocate=allocate, free=taken.remove)
    graph = SimpleNamespace(inputs=(1,))
    program = SimpleNamespace(arena_bytes=8, ports=[("in", 4), ("out", 4)], graph=graph)
    pack: Any = SimpleNamespace(program=lambda job: program, inputs=lambda job: {"in": [1.0]})
    weights: Any = SimpleNamespace(wait=lambda job, until: versions.np.zeros(4))
    with pytest.raises(DriverError):
        launches.Loaded.of(driver, pack, JOB, weights, math.inf)
    assert taken == set()


def test_families_tell_what_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the open device: after the release there is nothing to tell."""

    class Model:
        info: dict[str, Any] = {"device": {"open": True, "code": "sm_90"}}  # noqa: RUF012

        def release(self) -> None:
            self.info = {"device": {"open": False}}

        def __getattr__(self, name: str) -> Any:
            return lambda *_: []

    layer = SimpleNamespace(name="1", op="conv", error=0.0, allowed=1.0)
    report = SimpleNamespace(passed=True, layers=[layer], first_failure=None)
    pack = SimpleNamespace(
        program=lambda job: SimpleNamespace(plan=SimpleNamespace(bytes=0), kernels=[]),
        source=lambda job: SimpleNamespace(outputs=[]),
        inputs=lambda job: {},
        target="cuda-h200",
    )
    run: Any = SimpleNamespace(job=lambda item: JOB, pack=pack, model=lambda job: Model())
    monkeypatch.setattr(families, "traced", lambda *_: {})
    monkeypatch.setattr(families.check, "checked_values", lambda *_: report)
    assert families.one(run, JOB.key)["device"] == {"open": True, "code": "sm_90"}


@pytest.mark.parametrize(("found", "passed"), [
    (("glibc", "2.34"), True), (("glibc", "2.39"), True), (("glibc", "3.0"), True), (("glibc", "2.31"), False),
    (("", ""), False),
])  # fmt: skip
def test_an_older_c_library_is_told(found: tuple[str, str], passed: bool) -> None:
    row = versions.libc(*found, "2.34")
    assert row["passed"] == passed
    here = "glibc 2.31" if found[0] else "another C library"
    text = f"the modules of this pack need glibc 2.34 or later, and this machine has {here}"
    assert row.get("first_failure") == (None if passed else text)


def test_a_ceiling_that_failed_is_a_line_of_the_table() -> None:
    rows = {
        "copy": {"gbytes_per_second": 3000.0, "seconds": 0.5},
        "l2": {"failed": "DriverError: a | b\nsecond line", "trace": "Traceback\n  File | x", "seconds": 0.1},
        "matmul_tf32": {"skipped": "PyTorch is not installed", "seconds": 0.0},
    }
    about: Any = SimpleNamespace(plan=SimpleNamespace(times=()))
    phases = {"ceilings": {"items": rows, "seconds": 1.0, "not_run": []}}
    text = table(about, {"phases": phases, "emulated": False})
    assert "| copy | gbytes_per_second 3000, seconds 0.5 |" in text
    assert "\n| l2 | failed: DriverError: a \\| b |\n" in text
    assert "\n| matmul_tf32 | skipped: PyTorch is not installed |\n" in text
    assert "Traceback" not in text
