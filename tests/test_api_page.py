"""docs/api.md: the page as it is made now, and every public name on it, with a docstring."""

from __future__ import annotations

import ast
import importlib

import pytest
from pages import PAGES, ROOT, blocks

import cnncc
from tools import api_page
from tools.api_page import Public

PUBLIC = [public for section in api_page.SECTIONS for public in section.names]
NAMES = {public.name for public in PUBLIC}
NEEDS = {"cnncc.contrib.beam": "apache_beam", "cnncc.contrib.kserve": "kserve"}
"""Modules whose classes are made of those of a package that need not be there."""
INSIDE = (api_page.PAGE, ROOT / "CONTRIBUTING.md")
"""The page itself, and that for those who change the compiler."""


def documented(name: str) -> bool:
    """Whether a public name, or one it is a part of (a module), is on the page."""
    return any(public == name or public.startswith(f"{name}.") for public in NAMES)


def used(source: str) -> set[str]:
    """The names of cnncc that a Python text imports, and what it takes from `cnncc` itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "cnncc")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cnncc":
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cnncc":
            found.add(f"cnncc.{node.attr}")
    return found


def test_the_page_is_up_to_date() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run `make api`"


@pytest.mark.parametrize("public", PUBLIC, ids=lambda p: p.name)
def test_every_public_name_has_a_docstring(public: Public) -> None:
    assert [entry.name for entry in api_page.entries(public) if not entry.text] == []


@pytest.mark.parametrize("public", PUBLIC, ids=lambda p: p.name)
def test_every_public_name_can_be_imported(public: Public) -> None:
    module, name = public.name.rsplit(".", 1)
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    found = getattr(importlib.import_module(module), name)
    source, path = public.source.split(":")
    assert (found.__module__, found.__qualname__) == (source, path)


def test_all_that_the_package_exports_is_on_the_page() -> None:
    assert {f"cnncc.{name}" for name in cnncc.__all__ if name != "__version__"} <= NAMES


@pytest.mark.parametrize("page", [p for p in PAGES if p not in INSIDE], ids=lambda p: p.stem)
def test_examples_of_the_pages_use_public_names_only(page) -> None:
    sources = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.language == "python"]
    assert [name for source in sources for name in sorted(used(source)) if not documented(name)] == []


def test_these_tests_can_fail(tmp_path, monkeypatch) -> None:
    assert used("import cnncc.ir as ir\nfrom cnncc.base import files\ncnncc.api") == {
        "cnncc.ir", "cnncc.base.files", "cnncc.api"
    }  # fmt: skip
    assert not documented("cnncc.base.files")
    (tmp_path / "m.py").write_text(
        "from cnncc.options import DEFAULT\n\nN = 3\n\nclass C:\n"
        "    def f(self, a: int = N, *, b: str = DEFAULT.dtype) -> None:\n        pass\n"
    )
    monkeypatch.setattr(api_page, "ROOT", tmp_path)
    bare, method = api_page.entries(Public("m.C", "m:C", "c", ("f",)))
    assert (bare.text, method.text, method.signature) == ("", "", "c.f(a: int = 3, *, b: str = 'float32') -> None")
    with pytest.raises(LookupError, match="D is not where SECTIONS says"):
        list(api_page.entries(Public("m.D", "m:D")))
