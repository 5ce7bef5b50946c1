"""Scales of a network without images of it: for its speed on bytes, which they do not change, not for its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cnncc.base.errors import warn
from cnncc.calibrate.observe import Arrays, Images, ModelValues, observe
from cnncc.calibrate.search import planned, scales
from cnncc.frontends.sources import NetworkSource
from cnncc.ir import Graph
from cnncc.ir.ranged import Ranged
from cnncc.module.listener import SILENT, Listener
from cnncc.ops.quantized import is_on_bytes
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.passes import with_batch
from cnncc.quantization.ranges import Bounds, Histogram, minmax
from cnncc.quantization.rewrite import quantized, rewritten
from cnncc.quantization.scheme import Scheme

IMAGES = 2
RANDOM = "random"
"""How a scheme says where its ranges are from."""
NOTE = "computed on bytes whose ranges are those of random images: good for its speed, not for its answers"


def with_random_ranges(network: NetworkSource, options: Options, listener: Listener = SILENT) -> NetworkSource:
    """A network on bytes: as it is, if it is computed on bytes already, else with the ranges that its values have on
    seeded random images. `options` are those of a compilation that runs here.

    CnnccError for a network in which nothing becomes bytes, and for values that are not finite.
    """
    if network.scheme is not None or is_on_bytes(network.graph):
        return network
    source = network.graph
    made = planned(source)
    values = ModelValues(made.graph, made.scaled, options, listener)
    histograms = observe(values, Images(IMAGES, lambda: _images(source)), made.groups, listener.progress)
    warn(f"{source.name} is {NOTE}", hint="give --weights a file that `cnncc quantize` wrote")
    scheme = Scheme(scales(made, histograms, _round_ends), about={"method": RANDOM, "images": IMAGES})
    graph = rewritten(made, scheme.values).graph
    ranged = network.ranged and on_bytes(network.ranged, scheme)
    notes = [*network.notes, NOTE]
    return replace(network, graph=graph, unquantised=source, scheme=scheme, notes=notes, ranged=ranged)


def on_bytes(network: Ranged, scheme: Scheme) -> Ranged:
    """A network for a range of sizes, computed on bytes with the same ranges of values at all of them."""
    return Ranged(network.shapes, lambda shapes: quantized(network.at(shapes), scheme, of_a_range=True))


def _images(graph: Graph) -> Iterator[Arrays]:
    """One after the other."""
    single = with_batch(graph, 1)
    for seed in range(IMAGES):
        yield list(random_inputs(single, seed).values())


def _round_ends(values: Histogram) -> Bounds:
    """All values, more or less. The last bits of a float32 network differ between processors, and these ranges should
    not: what is compiled on one machine can then be checked on another."""
    low, high = minmax(values)
    return float(f"{low:.2g}"), float(f"{high:.2g}")
