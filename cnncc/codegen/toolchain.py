"""The system's C compiler: it builds the C parts of modules and links them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cnncc.codegen import cache
from cnncc.errors import CnnccError

RUNTIME = Path(__file__).resolve().parent.parent / "runtime"
_C_FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden")


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
    _run("the C compiler", [*compiler().split(), *arguments], cwd)


def binutil(name: str, arguments: list[str], cwd: Path) -> None:
    """Runs `ar` or `objcopy`, of binutils or of LLVM."""
    found = next((tool for tool in (name, f"llvm-{name}") if shutil.which(tool)), None)
    if found is None:
        raise CnnccError(f"no {name} found, which objects and archives need", hint="install binutils or llvm")
    _run(name, [found, *arguments], cwd)


def _run(what: str, command: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CnnccError(f"cannot run {what} {command[0]!r}: {error.strerror}") from error
    if done.returncode:
        raise CnnccError(f"{what} failed ({' '.join(command[:3])} ...):\n{done.stderr.strip()}")


def runtime_object(name: str) -> bytes:
    """A C file of `cnncc/runtime` as a position-independent object: `pool`, `cpu` or `weights`."""
    return cache.fetch(_key(name, "object"), lambda: _compiled(name, ["-c"]))


def pool_library() -> Path:
    """The thread pool as a shared object, for modules compiled in-process. It lasts until the caller removes it."""
    body = cache.fetch(_key("pool", "library"), lambda: _compiled("pool", ["-shared", "-fvisibility=default"]))
    handle, path = tempfile.mkstemp(prefix="cnncc-pool-", suffix=".so")
    with os.fdopen(handle, "wb") as file:
        file.write(body)
    return Path(path)


def _key(name: str, form: str) -> str:
    source = (RUNTIME / f"{name}.c").read_bytes()
    return hashlib.sha256(f"{form} {compiler()} {_C_FLAGS}".encode() + source).hexdigest()


def _compiled(name: str, flags: list[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cnncc-") as folder:
        work = Path(folder)
        call([*_C_FLAGS, *flags, str(RUNTIME / f"{name}.c"), "-o", "out", "-pthread"], work)
        return (work / "out").read_bytes()
