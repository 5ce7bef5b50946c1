"""The tables of the parser are kept between processes; whatever is wrong with them, texts are read all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnncc import lang
from cnncc.errors import CnnccError
from cnncc.ir.text import print_graph
from cnncc.lang.parse import parser

NET = "net kept\ninput 3x9x9\nadd { conv 3x3 3 bn | }; relu\n"


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """Where the tables go, by a parser that is made anew."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    parser.cache_clear()
    yield tmp_path / "cache" / "grammar"
    parser.cache_clear()


def read() -> str:
    parser.cache_clear()
    with pytest.raises(CnnccError, match=":3:") as caught:
        lang.parse("net a\ninput 3x4x4\nconv = 3\n")
    return print_graph(lang.parse(NET)) + str(caught.value)


def test_kept_tables_read_the_same(kept: Path) -> None:
    first = read()
    before = kept.stat()
    assert read() == first
    assert kept.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("keep", [0, 20, 5000])
def test_damaged_tables_are_made_anew(kept: Path, keep: int) -> None:
    first, whole = read(), kept.read_bytes()
    kept.write_bytes(whole[:keep])
    assert read() == first
    assert kept.stat().st_size > 2 * keep  # their size differs a little each time


def test_no_place_for_tables(kept: Path, tmp_path: Path) -> None:
    first = read()
    os.rename(tmp_path / "cache", tmp_path / "other")
    (tmp_path / "cache").write_text("a file")
    assert read() == first
