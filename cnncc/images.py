"""Images and arrays from files, made to fit an input of a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnncc import extras
from cnncc.errors import CnnccError, reason

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB"}


def load(
    path: str | os.PathLike[str],
    dims: Sequence[int],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    batch: int = 1,
) -> np.ndarray:
    """A file as an input of a network: float32 of shape (1, *dims), or (batch, *dims) for a `.npy` of that shape.

    `dims` are (c, h, w), or (k,) for a vector. An image is made grey or RGB, resized bilinearly, and its pixels of
    0..255 become (x - mean) / std, one number each or one per channel, or x / 255 where neither is given. A `.npy` of
    uint8 counts as such pixels, already (c, h, w); one of floats is taken as it is. A network whose text has a mean or
    std applies them itself and wants the pixels as they are: `std=(1,)`.
    Raises CnnccError for a file that is unreadable or does not fit.
    """
    file = Path(path)
    if file.suffix.lower() == ".npy":
        return _from_array(file, tuple(dims), mean, std, batch)
    return from_image(_open(file), dims, mean, std, str(file))


def count(path: str | os.PathLike[str], dims: Sequence[int], batch: int) -> int:
    """Images in a file: `batch` for a `.npy` of shape (batch, *dims), else 1. Reads no more than its header."""
    file = Path(path)
    if file.suffix.lower() != ".npy" or batch == 1:
        return 1
    return batch if _read_array(file, "r").shape == (batch, *dims) else 1


def from_image(
    image: Image.Image,
    dims: Sequence[int],
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    source: str = "the image",
) -> np.ndarray:
    """A Pillow image as an input of a network, as `load` does it; `source` names it in errors."""
    from PIL import Image as pillow

    if len(dims) != 3 or dims[0] not in _MODES:
        shape = "x".join(map(str, dims))
        hint = "give an array of that shape as .npy"
        raise CnnccError(f"{source}: an image cannot be an input of {shape}", hint=hint)
    channels, height, width = dims
    sized = _eight_bit(image).convert(_MODES[channels]).resize((width, height), pillow.Resampling.BILINEAR)
    pixels = np.asarray(sized).reshape(height, width, channels).transpose(2, 0, 1)
    return normalise(pixels[np.newaxis], mean, std)


def normalise(pixels: np.ndarray, mean: Sequence[float] = (), std: Sequence[float] = ()) -> np.ndarray:
    """Pixels of 0..255, shape (n, c, h, w) or (n, k), as float32 (x - mean) / std; x / 255 if neither is given."""
    if not (len(mean) or len(std)):
        return np.ascontiguousarray(pixels.astype(np.float32) / np.float32(255))
    per_channel = (1, -1, 1, 1)[: pixels.ndim]
    shift = np.asarray(mean if len(mean) else 0.0, dtype=np.float32).reshape(per_channel)
    scale = np.asarray(std if len(std) else 1.0, dtype=np.float32).reshape(per_channel)
    return np.ascontiguousarray((pixels.astype(np.float32) - shift) / scale)


def _open(file: Path) -> Image.Image:
    extras.require(extras.IMAGES)
    from PIL import Image as pillow
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with pillow.open(file) as image:
            return ImageOps.exif_transpose(image)  # decodes, too: a camera held sideways says so in the file
    except UnidentifiedImageError as error:
        hint = "PNG, JPEG and the like are images; arrays are read from .npy"
        raise CnnccError(f"{file} is not an image of a known format", hint=hint) from error
    except pillow.DecompressionBombError as error:
        raise CnnccError(f"{file} is refused: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's decoders raise all three on damaged files
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise CnnccError(f"cannot read image {file}: {why}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; Pillow's own conversion would cut everything above 255 off."""
    from PIL import Image as pillow

    if not image.mode.startswith("I"):
        return image
    return pillow.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _from_array(
    file: Path, dims: tuple[int, ...], mean: Sequence[float], std: Sequence[float], count: int
) -> np.ndarray:
    array = _read_array(file)
    if array.shape not in (dims, (1, *dims), (count, *dims)):
        found, wanted = ("x".join(map(str, shape)) or "a single number" for shape in (array.shape, dims))
        raise CnnccError(f"{file}: the array is {found}, the input is {wanted}")
    batch = array.reshape(-1, *dims)
    if array.dtype == np.uint8:
        return normalise(batch, mean, std)
    if array.dtype.kind != "f":
        hint = "floats are used as they are, uint8 as pixels"
        raise CnnccError(f"{file}: the array is of {array.dtype}, an input is float or uint8", hint=hint)
    return np.ascontiguousarray(batch, dtype=np.float32)


def _read_array(file: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode, allow_pickle=False)
    except OSError as error:
        raise CnnccError(f"cannot read array {file}: {reason(error)}") from error
    except (ValueError, EOFError) as error:
        raise CnnccError(f"{file} is not a NumPy array file: {error}") from error
    if not isinstance(array, np.ndarray):
        raise CnnccError(f"{file} is an archive of arrays, not one array")
    return array
