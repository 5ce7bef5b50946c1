"""Target files: `targets/NAME.toml` says what one machine has, and its `format` which form the file has."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from cnncc.base import resources
from cnncc.base.errors import CnnccError, nearest
from cnncc.machines.units import read_units


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Form = TypeVar("Form", bound=_Dataclass)

HOST = "host"
"""The name of this machine, which has no file."""


def names(*formats: str) -> list[str]:
    """The targets with a file whose format is one of these."""
    return sorted(path.stem for path in _files() if _read(path).get("format") in formats)


def read(name: str) -> dict[str, Any]:
    """What the file of a target says, by key, and its `name`. CnnccError for an unknown one."""
    path = resources.directory("targets") / f"{name}.toml"
    if not path.is_file():
        raise CnnccError(f"unknown target {name!r}", hint=nearest(name, [HOST, *(p.stem for p in _files())]))
    return {"name": name, **_read(path)}


def fill(form: type[Form], data: dict[str, Any]) -> Form:
    """A machine of what its file says. CnnccError if the keys are not the fields of the form, or a number is none."""
    wrong = sorted({f.name for f in fields(form)} ^ data.keys())
    if wrong:
        raise CnnccError(f"{data['name']}.toml: missing or unknown keys: {', '.join(wrong)}")
    _refuse_numbers(form, data)
    if "units" in data:
        data = {**data, "units": read_units(f"{data['name']}.toml", data["units"], data["vector_bits"])}
    return form(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def _refuse_numbers(form: type[_Dataclass], data: dict[str, Any]) -> None:
    """CnnccError for a size, a count or a speed that is not above 0."""
    for field in fields(form):
        value, kinds = data[field.name], {"int": (int,), "float": (int, float)}.get(str(field.type))
        if kinds and (type(value) not in kinds or not value > 0):
            kind = "whole number" if kinds == (int,) else "number"
            raise CnnccError(f"{data['name']}.toml: {field.name}: must be a {kind} above 0, got {value!r}")


def _files() -> list[Path]:
    return sorted(resources.directory("targets").glob("*.toml"))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CnnccError(f"{path}: not a readable target file: {error}") from error
