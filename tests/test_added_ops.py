"""An op is added to a copy of the compiler, in as few files as CONTRIBUTING.md says, and carried through all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, blocks

ADDED = ROOT / "tests" / "added"
ONE_FILE = {"cnncc/ops/celu.py": (ADDED / "celu.py").read_text(encoding="utf-8")}
THREE_FILES = {
    block.file: block.text
    for block in blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    if Path(block.file).name == "rmspool.py"
}


def with_files(files: dict[str, str], at: Path) -> Path:
    """A copy of the package (links to its files) with more files."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cnncc", at / "cnncc", copy_function=os.symlink, ignore=ignore)
    for name, text in files.items():
        assert not (at / name).exists(), f"{name} is a part of the compiler"
        (at / name).write_text(text, encoding="utf-8")
    return at


def carry(at: Path, op: str, line: str, gpu: str) -> subprocess.CompletedProcess[str]:
    paths = [str(at), str(ROOT / "tests"), str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CNNCC_CACHE": str(at / "cache")}
    command = [sys.executable, str(ADDED / "carry.py"), op, line, gpu]
    return subprocess.run(command, env=env, cwd=at, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("files", "op", "line", "gpu"),
    [(ONE_FILE, "celu", "celu 0.5", "yes"), (THREE_FILES, "rmspool", "rmspool 2x3 /2", "no")],
    ids=["a pointwise op in one file", "another op in three"],
)
def test_an_op_is_carried_through(files: dict[str, str], op: str, line: str, gpu: str, tmp_path: Path) -> None:
    done = carry(with_files(files, tmp_path), op, line, gpu)
    assert done.returncode == 0, done.stderr


def test_an_op_without_its_kernel_fails(tmp_path: Path) -> None:
    """So that the test above can fail."""
    files = {name: text for name, text in THREE_FILES.items() if "kernel" not in name}
    done = carry(with_files(files, tmp_path), "rmspool", "rmspool 2x3 /2", "no")
    assert "no kernel rule for rmspool" in done.stderr


SCRIPT = """
import sys
sys.path.insert(0, {added!r})
from cnncc import ops
import celu
ops.add(*celu.OPS)
from cnncc.module.keys import compiler_digest
print(compiler_digest())
try:
    ops.add(*celu.OPS)
except RuntimeError as error:
    print(error)
"""


def test_kernels_of_an_op_that_a_script_adds_are_not_kept() -> None:
    """Their code depends on a formula that the cache knows nothing of."""
    command = [sys.executable, "-c", SCRIPT.format(added=str(ADDED))]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout for _ in range(2)]
    digests, errors = zip(*(run.splitlines() for run in runs), strict=True)
    assert len(set(digests)) == 2
    assert errors[0].startswith("ops are added before ")


IN_MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, {added!r})
from cnncc import ops
import celu
ops.add(*celu.OPS)
import cnncc
from cnncc.module.cpu import objects
from cnncc.tune import network
net = "net added\\ninput 3x6x7\\nconv 3x3 9\\ncelu 0.5\\n"
cnncc.compile(net, threads=1, seed=0, tune=0.2)
def once_more(*_):
    sys.exit("made twice in one process")
objects.compile_kernel = network.search_layer = once_more
cnncc.compile(net, threads=1, seed=0, tune=0.2)
folder = Path({cache!r})
print(*(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()))
"""


def test_with_added_ops_the_cache_folder_does_not_grow(tmp_path: Path) -> None:
    """Nobody could read what such a process leaves there. The grammar's tables depend on no op."""
    cache = tmp_path / "cache"
    script = IN_MEMORY.format(added=str(ADDED), cache=str(cache))
    env = {**os.environ, "CNNCC_CACHE": str(cache)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert (done.stderr, done.stdout.split()) == ("", ["grammar.json"])
