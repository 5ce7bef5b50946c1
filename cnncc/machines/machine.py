"""What the compiler asks of anything it makes code for."""

from __future__ import annotations

from typing import Protocol

from cnncc.base.elements import Element
from cnncc.options import Options


class Machine(Protocol):
    """A processor (`cnncc.machines.targets`) or a GPU (`cnncc.machines.gpus`)."""

    @property
    def name(self) -> str:
        """The target's: of its file, or `host`."""

    @property
    def format(self) -> str:
        """What a module is: `elf`, `wasm` or `cuda`. `cnncc.module.backends` has what makes each of them."""

    @property
    def block(self) -> int:
        """Channels per block of the NCHWc layout, of float32."""

    def block_of(self, element: Element) -> int:
        """The same of values of another type."""

    @property
    def align(self) -> int:
        """Bytes, at multiples of which everything in memory begins."""

    @property
    def cores(self) -> int:
        """Threads of a run, if nobody says how many."""

    @property
    def images_apart(self) -> bool:
        """Whether each image of a batch has a part of the arena for itself, so that a run may have fewer images."""

    def check(self, options: Options) -> None:
        """CnnccError for options that the machine cannot do."""

    def unfit(self) -> str:
        """Why this machine cannot run code for the target, as far as that is known before; empty if it can."""
