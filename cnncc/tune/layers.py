"""The distinct convolutions of a network, each as a network of its own, and the kernels worth trying for it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from cnncc import ops, weights
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.kernels.cpu.algorithms import candidates, find
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import ChoiceKey, Choices, ConvKey, Given, KernelChoice, NodeKey, choice_key, conv_key
from cnncc.machines.targets import Target
from cnncc.module import phases
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.options import DEFAULT, Options

NAME = "conv"
"""Of the convolution in a network of its own."""

WORTH_TRYING = 1.6
"""Candidates predicted slower than the best by more than this factor are not tried."""


@dataclass(frozen=True)
class Setting:
    """What a measurement depends on besides the layer."""

    target: Target
    options: Options
    """Those of the network."""
    weights_stay: bool = False
    """In the last cache from one run to the next; otherwise they are read from memory."""

    @property
    def of_layer(self) -> Options:
        """The options with which a layer is compiled alone: those of the network, but for what no convolution depends
        on. The batch is in the layer's own key, the target in the setting."""
        return replace(
            self.options,
            targets=DEFAULT.targets,
            batch=1,
            threads=self.options.threads or self.target.cores,
            weights_dtype="float32",  # of fc layers
            tune=None,
            keep_all=False,
            stamps=True,
        )


@dataclass(frozen=True)
class Layer:
    """A convolution to be tuned. `pick` is the model's; `candidates` are the others, in the order of trial, each with
    its predicted cycles on one core; `cycles` are predicted of the pick, of all `count` such nodes together."""

    key: ConvKey
    pick: KernelChoice
    candidates: tuple[KernelChoice, ...]
    cycles: float
    count: int = 1


def layers_of(program: CpuProgram, setting: Setting) -> list[Layer]:
    """The distinct convolutions of a program for which there is something to try, those predicted to take most of the
    time first."""
    found: dict[ConvKey, Layer] = {}
    for name, selection in program.selections.items():
        if selection.choice is None:
            continue
        key = _key(program, name)
        if not isinstance(key, ConvKey):
            continue
        if key in found:
            found[key] = replace(found[key], count=found[key].count + 1)
        else:
            found[key] = make_layer(key, selection.choice, setting)
    tried = [layer for layer in found.values() if layer.candidates]
    return sorted(tried, key=lambda layer: -layer.cycles * layer.count)


def unmeasured(program: CpuProgram) -> Choices:
    """The model's picks for nodes that have algorithms but no network of their own: `layer_graph` makes that of a
    conv only. The reason of each says so."""
    found: dict[ChoiceKey, Given] = {}
    for name, selection in program.selections.items():
        if selection.choice is None:
            continue
        key = _key(program, name)
        if isinstance(key, NodeKey):
            found.setdefault(key, Given(selection.choice, f"not measured: tuning makes no network of one {key.op}"))
    return found


def _key(program: CpuProgram, name: str) -> ChoiceKey:
    node = program.graph[name]
    return choice_key(node, [program.graph[source].type for source in node.inputs])


def make_layer(key: ConvKey, pick: KernelChoice, setting: Setting) -> Layer:
    """Ranks the candidates of a convolution by their predicted cycles."""
    options = setting.of_layer
    graph = phases.run(layer_graph(key), setting.target, options, stop_after="assign_layouts").graph
    site = CpuSite(graph, graph[NAME], setting.target, options, {}, weights_stay=setting.weights_stay)
    assert conv_key(site.node, site.type()) == key, "the layer's own network has another convolution"
    ranked = candidates(site)
    predicted = {c.choice: c.cost for c in ranked}
    fastest = ranked[0].cost
    worth = [c.choice for c in ranked if c.cost <= WORTH_TRYING * fastest and c.choice != pick]
    return Layer(key, pick, tuple(leaders_first(worth)), predicted.get(pick, fastest))


def leaders_first(ranked: list[KernelChoice]) -> list[KernelChoice]:
    """The best of each kind first, then the others in order: neighbours in the ranking differ in little, and what the
    model gets wrong is more likely the kind."""
    leaders: dict[Hashable, KernelChoice] = {}
    for choice in ranked:
        leaders.setdefault(kind(choice), choice)
    first = list(leaders.values())
    return [*first, *(choice for choice in ranked if choice not in set(first))]


def kind(choice: KernelChoice) -> Hashable:
    """What tells candidates apart roughly."""
    return find(choice.algorithm).kind(choice)


def layer_program(key: ConvKey, choice: KernelChoice, setting: Setting) -> CpuProgram:
    """The network of one convolution, computed as chosen, with stamps."""
    source = weights.bind(layer_graph(key), seed=0)
    given: Choices = {key: Given(choice, "a candidate")}
    return lower(source, setting.target, replace(setting.of_layer, batch=key.source[0]), given)


def layer_graph(key: ConvKey) -> Graph:
    """input, relu, conv + relu; the first relu leaves the image in the layout, and in the caches, as a layer before
    would. A conv that reads a plain image reads the input itself."""
    n, c, h, w = key.source
    image = TensorType((n, c, h, w))
    nodes = [Node("image", "input", (), image, ops.complete("input", {"dims": (c, h, w), "batch": n}))]
    if key.block > 1:
        nodes.append(Node("before", "relu", ("image",), image))
    attrs = {
        **{"out": key.result[1], "kernel": key.kernel, "stride": key.stride, "pad": key.pad},
        **{"dilation": key.dilation, "groups": key.groups, "bias": True, "rounding": "floor"},
        "epilogue": (("relu", ()),),
    }
    slots = {"weight": (key.result[1], c // key.groups, *key.kernel), "bias": (key.result[1],)}
    names = {slot: f"{NAME}.{slot}" for slot in slots}
    nodes.append(Node(NAME, "conv", (nodes[-1].name,), TensorType(key.result), attrs, names))
    graph = Graph("layer", tuple(nodes), (NAME,), {names[slot]: Constant(shape) for slot, shape in slots.items()})
    ops.verify(graph)
    return graph
