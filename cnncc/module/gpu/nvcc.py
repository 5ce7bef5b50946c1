"""NVIDIA's compiler as a command: `nvcc` of a CUDA toolkit, where the wheel with NVRTC is not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from cnncc.base.errors import CnnccError
from cnncc.base.files import scratch_folder
from cnncc.module.gpu.compiled import Compiled, parse_resources

NAME = "nvcc"
FLAGS = ("--std=c++17", "-w")
"""No fast-math, as with NVRTC."""
FLAGS_OF_USERS = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
"""Variables with flags that nvcc would add to ours: results would not depend on the source alone."""


def command() -> str | None:
    """The path of `nvcc`, None where there is none."""
    return shutil.which("nvcc")


@cache
def version() -> str:
    """The compiler's version."""
    found = re.search(r"release [0-9.]+, V([0-9.]+)", _call(["--version"]))
    if found is None:
        raise CnnccError("nvcc --version does not say a version")
    return found[1]


def machine_code(source: str, architecture: str) -> Compiled:
    """A cubin for `sm_80` or the like."""
    image, log = _compile(source, architecture, ["-cubin", "-Xptxas", "-v"])
    return Compiled(image, parse_resources(log))


def ptx(source: str, architecture: str) -> bytes:
    """PTX for `compute_80` or the like, which a driver translates for the device it finds; ends with a zero byte, as a
    driver wants it."""
    return _compile(source, architecture, ["-ptx"])[0] + b"\0"


def _compile(source: str, architecture: str, options: list[str]) -> tuple[bytes, str]:
    with scratch_folder() as folder:
        (folder / "kernels.cu").write_text(source, encoding="utf-8")
        try:
            log = _call([f"-arch={architecture}", *FLAGS, *options, "-o", "image", "kernels.cu"], folder)
        except CnnccError as error:
            raise CnnccError(f"the CUDA compiler failed for {architecture}: {error.message}") from error
        return (folder / "image").read_bytes(), log


def _call(arguments: list[str], folder: Path | None = None) -> str:
    """What nvcc prints."""
    try:
        done = subprocess.run(
            [command() or "nvcc", *arguments],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if name not in FLAGS_OF_USERS},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CnnccError(f"nvcc cannot be started: {error.strerror}") from error
    if done.returncode:
        raise CnnccError(f"nvcc ended with code {done.returncode}\n{(done.stderr or done.stdout).strip()}")
    return done.stdout + done.stderr
