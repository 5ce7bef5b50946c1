"""Image and array files as inputs of a network."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.pictures import images
from cnncc.pictures.formats import Picture


@pytest.fixture
def png(tmp_path: Path):
    def write(pixels: np.ndarray, name: str = "image.png", **options) -> Path:
        Image.fromarray(pixels).save(tmp_path / name, **options)
        return tmp_path / name

    return write


@pytest.fixture
def npy(tmp_path: Path):
    def write(array: np.ndarray) -> Path:
        np.save(tmp_path / "array.npy", array)
        return tmp_path / "array.npy"

    return write


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_colour_image_becomes_planes_of_0_to_1(png):
    pixels = random_pixels(5, 7, 3)
    result = images.load(png(pixels), (3, 5, 7))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, pixels.transpose(2, 0, 1)[None] / np.float32(255))


def test_mean_and_std_apply_to_pixels_of_0_to_255(png):
    pixels = random_pixels(4, 4, 3)
    result = images.load(png(pixels), (3, 4, 4), mean=(1, 2, 3), std=(10, 20, 40))
    expected = (pixels.astype(np.float64) - [1, 2, 3]) / [10, 20, 40]
    np.testing.assert_allclose(result[0], expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mean", "std", "expected"), [((50,), (), 50.0), ((), (4,), 25.0), ((50,), (4,), 12.5)])
def test_one_mean_or_std_serves_all_channels(png, mean, std, expected):
    result = images.load(png(np.full((2, 2, 3), 100, np.uint8)), (3, 2, 2), mean, std)
    np.testing.assert_array_equal(result, np.full((1, 3, 2, 2), expected, np.float32))


def test_resize_is_pillows_bilinear(png):
    pixels = random_pixels(28, 28)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 30), Image.Resampling.BILINEAR)) / np.float32(255)
    np.testing.assert_array_equal(images.load(png(pixels), (1, 30, 32))[0, 0], expected)


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(random_pixels(height, width, 3))


@pytest.mark.parametrize(("width", "height", "resized"), [(40, 30, (33, 25)), (30, 41, (25, 34)), (30, 30, (25, 25))])
def test_the_shorter_side_is_resized_and_the_middle_cut(width, height, resized):
    """As torchvision's Resize(25), CenterCrop(20) do it, with their rounding."""
    image = photo(width, height)
    sized = image.resize(resized, Image.Resampling.BICUBIC)
    left, top = round((resized[0] - 20) / 2), round((resized[1] - 20) / 2)
    expected = np.asarray(sized)[top : top + 20, left : left + 20].transpose(2, 0, 1)
    result = images.from_image(image, (3, 20, 20), std=(1,), picture=Picture(resize=(25,), filter="bicubic"))
    np.testing.assert_array_equal(result[0], expected)


def test_resized_to_height_and_width_then_cut():
    image = photo(40, 30)
    expected = np.asarray(image.resize((12, 10), Image.Resampling.BILINEAR))[1:9, 2:10].transpose(2, 0, 1)
    result = images.from_image(image, (3, 8, 8), std=(1,), picture=Picture(resize=(10, 12)))
    np.testing.assert_array_equal(result[0], expected)


