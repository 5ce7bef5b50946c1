"""Run commands in this process and look at what they print."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cnncc.cli import main


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The first line on standard error that is no warning."""
        return next(line for line in self.err.splitlines() if "warning:" not in line)

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cnncc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`cnncc("summary", "-", stdin=text)` as the command line would do it."""

    def run(*argv: object, stdin: str = "") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        try:
            code = main([str(arg) for arg in argv])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return run
