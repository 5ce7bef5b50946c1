"""A compilation that is killed: the old output or none, never a part of one, and a cache that still works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cnncc

KILLS = 6
NET = "net killed\ninput 3x16x16\nconv 3x3 8 relu\nconv 3x3 24 relu\ngap\nfc 10 softmax\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "killed.net").write_text(NET)
    return tmp_path


def start(folder: Path, cache: str, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cnncc", "compile", "killed.net", "-o", "killed.so", "--seed", str(seed)]
    environment = {**os.environ, "CNNCC_CACHE": str(folder / cache)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **quiet)


def test_at_random_moments(folder: Path) -> None:
    """Into a cache that each of the killed ones filled a little more, over an output that was there before."""
    began = time.monotonic()
    assert start(folder, "whole", 0).wait() == 0
    seconds = time.monotonic() - began
    old = (folder / "killed.so").read_bytes()
    assert start(folder, "whole", 1).wait() == 0
    new = (folder / "killed.so").read_bytes()
    (folder / "killed.so").write_bytes(old)
    moments = random.Random(0)
    for _ in range(KILLS):
        running = start(folder, "cut", 1)
        time.sleep(seconds * moments.uniform(0.2, 1.0))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert (folder / "killed.so").read_bytes() in (old, new)
    assert start(folder, "cut", 1).wait() == 0
    assert (folder / "killed.so").read_bytes() == new
    result = cnncc.load(folder / "killed.so")(np.ones((1, 3, 16, 16), np.float32))
    assert np.isfinite(result).all()
