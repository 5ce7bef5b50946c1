"""Shape rules: what comes out, and what they say when they refuse."""

import pytest

from cnncc import ops

IMAGE = (1, 64, 56, 56)


def shape(name, *shapes, **attrs):
    return ops.infer(name, shapes, attrs)


def refused(name, *shapes, **attrs):
    """Message and hint of the refusal."""
    with pytest.raises(ops.ShapeError) as caught:
        ops.infer(name, shapes, attrs)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("size", "stride", "pad", "rounding", "expected"),
    [
        (7, 1, 0, "floor", 5), (7, 2, 0, "floor", 3), (7, 3, 0, "floor", 2), (7, 3, 0, "ceil", 3),
        (7, 2, 0, "exact", 3), (7, 1, 1, "exact", 7), (112, 2, 0, "ceil", 56), (112, 2, 1, "floor", 56),
        (3, 2, 1, "ceil", 2), (2, 2, 1, "ceil", 2), (1, 2, 1, "ceil", 1), (2, 2, 0, "ceil", 1), (4, 4, 1, "ceil", 2),
    ],
)  # fmt: skip
def test_window_3_counts(size, stride, pad, rounding, expected):
    attrs = {"kernel": (3, 3), "stride": (stride,) * 2, "pad": (pad,) * 4, "rounding": rounding}
    assert shape("maxpool", (1, 5, size, size), **attrs) == (1, 5, expected, expected)


def test_ceil_drops_a_window_that_starts_in_the_padding():
    assert shape("maxpool", (1, 1, 3, 3), kernel=(2, 2), stride=(3, 3), pad=(0, 0, 1, 1), rounding="ceil")[2:] == (1, 1)


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "expected"),
    [
        ("conv", [(2, 3, 224, 224)], {"out": 64, "kernel": (7, 7), "stride": (2, 2), "pad": (3,) * 4},
         (2, 64, 112, 112)),
        ("conv", [(1, 3, 32, 32)], {"out": 10, "kernel": (5, 5), "pad": (2,) * 4}, (1, 10, 32, 32)),
        ("conv", [(1, 4, 9, 9)], {"out": 4, "kernel": (3, 1), "dilation": (2, 1), "pad": (0, 1, 2, 3)}, (1, 4, 7, 13)),
        ("conv_transpose", [(1, 64, 28, 28)], {"out": 32, "kernel": (2, 2), "stride": (2, 2)}, (1, 32, 56, 56)),
        ("conv_transpose", [(1, 4, 5, 5)],
         {"out": 2, "kernel": (3, 3), "stride": (2, 2), "pad": (1,) * 4, "output_pad": (1, 0)}, (1, 2, 10, 9)),
        ("fc", [(3, 512, 7, 7)], {"out": 4096}, (3, 4096)),
        ("fc", [(3, 84)], {"out": 10}, (3, 10)),
        ("avgpool", [(1, 8, 7, 7)], {"kernel": (7, 7)}, (1, 8, 1, 1)),
        ("gap", [IMAGE], {}, (1, 64, 1, 1)),
        ("gmp", [IMAGE], {}, (1, 64, 1, 1)),
        ("gsum", [IMAGE], {}, (1, 64, 1, 1)),
        ("add", [IMAGE, IMAGE, IMAGE], {}, IMAGE),
        ("mul", [(1, 64, 1, 1), (4, 64, 56, 56)], {}, (4, 64, 56, 56)),
        ("concat", [(2, 3, 4, 4), (2, 5, 4, 4), (1, 1, 4, 4)], {}, (2, 9, 4, 4)),
        ("concat", [(2, 3), (2, 5)], {}, (2, 8)),
        ("slice", [IMAGE], {"start": 16, "stop": 48}, (1, 32, 56, 56)),
        ("crop", [IMAGE], {"top": 2, "left": 3, "height": 52, "width": 50}, (1, 64, 52, 50)),
        ("pad", [IMAGE], {"pad": (1, 2, 3, 4)}, (1, 64, 60, 62)),
        ("upsample", [IMAGE], {"scale": (2, 3)}, (1, 64, 112, 168)),
        ("flatten", [(2, 16, 5, 5)], {}, (2, 400)),
        ("reshape", [(2, 400)], {"dims": (16, 5, 5)}, (2, 16, 5, 5)),
        ("reshape", [(2, 16, 5, 5)], {"dims": (400,)}, (2, 400)),
        ("input", [], {"dims": (3, 8, 8), "batch": 2}, (2, 3, 8, 8)),
        ("const", [], {"dims": (7,)}, (1, 7)),
    ],
)  # fmt: skip
def test_results(name, shapes, attrs, expected):
    assert shape(name, *shapes, **attrs) == expected


