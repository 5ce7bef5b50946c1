"""WebAssembly modules compute what the reference computes, in Node, and their JavaScript tells what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cross.cases import BODIES, BOUND, CASES, network, random_inputs
from web.node import evaluate, needs_linker, needs_node, node, run, write

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.module.cpu.build import Build
from cnncc.module.wasm.wasm import write_wasm
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.pictures import images
from cnncc.runtime.load import load, read_info
from cnncc.runtime.wasm_section import MAGIC, custom_section, find_custom_section

MODELS = resources.directory("models")
DIGITS = Path(__file__).parent.parent.parent / "examples/digits"
pytestmark = [needs_linker, needs_node]


def error_of(build: Build, script: Path, arrays: list[np.ndarray]) -> float:
    """The largest error of a network with one output, as a share of its largest; both runs must give the same bits."""
    first, second = run(script, arrays)
    assert first == second
    (wanted,) = reference.run(build.program.source, arrays).values()
    got = np.frombuffer(first, np.float32).reshape(wanted.shape)
    assert np.isfinite(got).all()
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="module")
def small() -> Build:
    return api.build(network("2x3x3", "conv 1x1 4 relu; gap"), Options(("wasm32",)))


@pytest.fixture
def script(small, tmp_path) -> Path:
    return write(small, tmp_path / "t")


@pytest.mark.parametrize("case", CASES)
def test_kernels(case, tmp_path):
    build = api.build(network(*CASES[case]), Options(("wasm32",)))
    assert error_of(build, write(build, tmp_path), random_inputs(build)) <= BOUND


def test_a_batch(tmp_path):
    build = api.build(network(*BODIES["convolutions"]), Options(("wasm32",), batch=3))
    assert error_of(build, write(build, tmp_path), random_inputs(build)) <= BOUND


def test_every_number_of_images(tmp_path):
    """The same bits, whatever the other images; what is no number of images is told, and what is no array first."""
    build = api.build(network("2x3x3", "conv 1x1 4 relu; fc 5"), Options(("wasm32",), batch=3))
    body = """const m = await load();
        const images = Float32Array.from({ length: 54 }, (_, i) => (i * 7) % 11);
        const all = m.run(images);
        for (const n of [1, 2, 3]) {
          const some = m.run(images.slice(0, 18 * n));
          console.log(some.length, some.every((value, i) => value === all[i]));
        }
        for (const wrong of [new Float32Array(0), new Float32Array(72), new Float32Array(20), null, {}, { input: 3 }]) {
          try { m.run(wrong) } catch (error) { console.log(String(error)) }
        }"""
    assert evaluate(write(build, tmp_path), body).splitlines() == [
        "5 true",
        "10 true",
        "15 true",
        'RangeError: input "input" must hold 1 to 3 images of 18 numbers, got 0',
        'RangeError: input "input" must hold 1 to 3 images of 18 numbers, got 72',
        'RangeError: input "input" must hold 18 numbers (1x2x3x3), got 20',
        'TypeError: input "input" must be a Float32Array',
        'TypeError: input "input" must be a Float32Array',
        'TypeError: input "input" must be a Float32Array',
    ]


def test_lenet5_reads_digits(tmp_path):
    graph = weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")
    build = api.build(graph, Options(("wasm32",)))
    script = write(build, tmp_path)
    for digit in "2", "7":
        image = images.load(DIGITS / f"{digit}_a.png", graph.inputs[0].attrs["dims"], std=(1,))
        assert error_of(build, script, [image]) <= 1e-5
        assert np.frombuffer(run(script, [image])[0], np.float32).argmax() == int(digit)


def test_several_inputs_and_outputs(tmp_path):
    text = "net two\na: input 2x4x4\nb: input 2x4x4\nadd { from a | from b }; output; relu; output\n"
    build = api.build(weights.bind(lang.parse(text)), Options(("wasm32",)))
    script = write(build, tmp_path)
    arrays = random_inputs(build)
    wanted = reference.run(build.program.source, arrays)
    first, _ = run(script, arrays)
    got = np.frombuffer(first, np.float32)
    both = np.concatenate([wanted[o].ravel() for o in build.program.source.outputs])
    np.testing.assert_allclose(got, both, rtol=1e-6)
    types = (tmp_path / "two.d.ts").read_text()
    assert "run(input0: Float32Array, input1: Float32Array): [Float32Array, Float32Array];" in types


def test_arrays_of_bytes(tmp_path):
    text = "net t\nx: input 2x3x4 uint8\nquantize int8 2 -3; output as steps; dequantize; cast int32; output as whole\n"
    build = api.build(weights.bind(lang.parse(text)), Options(("wasm32",)))
    script = write(build, tmp_path)
    given = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 4)).astype(np.uint8)
    body = f"""const m = await load();
        const found = m.run({{ x: Uint8Array.from({given.ravel().tolist()}) }});
        console.log(JSON.stringify(Object.entries(found).map(([k, v]) => [k, v.constructor.name, Array.from(v)])));
        try {{ m.run(new Float32Array(24)) }} catch (error) {{ console.log(String(error)) }}"""
    printed, error = evaluate(script, body).splitlines()
    wanted = [values.ravel().tolist() for values in reference.run(build.program.source, [given]).values()]
    assert json.loads(printed) == [["steps", "Int8Array", wanted[0]], ["whole", "Int32Array", wanted[1]]]
    assert error == 'TypeError: input "x" must be a Uint8Array'
    types = (tmp_path / "t.d.ts").read_text()
    assert "run(input: Uint8Array): [Int8Array, Int32Array];" in types


def test_it_imports_nothing_and_exports_little(script):
    body = f"""import {{ readFileSync }} from "node:fs";
        const module = new WebAssembly.Module(readFileSync({str(script.with_suffix(".wasm"))!r}));
        console.log(JSON.stringify([WebAssembly.Module.imports(module),
            WebAssembly.Module.exports(module).map((e) => e.name).sort()]));"""
    assert evaluate(script, body) == '[[],["__heap_base","memory","t_run"]]'


def test_the_same_bytes_every_time(small, tmp_path):
    made = [write_wasm(small, tmp_path / name) for name in ("a", "b")]
    assert {p.name for p in made[0].values()} == {"t.weights", "t.wasm", "t.js", "t.d.ts"}
    for one, other in zip(*(paths.values() for paths in made), strict=True):
        assert one.read_bytes() == other.read_bytes()


WRONG = {
    "m.run()": "RangeError: t takes 1 array(s), got 0",
    "m.run([1, 2])": 'TypeError: input "input" must be a Float32Array',
    "m.run(new Float32Array(3))": 'RangeError: input "input" must hold 18 numbers (1x2x3x3), got 3',
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_inputs(script, call):
    body = f"const m = await load();\ntry {{ {call} }} catch (error) {{ console.log(String(error)) }}"
    assert evaluate(script, body) == WRONG[call]


def test_a_result_is_the_callers_own(script):
    body = """const m = await load();
        const x = new Float32Array(18).fill(1);
        const first = m.run(x), kept = Array.from(first);
        m.run(new Float32Array(18).fill(-3));
        console.log(String(first) === String(kept), first.length, m.memoryBytes % 65536);"""
    assert evaluate(script, body) == "true 4 0"


def loading(script: Path, argument: str = "") -> str:
    """How loading ends."""
    body = f"await load({argument}).then(() => console.log('good'), (error) => console.log(error.message));"
    return evaluate(script, body)


def test_damaged_weights_are_refused(script):
    path = script.with_suffix(".weights")
    whole = path.read_bytes()
    why = f"{path.as_uri()}: truncated, altered, or of another compilation"
    assert loading(script) == "good"
    path.write_bytes(whole[:-4])
    assert loading(script) == f"{why} ({len(whole) - 4} bytes instead of {len(whole)})"
    path.write_bytes(whole + b"more")
    assert loading(script) == f"{why} (more than {len(whole)} bytes)"
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert loading(script) == f"{why} (another hash)"
    path.unlink()
    assert "no such file" in loading(script)


def test_damaged_code_is_refused(script):
    path = script.with_suffix(".wasm")
    path.write_bytes(path.read_bytes()[:100])
    assert f"{path.as_uri()}: no WebAssembly with SIMD here, or the file is damaged: " in loading(script)


def test_the_files_may_lie_elsewhere(script, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for suffix in (".wasm", ".weights"):
        os.replace(script.with_suffix(suffix), other / f"t{suffix}")
    assert loading(script, '"../other"') == "good"
    assert loading(script, f"new URL({other.as_uri()!r})") == "good"
    assert "no such file" in loading(script)


def test_progress_ends_at_the_whole(script):
    body = """let last = [];
        await load(undefined, { onProgress: (...seen) => (last = seen) });
        console.log(last.join() === [info.weightBytes, info.weightBytes].join());"""
    assert evaluate(script, body) == "true"


def test_the_page_centres_and_scales_digits(tmp_path):
    """Held-out digits, enlarged and moved, dark on a shaded light ground: nearly all are read as before."""
    with np.load(Path(__file__).parent.parent / "data/mnist_heldout_1000.npz") as data:
        picked, labels = data["images"][::8], data["labels"][::8]
    canvas = np.zeros((len(picked), 150, 130), np.float32)
    canvas[:, 5:117, 15:127] = picked.repeat(4, axis=1).repeat(4, axis=2)
    grey = (225 - 0.8 * canvas).astype(np.uint8)[..., None].repeat(4, axis=-1)
    grey[..., 3] = 255
    graph = weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")
    script = write(api.build(graph, Options(("wasm32",))), tmp_path)
    runner = Path(__file__).parent / "read_pictures.mjs"
    page = DIGITS.parent / "web/digit.js"
    (tmp_path / "digit.mjs").write_text(page.read_text())
    done = node(runner, script, tmp_path / "digit.mjs", 130, 150, stdin=grey.tobytes())
    assert done.returncode == 0, done.stderr.decode()
    found = np.array(done.stdout.split(), int)
    assert (found == labels).mean() >= 0.97


@pytest.mark.slow
def test_resnet50_is_small_and_right(tmp_path):
    build = api.build(weights.bind(lang.read(MODELS / "resnet50.net")), Options(("wasm32",)))
    script = write(build, tmp_path)
    assert script.with_suffix(".wasm").stat().st_size + script.stat().st_size < 300_000
    assert error_of(build, script, random_inputs(build)) <= 1e-4


def test_it_says_what_it_is(small, tmp_path):
    code = write(small, tmp_path).with_suffix(".wasm")
    assert read_info(code) == json.loads(json.dumps(small.info))
    with pytest.raises(CnnccError, match=r"t\.wasm: compiled for wasm32; this processor lacks simd128"):
        load(code)
    code.write_bytes(code.read_bytes()[:-5])
    with pytest.raises(CnnccError, match=r"t\.wasm: a damaged or truncated module"):
        read_info(code)
    code.write_bytes(MAGIC)
    with pytest.raises(CnnccError, match=r"t\.wasm: not a module compiled by cnncc"):
        read_info(code)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 1 << 15])
def test_sections_of_any_length(length):
    data = MAGIC + custom_section(b"other", b"x" * length) + custom_section(b"wanted", b"y" * length)
    assert find_custom_section(data, b"wanted") == b"y" * length
    assert find_custom_section(data, b"none") is None
