"""The networks of `make bench-timm` through both doors: what they compute is what PyTorch computes.

make test-torch NETWORKS=resnest14d,dla34     # some of them
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("torchvision")

import cnncc.torch  # noqa: E402
from benchmarks import export_timm  # noqa: E402
from cnncc.torch.dynamo import backend  # noqa: E402

BOUND = 1e-4
"""Of the largest number of a result."""
LISTED = tomllib.loads((Path(__file__).parents[2] / "benchmarks" / "timm.toml").read_text())
NETWORKS = {name: maker for source, maker in export_timm.MAKERS.items() for name in LISTED[source]}
WANTED = os.environ.get("NETWORKS", "").split(",") if os.environ.get("NETWORKS") else list(NETWORKS)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    with torch.inference_mode():
        yield


def made(name: str) -> tuple[Any, Any, Any]:
    """A network, an image, and what PyTorch computes of it."""
    with torch.inference_mode(False):
        network, size = export_timm.made(NETWORKS[name], name)
    x = torch.randn(1, *size)
    return network, x, network(x)


def check(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= BOUND * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED)
def test_compiled(name: str) -> None:
    network, x, wanted = made(name)
    check(cnncc.torch.compile(network, x)(x), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", WANTED)
def test_as_a_back_end(name: str, caplog: pytest.LogCaptureFixture) -> None:
    network, x, wanted = made(name)
    check(torch.compile(network, backend=backend)(x), wanted)
    assert [record.getMessage() for record in caplog.records if record.name == "cnncc.torch"] == []
