"""Compiled objects on disk, by the hash of all that made them. An entry that does not check is made anew.

While a script has added ops, new objects are kept in memory: no other process has the keys of their kernels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from cnncc import ops
from cnncc.base.cache_folder import cache_folder, read_private, write_private

_MAGIC = b"cnncc object 1\n"
_in_memory: dict[str, bytes] = {}


def directory() -> Path:
    """Where objects are kept."""
    return cache_folder()


def read(key: str) -> bytes | None:
    """The object under a key; None when there is none, or when it is damaged or somebody else could have written it."""
    if key in _in_memory:
        return _in_memory[key]
    data = read_private(_path(key)) or b""
    head, body = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    return body if head == _MAGIC + hashlib.sha256(body).digest() else None


def write(key: str, body: bytes) -> None:
    """Stores an object whole or not at all. A cache that cannot be written is no error: the next run compiles again."""
    if ops.ADDED:
        _in_memory[key] = body
        return
    write_private(_path(key), _MAGIC + hashlib.sha256(body).digest() + body)


def fetch(key: str, make: Callable[[], bytes]) -> bytes:
    """The object under a key, made and stored if need be."""
    body = read(key)
    if body is None:
        body = make()
        write(key, body)
    return body


def _path(key: str) -> Path:
    return directory() / key[:2] / key[2:]
