"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place if the block ends well, and is removed if not.

    An existing file keeps its mode; a new one gets the usual one. Raises OSError as file operations do.
    """
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        scratch.touch()
        mode = target.stat().st_mode if target.exists() else scratch.stat().st_mode
        yield scratch
        scratch.chmod(mode & 0o7777)
        os.replace(scratch, target)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes | str) -> None:
    """Writes bytes, or text as UTF-8: readers see the old file or the new one."""
    with replacing(target) as scratch:
        scratch.write_bytes(data.encode() if isinstance(data, str) else data)
