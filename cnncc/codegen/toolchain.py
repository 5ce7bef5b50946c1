"""The system's C compiler: it builds the thread pool and links shared objects."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cnncc.codegen import cache
from cnncc.errors import CnnccError

POOL_SOURCE = Path(__file__).resolve().parent.parent / "runtime" / "pool.c"
_C_FLAGS = ("-std=c11", "-O2", "-fPIC", "-fvisibility=hidden")


def compiler() -> str:
    """The C compiler: $CC, else `cc` or `gcc` from the path."""
    chosen = os.environ.get("CC")
    found = chosen or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if found is None:
        raise CnnccError(
            "no C compiler found to link a shared object or to build the thread pool",
            hint="install gcc or clang, or set CC; compiling in-process with threads=1 needs none",
        )
    return found


def call(arguments: list[str], cwd: Path) -> None:
    """Runs the compiler; its own message becomes the error."""
    command = [*compiler().split(), *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CnnccError(f"cannot run the C compiler {command[0]!r}: {error.strerror}") from error
    if done.returncode:
        raise CnnccError(f"the C compiler failed ({' '.join(command[:3])} ...):\n{done.stderr.strip()}")


def pool_object() -> bytes:
    """The thread pool as a position-independent object."""
    return cache.fetch(_pool_key("object"), lambda: _build_pool(["-c"], "pool.o"))


def pool_library() -> Path:
    """The thread pool as a shared object, for modules compiled in-process."""
    cache_key = _pool_key("library")
    body = cache.fetch(cache_key, lambda: _build_pool(["-shared", "-fvisibility=default"], "pool.so"))
    handle, path = tempfile.mkstemp(prefix="cnncc-pool-", suffix=".so")
    with os.fdopen(handle, "wb") as file:
        file.write(body)
    return Path(path)


def _pool_key(form: str) -> str:
    return hashlib.sha256(f"{form} {compiler()} {_C_FLAGS}".encode() + POOL_SOURCE.read_bytes()).hexdigest()


def _build_pool(flags: list[str], name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cnncc-") as folder:
        call([*_C_FLAGS, *flags, str(POOL_SOURCE), "-o", name, "-pthread"], Path(folder))
        return (Path(folder) / name).read_bytes()
