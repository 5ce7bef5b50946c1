"""Weights beside a network are found; links out of its folder are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncc.base.errors import CnnccError
from cnncc.frontends.locate import find_weights


def test_weights_beside_a_network(tmp_path: Path) -> None:
    net = tmp_path / "t.net"
    assert find_weights(net, None) is None
    assert find_weights(net, "given") == "given"
    assert find_weights("-", None) is None
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "t.safetensors").symlink_to("real")
    assert find_weights(net, None) == str(tmp_path / "t.safetensors")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    folder = tmp_path / "nets"
    folder.mkdir()
    beside = folder / "t.safetensors"
    beside.symlink_to("../secret")
    with pytest.raises(CnnccError) as caught:
        find_weights(folder / "t.net", None)
    assert caught.value.message == f"{beside} is a link out of its folder, to {tmp_path / 'secret'}"
    assert caught.value.hint == f"if you mean it: --weights {beside}"
    assert find_weights(folder / "t.net", beside) == str(beside)