@pytest.mark.parametrize("name", ["bn", "lrn", "softmax", "dropout", "identity", "relayout", *sorted(ops.ACTIVATIONS)])
def test_shape_is_kept(name):
    assert shape(name, IMAGE) == IMAGE


def test_weights_macs_params():
    table = ops.TABLE
    attrs = ops.complete("conv", {"out": 8, "kernel": (3, 5), "groups": 2, "bias": True})
    source = (2, 6, 10, 10)
    assert ops.weight_shapes("conv", (source,), attrs) == {"weight": (8, 3, 3, 5), "bias": (8,)}
    assert table["conv"].macs((source,), (2, 8, 8, 6), attrs) == 2 * 8 * 8 * 6 * 3 * 15
    attrs = ops.complete("conv_transpose", {"out": 8, "kernel": (2, 2), "stride": (2, 2), "groups": 2, "bias": False})
    assert ops.weight_shapes("conv_transpose", (source,), attrs) == {"weight": (6, 4, 2, 2)}
    assert table["conv_transpose"].macs((source,), (2, 8, 20, 20), attrs) == 2 * 6 * 10 * 10 * 4 * 4
    assert ops.weight_shapes("fc", (source,), {"out": 5}) == {"weight": (5, 600), "bias": (5,)}
    assert table["fc"].macs((source,), (2, 5), {"out": 5}) == 2 * 600 * 5
    assert list(ops.weight_shapes("bn", (source,), {}).values()) == [(6,)] * 4
    assert ops.weight_shapes("const", (), {"dims": (3, 1, 1)}) == {"value": (1, 3, 1, 1)}


def test_arms_differ():
    message, _ = refused("add", (1, 512, 28, 28), (1, 256, 56, 56))
    assert message == "arms differ: 512x28x28 and 256x56x56"
    assert refused("mul", IMAGE, IMAGE, (1, 64, 56, 1))[0] == "arms differ: 64x56x56, 64x56x56 and 64x56x1"
    message, hint = refused("concat", (1, 3, 8, 8), (1, 3, 7, 8))
    assert message == "arms differ: 3x8x8 and 3x7x8"
    assert hint == "concat needs arms of the same height and width"
    assert refused("concat", (1, 3, 8, 8), (1, 3))[0] == "arms differ: 3x8x8 and 3"
    assert refused("add", (2, 3), (3, 3))[0] == "batches differ: 2 and 3"


def test_exact_names_the_sizes_that_fit():
    message, hint = refused("conv", (1, 3, 7, 7), out=1, kernel=(3, 3), stride=(3, 3), rounding="exact")
    assert message == ("window 3 with stride 3 does not fit height 7: (7 - 3 + 0)/3 + 1 = 2.33 is not a whole number")
    assert hint == "heights that fit: 6 and 9; or stride 1, 2 or 4; or 2 more padding in all"
    for size in (6, 9):
        shape("conv", (1, 3, size, size), out=1, kernel=(3, 3), stride=(3, 3), rounding="exact")
    shape("conv", (1, 3, 7, 7), out=1, kernel=(3, 3), stride=(3, 3), rounding="exact", pad=(1,) * 4)
    _, hint = refused("maxpool", (1, 3, 8, 4), kernel=(3, 3), stride=(5, 3), pad=(0, 1, 0, 0), rounding="exact")
    assert hint == "widths that fit: 2 and 5; or stride 1 or 2; or 1 more padding in all"


