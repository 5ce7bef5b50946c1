"""A compiled network as the files that most tests of modules want."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cnncc.module.built import Built


def write_shared(build: Built[Any], path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Writes the shared object, weights inside, and its header beside it. Their paths."""
    written = build.write({"so": Path(path), "h": Path(path).with_suffix(".h")})
    return written["so"], written["h"]
