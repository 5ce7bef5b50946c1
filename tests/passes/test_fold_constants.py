import numpy as np
import pytest
from passes.pass_helpers import Net, fires, image, stays

from cnncc.ir import Constant, Graph
from cnncc.passes.fold_constants import fold_constants


def scaled(net: Net) -> Net:
    return net("k", "const", dims=(16, 1, 1))("s", "sigmoid", "k")("n", "bn", "s")("m", "mul", "x", "n")


def test_fires() -> None:
    fires(
        fold_constants,
        scaled(image()).graph("m"),
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        n : 1x16x1x1 = const() value=n.value[1x16x1x1] {dims=(16, 1, 1)}
        m : 1x16x4x4 = mul(x, n)
        return m
        """,
    )


def test_is_lazy_and_float32() -> None:
    g = scaled(image()).graph("m")
    assert fold_constants(g).constants["n.value"].value.dtype == np.float32
    unbound = Graph(g.name, g.nodes, g.outputs, {name: Constant(c.shape) for name, c in g.constants.items()})
    assert not fold_constants(unbound).constants["n.value"].bound


def test_must_not_fire_on_inputs_or_huge_results(monkeypatch: pytest.MonkeyPatch) -> None:
    stays(fold_constants, image()("k", "const", dims=(16, 1, 1))("m", "mul", "x", "k").graph("m"))
    monkeypatch.setitem(fold_constants.__globals__, "LARGEST", 15)
    stays(fold_constants, scaled(image()).graph("m"))


def test_must_not_fire_for_what_is_not_float32() -> None:
    net = image()("k", "const", dims=(16, 1, 1))("q", "cast", "k", to="int8")("d", "cast", "q", to="float32")
    stays(fold_constants, net("m", "mul", "x", "d").graph("m"))
