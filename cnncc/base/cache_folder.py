"""Where what took long to make is kept, to be taken again or made anew: nothing is lost if it is removed.

Objects in it become code of the process that reads them, so nobody else may be able to write there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cnncc.base.errors import CnnccError
from cnncc.base.files import write_whole

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


def cache_folder() -> Path:
    """$CNNCC_CACHE, else the user's cache folder. CnnccError if somebody else could have put something there."""
    folder = _named()
    check_private(folder)
    return folder


def _named() -> Path:
    if chosen := os.environ.get("CNNCC_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "cnncc"
    try:
        return Path.home() / ".cache" / "cnncc"
    except RuntimeError as error:
        raise CnnccError("there is no home folder for the cache", hint="name a folder by CNNCC_CACHE") from error


def check_private(folder: Path) -> None:
    """CnnccError if a folder is another user's, or others can write to it; one that is not there is nobody's."""
    try:
        found = folder.stat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode):
        return  # nothing can be in it
    fault = _fault(found)
    if fault:
        hint = (
            "kernels in it are code that runs as you, and may be somebody else's. Remove it, or name another folder "
            "by CNNCC_CACHE; it is made with mode 0700"
        )
        raise CnnccError(f"cache folder {folder} is not used: it {fault}", hint=hint)


def _fault(found: os.stat_result) -> str:
    """What is wrong with an owner and a mode, as the end of a sentence; nothing if only the caller can write."""
    if found.st_uid != os.geteuid():
        return f"belongs to another user (number {found.st_uid}; you are {os.geteuid()})"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written to by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def read_private(path: Path) -> bytes | None:
    """What a file of the cache holds; None if it is not there, or is not the caller's alone to write. CnnccError, as of
    `cache_folder`, for the folder that it is in."""
    check_private(path.parent)
    try:
        with path.open("rb") as file:
            return None if _fault(os.fstat(file.fileno())) else file.read()
    except OSError:
        return None


def write_private(path: Path, data: bytes | str) -> None:
    """Stores a file whole or not at all, for the caller alone. A cache that cannot be written is no error: what would
    be in it is made again."""
    try:
        make_private(path.parent)
        write_whole(path, data, PRIVATE_FILE)
    except (OSError, CnnccError):
        return


def make_private(folder: Path) -> None:
    """A folder in the cache, and the cache itself, with mode 0700; folders around them as usual. OSError if that cannot
    be, CnnccError if others can write to one of them."""
    root = cache_folder()
    root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    check_private(root)  # it may have been made by somebody else since
    check_private(folder)