def test_the_middle_share_is_cut_before_resizing():
    """40 x 30 and a share of 0.8: 4 and 3 pixels go on each side."""
    image = photo(40, 30)
    expected = np.asarray(image.crop((4, 3, 36, 27)).resize((8, 8), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    result = images.from_image(image, (3, 8, 8), std=(1,), picture=Picture(crop=0.8, filter="lanczos"))
    np.testing.assert_array_equal(result[0], expected)


def test_a_small_share_of_a_small_picture_leaves_a_pixel():
    assert images.from_image(photo(1, 3), (3, 2, 2), picture=Picture(crop=0.01)).shape == (1, 3, 2, 2)


def test_a_picture_that_would_become_too_large_is_refused(png):
    path = png(np.zeros((40_000, 1, 3), np.uint8))
    with pytest.raises(CnnccError, match=r"image\.png: resized from 40000x1 it would have 10240000x256 pixels"):
        images.load(path, (3, 224, 224), picture=Picture(resize=(256,)))


def test_bgr_turns_the_colours_round_before_the_mean(png):
    pixels = random_pixels(4, 4, 3)
    result = images.load(png(pixels), (3, 4, 4), mean=(1, 2, 3), picture=Picture(order="bgr"))
    expected = pixels[:, :, ::-1].transpose(2, 0, 1) - np.array([1, 2, 3], np.float32).reshape(3, 1, 1)
    np.testing.assert_array_equal(result[0], expected)


def test_nearest_keeps_values(png):
    result = images.load(png(random_pixels(5, 5, 3)), (3, 9, 9), std=(1,), picture=Picture(filter="nearest"))
    assert set(result.reshape(-1)) <= set(random_pixels(5, 5, 3).reshape(-1))


def test_a_module_says_how_its_pictures_are_prepared(png):
    """From the text of the network to the info of the module to the pixels."""
    text = "net t\ninput 3x8x8 crop 0.9 resize 10 lanczos bgr mean (1, 2, 3) std (2)\ngap\n"
    (port,) = api.build(weights.bind(lang.parse(text))).info["inputs"]
    assert {key: port[key] for key in port if key not in ("name", "shape", "dtype")} == {
        "crop": 0.9, "resize": [10], "filter": "lanczos", "order": "bgr", "mean": [1.0, 2.0, 3.0], "std": [2.0],
    }  # fmt: skip
    path = png(random_pixels(30, 20, 3))
    wanted = images.load(path, (3, 8, 8), std=(1,), picture=Picture(0.9, (10,), "lanczos", "bgr"))
    np.testing.assert_array_equal(images.prepare(path, port), wanted)


def test_without_a_word_about_it_pixels_are_shares(png):
    path = png(random_pixels(8, 8, 3))
    np.testing.assert_array_equal(images.prepare(path, {"shape": [1, 3, 8, 8]}), images.load(path, (3, 8, 8)))


def test_grey_file_for_a_colour_input_and_back(png):
    for shape, channels in [((2, 2), 3), ((2, 2, 3), 1)]:
        result = images.load(png(np.full(shape, 51, np.uint8)), (channels, 2, 2))
        np.testing.assert_array_equal(result, np.full((1, channels, 2, 2), 0.2, np.float32))


def test_sixteen_bit_grey_is_scaled_not_cut(png):
    result = images.load(png(np.array([[0, 256], [32768, 65535]], np.uint16)), (1, 2, 2), mean=(0,))
    assert result.reshape(-1).tolist() == [0, 1, 128, 255]


def test_photo_held_sideways_is_turned(png):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 0] = 255
    result = images.load(png(pixels, exif=exif), (3, 4, 2))
    assert result[0, 0].tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]


def test_palette_and_transparent_images(tmp_path):
    picture = Image.fromarray(np.full((3, 3, 3), (255, 0, 0), np.uint8))
    for name, mode in [("p.png", "P"), ("a.png", "RGBA")]:
        picture.convert(mode).save(tmp_path / name)
        assert images.load(tmp_path / name, (3, 3, 3))[0, :, 1, 1].tolist() == [1, 0, 0]


def test_digit_of_28_fills_the_32_of_lenet(png):
    result = images.load(png(np.full((28, 28), 255, np.uint8)), (1, 32, 32), mean=(33.3,), std=(78.6,))
    np.testing.assert_allclose(result, np.full((1, 1, 32, 32), (255 - 33.3) / 78.6), rtol=1e-6)


@pytest.mark.parametrize("leading", [(), (1,)])
def test_float_array_is_taken_as_it_is(npy, leading):
    array = np.random.default_rng(0).normal(size=(*leading, 3, 4, 5))
    result = images.load(npy(array), (3, 4, 5), mean=(1, 2, 3), std=(4, 5, 6))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, array.reshape(1, 3, 4, 5).astype(np.float32))


