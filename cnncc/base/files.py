"""Files that appear whole or not at all, and never in the place of something else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from pathlib import Path

from cnncc.base.errors import CnnccError

_scratch: set[Path] = set()
"""Temporary files and folders of this process that are there now."""


@contextlib.contextmanager
def scratch_folder(
    parent: str | os.PathLike[str] | None = None, prefix: str = "cnncc-", suffix: str = ""
) -> Iterator[Path]:
    """A new folder, in `parent` or where temporary files go, that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix, suffix=suffix) as name, _noted(Path(name)) as folder:
        yield folder


@contextlib.contextmanager
def _noted(path: Path) -> Iterator[Path]:
    """A temporary path that `remove_scratch` knows meanwhile."""
    _scratch.add(path)
    try:
        yield path
    finally:
        _scratch.discard(path)


def remove_scratch() -> None:
    """Removes what is temporary: for a process that ends without leaving its blocks."""
    for path in list(_scratch):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def replacing(target: Path, mode: int | None = None) -> Iterator[Path]:
    """A temporary path beside `target` that takes its place if the block ends well, and is removed if not.

    Without a `mode`, an existing file keeps its own and a new one gets the usual one. Raises OSError as file operations
    do, naming the target, and CnnccError for a target that is no regular file.
    """
    check_replaceable(target)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with _noted(scratch):
            scratch.touch(0o666 if mode is None else mode)
            kept = target.stat().st_mode if target.exists() else scratch.stat().st_mode
            yield scratch
            scratch.chmod(kept & 0o7777 if mode is None else mode)
            os.replace(scratch, target)
    except OSError as error:
        if str(error.filename) == str(scratch):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes | str, mode: int | None = None) -> None:
    """Writes bytes, or text as UTF-8: readers see the old file or the new one, which has the mode, if one is given."""
    with replacing(target, mode) as scratch:
        scratch.write_bytes(data.encode() if isinstance(data, str) else data)


def is_standard_output(path: str | os.PathLike[str]) -> bool:
    """Whether a user's path means the standard output of this process."""
    return os.fspath(path) in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def check_replaceable(target: Path) -> None:
    """CnnccError if something is at `target` (or where it links to) that is no regular file: replacing would remove
    a device, a pipe or a folder."""
    if target.is_dir():
        raise CnnccError(f"cannot write {target}: it is a folder")
    if str(target).startswith(("/dev/std", "/dev/fd/", "/proc/")):  # replaced, these links would be gone for everybody
        raise CnnccError(f"cannot write {target}: it is a stream, not a regular file")
    if os.path.exists(target) and not target.is_file():
        raise CnnccError(f"cannot write {target}: it is a device or a pipe, not a regular file")


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, str | os.PathLike[str]]) -> None:
    """CnnccError unless all outputs can be written without harm: each in a folder that exists, over nothing but a
    regular file, none over an input or another output. The keys say what each file is, for the message."""
    for path in outputs.values():
        check_replaceable(path)
        if not path.parent.is_dir():
            raise CnnccError(f"cannot write {path}: folder {path.parent} does not exist")
    pairs = [*product(outputs.items(), inputs.items()), *combinations(outputs.items(), 2)]
    for (role, path), (other_role, other) in pairs:
        if _same_file(path, Path(other)):
            raise CnnccError(f"cannot write {role} to {path}: that is {other_role}", hint="choose another name")


def _same_file(one: Path, other: Path) -> bool:
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
