"""A run takes as many images as the caller says, up to the most of the module: the same bits, and the memory of these
alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from module.c_programs import SETUP, compile_and_run, write

import cnncc
from cnncc import api, lang, passes, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.module.program import check_indices
from cnncc.ops.synthetic import random_inputs
from cnncc.options import MANY_IMAGES, Options
from cnncc.runtime.model import InputError, Model

MOST = 13
"""More than two tiles of images of an fc layer."""
BYTES = "to uint8 scale 0.05 zero 30"
NETS = {
    "ragged fc": "input 3x9x7\nconv 3x3 20 relu; fc 83 relu; fc 5",
    "costly fc": "input 3x9x7\nfc 83 gelu; fc 130 silu; softmax",
    "fc of one vector": "input 5\nfc 3",
    "added to fc": "input 40\nfc 70; add { fc 70 | fc 70 } relu; fc 9",
    "arms": "input 4x9x7\nconcat { conv 1x1 16 | conv 3x3 24 | }; conv 3x3 16; add { | conv 3x3 16 } relu; gap; fc 4",
    "winograd": "input 32x20x20\nconv 3x3 64 relu; conv 3x3 64; maxpool 2x2 /2",
    "two inputs": "input a 3x6x6\ninput b 3x6x6\nadd { from a | from b }; conv 3x3 8; output as sums"
    "; gap; fc 6; output as scores",
    "constants": "input 3x6x6\nconv 3x3 8\nmul { | const 8x1x1; relu }\nadd { | const 8x6x6 }\noutput as y"
    "\nconst 4x5x5\ntanh; output as k",
    "bytes": f"input 3x9x7 uint8\nquantize uint8 1 0; qconv 3x3 24 /2 {BYTES}; qgap {BYTES}; qfc 10",
}


def graph(name: str) -> Graph:
    return weights.bind(lang.parse(f"net t\n{NETS[name]}\n"), seed=2)


def numbers(of: Graph, images: int, seed: int = 0) -> list[np.ndarray]:
    return list(random_inputs(passes.with_batch(of, images), seed).values())


def listed(results: object) -> list[np.ndarray]:
    return list(results) if isinstance(results, tuple) else [np.asarray(results)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_every_number_of_images(name: str, threads: int) -> None:
    """Each image as the module for one image gives it, in an arena of just so many bytes that is full of NaNs."""
    net = graph(name)
    one = api.build(net, Options(threads=1)).model()
    many = api.build(net, Options(batch=MOST, threads=threads)).model()
    arrays = numbers(net, MOST)
    alone = [listed(one(*(a[i : i + 1] for a in arrays))) for i in range(MOST)]
    for images in range(1, MOST + 1):
        arena = many.new_arena(images)
        assert arena.nbytes == many.arena_bytes_for(images)
        arena[:] = 0xFF
        found = many.run_in(arena, [a[:images] for a in arrays])
        for i in range(images):
            assert [f[i].tobytes() for f in found] == [w[0].tobytes() for w in alone[i]], (images, i)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "lenet5", "unet", "squeezenet1_1", "mobilenet_v2"])
def test_one_image_needs_no_more_than_in_a_module_for_one(name: str) -> None:
    """The same kernels but for fc layers, the same arena; each further image adds its activations and workspace."""
    net = lang.read(resources.directory("models") / f"{name}.net")
    one, many = (api.program(net, Options(("x86-64-v4",), batch=n, threads=2)) for n in (1, MOST))
    assert many.arena_bytes_for(1) == one.arena_bytes
    assert [k for k in many.kernels if k.family != "dense"] == [k for k in one.kernels if k.family != "dense"]
    assert one.plan.bytes <= many.memory.pitch <= one.arena_bytes
    assert many.arena_bytes == one.arena_bytes + (MOST - 1) * many.memory.pitch


def test_nobody_said_how_many() -> None:
    model = cnncc.compile("net t\ninput 3x8x8\nconv 3x3 4; gap; fc 2\n", seed=0)
    assert model.batch == MANY_IMAGES
    assert model.inputs[0].shapes == f"1..{MANY_IMAGES}x3x8x8"
    images = np.random.default_rng(0).standard_normal((MANY_IMAGES + 1, 3, 8, 8)).astype(np.float32)
    assert model(images[:5]).tobytes() == model.run_many(images)[:5].tobytes()
    with pytest.raises(InputError, match=f"takes 1 to {MANY_IMAGES} images, got {MANY_IMAGES + 1}"):
        model(images)


@pytest.mark.parametrize("name", ["unet", "vgg_e", "deeplab_v3_mobilenet"])
def test_large_images_are_no_reason_for_fewer(name: str) -> None:
    """Limits are those of an image."""
    net = lang.read(resources.directory("models") / f"{name}.net")
    program = api.program(net, Options(("x86-64-v4",), batch=MANY_IMAGES))
    check_indices(program)
    assert program.arena_bytes > 30 * program.arena_bytes_for(1)


def test_numbers_that_are_no_batch() -> None:
    for wrong, message in ((0, "batch must be at least 1, got 0"), (1 << 17, "batch must be at most 65536")):
        with pytest.raises(CnnccError, match=message):
            cnncc.compile("lenet5", seed=0, batch=wrong)


def test_kernels_are_measured_with_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("cnncc.tune.tune", lambda graph, machine, options, progress: asked.append(options) or {})
    cnncc.compile("lenet5", seed=0, tune=1.0)
    assert [options.batch for options in asked] == [1]


def test_results_of_many_images_are_written_where_they_fit() -> None:
    model = api.build(graph("winograd"), Options(batch=2)).model()
    (images,) = numbers(graph("winograd"), 5)
    out = np.empty((5, 64, 10, 10), np.float32)
    assert model.run_many(images, out=out).tobytes() == model.run_many(images).tobytes()
    with pytest.raises(InputError, match="must be 5x64x10x10, got 5x64x10x11"):
        model.run_many(images, out=np.empty((5, 64, 10, 11), np.float32))


def test_arenas_grow_and_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image after many uses the arena of the many; the other way round a larger one is made."""
    made: list[int] = []
    plain = Model._arena
    monkeypatch.setattr(Model, "_arena", lambda self, size: made.append(size) or plain(self, size))
    model = api.build(graph("arms"), Options(batch=8)).model()
    (images,) = numbers(graph("arms"), 8)
    made.clear()
    for count in (1, 1, 5, 3, 1, 8):
        model(images[:count])
    assert made == [model.arena_bytes_for(count) for count in (1, 5, 8)]