def test_window_does_not_fit():
    message, hint = refused("maxpool", (1, 3, 7, 7), kernel=(9, 1))
    assert message == "window 9 does not fit height 7"
    assert hint == "the height must be at least 9, or pad more"
    message, hint = refused("conv", (1, 3, 7, 3), out=1, kernel=(3, 3), dilation=(2, 4), pad=(0, 1, 0, 0))
    assert message == "window 9 (3 at dilation 4) does not fit width 3 with padding 1+0"
    assert hint == "the width must be at least 8, or pad more"
    assert refused("conv_transpose", (1, 3, 1, 1), out=1, kernel=(2, 2), pad=(1,) * 4) == (
        "the padding does not fit: nothing is left of 3x1x1",
        "pad less",
    )


def test_pool_window_of_padding_only():
    message, hint = refused("maxpool", (1, 3, 7, 7), kernel=(2, 2), pad=(0, 2, 0, 2))
    assert message == "padding 2+2 leaves a window of 2 with nothing of 3x7x7"
    assert hint == "pad by less than 2 along the width"


def test_padding_that_makes_an_image_huge():
    message, hint = refused("maxpool", (1, 3, 32, 32), kernel=(10**7, 2), pad=(5 * 10**6, 0, 5 * 10**6 - 1, 0))
    assert message == "padding makes 3x10000031x32 of 3x32x32, 312500 times as many values"
    assert hint == "pad less: 64 times as many are the most, beyond 16777216 in all"


def test_groups_do_not_divide():
    assert refused("conv", (1, 6, 7, 7), out=8, kernel=(1, 1), groups=4) == (
        "4 groups do not divide 6 input channels",
        "e.g. groups 2",
    )
    assert refused("conv_transpose", (1, 6, 7, 7), out=8, kernel=(1, 1), groups=3) == (
        "3 groups do not divide 8 filters",
        "e.g. groups 2",
    )


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("conv", {"out": 1, "kernel": (1, 1)}), ("conv_transpose", {"out": 1, "kernel": (1, 1)}),
        ("maxpool", {"kernel": (1, 1)}), ("avgpool", {"kernel": (1, 1)}), ("gap", {}), ("gmp", {}),
        ("upsample", {"scale": (2, 2)}), ("pad", {"pad": (0,) * 4}),
        ("crop", {"top": 0, "left": 0, "height": 1, "width": 1}),
    ],
)  # fmt: skip
def test_vector_instead_of_image(name, attrs):
    message, hint = refused(name, (1, 4096), **attrs)
    assert message == "needs an image (channels x height x width), got a vector of 4096"
    assert hint == "`reshape` makes a vector an image again, e.g. reshape 4096x1x1"


