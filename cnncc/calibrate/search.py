"""From images to the scales of a network: what `cnncc quantize` and `cnncc.quantize` do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from cnncc.base import extras
from cnncc.base.errors import CnnccError, nearest
from cnncc.calibrate.losses import Losses, losses
from cnncc.calibrate.observe import Images, ModelValues, observe, of_arrays
from cnncc.frontends import sources
from cnncc.ir import Graph
from cnncc.ir.types import Quantization
from cnncc.module.listener import SILENT, Listener, Progress
from cnncc.ops.quantized import is_on_bytes
from cnncc.options import DEFAULT, Options, split_targets
from cnncc.quantization import scheme
from cnncc.quantization.plan import BytePlan, plan
from cnncc.quantization.ranges import METHODS, Histogram, Method, percentile, quantization
from cnncc.quantization.rewrite import prepared, rewritten
from cnncc.quantization.scheme import Scheme

KEPT = 5
"""Layers that are tried in float32, one by one."""
JUDGED = 32
"""Images, at most, by which these are compared."""


@dataclass(frozen=True)
class Gain:
    """What an output gains if one layer stays float32, in dB."""

    layer: str
    decibels: float


@dataclass(frozen=True)
class Calibrated:
    """A network on bytes, and what is known of it."""

    source: Graph
    """In float32, with weights."""
    graph: Graph
    """On bytes."""
    plan: BytePlan
    scheme: Scheme
    histograms: Mapping[str, Histogram]
    losses: Losses
    gains: Sequence[Gain]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights with the scales beside them, which `weights=` takes. CnnccError if that fails."""
        scheme.save(self.source, self.scheme, path)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc quantize --json`."""
        return {
            "name": self.source.name,
            "method": self.scheme.about["method"],
            "images": self.scheme.about["images"],
            "keep": sorted(self.scheme.keep),
            "float32": [{"name": node.name, "op": node.op} for node in self.plan.left],
            "outputs": [{"name": name, **figures} for name, figures in self.scheme.about["outputs"].items()],
            "values": [self.row(name) for name in self.plan.scaled],
            "gains": [{"layer": gain.layer, "decibels": gain.decibels} for gain in self.gains],
        }

    def row(self, name: str) -> dict[str, Any]:
        """What is known of one value."""
        known, values = self.scheme.values[name], self.histograms[name]
        low, high = covered(known)
        return {
            "name": name,
            "op": self.plan.graph[name].op,
            "low": values.low,
            "high": values.high,
            "scale": known.scale,
            "zero": known.zero,
            "clipped": values.outside(low - known.scale / 2, high + known.scale / 2),
            "decibels": self.losses.values[name].decibels,
        }


def covered(known: Quantization) -> tuple[float, float]:
    """The least and the largest number that a byte stands for."""
    return -known.zero * known.scale, (255 - known.zero) * known.scale


def method_of(name: str, percent: float | None = None) -> Method:
    """The method of a name. CnnccError if there is none."""
    if name == "percentile":
        if percent is None or not 50 < percent <= 100:
            raise CnnccError(f"percentile {percent}: it takes a number above 50, at most 100", hint="e.g. 99.99")
        return percentile(percent)
    if name not in METHODS:
        raise CnnccError(f"no method {name!r} finds ranges", hint=nearest(name, [*METHODS, "percentile"]))
    return METHODS[name]


def planned(source: Graph, keep: frozenset[str] = frozenset()) -> BytePlan:
    """What becomes bytes of a float32 graph. CnnccError for a layer that is none, and if nothing does."""
    made = plan(prepared(source), keep)
    if not made.scaled:
        why = (
            "it is on bytes already" if is_on_bytes(source) else "all of its layers are to stay float32" if keep else ""
        )
        what = f"{source.name} has no layer that could be computed on bytes"
        raise CnnccError(f"{what}: {why}" if why else what)
    return made


def calibrate(  # noqa: PLR0913 - what the command line has, as keywords
    source: Graph,
    images: Images,
    method: str = "minmax",
    percent: float | None = None,
    keep: Iterable[str] = (),
    options: Options = DEFAULT,
    listener: Listener = SILENT,
    gains: bool = True,
) -> Calibrated:
    """Finds the scales of a float32 graph with bound weights on images of it, and what they cost on the same images.

    CnnccError for a method or a layer that is none, for values that are not finite, and for a network in which nothing
    becomes bytes."""
    bounds_of, made = method_of(method, percent), planned(source, frozenset(keep))
    values = ModelValues(made.graph, [*made.scaled, *made.possible, *made.graph.outputs], options, listener)
    histograms = observe(values, images, made.groups, listener.progress)
    about = {"method": method if percent is None else f"{method} {percent:g}", "images": images.count}
    found = Scheme(scales(made, histograms, bounds_of), frozenset(keep), about)
    on_bytes = rewritten(made, found.values)
    names = {name: on_bytes.names[name] for name in made.scaled}
    lost = losses(values, on_bytes.graph, images, options, listener, names)
    found = replace(found, about={**about, "outputs": _figures(source, lost)})
    judge = _Judge(made, found, values, histograms, bounds_of, _first(images, JUDGED), options, listener)
    return Calibrated(
        source, on_bytes.graph, made, found, histograms, lost, judge.gains(_worst(made, lost)) if gains else []
    )


def _figures(source: Graph, lost: Losses) -> dict[str, Any]:
    """The distance of each output from float32, by its name."""
    return {
        name: {"decibels": round(distance.decibels, 2), "agreement": agreed.share}
        for name, distance, agreed in zip(source.output_names, lost.outputs, lost.agreement, strict=True)
    }


def scales(made: BytePlan, histograms: Mapping[str, Histogram], method: Method) -> dict[str, Quantization]:
    """The scale of each value; those of one group cover the ranges of all."""
    found: dict[str, Quantization] = {}
    for group in made.groups:
        bounds = [method(histograms[name]) for name in group]
        common = quantization(min(low for low, _ in bounds), max(high for _, high in bounds))
        found |= dict.fromkeys(group, common)
    return found


@dataclass(frozen=True)
class _Judge:
    """Compares graphs on bytes by a few images."""

    made: BytePlan
    found: Scheme
    exact: ModelValues
    histograms: Mapping[str, Histogram]
    method: Method
    images: Images
    options: Options
    listener: Listener

    def decibels(self, keep: frozenset[str]) -> float:
        """Of the worst output, if these layers stay float32."""
        other = plan(self.made.graph, keep)
        graph = rewritten(other, scales(other, self.histograms, self.method)).graph
        return losses(self.exact, graph, self.images, self.options, self.listener, {}).decibels

    def gains(self, layers: Sequence[str]) -> list[Gain]:
        """What each of the layers would give back, the most first."""
        all_bytes = self.decibels(self.found.keep)
        found = [Gain(layer, self.decibels(self.found.keep | {layer}) - all_bytes) for layer in layers]
        return sorted(found, key=lambda gain: -gain.decibels)


def _first(images: Images, count: int) -> Images:
    """At most so many of the images."""
    return Images(min(count, images.count), lambda: islice(images.read(), count))


def _worst(made: BytePlan, lost: Losses) -> list[str]:
    """The layers behind which most dB are missing that were there before; at most KEPT."""
    drops: dict[str, float] = {}
    for layer in {each.name: each for each in made.layers.values()}.values():
        before, after = (lost.values.get(name) for name in (layer.node.inputs[0], layer.name))
        if before is not None and after is not None:
            drops[layer.node.name] = before.decibels - after.decibels
    return sorted(drops, key=lambda name: -drops[name])[:KEPT]


def quantize(  # noqa: PLR0913 - keywords are what people want here
    source: str | os.PathLike[str],
    images: np.ndarray | Sequence[np.ndarray],
    weights: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    method: str = "minmax",
    percent: float | None = None,
    keep: Iterable[str] = (),
    target: str | Sequence[str] = DEFAULT.targets,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Finds by which scales the values of a network become bytes.

    `source`, `weights`, `seed`, `target` and `threads` are those of `cnncc.compile`; the target is only what runs here.

    - `images`: an array of images as the network takes them, (n, c, h, w), or one array for each of its inputs. Some
      tens are enough.
    - `method`: `minmax` covers all values, `mse` has the least squared error, `entropy` the least divergence,
      `percentile` leaves out those furthest from 0, so that `percent` of them stay.
    - `keep`: names of layers that stay float32, or one name.

    Returns what was found; its `save(path)` writes a file that `weights=path` takes. CnnccError for what does not fit.
    """
    extras.require(extras.COMPILER)
    network = sources.read_source(source, weights, seed or 0)
    keep = [keep] if isinstance(keep, str) else keep
    arrays = [images] if isinstance(images, np.ndarray) else list(images)
    options = Options(split_targets(target), threads=threads)
    listener = Listener(progress)
    return calibrate(network.graph, of_arrays(*arrays), method, percent, keep, options, listener)
