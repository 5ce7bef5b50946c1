"""`import cnncc`: a few names, loaded when asked for."""

from __future__ import annotations

import pytest

import cnncc
from cnncc import extras
from cnncc.errors import CnnccError


def test_the_public_names():
    assert {"CnnccError", "__version__", "compile", "load"} <= set(dir(cnncc))
    assert cnncc.CnnccError is CnnccError
    assert cnncc.__version__ == "0.1.0"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cnncc' has no attribute 'complie'"):
        cnncc.complie  # noqa: B018


def test_a_missing_package_is_told_by_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "lark" else object())
    with pytest.raises(CnnccError, match="networks needs lark, which is not installed") as caught:
        cnncc.compile("lenet5")
    assert "pip install 'cnncc[compiler]'" in caught.value.hint
    explained = extras.explain(ModuleNotFoundError("no lark", name="lark.exceptions"))
    assert str(explained) == str(caught.value)


def test_other_failed_imports_are_not_explained_away():
    assert extras.explain(ModuleNotFoundError("no such", name="cnncc.nonsense")) is None
    assert extras.explain(ModuleNotFoundError("a part of what is there", name="lark.nonsense")) is None
