"""Heights and widths that `torch.export` leaves open become the ranges of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cnncc
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.runtime.arrays import InputError

torch = pytest.importorskip("torch")

from torch.export import Dim  # noqa: E402

import cnncc.torch  # noqa: E402

H, W = Dim("h", min=4, max=8), Dim("w", min=32, max=48)
OPEN = {"image": {2: 8 * H, 3: W}}
EXAMPLE = torch.zeros(2, 3, 64, 40)


class Edges(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = torch.nn.Conv2d(8, 4, 1)

    def forward(self, image: Any) -> Any:
        return self.second(torch.relu(self.first(image)))


class ByHeight(Edges):
    def forward(self, image: Any) -> Any:
        return super().forward(image) / image.shape[2]


class Pair(torch.nn.Module):
    def forward(self, a: Any, b: Any) -> Any:
        return torch.relu(a) + b


def made(module: Any) -> Any:
    torch.manual_seed(0)
    return module().eval()


def test_the_text_has_the_ranges() -> None:
    network = cnncc.torch.to_net(made(Edges), EXAMPLE, dynamic_shapes=OPEN)
    assert "input image 3 x h x w where h in 32..64 step 8, w in 32..48\n" in network.text
    program = torch.export.export(made(Edges), (EXAMPLE,), dynamic_shapes=OPEN)
    again = cnncc.torch.to_net(program, name=network.graph.name)
    assert (again.text, again.graph) == (network.text, network.graph)


@pytest.mark.parametrize("free", [False, True])
def test_every_size_is_right(free: bool, tmp_path: Path) -> None:
    module = made(Edges)
    shapes = {"image": {**OPEN["image"], **({0: Dim("n", min=1, max=8)} if free else {})}}
    found = cnncc.torch.compile(module, EXAMPLE, dynamic_shapes=shapes, max_error=0)
    for size in ((32, 33), (64, 48), (40, 32)):
        x = torch.randn(3 if free else 2, 3, *size)
        with torch.inference_mode():
            assert torch.allclose(found(x), module(x), atol=1e-5)
    with pytest.raises(InputError, match=r"h = 33 is not one of 32, 40, \.\.\., 64"):
        found(torch.zeros(2, 3, 33, 32))
    model = cnncc.load(found.save(tmp_path / "edges.so")["so"])
    assert [str(r) for r in model.ranges] == ["h in 32..64 step 8", "w in 32..48"]


def test_inputs_share_a_size() -> None:
    example = (torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 40, 40))
    network = cnncc.torch.to_net(made(Pair), example, dynamic_shapes={"a": {3: W}, "b": {3: W}})
    w = Symbol(0, "w", 32, 48)
    assert [n.attrs["range"] for n in network.graph.inputs] == [(3, 40, w), (3, 40, w)]


@pytest.mark.parametrize(
    ("module", "shapes", "message"),
    [
        (Edges, {"image": {2: Dim.DYNAMIC}}, "axis 2 of input image has no largest size"),
        (Edges, {"image": {2: Dim("h", min=4)}}, "axis 2 of input image has no largest size"),
        (ByHeight, OPEN, "at h = 32, w = 32, the "),
    ],
)
def test_what_has_no_range(module: Any, shapes: Any, message: str) -> None:
    with pytest.raises(CnnccError, match=message) as caught:
        cnncc.torch.to_net(made(module), EXAMPLE, dynamic_shapes=shapes)
    assert caught.value.hint
