"""Memory as a reason to choose a kernel: what is about as fast and fits wins, and what does not fit must say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cnncc.kernels.shared.spec import Selection, Site

SLOWER = 1.08
"""Predicted time, over the fastest kernel's, at which one that fits takes its place. The model is not more exact."""

SHARE = 0.15
"""Of the activations, by which workspace and scratch may exceed them before a kernel has to say why."""

T = TypeVar("T")


@dataclass(frozen=True)
class Option(Generic[T]):
    """A kernel that could be chosen: predicted cycles, floats of workspace for an image and of a thread's scratch."""

    cycles: float
    workspace_floats: int
    scratch_floats: int
    kernel: T


def needed(site: Site, workspace_floats: int, scratch_floats: int) -> int:
    """Bytes for one image, with scratch for all cores of the target: the choice must not depend on the threads of a
    run, nor on its batch."""
    return 4 * (workspace_floats + site.target.cores * scratch_floats)


def choose(site: Site, options: Sequence[Option[T]]) -> tuple[T, str]:
    """The fastest option, or one that fits and is hardly slower; and what to add to the reason for it."""
    fastest = min(options, key=lambda o: o.cycles)
    fitting = [o for o in options if _need(site, o) <= site.room]
    if fastest in fitting:
        return fastest.kernel, ""
    if not fitting:
        return fastest.kernel, "; none of its kind fits in less memory"
    other = min(fitting, key=lambda o: o.cycles)
    slower = other.cycles / fastest.cycles
    if slower > SLOWER:
        return fastest.kernel, f"; the best that takes less memory is predicted {slower:.2f} times slower"
    saved = _need(site, fastest) - _need(site, other)
    return other.kernel, f"; takes {mebibytes(saved)} less than the fastest, predicted {slower:.2f} of its time"


def _need(site: Site, option: Option[T]) -> int:
    return needed(site, option.workspace_floats, option.scratch_floats)


def explained(site: Site, selection: Selection) -> Selection:
    """The selection; if it takes more memory than it should, it says how much."""
    workspace = max(c.workspace_floats for c in selection.calls)
    need = needed(site, workspace, max(c.kernel.scratch_floats for c in selection.calls))
    if need <= site.room:
        return selection
    over = mebibytes(need - max(0, int(site.room)))
    text = f"{mebibytes(need)} of workspace and scratch, {over} more than is free with {SHARE:.0%} on top"
    return replace(selection, why=f"{selection.why}; {text}")


def mebibytes(count: float) -> str:
    """Bytes in MiB, for people."""
    return f"{count / 2**20:.2f} MiB"
