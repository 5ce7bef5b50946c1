"""Sizes that a caller chooses, as people write them: `h in 32..1024 step 32`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError

Sizes = Sequence[int | Symbol]
"""The shape of an input: numbers, and sizes that a caller chooses."""
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
NO_NAMES = frozenset({"x", "in", "step", "where"})
"""Words with a meaning beside names of sizes."""
LARGEST = 2**31 - 1
"""A module takes sizes as int32."""


def symbol(index: int, name: str, least: int, most: int, step: int = 1) -> Symbol:
    """The size of this name: `least`, `least + step`, ... up to `most`. CnnccError for what is no range of sizes."""
    if not NAME.fullmatch(name) or name in NO_NAMES:
        hint = f"it is a word of its own; e.g. {'w' if name == 'x' else 'h'}" if name in NO_NAMES else "e.g. h"
        raise CnnccError(f"a size cannot be called {name!r}", hint=hint)
    if least < 1:
        raise CnnccError(f"{name}: sizes must be at least 1, got {least}")
    if most > LARGEST:
        raise CnnccError(f"{name}: {most} is too large, at most {LARGEST}")
    if step < 1:
        raise CnnccError(f"{name}: the step must be at least 1, got {step}")
    if most <= least:
        hint = f"a single size is a number: write {least}" if most == least else f"write {name} in {most}..{least}"
        raise CnnccError(f"{name} in {least}..{most}: a range goes up", hint=hint)
    last = most - (most - least) % step
    if last != most:
        found = f"{name} in {least}..{most} step {step}: {most} is none of the sizes, the last is {last}"
        hint = f"write {name} in {least}..{last} step {step}" if last > least else f"a single size is a number: {least}"
        raise CnnccError(found, hint=hint)
    return Symbol(index, name, least, most, step)


def usual(sizes: Sizes) -> tuple[int, ...]:
    """The size in the middle of each range: what a network for many sizes is where it has to be one."""
    return tuple(s.least + s.middle * s.step if isinstance(s, Symbol) else s for s in sizes)


def ranged(sizes: Sizes) -> tuple[int | Symbol, ...]:
    """The sizes if a caller chooses any of them, () else: what the attribute `range` of an input is."""
    return tuple(sizes) if any(isinstance(s, Symbol) for s in sizes) else ()


def symbols(sizes: Iterable[int | Symbol]) -> list[Symbol]:
    """Those among sizes, each once, in their order there."""
    return list(dict.fromkeys(s for s in sizes if isinstance(s, Symbol)))


def written(sizes: Sizes, between: str = " x ") -> str:
    """`3 x h x w`, or `3x224x224` without names."""
    return (between if ranged(sizes) else "x").join(s.name if isinstance(s, Symbol) else str(s) for s in sizes)


def ranges(sizes: Iterable[int | Symbol]) -> str:
    """`h in 32..1024 step 32, w in 32..4096 step 8`."""
    return ", ".join(map(str, symbols(sizes)))


def told(sizes: Sizes) -> str:
    """`3 x h x w where h in 32..1024, w in 32..4096`, or `3x224x224` without names."""
    return written(sizes) + (f" where {ranges(sizes)}" if ranged(sizes) else "")


def within(sizes: Sizes, known: Sizes) -> bool:
    """Whether all sizes that a caller may choose by one shape are among those of another."""
    return len(sizes) == len(known) and all(_among(s, k) for s, k in zip(sizes, known, strict=True))


def _among(size: int | Symbol, known: int | Symbol) -> bool:
    sizes, others = (s.sizes if isinstance(s, Symbol) else range(s, s + 1) for s in (size, known))
    return sizes[0] in others and sizes[-1] in others and (len(sizes) == 1 or sizes.step % others.step == 0)


def admits(sizes: Sizes, given: Sequence[int]) -> bool:
    """Whether a shape is one of the range."""
    return len(sizes) == len(given) and all(
        n in s.sizes if isinstance(s, Symbol) else n == s for s, n in zip(sizes, given, strict=True)
    )
