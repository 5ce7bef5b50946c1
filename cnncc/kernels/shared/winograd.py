"""The transforms of Winograd convolution F(m x m, r x r), and which sizes keep an error bound.

Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4; the matrices follow Cook and
Toom: with a = m + r - 1, a - 1 finite points p and the point at infinity, y = A' [(G g G') * (B' d B)] A for a tile d
of a x a pixels. The points decide the error; those used here were chosen for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

POINTS: dict[int, tuple[Fraction, ...]] = {
    4: (Fraction(0), Fraction(1), Fraction(-1)),
    6: (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
    7: (Fraction(0), Fraction(1, 2), Fraction(-1, 2), Fraction(1), Fraction(-1), Fraction(3)),
    8: (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2), Fraction(1, 2), Fraction(-1, 2)),
}
"""Interpolation points by side of the input tile: F(4x4, 3x3) and F(2x2, 5x5) share theirs."""


Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True)
class Matrices:
    """The transforms of one tile size, exact: `data` is B' (a x a), `filter` is G (a x r), `output` is A' (m x a)."""

    data: Matrix
    filter: Matrix
    output: Matrix


@cache
def matrices(m: int, taps: int) -> Matrices:
    """The transforms of F(m x m, taps x taps)."""
    points = POINTS[m + taps - 1]
    data = [(*_from_roots(points[:j] + points[j + 1 :]), Fraction(0)) for j in range(len(points))]
    data.append(_from_roots(points))
    filters = []
    for j, p in enumerate(points):
        scale = Fraction(1)
        for other in points[:j] + points[j + 1 :]:
            scale *= p - other
        filters.append(tuple(p**k / scale for k in range(taps)))
    filters.append(tuple(Fraction(k == taps - 1) for k in range(taps)))
    output = tuple((*(p**i for p in points), Fraction(i == m - 1)) for i in range(m))
    return Matrices(tuple(data), tuple(filters), output)


def _from_roots(roots: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Coefficients of the product of (x - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - root * c for s, c in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return tuple(coefficients)


ERRORS = {(2, 3): 1.5e-6, (4, 3): 6e-6, (6, 3): 4e-5, (2, 5): 3e-6, (3, 5): 1e-5, (4, 5): 1e-5}
"""Largest error seen of each output tile and filter, over the largest output, against float64; direct kernels have
about 2e-6."""


def allowed_sizes(max_error: float, taps: int) -> tuple[int, ...]:
    """The output tiles that keep an error bound with filters of so many taps a side."""
    return tuple(m for (m, of), error in ERRORS.items() if of == taps and error <= max_error)
