"""Where the data directories are: beside the package in the source tree, inside it (`_data`) in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """The directory of `grammars`, `targets` or `models`."""
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
