"""Closed streams, full disks, folders and strange files, an empty environment: one line each, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = "net t\ninput 3x8x8\nconv 3x3 4 relu\n"
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def shell(line: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of sh, in which `cnncc` is the command of this tree."""
    script = f'cnncc() {{ "{sys.executable}" -m cnncc "$@"; }}\n{line}'
    everything = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(["sh", "-c", script], cwd=where, capture_output=True, text=True, check=False, env=everything)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "t.net").write_text(TEXT)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "folder").mkdir()
    return tmp_path


LINES = [
    ("cnncc targets >&-", 0, ""),
    ("cnncc --help >&-", 0, ""),
    ("cnncc summary t.net >&-", 0, ""),
    ("cnncc summary - <&-", 2, "cnncc: <stdin>:1:1: the text is empty"),
    ("cnncc summary nothing.net 2>&-", 2, ""),
    ("cnncc summary t.net > /dev/full", 2, "cnncc: input or output: no space left on device"),
    ("cnncc expand t.net --json > /dev/full", 2, "cnncc: input or output: no space left on device"),
    ("cnncc summary nothing.net", 2, "cnncc: nothing.net: there is no such file"),
    ("cnncc summary folder", 2, "cnncc: folder: is a directory, not a network text"),
    ("cnncc summary noise", 2, "cnncc: noise:"),
    ("cnncc import folder", 2, "cnncc: cannot read folder: it is a folder"),
    ("cnncc import .", 2, "cnncc: cannot read .: it is a folder"),
    ("cnncc import empty", 2, "cnncc: empty is no ONNX model"),
    ("cnncc info empty", 2, "cnncc: empty: cannot be read: the file is empty"),
    ("cnncc info noise", 2, "cnncc: noise: not a module compiled by cnncc"),
    ("cnncc run t.net nothing.npy", 2, "cnncc: nothing.npy: no such file or folder"),
    ("cnncc compile t.net -o t.net", 2, "cnncc: cannot write the module to t.net: that is the network"),
    ("cnncc compile t.net -o /dev/full", 2, "cnncc: cannot write /dev/full: it is a device or a pipe"),
    ("cnncc compile t.net -o nowhere/t.so", 2, "cnncc: cannot write nowhere/t.so: folder nowhere does not exist"),
    ("cnncc weights t.net --from folder", 2, "cnncc: cannot read weights from folder: it is a folder"),
]


@pytest.mark.parametrize(("line", "code", "message"), LINES, ids=[line[0] for line in LINES])
def test_one_line_and_an_exit_code(place, line, code, message):
    done = shell(line, place)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr + done.stdout
    assert bool(message) == bool(done.stderr)


def test_the_least_of_an_environment(place):
    command = [sys.executable, "-m", "cnncc", "summary", "t.net"]
    for more in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "TERM": "", "NO_COLOR": "1", "COLUMNS": "20"}):
        done = subprocess.run(command, cwd=place, env={**BARE, **more}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "MACs" in done.stdout
        assert "\x1b" not in done.stdout


def test_what_is_written_in_other_alphabets_is_shown_even_where_none_can_be(place):
    (place / "x.net").write_text("net t\ninput 3x8x8\nconv 3\u00d73 4\n", encoding="utf-8")
    done = shell("cnncc summary x.net", place, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 2
    assert done.stderr.startswith("cnncc: x.net:3:6: sizes are written 3x3, not '3")