MANY = """
enum { MOST = SMALL_MAX_IMAGES };
static float images[MOST][SMALL_INPUT_FLOATS], alone[MOST][SMALL_OUTPUT_FLOATS], found[MOST + 1][SMALL_OUTPUT_FLOATS];
int main(void) {
    const small_model *model = small_model_get();
    CHECK(small_arena_bytes_for(MOST) == SMALL_ARENA_BYTES && small_arena_bytes() == SMALL_ARENA_BYTES);
    for (int i = 0; i < MOST; ++i) {
        for (int k = 0; k < SMALL_INPUT_FLOATS; ++k) images[i][k] = (float)((k * (i + 3)) % 23) / 23;
        void *arena = memory(SMALL_ARENA_BYTES_FOR(1));
        CHECK(!small_run(model, 1, images[i], alone[i], arena));
        free(arena);
    }
    for (int n = 1; n <= MOST; ++n) {
        CHECK(small_arena_bytes_for(n) == SMALL_ARENA_BYTES_FOR(n));
        void *arena = memory(SMALL_ARENA_BYTES_FOR(n));
        memset(found, 0x55, sizeof found);
        CHECK(!small_run_with(model, n, images[0], found[0], arena, SMALL_ARENA_BYTES_FOR(n), NULL));
        CHECK(!memcmp(found, alone, n * sizeof found[0]));
        for (size_t k = 0; k < sizeof found[0]; ++k) CHECK(((unsigned char *)found[n])[k] == 0x55);
        CHECK(small_run_with(model, n, images[0], found[0], arena, SMALL_ARENA_BYTES_FOR(n) - 1, NULL) ==
              CNNCC_ARENA_TOO_SMALL);
        free(arena);
    }
    void *arena = memory(SMALL_ARENA_BYTES);
    CHECK(small_run(model, MOST + 1, images[0], found[0], arena) == CNNCC_BAD_IMAGES);
    free(arena);
    return 0;
}
"""

MANY_CPP = """
#include "small.hpp"
#include <cstdio>
int main() {
    cnncc::small_network network, other;
    other.reserve(SMALL_MAX_IMAGES);
    std::vector<float> images(SMALL_MAX_IMAGES * SMALL_INPUT_FLOATS);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = float(i * 7 % 31) / 31;
    const std::vector<float> all = other(images);
    if (all.size() != SMALL_MAX_IMAGES * SMALL_OUTPUT_FLOATS) return 1;
    for (std::size_t n = 1; n <= SMALL_MAX_IMAGES; ++n) {
        const std::vector<float> some = network(cnncc::span<const float>(images.data(), n * SMALL_INPUT_FLOATS));
        if (some != std::vector<float>(all.begin(), all.begin() + n * SMALL_OUTPUT_FLOATS)) return 2;
    }
    images.push_back(0);
    try { network(images); } catch (const std::invalid_argument &error) { std::puts(error.what()); }
    std::vector<float> few(SMALL_OUTPUT_FLOATS);
    try { network(cnncc::span<const float>(images.data(), 2 * SMALL_INPUT_FLOATS), few); }
    catch (const std::invalid_argument &error) { std::puts(error.what()); }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module of a small network for up to five images, with both headers."""
    place = tmp_path_factory.mktemp("images")
    net = weights.bind(lang.parse("net small\ninput 3x9x7\nconv 3x3 20 relu; conv 3x3 16; fc 10 softmax\n"), seed=1)
    write(api.build(net, Options(batch=5, threads=2)), place, "so", "h", "hpp")
    return place


def test_c(folder: Path) -> None:
    compile_and_run(folder, SETUP + MANY, "./small.so")


def test_cpp(folder: Path) -> None:
    told = compile_and_run(folder, MANY_CPP, "./small.so", flags=("-pedantic",)).splitlines()
    assert told == [
        "small: input has 946 numbers, not those of 1 to 5 images of 189",
        "small: output has 10 numbers, not 20",
    ]
