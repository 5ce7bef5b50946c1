"""The roofline plot: speed over operations per byte, both logarithmic (Williams, Waterman and Patterson, 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cnncc.profile.measure import Step

WIDTH, HEIGHT = 1000, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 28, 48


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2, 5, 10, ... within the axis."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        numbers = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        return [n for n in numbers if self.low <= n <= self.high]


def roofline(points: Sequence[tuple[Step, str, str]], peak: float, bandwidth: float) -> str:
    """The plot as SVG. Points are (step, CSS class, title); `peak` in operations and `bandwidth` in bytes a second."""
    intensities = [s.flops / s.bytes for s, _, _ in points]
    ridge = peak / bandwidth
    across = Axis(min(*intensities, ridge) / 2, max(*intensities, ridge) * 2, LEFT, WIDTH - RIGHT)
    slowest = min(s.gflops for s, _, _ in points)
    fastest = max(peak / 1e9, *(s.gflops for s, _, _ in points))
    up = Axis(min(slowest, across.low * bandwidth / 1e9) / 1.5, fastest * 1.5, HEIGHT - BOTTOM, TOP)
    # The largest first, so that none hides a smaller one.
    dots = [_dot(p, across, up) for p in sorted(points, key=lambda p: -p[0].share)]
    label = "Roofline: GFLOP/s of each step over its operations per byte"
    parts = [*_grid(across, up), *_roof(across, up, peak, bandwidth), *dots]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"


def _grid(across: Axis, up: Axis) -> list[str]:
    lines = []
    for value in across.ticks():
        x = across.at(value)
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = up.at(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">FLOP per byte</text>')
    lines.append(f'<text x="8" y="{TOP - 12}">GFLOP/s</text>')
    return lines


def _roof(across: Axis, up: Axis, peak: float, bandwidth: float) -> list[str]:
    left, ridge, right = (across.at(v) for v in (across.low, peak / bandwidth, across.high))
    low, high = up.at(across.low * bandwidth / 1e9), up.at(peak / 1e9)
    middle = math.sqrt(across.low * peak / bandwidth)
    x, y = across.at(middle), up.at(middle * bandwidth / 1e9)
    angle = math.degrees(math.atan2(high - low, ridge - left))
    return [
        f'<polyline class="roof" points="{left:.1f},{low:.1f} {ridge:.1f},{high:.1f} {right:.1f},{high:.1f}"/>',
        f'<text class="name" x="{right:.1f}" y="{high - 8:.1f}" text-anchor="end">{peak / 1e9:.0f} GFLOP/s</text>',
        f'<text class="name" x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle"'
        f' transform="rotate({angle:.1f} {x:.1f} {y:.1f})">{bandwidth / 1e9:.0f} GB/s</text>',
    ]


def _dot(point: tuple[Step, str, str], across: Axis, up: Axis) -> str:
    step, colour, title = point
    x, y = across.at(step.flops / step.bytes), up.at(step.gflops)
    radius = max(3.5, 48 * math.sqrt(step.share))
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
    return f'<circle class="dot {colour}" {place}><title>{escape(title)}</title></circle>'
