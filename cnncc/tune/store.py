"""What was measured, on disk: a file for each layer, target and number of threads. Damaged ones are ignored.

While a script has added ops, it is kept in memory, as objects are (`cnncc.module.cache`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cnncc import ops
from cnncc.base.cache_folder import read_private, write_private
from cnncc.base.errors import CnnccError
from cnncc.kernels.cpu.algorithms import find
from cnncc.module import cache
from cnncc.module.keys import compiler_digest
from cnncc.tune.layers import Layer, Setting
from cnncc.tune.search import Found


@dataclass(frozen=True)
class Entry:
    """A result and the seconds that were set aside for it."""

    found: Found
    budget: float


_in_memory: dict[Path, Entry] = {}


def path_of(layer: Layer, setting: Setting) -> Path:
    """The file of a layer: one for all that decides what would be measured."""
    t = setting.target
    machine = (t.triple, t.cpu, t.features, t.block, t.l3_bytes, setting.weights_stay)
    # What the bound leaves to try counts, not the bound.
    options = replace(setting.of_layer(layer.key.op), max_error=0.0).key()
    everything = (compiler_digest(), layer.key, layer.pick, layer.candidates, machine, options)
    return cache.directory() / "tuned" / f"{hashlib.sha256(repr(everything).encode()).hexdigest()}.json"


def read(path: Path) -> Entry | None:
    """The entry of a file; None where there is none, or it is damaged."""
    if path in _in_memory:
        return _in_memory[path]
    try:
        data = json.loads(read_private(path) or b"")
        body, digest = data["body"], data["sha256"]
    except (ValueError, TypeError, KeyError):
        return None
    return _entry(body) if digest == _digest(body) else None


def write(path: Path, entry: Entry) -> None:
    """Stores an entry whole or not at all. A cache that cannot be written is no error: the next run measures again."""
    if ops.ADDED:
        _in_memory[path] = entry
        return
    body = asdict(entry)
    write_private(path, json.dumps({"sha256": _digest(body), "body": body}, indent=1))


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _entry(body: dict[str, Any]) -> Entry | None:
    """None for a choice of an algorithm that is not there: it may have been added at run time."""
    found = dict(body["found"])
    stored = found.pop("choice")
    try:
        choice = find(stored["algorithm"]).restored(stored)
    except CnnccError:
        return None
    return Entry(Found(choice=choice, **found), body["budget"])
