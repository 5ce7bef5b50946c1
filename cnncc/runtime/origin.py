"""Where a loaded model comes from, and how it travels to another process: as the path and the hash of its file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cnncc.base.errors import CnnccError, reason

HINT = "a model is pickled as path and hash of its module: every process needs the same file at that path"


@dataclass(frozen=True)
class Stamp:
    """What tells a file from another one at its path without reading it."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @staticmethod
    def of(path: Path) -> Stamp:
        """OSError if there is no such file."""
        stat = path.stat()
        return Stamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Origin:
    """The file of a loaded model, as it was then."""

    path: Path
    stamp: Stamp
    reopen: Callable[..., Any]
    """Loads the model again, in another process, from what `recipe` stores."""
    weights: Path | None = None
    """The file of its weights, where the caller said so; the module itself knows their hash."""

    @staticmethod
    def of(
        path: str | os.PathLike[str], reopen: Callable[..., Any], weights: str | os.PathLike[str] | None = None
    ) -> Origin:
        """Raises CnnccError for a file that cannot be read."""
        beside = None if weights is None else Path(weights).resolve()
        return Origin(Path(path).resolve(), _stamp(Path(path)), reopen, beside)

    def recipe(self, threads: int | None) -> tuple[Any, ...]:
        """What pickle stores. CnnccError if the file is not the one that was loaded any more."""
        if _stamp(self.path) != self.stamp:
            raise CnnccError(f"{self.path} has changed since it was loaded", hint="load it again before pickling it")
        weights = None if self.weights is None else str(self.weights)
        return self.reopen, (str(self.path), sha256(self.path), threads, weights)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex; remembered until the file changes."""
    return _digest(path, _stamp(path))


@lru_cache(maxsize=64)
def _digest(path: Path, stamp: Stamp) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CnnccError(f"{path}: cannot be read: {reason(error)}", hint=HINT) from error


def _stamp(path: Path) -> Stamp:
    try:
        return Stamp.of(path)
    except OSError as error:
        raise CnnccError(f"{path}: cannot be read: {reason(error)}", hint=HINT) from error
