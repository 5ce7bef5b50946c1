"""A network that a competitor has made ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Engine:
    """Ready to run; `about` tells the version."""

    about: str
    run: Run
