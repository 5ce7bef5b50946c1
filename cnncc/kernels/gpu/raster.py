"""In which order the blocks of a matrix product take the tiles of its result, and how often its operands are read.

Blocks start in the order of their numbers, as many at a time as the multiprocessors hold. If all tiles of one column
come first, then those of the next, an image that does not fit into the second cache is read from device memory once for
each column. So the rows of tiles are cut into bands: a block's number counts the rows of a band, then the columns, then
the bands. A band of one row takes all columns of that row, and reads the weights again for every few rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from cnncc.machines.gpus import Gpu

SHARE = 0.5
"""Of the second cache: the rest goes to what is written, and to lines that both of its halves keep."""
SMALLER = 4
"""Among bands that cost the same the one is best that does so in a cache this many times smaller, too."""


@dataclass(frozen=True)
class Raster:
    """The tiles of a result, taken in bands of so many rows of tiles."""

    rows: int
    columns: int
    band: int

    @property
    def tiles(self) -> int:
        return self.rows * self.columns

    def place(self, block: int) -> tuple[int, int]:
        """Row and column of the tile that a block takes."""
        band, rest = divmod(block, self.band * self.columns)
        height = min(self.band, self.rows - band * self.band)
        column, row = divmod(rest, height)
        return band * self.band + row, column


@dataclass(frozen=True)
class Reads:
    """What the tiles of a product read and write, in bytes, and how many blocks are at work at a time."""

    rows: int
    columns: int
    image: int
    """That all tiles of a row read."""
    weights: int
    """That all tiles of a column read."""
    result: int
    """Of a tile."""
    at_once: int

    @property
    def least(self) -> int:
        """Bytes of image and weights, each read once."""
        return self.rows * self.image + self.columns * self.weights


def bytes_read(reads: Reads, band: int, cache_bytes: float) -> int:
    """From device memory, with bands of so many rows, if the cache keeps what was used last.

    The tiles at work at a time share what they read. Between the columns of a band its image stays in the cache, and
    between bands the weights do, if everything that is read and written in between fits as well; groups of tiles at
    work end in the middle of columns and bands, hence one more of each.
    """
    bands = -(-reads.rows // band)
    columns_at_once = min(reads.columns, max(1, reads.at_once // band))
    bands_at_once = max(1, reads.at_once // (band * reads.columns))
    columns_touched = min(reads.columns, 1 + -(-reads.at_once // band))
    rows_touched = min(reads.rows, band * (1 + -(-reads.at_once // (band * reads.columns))))
    image_kept = band * reads.image + columns_touched * (reads.weights + band * reads.result) <= cache_bytes
    row = reads.image + reads.columns * reads.result
    weights_kept = reads.columns * reads.weights + rows_touched * row <= cache_bytes
    image_times = 1 if image_kept else -(-reads.columns // columns_at_once)
    weights_times = 1 if weights_kept else -(-bands // bands_at_once)
    return reads.rows * reads.image * image_times + reads.columns * reads.weights * weights_times


@cache
def best_band(reads: Reads, l2_bytes: int) -> int:
    """The rows of a band with which least is read."""
    cache_bytes = SHARE * l2_bytes
    everything = reads.least + reads.rows * reads.columns * reads.result
    if min(reads.rows, reads.columns) == 1 or everything <= cache_bytes / SMALLER**2:
        return reads.rows
    bands = [reads.rows, *(4**i for i in range(8) if 4**i < reads.rows)]
    sizes = [cache_bytes, cache_bytes / SMALLER, cache_bytes / SMALLER**2]
    return min(bands, key=lambda band: [bytes_read(reads, band, size) for size in sizes])


def read_again(reads: Reads, band: int, gpu: Gpu) -> int:
    """Bytes that device memory gives more than once."""
    return bytes_read(reads, band, SHARE * gpu.l2_bytes) - reads.least
