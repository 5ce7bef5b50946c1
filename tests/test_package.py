"""`import cnncc`: a few names, loaded when asked for."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

import cnncc
from cnncc.base import extras
from cnncc.base.errors import CnnccError


def test_the_public_names():
    assert set(cnncc.__all__) <= set(dir(cnncc))
    assert all(getattr(cnncc, name) for name in cnncc.__all__)
    assert cnncc.CnnccError is CnnccError


def test_every_file_that_has_the_version_agrees():
    root = Path(__file__).parents[1]
    texts = {
        name: (root / name).read_text() for name in ("CITATION.cff", "CHANGELOG.md", "README.md", "docs/python.md")
    }
    (cited,) = re.findall(r"^version: (\S+)$", texts["CITATION.cff"], re.MULTILINE)
    newest, released = re.findall(r"^## \[([0-9.]+)\] - (\S+)$", texts["CHANGELOG.md"], re.MULTILINE)[0]
    wheels = set(re.findall(r"cnncc_inference-([0-9.]+)-py3", texts["README.md"] + texts["docs/python.md"]))
    assert {cited, newest, *wheels} == {cnncc.__version__}
    assert f"date-released: {released}\n" in texts["CITATION.cff"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cnncc' has no attribute 'complie'"):
        cnncc.complie  # noqa: B018


def test_a_missing_package_is_told_by_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "lark" else object())
    with pytest.raises(CnnccError, match="networks needs lark, which is not installed") as caught:
        cnncc.compile("lenet5")
    assert extras.install("compiler") in caught.value.hint
    explained = extras.explain(ModuleNotFoundError("no lark", name="lark.exceptions"))
    assert str(explained) == str(caught.value)


def test_other_failed_imports_are_not_explained_away():
    assert extras.explain(ModuleNotFoundError("no such", name="cnncc.nonsense")) is None
    assert extras.explain(ModuleNotFoundError("a part of what is there", name="lark.nonsense")) is None


@pytest.mark.parametrize(
    ("record", "command"),
    [
        (None, "pip install 'cnncc-inference[cuda]'"),
        ("no JSON", "pip install 'cnncc-inference[cuda]'"),
        ({"url": "file:///nowhere/at/all.whl"}, "pip install 'cnncc-inference[cuda]'"),
        ({"url": "https://example.org/a.whl"}, "pip install 'cnncc-inference[cuda]'"),
        ({"url": "file://FOLDER/a%20b"}, "pip install 'FOLDER/a b[cuda]'"),
        ({"url": "file://FOLDER/a%20b", "dir_info": {"editable": True}}, "pip install --editable 'FOLDER/a b[cuda]'"),
    ],
)
def test_an_extra_comes_from_where_the_rest_came_from(record, command, tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    text = record if isinstance(record, str) or record is None else json.dumps(record)
    text = text and text.replace("FOLDER", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert extras.install("cuda") == command.replace("FOLDER", str(tmp_path))


def test_a_folder_that_was_never_installed(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    assert extras.install("cuda") == "pip install 'cnncc-inference[cuda]'"


def test_the_page_is_served_to_this_machine_only():
    (line,) = [
        text for text in (Path(__file__).parents[1] / "Makefile").read_text().splitlines() if "http.server" in text
    ]
    assert "--bind 127.0.0.1" in line
