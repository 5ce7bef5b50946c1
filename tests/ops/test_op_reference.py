"""References of the other ops: known values, dtypes, and identities that hold."""

import math

import numpy as np
import pytest

from cnncc import lang, ops
from cnncc.ops.domains import Values
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.quantize import exact_only

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 3, 5, 4))


def value(name, *xs, weights=None, **attrs):
    attrs = ops.complete(name, attrs)
    result = ops.TABLE[name].reference(xs, weights or {}, attrs)
    assert result.shape == ops.infer(name, tuple(x.shape for x in xs), attrs)
    return result


ACTIVATIONS = [
    ("relu", {}, lambda v: v if v > 0 else 0),
    ("relu6", {}, lambda v: min(max(v, 0), 6)),
    ("leaky_relu", {}, lambda v: v if v > 0 else 0.01 * v),
    ("leaky_relu", {"slope": 0.2}, lambda v: v if v > 0 else 0.2 * v),
    ("sigmoid", {}, lambda v: 1 / (1 + np.exp(-v))),
    ("tanh", {}, np.tanh),
    ("hard_sigmoid", {}, lambda v: min(max(v / 6 + 0.5, 0), 1)),
    ("hard_sigmoid", {"alpha": 0.2, "beta": 0.3}, lambda v: min(max(0.2 * v + 0.3, 0), 1)),
    ("hard_swish", {}, lambda v: v * min(max(v + 3, 0), 6) / 6),
    ("silu", {}, lambda v: v / (1 + np.exp(-v))),
    ("clip", {}, lambda v: v),
    ("clip", {"low": -1.25, "high": 2.5}, lambda v: -1.25 if v < -1.25 else 2.5 if v > 2.5 else v),
    ("affine", {"scale": -2, "shift": 0.25}, lambda v: 0.25 - 2 * v),
    ("softsign", {}, lambda v: v / (1 + abs(v))),
    ("thresholded_relu", {}, lambda v: v if v > 1 else 0),
    ("thresholded_relu", {"alpha": 2.25}, lambda v: v if v > 2.25 else 0),
    ("shrink", {"shift": 0.25, "edge": 1.5}, lambda v: v - 0.25 if v > 1.5 else v + 0.25 if v < -1.5 else 0),
    ("abs", {}, lambda v: -v if v < 0 else v),
    ("exp", {}, math.exp),
    ("sqrt", {}, math.sqrt),
    ("reciprocal", {}, lambda v: 1 / v),
    ("round_down", {}, math.floor),
    ("round_up", {}, math.ceil),
    ("round_to_zero", {}, int),
    ("round", {}, round),
    ("sign", {}, lambda v: (v > 0) - (v < 0)),
]
"""Functions of one number, written apart from the formulas."""


@pytest.mark.parametrize(("name", "attrs", "function"), ACTIVATIONS)
def test_activations(name, attrs, function):
    x = np.linspace(-9, 9, 37).reshape(1, -1)
    if RECORDS[name].values is Values.POSITIVE:
        x = x[x > 0].reshape(1, -1)
    expected = [[function(float(v)) for v in x[0]]]
    np.testing.assert_allclose(value(name, x, **attrs), expected, rtol=1e-13, atol=1e-15)


def test_no_formula_is_compared_with_itself_only():
    """Where a record has no reference, NumPy computes the formula; so something else has to say what is right."""
    alone = {name for name, record in RECORDS.items() if record.reference is None}
    assert alone
    untold = alone - {name for name, _, _ in ACTIVATIONS}
    assert untold == set(), "add each to ACTIVATIONS of this file, as a function of one number"


def test_sigmoid_far_out_neither_overflows_nor_warns():
    with np.errstate(all="raise"):
        assert value("sigmoid", np.array([[-1e4, 1e4]])).tolist() == [[0, 1]]


def test_bn():
    weights = dict(zip(("weight", "bias", "running_mean", "running_var"), RNG.random((4, 3)), strict=True))
    expected = X.copy()
    for c in range(3):
        gain, bias, mean, var = (weights[s][c] for s in ("weight", "bias", "running_mean", "running_var"))
        expected[:, c] = gain * (X[:, c] - mean) / np.sqrt(var + 0.01) + bias
    np.testing.assert_allclose(value("bn", X, weights=weights, eps=0.01), expected)
    np.testing.assert_allclose(value("bn", X[:, :, 0, 0], weights=weights, eps=0.01), expected[:, :, 0, 0])


def test_softmax_of_large_numbers():
    got = value("softmax", np.array([[1000.0, 1000.0 + np.log(3)]]))
    np.testing.assert_allclose(got, [[0.25, 0.75]])
    np.testing.assert_allclose(value("softmax", X).sum(axis=1), 1)


