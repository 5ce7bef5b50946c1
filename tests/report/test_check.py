"""Comparing a compiled module with the reference: errors, bounds, outliers, units in the last place."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

from cnncc import lang, ops, weights
from cnncc.ir import Graph, Node, TensorType
from cnncc.module import phases
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.plan.pack_records import pack_outlines
from cnncc.report.check import CheckReport, check, compare, compare_layer, max_ulp, tolerances

IMAGE = TensorType((1, 2, 3, 4))
F32 = np.float32


def chain(*names: str) -> Graph:
    """input -> op -> op ..., each node named after its op."""
    source = Node("image", "input", (), IMAGE, ops.complete("input", {"dims": (2, 3, 4)}))
    nodes = [source]
    for name in names:
        nodes.append(Node(name, name, (nodes[-1].name,), IMAGE, ops.complete(name, {})))
    return Graph("t", tuple(nodes), (nodes[-1].name,))


def test_equal_arrays_pass_with_no_error():
    x = np.arange(24, dtype=F32).reshape(IMAGE.shape)
    layer = compare_layer("a", "relu", x, x.astype(np.float64), 0.0)
    assert layer.passed
    assert (layer.error, layer.max_ulp, layer.outlier_ratio) == (0.0, 0, 0.0)


def test_the_error_is_a_share_of_the_largest_value():
    expected = np.array([1.0, -4.0, 2.0])
    layer = compare_layer("a", "relu", np.array([1.0, -4.0, 2.5], F32), expected, 0.2)
    assert layer.error == 0.5 / 4
    assert layer.passed


def test_the_first_outlier_is_shown_with_both_values_and_their_share():
    expected = np.zeros((1, 2, 2, 2))
    expected[0, 0, 0, 0] = 10.0
    got = expected.astype(F32)
    got[0, 1, 0, 1], got[0, 1, 1, 1] = 3.0, 4.0
    layer = compare_layer("a", "relu", got, expected, 0.1)
    assert not layer.passed
    assert (layer.outlier_index, layer.outlier_got, layer.outlier_expected) == ((0, 1, 0, 1), 3.0, 0.0)
    assert layer.outlier_ratio == 2 / 8
    assert layer.error == 0.4


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_no_number_never_passes(wrong):
    layer = compare_layer("a", "relu", np.array([1.0, wrong], F32), np.array([1.0, 1.0]), 1e9)
    assert not layer.passed
    assert layer.outlier_index == (1,)
    written = json.loads(json.dumps(CheckReport("t", (layer,)).to_json(), allow_nan=False))
    assert written["worst"]["error"] is None
    assert written["layers"][0]["outlier_got"] is None


def test_an_error_where_all_should_be_zero_is_infinite():
    layer = compare_layer("a", "relu", np.array([1e-30], F32), np.array([0.0]), 1e-3)
    assert layer.error == math.inf
    assert not layer.passed


@pytest.mark.parametrize(
    ("got", "expected", "ulp"),
    [
        (1.0, 1.0, 0),
        (np.nextafter(F32(1), F32(2)), 1.0, 1),
        (0.0, -0.0, 0),
        (np.nextafter(F32(0), F32(1)), np.nextafter(F32(0), F32(-1)), 2),
        (-1.0, np.nextafter(F32(-1), F32(-2)), 1),
    ],
)
def test_units_in_the_last_place(got, expected, ulp):
    assert max_ulp(np.array([got], F32), np.array([expected], np.float64)) == ulp


def test_bounds_add_up_along_the_deepest_path():
    graph = chain("sigmoid", "tanh")
    two = graph.rebuild(
        [*graph.nodes, Node("both", "add", ("image", "tanh"), IMAGE, ops.complete("add", {}))], ("both",)
    )
    bounds = tolerances(two)
    own = {name: ops.TABLE[name].tolerance for name in ("input", "sigmoid", "tanh", "add")}
    assert bounds["sigmoid"] == own["input"] + own["sigmoid"]
    assert bounds["both"] == pytest.approx(sum(own.values()), abs=0)


def test_only_values_that_survive_are_compared_and_the_first_failure_is_found():
    graph = chain("relu", "sigmoid", "tanh")
    good = np.ones(IMAGE.shape)
    expected = {node.name: good for node in graph.nodes}
    got = {"image": good.astype(F32), "sigmoid": good.astype(F32) * 2, "tanh": good.astype(F32) * 3}
    report = compare(graph, got, expected)
    assert [layer.name for layer in report.layers] == ["sigmoid", "tanh"]
    assert not report.passed
    assert report.first_failure is report.layers[0]
    assert report.worst is report.layers[1]
    assert report.to_json()["first_failure"]["name"] == "sigmoid"


def test_the_worst_layer_is_the_one_that_is_no_number():
    expected = np.ones(2)
    layers = [compare_layer(str(v), "relu", np.array([v, 1], F32), expected, 1.0) for v in (5.0, math.nan, 9.0)]
    assert CheckReport("t", tuple(layers)).worst is layers[1]


def test_a_network_that_computes_nothing_has_no_worst_layer():
    graph = chain()
    report = compare(graph, {"image": np.ones(IMAGE.shape, F32)}, {"image": np.ones(IMAGE.shape)})
    assert report.passed
    assert report.to_json()["worst"] is None


def test_random_inputs_depend_on_the_seed_only():
    graph = chain("relu")
    first, again, other = random_inputs(graph, 1), random_inputs(graph, 1), random_inputs(graph, 2)
    assert list(first) == ["image"]
    assert first["image"].dtype == F32
    assert first["image"].shape == IMAGE.shape
    np.testing.assert_array_equal(first["image"], again["image"])
    assert (first["image"] != other["image"]).all()


def test_random_inputs_are_normal_after_the_networks_own_normalisation():
    attrs = ops.complete("input", {"dims": (2, 30, 40), "mean": (100.0, 50.0), "std": (10.0, 5.0)})
    graph = Graph("t", (Node("image", "input", (), TensorType((1, 2, 30, 40)), attrs),), ("image",))
    array = random_inputs(graph, 0)["image"]
    np.testing.assert_allclose(array.mean(axis=(0, 2, 3)), [100, 50], rtol=0.02)
    np.testing.assert_allclose(array.std(axis=(0, 2, 3)), [10, 5], rtol=0.1)


def test_a_plan_that_lets_values_collide_is_found(monkeypatch):
    """The values of a run that keeps them all are right even then: only the module as delivered shows it."""
    plans = sys.modules["cnncc.plan.plan_arena"]

    def careless(shapes, guests=()):
        offsets, total = pack_outlines(shapes, guests)
        kept = len({(piece.first, piece.last) for shape in shapes for piece in shape}) == 1
        return (offsets, total) if kept else ((0,) * len(offsets), total)

    net = "net t\ninput 3x9x9\nconv 3x3 8 relu; conv 3x3 8 relu; add { conv 3x3 8 | conv 1x1 8 }; conv 1x1 4\n"
    graph = weights.bind(lang.parse(net))
    assert check(graph, Options(threads=1)).passed
    monkeypatch.setattr(plans, "pack_outlines", careless)
    report = check(graph, Options(threads=1))
    assert [layer.name for layer in report.layers if not layer.passed] == list(graph.outputs)


def test_the_rounded_reference_goes_through_the_phases_of_a_compile(monkeypatch):
    seen = []
    run = phases.run

    def spy(*args, stop_after=None, **rest):
        seen.append(stop_after)
        return run(*args, stop_after=stop_after, **rest)

    monkeypatch.setattr(phases, "run", spy)
    graph = weights.bind(lang.parse("net t\ninput 3x4x4\nconv 3x3 4 bn relu; fc 5\n"))
    assert check(graph, Options(threads=1, weights_dtype="bfloat16")).passed
    assert seen.count(phases.LAST_PASS) == 1


STEPS = "net t\ninput 3x6x6\nconv 3x3 8; dropout; quantize uint8 0.05 128; maxpool 2x2 /2; dequantize; fc 4\n"


def test_integers_must_be_equal():
    """However large the errors before them may be; what comes after is held to the module's own integers."""
    graph = lang.parse(STEPS)
    bounds = tolerances(graph)
    pool, back, last = (n.name for n in graph.nodes[-3:])
    assert bounds[pool] == bounds[back] == 0
    assert bounds[last] == ops.TABLE["fc"].tolerance
    report = check(weights.bind(graph), Options(threads=1))
    assert report.passed
    assert {layer.op: layer.error for layer in report.layers if layer.op in ("quantize", "maxpool", "dequantize")} == {
        "quantize": 0, "maxpool": 0, "dequantize": 0
    }  # fmt: skip


def test_an_integer_that_is_off_by_one_fails():
    graph = lang.parse(STEPS)
    steps = graph.nodes[3]
    wanted = {steps.name: np.full(steps.type.shape, 200, np.uint8)}
    got = {steps.name: wanted[steps.name].copy()}
    got[steps.name][0, 0, 0, 1] -= 1
    layer = compare(graph, got, wanted).layers[0]
    assert (layer.passed, layer.outlier_index, layer.outlier_got) == (False, (0, 0, 0, 1), 199.0)


def test_inputs_of_other_types_are_of_them():
    graph = lang.parse("net t\na: input 3 uint8 mean (9)\nb: input 3 int8\nadd { from a | from b }\n")
    assert [a.dtype for a in random_inputs(graph, 0).values()] == [np.uint8, np.int8]
