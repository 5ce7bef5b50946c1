"""Loading a compiled module: read what it says of itself, refuse what cannot run here, open it."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnncc.base.errors import CnnccError, reason
from cnncc.runtime import cpu, wasm_section
from cnncc.runtime.cuda.driver import cuda_model
from cnncc.runtime.interface import FORMAT, Code, ModelState
from cnncc.runtime.model import EntryPoint, Model
from cnncc.runtime.origin import HINT, Origin, sha256

SECTION = b".cnncc"
ARCHIVE = b"!<arch>\n"
"""How a static library begins."""
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a module says of itself. It is read from the file and none of its code runs, so the module may be for any
    processor."""
    file = Path(path)
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            text, is_archive = _section(data), data[: len(ARCHIVE)] == ARCHIVE
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "the file is empty"
        raise CnnccError(f"{file}: cannot be read: {why}") from error
    except (struct.error, OverflowError, IndexError) as error:  # tables that point nowhere
        raise CnnccError(f"{file}: a damaged or truncated module") from error
    if text is None:
        hint = "compile one with: cnncc compile NET -o out.so"
        if is_archive:
            hint = "it is an archive: link it into a program, see docs/embed.md"
        raise CnnccError(f"{file}: not a module compiled by cnncc", hint=hint)
    try:
        info: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise CnnccError(f"{file}: a damaged or truncated module") from error
    return info


def _section(data: mmap.mmap) -> bytes | None:
    """The text in section `.cnncc` of a 64-bit little-endian ELF file or of WebAssembly; None if it is neither or has
    none."""
    if data[: len(wasm_section.MAGIC)] == wasm_section.MAGIC:
        return wasm_section.find_custom_section(data, SECTION)
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    header = _ELF_HEADER.unpack_from(data, 0)
    table, entry, count, names = header[6], header[11], header[12], header[13]
    sections = [_SECTION_HEADER.unpack_from(data, table + i * entry) for i in range(count)]
    if names >= len(sections):
        return None
    strings = sections[names][4]
    for name, _, _, _, offset, size, *_ in sections:
        if data[strings + name : strings + name + len(SECTION) + 1] == SECTION + b"\0":
            return data[offset : offset + size].rstrip(b"\0")
    return None


def load(
    path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, threads: int | None = None
) -> Model:
    """The model in a shared object that `cnncc compile` wrote. It needs NumPy, and nothing of the compiler.

    Loading a module runs its code: load only modules that you trust.

    - `path`: the shared object (`.so`).
    - `weights`: the file of the weights, if they are not inside the module. By default it is the file beside the
      module, under the name that it was given when the module was compiled.
    - `threads`: how many threads each call uses, from 1 to the number that the module was compiled for, which is also
      the default.

    Raises CnnccError if the file is no module, if this processor lacks a feature that the module needs, or if the
    weights are missing or altered.
    """
    info = read_info(path)
    origin = Origin.of(path, reopen, weights)
    _check(path, info, threads)
    model = _bind(_open(origin.path, info), info, origin)
    if threads is not None:
        model.set_threads(threads)
    return model


def reopen(path: str, digest: str, threads: int | None, weights: str | None = None) -> Model:
    """The model that was pickled. CnnccError if its file is gone or is another one now."""
    found = sha256(Path(path))
    if found != digest:
        raise CnnccError(
            f"{path} is not the module that was pickled: its sha256 is {found[:12]}, not {digest[:12]}", hint=HINT
        )
    return load(path, weights, threads)


