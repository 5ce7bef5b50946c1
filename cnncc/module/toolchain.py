"""The C compiler of a target: it builds the C parts of modules and links them. The system's, else that of `ziglang`."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from cnncc.base import extras, resources
from cnncc.base.errors import CnnccError
from cnncc.base.files import scratch_folder
from cnncc.machines.targets import Target
from cnncc.module import cache

RUNTIME = resources.PACKAGE / "runtime"
_C_FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden")
_NATIVE = ("cc", "gcc", "clang")


def compiler(target: Target) -> list[str]:
    """The command that compiles C and links for a target: on a machine of its kind $CC, else `cc`, `gcc` or `clang`;
    after those, and for other machines, the first of the target's own list that is there."""
    chosen = os.environ.get("CC") if is_native(target) else None
    if chosen:
        return chosen.split()
    known = [*(_NATIVE if is_native(target) else ()), *target.linkers]
    found = next((command for name in known if (command := _command(name))), None)
    if found is None:
        raise CnnccError(f"no C compiler or linker found for target {target.name}", hint=_advice(target, known))
    return found


def is_native(target: Target) -> bool:
    """Whether the target is the kind of machine this one is, though maybe with other features."""
    return target.format == "elf" and target.triple.startswith(f"{platform.machine()}-")


def _command(name: str) -> list[str] | None:
    """A linker of a target file as a command that can be run; None where it is not there."""
    program, *arguments = name.split()
    if shutil.which(program):
        return [program, *arguments]
    if program == "zig" and find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", *arguments]
    return None


def _advice(target: Target, known: list[str]) -> str:
    names = " or ".join(name for name in known if not name.startswith("zig "))
    advice = f"install {names}, or the ziglang wheel: {extras.install('cross')}"
    return f"{advice}; compiling in-process with threads=1 needs none" if is_native(target) else advice


def call(target: Target, arguments: list[str], cwd: Path) -> None:
    """Runs the target's compiler; its own message becomes the error."""
    _run("the C compiler", [*compiler(target), *arguments], cwd)


def binutil(target: Target, name: str, arguments: list[str], cwd: Path) -> None:
    """Runs `ar` or `objcopy`, of the target's binutils or of LLVM, whose tools know all targets."""
    own = [linker.removesuffix("gcc") + name for linker in target.linkers if linker.endswith("-gcc")]
    known = [*([name] if is_native(target) else own), f"llvm-{name}"]
    found = next((tool for tool in known if shutil.which(tool)), None)
    if found is None:
        hint = f"install {' or '.join(known)}"
        raise CnnccError(f"no {name} found for target {target.name}, which objects and archives need", hint=hint)
    _run(name, [found, *arguments], cwd)


def places_sections(target: Target) -> bool:
    """Whether the target's compiler links ELF files by GNU ld, which takes additions to its own script. False where it
    cannot be run."""
    if target.format != "elf":
        return False
    try:
        command = [*compiler(target), "-Wl,--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir())
    except OSError:
        return False
    return said.stdout.startswith("GNU ld ")


def _run(what: str, command: list[str], cwd: Path) -> None:
    # What the compiler puts aside goes into the same temporary folder: if both are interrupted, it goes with that.
    environment = {**os.environ, "TMPDIR": str(cwd.resolve())}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CnnccError(f"cannot run {what} {command[0]!r}: {error.strerror}") from error
    if done.returncode:
        raise CnnccError(f"{what} failed ({' '.join(command[:3])} ...):\n{done.stderr.strip()}")


def runtime_object(name: str, target: Target) -> bytes:
    """A C file of `cnncc/runtime` as a position-independent object: `pool`, `cpu` or `weights`."""
    return cache.fetch(_key(name, "object", target), lambda: _compiled(name, ["-c"], target))


def pool_library(target: Target) -> Path:
    """The thread pool as a shared object, for modules compiled in-process. It lasts until the caller removes it."""
    flags = ["-shared", "-fvisibility=default"]
    body = cache.fetch(_key("pool", "library", target), lambda: _compiled("pool", flags, target))
    handle, path = tempfile.mkstemp(prefix="cnncc-pool-", suffix=".so")
    with os.fdopen(handle, "wb") as file:
        file.write(body)
    return Path(path)


def _key(name: str, form: str, target: Target) -> str:
    source = (RUNTIME / f"{name}.c").read_bytes()
    everything = f"{form} {target.triple} {compiler(target)} {_C_FLAGS} {target.c_flags}"
    return hashlib.sha256(everything.encode() + source).hexdigest()


def _compiled(name: str, flags: list[str], target: Target) -> bytes:
    with scratch_folder() as work:
        call(target, [*_C_FLAGS, *target.c_flags, *flags, str(RUNTIME / f"{name}.c"), "-o", "out", "-pthread"], work)
        return (work / "out").read_bytes()
