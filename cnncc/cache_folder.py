"""Where what took long to make is kept, to be taken again or made anew: nothing is lost if it is removed."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$CNNCC_CACHE, else the user's cache folder."""
    chosen = os.environ.get("CNNCC_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cnncc"
