"""Kernels that read and write at computed places, against the reference, on sizes around the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import relative_error

from cnncc import api, lang
from cnncc.kernels.cpu.gather import GatherConfig, ScatterConfig
from cnncc.kernels.cpu.lower import LOWER
from cnncc.kernels.cpu.nms import NmsConfig, NmsRowsConfig
from cnncc.kernels.cpu.roi_align import RoiAlignConfig
from cnncc.kernels.cpu.sample import SampleConfig
from cnncc.kernels.cpu.window import ArgmaxConfig
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.passes import with_batch

RNG = np.random.default_rng(11)
CHANNELS = (1, 7, 8, 9, 15, 16, 17, 31)


def check(body: str, *arrays: np.ndarray, batch: int = 1, bound: float = 2e-5) -> None:
    """The one output, NaN where the reference has it, on two threads."""
    graph = lang.parse(f"net t\n{body}\n")
    (wanted,) = reference.run(with_batch(graph, batch), list(arrays)).values()
    got = api.build(graph, Options(batch=batch, threads=2)).model()(*arrays)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert relative_error(np.nan_to_num(got), np.nan_to_num(wanted)) <= bound


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def within(low: float, high: float, *shape: int) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.float32)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("how", ["linear zeros", "nearest border align_corners", "cubic reflection"])
def test_sample(channels: int, how: str) -> None:
    h, w = RNG.integers(1, 9, 2)
    arrays = real(1, channels, h, w), within(-1.7, 1.7, 1, 2, 3, 5)
    check(f"input x {channels}x{h}x{w}\ninput g 2x3x5\nsample {{ from x | from g }} {how}", *arrays)


@pytest.mark.parametrize("how", ["linear reflection", "nearest zeros", "linear border align_corners"])
def test_sample_of_a_volume_and_of_a_batch(how: str) -> None:
    arrays = real(2, 9, 12, 7), within(-1.3, 1.3, 2, 3, 6, 5)
    check(f"input x 9x12x7\ninput g 3x6x5\nsample {{ from x | from g }} depth 4 {how}", *arrays, batch=2)


@pytest.mark.parametrize("how", ["linear", "linear border", "nearest", "nearest reflection", "cubic", "cubic border"])
def test_places_far_outside_and_places_that_are_no_number(how: str) -> None:
    places = within(-2, 9, 1, 2, 6, 5)
    places[0, :, 0, :3] = [[np.nan, np.inf, 1e30], [0, -np.inf, -1e30]]
    if "reflection" in how:
        places[0, :, 0, 1:3] = 1e3
    check(f"input x 17x8x7\ninput g 2x6x5\nsample {{ from x | from g }} pixels {how}", real(1, 17, 8, 7), places)


def test_a_place_outside_reads_nothing() -> None:
    """An infinite pixel at the border of the image times a share of zero would be no number."""
    image = np.full((1, 3, 4, 4), np.inf, np.float32)
    check("input x 3x4x4\ninput g 2x1x2\nsample { from x | from g }", image, np.full((1, 2, 1, 2), 3, np.float32))


@pytest.mark.parametrize("width", CHANNELS)
def test_gather(width: int) -> None:
    check(
        f"input x 7x9x{width}\ninput i 7x11x1\ngather {{ from x | from i }}",
        real(1, 7, 9, width),
        whole(-1, 10, 1, 7, 11, 1),
    )
    arrays = real(1, 3, 12, width), whole(-5, 5, 1, 3, 5, 2)
    check(f"input x 3x12x{width}\ninput i 3x5x2\ngather {{ from x | from i }} sizes 3x4 wrap", *arrays)


@pytest.mark.parametrize("how", ["replace", "add", "mul", "max", "min"])
def test_scatter(how: str) -> None:
    arrays = real(1, 7, 9, 17), whole(-10, 10, 1, 7, 11, 1), real(1, 7, 11, 17)
    check(
        f"input x 7x9x17\ninput i 7x11x1\ninput y 7x11x17\nscatter {{ from x | from i | from y }} {how} wrap", *arrays
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e9, -3e9])
def test_a_number_of_no_row(value: float) -> None:
    """Not even what no integer can hold leads out of the memory."""
    places = np.full((1, 2, 3, 1), value, np.float32)
    check("input x 2x4x8\ninput i 2x3x1\ngather { from x | from i } wrap", real(1, 2, 4, 8), places)
    body = "input x 2x4x8\ninput i 2x3x1\ninput y 2x3x8\nscatter { from x | from i | from y }"
    check(body, real(1, 2, 4, 8), places, real(1, 2, 3, 8))


@pytest.mark.parametrize("channels", CHANNELS)
def test_pool_and_unpool(channels: int) -> None:
    """With equal values the first place counts; the places of negative ones with padding, too."""
    image = np.round(2 * real(1, channels, 9, 12))
    check(f"input {channels}x9x12\nargmaxpool 3x2 /2 pad 1,0,1,1 ceil", image)
    check(f"input {channels}x9x12\nunpool {{ maxpool 2x2 /2 dil 2 | argmaxpool 2x2 /2 dil 2 }} 9x13", image)


def regions(count: int, batch: int = 1) -> np.ndarray:
    low = within(-3, 20, batch, count, 1, 2)
    return np.concatenate([low, low + within(0, 15, batch, count, 1, 2)], axis=-1)


@pytest.mark.parametrize("how", ["", "max", "samples 2 scale 0.5", "samples 3 max output_half_pixel"])
def test_roi_align(how: str) -> None:
    arrays = real(2, 7, 15, 17), regions(5, 2)
    check(f"input x 7x15x17\ninput r 5x1x4\nroi_align {{ from x | from r }} 3x2 {how}", *arrays, batch=2)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("mode", ["", "max"])
def test_regions_of_an_image_of_any_number_of_channels(channels: int, mode: str) -> None:
    """Vectors of channels, the last of them not full."""
    body = f"input x {channels}x9x6\ninput r 3x1x4\nroi_align {{ from x; relu6 | from r }} 2x3 scale 0.3 {mode}"
    check(body, real(1, channels, 9, 6), regions(3))


@pytest.mark.parametrize("images", [1, 2])
def test_an_image_in_blocks_is_read_as_it_lies(images: int) -> None:
    """By kernels on vectors; several images, whose channels need not fill blocks, are read one by one."""
    more = "input b 3x1x1\n" if images > 1 else ""
    arms = "from x; conv 3x3 12 | from r" + (" | from b" if images > 1 else "")
    graph = lang.parse(f"net t\ninput x 7x8x8\ninput r 3x1x4\n{more}roi_align {{ {arms} }} 2x3 images {images}\n")
    program = api.program(graph, Options(("x86-64-v3",)))
    (config,) = [call.kernel.config for call in program.calls if call.kernel.family == "roi_align"]
    assert (config.block, config.lanes) == ((1, 1) if images > 1 else (16, 8))
    assert not any(call.kernel.family == "relayout" for call in program.calls) or images > 1


def test_regions_of_several_images() -> None:
    chosen = np.array([1, 0, 1, 1, 0, 1], np.float32).reshape(1, 6, 1, 1)
    inputs = "input x 6x5x7\ninput r 6x1x4\ninput b 6x1x1"
    body = f"{inputs}\nroi_align {{ from x; relu6 | from r | from b }} 2x3 images 2 scale 0.2"
    check(body, real(1, 6, 5, 7), regions(6), chosen)


def test_regions_of_several_images_and_regions_without_end() -> None:
    rois = regions(5)
    rois[0, :3] = [[[0, 0, np.inf, 5]], [[np.nan, 0, 3, 3]], [[-1e9, -1e9, 1e9, 1e9]]]
    chosen = np.array([0, 1, 1, 2, np.nan], np.float32).reshape(1, 5, 1, 1)
    body = "input x 6x5x7\ninput r 5x1x4\ninput b 5x1x1\nroi_align { from x | from r | from b } 2x3 images 2"
    graph = lang.parse(f"net t\n{body}\n")
    got = api.build(graph).model()(real(1, 6, 5, 7), rois, chosen)
    assert not got[0, 3:].any(), "images that do not exist have no values"


@pytest.mark.parametrize("how", ["10 iou 0.3", "100 iou 0.5 score 0.1", "7 iou 0 center", "1"])
def test_nms(how: str) -> None:
    """Boxes by any two corners, some of them equal, with equal scores; rows of -1 at the end."""
    low = within(0, 20, 2, 2, 33, 2)
    boxes = np.concatenate([low, low + within(1, 9, 2, 2, 33, 2)], axis=-1)
    boxes[:, :, ::3] = boxes[:, :, ::3, [2, 3, 0, 1]] if "center" not in how else boxes[:, :, ::3]
    boxes[:, :, 5] = boxes[:, :, 6]
    scores = np.round(2 * real(2, 2, 3, 33)) / 2
    check(f"input b 2x33x4\ninput s 2x3x33\nnms {{ from b | from s }} {how}", boxes, scores, batch=2, bound=0)


def test_lrn_of_even_size() -> None:
    for channels in (3, 8, 17):
        check(f"input {channels}x3x5\nlrn size 4 alpha 0.5", real(1, channels, 3, 5))


@pytest.mark.parametrize("how", ["linear", "nearest", "cubic"])
def test_resize_of_a_region(how: str) -> None:
    body = f"input 9x6x8\nresize 5x7 {how} tf_crop_and_resize region (0.1, -0.3, 0.9, 1.2)"
    check(body, real(1, 9, 6, 8))


GROWING = {
    "sample": [SampleConfig(1, 8, 8, (s, s), (s, s), "cubic", "reflection", "half_pixel") for s in (45, 909)],
    "gather": [GatherConfig(s, (s, s), s, 17, wrap=True) for s in (45, 909)],
    "scatter": [ScatterConfig(GatherConfig(s, (s, s), s, 17, wrap=True), "max", zeros=False) for s in (45, 909)],
    "argmaxpool": [ArgmaxConfig(1, 8, 8, (s, s), (s, s), (s // 2, 3), (1, 1), (1, 1), (1, 1, 1, 1)) for s in (45, 909)],
    "roi_align": [RoiAlignConfig(1, s, 16, 16, (s, s), s, (s, s), "avg", 0.5, 0, True, False) for s in (45, 909)],
    "nms": [NmsConfig(2, s, s, s, 0.5, 0.1, center=False) for s in (45, 909)],
    "nms_rows": [NmsRowsConfig(2, s, s) for s in (45, 909)],
}


@pytest.mark.parametrize("family", GROWING)
def test_code_does_not_grow_with_sizes(family: str) -> None:
    small, large = (len(LOWER[family](config, "f").script().splitlines()) for config in GROWING[family])
    assert small == large
