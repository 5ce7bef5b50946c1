"""What the tests of servers share: the examples of servers, and a request to one."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

import pytest
from pages import ROOT

for package in ("aiohttp", "fastapi", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed: make test-serve")
sys.path.insert(0, str(ROOT / "examples/serve"))
import load  # noqa: E402
import measure  # noqa: E402

__all__ = ["NET", "ask", "load", "measure"]

NET = "net small\ninput 2x7x9\nconv 3x3 8 relu\ngap\nfc 5\nscores: softmax\n"


def ask(url: str, body: bytes | None = None, kind: str = "application/octet-stream") -> tuple[int, bytes]:
    """Status and body of an answer."""
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
