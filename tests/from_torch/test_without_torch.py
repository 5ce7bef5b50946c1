"""What cnncc.torch says where PyTorch is missing, and that it is not loaded before it is needed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import cnncc.torch
from cnncc.base import extras
from cnncc.base.errors import CnnccError


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else found(name))
    with pytest.raises(CnnccError, match=r"cnncc\.torch needs torch, which is not installed") as error:
        cnncc.torch.to_net(object(), ())
    assert error.value.hint.endswith("[torch]'")


def test_pytorch_is_loaded_when_it_is_needed() -> None:
    code = "import sys, cnncc.torch; sys.exit(any(name in sys.modules for name in ('torch', 'tvm', 'onnx')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
