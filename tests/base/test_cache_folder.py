"""The cache holds code that runs as the caller: nobody else may be able to write there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cnncc import cli
from cnncc.base.cache_folder import cache_folder, read_private, write_private
from cnncc.base.errors import CnnccError
from cnncc.runtime.cuda.driver import emulated_driver


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache will be."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in [folder, *folder.rglob("*")]}


def test_it_is_the_callers_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the umask, and also below a folder that is made with it."""
    before = os.umask(0)
    try:
        assert cli.main(["compile", "lenet5", "-o", str(folder.parent / "a.so")]) == 0
    finally:
        os.umask(before)
    assert modes(folder) == {(True, 0o700), (False, 0o600)}


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702, 0o720])
def test_others_who_can_write_are_refused(folder: Path, mode: int, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert cli.main(["compile", "lenet5", "-o", str(folder.parent / "a.so")]) == 2
    told = capsys.readouterr().err
    assert f"cache folder {folder} is not used: it can be written to by others (mode {mode:04o})" in told
    assert "Remove it, or name another folder by CNNCC_CACHE" in " ".join(told.split())
    assert not (folder.parent / "a.so").exists()
    assert list(folder.iterdir()) == []


def test_so_is_another_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    me = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: me + 1)
    with pytest.raises(CnnccError, match=f"belongs to another user .number {me}; you are {me + 1}."):
        cache_folder()


def test_a_link_is_what_it_leads_to(folder: Path) -> None:
    other = folder.with_name("other")
    other.mkdir()
    other.chmod(0o777)
    folder.symlink_to(other)
    with pytest.raises(CnnccError, match="can be written to by others"):
        cache_folder()


def test_the_folder_of_an_entry_too(folder: Path) -> None:
    write_private(folder / "ab" / "entry", b"code")
    (folder / "ab").chmod(0o770)
    with pytest.raises(CnnccError, match="can be written to by others"):
        read_private(folder / "ab" / "entry")


def test_an_entry_that_others_can_write_counts_as_missing(folder: Path) -> None:
    path = folder / "entry"
    write_private(path, b"code")
    assert read_private(path) == b"code"
    path.chmod(0o666)
    assert read_private(path) is None
    write_private(path, b"anew")
    assert read_private(path) == b"anew"


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o750])
def test_others_may_read(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert cache_folder() == folder


def test_what_cannot_be_written_is_made_again(folder: Path) -> None:
    folder.write_text("in the way")
    write_private(folder / "ab" / "entry", b"code")
    assert read_private(folder / "ab" / "entry") is None


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", missing)
    for name in ("CNNCC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CnnccError, match="no home folder for the cache") as caught:
        cache_folder()
    assert "CNNCC_CACHE" in caught.value.hint


def test_the_emulated_driver_is_code_too(folder: Path) -> None:
    emulated_driver.cache_clear()
    (folder / "emulator").mkdir(parents=True, mode=0o700)
    (folder / "emulator").chmod(0o777)
    folder.chmod(0o700)
    with pytest.raises(CnnccError, match=f"cache folder {folder}.emulator is not used: it can be written to by others"):
        emulated_driver()
