"""The pages of documentation, and the fenced blocks in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"file=(\S+)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    info: str
    """What follows the language: `not-run`, or, on the page for those who change the compiler, `tree` (a shell block
    that runs in a copy of the repository) or `file=NAME` (the text of a file there, or a change of it)."""
    text: str

    @property
    def runs(self) -> bool:
        """Whether it runs anywhere, and needs no copy of the repository."""
        return self.language in ("sh", "python") and not self.info.strip()

    @property
    def file(self) -> str:
        """The file it is the text of, or a change of."""
        named = FILE.search(self.info)
        return named.group(1) if named else ""


def blocks(text: str) -> list[Block]:
    return [Block(*match.groups()) for match in FENCE.finditer(text)]


def commands(folder: Path) -> Path:
    """A folder with the commands `python` and `cnncc` of whatever package PYTHONPATH names."""
    made = folder / "bin"
    made.mkdir()
    for name, arguments in (("cnncc", " -m cnncc"), ("python", "")):
        (made / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (made / name).chmod(0o755)
    return made


def run(block: Block, workplace: Path, package: Path) -> subprocess.CompletedProcess[str]:
    """Runs a block in a folder with `bin` in it. `package` is the folder that has `cnncc`."""
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(package)}
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    return subprocess.run(
        [*command, block.text], cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
