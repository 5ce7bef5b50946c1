"""Names for lines, blocks and values, out of the names a model has for its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from cnncc.frontends.text.parts import Part, Run
from cnncc.ir import Graph
from cnncc.lang.forms import FORMS, RESERVED
from cnncc.ops import traits
from cnncc.ops.traits import Kind

GENERATED = re.compile(r"[/.:_]*[A-Z][A-Za-z]*(_\d+)?_(output|out)_?\d*$")
"""How PyTorch's exporter ends the name of a result: /layer1/conv1/Conv_output_0."""
WEIGHT = re.compile(r"([._/](weight|kernel|filter|w|W|s|scale|gamma))?([_:/](\d+|read|Read\w*|resource|Cast|Conv2D))*$")
"""How names of weights end: .weight, /kernel:0, _w_0."""
OURS = re.compile(rf"(\.({'|'.join(sorted(word for word, form in FORMS.items() if form.chains))}))*:weight$")
"""How the name of a quantised weight ends that we export: fc.softmax:weight. The words are ops behind the layer."""
MOVES = "view|reshape|permute|transpose|expand|squeeze|unsqueeze"
"""What PyTorch calls tensors that it has moved: weights that it computes of others, as standardised ones, are such."""
MADE_UP = re.compile(rf"^$|^\W*\d+$|onnx::|^(Constant|const|val|t|r|v)_?\d+$|_output_\d+$|^({MOVES})(_\d+)*$")
"""Names of tensors that say nothing of the layer."""
SHORTEST = 3
"""Characters of a label: shorter ones are those of arms."""


class Labels:
    """Gives labels, each once. A layer is called after its weights, where those have a name of their own."""

    def __init__(self, graph: Graph, sources: Mapping[str, str]) -> None:
        self.layers = {n.name: layer(sources.get(next(iter(n.weights.values()), ""), "")) for n in graph.nodes}
        told = [name for name in self.layers.values() if name]
        cleaned = told or [clean(n.name) for n in graph.nodes if traits(n).kind not in (Kind.INPUT, Kind.CONSTANT)]
        directory = prefix(cleaned).rpartition("/")[0]
        self.common = f"{directory}/" if directory and len(cleaned) > 1 else ""
        self.taken = {part for n in graph.inputs for part in (n.name, n.name.partition(".")[0])}
        """Names that mean something in the text already: inputs, which keep theirs, and paths that begin like them."""

    def local(self, name: str) -> str:
        """A name without what all have in common."""
        return clean(name).removeprefix(self.common)

    def stem(self, names: Sequence[str]) -> str:
        """What names begin with, up to the end of a word; of one name, the name."""
        told = [name for n in names if (name := self.layers.get(n))]
        known = [name.removeprefix(self.common) for name in told] or [
            self.local(n) for n in names if not MADE_UP.search(clean(n))
        ]
        shared = prefix(known)
        if any(len(n) > len(shared) and n[len(shared)].isalnum() for n in known):
            shared = re.sub(r"[^/._:]*$", "", shared)
        return shared

    def label(self, names: Sequence[str]) -> str:
        """A new label for what computes values of these names; none if they say nothing."""
        text = word(self.stem(names))
        if len(text) < SHORTEST or text in self.taken or text in RESERVED:
            return ""
        self.taken.add(text)
        return text

    def value(self, name: str) -> str:
        """A new name for a value."""
        text = word(self.local(name)) or "value"
        text = text if len(text) >= SHORTEST and text not in RESERVED else f"value_{text}"
        number, chosen = 2, text
        while chosen in self.taken:
            number, chosen = number + 1, f"{text}_{number}"
        self.taken.add(chosen)
        return chosen

    def block(self, spots: Sequence[Run]) -> str:
        """A name for a block: what the names of its uses begin with, or what it is."""
        stems = [self.stem([n for part in spot.parts for n in part.made]) for spot in spots]
        shared = re.match(r"[A-Za-z]*", word(prefix(stems)))
        name = shared.group().lower() if shared else ""
        if len(name) >= SHORTEST and name not in RESERVED and all(stems):
            return name
        return kind(spots[0].parts)


def prefix(texts: Sequence[str]) -> str:
    """The characters that all texts begin with."""
    equal = takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return "".join(column[0] for column in equal)


def kind(spot: Sequence[Part]) -> str:
    """What a piece of a network is called by its form."""
    heads = [part.phrases[0][0] for part in spot]
    convs = sum(1 for part in spot for arm in part.arms or () for p in arm for ws in p.phrases if "conv " in str(ws[0]))
    if "add" in heads:
        return "bottleneck" if convs > 2 else "residual"
    if "concat" in heads:
        return "dense" if any(not arm for part in spot for arm in part.arms or ()) else "inception"
    if any(str(head).startswith("dwconv") for head in heads):
        return "separable"
    return "unit"


def layer(source: str) -> str:
    """The layer that a tensor is the weight of, by the tensor's name; nothing if an exporter has made it up."""
    return "" if MADE_UP.search(source) else WEIGHT.sub("", OURS.sub("", source)).strip("/")


def clean(name: str) -> str:
    """A tensor's name without what an exporter has added to its end."""
    return GENERATED.sub("", name).strip("/")


def word(text: str) -> str:
    """Letters, digits and underscores, beginning with a letter."""
    return re.sub(r"^[\d_]+", "", re.sub(r"[^A-Za-z0-9_]+", "_", text)).strip("_")
