"""What of a model cannot be converted: collected while it is read, told all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.tensors import one_line
from cnncc.frontends.onnx.values import Unsupported

MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError),
    *(StopIteration, TypeError, ValueError),
)
"""What is raised for want of a check."""
MOST = 40
"""Faults that a message tells."""
SIMPLER = "what can be converted: docs/import.md; models can be simplified with tools such as onnxsim"


class NotImported(CnnccError):
    """A model that cannot be converted; `constants` are tensors that would have to be known."""

    def __init__(self, message: str, constants: Iterable[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.constants = frozenset(constants)


class Faults:
    """Lines that each say where something is wrong, and what. With `strict` an exception that is a mistake of ours
    passes: tests and fuzzers want to see it. `hint` says what to do about them."""

    def __init__(self, strict: bool, hint: str = SIMPLER) -> None:
        self.strict = strict
        self.hint = hint
        self.lines: list[str] = []
        self.reasons: list[str] = []
        """The same without the places."""
        self.wanted: set[str] = set()
        """Tensors that would have to be known."""

    def add(self, where: str, error: Unsupported) -> None:
        self.lines.append(f"{where}: {error.message}")
        self.reasons.append(error.message)
        self.wanted |= error.constants

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Notes what is raised inside."""
        try:
            yield
        except Unsupported as error:
            self.add(where, error)
        except MISTAKES as error:
            if self.strict:
                raise
            what = f"{type(error).__name__}: {one_line(error)}"
            self.add(where, Unsupported(f"a mistake of cnncc ({what}); please report it with the model"))

    def refuse(self) -> None:
        """NotImported if there are any."""
        if not self.lines:
            return
        if len(self.lines) == 1:
            raise NotImported(f"the model cannot be converted: {self.lines[0]}", self.wanted, self.hint)
        more = [f"  and {len(self.lines) - MOST} more"] if len(self.lines) > MOST else []
        told = [f"  {line}" for line in self.lines[:MOST]]
        heading = f"the model has {len(self.lines)} nodes that cannot be converted:"
        raise NotImported("\n".join([heading, *told, *more]), self.wanted, self.hint)
