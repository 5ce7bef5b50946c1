"""Node, which runs what is written for browsers."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cnncc.module.cpu.build import Build
from cnncc.module.wasm.wasm import write_wasm

RUNNER = Path(__file__).parent / "run_model.mjs"

needs_linker = pytest.mark.skipif(
    not (shutil.which("wasm-ld") or shutil.which("zig") or find_spec("ziglang")),
    reason="no wasm-ld and no ziglang: pip install 'cnncc-inference[cross]'",
)
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="no node: apt-get install nodejs")


def write(build: Build, folder: Path) -> Path:
    """The ES module of a build, in a folder that Node takes for one of ES modules."""
    paths = write_wasm(build, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return paths["js"]


def node(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["node", *(str(a) for a in arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=300)


def evaluate(script: Path, body: str) -> str:
    """What JavaScript prints that has `load` and `info` of an ES module."""
    text = f"const {{ load, info }} = await import({str(script)!r});\n{body}"
    done = node("--input-type=module", "-e", text)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def run(script: Path, arrays: list[np.ndarray]) -> tuple[bytes, bytes]:
    """The raw outputs of two runs."""
    done = node(RUNNER, script, stdin=b"".join(a.tobytes() for a in arrays))
    assert done.returncode == 0, done.stderr.decode()
    half = len(done.stdout) // 2
    return done.stdout[:half], done.stdout[half:]
