"""Which file a name means: networks of the zoo by their bare name, weights beside their network."""

from __future__ import annotations

import os
from pathlib import Path

from cnncc.base.errors import CnnccError
from cnncc.base.resources import directory


def find_net(name: str | os.PathLike[str]) -> str:
    """The path for what the user called NET: a bare name that is no file here means a network of the zoo."""
    text = os.fspath(name)
    zoo = directory("models") / f"{text}.net"
    bare = "/" not in text and "\n" not in text and not Path(text).exists()
    return str(zoo) if bare and zoo.is_file() else text


def find_weights(net: str | os.PathLike[str], given: str | os.PathLike[str] | None) -> str | None:
    """The weights file to use: the one given, else the one beside the network with its name, else none (seeded).
    CnnccError if that one is a link out of the network's folder: nobody has said that such a file is meant."""
    if given is not None:
        return os.fspath(given)
    found = find_net(net)
    if found == "-" or "\n" in found:
        return None
    beside = Path(found).with_suffix(".safetensors")
    if not beside.is_file():
        return None
    if not beside.resolve().is_relative_to(beside.parent.resolve()):
        raise CnnccError(
            f"{beside} is a link out of its folder, to {beside.resolve()}", hint=f"if you mean it: --weights {beside}"
        )
    return str(beside)
