"""The rules of importing: layers one way, TVM only at its edge, nobody's private names, every package in the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

import networkx
import pytest

ROOT = Path(__file__).resolve().parent.parent


def modules(root: Path) -> list[Path]:
    """The files of the package `cnncc` under a folder."""
    return sorted((root / "cnncc").rglob("*.py"))


MODULES = modules(ROOT)
TVM_EDGE = {"kernels", "module"}
ALLOWED = {
    name: set(others.split())
    for name, others in {
        "base": "",
        "options": "base runtime",
        "ir": "base",
        "ops": "base ir",
        "lang": "base ir ops",
        "weights": "base ir ops options",
        "passes": "base ir ops",
        "plan": "base ir ops",
        "pictures": "base",
        "runtime": "base",
        "serving": "base runtime",
        "machines": "base options runtime",
        "quantization": "base ir ops passes weights",
        "frontends": "__version__ base ir lang ops passes quantization runtime weights",
        "kernels": "base ir machines ops options plan weights",
        "module": "base ir kernels machines ops options passes plan runtime",
        "tune": "base ir kernels lang machines module ops options passes runtime weights",
        "api": "base frontends ir kernels machines module options runtime tune",
        "calibrate": "api base frontends ir module ops options passes quantization",
        "report": "api base calibrate ir kernels machines module ops options passes plan quantization runtime weights",
        "bench": "base calibrate frontends ir lang ops options passes weights",
        "contrib": "api base frontends pictures runtime serving",
        "torch": "api base frontends module options runtime",
        "cli": "__version__ api base bench calibrate frontends ir lang machines module options passes pictures "
        "quantization report runtime tune weights",
        "__init__": "api base calibrate options runtime",
        "__main__": "cli",
    }.items()
}
"""What each part may import of the others: `runtime` stands alone, the command line comes last and is imported by
nobody."""
APART = {
    "kernels/shared": ("kernels/cpu", "kernels/gpu"),
    "kernels/gpu": ("kernels/cpu",),
    "kernels/cpu": ("kernels/gpu",),
}
"""Folders that may not import from others: kernels of processors and of GPUs stand on what both share."""


def imports(path: Path, for_types: bool = True) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names taken from it) of every import of a file, those inside functions too; without those under
    TYPE_CHECKING if they are not asked for."""
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), for_types):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", tuple(alias.name for alias in node.names)


def walk(node: ast.AST, for_types: bool) -> Iterator[ast.AST]:
    yield node
    only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    for child in [] if only_types and not for_types else ast.iter_child_nodes(node):
        yield from walk(child, for_types)


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
    assert used_parts(path) <= ALLOWED[part(path)] | {part(path)}, "imports go one way"
    for folder, others in APART.items():
        if path.is_relative_to(ROOT / "cnncc" / folder):
            assert not used_folders(path, others), "kernels of other machines are imported"


def test_every_part_has_a_rule():
    assert set(map(part, MODULES)) <= ALLOWED.keys()


def circles(arrows: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The groups of names that lead to each other."""
    graph = networkx.DiGraph([(name, other) for name, others in arrows.items() for other in others])
    return [found for found in networkx.strongly_connected_components(graph) if len(found) > 1]


def module_arrows(root: Path) -> dict[str, set[str]]:
    """Which module of the package `cnncc` under `root` imports which, in functions too, but not for types only. The
    package itself, of which modules take their version, is left out."""
    paths = {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in modules(root)}
    return {name: targets_of(path, paths.keys()) - {"cnncc", *packages(name), name} for name, path in paths.items()}


def targets_of(path: Path, names: Set[str]) -> set[str]:
    """The modules among `names` that a file imports, and the packages they lie in: Python runs those first."""
    found = set()
    for module, taken in imports(path, for_types=False):
        for target in {module, *(f"{module}.{name}" for name in taken)}:
            found |= {target, *packages(target)}
    return found & names


def packages(module: str) -> set[str]:
    """Those that a module lies in."""
    pieces = module.split(".")
    return {".".join(pieces[:i]) for i in range(1, len(pieces))}


def test_the_rules_lead_in_no_circle():
    assert circles(ALLOWED) == []


def test_no_modules_import_each_other():
    assert circles(module_arrows(ROOT)) == []


def test_circles_are_found(tmp_path):
    """Through packages and functions; what is imported for types only makes none."""
    for name, text in {
        "a": "from cnncc import b",
        "b": "def f():\n    from cnncc.c.inner import x",
        "c/__init__": "import cnncc.a",
        "c/inner": "from cnncc.c import x",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cnncc import e",
        "e": "from cnncc import a, d",
    }.items():
        path = tmp_path / "cnncc" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert circles(module_arrows(tmp_path)) == [{"cnncc.a", "cnncc.b", "cnncc.c"}]


def test_the_rules_can_fail(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from cnncc.ir import _x\nfrom cnncc import passes\nimport a._b.c\ndef f():\n    import tvm.te\n")
    assert private(wrong) == ["cnncc.ir._x", "a._b.c"]
    assert used_parts(wrong) == {"ir", "passes"}
    assert ("tvm.te", ()) in set(imports(wrong))


@pytest.mark.parametrize(
    "line",
    ["from cnncc.kernels.cpu.budget import x", "from cnncc.kernels import cpu", "import cnncc.kernels.cpu.tiles"],
)
def test_every_way_to_import_a_folder_is_seen(tmp_path, line):
    (tmp_path / "wrong.py").write_text(f"{line}\n")
    assert used_folders(tmp_path / "wrong.py", ("kernels/cpu", "kernels/gpu")) == {"kernels/cpu"}


BY_MODULE = {"cnncc/lang/ast.py"}
"""Files whose classes are always named with their module, `ast.Op`."""


def class_names(root: Path) -> Counter[str]:
    """How often each public class name is defined in the package `cnncc` under a folder."""
    paths = [p for p in modules(root) if p.relative_to(root).as_posix() not in BY_MODULE]
    nodes = [node for p in paths for node in ast.walk(ast.parse(p.read_text(encoding="utf-8")))]
    return Counter(n.name for n in nodes if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))


def test_no_two_classes_have_one_name():
    assert {name for name, count in class_names(ROOT).items() if count > 1} == set()


def test_classes_of_one_name_are_found(tmp_path):
    (tmp_path / "cnncc").mkdir()
    (tmp_path / "cnncc" / "a.py").write_text("class A: ...\nclass B: ...\nclass _C: ...")
    (tmp_path / "cnncc" / "b.py").write_text("class _C: ...\ndef f():\n    class A: ...")
    assert class_names(tmp_path) == {"A": 2, "B": 1}


def test_some_classes_are_named_with_their_module():
    assert not [p for p in MODULES for module, _ in imports(p) if module.replace(".", "/") + ".py" in BY_MODULE]


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
    "PLR0913": "def f(a, b, c, d, e, f, g):\n    return a\n",
    "PLR0915": "def f():\n" + "".join(f"    print({i})\n" for i in range(60)),
}


@pytest.mark.parametrize("rule", SNIPPETS)
def test_each_lint_rule_is_on(rule):
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", "test_x.py", "-"]
    done = subprocess.run(command, input=SNIPPETS[rule], capture_output=True, text=True, cwd=ROOT, check=False)
    assert f" {rule} " in done.stdout, done.stdout + done.stderr
