"""conv, conv_transpose, pools and LRN against plain loops, on random attributes."""

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnncc import ops

SETTINGS = settings(max_examples=120, deadline=None, derandomize=True)
AXIS = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 3), st.integers(0, 3))
ROUNDING = st.sampled_from(["floor", "ceil", "exact"])


@st.composite
def sliding(draw):
    """Kernel, stride, dilation and pads, different along the two axes."""
    (kh, sh, dh, top, bottom), (kw, sw, dw, left, right) = draw(AXIS), draw(AXIS)
    return {"kernel": (kh, kw), "stride": (sh, sw), "dilation": (dh, dw), "pad": (top, left, bottom, right)}


@st.composite
def images(draw, channels=None):
    n, h, w = draw(st.integers(1, 2)), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    c = channels or draw(st.integers(1, 3))
    return np.random.default_rng(draw(st.integers(0, 99))).standard_normal((n, c, h, w))


def agree(name, x, attrs, seed=0):
    """Shape rule and reference give what the loops give; what the loops cannot do, the shape rule refuses."""
    attrs = ops.complete(name, attrs)
    possible = "rounding" not in attrs or None not in naive.result_size(x, attrs)
    if not possible:
        with pytest.raises(ops.ShapeError, match="does not fit"):
            ops.infer(name, (x.shape,), attrs)
        return
    rng = np.random.default_rng(seed)
    weights = {slot: rng.standard_normal(s) for slot, s in ops.weight_shapes(name, (x.shape,), attrs).items()}
    expected = getattr(naive, name)(x, weights, attrs)
    assert ops.infer(name, (x.shape,), attrs) == expected.shape
    got = ops.TABLE[name].reference((x,), weights, attrs)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


@SETTINGS
@given(sliding(), ROUNDING, st.sampled_from([(1, 1, 1), (2, 1, 3), (3, 1, 1), (2, 2, 1), (2, 2, 2)]), st.booleans(),
       st.data())  # fmt: skip
def test_conv(attrs, rounding, grouping, bias, data):
    groups, per_group, multiplier = grouping
    x = data.draw(images(channels=groups * per_group))
    agree("conv", x, {**attrs, "rounding": rounding, "groups": groups, "out": groups * multiplier, "bias": bias})


@SETTINGS
@given(sliding(), st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from([(1, 2, 3), (2, 1, 2), (3, 1, 1)]),
       st.booleans(), st.data())  # fmt: skip
def test_conv_transpose(attrs, output_pad, grouping, bias, data):
    groups, per_group, multiplier = grouping
    x = data.draw(images(channels=groups * per_group))
    attrs = {**attrs, "output_pad": output_pad, "groups": groups, "out": groups * multiplier, "bias": bias}
    try:
        ops.infer("conv_transpose", (x.shape,), attrs)
    except ops.ShapeError as error:
        assert "nothing is left" in error.message  # noqa: PT017
        assume(False)
    agree("conv_transpose", x, attrs)


@SETTINGS
@given(sliding(), ROUNDING, images())
def test_maxpool(attrs, rounding, x):
    attrs["rounding"] = rounding
    if all_windows_filled("maxpool", x, attrs):
        agree("maxpool", x, attrs)


@SETTINGS
@given(sliding(), ROUNDING, st.booleans(), images())
def test_avgpool(attrs, rounding, include, x):
    attrs = {**attrs, "rounding": rounding, "count_include_pad": include}
    del attrs["dilation"]
    if all_windows_filled("avgpool", x, attrs):
        agree("avgpool", x, attrs)


def all_windows_filled(name, x, attrs):
    """Whether each window has a pixel; if one has none, the shape rule must have refused it."""
    size = naive.result_size(x, attrs)
    if None in size:
        return True
    filled = all(any(naive.inside(x, r, q) for *_, r, q in naive.taps(x, attrs, *o)) for o in np.ndindex(*size))
    if not filled:
        with pytest.raises(ops.ShapeError, match="leaves a window of"):
            ops.infer(name, (x.shape,), attrs)
    return filled


@SETTINGS
@given(st.sampled_from([1, 3, 5, 7]), st.floats(1e-4, 2), st.floats(0.1, 2), st.floats(0.5, 2), images())
def test_lrn(size, alpha, beta, k, x):
    agree("lrn", x, {"size": size, "alpha": alpha, "beta": beta, "k": k})


def test_conv_in_chunks_of_rows(monkeypatch):
    monkeypatch.setattr("cnncc.ops.conv.COLUMN_LIMIT", 100)
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 7))
    agree("conv", x, {"out": 6, "kernel": (3, 3), "pad": (1, 2, 0, 1), "groups": 2})
