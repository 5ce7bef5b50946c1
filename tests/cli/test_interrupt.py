"""Ctrl-C: a command ends at once in every phase, says so, exits with 130, and leaves neither files nor processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnncc.cli import interrupt

ROOT = Path(__file__).resolve().parents[2]
LONG = "net t\ninput 8x16x16\nconv 3x3 64 gelu\n"
"""One kernel, compiled in the process itself."""
SOON = 5
"""Seconds until the end on a machine that is busy with other tests; alone it takes less than one."""
PHASES = {
    "reading": ("summary - -q", 0.1),
    "one kernel": ("compile - -q -o out/t.so", 2.0),
    "many kernels": ("compile resnet50 -q -o out/t.so", 5.0),
    "reference": ("check resnet34 -q", 4.0),
}


@pytest.fixture(autouse=True)
def _as_in_a_terminal():
    """Jobs that a shell starts in the background, as CI may be one, ignore Ctrl-C, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_ends_every_phase(tmp_path, phase):
    line, delay = PHASES[phase]
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "CNNCC_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "cnncc", *line.split()]
    pipe = subprocess.PIPE
    streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
    places = {"cwd": tmp_path, "env": environment}
    with subprocess.Popen(command, **streams, **places, start_new_session=True) as process:
        process.stdin.write(LONG.encode())
        process.stdin.flush()
        if phase != "reading":  # which waits for the end of its input
            process.stdin.close()
        tasks = Path(f"/proc/{process.pid}/task")
        while process.poll() is None and len(list(tasks.iterdir())) < 2:  # Python is starting: nobody watches yet
            time.sleep(0.02)
        time.sleep(delay)
        if process.poll() is not None:
            pytest.skip("it was done before")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        start = time.monotonic()
        code = process.wait(60)
        if code == -signal.SIGINT and (tmp_path / "out" / "t.so").exists():
            pytest.skip("it was done before, and Python about to end")
        assert (code, process.stderr.read().decode()) == (130, "cnncc: interrupted\n")
        assert time.monotonic() - start < SOON
    assert [path for name in ("out", "tmp") for path in (tmp_path / name).iterdir()] == []
    assert gone(process.pid), "its children went on"


def gone(group: int) -> bool:
    """Whether all processes of a group end soon: each is told, and the first need not be the last to end."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_command_that_does_not_follow_is_ended(monkeypatch):
    ended = []
    monkeypatch.setattr(interrupt, "PATIENCE", 0.01)
    monkeypatch.setattr(interrupt, "end", lambda: ended.append(True))
    with interrupt.watched():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            time.sleep(0.2)
    assert ended == [True]


def test_a_command_that_follows_is_left_alone(monkeypatch):
    monkeypatch.setattr(interrupt, "end", lambda: pytest.fail("ended"))

    def command() -> None:
        with interrupt.watched():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        command()
    assert signal.set_wakeup_fd(-1) == -1


def test_an_interrupt_within_exec_exits_130_too(tmp_path):
    """Python would end such a program by a signal."""
    script = "from cnncc.cli import interrupt\nimport sys\ntry:\n exec('raise KeyboardInterrupt')\n"
    script += "except KeyboardInterrupt:\n sys.exit(interrupt.tell())\n"
    (tmp_path / "s.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "s.py"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"cnncc: interrupted\n")


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt, []), (ValueError, [ValueError])])
def test_an_interrupt_that_nobody_can_catch_says_nothing(
    error: type[BaseException], told: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raises:
        def __del__(self) -> None:
            raise error

    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_type))
    with interrupt.watched():
        Raises()
    assert seen == told
