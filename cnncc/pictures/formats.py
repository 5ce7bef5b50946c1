"""How a picture of any size becomes an image of an input's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import CnnccError

if TYPE_CHECKING:
    from PIL import Image

LARGEST = 1 << 28
"""Pixels that a picture may have once it is resized: the shorter side of a very long one is small."""


@dataclass(frozen=True)
class Picture:
    """How a picture of any size becomes an image for an input; the words of the network's `input` line."""

    crop: float = 1.0
    """The middle share of height and width that is kept, before anything is resized."""
    resize: tuple[int, ...] = ()
    """(shorter side,) or (height, width), from whose middle the input is cut; () is the input's own size."""
    filter: str = "bilinear"
    """As Pillow calls it."""
    order: str = "rgb"
    """Or bgr."""

    @staticmethod
    def of(port: Mapping[str, Any]) -> Picture:
        """What a module says of an input in its info."""
        given = {key: port[key] for key in ("crop", "filter", "order") if key in port}
        return Picture(resize=tuple(port.get("resize", ())), **given)


def fit(image: Image.Image, height: int, width: int, how: Picture) -> Image.Image:
    """Cut, resized, cut to the height and width; each cut takes the middle. CnnccError if it would become too large."""
    from PIL import Image as pillow

    if how.crop < 1:
        # As many pixels go on the left as on the right, rounded down, so the share that stays is never too small.
        left, top = (int((side - side * how.crop) / 2) for side in image.size)
        image = image.crop((left, top, image.width - left, image.height - top))
    tall, wide = _size(image, height, width, how)
    if tall * wide > LARGEST:
        raise CnnccError(f"resized from {image.height}x{image.width} it would have {tall}x{wide} pixels")
    image = image.resize((wide, tall), pillow.Resampling[how.filter.upper()])
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _size(image: Image.Image, height: int, width: int, how: Picture) -> tuple[int, int]:
    """Height and width to resize to: those of the input, the given ones, or the given one for the shorter side, the
    other rounded down as torchvision does."""
    if len(how.resize) != 1:
        return (how.resize[0], how.resize[1]) if how.resize else (height, width)
    (side,) = how.resize
    if image.width <= image.height:
        return int(side * image.height / image.width), side
    return side, int(side * image.width / image.height)