POOL = {"kernel": (2, 2)}


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "text"),
    [
        ("conv", [IMAGE], {"out": 0, "kernel": (1, 1)}, "out 0: must be at least 1"),
        ("conv", [IMAGE], {"out": 1, "kernel": (1, 1), "groups": 0}, "groups 0: must be at least 1"),
        ("conv", [IMAGE], {"out": 1, "kernel": (1, 0)}, "kernel 1x0: must be at least 1"),
        ("maxpool", [IMAGE], {**POOL, "stride": (0, 1)}, "stride 0x1: must be at least 1"),
        ("maxpool", [IMAGE], {**POOL, "dilation": (0, 1)}, "dilation 0x1: must be at least 1"),
        ("maxpool", [IMAGE], {**POOL, "pad": (0, 0, -1, 0)}, "pad 0x0x-1x0: must be at least 0"),
        ("maxpool", [IMAGE], {**POOL, "rounding": "up"}, "unknown rounding 'up'"),
        ("conv_transpose", [IMAGE], {"out": 1, "kernel": (1, 1), "output_pad": (-1, 0)}, "output_pad -1x0: must be at"),
        ("fc", [(1, 5)], {"out": 0}, "out 0: must be at least 1"),
        ("lrn", [IMAGE], {"k": 0.0}, "k 0 must be positive"),
        ("lrn", [IMAGE], {"size": -1}, "size -1: must be at least 1"),
        ("slice", [IMAGE], {"start": 0, "stop": 65}, "slice 0..65 of 64 channels"),
        ("slice", [IMAGE], {"start": 5, "stop": 5}, "slice 5..5 of 64 channels"),
        ("strided_slice", [IMAGE], {"dims": (64, 30, 56), "step": (1, 2, 1)}, "position 58 of 56 rows"),
        ("strided_slice", [IMAGE], {"dims": (2, 2, 2), "start": (0, 0, 0), "step": (-1, 1, 1)}, "position -1 of 64"),
        ("strided_slice", [(1, 9)], {"dims": (3,), "start": (9,)}, "position 9 of 9 values"),
        ("strided_slice", [IMAGE], {"dims": (9,)}, "a strided slice of 64x56x56 has as many sides, got 9"),
        ("strided_slice", [IMAGE], {"dims": (9, 9, 9), "step": (1, 0, 1)}, "step 0: each step leads to another"),
        ("strided_slice", [IMAGE], {"dims": (9, 9, 9), "start": (1, 0)}, "start has 2 numbers, 9x9x9 has 3"),
        ("take", [IMAGE], {"indices": (0, 64)}, "position 64 of 64 along axis 0"),
        ("take", [IMAGE], {"indices": (0,), "axis": 3}, "axis 3 of 64x56x56"),
        ("take", [IMAGE], {"indices": ()}, "takes nothing"),
        ("unfold", [IMAGE], {"kernel": (57, 1)}, "window 57 does not fit height 56"),
        ("unfold", [IMAGE], {"kernel": (0, 1)}, "kernel 0x1: must be at least 1"),
        ("crop", [IMAGE], {"top": 5, "left": 0, "height": 52, "width": 1}, "crop 52x1 at 5,0 reaches outside 64x56x56"),
        ("crop", [IMAGE], {"top": -1, "left": 0, "height": 5, "width": 1}, "top -1: must be at least 0"),
        ("crop", [IMAGE], {"top": 0, "left": 0, "height": 0, "width": 1}, "height 0: must be at least 1"),
        ("pad", [IMAGE], {"pad": (0, -1, 0, 0)}, "pad 0x-1x0x0: must be at least 0"),
        ("pad", [IMAGE], {"pad": (0,) * 4, "mode": "mirror"}, "unknown mode 'mirror'"),
        ("pad", [IMAGE], {"pad": (56, 0, 0, 0), "mode": "reflect"}, "reflect needs padding smaller than the image"),
        ("upsample", [IMAGE], {"scale": (0, 2)}, "scale 0x2: must be at least 1"),
        ("upsample", [IMAGE], {"scale": (2, 2), "mode": "cubic"}, "unknown mode 'cubic'"),
        ("upsample", [IMAGE], {"scale": (2, 2), "align_corners": True}, "align_corners needs bilinear"),
        ("reshape", [(1, 12)], {"dims": (3, 2, 3)}, "12 has 12 values, 3x2x3 has 18"),
        ("reshape", [(1, 12)], {"dims": (3, 4)}, "reshape to 3x4: an image has 3 dimensions, a vector 1"),
        ("reshape", [(1, 12)], {"dims": (-3, -2, 2)}, "dims -3x-2x2: must be at least 1"),
        ("dropout", [IMAGE], {"p": 1.0}, "dropout 1.0: the share must be at least 0 and below 1"),
        ("input", [], {"dims": (3, 8)}, "dims 3x8: an image is channels x height x width, a vector one number"),
        ("input", [], {"dims": (3, 0, 8)}, "dims 3x0x8: must be at least 1"),
        ("input", [], {"dims": (3,), "batch": 0}, "batch 0: must be at least 1"),
        ("input", [], {"dims": (3, 8, 8), "mean": (1.0, 2.0)}, "mean has 2 numbers, the input 3 channels"),
        ("input", [], {"dims": (3, 8, 8), "std": (1.0, 0.0, 1.0)}, "std is 0: the input is divided by it"),
        ("input", [], {"dims": (9,), "resize": (3,)}, "resize: only for images, not for a vector of 9"),
        ("input", [], {"dims": (9,), "crop": 0.5, "filter": "box"}, "crop, filter: only for images"),
        ("input", [], {"dims": (3, 8, 8), "crop": 1.5}, "crop 1.5: must be above 0 and at most 1"),
        ("input", [], {"dims": (3, 8, 8), "crop": 0.0}, "crop 0: must be above 0"),
        ("input", [], {"dims": (1, 8, 8), "order": "bgr"}, "bgr: the input has 1 channels, not 3"),
        ("input", [], {"dims": (3, 8, 8), "order": "gbr"}, "unknown order 'gbr'"),
        ("input", [], {"dims": (3, 8, 8), "filter": "cubic"}, "unknown filter 'cubic'"),
        ("input", [], {"dims": (3, 8, 9), "resize": (8,)}, "resize 8: the input of 8x9 is cut from that"),
        ("input", [], {"dims": (3, 8, 9), "resize": (7, 9)}, "resize 7x9: the input of 8x9 is cut from that"),
        ("input", [], {"dims": (3, 8, 9), "resize": (9, 9, 9)}, "resize 9x9x9: the input of 8x9 is cut"),
        ("const", [], {"dims": (1, 2)}, "dims 1x2: an image is"),
        ("add", [IMAGE], {}, "takes 2 or more inputs, got 1"),
        ("relu", [IMAGE, IMAGE], {}, "takes 1 input, got 2"),
        ("input", [IMAGE], {"dims": (3,)}, "takes 0 inputs, got 1"),
        ("conv", [IMAGE], {"out": 3}, "missing kernel"),
        ("crop", [IMAGE], {}, "missing top, left, height, width"),
    ],
)  # fmt: skip
def test_refusals(name, shapes, attrs, text):
    message, _ = refused(name, *shapes, **attrs)
    assert message.startswith(text)


