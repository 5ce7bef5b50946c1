"""What goes wrong while a module is written leaves the old files, or the new ones, and never half of one."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from module.c_programs import NET, build, write

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.runtime.load import read_info

ROOT = Path(cnncc.__file__).resolve().parent.parent
SEEDS = (1, 2)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "small.net").write_text(NET)
    return tmp_path


def command(folder: Path, *options: object) -> list[str]:
    return [sys.executable, "-m", "cnncc", "compile", "small.net", "-o", "small.so", *map(str, options)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The files that are there for others to see."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")}


EARLY, LATE = 4096, 40_000
"""Bytes at which the first file, or one of the last, does not fit."""


@pytest.mark.parametrize(
    ("options", "limit"),
    [((), EARLY), ((), LATE), (("--weights-external",), LATE), (("--emit", "a"), EARLY), (("--emit", "asm"), LATE)],
    ids=str,
)
def test_no_space_left(folder, options, limit, tmp_path_factory):
    """A file may grow no further (as on a full disk): one message, the old files whole, nothing else left.

    The kernels are compiled before, without the limit, which unlike a full disk holds for files in memory too."""
    warm = tmp_path_factory.mktemp("warm")
    shutil.copy(folder / "small.net", warm)
    subprocess.run(command(warm, *options), cwd=warm, env=environment(), capture_output=True, check=True)
    (folder / "small.so").write_bytes(b"old module")
    before = bytes_of(folder)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command(folder, *options), cwd=folder, env=environment(), capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 2, done
    assert done.stderr.startswith("cnncc: ")
    assert "Traceback" not in done.stderr
    assert bytes_of(folder) == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(before)


def test_no_space_left_on_the_device(tmp_path):
    """On a real file system that is full, where one can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    try:
        with pytest.raises(CnnccError, match=r"cannot write .*[Nn]o space left|C compiler failed[\s\S]*No space left"):
            write(build(), place, "so", "h")
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_two_compilations_of_one_output(folder):
    """They end together; module, header and weights are those of one of them."""
    alone = {}
    for seed in SEEDS:
        one = folder / str(seed)
        one.mkdir()
        (one / "small.net").write_text(NET)
        subprocess.run(
            command(one, "--seed", seed, "--weights-external"),
            cwd=one,
            env=environment(),
            check=True,
            capture_output=True,
        )
        alone[seed] = {name: data for name, data in bytes_of(one).items() if name != "small.net"}
    assert alone[1]["small.weights"] != alone[2]["small.weights"]
    for _ in range(2):
        both = [
            subprocess.Popen(
                command(folder, "--seed", seed, "--weights-external"),
                cwd=folder,
                env=environment(),
                stdout=subprocess.DEVNULL,
            )
            for seed in SEEDS
        ]
        assert [process.wait() for process in both] == [0, 0]
        found = {name: data for name, data in bytes_of(folder).items() if name != "small.net"}
        assert found in alone.values()
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_killed_in_the_middle(folder):
    """kill -9 at many moments: the module that can be loaded is the old one or the new one."""
    subprocess.run(command(folder, "--seed", 1), cwd=folder, env=environment(), check=True, capture_output=True)
    image = np.ones((1, 3, 17, 19), np.float32)
    old = bytes_of(folder)
    started = time.perf_counter()
    subprocess.run(command(folder, "--seed", 2), cwd=folder, env=environment(), check=True, capture_output=True)
    whole = time.perf_counter() - started
    new = bytes_of(folder)
    assert old["small.so"] != new["small.so"]
    for moment in np.linspace(0.3, 1.0, 8):
        process = subprocess.Popen(
            command(folder, "--seed", 1),
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(whole * moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = bytes_of(folder)
        assert found["small.so"] in (old["small.so"], new["small.so"])
        assert found["small.h"] in (old["small.h"], new["small.h"])
        assert cnncc.load(folder / "small.so")(image).sum() == pytest.approx(1, abs=1e-5)


def test_what_a_killed_one_left_is_cleared_away(folder):
    """A folder of work nobody holds, not one that was just made or belongs to a running compiler."""
    left, new, held = (folder / f".small.so.{name}.cnncc" for name in ("left", "new", "held"))
    for place in (left, new, held):
        place.mkdir()
        (place / "weights.bin").write_bytes(b"x" * 1000)
    for place in (left, held):
        os.utime(place, (time.time() - 3600,) * 2)
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    subprocess.run(command(folder), cwd=folder, env=environment(), check=True, capture_output=True)
    os.close(descriptor)
    assert [place.exists() for place in (left, new, held)] == [False, True, True]


def test_cut_modules_are_refused(tmp_path):
    data = write(build(), tmp_path, "so")["so"].read_bytes()
    for keep in (*range(0, len(data), len(data) // 40), len(data) - 1):
        (tmp_path / "bad.so").write_bytes(data[:keep])
        with pytest.raises(CnnccError, match=r"damaged or truncated|not a module|the file is empty"):
            cnncc.load(tmp_path / "bad.so")


def test_altered_descriptions_end_in_a_message(tmp_path):
    """Bytes changed in the headers and tables of the file, or in what the module says of itself, are read without a
    crash: a message, or a description."""
    data = write(build(), tmp_path, "so")["so"].read_bytes()
    rng, refused = np.random.default_rng(0), 0
    text, tables = data.index(b'{"format"'), len(data) - 64 * 30
    for _ in range(300):
        bad = bytearray(data)
        start = int(rng.choice([0, text, tables]))
        for at in rng.integers(start, min(start + 64 * 30, len(data)), 4):
            bad[at] ^= int(rng.integers(1, 256))
        (tmp_path / "bad.so").write_bytes(bad)
        try:
            read_info(tmp_path / "bad.so")
        except CnnccError:
            refused += 1
    assert refused > 30
