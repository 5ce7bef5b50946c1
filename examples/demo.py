"""Compile LeNet-5 and let it read twenty handwritten digits: `make demo`."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import cnncc
from cnncc import lang
from cnncc.base.errors import CnnccError
from cnncc.pictures import images

ROOT = Path(__file__).resolve().parent.parent
NET, WEIGHTS = ROOT / "models/lenet5.net", ROOT / "models/lenet5.safetensors"
HELD_OUT = ROOT / "tests/data/mnist_heldout_1000.npz"
CELL = 20
"""Every MNIST digit fits into 20 x 20 pixels; in the terminal that is 20 columns by 10 lines."""
GAP = 3
NEXT = (
    ("run models/lenet5.net examples/digits/7_a.png", "one digit, from a file"),
    ("summary models/googlenet.net", "shapes, parameters, multiply-adds, receptive fields"),
    ("check models/resnet50.net", "compiled against the NumPy reference, layer by layer"),
    ("compile models/resnet50.net -o resnet50.so", "a library and resnet50.h, for any C program"),
)

Model = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reading:
    """One digit, what it is, and the network's ten probabilities."""

    pixels: np.ndarray
    truth: int
    probabilities: np.ndarray

    @property
    def found(self) -> int:
        return int(self.probabilities.argmax())


def main() -> int:
    sys.stdout.reconfigure(errors="replace")  # question marks, not a traceback, where there are no block characters
    try:
        demo(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    except CnnccError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def demo(colour: bool) -> None:
    graph = lang.read(NET)
    parameters = sum(int(np.prod(c.shape)) for c in graph.constants.values())
    start = time.perf_counter()
    model = cnncc.compile(NET, weights=WEIGHTS)
    seconds = time.perf_counter() - start
    print(f"LeNet-5 ({parameters:,} parameters), compiled for this machine in {seconds:.2f} s")
    print(f"  network  {shown(NET)}")
    print(f"  weights  {shown(WEIGHTS)}, trained on 4000 MNIST digits by examples/train_lenet5.py\n")

    dims = graph.inputs[0].attrs["dims"]
    readings = [read(model, dims, path) for path in sorted((ROOT / "examples/digits").glob("*.png"))]
    for line in gallery(readings, shutil.get_terminal_size().columns, colour):
        print(line)

    right = sum(r.found == r.truth for r in readings)
    print(f"{right} of these {len(readings)} digits read correctly; none of them was trained on.")
    if HELD_OUT.exists():
        print(held_out(model, dims))
    median = microseconds(model, graph.inputs[0].type.shape)
    print(f"{median:.1f} microseconds per image (median of 500 calls from Python)\n")
    print("Next:")
    for command, about in NEXT:
        print(f"  {shown(program())} {command:<46} # {about}")


def read(model: Model, dims: tuple[int, ...], path: Path) -> Reading:
    """The digit of a PNG file; its true class is the first letter of the name."""
    image = images.load(path, dims, std=(1,))
    with Image.open(path) as picture:
        return Reading(np.asarray(picture), int(path.name[0]), model(image)[0])


def held_out(model: Model, dims: tuple[int, ...]) -> str:
    """Accuracy on the digits that were kept from training."""
    with np.load(HELD_OUT) as data:
        digits, labels = data["images"], data["labels"]
    made = (images.from_image(Image.fromarray(d), dims, std=(1,)) for d in digits)
    right = sum(int(model(x)[0].argmax()) == label for x, label in zip(made, labels, strict=True))
    return f"{right} of all {len(labels)} digits kept from training ({right / len(labels):.1%})."


def microseconds(model: Model, shape: tuple[int, ...], calls: int = 500) -> float:
    image = np.zeros(shape, np.float32)
    times = []
    for _ in range(calls + 20):
        start = time.perf_counter()
        model(image)
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[20:])


def gallery(readings: list[Reading], columns: int, colour: bool) -> Iterable[str]:
    """The digits side by side, as many as fit, each above its caption."""
    per_row = max(1, (columns + GAP) // (CELL + GAP))
    for first in range(0, len(readings), per_row):
        row = readings[first : first + per_row]
        cells = [[*art(r.pixels, colour), caption(r, colour)] for r in row]
        yield from ((" " * GAP).join(parts).rstrip() for parts in zip(*cells, strict=True))
        yield ""


def art(pixels: np.ndarray, colour: bool) -> list[str]:
    """Ten lines of twenty half-block characters, each two pixels high: shades of grey, or black and white."""
    box = centred(pixels)
    pairs = zip(box[0::2], box[1::2], strict=True)
    if colour:
        return ["".join(map(shaded, upper, lower)) + "\x1b[0m" for upper, lower in pairs]
    return ["".join(map(black_or_white, upper, lower)) for upper, lower in pairs]


def black_or_white(upper: int, lower: int) -> str:
    return " ▀▄█"[(upper > 100) + 2 * (lower > 100)]


def shaded(upper: int, lower: int) -> str:
    """Upper and lower pixel as foreground and background, out of the terminal's 24 greys."""
    return f"\x1b[38;5;{232 + int(upper) * 23 // 255};48;5;{232 + int(lower) * 23 // 255}m▀"


def centred(pixels: np.ndarray) -> np.ndarray:
    """The digit's bounding box in the middle of a cell."""
    rows, cols = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    digit = pixels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1][:CELL, :CELL]
    top, left = ((CELL - size) // 2 for size in digit.shape)
    cell = np.zeros((CELL, CELL), np.uint8)
    cell[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return cell


def caption(reading: Reading, colour: bool) -> str:
    """True class, class found and its probability, as wide as a cell."""
    verdict = "" if reading.found == reading.truth else " WRONG"
    share = float(reading.probabilities[reading.found])
    text = f"{reading.truth}: read {reading.found}, {share:.1%}{verdict}".ljust(CELL)
    return f"\x1b[{31 if verdict else 32}m{text}\x1b[0m" if colour else text


def program() -> Path:
    """The cnncc command beside this Python."""
    return Path(sys.executable).parent / "cnncc"


def shown(path: Path) -> str:
    """The path as one would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
