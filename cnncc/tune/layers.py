"""The distinct layers of a network whose op has algorithms, each as a network of its own, and the kernels worth trying
for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from cnncc import ops, weights
from cnncc.base.elements import BFLOAT16, ELEMENTS
from cnncc.ir import Constant, Graph, Node, TensorType
from cnncc.kernels.cpu.algorithms import candidates, find
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import ChoiceKey, Choices, Given, KernelChoice, NodeKey, choice_key
from cnncc.machines.targets import Target
from cnncc.module import phases
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.ops.traits import PostOps
from cnncc.options import DEFAULT, Options
from cnncc.passes.assign_layouts import RELAYOUT

NAME = "layer"
"""Of the layer in a network of its own."""

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

    def of_layer(self, op: str) -> Options:
        """The options with which a layer of this op is compiled alone: those of the network, but for what it does not
        depend on. The batch is in the layer's own key, the target in the setting."""
        return replace(
            self.options,
            targets=DEFAULT.targets,
            batch=1,
            threads=self.options.threads or self.target.cores,
            weights_dtype=self.options.weights_dtype if ops.TABLE[op].traits.half_weights else "float32",
            tune=None,
            keep_all=False,
            stamps=True,
        )


@dataclass(frozen=True)
class Layer:
    """A layer to be tuned. `pick` is the model's; `candidates` are the others, in the order of trial, each with
    its predicted cycles on one core; `cycles` are predicted of the pick, of all `count` such nodes together."""

    key: ChoiceKey
    pick: KernelChoice
    candidates: tuple[KernelChoice, ...]
    cycles: float
    count: int = 1


def layers_of(program: CpuProgram, setting: Setting) -> list[Layer]:
    """The distinct layers of a program for which there is something to try, those predicted to take most of the time
    first."""
    found: dict[ChoiceKey, Layer | None] = {}
    counts: Counter[ChoiceKey] = Counter()
    for key, pick in _chosen(program):
        counts[key] += 1
        if key not in found:
            found[key] = make_layer(key, pick, setting)
    tried = [replace(layer, count=counts[key]) for key, layer in found.items() if layer and layer.candidates]
    return sorted(tried, key=lambda layer: -layer.cycles * layer.count)


def unmeasured(program: CpuProgram, setting: Setting) -> Choices:
    """The model's picks for layers that would not be the same alone: another pass fits there. The reason of each says
    so."""
    picks = {key: pick for key, pick in _chosen(program) if alone(key, setting) is None}
    return {
        key: Given(pick, f"not measured: alone, this {key.op} would be another node") for key, pick in picks.items()
    }


def _chosen(program: CpuProgram) -> Iterator[tuple[ChoiceKey, KernelChoice]]:
    """The key and choice of every node that was chosen for."""
    for name, selection in program.selections.items():
        if selection.choice is not None:
            node = program.graph[name]
            yield choice_key(node, [program.graph[source].type for source in node.inputs]), selection.choice


def alone(key: ChoiceKey, setting: Setting) -> CpuSite | None:
    """The layer in its own network; None if the passes make another node of it there."""
    options = setting.of_layer(key.op)
    graph = phases.run(layer_graph(key), setting.target, options, stop_after="assign_layouts").graph
    if NAME not in graph.by_name:
        return None
    site = CpuSite(graph, graph[NAME], setting.target, options, weights_stay=setting.weights_stay)
    types = [graph[name].type for name in site.node.inputs]
    return site if choice_key(site.node, types) == key else None


def make_layer(key: ChoiceKey, pick: KernelChoice, setting: Setting) -> Layer | None:
    """Ranks the candidates of a layer by their predicted cycles; None if it would not be the same alone."""
    site = alone(key, setting)
    if site is None:
        return None
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


def layer_program(key: ChoiceKey, choice: KernelChoice, setting: Setting) -> CpuProgram:
    """The network of one layer, computed as chosen, with stamps."""
    source = weights.bind(layer_graph(key), seed=0)
    given: Choices = {key: Given(choice, "a candidate")}
    batch = _as_node(key).result.shape[0]
    return lower(source, setting.target, replace(setting.of_layer(key.op), batch=batch), given)


def layer_graph(key: ChoiceKey) -> Graph:
    """input, relu, layer + relu; a relu leaves what it reads in the layout, and in the caches, as a layer before would.
    What the layer reads in no blocks is an input itself. Values are random, around 0."""
    of = _as_node(key)
    made = _Network()
    inputs = [made.source(f"in{i}", source, of.result.shape[0]) for i, source in enumerate(of.sources)]
    attrs = dict(of.attrs)
    if ops.TABLE[of.op].traits.post_ops is not PostOps.NONE:
        attrs["epilogue"] = (("relu", ()),)
    made.add(Node(NAME, of.op, tuple(inputs), of.result.with_block(1), attrs), of.sources)
    graph = Graph("layer", tuple(made.nodes), (NAME,), made.constants)
    ops.verify(graph)
    return graph


class _Network:
    """The nodes of a layer's network so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Constant] = {}

    def source(self, name: str, kind: TensorType, batch: int) -> str:
        """The name of a value of this type. One that all images share is a constant, as only those are."""
        shape, plain = kind.shape, TensorType(kind.shape)
        if shape[0] < batch:
            self.add(Node(name, "const", (), plain, ops.complete("const", {"dims": shape[1:]})))
        else:
            self.add(Node(name, "input", (), plain, ops.complete("input", {"dims": shape[1:], "batch": batch})))
        last = name
        if kind.block > 1:
            last = self.add(Node(f"{name}.before", "relu", (name,), plain))
        if kind.element == BFLOAT16:
            cast = Node(f"{name}.cast", "cast", (last,), kind.with_block(1), {"to": kind.element.name})
            last = self.add(cast)
        return last if kind.block == 1 else self.add(Node(f"{name}.laid", RELAYOUT, (last,), kind))

    def add(self, node: Node, sources: Sequence[TensorType] = ()) -> str:
        """Adds the node with the constants in its slots. Its name."""
        slots = ops.TABLE[node.op].weights(tuple(s.shape for s in sources), node.attrs)
        names = {slot: f"{node.name}.{slot}" for slot in slots}
        self.constants |= {names[slot]: Constant(shape) for slot, shape in slots.items()}
        self.nodes.append(node.with_(weights=names))
        return node.name


def _as_node(key: ChoiceKey) -> NodeKey:
    """The key with all attributes. Convolutions that differ in their bias only have one key: here they have it."""
    if isinstance(key, NodeKey):
        return key
    attrs = {"kernel": key.kernel, "stride": key.stride, "pad": key.pad, "dilation": key.dilation}
    full = ops.complete("conv", {"out": key.result[1], "groups": key.groups, "bias": True, **attrs})
    element = ELEMENTS[key.element]
    source, result = (TensorType(shape, element=element) for shape in (key.source, key.result))
    return NodeKey("conv", tuple(full.items()), (source.with_block(key.block),), result)
