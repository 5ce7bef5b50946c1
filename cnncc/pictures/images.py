"""Images and arrays from files, made to fit an input of a network."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cnncc.base import extras
from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError, reason
from cnncc.pictures.formats import Picture, fit

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB"}


def suffixes() -> frozenset[str]:
    """Ends of the names, in lower case, of the files that `load` reads."""
    extras.require(extras.IMAGES)
    from PIL import Image as pillow

    known = pillow.registered_extensions().items()
    return frozenset({".npy", *(suffix for suffix, kind in known if kind in pillow.OPEN)})


def prepare(
    source: str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray, port: Mapping[str, Any]
) -> np.ndarray:
    """An image or array as an input of a module: cut, resized and in the order of colours that the network's text says.

    `source` is the path of an image or of a `.npy` file, an open image file or the bytes of one, a Pillow image, or the
    pixels of an image: uint8 of shape (h, w), or (h, w, c) with c of 1, 3 or 4. `port` is one of
    `model.info["inputs"]`.

    Returns an array of shape (n, c, h, w), or (n, k) for a vector: n is 1 for an image, and the number of images in a
    `.npy`. It is float32: pixels of 0 to 255 are divided by 255, unless the network has `mean` or `std` and normalises
    them itself; arrays of floats are taken as they are. An input of another type takes arrays of that type, and one of
    uint8 takes pixels as they are.

    Raises CnnccError if the file cannot be read or does not fit, or if Pillow is not installed.
    """
    if not isinstance(port, Mapping) or "shape" not in port:
        raise CnnccError("an image is prepared for an input", hint='port is one of model.info["inputs"]')
    if not all(isinstance(size, int) for size in port["shape"]):
        hint = 'choose one: `model.at_size(h=224, w=320).info["inputs"][0]`, with the names of the sizes'
        raise CnnccError(f"input {port['name']!r} is for a range of sizes, an image is prepared for one", hint=hint)
    if isinstance(source, str | os.PathLike):
        if port.get("dtype", "float32") != "float32":
            return _typed(source, port)
        return load(source, port["shape"][1:], *_outside(port), Picture.of(port))
    return pixels(from_pixels(_picture(source), port["shape"][1:], picture=Picture.of(port)), port)


def _picture(source: bytes | BinaryIO | Image.Image | np.ndarray) -> Image.Image:
    """An image that is no file on disk. CnnccError for what is none."""
    extras.require(extras.IMAGES)
    from PIL import Image as pillow

    if isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or not source.size
            or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4)))
        ):
            shape = "x".join(map(str, source.shape))
            hint = "pixels are uint8 of shape (h, w), or (h, w, c) with c of 1, 3 or 4; give other arrays to the model"
            raise CnnccError(f"an array of {source.dtype}, {shape}, is no image", hint=hint)
        return pillow.fromarray(source[..., 0] if source.shape[2:] == (1,) else source)
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    if not (isinstance(source, pillow.Image) or hasattr(source, "read")):
        raise CnnccError(f"a {type(source).__name__} is no image", hint="a path, a Pillow image, pixels, or a file")
    return _open(source, "the image")


def pixels(array: np.ndarray, port: Mapping[str, Any]) -> np.ndarray:
    """Pixels of 0 to 255, shape (n, *dims), as an input of a module: bytes for one of uint8, else float32. CnnccError
    for one of another type."""
    if port.get("dtype", "float32") == "float32":
        return normalise(array, *_outside(port))
    if port["dtype"] != "uint8":
        raise CnnccError(f"input {port['name']!r} is of {port['dtype']}: pixels are uint8")
    return np.ascontiguousarray(array, np.uint8)


def _typed(source: str | os.PathLike[str], port: Mapping[str, Any]) -> np.ndarray:
    """A file as an input that is not float32."""
    dims = tuple(port["shape"][1:])
    if Path(source).suffix.lower() == ".npy":
        batch, kind = _batch(Path(source), dims), ELEMENTS[port["dtype"]].dtype
        if batch.dtype != kind:
            raise CnnccError(f"{source}: the array is of {batch.dtype}, the input takes {port['dtype']}, as {kind}")
        return np.ascontiguousarray(batch)
    opened = _open(Path(source), str(source))
    return pixels(from_pixels(opened, dims, str(source), Picture.of(port)), port)


def _outside(port: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """The mean and std that remain to be applied for a module."""
    # A network with a mean or std normalises by itself and takes pixels of 0 to 255.
    return ((0.0,), (1.0,)) if port.get("mean") or port.get("std") else ((), ())


def load(
    path: str | os.PathLike[str],
    dims: Sequence[int],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    picture: Picture | None = None,
) -> np.ndarray:
    """A file as an input of a network: float32 of shape (1, *dims), or (n, *dims) for a `.npy` of n images.

    `dims` are (c, h, w), or (k,) for a vector. An image is made grey or RGB, cut and resized as `picture` says (by
    default straight to the size, bilinearly), and its pixels of 0..255 become (x - mean) / std, one number each or one
    per channel, or x / 255 where neither is given. A `.npy` of uint8 counts as such pixels, already (c, h, w); one of
    floats is taken as it is. A network whose text has a mean or std applies them itself and wants the pixels as they
    are: `std=(1,)`. Raises CnnccError for a file that is unreadable or does not fit.
    """
    file = Path(path)
    if file.suffix.lower() == ".npy":
        return _from_array(file, tuple(dims), mean, std)
    return from_image(_open(file, str(file)), dims, mean, std, str(file), picture)


def from_image(
    image: Image.Image,
    dims: Sequence[int],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    source: str = "the image",
    picture: Picture | None = None,
) -> np.ndarray:
    """A Pillow image as an input of a network, as `load` does it; `source` names it in errors."""
    return normalise(from_pixels(image, dims, source, picture), mean, std)


def from_pixels(
    image: Image.Image, dims: Sequence[int], source: str = "the image", picture: Picture | None = None
) -> np.ndarray:
    """The pixels of a Pillow image, cut and resized: uint8 of shape (1, c, h, w)."""
    if len(dims) != 3 or dims[0] not in _MODES:
        shape = "x".join(map(str, dims))
        hint = "give an array of that shape as .npy"
        raise CnnccError(f"{source}: an image cannot be an input of {shape}", hint=hint)
    channels, height, width = dims
    how = picture or Picture()
    try:
        sized = fit(_eight_bit(image).convert(_MODES[channels]), height, width, how)
    except CnnccError as error:
        raise CnnccError(f"{source}: {error.message}") from error
    found = np.asarray(sized).reshape(height, width, channels).transpose(2, 0, 1)
    return found[np.newaxis, :: -1 if how.order == "bgr" else 1]


def normalise(pixels: np.ndarray, mean: Sequence[float] = (), std: Sequence[float] = ()) -> np.ndarray:
    """Pixels of 0..255, shape (n, c, h, w) or (n, k), as float32 (x - mean) / std; x / 255 if neither is given."""
    if not (len(mean) or len(std)):
        return np.ascontiguousarray(pixels.astype(np.float32) / np.float32(255))
    per_channel = (1, -1, 1, 1)[: pixels.ndim]
    shift = np.asarray(mean if len(mean) else 0.0, dtype=np.float32).reshape(per_channel)
    scale = np.asarray(std if len(std) else 1.0, dtype=np.float32).reshape(per_channel)
    return np.ascontiguousarray((pixels.astype(np.float32) - shift) / scale)


def _open(file: Path | BinaryIO | Image.Image, name: str) -> Image.Image:
    extras.require(extras.IMAGES)
    from PIL import Image as pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        if isinstance(file, pillow.Image):  # the caller's, who may go on with it: it is not closed
            return ImageOps.exif_transpose(file)
        with pillow.open(file) as image:
            return ImageOps.exif_transpose(image)  # decodes, too: a camera held sideways says so in the file
    except UnidentifiedImageError as error:
        hint = "PNG, JPEG and the like are images; arrays are read from .npy"
        raise CnnccError(f"{name} is not an image of a known format", hint=hint) from error
    except pillow.DecompressionBombError as error:
        raise CnnccError(f"{name} is refused: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's decoders raise all three on damaged files
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise CnnccError(f"cannot read image {name}: {why}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; Pillow's own conversion would cut everything above 255 off."""
    from PIL import Image as pillow

    if not image.mode.startswith("I"):
        return image
    return pillow.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _from_array(file: Path, dims: tuple[int, ...], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    batch = _batch(file, dims)
    if batch.dtype == np.uint8:
        return normalise(batch, mean, std)
    if batch.dtype.kind != "f":
        hint = "floats are used as they are, uint8 as pixels"
        raise CnnccError(f"{file}: the array is of {batch.dtype}, an input is float or uint8", hint=hint)
    return np.ascontiguousarray(batch, dtype=np.float32)


def _batch(file: Path, dims: tuple[int, ...]) -> np.ndarray:
    """The array of a file as (n, *dims)."""
    array = read_array(file)
    if array.shape != dims and (array.shape[1:] != dims or not len(array)):
        found, wanted = ("x".join(map(str, shape)) or "a single number" for shape in (array.shape, dims))
        raise CnnccError(f"{file}: the array is {found}, the input is {wanted}")
    return array.reshape(-1, *dims)


def read_array(file: Path) -> np.ndarray:
    """The array of a `.npy` file; CnnccError if it is none."""
    try:
        array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise CnnccError(f"cannot read array {file}: {reason(error)}") from error
    except (ValueError, EOFError) as error:
        raise CnnccError(f"{file} is not a NumPy array file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise CnnccError(f"{file} is an archive of arrays, not one array")
    return array