def test_byte_array_counts_as_pixels(npy):
    result = images.load(npy(np.full((3, 2, 2), 100, np.uint8)), (3, 2, 2), mean=(50,), std=(4,))
    np.testing.assert_array_equal(result, np.full((1, 3, 2, 2), 12.5, np.float32))


def test_vector_input(npy):
    assert images.load(npy(np.arange(4.0)), (4,)).tolist() == [[0, 1, 2, 3]]


def test_fortran_order_and_big_endian_arrays(npy):
    array = np.asfortranarray(np.arange(24, dtype=">f4").reshape(2, 3, 4))
    result = images.load(npy(array), (2, 3, 4))
    assert result.flags.c_contiguous
    assert result.reshape(-1).tolist() == list(range(24))


def truncated_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_pixels(64, 64, 3)).save(file, "png")
    return file.getvalue()[:200]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "a.png is not an image of a known format"),
        ("a.png", b"hello world", "a.png is not an image of a known format"),
        ("a.png", truncated_png(), "cannot read image .*a.png: .*truncated"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "a.png"),
        ("a.npy", b"", "a.npy is not a NumPy array file"),
        ("a.npy", b"hello world", "a.npy is not a NumPy array file"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CnnccError, match=message):
        images.load(tmp_path / name, (3, 4, 4))


@pytest.mark.parametrize(("name", "message"), [("no.png", "cannot read image"), ("no.npy", "cannot read array")])
def test_file_that_is_not_there(tmp_path, name, message):
    with pytest.raises(CnnccError) as caught:
        images.load(tmp_path / name, (3, 4, 4))
    assert caught.value.message == f"{message} {tmp_path / name}: no such file or folder"


def test_an_array_may_hold_several_images(npy):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    path = npy(array)
    np.testing.assert_array_equal(images.load(path, (3, 4, 5)), array)


def test_a_directory_is_no_image(tmp_path):
    with pytest.raises(CnnccError, match="cannot read image"):
        images.load(tmp_path, (3, 4, 4))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "the array is 4x4x3, the input is 3x4x4"),
        (np.zeros((0, 3, 4, 4), np.float32), "the array is 0x3x4x4, the input is 3x4x4"),
        (np.zeros((1, 1, 3, 4, 4), np.float32), "the array is 1x1x3x4x4, the input is 3x4x4"),
        (np.float32(1), "the array is a single number, the input is 3x4x4"),
        (np.zeros((3, 4, 4), np.int64), "the array is of int64, an input is float or uint8"),
        (np.zeros((3, 4, 4), np.complex64), "the array is of complex64"),
        (np.full((3, 4, 4), "x"), "the array is of <U1"),
    ],
)
def test_arrays_that_do_not_fit(npy, array, message):
    with pytest.raises(CnnccError, match=message):
        images.load(npy(array), (3, 4, 4))


def test_pickles_inside_npy_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CnnccError, match=r"is not a NumPy array file: .*pickle"):
        images.load(tmp_path / "a.npy", (1,))


