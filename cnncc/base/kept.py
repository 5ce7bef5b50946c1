"""Bytes on disk, by the hash of all that made them. An entry that does not check is as good as none."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cnncc.base.cache_folder import cache_folder, read_private, write_private

_MAGIC = b"cnncc object 1\n"


def read(key: str) -> bytes | None:
    """What is kept under a key; None if nothing is, or if it is damaged or somebody else could have written it."""
    data = read_private(_path(key)) or b""
    head, body = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    return body if head == _MAGIC + hashlib.sha256(body).digest() else None


def write(key: str, body: bytes) -> None:
    """Keeps it whole or not at all. A cache that cannot be written is no error: it is made again next time."""
    write_private(_path(key), _MAGIC + hashlib.sha256(body).digest() + body)


def _path(key: str) -> Path:
    return cache_folder() / key[:2] / key[2:]
