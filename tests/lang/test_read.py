"""Where network texts come from, and what can be wrong with them."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import pytest

from cnncc import lang
from cnncc.base import resources
from cnncc.base.errors import CnnccError

TEXT = "net t\ninput 3x8x8\nrelu\n"


def refused(source: str | Path) -> str:
    with pytest.raises(CnnccError) as caught:
        lang.read(source)
    return str(caught.value)


def test_a_text_a_file_and_standard_input_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.net"
    path.write_text(TEXT)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert lang.read(TEXT) == lang.read(path) == lang.read(str(path)) == lang.read("-")


def test_byte_order_mark_and_dos_newlines(tmp_path: Path) -> None:
    path = tmp_path / "t.net"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert lang.read(path) == lang.parse(TEXT)


def test_missing_file() -> None:
    model = resources.directory("models") / "resnet50.net"
    assert refused("resnet50") == f"resnet50: there is no such file\n  hint: did you mean {model}?"
    assert "did you mean resnet50?" in refused("resnet5.net")


def test_directory(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path}: is a directory, not a network text"


def test_unreadable_paths() -> None:
    assert refused("a\0b") == "a\0b: cannot be read: embedded null byte"
    assert refused("a" * 5000).endswith("cannot be read: File name too long")


def test_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.net"
    path.write_bytes("net t\n# ü ".encode() + b"\xff\xfe\n")
    assert refused(path).splitlines()[0] == f"{path}:2:5: byte 0xff is no UTF-8 text"


@pytest.mark.parametrize("start", [b"\x7fELF\x02\x01", b"\0asm\1\0"])
def test_compiled_module(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "t.so"
    path.write_bytes(start + b"\xff")
    assert refused(path).splitlines()[0] == f"{path}: is a compiled module or program, not the text of a network"
    assert "run, check and profile take them" in refused(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "t.net"
    path.write_bytes(b"")
    assert refused(path).splitlines()[0] == f"{path}:1:1: the text is empty"