def test_fc_flattens_in_chw_order(monkeypatch):
    monkeypatch.setattr("cnncc.ops.dense.MOST_COPIED", 70)
    weights = {"weight": RNG.random((7, 60)).astype(np.float32), "bias": RNG.random(7)}
    expected = np.array([[np.dot(w, x.ravel()) for w in weights["weight"]] for x in X]) + weights["bias"]
    np.testing.assert_allclose(value("fc", X, weights=weights, out=7), expected)
    np.testing.assert_allclose(value("fc", value("flatten", X), weights=weights, out=7), expected)


def test_merges():
    scale = RNG.random((1, 3, 1, 1))
    np.testing.assert_array_equal(value("add", X, X, scale), X + X + scale)
    np.testing.assert_array_equal(value("mul", scale, X), scale * X)
    joined = value("concat", X, X[:1], -X)
    np.testing.assert_array_equal(joined[1], np.concatenate([X[1], X[0], -X[1]]))


def test_movers():
    np.testing.assert_array_equal(value("slice", X, start=1, stop=3), X[:, 1:])
    np.testing.assert_array_equal(value("crop", X, top=1, left=2, height=3, width=2), X[:, :, 1:4, 2:4])
    np.testing.assert_array_equal(value("reshape", value("flatten", X), dims=(3, 5, 4)), X)
    for name in ("dropout", "identity", "relayout"):
        assert value(name, X) is X


def test_pads():
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    assert value("pad", x, pad=(1, 0, 0, 1), value=9.0)[0, 0].tolist() == [[9, 9, 9, 9], [0, 1, 2, 9], [3, 4, 5, 9]]
    assert value("pad", x, pad=(0, 2, 1, 0), mode="edge")[0, 0].tolist() == [
        [0, 0, 0, 1, 2], [3, 3, 3, 4, 5], [3, 3, 3, 4, 5],
    ]  # fmt: skip
    assert value("pad", x, pad=(1, 2, 0, 1), mode="reflect")[0, 0].tolist() == [
        [5, 4, 3, 4, 5, 4], [2, 1, 0, 1, 2, 1], [5, 4, 3, 4, 5, 4],
    ]  # fmt: skip


