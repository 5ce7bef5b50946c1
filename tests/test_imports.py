"""The rules of importing: layers one way, TVM only at its edge, nobody's private names, every package in the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "cnncc").rglob("*.py"))
TVM_EDGE = {"kernels", "module", "report"}
ALLOWED = {
    "base": set(),
    "ir": {"base"},
    "ops": {"base", "ir"},
    "lang": {"base", "ir", "ops"},
    "weights": {"base", "ir", "ops"},
    "passes": {"base", "ir", "ops"},
    "plan": {"ir", "ops"},
    "pictures": {"base"},
    "runtime": {"base"},
    "options": {"base", "runtime"},
    "machines": {"base", "options", "runtime"},
    "frontends": {"__version__", "base", "ir", "lang", "ops", "passes", "runtime", "weights"},
    "kernels": {"base", "ir", "machines", "ops", "options", "plan", "weights"},
    "module": {"__version__", "base", "ir", "kernels", "machines", "ops", "options", "passes", "plan", "runtime"},
}
"""What each part may import of the others; parts not listed come last and may import all. `runtime` stands alone."""
APART = {
    "kernels/shared": ("kernels/cpu", "kernels/gpu"),
    "kernels/gpu": ("kernels/cpu",),
    "kernels/cpu": ("kernels/gpu",),
}
"""Folders that may not import from others: kernels of processors and of GPUs stand on what both share."""


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of every import of a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", tuple(alias.name for alias in node.names)


def part(path: Path) -> str:
    return path.relative_to(ROOT / "cnncc").parts[0].removesuffix(".py")


def used_parts(path: Path) -> set[str]:
    """The parts of cnncc that a file imports."""
    found = set()
    for module, names in imports(path):
        if module == "cnncc":
            found.update(names)
        elif module.startswith("cnncc."):
            found.add(module.split(".")[1])
    return found


def used_folders(path: Path, folders: tuple[str, ...]) -> set[str]:
    """Those of the folders from which a file imports."""
    names = {".".join([module, name]) for module, names in imports(path) for name in (names or ("",))}
    packages = {folder: f"cnncc.{folder.replace('/', '.')}." for folder in folders}
    return {folder for folder, package in packages.items() for name in names if f"{name}.".startswith(package)}


def private(path: Path) -> list[str]:
    """Imported names with a leading underscore that belong to another package or module."""
    return [
        f"{module}.{name}".rstrip(".")
        for module, names in imports(path)
        for name in (names or ("",))
        for piece in [*module.split("."), name]
        if piece.startswith("_") and not piece.startswith("__") and not module.startswith("__")
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rules(path):
    foreign = {module.split(".")[0] for module, _ in imports(path)}
    assert part(path) in TVM_EDGE or not foreign & {"tvm", "tvm_ffi"}, "only kernels and modules import tvm"
    assert not private(path), "private names of others are imported"
    if part(path) in ALLOWED:
        assert used_parts(path) <= ALLOWED[part(path)] | {part(path)}, "imports go one way"
    for folder, others in APART.items():
        if path.is_relative_to(ROOT / "cnncc" / folder):
            assert not used_folders(path, others), "kernels of other machines are imported"


def test_the_rules_can_fail(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from cnncc.ir import _x\nfrom cnncc import passes\nimport a._b.c\ndef f():\n    import tvm.te\n")
    assert private(wrong) == ["cnncc.ir._x", "a._b.c"]
    assert used_parts(wrong) == {"ir", "passes"}
    assert ("tvm.te", ()) in set(imports(wrong))


@pytest.mark.parametrize(
    "line",
    ["from cnncc.kernels.cpu.room import x", "from cnncc.kernels import cpu", "import cnncc.kernels.cpu.tiles"],
)
def test_every_way_to_import_a_folder_is_seen(tmp_path, line):
    (tmp_path / "wrong.py").write_text(f"{line}\n")
    assert used_folders(tmp_path / "wrong.py", ("kernels/cpu", "kernels/gpu")) == {"kernels/cpu"}


def test_the_wheel_lists_every_package():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {".".join(p.parent.relative_to(ROOT).parts) for p in MODULES}
    assert {name for name in listed if "._data." not in name} == present


SNIPPETS = {
    "E501": "x = '" + "a" * 130 + "'\n",
    "F401": "import os\n",
    "I001": "import sys\nimport os\nprint(os, sys)\n",
    "B006": "def f(a=[]):\n    return a\n",
    "UP006": "from typing import List\nx: List[int] = []\n",
    "PT011": "import pytest\n\n\ndef test_x():\n    with pytest.raises(ValueError):\n        int('x')\n",
    "RUF005": "a = [1]\nb = [*a] + [2]\nc = a + [3]\n",
    "C901": "def f(a):\n" + "".join(f"    if a == {i}:\n        return {i}\n" for i in range(12)),
    "PLR0915": "def f():\n" + "".join(f"    print({i})\n" for i in range(60)),
}


@pytest.mark.parametrize("rule", SNIPPETS)
def test_each_lint_rule_is_on(rule):
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", "test_x.py", "-"]
    done = subprocess.run(command, input=SNIPPETS[rule], capture_output=True, text=True, cwd=ROOT, check=False)
    assert f" {rule} " in done.stdout, done.stdout + done.stderr
