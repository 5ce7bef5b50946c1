"""Tables that are spread over the files of a package: a new file is a new entry, without a list of them all."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def modules(package: ModuleType, without: tuple[str, ...] = ()) -> Iterator[ModuleType]:
    """The modules of a package by name, without its own packages."""
    for found in pkgutil.iter_modules(package.__path__):
        if not found.ispkg and found.name not in without:
            yield importlib.import_module(f"{package.__name__}.{found.name}")


def gathered(package: ModuleType, table: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The entries of all tables of one name in the modules of a package. AssertionError if two have the same key."""
    found: dict[str, Any] = {}
    for module in modules(package, without):
        entries = getattr(module, table, {})
        twice = found.keys() & entries.keys()
        assert not twice, f"{module.__name__}.{table}: {', '.join(sorted(twice))} is in another file too"
        found |= entries
    return found