def test_an_archive_is_not_an_array(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(CnnccError, match="is an archive of arrays, not one array"):
        images.load(tmp_path / "a.npy", (3,))


@pytest.mark.parametrize("dims", [(10,), (2, 4, 4), (21, 64, 64)])
def test_image_for_an_input_that_is_none(png, dims):
    with pytest.raises(CnnccError, match="an image cannot be an input of") as caught:
        images.load(png(random_pixels(4, 4, 3)), dims)
    assert ".npy" in caught.value.hint


def test_decompression_bomb_is_refused(png, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(CnnccError, match="is refused: Image size"):
        images.load(png(random_pixels(8, 8)), (1, 8, 8))


def test_an_input_of_bytes_takes_pixels_as_they_are(png, npy):
    """Without a copy as floats: the module applies mean and std."""
    pixels = random_pixels(5, 7, 3)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    port = {"name": "x", "shape": [1, 3, 5, 7], "dtype": "uint8"}
    for given in (images.prepare(png(pixels), port), images.prepare(png(pixels).read_bytes(), port)):
        assert given.dtype == np.uint8
        assert (given == planes).all()
    assert (images.prepare(png(pixels), {**port, "order": "bgr"}) == planes[:, ::-1]).all()
    assert (images.prepare(npy(planes[0]), port) == planes).all()
    assert images.pixels(planes, port).dtype == np.uint8
    with pytest.raises(CnnccError, match="the array is of float32, the input takes uint8"):
        images.prepare(npy(planes.astype(np.float32)), port)


def test_an_input_of_another_type_takes_arrays_only(png, npy):
    port = {"name": "x", "shape": [1, 3, 2, 2], "dtype": "int8"}
    array = np.arange(-6, 6, dtype=np.int8).reshape(3, 2, 2)
    assert (images.prepare(npy(array), port) == array[None]).all()
    with pytest.raises(CnnccError, match="input 'x' is of int8: pixels are uint8"):
        images.prepare(png(random_pixels(2, 2, 3)), port)


PORT = {"name": "x", "shape": [1, 3, 6, 5], "dtype": "float32", "mean": [1.0], "resize": [8, 7], "order": "bgr"}


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(9, 11, 3), (9, 11), (9, 11, 1), (9, 11, 4)])
def test_what_is_no_file_on_disk_is_prepared_as_a_file(png, shape, dtype):
    """A Pillow image, its pixels, an open file, and the bytes of one."""
    pixels, port = random_pixels(*shape), {**PORT, "dtype": dtype}
    plain = pixels[..., 0] if shape[2:] == (1,) else pixels
    path = png(plain)
    wanted = images.prepare(path, port)
    with path.open("rb") as file:
        others = [Image.fromarray(plain), pixels, file, path.read_bytes(), io.BytesIO(path.read_bytes())]
        for other in others:
            found = images.prepare(other, port)
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)


def test_a_photo_held_sideways_is_turned_however_it_comes(tmp_path):
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(9, 11, 3)).save(path, exif=exif)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(images.prepare(opened, PORT), images.prepare(path, PORT))
    frames = tmp_path / "frames.gif"
    first, second = (Image.fromarray(random_pixels(9, 9) // (i + 1)) for i in range(2))
    first.save(frames, save_all=True, append_images=[second])
    with Image.open(frames) as opened:
        images.prepare(opened, PORT)
        opened.seek(1)  # it is the caller's, and still open


def test_what_is_no_image_at_all(png):
    for wrong in (None, 3, object()):
        with pytest.raises(CnnccError, match="is no image"):
            images.prepare(wrong, PORT)
    path = png(random_pixels(64, 64, 3))
    path.write_bytes(path.read_bytes()[:400])
    with Image.open(path) as cut, pytest.raises(CnnccError, match="cannot read image the image"):
        images.prepare(cut, PORT)
    assert images.prepare(bytearray(png(random_pixels(9, 9, 3)).read_bytes()), PORT).shape == (1, 3, 6, 5)


@pytest.mark.parametrize(
    "array", [np.zeros((3, 6, 5), np.uint8), np.zeros((6, 5, 3), np.float32), np.zeros(3, np.uint8)]
)
def test_arrays_that_are_no_pixels(array):
    with pytest.raises(CnnccError, match="is no image"):
        images.prepare(array, PORT)


def test_an_image_for_a_range_of_sizes():
    port = {"name": "x", "shape": [1, 3, "h", ["//", "w", 2]], "dtype": "float32"}
    with pytest.raises(CnnccError, match="input 'x' is for a range of sizes, an image is prepared for one"):
        images.prepare("picture.png", port)
