"""The examples of the pages at the top and in docs/ work: shell and Python blocks run, texts parse, make targets exist.

The blocks of a page run in order in one empty directory with `models` and `examples` in it. A block whose fence says
`not-run` is left out; of those only the make targets are looked at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cnncc import lang

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FRAGMENT_HEAD = "net fragment\ninput 3x224x224\n"


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    info: str
    text: str

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and "not-run" not in self.info


def blocks(text: str) -> list[Block]:
    return [Block(*match.groups()) for match in FENCE.finditer(text)]


def page_id(page: Path) -> str:
    return page.stem


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """An empty directory with the repository's models and examples, and the command `cnncc` of this tree in `bin`."""
    for name in ("models", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, arguments in (("cnncc", " -m cnncc"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (commands / name).chmod(0o755)
    return tmp_path


def run(block: Block, workplace: Path) -> subprocess.CompletedProcess[str]:
    path = f"{workplace / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    return subprocess.run(
        [*command, block.text], cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.runs for b in blocks(p.read_text()))], ids=page_id)
def test_examples_run(page, workplace):
    for block in blocks(page.read_text()):
        if block.runs:
            done = run(block, workplace)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_network_texts_parse(page):
    for block in blocks(page.read_text()):
        if block.language == "net":
            whole = block.text if block.text.startswith("net ") else FRAGMENT_HEAD + block.text
            assert lang.read(whole).nodes


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_and_links_exist(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    local = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_a_block_that_fails_is_noticed(workplace):
    sh, python, left_out = blocks("```sh\nfalse\ntrue\n```\n```python\n1/0\n```\n```sh not-run\nfalse\n```\n")
    assert run(sh, workplace).returncode == 1
    assert "ZeroDivisionError" in run(python, workplace).stderr
    assert (sh.runs, left_out.runs) == (True, False)
