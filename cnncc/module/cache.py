"""Compiled objects on disk, by the hash of all that made them. An entry that does not check is made anew.

While a script has added ops, new objects are kept in memory: no other process has the keys of their kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cnncc import ops
from cnncc.base import kept
from cnncc.base.cache_folder import cache_folder

_in_memory: dict[str, bytes] = {}


def directory() -> Path:
    """Where objects are kept."""
    return cache_folder()


def read(key: str) -> bytes | None:
    """The object under a key; None when there is none, or when it is damaged or somebody else could have written it."""
    return _in_memory[key] if key in _in_memory else kept.read(key)


def write(key: str, body: bytes) -> None:
    """Stores an object whole or not at all. A cache that cannot be written is no error: the next run compiles again."""
    if ops.ADDED:
        _in_memory[key] = body
    else:
        kept.write(key, body)


def fetch(key: str, make: Callable[[], bytes]) -> bytes:
    """The object under a key, made and stored if need be."""
    body = read(key)
    if body is None:
        body = make()
        write(key, body)
    return body
