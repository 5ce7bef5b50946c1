"""`import cnncc`: a few names, loaded when asked for."""

from __future__ import annotations

import pytest

import cnncc
from cnncc.errors import CnnccError


def test_the_public_names():
    assert {"CnnccError", "__version__", "compile", "load"} <= set(dir(cnncc))
    assert cnncc.CnnccError is CnnccError
    assert cnncc.__version__ == "0.1.0"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cnncc' has no attribute 'complie'"):
        cnncc.complie  # noqa: B018
