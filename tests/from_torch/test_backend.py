"""`torch.compile(backend="cnncc")`: what can be compiled is, PyTorch runs the rest, and the log says which."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cnncc.torch import dynamo  # noqa: E402
from cnncc.torch.pieces import CompiledPiece  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Dynamo remembers what it compiled."""
    torch.manual_seed(0)
    torch.compiler.reset()
    with torch.no_grad():
        yield


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pieces that are compiled."""
    pieces: list[Any] = []
    begin = CompiledPiece.__init__

    def noted(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        pieces.append(self)

    monkeypatch.setattr(CompiledPiece, "__init__", noted)
    return pieces


def compiled(module: Any, **options: Any) -> Any:
    return torch.compile(module, backend=dynamo.backend, **options)


def close(found: Any, wanted: Any) -> bool:
    return found.shape == wanted.shape and found.dtype == wanted.dtype and torch.allclose(found, wanted, 1e-4, 1e-5)


def left(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says is left to PyTorch."""
    return [r.getMessage().removeprefix("left to PyTorch: ") for r in caplog.records if r.name == "cnncc.torch"]


class Net(torch.nn.Module):
    """Two convolutions with something between them."""

    def __init__(self, between: Any = torch.relu) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 4, 3)
        self.between = between

    def forward(self, x: Any) -> Any:
        return self.second(self.between(self.norm(self.first(x)).relu()))


def test_the_entry_point_names_the_back_end() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["torch_dynamo_backends"]
    assert EntryPoint("cnncc", points["cnncc"], "torch_dynamo_backends").load() is dynamo.backend


def test_by_name() -> None:
    """Where cnncc is installed with its entry points."""
    if "cnncc" not in torch.compiler.list_backends():
        pytest.skip("cnncc is not installed here")
    module, x = Net().eval(), torch.randn(1, 3, 8, 8)
    assert close(torch.compile(module, backend="cnncc")(x), module(x))


