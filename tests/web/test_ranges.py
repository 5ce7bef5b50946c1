"""WebAssembly modules for a range of sizes, in Node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from kernels.compare import relative_error
from module.ranged_networks import MOST, build, network, wanted
from web.node import evaluate, needs_linker, needs_node, write

from cnncc.cli import main

pytestmark = [needs_linker, needs_node]
NETWORK = network()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(NETWORK, "wasm32", threads=1), tmp_path_factory.mktemp("web"))


def test_any_size_and_any_number_of_images(script: Path) -> None:
    """Larger and smaller ones after each other; memory grows between runs, and weights stay where they are."""
    sizes = [(1, 2, 4), (MOST, 64, 96), (2, 33, 28), (1, 2, 4), (MOST, 9, 12)]
    body = f"""const m = await load();
        const first = m.memoryBytes;
        for (const [n, h, w] of {json.dumps(sizes)}) {{
          const x = Float32Array.from({{ length: n * 3 * h * w }}, (_, i) => ((i * 7919) % 1000) / 500 - 1);
          console.log(JSON.stringify(m.run({{ h, w }}, x).map((y) => Array.from(y))));
        }}
        console.log(m.memoryBytes > first, m.weights.length === info.weightBytes);"""
    *results, last = evaluate(script, body).splitlines()
    for (n, h, w), line in zip(sizes, results, strict=True):
        x = (np.arange(n * 3 * h * w) * 7919 % 1000 / 500 - 1).astype(np.float32).reshape(n, 3, h, w)
        for got, expected in zip(json.loads(line), wanted(NETWORK, x), strict=True):
            assert relative_error(np.array(got, np.float32).reshape(expected.shape), expected) < 1e-5
    assert last == "true true"


def test_shapes_and_names(script: Path) -> None:
    body = f"""const {{ shapeAt }} = await import({str(script)!r});
        const m = await load();
        const found = m.run({{ w: 12, h: 9 }}, {{ image: new Float32Array(324) }});
        console.log(Object.keys(found), found.map.length);
        console.log(JSON.stringify(info.outputs.map((port) => shapeAt(port, {{ h: 9, w: 12 }}))));
        console.log(JSON.stringify(info.ranges));"""
    assert evaluate(script, body).splitlines() == [
        "[ 'scores', 'map' ] 150",
        f"[[{MOST},8,5,6],[{MOST},5,5,6]]",
        '[{"name":"h","least":2,"most":64,"step":1},{"name":"w","least":4,"most":96,"step":4}]',
    ]
    types = script.with_suffix(".d.ts").read_text()
    assert 'run(sizes: { "h": number; "w": number }, input: Float32Array): [Float32Array, Float32Array];' in types
    assert "readonly shape: readonly Extent[];" in types
    assert "model.run({ h: 11, w: 20 }, input);" in script.read_text()


def test_the_command_says_how_to_call_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "net tiny\ninput 3 x h x 8 where h in 8..16 step 8\nconv 1x1 4\n"
    (tmp_path / "tiny.net").write_text(text)
    assert main(["compile", str(tmp_path / "tiny.net"), "--target", "wasm32", "-o", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "any size: input 3 x h x 8 where h in 8..16 step 8\n" in told
    assert "of the largest size, one thread\n" in told
    assert told.endswith('import { load } from "./tiny.js"; const model = await load(); model.run({ h: 8 }, input)\n')


def test_what_is_wrong_is_told(script: Path) -> None:
    body = """const m = await load();
        const x = new Float32Array(3 * 8 * 8);
        for (const given of [[x], [{ h: 8 }, x], [{ h: 8, w: 9 }, x], [{ h: 8.5, w: 8 }, x], [{ h: 8, w: 8 }],
            [{ h: 8, w: 8 }, [1]], [{ h: 8, w: 12 }, x], [{ h: 8, w: 8 }, new Float32Array(200)]]) {
          try { m.run(...given); console.log("ran") } catch (error) { console.log(String(error)) }
        }"""
    first = "TypeError: small.run takes sizes first: { h, w }"
    assert evaluate(script, body).splitlines() == [
        first,
        first,
        "RangeError: small: w = 9 is not in 4..96 step 4",
        "RangeError: small: h = 8.5 is not in 2..64",
        "RangeError: small takes 1 array(s), got 0",
        'TypeError: input "image" must be a Float32Array',
        'RangeError: input "image" must hold 1 to 3 images of 288 numbers, got 192',
        'RangeError: input "image" must hold 192 numbers (1x3x8x8), got 200',
    ]
