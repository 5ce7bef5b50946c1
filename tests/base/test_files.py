"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncc.base.errors import CnnccError
from cnncc.base.files import check_outputs, replacing, write_whole


def test_writes_and_keeps_the_mode(tmp_path: Path) -> None:
    target = tmp_path / "a"
    write_whole(target, "one")
    target.chmod(0o640)
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as scratch:
            scratch.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "no" / "a", b"")
    assert caught.value.filename == str(tmp_path / "no" / "a"), "not the temporary file"


def test_a_pipe_or_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "folder").mkdir()
    for name, what in (("pipe", "a device or a pipe"), ("link", "a device or a pipe"), ("folder", "a folder")):
        with pytest.raises(CnnccError, match=f"cannot write .*{name}: it is {what}"):
            write_whole(tmp_path / name, b"")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_outputs_are_no_inputs_and_not_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    (tmp_path / "soft").symlink_to("a")
    for name in ("a", "hard", "soft", "../" + tmp_path.name + "/a"):
        with pytest.raises(CnnccError, match=r"cannot write the module to .*: that is the network"):
            check_outputs({"the module": tmp_path / name}, {"the network": tmp_path / "a"})
    with pytest.raises(CnnccError, match=r"cannot write the module to .*b: that is the header"):
        check_outputs({"the module": tmp_path / "b", "the header": tmp_path / "." / "b"}, {})
    with pytest.raises(CnnccError, match=r"folder .*no does not exist"):
        check_outputs({"the module": tmp_path / "no" / "b"}, {})
    check_outputs({"the module": tmp_path / "b", "the header": tmp_path / "c"}, {"the network": tmp_path / "a"})
