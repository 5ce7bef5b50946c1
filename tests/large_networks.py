"""Texts of networks that are large in one way each: what the planner's searches must get through in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def text(*lines: str) -> str:
    """A network of the given lines."""
    return "\n".join(["net large", *lines]) + "\n"


def lstm(steps: int, features: int = 32, hidden: int = 32) -> str:
    """An unrolled LSTM on the columns of an image: all columns live until their step, all states until the end."""
    lines = [f"input {features}x1x{steps}", "save image", f"gap; fc {hidden} tanh; save h", f"fc {hidden}; save c"]
    for t in range(steps):
        h, c = ("h", "c") if t == 0 else (f"h{t - 1}", f"c{t - 1}")
        lines += [
            f"from image; crop 0,{t} 1x1; flatten; save x{t}",
            f"concat {{ from x{t} | from {h} }}; fc {4 * hidden}; save g{t}",
            f"slice 0:{hidden} sigmoid; save i{t}",
            f"from g{t}; slice {hidden}:{2 * hidden} sigmoid; save f{t}",
            f"from g{t}; slice {2 * hidden}:{3 * hidden} tanh; save n{t}",
            f"from g{t}; slice {3 * hidden}:{4 * hidden} sigmoid; save o{t}",
            f"add {{ mul {{ from f{t} | from {c} }} | mul {{ from i{t} | from n{t} }} }}; save c{t}",
            f"tanh; save t{t}",
            f"mul {{ from o{t} | from t{t} }}; save h{t}",
        ]
    arms = " | ".join(f"from h{t}" for t in range(steps))
    return text(*lines, f"concat {{ {arms} }}", "fc 10", "output", f"output c{steps - 1}")


def dense(layers: int, growth: int = 8) -> str:
    """A DenseNet without transitions: each concat holds the one before."""
    return text(
        "input 16x8x8", "conv 3x3 16", f"dense: concat {{ | bn relu; conv 1x1 16; conv 3x3 {growth} }} x{layers}", "gap"
    )


def dense_wide(layers: int, growth: int = 8) -> str:
    """The same with a concat of all earlier results in each layer."""
    lines = ["input 16x8x8", f"conv 3x3 {growth}", "save v0"]
    for i in range(1, layers):
        arms = " | ".join(f"from v{j}" for j in range(i)) if i > 1 else ""
        lines += [f"concat {{ {arms} }}" if arms else "from v0", f"relu; conv 3x3 {growth}", f"save v{i}"]
    return text(*lines, "gap")


def fan_out(arms: int, merge: str = "concat") -> str:
    """One value that many arms read."""
    return text("input 16x16x16", "conv 3x3 16", merge + " { " + " | ".join(["conv 3x3 16 relu"] * arms) + " }", "gap")


def chain(layers: int) -> str:
    """Convolutions one after the other."""
    return text("input 16x16x16", f"conv 3x3 16 bn relu x{layers}", "gap")


def u_shape(levels: int) -> str:
    """Values that all live until their mirror image is computed: no order changes anything."""
    lines = ["input 8x8x8"]
    for i in range(levels):
        lines += ["conv 3x3 8 relu", f"save v{i}"]
    lines += [f"add {{ | from v{i} }}; conv 3x3 8 relu" for i in reversed(range(levels))]
    return text(*lines)


def outputs(count: int) -> str:
    """As many outputs as layers, each behind an identity."""
    return text(
        "input 8x4x4", *[f"l{i}: conv 1x1 8\no{i}: identity; output\nfrom l{i}" for i in range(count)], "gap; output"
    )


def inputs(count: int) -> str:
    """As many inputs as layers."""
    arms = " | ".join(f"from i{i}; conv 1x1 8" for i in range(count))
    return text(*[f"input i{i} 8x4x4" for i in range(count)], f"concat {{ {arms} }}", "gap")


def cells(count: int, nodes: int = 5) -> str:
    """NASNet-like: each cell reads the two before it and concatenates what nobody in it read."""
    lines = ["input 16x32x32", "conv 3x3 16", "save c0", "conv 3x3 16", "save c1"]
    for k in range(2, count + 2):
        lines += [f"from c{k - 2}; conv 1x1 16; save a{k}", f"from c{k - 1}; conv 1x1 16; save b{k}"]
        lines += [
            f"add {{ from {'ab'[i % 2]}{k}; relu; dwconv {3 + 2 * (i % 3)}x{3 + 2 * (i % 3)}; conv 1x1 16 "
            f"| from {'ba'[i % 3 % 2]}{k}; {'avgpool 3x3 /1 pad 1' if i % 2 else 'identity'} }}; save n{k}.{i}".replace(
                f"n{k}.", f"n{k}_"
            )
            for i in range(nodes)
        ]
        lines += ["concat { " + " | ".join(f"from n{k}_{i}" for i in range(nodes)) + " }", f"conv 1x1 16; save c{k}"]
    return text(*lines, "gap")


def layer(size: str, *ops: str) -> str:
    """A few layers on one size."""
    return text(f"input {size}", *ops)


LARGE: Mapping[str, Callable[[], str]] = {
    "lstm 1100": lambda: lstm(1100),
    "lstm 60": lambda: lstm(60),
    "dense 500": lambda: dense(500),
    "dense 3000": lambda: dense(3000),
    "dense wide 500": lambda: dense_wide(500),
    "concat of 500": lambda: fan_out(500),
    "add of 300": lambda: fan_out(300, "add"),
    "concat of 6000": lambda: fan_out(6000),
    "chain 2000": lambda: chain(2000),
    "chain 6000": lambda: chain(6000),
    "u 2000": lambda: u_shape(2000),
    "u 3300": lambda: u_shape(3300),
    "outputs 3000": lambda: outputs(3000),
    "inputs 3000": lambda: inputs(3000),
    "cells 30": lambda: cells(30),
    "cells 600": lambda: cells(600),
    "16k x 16k": lambda: layer(
        "3x16384x16384", "conv 3x3 8 relu", "conv 3x3 16 /2 relu", "maxpool 3x3 /2", "conv 1x1 8", "gap"
    ),
    "1 x 100000": lambda: layer(
        "4x1x100000", "conv 1x7 16 relu", "conv 1x3 16", "maxpool 1x2 /2", "upconv 1x4 8 /2", "gap"
    ),
    "100000 x 1": lambda: layer(
        "4x100000x1", "conv 7x1 16 relu", "conv 3x1 16", "conv 3x3 16", "maxpool 2x1 /2", "gap"
    ),
    "1 x 16000000": lambda: layer("4x1x16000000", "conv 1x7 16 relu", "conv 1x3 16"),
    "8192 channels": lambda: layer(
        "8192x7x7", "conv 1x1 8192", "conv 3x3 8192", "conv 3x3 8192 groups 64", "dwconv 3x3", "gap; fc 8192"
    ),
    "10^6 channels": lambda: layer("1000000x1x1", "relu", "dwconv 3x3", "gap", "fc 16"),
    "31x31": lambda: layer("64x56x56", "dwconv 31x31", "conv 31x31 64", "conv 31x31 64 dil 3", "upconv 31x31 32 /8"),
    "10^4 groups": lambda: layer(
        "10000x14x14",
        "conv 3x3 10000 groups 10000",
        "conv 3x3 20000 groups 10000",
        "conv 1x1 10000 groups 5000",
        "conv 1x1 10000 groups 8",
        "gap",
    ),
    "13 groups of 77": lambda: layer("1001x14x14", "conv 3x3 1001 groups 77", "conv 3x3 2002 groups 1001", "gap"),
    "stride 8192": lambda: layer("4x16384x16384", "conv 3x3 8 /1000", "upconv 512x512 4 /512", "gap"),
}
