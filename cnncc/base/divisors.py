"""Divisors and even cuts of sizes, in as many steps as the square root of the size: images have up to 2^24 rows."""

from __future__ import annotations

import math
from collections.abc import Sequence


def divisors(number: int) -> list[int]:
    """The divisors of a positive number, rising."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return [*small, *(number // d for d in reversed(small) if d * d < number)]


def even_cuts(number: int) -> list[int]:
    """The sizes of the largest piece when a positive number is cut into any number of all but equal pieces, rising."""
    root = math.isqrt(number)
    return sorted({*range(1, min(root, number) + 1), *(-(-number // n) for n in range(1, root + 2))})


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of the numbers, evenly from the first to the last."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[i * (len(numbers) - 1) // (most - 1)] for i in range(most)]
