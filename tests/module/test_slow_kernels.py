"""A kernel that takes long to compile is reported by the name of its layer."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccWarning
from cnncc.kernels.shared.spec import Kernel
from cnncc.machines.targets import Target
from cnncc.module.cpu import emit, objects

ONE = "edges: conv 3x3 4 pad 1"
SEVERAL = "\n".join(f"fc {k} elu" for k in range(1, 9))


compile_kernel = objects.compile_kernel


def slowly(kernel: Kernel, target: Target) -> bytes:
    time.sleep(0.5)
    return compile_kernel(kernel, target)


def told(monkeypatch: pytest.MonkeyPatch, cache: Path, body: str) -> list[str]:
    """The warnings of a compilation in which every kernel takes half a second longer, and 0.2 are allowed."""
    monkeypatch.setenv("CNNCC_CACHE", str(cache))
    monkeypatch.setattr(objects, "compile_kernel", slowly)
    monkeypatch.setattr(emit, "SLOW_SECONDS", 0.2)
    graph = weights.bind(lang.parse(f"net t\ninput 3x9x9\n{body}\n"), seed=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", CnnccWarning)
        api.build(graph)
    return [w.message.message for w in seen if isinstance(w.message, CnnccWarning)]


@pytest.mark.parametrize("body", [ONE, SEVERAL])
def test_the_layer_is_named(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = told(monkeypatch, tmp_path, body)
    layer = "layer edges (conv): compiling conv_f32" if body is ONE else "layer 3.elu (fc, elu): compiling "
    assert any(m.startswith(layer) for m in messages), messages
    assert all(m.endswith("takes more than 0 s") for m in messages)


def test_nothing_is_said_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "SLOW_SECONDS", 60.0)
    graph = weights.bind(lang.parse(f"net t\ninput 3x9x9\n{ONE}\n"), seed=1)
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CnnccWarning)
        api.build(graph)