def _check(path: str | os.PathLike[str], info: dict[str, Any], threads: int | None) -> None:
    if info["format"] != FORMAT:
        made = f"{path}: made by cnncc {info['compiler']['cnncc']} with module format {info['format']}"
        raise CnnccError(f"{made}, this version loads format {FORMAT}", hint="compile the network again")
    target = info["target"]
    if why := cpu.unfit(target["triple"], target["requires"]):
        hint = "compile the network for this machine, or see docs/cross.md" if cpu.foreign(target["triple"]) else ""
        hint = "it runs in browsers and Node, see docs/browser.md" if target["triple"].startswith("wasm") else hint
        raise CnnccError(f"{path}: compiled for {target['name']}; {why}", hint=hint)
    if _is_object(Path(path)):
        hint = "link it into a program, see docs/embed.md; to load one: cnncc compile NET -o out.so"
        raise CnnccError(f"{path}: an object to be linked, not a library", hint=hint)
    if threads is not None and threads < 1:
        raise CnnccError(f"threads must be at least 1, got {threads}")
    if threads is not None and threads > info["threads"]:
        raise CnnccError(f"{path} was compiled for {info['threads']} threads at most, got {threads}")


def _is_object(path: Path) -> bool:
    """Whether an ELF file is relocatable (ET_REL)."""
    with path.open("rb") as file:
        return file.read(18)[16:] == b"\1\0"


def _bind(library: ctypes.CDLL, info: dict[str, Any], origin: Origin) -> Model:
    """The functions of the C interface that Python uses. CDLL, not PyDLL: a call releases the interpreter's lock."""
    name = info["symbol"]
    run = library[f"{name}_run_with"]
    run.restype = ctypes.c_int
    text = library[f"{name}_error"]
    text.restype = ctypes.c_char_p

    def error_text(code: int) -> str:
        return text(code).decode()

    if info["weights"]["file"] is None:
        get = library[f"{name}_model_get"]
        get.restype = ctypes.c_void_p
        if "cuda" in info:
            return cuda_model(info, EntryPoint(run, get(), error_text, (library,)), origin)
        return Model(info, EntryPoint(run, get(), error_text, (library,)), origin)
    file = info["weights"]["file"]
    if Path(file).name != file:
        raise CnnccError(f"{origin.path}: its weights would lie outside its folder, in {file!r}")
    beside = origin.path.with_name(file)
    state = _open_weights(library, name, origin.weights or beside, error_text)
    return Model(info, EntryPoint(run, ctypes.addressof(state), error_text, (library, state)), origin)


def _open_weights(library: ctypes.CDLL, name: str, file: Path, error_text: Callable[[int], str]) -> ModelState:
    """A model with the weights of a file, given back when it is no longer used."""
    state = ModelState()
    opened = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, use_errno=True)((f"{name}_open", library))
    code = opened(ctypes.addressof(state), os.fsencode(file))
    if code == Code.WEIGHTS_UNREADABLE:
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        raise CnnccError(f"{file}: cannot read the weights: {reason(error)}")
    if code:
        raise CnnccError(f"{file}: {error_text(code)}")
    close = library[f"{name}_close"]
    weakref.finalize(state, close, ctypes.byref(ModelState(state.weights, state.mapping, state.mapped)))
    return state


def _open(path: Path, info: dict[str, Any]) -> ctypes.CDLL:
    """The library that says `info` of itself.

    The loader goes by names: once a file is open, it hands out the same code for that path, even if the file has been
    replaced since. A name nobody used makes it look at the file.
    """
    try:
        library = ctypes.CDLL(str(path))
        if not _says(library, info):
            with tempfile.TemporaryDirectory(prefix="cnncc-") as folder:
                other = Path(folder) / path.name
                other.symlink_to(path)
                library = ctypes.CDLL(str(other))
    except OSError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise CnnccError(f"{path}: cannot be loaded: {why}") from error
    if not _says(library, info):
        raise CnnccError(f"{path}: was replaced while it was being loaded", hint="load it again")
    return library


def _says(library: ctypes.CDLL, info: dict[str, Any]) -> bool:
    try:
        text = library[f"{info['symbol']}_info"]
    except AttributeError:
        return False
    text.restype = ctypes.c_char_p
    said: dict[str, Any] = json.loads(text())
    return said == info
