"""The source line and the carets below it, as a terminal shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncc import lang
from cnncc.base.errors import LINE_WIDTH, CnnccError, Span, caret_lines


def carets(text: str, column: int, length: int = 1) -> list[str]:
    return caret_lines(Span("t.net", 1, column, length, text))


CASES = [
    ("conv 3x3 4", 6, 3, ["  | conv 3x3 4", "  |      ^^^"]),
    ("\ta\tbc", 4, 2, ["  | \ta\tbc", "  | \t \t^^"]),
    ("a\x00\x1b[31m\x9b b", 10, 1, ["  | a??[31m? b", "  |          ^"]),
    ("\x7f\u202e\u200b x", 5, 1, ["  | ??? x", "  |     ^"]),
    ("\u65e5\u672c x\u8a9e", 4, 2, ["  | \u65e5\u672c x\u8a9e", "  |      ^^^"]),
    ("e\u0301 x", 4, 1, ["  | e\u0301 x", "  |   ^"]),
    ("ab", 3, 1, ["  | ab", "  |   ^"]),
    ("ab", 1, 99, ["  | ab", "  | ^^"]),
]


@pytest.mark.parametrize(("text", "column", "length", "lines"), CASES)
def test_carets_are_below_the_span(text: str, column: int, length: int, lines: list[str]) -> None:
    assert carets(text, column, length) == lines


@pytest.mark.parametrize("at", [1, 40, 50, 51, 52, 500, 949, 950, 951, 999, 1000])
def test_long_lines_are_cut_around_the_span(at: int) -> None:
    text = "".join("X" if i == at - 1 else "-" for i in range(1000))
    shown, below = carets(text, at)
    assert below.index("^") == shown.index("X")
    assert len(shown) <= len("  | ") + LINE_WIDTH + 2 * len("...")
    assert shown.startswith("  | ...") == (at > 51)
    assert shown.endswith("...") == (at <= 950)


def test_a_long_span_is_cut_with_its_line() -> None:
    assert carets("-" * 1000, 501, 400) == [f"  | ...{'-' * 100}...", f"  |    {' ' * 50}{'^' * 50}"]


def test_tabs_and_control_characters_in_a_long_line() -> None:
    shown, below = carets("\t\x01" * 500, 502)
    assert shown == "  | ..." + "?\t" * 50 + "..."
    assert below == "  |    " + " \t" * 25 + "^"


def test_a_binary_file_leaves_the_terminal_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    path.write_bytes(bytes(range(128)).replace(b"\n", b"") * 100 + b"\xff")
    with pytest.raises(CnnccError, match="byte 0xff is no UTF-8 text") as caught:
        lang.read(path)
    lines = str(caught.value).split("\n")
    assert len(lines) == 4
    assert max(map(len, lines[1:3])) <= 110
    assert all(c == "\t" or c.isprintable() for line in lines for c in line.removeprefix(str(path)))
