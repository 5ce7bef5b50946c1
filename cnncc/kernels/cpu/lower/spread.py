"""Rows of an image spread over the lanes of one vector of outputs, for groups narrower than it."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from cnncc.base.dim import largest, smallest
from cnncc.kernels.cpu.grouped import GroupedConfig
from cnncc.kernels.cpu.lower.moves import fill_numbers
from cnncc.kernels.shared.arithmetic import vmax, vmin
from cnncc.kernels.shared.builder import Buffer, Expr, KernelBuilder, splat


def spread_rows(k: KernelBuilder, c: GroupedConfig, buffers: tuple[Buffer, Buffer], first: Expr, top: Expr) -> None:
    """From the image to the window, [input channel of a group][row][column][lane]: the values that the vector of
    outputs from `first` on multiplies, of the rows from `top` on, with zeros outside the image."""
    _Spread(k, c, buffers, first, top).build()


class _Spread:
    def __init__(
        self, k: KernelBuilder, c: GroupedConfig, buffers: tuple[Buffer, Buffer], first: Expr, top: Expr
    ) -> None:
        self.k, self.c, self.g = k, c, c.geometry
        self.image, self.window = buffers
        self.first, self.top = first, top
        self.begin = smallest(c.window[1], max(0, -self.g.origin[1]))
        self.end = largest(self.begin, smallest(c.window[1], self.g.in_size[1] - self.g.origin[1]))
        """Columns of the window that lie in the image."""

    def build(self) -> None:
        if self.c.shuffled:
            self.shuffle()
        else:
            self.broadcast()

    def shuffle(self) -> None:
        """All input channels of a pixel are loaded once, and shuffled for each copy."""
        k, c, g = self.k, self.c, self.g
        channels, area = c.shuffled, c.window[0] * c.window[1] * c.lanes
        channel = k.let(vmin(self.first // c.group_out * c.group_in, c.in_blocks * g.in_block - channels))
        base = self.address(channel)

        def zeros(at: Expr, columns: int) -> None:
            if columns:
                with k.loop(c.group_in) as j:
                    fill_numbers(k, self.window, k.let(at + j * area), columns * c.lanes)

        def pixel(source: Expr, at: Expr) -> None:
            loaded = k.let(self.image.load(base + source, channels))
            for j in range(c.group_in):
                self.window.store(at + j * area, self.shuffled(loaded, j), c.lanes)

        self.each_row(0, zeros, pixel)

    def shuffled(self, channels: Expr, number: int) -> Expr:
        """In each lane, the channel of that number in the group of the lane's output."""
        c = self.c
        lanes = [tirx.IntImm("int32", lane // c.group_out * c.group_in + number) for lane in range(c.lanes)]
        # TVM wants at least as many lanes before as after.
        return tirx.Shuffle([channels] * -(-c.lanes // c.shuffled), lanes)

    def broadcast(self) -> None:
        """Each channel is copied to all lanes from the first of its group on. What that writes beyond the group's last
        one is overwritten by the next group or pixel: everything is written in the order of addresses."""
        k, c = self.k, self.c
        group = k.let(self.first // c.group_out)
        width = min(c.lanes, 1 << (c.group_out - 1).bit_length())
        with k.loop(c.group_in) as j:
            places = []
            for i in range(c.runs):
                number = k.let(vmin(group + i, c.geometry.groups - 1))
                lane = k.let(vmin(vmax((group + i) * c.group_out - self.first, 0), c.lanes))
                places.append((self.address(k.let(number * c.group_in + j)), lane))

            def zeros(at: Expr, columns: int) -> None:
                fill_numbers(k, self.window, at, columns * c.lanes)

            def pixel(source: Expr, at: Expr, places: list[tuple[Expr, Expr]] = places) -> None:
                for base, lane in places:
                    self.window.store(at + lane, splat(self.image.load(base + source), width), width)

            self.each_row(k.let(j * (c.window[0] * c.window[1] * c.lanes)), zeros, pixel)

    def address(self, channel: Expr) -> Expr:
        """Index of a channel's first pixel in the image."""
        size, pixels = self.g.in_block, self.g.in_size[0] * self.g.in_size[1]
        return self.k.let(channel // size * (pixels * size) + channel % size)

    def each_row(self, start: Expr, zeros: Callable[[Expr, int], None], pixel: Callable[[Expr, Expr], None]) -> None:
        """Writes the rows of the window from index `start` on: `pixel` from an index of the image, counted from the
        first pixel's, and `zeros` in so many columns."""
        k, c, g = self.k, self.c, self.g
        rows, columns = c.window
        height, width = g.in_size
        with k.loop(rows) as r:
            y, at = k.let(self.top + r), k.let(start + r * (columns * c.lanes))
            with k.when(tirx.all(y >= 0, y < height)):
                zeros(at, self.begin)
                with k.loop(self.end - self.begin) as x:
                    source = k.let((y * width + x + (self.begin + g.origin[1])) * g.in_block)
                    pixel(source, k.let(at + (x + self.begin) * c.lanes))
                zeros(k.let(at + self.end * c.lanes), columns - self.end)
            with k.otherwise():
                zeros(at, columns)
