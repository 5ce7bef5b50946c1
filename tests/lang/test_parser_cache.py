"""The tables of the parser are kept between processes; whatever is wrong with them, texts are read all the same."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest

from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.ir.text import print_graph
from cnncc.lang.parse import parser

NET = "net kept\ninput 3x9x9\nadd { conv 3x3 3 bn | }; relu\n"


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """Where the tables go, by a parser that is made anew."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    parser.cache_clear()
    yield tmp_path / "cache" / "grammar.json"
    parser.cache_clear()


def read() -> str:
    parser.cache_clear()
    with pytest.raises(CnnccError, match=":3:") as caught:
        lang.parse("net a\ninput 3x4x4\nconv = 3\n")
    return print_graph(lang.parse(NET)) + str(caught.value)


def is_whole(kept: Path) -> bool:
    """Whether the hash in the first line is that of the rest; Lark numbers its tables differently each time."""
    head, _, body = kept.read_bytes().partition(b"\n")
    return head.split()[-1].decode() == hashlib.sha256(body).hexdigest()


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
    assert is_whole(kept)


def test_a_changed_byte_is_damage(kept: Path) -> None:
    first, whole = read(), kept.read_bytes()
    at = whole.index(b'"parser"')
    kept.write_bytes(whole[:at] + b'"Parser"' + whole[at + 8 :])
    assert read() == first
    assert is_whole(kept)


def test_nothing_in_it_can_run(kept: Path) -> None:
    """The tables are JSON after a line of hashes; a pickle in their place is not even looked at."""
    first = read()
    json.loads(kept.read_bytes().partition(b"\n")[2])
    kept.write_bytes(pickle.dumps(Exploding()))
    assert read() == first


class Exploding:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('a pickle was read')",)


def test_no_place_for_tables(kept: Path, tmp_path: Path) -> None:
    first = read()
    os.rename(tmp_path / "cache", tmp_path / "other")
    (tmp_path / "cache").write_text("a file")
    assert read() == first
