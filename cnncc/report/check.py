"""The compiled module against the NumPy reference in float64, value by value, by name."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc import machines, ops, passes
from cnncc.base.elements import BFLOAT16, ELEMENTS, FLOAT16, FLOAT32, HALVES, Element, decode
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.ir.ranged import Ranged, Steps, said
from cnncc.ir.text import print_graph
from cnncc.module import phases
from cnncc.module.listener import Listener, Progress
from cnncc.ops import reference
from cnncc.ops.synthetic import random_inputs
from cnncc.ops.traits import Kind
from cnncc.options import DEFAULT, Options
from cnncc.report import rounding
from cnncc.weights import half

if TYPE_CHECKING:
    from cnncc.runtime.model import Model


@dataclass(frozen=True)
class LayerCheck:
    """One compared value. `error` is the largest absolute difference and `allowed` its bound, both as shares of the
    largest absolute value of the reference; outliers are elements further off than `allowed`."""

    name: str
    op: str
    error: float
    allowed: float
    max_ulp: int
    outlier_ratio: float
    outlier_index: tuple[int, ...] | None
    outlier_got: float | None
    outlier_expected: float | None
    overflowed: bool = False
    """Whether a value is infinite, or no number, where the reference has a finite one."""

    @property
    def passed(self) -> bool:
        """Whether every element is within the bound (a NaN never is)."""
        return self.outlier_index is None


@dataclass(frozen=True)
class BytesCheck:
    """The integers of a network on bytes: how many were compared with the definition, and how many differ."""

    compared: int
    differing: int


@dataclass(frozen=True)
class Overflow:
    """The first layer that gave no finite number where there is one, and the largest that it read or should have
    given, as far as the reference has its inputs."""

    name: str
    op: str
    largest: float | None
    """The largest absolute value among its inputs and its result."""
    held: float
    """The largest number of the type in which it computes."""


@dataclass(frozen=True)
class CheckReport:
    """All compared layers of a network, in topological order."""

    name: str
    layers: tuple[LayerCheck, ...]
    weights_dtype: str = "float32"
    rounding: float | None = None
    """How far rounding moves the outputs, as a share of an output's largest value: that of the weights to
    `weights_dtype`, and with a `dtype` of 16 bits that of values too. Both sides of the comparison have rounded ones.
    None if nothing is rounded."""
    dtype: str = "float32"
    integers: BytesCheck | None = None
    """Of a network on bytes."""
    overflow: Overflow | None = None
    """The first layer that overflowed, if one did."""

    @property
    def passed(self) -> bool:
        return self.first_failure is None

    @property
    def worst(self) -> LayerCheck | None:
        """The layer with the largest error, NaN being larger than all; None if the network computes nothing."""
        return max(self.layers, key=lambda r: math.inf if math.isnan(r.error) else r.error, default=None)

    @property
    def first_failure(self) -> LayerCheck | None:
        """The first layer outside its bound: what comes later may only carry its error on."""
        return next((layer for layer in self.layers if not layer.passed), None)

    def to_json(self) -> Mapping[str, Any]:
        """Plain data for `cnncc check --json`; an error that is no number is null."""
        worst, first = self.worst, self.first_failure
        return {
            "name": self.name,
            "passed": self.passed,
            "dtype": self.dtype,
            "weights_dtype": self.weights_dtype,
            "rounding": None if self.rounding is None else _finite(self.rounding),
            "integers": None if self.integers is None else asdict(self.integers),
            "overflow": None if self.overflow is None else asdict(self.overflow),
            "worst": _plain(worst) if worst else None,
            "first_failure": _plain(first) if first else None,
            "layers": [_plain(layer) for layer in self.layers],
        }


def check(graph: Graph, options: Options = DEFAULT, seed: int = 0, progress: Progress | None = None) -> CheckReport:
    """Compile a source graph with bound weights, run it and the reference on seeded input, compare what both have.

    Outputs are those of the module as it is delivered, where values share memory; the values before them come from
    the same kernels with memory of their own for each.
    With `options.weights_dtype` the reference rounds the same weights: a kernel's error is no larger for it. Layers on
    halves are computed from the module's own values, and may be off by one number of their type.
    """
    from cnncc import api

    machines.check_one_runs_here([machines.load(name) for name in options.targets])
    source = passes.with_batch(graph, options.batch)
    inputs = random_inputs(source, seed)
    listener = Listener(progress)
    got = api.build(graph, replace(options, keep_all=True), listener).trace(*inputs.values())
    module = api.build(graph, options, listener).model()
    got |= zip(source.outputs, module.run_in(module.new_arena(), list(inputs.values())), strict=True)
    if progress:
        progress("running the NumPy reference", 0, 1)
    return checked_values(source, inputs, got, options)


def check_ranged(
    graph: Graph, network: Ranged, options: Options = DEFAULT, seed: int = 0, progress: Progress | None = None
) -> Mapping[str, CheckReport]:
    """Compile a network for its range of sizes, and compare the outputs with those of the reference at `SIZES` sizes,
    which are the keys. `graph` is the network at the size in the middle, with its weights."""
    from cnncc import api

    machines.check_one_runs_here([machines.load(name) for name in options.targets])
    model = api.build(graph, options, Listener(progress), ranged=network).model()
    return at_sizes(model, network, options, seed, progress)


def at_sizes(
    model: Model, network: Ranged, options: Options, seed: int = 0, progress: Progress | None = None
) -> Mapping[str, CheckReport]:
    """The outputs of a model for a range of sizes against those of the reference, at some sizes of the range."""
    reports = {}
    sizes = some_sizes(network, seed)
    for i, steps in enumerate(sizes):
        if progress:
            progress(f"running at {said(steps)}", i, len(sizes))
        source = passes.with_batch(network.graph(steps), model.batch)
        inputs = random_inputs(source, seed)
        found = model.run_in(model.new_arena(), list(inputs.values()))
        got = dict(zip(source.outputs, found, strict=True))
        reports[said(steps)] = checked_values(source, inputs, got, options)
    return reports


SIZES = 10
"""Sizes of a range at which a network is checked."""


def some_sizes(network: Ranged, seed: int) -> Sequence[Steps]:
    """The smallest size, the largest, the one in the middle, and drawn ones: fewer if the range has fewer."""
    drawn = random.Random(seed)
    found: list[Steps] = [network.least, network.most, network.typical]
    for _ in range(10 * SIZES):
        found.append({symbol: drawn.randrange(symbol.count) for symbol in network.symbols})
    return [dict(key) for key in dict.fromkeys(tuple(steps.items()) for steps in found)][:SIZES]


def _integers(source: Graph, got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> BytesCheck | None:
    """Of the values by name that the module gave and that the definition gives; None where all are float32."""
    whole = [
        node.name for node in source.nodes if node.type.element.whole and node.name in got.keys() & expected.keys()
    ]
    differing = sum(int((got[name] != expected[name]).sum()) for name in whole)
    return BytesCheck(sum(got[name].size for name in whole), differing) if whole else None


def check_module(model: Model, graph: Graph, seed: int = 0, number: int = 0) -> CheckReport:
    """Run a compiled module and the reference of the graph it was made of, with bound weights, on seeded input; compare
    the outputs, all that a module gives. `graph` is that of the size of that number, if the module has several.
    CnnccError if the graph is another one."""
    source = _refuse_other(model, graph, number)
    inputs = random_inputs(source, seed)
    found = model.run_in(model.new_arena(number=number), list(inputs.values()))
    got = dict(zip(source.outputs, found, strict=True))
    return checked_values(source, inputs, got, _dtypes(model))


def check_ranged_module(model: Model, network: Ranged, seed: int = 0) -> Mapping[str, CheckReport]:
    """`check_module` for a module for a range of sizes, at some of these. CnnccError if the network is another one."""
    _refuse_other(model, network.graph(network.typical), 0)
    return at_sizes(model, network, _dtypes(model), seed)


def _refuse_other(model: Model, graph: Graph, number: int) -> Graph:
    """The graph with the batch of a module. CnnccError unless the module was made of it."""
    source = replace(passes.with_batch(graph, model.batch), name=model.info["name"])  # `--name` may have changed it
    made_of = model.info.get("sizes", [model.info])[number]["source_sha256"]
    if hashlib.sha256(print_graph(source).encode()).hexdigest() != made_of:
        hint = "compile it again, or name the network it was compiled from"
        raise CnnccError(f"the module {model.info['name']} was compiled from another network than this one", hint=hint)
    return source


def _dtypes(model: Model) -> Options:
    """What a module says of the types that it computes in. Of processors the bounds are the same for all, and a module
    may be for several."""
    flags = model.info.get("flags", {})
    targets = (model.info["target"]["name"],) if "cuda" in model.info else DEFAULT.targets
    return Options(targets, **{key: value for key, value in flags.items() if key in ("dtype", "weights_dtype")})


def checked_values(
    source: Graph, inputs: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray], options: Options
) -> CheckReport:
    """The values of a module, its outputs or all that it has, against those of the reference on the same inputs.
    `source` has the module's batch, and bound weights."""
    got = {name: _numbers(source, name, value) for name, value in got.items()}
    if not rounding.rounds(source, options):
        inner = got.keys() > set(source.outputs)  # a large network's values need not all be kept
        expected = reference.run(source, inputs, keep_all=inner, follow=got)
        report = compare(source, got, expected, tolerances(source, options.dtype))
        overflow = _overflow(source, report, {**inputs, **expected}, options.dtype)
        return replace(report, integers=_integers(source, got, expected), overflow=overflow)
    # What a module stores, and rounds, has the batch norms folded in, and activations in the layers before them.
    machine = machines.load(options.targets[0])
    passed = phases.run(source, machine, options, stop_after=phases.LAST_PASS).graph
    graph = half.rounded(passed, options.weights_dtype)
    with np.errstate(invalid="ignore"):  # behind a value that overflowed there are no numbers
        expected = reference.run(graph, inputs, keep_all=True, follow=got)
    renamed = dict(zip(source.outputs, (expected[o] for o in graph.outputs), strict=True))
    known = {**expected, **renamed}
    report = compare(source, got, known, _rounded_bounds(source, graph, got))
    overflow = _overflow(source, report, {**inputs, **known}, options.dtype)
    report = replace(report, integers=_integers(source, got, known), overflow=overflow)
    if options.weights_dtype == FLOAT32.name:
        return report
    narrow = options.dtype == options.weights_dtype
    moved = rounding.by_all(source, inputs, got) if narrow else rounding.by_weights(passed, expected)
    return replace(report, dtype=options.dtype, weights_dtype=options.weights_dtype, rounding=moved)


