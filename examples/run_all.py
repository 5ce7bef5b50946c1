"""Builds and runs every example on one handwritten digit and holds it to the reference: `make examples`.

One line each: the class that the example printed and the largest error of its probabilities against the NumPy
reference in float64, or why the example was left out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from cnncc import lang, weights
from cnncc.ops import reference
from cnncc.pictures import images

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples import chromium  # noqa: E402

HERE, NET, DIGIT = ROOT / "examples", ROOT / "models/lenet5.net", ROOT / "examples/digits/2_a.png"
CNNCC = [sys.executable, "-m", "cnncc"]
BOUND = 1e-4
GNU_ARM = "aarch64-linux-gnu"

Scores = dict[int, float]


class Missing(Exception):
    """A tool that an example needs is not here."""


@dataclass(frozen=True)
class Example:
    """A program in some language, and how to run it on a digit in a folder of its own."""

    name: str
    run: Callable[[Path], Scores]


def main() -> int:
    failed = False
    for example in EXAMPLES:
        try:
            with tempfile.TemporaryDirectory(prefix="cnncc-example-") as folder:
                scores = example.run(Path(folder))
        except Missing as reason:
            print(f"{example.name:<12} left out: {reason}")
            continue
        found, error = judge(scores)
        wrong = found != expected().argmax() or error > BOUND
        failed = failed or wrong
        print(f"{example.name:<12} class {found}, error {error:.1e}{'  WRONG' if wrong else ''}", flush=True)
    return int(failed)


def judge(scores: Scores) -> tuple[int, float]:
    """The class with the largest probability, and the largest error of all."""
    assert set(scores) == set(range(len(expected())))
    return max(scores, key=scores.__getitem__), max(abs(p - expected()[c]) for c, p in scores.items())


@cache
def expected() -> np.ndarray:
    """What the reference says."""
    graph = weights.bind(lang.read(NET), NET.with_suffix(".safetensors"))
    (scores,) = reference.run(graph, [picture()]).values()
    return scores[0]


def picture() -> np.ndarray:
    return images.load(DIGIT, (1, 32, 32), std=(1,))


def write_pgm(folder: Path) -> Path:
    """The digit as the examples without a decoder read it."""
    path = folder / "digit.pgm"
    Image.fromarray(picture()[0, 0].astype(np.uint8)).save(path)
    return path


def need(*tools: str, advice: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise Missing(f"no {', '.join(missing)} ({advice})")


def need_wasm_linker() -> None:
    if not (shutil.which("wasm-ld") or shutil.which("zig") or find_spec("ziglang")):
        raise Missing("no wasm-ld and no ziglang (pip install 'cnncc-inference[cross]')")


def call(*command: object, cwd: Path | None = None) -> str:
    """What a command prints; its own message if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout


def parse(printed: str) -> Scores:
    """The table `class  probability`."""
    _, *rows = printed.splitlines()
    return {int(number): float(share) for number, share in (row.split() for row in rows)}


def compile_module(folder: Path, target: str = "host") -> None:
    call(*CNNCC, "compile", NET, "--target", target, "-o", folder / "lenet5.so", cwd=ROOT)


def run_c(folder: Path) -> Scores:
    need("cc", advice="apt-get install gcc")
    compile_module(folder)
    call("cc", "-O2", "-Wall", "-Werror", "-I.", HERE / "c/digit.c", "-o", "digit", "./lenet5.so", cwd=folder)
    return parse(call("./digit", write_pgm(folder), cwd=folder))


def run_cpp(folder: Path) -> Scores:
    need("c++", advice="apt-get install g++")
    call(*CNNCC, "compile", NET, "-o", folder / "lenet5.so", "--emit", "so,hpp", cwd=ROOT)
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-I."]
    call("c++", *flags, HERE / "cpp/digit.cpp", "-o", "digit", "./lenet5.so", cwd=folder)
    return parse(call("./digit", write_pgm(folder), cwd=folder))


def run_python(folder: Path) -> Scores:
    compile_module(folder)
    return parse(call(sys.executable, HERE / "python/digit.py", folder / "lenet5.so", DIGIT, cwd=ROOT))


def run_rust(folder: Path) -> Scores:
    need("rustc", "cc", advice="https://rustup.rs")
    compile_module(folder)
    link = ["-C", "link-arg=./lenet5.so", "-C", "link-arg=-Wl,-rpath,."]
    call("rustc", "-O", "-D", "warnings", HERE / "rust/classify.rs", *link, "-o", "classify", cwd=folder)
    return parse(call("./classify", write_pgm(folder), cwd=folder))


def run_node(folder: Path) -> Scores:
    need("node", advice="apt-get install nodejs")
    need_wasm_linker()
    call(*CNNCC, "compile", NET, "--target", "wasm32", "-o", folder / "lenet5", cwd=ROOT)
    (folder / "package.json").write_text('{"type": "module"}')
    return parse(call("node", HERE / "node/classify.mjs", folder / "lenet5", write_pgm(folder), cwd=ROOT))


def run_browser(folder: Path) -> Scores:
    """The network in the page's own module, on the very pixels that the others get."""
    browser = chromium.find()
    if browser is None:
        raise Missing("no chromium (apt-get install chromium)")
    need_wasm_linker()
    chromium.build_site(folder, CNNCC, ROOT)
    pixels = json.dumps(picture().ravel().tolist())
    script = f"""import("./lenet5/lenet5.js").then(({{ load }}) => load())
        .then((model) => Array.from(model.run(Float32Array.from({pixels}))))"""
    with chromium.serve(folder) as address, chromium.browse(browser) as page:
        page.open(f"{address}/index.html")
        return dict(enumerate(page.evaluate(script)))


def run_aarch64(folder: Path) -> Scores:
    need(f"{GNU_ARM}-gcc", "qemu-aarch64-static", advice="make cross-tools")
    compile_module(folder, "aarch64")
    source = HERE / "c/digit.c"
    call(f"{GNU_ARM}-gcc", "-O2", "-Wall", "-Werror", "-I.", source, "-o", "digit", "./lenet5.so", cwd=folder)
    return parse(call("qemu-aarch64-static", "-L", f"/usr/{GNU_ARM}", "./digit", write_pgm(folder), cwd=folder))


EXAMPLES = (
    Example("C", run_c),
    Example("C++", run_cpp),
    Example("Python", run_python),
    Example("Rust", run_rust),
    Example("Node", run_node),
    Example("Chromium", run_browser),
    Example("aarch64", run_aarch64),
)

if __name__ == "__main__":
    sys.exit(main())
