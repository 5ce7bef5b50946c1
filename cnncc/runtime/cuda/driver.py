"""The driver that GPU modules open: NVIDIA's, or one in software that runs their kernels on this processor."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.base.cache_folder import PRIVATE_FILE, cache_folder, make_private, read_private
from cnncc.base.errors import CnnccError
from cnncc.runtime.cuda.interface import CUDA_TEXTS, CudaCode
from cnncc.runtime.model import EntryPoint, Model
from cnncc.runtime.origin import Origin

VARIABLE = "CNNCC_CUDA_DRIVER"
"""Of the environment: `emulated`, or the path of a driver library; libcuda.so.1 where it is not set."""
EMULATED = "emulated"

_SOURCES = Path(__file__).resolve().parent
_FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared")


def cuda_model(info: dict[str, Any], entry: EntryPoint, origin: Origin) -> CudaModel:
    """The model in an opened module. CnnccError if the emulated driver is asked for and cannot be built."""
    model = CudaModel(info, entry, origin)
    if os.environ.get(VARIABLE) == EMULATED:
        model.use_driver(emulated_driver())
    return model


class CudaModel(Model):
    """The model of a module for GPUs. It is called as any other, with arrays in the memory of the host."""

    @property
    def info(self) -> dict[str, Any]:
        """What the module says of itself, as `cnncc info --json` prints it, and as `device` what the model has on its
        device: whether that is open, the driver's version of CUDA, the code that was loaded, whether runs use a graph
        and copies page-locked memory; or why it is lost to this process."""
        return {**self._said, "device": self._state()}

    @info.setter
    def info(self, said: dict[str, Any]) -> None:
        self._said = said

    @property
    def name(self) -> str:
        """The name of the network."""
        return str(self._said["name"])

    def _state(self) -> dict[str, Any]:
        state = self._function("state")
        state.argtypes, state.restype = [ctypes.c_void_p], ctypes.c_char_p
        found: dict[str, Any] = json.loads(state(ctypes.c_void_p(self._entry.model)).decode(errors="replace"))
        return found

    def open(self) -> None:
        """Opens the device: loads kernels and weights, which the first call does otherwise. CnnccError if it
        cannot."""
        start = self._function("open")
        start.argtypes = [ctypes.c_void_p]
        if code := start(ctypes.c_void_p(self._entry.model)):
            text = self._entry.error_text(code)
            raise CnnccError(f"{self.name}: {text}", hint=self._advice(text))

    def use_driver(self, path: Path) -> None:
        """Opens the driver library at `path` in place of NVIDIA's; must come before the first run."""
        self._function("driver")(os.fsencode(path))

    def release(self) -> None:
        """Frees the memory and the kernels that the model has on the device. A later call takes them again."""
        release = self._function("release")
        release.argtypes, release.restype = [ctypes.c_void_p], None
        release(ctypes.c_void_p(self._entry.model))

    def peek(self, size: int) -> np.ndarray:
        """So many bytes of the device's arena after a run, for tests."""
        data = np.zeros(size, np.uint8)
        peek = self._function("peek")
        peek.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        code = peek(ctypes.c_void_p(self._entry.model), data.ctypes.data, 0, size)
        if code:
            raise CnnccError(f"{self.name}: cannot read the arena: {self._entry.error_text(code)}")
        return data

    def _advice(self, text: str) -> str:
        """What to do about failures that are not of the module."""
        if text.startswith(CUDA_TEXTS[CudaCode.FORKED]):
            return "start workers with multiprocessing's `spawn`, or use the model in the child alone"
        if text.startswith(CUDA_TEXTS[CudaCode.DEVICE_BUSY]):
            return "`nvidia-smi -q -d COMPUTE` tells the mode; end the other process, or ask for the mode `Default`"
        if text.startswith(CUDA_TEXTS[CudaCode.DRIVER_TOO_OLD]):
            return "install a newer driver, or compile the network again with the package nvidia-cuda-nvrtc-cu12"
        if text.startswith(CUDA_TEXTS[CudaCode.DEVICE_LOST]):
            return "CUDA cannot be used in this process any more; in a new one it can"
        if "no CUDA driver" not in text:
            return ""
        emulated = f"{VARIABLE}={EMULATED} runs it on this processor, slowly; `--target host` compiles for that"
        return f"it needs an NVIDIA GPU and its driver, which `nvidia-smi` tells of; {emulated}"

    def _function(self, name: str) -> Any:
        """The module's function of that name. CnnccError for a module of an earlier version that has it not."""
        library = self._entry.keep[0]
        assert isinstance(library, ctypes.CDLL)
        try:
            return library[f"{self._said['symbol']}_{name}"]
        except AttributeError as error:
            what = f"{self._said['name']}: the module was made by an earlier cnncc and has no function {name}"
            raise CnnccError(what, hint="compile the network again") from error


@cache
def emulated_driver() -> Path:
    """The driver in software, built once by the C++ compiler and kept among the compiled objects."""
    compiler, folder = _compiler(), _folder()
    header = _SOURCES / "device.h"
    digest = hashlib.sha256(header.read_bytes()).hexdigest()[:16]
    defines = {
        "CNNCC_DEVICE_HEADER": header,
        "CNNCC_DEVICE_DIGEST": digest,
        "CNNCC_COMPILER": compiler,
        "CNNCC_EMULATOR_FOLDER": folder,
    }
    flags = [*_FLAGS, *(f'-D{name}="{value}"' for name, value in defines.items())]
    source = _SOURCES / "emulator.cpp"
    key = hashlib.sha256(f"{compiler} {flags}".encode() + source.read_bytes()).hexdigest()[:32]
    built = folder / f"driver-{key}.so"
    if read_private(built) is None:
        _build([*compiler.split(), *flags, str(source), "-ldl"], built)
    return built


def _compiler() -> str:
    chosen = os.environ.get("CXX")
    found = chosen or next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if found is None:
        hint = "install g++ or clang, or set CXX"
        raise CnnccError("no C++ compiler found to build the emulated CUDA driver and its kernels", hint=hint)
    return found


def _folder() -> Path:
    """Where the driver and the kernels that it compiles are kept: beside the compiler's objects, and as private."""
    folder = cache_folder().resolve() / "emulator"
    try:
        make_private(folder)
    except OSError as error:
        raise CnnccError(f"cannot make folder {folder}: {error.strerror}", hint="set CNNCC_CACHE") from error
    return folder


def _build(command: list[str], out: Path) -> None:
    """Runs the compiler; the result appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder) / "driver.so"
        try:
            done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        except OSError as error:
            raise CnnccError(f"cannot run the C++ compiler {command[0]!r}: {error.strerror}") from error
        if done.returncode:
            raise CnnccError(f"the C++ compiler cannot build the emulated CUDA driver:\n{done.stderr.strip()}")
        made.chmod(PRIVATE_FILE)
        os.replace(made, out)