def _numbers(source: Graph, name: str, value: np.ndarray) -> np.ndarray:
    """A value of a module; one of bfloat16, which is handed over as bits, as the numbers that it stands for."""
    node = source.by_name.get(name)
    is_bits = node is not None and node.type.element == BFLOAT16 and value.dtype == BFLOAT16.dtype
    return decode(value, BFLOAT16) if is_bits else value


def _rounded_bounds(source: Graph, graph: Graph, got: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The bounds of values of a graph whose values, or weights, are rounded."""
    bounds = {**tolerances(source), **tolerances(graph)}
    known = got.keys() > set(source.outputs) or not any(n.type.element in HALVES for n in graph.nodes)
    return bounds if known else dict.fromkeys(bounds, LARGEST_HALF_ERROR)


def compare(
    graph: Graph,
    got: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    bounds: Mapping[str, float] | None = None,
) -> CheckReport:
    """Compare all values of the source graph that the compiled module still computes, except its inputs. `bounds` are
    the graph's `tolerances` unless others are given."""
    bounds = tolerances(graph) if bounds is None else bounds
    layers = [
        compare_layer(node.name, node.op, got[node.name], expected[node.name], bounds[node.name])
        for node in graph.nodes
        if node.name in got and ops.traits(node).kind is not Kind.INPUT
    ]
    return CheckReport(graph.name, tuple(layers))


LARGEST_ERROR = 1e-4
"""However deep the network: what users of float32 inference take for granted."""


LARGEST_HALF_ERROR = 2e-2
OPERANDS: Mapping[str, tuple[float, float]] = {
    "float16": (1e-3, LARGEST_HALF_ERROR),
    "tf32": (1e-3, LARGEST_HALF_ERROR),
    "bfloat16": (1.6e-2, 2e-1),
}
"""Of a convolution whose operands are rounded to that type (by at most 2^-11 or 2^-8 of each), and of a network of
them, against a reference that rounds nothing. A softmax of large numbers enlarges it."""


SPACING: Mapping[Element, float] = {BFLOAT16: 2.0**-7, FLOAT16: 2.0**-10}
"""From one number to the next, as a share of it, at most: sums that differ in their last bits may be rounded apart. A
reference that reads the module's own values and rounds its results to nearest, as the module does, is off by no more,
whatever the number of layers."""


def tolerances(graph: Graph, dtype: str = "float32") -> dict[str, float]:
    """The bound of every value: the tolerances of the ops along the path to it on which they add up to most, but never
    more than `LARGEST_ERROR`, or what `OPERANDS` says for convolutions whose operands are rounded to `dtype`."""
    bounds: dict[str, float] = {}
    of_operands, most = OPERANDS.get(dtype, (0.0, LARGEST_ERROR))
    for node in graph.nodes:
        own = ops.TABLE[node.op].tolerance
        if reference.has_other_types(graph, node):  # computed from the module's own values
            bounds[node.name] = own + SPACING.get(node.type.element, 0.0) if own > 0 else own
            continue
        if ops.traits(node).kind is Kind.LINEAR and not ops.traits(node).flat:
            own = max(own, of_operands)
        bounds[node.name] = min(most, own + max((bounds[name] for name in node.inputs), default=0.0))
    return bounds


def _overflow(source: Graph, report: CheckReport, expected: Mapping[str, np.ndarray], dtype: str) -> Overflow | None:
    """The first layer of a report that overflowed; `expected` has values of the reference by name. Where the module
    keeps a value that is computed of others in passing, it is the layer before these that computes."""
    first = next((layer for layer in report.layers if layer.overflowed), None)
    if first is None:
        return None
    held = ELEMENTS.get(dtype, FLOAT32).most  # the others have its range
    node, compared = source[first.name], {layer.name for layer in report.layers}
    while ops.traits(node).kind is not Kind.LINEAR and node.inputs and not compared & set(node.inputs):
        node = source[node.inputs[0]]
    inputs = [np.abs(expected[name]) for name in (*node.inputs, first.name) if name in expected]
    if len(compared) == len(source.outputs) or not inputs:  # the outputs alone: it may be any layer before them
        return Overflow(first.name, first.op, None, held)
    largest = max(float(array.max(initial=0.0, where=np.isfinite(array))) for array in inputs)
    return Overflow(node.name, node.op, largest, held)


def compare_layer(name: str, op: str, got: np.ndarray, expected: np.ndarray, allowed: float) -> LayerCheck:
    """Compare two arrays of one shape; `allowed` is a share of the largest finite absolute value of
    `expected`. Infinities and NaN are right where both have them."""
    assert got.shape == expected.shape, (name, got.shape, expected.shape)
    expected = expected.astype(np.float64)
    largest = float(np.abs(expected).max(initial=0.0, where=np.isfinite(expected)))
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))  # infinities too, whose difference is no number
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(got.astype(np.float64) - expected))
    outside = ~(difference <= allowed * largest)
    worst = float(difference.max(initial=0.0))
    first = np.unravel_index(int(outside.argmax()), outside.shape) if outside.any() else None
    return LayerCheck(
        name=name,
        op=op,
        error=rounding.share(worst, largest),
        allowed=allowed,
        max_ulp=max_ulp(got, expected),
        outlier_ratio=float(outside.mean()),
        outlier_index=None if first is None else tuple(map(int, first)),
        outlier_got=None if first is None else float(got[first]),
        outlier_expected=None if first is None else float(expected[first]),
        overflowed=bool((~np.isfinite(got) & np.isfinite(expected)).any()),
    )


def max_ulp(got: np.ndarray, expected: np.ndarray) -> int:
    """Largest distance of two arrays in float32 numbers that lie between, sign and zero crossed properly."""
    return int(np.abs(_ordered(got) - _ordered(expected)).max(initial=0))


def _ordered(array: np.ndarray) -> np.ndarray:
    """float32 numbers as integers in the same order: neighbours differ by one, both zeros are 0."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _plain(layer: LayerCheck) -> dict[str, Any]:
    numbers = {key: _finite(getattr(layer, key)) for key in ("error", "outlier_got", "outlier_expected")}
    return {**asdict(layer), **numbers, "passed": layer.passed}
