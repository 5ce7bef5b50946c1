"""Where the data directories are: beside the package in the source tree, inside it (`_data`) in an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The directory of `cnncc` itself."""


def directory(name: str) -> Path:
    """The directory of `grammars`, `targets` or `models`."""
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name
