"""The tables of the parser, kept between processes as JSON: making them takes 0.1 s, reading them 5 ms.

Lark's own cache is a pickle. Reading a pickle can run code that somebody put there, so it is not used.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from cnncc.base.cache_folder import cache_folder, read_private, write_private


def kept_parser(grammar: str, **ours: Any) -> Lark:
    """The LALR(1) parser of a grammar; `ours` are options of Lark that are objects of ours.

    The tables are made again if there are none, if they are damaged, or if they belong to another grammar or version of
    Lark. If the cache cannot be written, they are made each time.
    """
    path = cache_folder() / "grammar.json"
    key = hashlib.sha256(f"{version('lark')}\0{grammar}".encode()).hexdigest()
    kept = _read(path, key)
    if kept is not None:
        return Lark._load_from_dict(kept["data"], kept["memo"], **ours)  # type: ignore[no-untyped-call]
    parser = Lark(grammar, parser="lalr", maybe_placeholders=True, **ours)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {name: value for name, value in data["options"].items() if name not in ours}
    body = json.dumps({"data": data, "memo": memo}).encode()
    write_private(path, _head(key, body) + body)
    return parser


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The tables in a file; None if the file is missing, damaged or has another key."""
    head, newline, body = (read_private(path) or b"").partition(b"\n")
    if head + newline != _head(key, body):
        return None
    return json.loads(body, object_pairs_hook=_numbered)


def _head(key: str, body: bytes) -> bytes:
    return f"{key} {hashlib.sha256(body).hexdigest()}\n".encode()


def _numbered(pairs: list[tuple[str, Any]]) -> dict[str | int, Any]:
    """The dict that JSON had written as pairs. Keys that look like numbers become numbers again; no name in the tables
    looks like one."""
    return {int(key) if key.isdigit() else key: value for key, value in pairs}