def test_unknown_names_list_the_nearest():
    assert refused("maxpol", IMAGE)[0] == "unknown op 'maxpol'"
    assert refused("maxpol", IMAGE)[1].startswith("did you mean 'maxpool'?")
    message, hint = refused("maxpool", IMAGE, kernl=(2, 2))
    assert message == "unknown attribute 'kernl'"
    assert hint.startswith("did you mean 'kernel'?")
    assert refused("relu", IMAGE, slope=1) == ("unknown attribute 'slope'", "relu has none")


def test_epilogue_shapes():
    steps = (("add", ()), ("leaky_relu", (("slope", 0.1),)))
    attrs = {"out": 8, "kernel": (1, 1), "epilogue": steps}
    small = (1, 8, 56, 56)
    assert shape("conv", IMAGE, small, **attrs) == small
    assert shape("add", IMAGE, IMAGE, IMAGE, epilogue=(("add", ()),)) == IMAGE
    assert refused("conv", IMAGE, IMAGE, **attrs)[0] == "epilogue add: result is 8x56x56, the added tensor 64x56x56"
    assert refused("conv", IMAGE, **attrs)[0] == "takes 1 input, got 0"
    assert refused("bn", IMAGE, epilogue=(("rel", ()),))[0] == "unknown epilogue step 'rel'"
    assert refused("bn", IMAGE, epilogue=(("leaky_relu", ()),))[0] == (
        "epilogue step leaky_relu: attributes {}, expected slope"
    )
    assert refused("bn", IMAGE, epilogue=(("relu", (("slope", 1),)),))[0].endswith("expected none")