def test_a_whole_module(made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    module, x = Net().eval(), torch.randn(1, 3, 8, 8)
    fast = compiled(module)
    assert all(close(fast(x * i), module(x * i)) for i in range(3))
    assert len(made) == 1
    assert left(caplog) == []


def test_what_cannot_be_compiled_is_left(made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    module, x = Net(torch.special.bessel_j0).eval(), torch.randn(1, 3, 8, 8)
    fast = compiled(module)
    with caplog.at_level(logging.WARNING, "cnncc.torch"):
        assert all(close(fast(x), module(x)) for _ in range(3))
    assert len(made) == 2
    assert left(caplog) == ["special_bessel_j0 (aten.special_bessel_j0.default): this op is not supported"]


def test_what_is_computed_with_complex_numbers_is_left(made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    module, x = Net(lambda x: torch.fft.fft2(x).abs()).eval(), torch.randn(1, 3, 8, 8)
    assert close(compiled(module)(x), module(x))
    assert len(made) == 2
    assert [line.partition(":")[0] for line in left(caplog)] == [
        "_fft_c2c (aten._fft_c2c.default)",
        "abs_1 (aten.abs.default)",
    ]


def test_a_break_in_the_graph(made: list[Any]) -> None:
    def broken(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    module, x = Net(broken).eval(), torch.randn(1, 3, 8, 8)
    assert close(compiled(module)(x), module(x))
    assert len(made) >= 2


def test_several_tensors_between_pieces() -> None:
    def apart(x: Any) -> Any:
        low, high = x.topk(2, dim=1)[0].chunk(2, 1)
        return torch.special.bessel_j0(torch.cat([low, high, x[:, :6]], 1)) + x.mean(1, keepdim=True)

    module, x = Net(apart).eval(), torch.randn(2, 3, 8, 8)
    assert close(compiled(module)(x), module(x))


def test_arguments_and_results_are_what_they_are() -> None:
    def function(pair: tuple[Any, Any], more: dict[str, Any], scale: float = 2.0) -> dict[str, Any]:
        a, b = pair
        return {"sum": (a + b) * scale, "rows": a.shape[0], "place": (a * more["c"]).argmax(1), "same": b, "none": None}

    a, b, c = (torch.randn(3, 5) for _ in range(3))
    found, wanted = compiled(function)((a, b), {"c": c}, scale=3.0), function((a, b), {"c": c}, scale=3.0)
    assert (found["rows"], found["none"]) == (3, None)
    assert all(close(found[name], wanted[name]) for name in ("sum", "place", "same"))


def test_other_sizes_are_compiled_when_they_come(made: list[Any]) -> None:
    module = Net().eval()
    fast = compiled(module)
    for count, side in ((1, 8), (2, 8), (5, 8), (2, 11), (2, 11)):
        x = torch.randn(count, 3, side, side)
        assert close(fast(x), module(x))
    assert len(made) == 4


def test_weights_that_change_are_seen(made: list[Any]) -> None:
    module, x = Net().eval(), torch.randn(1, 3, 8, 8)
    fast = compiled(module)
    assert close(fast(x), module(x))
    module.second.bias.add_(1)
    assert close(fast(x), module(x))
    module.load_state_dict({name: tensor * 0.5 for name, tensor in module.state_dict().items()})
    assert close(fast(x), module(x))
    module.second.weight.data = torch.randn_like(module.second.weight)
    assert close(fast(x), module(x))
    assert len(made) == 4
    assert close(fast(x), module(x))
    assert len(made) == 4


def test_modules_of_one_class_have_their_own_weights() -> None:
    modules, x = [Net().eval() for _ in range(3)], torch.randn(1, 3, 8, 8)
    for _ in range(2):
        for module in modules:
            assert close(compiled(module)(x), module(x))


def test_channels_last() -> None:
    module, x = Net().eval().to(memory_format=torch.channels_last), torch.randn(2, 3, 8, 8)
    fast, wanted = compiled(module), module(x)
    for _ in range(2):
        assert close(fast(x.to(memory_format=torch.channels_last)), wanted)
        assert close(fast(x), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves(dtype: Any) -> None:
    module, x = torch.nn.Linear(6, 4).to(dtype).eval(), torch.randn(2, 6, dtype=dtype)
    found = compiled(module)(x)
    assert found.dtype == dtype
    assert torch.allclose(found, module(x), 2e-2, 2e-2)


def test_in_inference_mode() -> None:
    with torch.inference_mode():
        module, x = Net().eval(), torch.randn(1, 3, 8, 8)
        assert close(compiled(module)(x), module(x))


def test_gradients_are_refused() -> None:
    with torch.enable_grad(), pytest.raises(Exception, match="cnncc computes no gradients") as error:
        compiled(Net().eval())(torch.randn(1, 3, 8, 8))
    assert "call it inside torch.inference_mode() or torch.no_grad()" in str(error.value)


@pytest.mark.parametrize("module", [torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)], ids=["norm", "dropout"])
def test_training_is_refused(module: Any) -> None:
    with pytest.raises(Exception, match="is in training mode: a compiled network only infers"):
        compiled(module.train())(torch.randn(2, 3, 8, 8))


def test_what_changes_its_input_is_left(made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    def changes(x: Any) -> Any:
        return x.add_(1) * 2

    x = torch.zeros(1, 3)
    for _ in range(2):
        assert close(compiled(changes)(x), (x.clone()) * 2)
    assert x[0, 0] == 2
    assert made == []
    assert "the module changes" in left(caplog)[0]


def test_options() -> None:
    module, x = Net().eval(), torch.randn(1, 3, 8, 8)
    assert close(compiled(module, options={"threads": 1, "max_error": 0.0})(x), module(x))
    with pytest.raises(Exception, match="has no option 'thread'"):
        compiled(Net().eval(), options={"thread": 1})(x)
    with pytest.raises(Exception, match="threads must be at least 1"):
        compiled(Net().eval(), options={"threads": 0})(x)


def test_modes_are_refused() -> None:
    with pytest.raises(Exception, match="the back end cnncc has no mode 'max-autotune'"):
        dynamo.backend(None, [], mode="max-autotune")


def test_weights_that_only_pytorch_reads() -> None:
    """What is made of weights alone, for an op that is left, is no piece."""
    weight = torch.randn(8, 1, 1)
    module, x = (
        Net(lambda x: torch.special.bessel_j0(x * torch.special.bessel_j0(weight * 2))).eval(),
        torch.randn(1, 3, 8, 8),
    )
    assert close(compiled(module)(x), module(x))
