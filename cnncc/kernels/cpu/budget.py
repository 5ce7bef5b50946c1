"""Memory as a reason to choose a kernel: what is about as fast and fits wins, and what does not fit must say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnncc.base.dim import typical
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.algorithm import Candidate, Made
from cnncc.kernels.shared.spec import Selection

SLOWER = 1.08
"""Predicted time, over the fastest kernel's, at which one that fits takes its place. The model is not more exact."""

SHARE = 0.15
"""Of the activations, by which workspace and scratch may exceed them before a kernel has to say why."""


def needed(site: CpuSite, workspace_bytes: int, scratch_bytes: int) -> int:
    """Bytes for one image, with scratch for all cores of the target: the choice must not depend on the threads of a
    run, nor on its batch."""
    return workspace_bytes + site.target.cores * scratch_bytes


def choose(site: CpuSite, options: Sequence[Candidate[Made]]) -> tuple[Candidate[Made], str]:
    """The fastest candidate, of equals the first; or one that fits into the budget and is hardly slower. With it, what
    to add to the reason for it."""
    fastest = min(options, key=lambda o: o.cost)
    fitting = [o for o in options if _need(site, o) <= site.budget]
    if fastest in fitting:
        return fastest, ""
    if not fitting:
        return fastest, "; none of its kind fits in less memory"
    other = min(fitting, key=lambda o: o.cost)
    slower = other.cost / fastest.cost
    if slower > SLOWER:
        return fastest, f"; the best that takes less memory is predicted {slower:.2f} times slower"
    saved = _need(site, fastest) - _need(site, other)
    return other, f"; takes {mebibytes(saved)} less than the fastest, predicted {slower:.2f} of its time"


def _need(site: CpuSite, option: Candidate[Made]) -> int:
    return needed(site, option.workspace_bytes, option.scratch_bytes)


def explained(site: CpuSite, selection: Selection) -> Selection:
    """The selection; if it takes more memory than it should, it says how much."""
    workspace = max(typical(c.workspace_bytes) for c in selection.calls)
    need = needed(site, workspace, max(typical(c.kernel.scratch_bytes) for c in selection.calls))
    if need <= site.budget:
        return selection
    over = mebibytes(need - max(0, int(site.budget)))
    text = f"{mebibytes(need)} of workspace and scratch, {over} more than is free with {SHARE:.0%} on top"
    return replace(selection, why=f"{selection.why}; {text}")


def mebibytes(count: float) -> str:
    """Bytes in MiB, for people."""
    return f"{count / 2**20:.2f} MiB"
