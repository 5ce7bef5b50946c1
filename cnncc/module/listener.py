"""Who hears how far a compilation is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnncc.module.phases import Stage

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Listener:
    """`progress` is told of work that takes long; `on_phase` hears the name of each phase when it has ended, and what
    it made."""

    progress: Progress | None = None
    on_phase: Callable[[str, Stage], object] | None = None


SILENT = Listener()
"""Nobody listens."""
