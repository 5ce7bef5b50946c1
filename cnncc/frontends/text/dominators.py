"""Which values lie on every way to a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Flow = Mapping[str, Sequence[str]]
"""Value -> the values before it. Each comes after those; the first has none before it."""


def immediate_dominators(flow: Flow) -> dict[str, str]:
    """For each value but the first, the last other value that lies on every way from the first one to it. What cannot
    be reached from the first is left out.

    Source: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm" (2001). Without circles one round suffices."""
    first, *others = flow
    position = {name: i for i, name in enumerate(flow)}
    found = {first: first}

    def common(one: str, other: str) -> str:
        while one != other:
            if position[one] < position[other]:
                other = found[other]
            else:
                one = found[one]
        return one

    for name in others:
        reached = [before for before in flow[name] if before in found]
        if reached:
            nearest = reached[0]
            for before in reached[1:]:
                nearest = common(nearest, before)
            found[name] = nearest
    del found[first]
    return found


def turned(flow: Flow) -> dict[str, list[str]]:
    """The same with all ways turned round."""
    found: dict[str, list[str]] = {name: [] for name in reversed(list(flow))}
    for name, sources in flow.items():
        for source in sources:
            found[source].append(name)
    return found
