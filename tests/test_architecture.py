"""What docs/architecture.md and the other pages say of the repository is so."""

from __future__ import annotations

import ast
import re
from collections.abc import Set
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks
from test_imports import ALLOWED, MODULES

from cnncc.module import phases

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]
FOLDERS = "cnncc|tests|targets|grammars|models|tools|examples|docs"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*{{}},-]*)(?:::(\w+))?`")
MOST_BY_NAME = 20
"""Comparisons of a node's op with names, outside of the folder of ops."""


def section(title: str) -> str:
    """What is below a heading of the page."""
    return ARCHITECTURE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    lines = re.findall(r"^\| (.*) \|$", section(title), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


def exists(path: str) -> bool:
    """Whether there is a file or folder of that name; capitals stand for any name."""
    return bool(list(ROOT.glob(re.sub(r"\b[A-Z_]{3,}\b", "*", path))))


def missing(text: str) -> list[str]:
    """The files, folders and tests that a text names and that are not there."""
    made = {block.file for block in blocks(text)}
    found = []
    for path, test in PATH.findall(text):
        here = path in made or exists(path)
        if not here or (test and f"def {test}(" not in (ROOT / path).read_text(encoding="utf-8")):
            found.append(f"{path}::{test}" if test else path)
    return found


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


def test_what_is_not_there_is_noticed() -> None:
    text = "`cnncc/ir/graph.py` `cnncc/nothing.py` `targets/NAME.toml` `tests/pages.py::test_it` `cnncc/NAME/none.py`"
    assert missing(text) == ["cnncc/nothing.py", "tests/pages.py::test_it", "cnncc/NAME/none.py"]


def test_the_parts_are_those_of_the_import_rules() -> None:
    said = {name.strip("`"): set(imports.replace("`", "").split()) for name, _, imports in rows("Parts")}
    assert said == ALLOWED
    there = {path.name for path in (ROOT / "cnncc").iterdir() if path.name not in ("__pycache__", "py.typed")}
    assert {name.removesuffix(".py") for name in there} == ALLOWED.keys()


def test_the_phases_are_all_in_order() -> None:
    assert [name.strip("`") for name, _ in rows("Phases")] == phases.names()


def test_the_glossary_is_sorted_and_names_what_is_there() -> None:
    words = [word for word, _ in rows("Glossary")]
    assert words == sorted(set(words))
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    named = set(re.findall(r"`([A-Z]\w+)`", section("Glossary")))
    assert named
    assert [name for name in named if not re.search(rf"^(class {name}\b|{name}\b.* = )", source, re.MULTILINE)] == []


def by_name(source: str) -> int:
    """Comparisons of some `.op` with a text, a constant of a module that is one, or a tuple or set of them."""
    compared = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]
    names = TEXTS | texts(source)
    return sum(asks_by_name(node, names) for node in compared)


def asks_by_name(node: ast.Compare, names: Set[str]) -> bool:
    sides = [node.left, *node.comparators]
    has_op = any(isinstance(side, ast.Attribute) and side.attr == "op" for side in sides)
    return has_op and any(is_text(part, names) for side in sides for part in ast.walk(side))


def is_text(part: ast.AST, names: Set[str]) -> bool:
    if isinstance(part, ast.Constant):
        return isinstance(part.value, str)
    name = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else ""
    return name in names


def texts(source: str) -> set[str]:
    """The names that a file gives to texts, or to tuples, lists and sets of them, at its top level."""
    return {
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and holds_text(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper()
    }


def holds_text(value: ast.AST) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("frozenset", "set"):
        return any(map(holds_text, value.args))
    if isinstance(value, ast.Tuple | ast.List | ast.Set):
        return any(map(holds_text, value.elts))
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


TEXTS = frozenset(name for path in MODULES for name in texts(path.read_text(encoding="utf-8")))
"""Names of all such constants: one file may import that of another."""


def test_few_places_ask_for_an_op_by_name() -> None:
    files = [path for path in MODULES if ROOT / "cnncc" / "ops" not in path.parents]
    assert sum(by_name(path.read_text(encoding="utf-8")) for path in files) <= MOST_BY_NAME


def test_asking_by_name_is_noticed() -> None:
    assert texts("ADD = 'add'\nADDS: Final = frozenset({'x'})\nTWO = 2\nx = 'x'") == {"ADD", "ADDS"}
    assert by_name("MY_OP, ITS = 1, 2\nMINE = 'x'\na.op == MINE\na.op in (MINE, 'y')\na.op == ITS\na.name == MINE") == 2
    assert by_name("a.op == 'x'\nb.op in ('x', 'y')\nc.op == d.op\ne.name == 'x'\nif f and g.op != 'z': pass") == 3
