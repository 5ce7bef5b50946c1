"""`cnncc info`: what a compiled module says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("module", metavar="MODULE", help="a shared library written by `cnncc compile`")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc.runtime import cpu
    from cnncc.runtime.load import read_info

    info = read_info(args.module)
    if args.json:
        command.print_json(info)
        return command.EXIT_OK
    for label, text in (*_network(info), *_memory(info), *_origin(info)):
        screen.print_field(label, text)
    why = cpu.unfit(info["target"]["triple"], info["target"]["requires"])
    screen.print_field("runs here", f"no, {why}" if why else "yes")
    return command.EXIT_OK


def _network(info: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("network", f"{info['name']}; C names start with {info['symbol']}_, module format {info['format']}"),
        *(("input", _port(port)) for port in info["inputs"]),
        *(("output", _port(port)) for port in info["outputs"]),
        *_ranges(info),
        ("parameters", f"{info['params']:,}"),
        ("MACs", f"{info['macs']:,}{_of_all(info)}{_in_the_middle(info)}"),
    ]


def _ranges(info: dict[str, Any]) -> list[tuple[str, str]]:
    """The sizes that a caller chooses."""
    from cnncc.runtime.ranges import Ranges

    ranges = Ranges.described(info)
    return [("size", f"{one}: {one.sizes}") for one in ranges.of] if ranges else []


def _in_the_middle(info: dict[str, Any]) -> str:
    """The size that figures of a module for a range are of."""
    sizes = ", ".join(f"{name} = {size}" for name, size in info.get("middle", {}).items())
    return f" at {sizes}" if sizes else ""


def _arena_in_the_middle(info: dict[str, Any]) -> list[tuple[str, str]]:
    """The arena of a module for a range at the size in the middle."""
    from cnncc.runtime.arrays import PortSize
    from cnncc.runtime.ranges import Ranges

    ranges = Ranges.described(info)
    if ranges is None:
        return []
    size = ranges.at(PortSize.described(info), info["middle"])
    return [("", f"{screen.size(size.arena_bytes)}{_of_all(info)}{_in_the_middle(info)}")]


def _of_all(info: dict[str, Any]) -> str:
    """What figures of a module for several images are of."""
    batch = info["inputs"][0]["shape"][0]
    return f" for {batch} images" if batch > 1 else ""


def _port(port: dict[str, Any]) -> str:
    own = ", ".join(f"{key} {' '.join(map(str, port[key]))}" for key in ("mean", "std") if port.get(key))
    pictures = ", ".join(words for words in _picture(port) if words)
    notes = [f"; {what} {text}" for what, text in (("applies", own), ("wants pictures", pictures)) if text]
    steps = f" scale {port['scale']:.8g} zero {port['zero']}" if "scale" in port else ""
    return f"{screen.port_name(port['name'])} {_shapes(port)} {port['dtype']}{steps}{''.join(notes)}"


def _shapes(port: dict[str, Any]) -> str:
    from cnncc.runtime.arrays import Port

    return Port.described(port).shapes


def _picture(port: dict[str, Any]) -> list[str]:
    """In the words of the language, in the order in which it is done."""
    return [
        f"crop {port['crop']:g}" if "crop" in port else "",
        f"resize {'x'.join(map(str, port['resize']))}" if "resize" in port else "",
        port.get("filter", ""),
        port.get("order", ""),
    ]


def _memory(info: dict[str, Any]) -> list[tuple[str, str]]:
    memory = info["memory"]
    dtype = info.get("weights_dtype", "float32")  # modules of earlier versions do not say
    parts = f"activations {screen.size(memory['bytes'])}, at least {screen.size(memory['bound'])}"
    total = memory.get("device_arena_bytes", memory["arena_bytes"])  # of a GPU, if the module is for one
    align = memory.get("device_arena_align", memory["arena_align"])
    first = f"{' of the first size' * ('sizes' in info)}{' of the largest size' * ('ranges' in info)}{_of_all(info)}"
    added = f"kernels add {screen.size(total - memory['bytes'])}"
    return [
        (
            "arena",
            f"{screen.size(total)}{first} ({parts}; {added}), aligned to {align} bytes",
        ),
        *_arena_in_the_middle(info),
        *_sizes(info),
        ("weights", f"{_weights(info)}{screen.stored_as(dtype)}"),
        *_on_bytes(info),
        ("threads", f"{info['threads']} at most"),
        *(("note", note) for note in info.get("notes", ())),
    ]


def _sizes(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Further sizes of the inputs, and the arena of each: what stands elsewhere is of the first."""
    lines = []
    for size in info.get("sizes", ())[1:]:
        dims = ", ".join(f"{screen.port_name(port['name'])} {_shapes(port)}" for port in size["inputs"])
        results = ", ".join(f"{screen.port_name(port['name'])} {_shapes(port)}" for port in size["outputs"])
        lines.append(("size", f"{dims} -> {results}; arena {screen.size(size['memory']['arena_bytes'])}"))
    return lines


def _on_bytes(info: dict[str, Any]) -> list[tuple[str, str]]:
    """How much of the network is computed in int8, if anything is."""
    found = info.get("on_bytes")
    return [("int8", f"{found['layers']} of {found['of']} layers with weights multiply bytes")] if found else []


def _weights(info: dict[str, Any]) -> str:
    weights = info.get("weights")
    if weights is None:  # a module of an earlier version
        return screen.size(info["memory"]["weight_bytes"])
    place = f"in the file {weights['file']}" if weights["file"] else "inside"
    origin = f", {weights['from']}" if weights.get("from") and weights["bytes"] else ""
    return f"{screen.size(weights['bytes'])}{origin}{',' * bool(origin)} {place}"


def _flags(flags: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', '-')} {_said(value)}" for name, value in flags.items())


def _said(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _origin(info: dict[str, Any]) -> list[tuple[str, str]]:
    target, versions = info["target"], dict(info["compiler"])
    kernels_hash = versions.pop("kernels_sha256")
    distinct = len({call["kernel"] for call in info["kernels"]})
    return [
        ("target", f"{target['name']}: {target['triple']}, {target['cpu']}, {target['isa']}"),
        ("requires", ", ".join(target["requires"])),
        *_driver(info),
        ("flags", _flags(info.get("flags", {}))),
        ("compiler", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("kernels", f"{distinct} in {len(info['kernels'])} calls; --json lists them and why each was picked"),
        *([("hash", f"weights blake2b {info['weights']['blake2b']}")] if "weights" in info else []),
        ("source", f"sha256 {info['source_sha256']}"),
        ("generators", f"sha256 {kernels_hash}"),
    ]


def _driver(info: dict[str, Any]) -> list[tuple[str, str]]:
    """Of a module for GPUs, which drivers load its code."""
    about = info.get("cuda", {})
    if "driver" not in about:  # of a processor, or of an earlier version
        return []
    needs: dict[str, list[str]] = {}
    for architecture, version in about["drivers"].items():
        needs.setdefault(version, []).append(architecture)
    parts = [f"{', '.join(names)} need{'s' * (len(names) == 1)} {version}" for version, names in needs.items()]
    return [("driver", f"of CUDA {about['driver']} or later; {', '.join(parts)}")]


COMMAND = command.Command(
    name="info",
    help="print what a compiled module says about itself: inputs, outputs, target, compiler version, flags",
    examples="""
        cnncc info resnet50.so
        cnncc info resnet50.so --json | jq .target
    """,
    configure=_configure,
    run=_run,
)
