"""The roofline plot: speed over operations per byte, both logarithmic (Williams, Waterman and Patterson, 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cnncc.report.profile.measure import Step

LEFT, RIGHT, TOP, BOTTOM = 64, 24, 28, 48


@dataclass(frozen=True)
class PlotFrame:
    """The size of a plot in pixels, the radius of a dot that takes all the time, and which numbers of a decade its axes
    are labelled with."""

    width: int
    height: int
    radius: float
    decade: tuple[int, ...]


WIDE = PlotFrame(1000, 460, 48, (1, 2, 5))
NARROW = PlotFrame(360, 340, 28, (1,))
"""For a phone: drawn for its width, since text that is scaled down cannot be read."""


@dataclass(frozen=True)
class Point:
    """A step, its CSS class, what shows when the pointer rests on it, and the name of the row that it leads to."""

    step: Step
    colour: str
    title: str
    anchor: str


@dataclass(frozen=True)
class PlotAxis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, decade: Sequence[int]) -> list[float]:
        """These multiples of powers of ten, within the axis."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        numbers = [m * 10.0**e for e in range(first, last + 1) for m in decade]
        return [n for n in numbers if self.low <= n <= self.high]


@dataclass(frozen=True)
class Peak:
    """Operations a second, and what is written on its line."""

    flops: float
    what: str


def roofline(points: Sequence[Point], peaks: Sequence[Peak], bandwidth: float, frame: PlotFrame = WIDE) -> str:
    """The plot as SVG; `bandwidth` in bytes a second. The highest of the peaks meets the slope."""
    intensities = [p.step.flops / p.step.bytes for p in points]
    peak = max(p.flops for p in peaks)
    ridge = peak / bandwidth
    across = PlotAxis(min(*intensities, ridge) / 2, max(*intensities, ridge) * 2, LEFT, frame.width - RIGHT)
    slowest = min(p.step.gflops for p in points)
    fastest = max(peak / 1e9, *(p.step.gflops for p in points))
    up = PlotAxis(min(slowest, across.low * bandwidth / 1e9) / 1.5, fastest * 1.5, frame.height - BOTTOM, TOP)
    # The largest first, so that none hides a smaller one.
    dots = [_dot(p, across, up, frame) for p in sorted(points, key=lambda p: -p.step.share)]
    label = "Roofline: GFLOP/s of each step over its operations per byte"
    roofs = [*_roof(across, up, peak, bandwidth), *(line for p in peaks for line in _level(across, up, p, bandwidth))]
    parts = [*_grid(across, up, frame), *roofs, *dots]
    size = f'viewBox="0 0 {frame.width} {frame.height}"'
    return f'<svg {size} role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"


def _grid(across: PlotAxis, up: PlotAxis, frame: PlotFrame) -> list[str]:
    lines = []
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    for value in across.ticks(frame.decade):
        x = across.at(value)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks(frame.decade):
        y = up.at(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    lines.append(f'<text x="{(LEFT + right) / 2}" y="{frame.height - 8}" text-anchor="middle">FLOP per byte</text>')
    lines.append(f'<text x="8" y="{TOP - 12}">GFLOP/s</text>')
    return lines


def _roof(across: PlotAxis, up: PlotAxis, peak: float, bandwidth: float) -> list[str]:
    left, ridge, right = (across.at(v) for v in (across.low, peak / bandwidth, across.high))
    low, high = up.at(across.low * bandwidth / 1e9), up.at(peak / 1e9)
    middle = math.sqrt(across.low * peak / bandwidth)
    x, y = across.at(middle), up.at(middle * bandwidth / 1e9)
    angle = math.degrees(math.atan2(high - low, ridge - left))
    return [
        f'<polyline class="roof" points="{left:.1f},{low:.1f} {ridge:.1f},{high:.1f} {right:.1f},{high:.1f}"/>',
        f'<text class="name" x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle"'
        f' transform="rotate({angle:.1f} {x:.1f} {y:.1f})">{bandwidth / 1e9:.0f} GB/s</text>',
    ]


def _level(across: PlotAxis, up: PlotAxis, peak: Peak, bandwidth: float) -> list[str]:
    """The part of a roof that operations of one type reach."""
    ridge, right, y = across.at(peak.flops / bandwidth), across.at(across.high), up.at(peak.flops / 1e9)
    return [
        f'<line class="roof" x1="{ridge:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="name" x="{right:.1f}" y="{y - 8:.1f}" text-anchor="end">{peak.what}</text>',
    ]


def _dot(point: Point, across: PlotAxis, up: PlotAxis, frame: PlotFrame) -> str:
    step = point.step
    x, y = across.at(step.flops / step.bytes), up.at(step.gflops)
    radius = max(3.5, frame.radius * math.sqrt(step.share))
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
    circle = f'<circle class="dot {point.colour}" {place}><title>{escape(point.title)}</title></circle>'
    return f'<a href="#{point.anchor}">{circle}</a>'
