"""Other processors, emulated by qemu: modules for them are loaded by a C program built for them and held to the
reference."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cnncc.module.cpu.build import Build

HARNESS = Path(__file__).parent / "harness.c"


@dataclass(frozen=True)
class Machine:
    """A target, and the Debian packages that build and run programs for it."""

    target: str
    gnu: str
    """Name of the GNU tools for it, also the folder of its C library."""
    emulator: tuple[str, ...]

    def require(self) -> None:
        """Skips the test where something is missing."""
        missing = [tool for tool in (self.emulator[0], f"{self.gnu}-gcc") if not shutil.which(tool)]
        if missing:
            pytest.skip(f"{', '.join(missing)} not installed; `make cross-tools` installs them")

    def build_harness(self, folder: Path) -> Path:
        program = folder / f"harness-{self.target}"
        command = [f"{self.gnu}-gcc", "-std=c11", "-O1", "-Wall", "-Werror", HARNESS, "-o", program, "-ldl"]
        subprocess.run([*command, "-pthread"], check=True)
        return program

    def run(self, harness: Path, module: Path, build: Build, arrays: list[np.ndarray], threads: int) -> list[bytes]:
        """The raw outputs of two runs, one after the other."""
        images = len(arrays[0])
        sizes = [
            ",".join(str(images * int(np.prod(p["shape"][1:]))) for p in build.info[way])
            for way in ("inputs", "outputs")
        ]
        numbers = [str(threads), str(images)]
        command = [*self.emulator, "-L", f"/usr/{self.gnu}", harness, module, build.info["symbol"], *numbers]
        sent = b"".join(a.tobytes() for a in arrays)
        done = subprocess.run([*command, *sizes], input=sent, capture_output=True, check=False, timeout=600)
        assert done.returncode == 0, (done.returncode, done.stderr.decode())
        half = len(done.stdout) // 2
        return [done.stdout[:half], done.stdout[half:]]


AARCH64 = Machine("aarch64", "aarch64-linux-gnu", ("qemu-aarch64-static",))
RISCV64 = Machine("riscv64", "riscv64-linux-gnu", ("qemu-riscv64-static", "-cpu", "rv64,v=true,vlen=128"))
MACHINES = (AARCH64, RISCV64)
