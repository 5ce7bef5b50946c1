"""What was measured, on disk: a file for each layer, target and number of threads. Damaged ones are ignored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnncc.base.cache_folder import read_private, write_private
from cnncc.kernels.cpu.tiles import Tile
from cnncc.kernels.shared.choices import Choice, ConvKey, DirectChoice, WinogradChoice
from cnncc.module import cache
from cnncc.module.keys import compiler_digest
from cnncc.tune.layers import Setting
from cnncc.tune.search import Found


@dataclass(frozen=True)
class Entry:
    """A result and the seconds that were set aside for it."""

    found: Found
    budget: float


def path_of(key: ConvKey, pick: Choice, setting: Setting) -> Path:
    """The file of a layer: one for all that decides what would be measured."""
    t = setting.target
    machine = (t.triple, t.cpu, t.features, t.block, t.l3_bytes, setting.weights_stay)
    everything = (compiler_digest(), key, pick, machine, setting.of_layer.key())
    return cache.directory() / "tuned" / f"{hashlib.sha256(repr(everything).encode()).hexdigest()}.json"


def read(path: Path) -> Entry | None:
    """The entry of a file; None where there is none, or it is damaged."""
    try:
        data = json.loads(read_private(path) or b"")
        body, digest = data["body"], data["sha256"]
    except (ValueError, TypeError, KeyError):
        return None
    return _entry(body) if digest == _digest(body) else None


def write(path: Path, entry: Entry) -> None:
    """Stores an entry whole or not at all. A cache that cannot be written is no error: the next run measures again."""
    body = asdict(entry)
    body["found"]["algorithm"] = "direct" if isinstance(entry.found.choice, DirectChoice) else "winograd"
    write_private(path, json.dumps({"sha256": _digest(body), "body": body}, indent=1))


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _entry(body: dict[str, Any]) -> Entry:
    found = dict(body["found"])
    choice = found.pop("choice")
    if found.pop("algorithm") == "direct":
        made: Choice = DirectChoice(**{**choice, "tile": Tile(**choice["tile"])})
    else:
        made = WinogradChoice(**choice)
    return Entry(Found(choice=made, **found), body["budget"])