def test_upsample_nearest():
    got = value("upsample", np.array([[[[1.0, 2.0]]]]), scale=(2, 3))
    assert got[0, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2


@pytest.mark.parametrize(("align", "row"), [(False, [1, 1.25, 1.75, 2.5, 3.5, 4]), (True, [1, 1.4, 1.8, 2.4, 3.2, 4])])
def test_upsample_bilinear_by_hand(align, row):
    got = value("upsample", np.array([[[[1.0, 2.0, 4.0]]]]), scale=(1, 2), mode="bilinear", align_corners=align)
    np.testing.assert_allclose(got[0, 0, 0], row)


@pytest.mark.parametrize("align", [False, True])
def test_upsample_bilinear_against_loops(align):
    sh, sw = 3, 2
    got = value("upsample", X, scale=(sh, sw), mode="bilinear", align_corners=align)
    h, w = X.shape[2:]

    def corners(i, size, scale):
        at = i * (size - 1) / (size * scale - 1) if align else max(0, (i + 0.5) / scale - 0.5)
        low = min(int(at), size - 1)
        return low, min(low + 1, size - 1), at - low

    for r, q in np.ndindex(h * sh, w * sw):
        (a, b, s), (c, d, t) = corners(r, h, sh), corners(q, w, sw)
        top, bottom = ((1 - t) * X[:, :, i, c] + t * X[:, :, i, d] for i in (a, b))
        np.testing.assert_allclose(got[:, :, r, q], (1 - s) * top + s * bottom)


def test_upsample_of_one_pixel():
    for align in (False, True):
        got = value("upsample", np.full((1, 1, 1, 1), 5.0), scale=(3, 3), mode="bilinear", align_corners=align)
        assert got.tolist() == np.full((1, 1, 3, 3), 5.0).tolist()


def test_global_pools():
    np.testing.assert_allclose(value("gap", X)[1, 2, 0, 0], X[1, 2].sum() / 20)
    assert value("gmp", X)[1, 2, 0, 0] == X[1, 2].max()
    np.testing.assert_allclose(value("gsum", X)[1, 2, 0, 0], X[1, 2].sum())


def test_input_normalizes():
    attrs = ops.complete("input", {"dims": (3, 5, 4), "mean": (1.0, 2.0, 3.0), "std": (2.0,)})
    got = ops.TABLE["input"].reference((X,), {}, attrs)
    np.testing.assert_allclose(got[1, 2], (X[1, 2] - 3) / 2)
    plain = ops.TABLE["input"].reference((X,), {}, ops.complete("input", {"dims": (3, 5, 4)}))
    np.testing.assert_array_equal(plain, X)


def test_epilogue_runs_in_order():
    epilogue = (("relu", ()), ("add", ()), ("leaky_relu", (("slope", 0.5),)), ("add", ()))
    a, b, c, d = RNG.standard_normal((4, 1, 2, 3, 3))
    summed = np.maximum(a + b, 0) + c
    expected = np.where(summed > 0, summed, 0.5 * summed) + d
    np.testing.assert_allclose(value("add", a, b, c, d, epilogue=epilogue), expected)


EXAMPLES = {
    "unpool": {"size": (6, 5)}, "argmaxpool": {"kernel": (2, 2)}, "roi_align": {"size": (2, 2), "samples": 2},
    "nms": {"most": 3},
    "conv": {"out": 3, "kernel": (3, 3)}, "conv_transpose": {"out": 3, "kernel": (2, 2)}, "fc": {"out": 4},
    "maxpool": {"kernel": (2, 2)}, "avgpool": {"kernel": (2, 2)}, "upsample": {"scale": (2, 2), "mode": "bilinear"},
    "pad": {"pad": (1, 1, 1, 1)}, "crop": {"top": 0, "left": 0, "height": 1, "width": 1}, "reshape": {"dims": (60,)},
    "slice": {"start": 0, "stop": 1}, "input": {"dims": (3, 5, 4), "mean": (0.5,), "std": (0.3,)},
    "const": {"dims": (3, 5, 4)}, "expand": {"dims": (3, 5, 4)}, "resize": {"size": (7, 3), "mode": "cubic"},
    "permute": {"split": (3, 20), "axes": (1, 0), "dims": (20, 1, 3)}, "topk": {"k": 2},
    "spread": {"batch": 2}, "power": {"exponent": 1.7}, "pick": {"channels": (2, 0, 2)},
    "strided_slice": {"dims": (2, 2, 4), "start": (2, 0, 0), "step": (-2, 3, 1)},
    "take": {"indices": (4, 0, 4), "axis": 1}, "unfold": {"kernel": (2, 3)},
}  # fmt: skip


def arguments(name, x):
    """What the op reads: the same image for all, unless it needs other things."""
    places = np.abs(x[..., :1]).clip(0, 4)
    other = {
        "matmul": (x, x.swapaxes(2, 3)),
        "sample": (x, x[:, :2]),
        "gather": (x, places),
        "scatter": (x, places, x),
        "unpool": (x, np.abs(x)),
        "roi_align": (x, x[:, :, :1]),
        "nms": (x, x[..., :2].swapaxes(2, 3)),
    }
    return other.get(name, (x,) * (ops.TABLE[name].arity[0] if name != "input" else 1))


DOMAINS = {
    **dict.fromkeys(("log", "sqrt", "power", "pow"), np.abs),
    **dict.fromkeys(("asin", "acos", "atanh"), np.tanh),
    "acosh": lambda x: 1 + np.abs(x),
}
"""Arguments that ops are defined for."""


def example(name):
    """Attributes of the op: those of EXAMPLES, else, if it needs some, those of the example that its form gives."""
    if name in EXAMPLES or ops.REQUIRED not in ops.TABLE[name].attributes.values():
        return ops.complete(name, EXAMPLES.get(name, {}))
    (node,) = lang.parse(f"net t\ninput 3x5x4\n{ops.TABLE[name].forms[0].example}\n").nodes[1:]
    return node.attrs


@pytest.mark.parametrize("name", sorted(name for name, op in ops.TABLE.items() if op.reference is not exact_only))
def test_every_op_keeps_float32_and_close_to_float64(name):
    """float32 in, float32 out (whatever the weights are), within the op's tolerance of float64."""
    op, attrs = ops.TABLE[name], example(name)
    shapes = (X.shape,) * op.arity[0]
    slots = op.weights(shapes, attrs)
    weights = {slot: RNG.random(s).astype(np.float32) for slot, s in slots.items()}
    x = DOMAINS.get(name, np.asarray)(X).astype(np.float32)
    xs = arguments(name, x)
    got = op.reference(xs, weights, attrs)
    exact = op.reference(tuple(x.astype(np.float64) for x in xs), weights, attrs)
    assert got.dtype == np.float32
    assert exact.dtype == (np.float32 if name == "const" else np.float64)
    bound = max(op.tolerance, 2**-24) * abs(exact).max()
    assert abs(got - exact).max() <= bound


@pytest.mark.parametrize(
    ("op", "attrs", "sign"),
    [("shrink", {"edge": 0.1}, 1), ("shrink", {"edge": 0.1}, -1), ("thresholded_relu", {"alpha": 0.1}, 1)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_on_an_edge_is_inside_in_both_precisions(op, attrs, sign, dtype):
    x = np.full((1, 1), sign * np.float32(0.1), dtype)  # in float64 this is above 0.1
    got = ops.TABLE[op].reference((x,), {}, ops.complete(op, attrs))
    assert got == 0
