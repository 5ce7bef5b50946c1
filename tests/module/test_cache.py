"""The object cache: hits, damage, and a folder that cannot be written."""

from __future__ import annotations

import numpy as np
import pytest

import cnncc
from cnncc.module import cache

NET = "net cached\ninput 3x6x7\nconv 3x3 9 relu\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))


def run() -> bytes:
    return cnncc.compile(NET, threads=1)(np.ones((1, 3, 6, 7), np.float32)).tobytes()


def entries() -> list:
    return sorted(p for p in cache.directory().rglob("*") if p.is_file())


def test_second_compile_reads_the_cache(monkeypatch) -> None:
    from cnncc.module.cpu import objects

    first = run()
    assert entries()
    monkeypatch.setattr(objects, "compile_kernel", lambda *_: pytest.fail("compiled although cached"))
    assert run() == first


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: d[:-1] + bytes([d[-1] ^ 1])])
def test_damaged_entries_are_made_anew(damage) -> None:
    first = run()
    whole = {p: p.read_bytes() for p in entries()}
    for path, data in whole.items():
        path.write_bytes(damage(data))
    assert run() == first
    assert {p: p.read_bytes() for p in entries()} == whole


def test_unwritable_cache_still_compiles(monkeypatch, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("CNNCC_CACHE", str(blocked / "cache"))
    assert run()


def test_full_disk_leaves_nothing_half_written(monkeypatch) -> None:
    """The module is still made, and no entry, whole or in part, stays behind."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    assert run()
    assert entries() == []


def test_folder_in_the_place_of_an_entry_still_compiles() -> None:
    first = run()
    for path in entries():
        path.unlink()
        path.mkdir()
    assert run() == first


def test_key_depends_on_target_and_configuration() -> None:
    from cnncc import lang
    from cnncc.machines import targets
    from cnncc.module.keys import kernel_key
    from cnncc.module.lower import lower

    v3, zen = targets.load("x86-64-v3"), targets.load("znver3")
    kernels = lower(lang.parse(NET), v3).kernels
    keys = {kernel_key(k, t) for k in kernels for t in (v3, zen)}
    assert len(keys) == 2 * len(kernels)
