"""The arms of a concat that are copied to their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnncc.kernels.shared.spec import Site
from cnncc.machines import Machine


def copied_arms(site: Site[Machine], copies: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """The arms of a concat at these positions: name, channels, and where in the result they go."""
    at = 0
    for i, arm in enumerate(site.node.inputs):
        channels = site.graph[arm].type.shape[1]
        if i in copies:
            yield arm, channels, at
        at += channels
