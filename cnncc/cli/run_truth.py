"""How often `cnncc run` is right, on images whose class is known: by the folder that each lies in, or by a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.base.errors import CnnccError, nearest, reason
from cnncc.cli import run_results, screen

if TYPE_CHECKING:
    import numpy as np

    from cnncc.cli.run_files import InputFiles
    from cnncc.cli.run_results import Labels
    from cnncc.runtime.model import Model

ROW = "a row has a file and its class: 7_a.png,7"
SEVERAL = 5
"""Of so many best classes one may be right."""

Truth = Mapping[str, int]
"""The class of each image, by its file."""


def read_truth(table: str | None, sources: Sequence[InputFiles], labels: Labels) -> Truth:
    """From a table; without one from the names of folders, where each is that of a class; else empty. CnnccError for a
    table that cannot be read, that lacks an image, or that names no class."""
    if table is None:
        return _of_folders(sources, labels)
    known = {name: _class_of(name, told, table, labels) for name, told in _rows(table).items()}
    files = [source.files[0] for source in sources]
    names = Counter(Path(file).name for file in files)
    found = {}
    for file in files:
        name = Path(file).name
        if file not in known and name in known and names[name] > 1:
            hint = f"name each by its path, as in {file}"
            raise CnnccError(f"{table} names {name}, and there are {names[name]} files of that name", hint=hint)
        if file not in known and name not in known:
            raise CnnccError(f"{table} has no class for {file}", hint=ROW)
        found[file] = known[file] if file in known else known[name]
    return found


def _of_folders(sources: Sequence[InputFiles], labels: Labels) -> Truth:
    """As in torchvision's ImageFolder, whose folders have the names of classes."""
    known = {name: i for i, name in enumerate(labels or ())}
    above = {source.files[0]: Path(source.files[0]).parent.name for source in sources}
    named = known and all(source.from_folder for source in sources) and set(above.values()) <= known.keys()
    return {file: known[name] for file, name in above.items()} if named else {}


def _rows(table: str) -> dict[str, str]:
    """File and class of each row, without a heading."""
    try:
        with Path(table).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise CnnccError(f"cannot read {table}: {reason(error)}") from error
    except (ValueError, csv.Error) as error:
        raise CnnccError(f"{table} is no table of text: {error}") from error
    if rows and rows[0][1][0].strip().lower() == "file":
        del rows[0]
    for line, row in rows:
        if len(row) != 2:
            raise CnnccError(f"{table}:{line}: {len(row)} cells in this row", hint=ROW)
    found: dict[str, str] = {}
    for line, (name, told) in rows:
        if found.setdefault(name, told.strip()) != told.strip():
            raise CnnccError(f"{table}:{line}: {name} is of class {found[name]} above, and of {told.strip()} here")
    return found


def _class_of(file: str, told: str, table: str, labels: Labels) -> int:
    """By name, or by number from 0 on."""
    if labels is not None and told in labels:
        return labels.index(told)
    if told.isascii() and told.isdecimal():
        return int(told)
    hint = nearest(told, labels) if labels else "classes are numbers from 0 on, or names of --labels"
    raise CnnccError(f"{table}: no class {told!r}, of {file}", hint=hint)


@dataclass
class Score:
    """How often a network is right, first and among the best few, and where it is not."""

    what: str
    images: int = 0
    first: int = 0
    among: int = 0
    answers: list[int] = field(default_factory=list)

    def add(self, best: Sequence[int], truth: int) -> None:
        """The best classes of one image."""
        self.images += 1
        self.first += int(best[0] == truth)
        self.among += int(truth in best)
        self.answers.append(best[0])

    def to_json(self) -> dict[str, Any]:
        return {"network": self.what, "images": self.images, "top1": self.first, f"top{SEVERAL}": self.among}


class Judge:
    """Compares what a network says with what is true, and, if it computes on bytes, with what it says in float32."""

    def __init__(self, truth: Truth, model: Model, exact: Model | None) -> None:
        positions = [i for i, port in enumerate(model.outputs) if run_results.is_scores(port)]
        if not positions:
            raise CnnccError(f"{model.name} gives no scores of classes: there is nothing to be right about")
        self.truth = truth
        self.position = positions[0]
        self.port = model.outputs[self.position]
        file, most = max(truth.items(), key=lambda pair: pair[1])
        if most >= self.port.shape[1]:
            what = f"class {most}, of {file}: {model.name} has {self.port.shape[1]} classes"
            raise CnnccError(what, hint="classes are numbered from 0 on")
        self.exact = exact
        self.scores = [Score("on bytes" if exact else "network")] + ([Score("float32")] if exact else [])

    def add(self, files: Sequence[tuple[str, ...]], arrays: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
        """A portion of images: their files, what the network got, and what it gave."""
        results = [found]
        if self.exact is not None:
            exact = self.exact.run_many(*arrays)
            results.append(exact if isinstance(exact, tuple) else (exact,))
        for score, outputs in zip(self.scores, results, strict=True):
            for names, values in zip(files, outputs[self.position], strict=True):
                if names[0] not in self.truth:
                    raise CnnccError(f"{names[0]}: one file holds several images, and its class is one")
                score.add(run_results.best_of(self.port, values, SEVERAL), self.truth[names[0]])

    def to_json(self) -> dict[str, Any]:
        """Plain data; the answers that bytes and float32 have in common, where both ran."""
        return {"scores": [score.to_json() for score in self.scores], **self._agreement()}

    def _agreement(self) -> dict[str, int]:
        if self.exact is None:
            return {}
        ours, exact = (score.answers for score in self.scores)
        return {"same": sum(a == b for a, b in zip(ours, exact, strict=True))}

    def show(self) -> None:
        """For people."""
        for score in self.scores:
            share = f"{score.first} of {score.images} right ({score.first / max(1, score.images):.1%})"
            screen.print_field(score.what, f"{share}, {score.among} among the best {SEVERAL}")
        for same in self._agreement().values():
            screen.print_field("same answer", f"{same} of {self.scores[0].images}")
