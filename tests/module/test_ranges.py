"""Modules for a range of sizes as programs in C and C++ use them, and what they need of memory."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest
from kernels.compare import relative_error
from module.c_programs import SETUP, compile_and_run, write
from module.ranged_networks import MOST, H, W, build, images, network, wanted

import cnncc
from cnncc.base.dim import Symbol, largest, smallest, value_at
from cnncc.base.errors import CnnccError
from cnncc.contrib.predictor import ship
from cnncc.module.expressions import Expressions, c_expression, expression
from cnncc.module.names import size_parameters
from cnncc.runtime import extents

NETWORK = network()
SIZES = ((2, 4), (33, 28), (64, 96))
CANARY = 0xA5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranges")
    write(build(NETWORK), place, "so", "h", "hpp", "a")
    return place


PLAIN = SETUP[: SETUP.index("static float in[")] + SETUP[SETUP.index("static void *memory") :]
PROGRAM = """
enum { MOST = SMALL_MAX_IMAGES, H = SMALL_H_MOST, W = SMALL_W_MOST };
static float x[MOST * SMALL_IMAGE_FLOATS(H, W)];
static float scores[MOST * SMALL_SCORES_FLOATS(H, W)], map[MOST * SMALL_MAP_FLOATS(H, W)];
static void check_shape(int h, int w) {
    int64_t dims[4];
    CHECK(small_shape(h, w, 0, dims) == 4 && dims[0] == 1 && dims[1] == 3 && dims[2] == h && dims[3] == w);
    CHECK(small_shape(h, w, 1, dims) == 4 && dims[1] == 8 && dims[2] == (h + 1) / 2 && dims[3] == w / 2);
    CHECK((size_t)(dims[1] * dims[2] * dims[3]) == SMALL_SCORES_FLOATS(h, w));
    CHECK(small_shape(h, w, 2, NULL) == 4 && SMALL_MAP_FLOATS(h, w) * 8 == SMALL_SCORES_FLOATS(h, w) * 5);
    CHECK(!small_shape(h, w, 3, dims) && !small_shape(h, w, -1, dims));
}
int main(void) {
    const small_model *model = small_model_get();
    const cnncc_port *ports;
    CHECK(SMALL_H_LEAST == 2 && SMALL_H_STEP == 1 && SMALL_W_LEAST == 4 && SMALL_W_MOST == 96 && SMALL_W_STEP == 4);
    CHECK(small_inputs(&ports) == 1 && ports->shape[0] == MOST && ports->shape[2] == H && ports->shape[3] == W);
    CHECK(ports->count == SMALL_IMAGE_FLOATS(H, W));
    CHECK(small_outputs(&ports) == 2 && ports[1].shape[1] == 5 && ports[1].count == SMALL_MAP_FLOATS(H, W));
    CHECK(small_arena_bytes() == SMALL_ARENA_BYTES && small_arena_bytes_for(H, W, MOST) == SMALL_ARENA_BYTES);
    CHECK(!small_arena_bytes_for(1, 4, 1) && !small_arena_bytes_for(65, 4, 1) && !small_arena_bytes_for(2, 5, 1));
    CHECK(!small_arena_bytes_for(2, 4, 0) && !small_arena_bytes_for(2, 4, MOST + 1) && !small_shape(2, 100, 0, NULL));
    for (size_t i = 0; i < sizeof x / sizeof *x; ++i) x[i] = (float)(i * 7919 % 1000) / 500 - 1;
    void *arena = memory(SMALL_ARENA_BYTES);
    CHECK(small_run(model, 2, 2, 1, x, scores, map, arena) == CNNCC_BAD_SIZE);
    CHECK(small_run(model, -2, 4, 1, x, scores, map, arena) == CNNCC_BAD_SIZE);
    CHECK(small_run(model, 2, 4, MOST + 1, x, scores, map, arena) == CNNCC_BAD_IMAGES);
    CHECK(!strcmp(small_error(CNNCC_BAD_SIZE), "the module takes h in 2..64, w in 4..96 step 4"));
    free(arena);
    const int sizes[][2] = {@SIZES@};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        const int h = sizes[i][0], w = sizes[i][1];
        check_shape(h, w);
        for (int images = 1; images <= MOST; ++images) {
            const size_t bytes = small_arena_bytes_for(h, w, images);
            unsigned char *own = memory(bytes + 64);
            memset(own + bytes, 0xA5, 64);
            CHECK(small_run_with(model, h, w, images, x, scores, map, own, bytes - 1, NULL) == CNNCC_ARENA_TOO_SMALL);
            CHECK(!small_run_with(model, h, w, images, x, scores, map, own, bytes, NULL));
            for (int b = 0; b < 64; ++b) CHECK(own[bytes + b] == 0xA5);
            free(own);
        }
        for (size_t n = 0; n < MOST * SMALL_SCORES_FLOATS(h, w); ++n) printf("%a\\n", scores[n]);
        for (size_t n = 0; n < MOST * SMALL_MAP_FLOATS(h, w); ++n) printf("%a\\n", map[n]);
    }
    return 0;
}
""".replace("@SIZES@", ", ".join(f"{{{h}, {w}}}" for h, w in SIZES))


def check_printed(lines: list[str]) -> None:
    """The results of `MOST` images of each of `SIZES`."""
    found = iter(map(float.fromhex, lines))
    for h, w in SIZES:
        numbers = np.arange(MOST * 3 * h * w) * 7919 % 1000 / 500 - 1
        x = numbers.astype(np.float32).reshape(MOST, 3, h, w)
        for expected in wanted(NETWORK, x):
            got = np.array([next(found) for _ in range(expected.size)], np.float32).reshape(expected.shape)
            assert relative_error(got, expected) < 1e-5, (h, w)
    assert next(found, None) is None


@pytest.mark.parametrize("module", ["small.so", "small.a"])
def test_c(folder: Path, module: str) -> None:
    check_printed(compile_and_run(folder, PLAIN + PROGRAM, f"./{module}").split())


PROGRAM_CPP = """
#include "small.hpp"
#include <cstdio>
int main() {
    cnncc::small_network network;
    if (cnncc::small_network::shape(9, 12, 2) != std::vector<std::int64_t>{1, 5, 5, 6}) return 1;
    if (!cnncc::small_network::shape(1, 12, 0).empty() || !cnncc::small_network::shape(9, 12, 3).empty()) return 2;
    if (cnncc::small_network::inputs().begin()->shape[3] != SMALL_W_MOST) return 3;
    network.reserve(4, 8, 2);
    const int sizes[][2] = {@SIZES@};
    for (const auto &[h, w] : sizes) {
        std::vector<float> x(SMALL_MAX_IMAGES * SMALL_IMAGE_FLOATS(h, w));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(i * 7919 % 1000) / 500 - 1;
        std::vector<float> scores(SMALL_MAX_IMAGES * SMALL_SCORES_FLOATS(h, w));
        std::vector<float> map(SMALL_MAX_IMAGES * SMALL_MAP_FLOATS(h, w));
        network(h, w, x, scores, map);
        for (float number : scores) std::printf("%a\\n", number);
        for (float number : map) std::printf("%a\\n", number);
    }
    std::vector<float> x(3 * 8 * 8), scores(8 * 4 * 4), map(3);
    try { network(8, 8, x, scores, map); } catch (const std::invalid_argument &error) { std::puts(error.what()); }
    try { network(8, 12, x, scores, map); } catch (const std::invalid_argument &error) { std::puts(error.what()); }
    try { network(8, 9, x, scores, map); } catch (const cnncc::error &error) { std::puts(error.what()); }
    try { network(0, 0, x, scores, map); } catch (const cnncc::error &error) { std::puts(error.what()); }
    try { network.reserve(8, 9, 1); } catch (const cnncc::error &error) { std::puts(error.what()); }
    try { network.reserve(8, 8, 4); } catch (const cnncc::error &error) { std::puts(error.what()); }
}
""".replace("@SIZES@", ", ".join(f"{{{h}, {w}}}" for h, w in SIZES))


def test_cpp(folder: Path) -> None:
    told = compile_and_run(folder, PROGRAM_CPP, "./small.so", flags=("-pedantic",)).splitlines()
    check_printed(told[:-6])
    assert told[-6:] == [
        "small: map has 3 numbers, not 80",
        "small: image has 192 numbers, not those of 1 to 3 images of 288",
        *["small: the module takes h in 2..64, w in 4..96 step 4"] * 3,
        "small: the number of images is below 1, or above the most that the module takes",
    ]


def test_cpp_with_one_result(tmp_path: Path) -> None:
    """A call gives the result, and what does not depend on the size is a plain number."""
    text = "net one\ninput x 3x8x8\nconv 3x3 4 relu\n"
    size = Symbol(0, "w", 8, 32, 8)
    ranged = network(text, {"x": (3, 4, size)})
    write(build(ranged), tmp_path, "so", "h", "hpp", name="one")
    program = """
    #include "one.hpp"
    #include <cstdio>
    int main() {
        std::vector<float> x(ONE_X_FLOATS(16), 0.5f);
        const auto y = cnncc::one_network()(16, x);
        std::printf("%zu %a", y.size(), y[17]);
    }
    """
    count, number = compile_and_run(tmp_path, program, "./one.so").split()
    (expected,) = wanted(ranged, np.full((1, 3, 4, 16), 0.5, np.float32))
    assert int(count) == expected.size
    assert float.fromhex(number) == pytest.approx(float(expected.flat[17]), rel=1e-5)


def test_weights_of_their_own_file_and_of_several_targets(tmp_path: Path) -> None:
    written = write(build(NETWORK, "host", "x86-64-v3"), tmp_path, "so", "weights")
    loaded = cnncc.load(written["so"])
    for h, w in SIZES:
        x = images(2, 3, h, w)
        for got, expected in zip(loaded(x), wanted(NETWORK, x), strict=True):
            assert relative_error(got, expected) < 1e-5


def test_a_run_writes_no_further_than_it_said(folder: Path) -> None:
    """At many sizes, with what lies behind the arena looked at."""
    loaded = cnncc.load(folder / "small.so")
    library = ctypes.CDLL(str(folder / "small.so"))
    library.small_arena_bytes_for.restype = ctypes.c_size_t
    for h in (2, 3, 16, 17, 63):
        for w in (4, 8, 92):
            for count in (1, MOST):
                size = loaded.at_size(h=h, w=w)
                bytes_ = size.arena_bytes_for(count)
                assert bytes_ == library.small_arena_bytes_for(h, w, count)
                arena = np.full(loaded.arena_bytes_for(MOST) + 64, CANARY, np.uint8)
                start = -arena.ctypes.data % 64
                size.run_in(arena[start : start + bytes_], [images(count, 3, h, w)])
                assert (arena[start + bytes_ :] == CANARY).all()
                with pytest.raises(CnnccError, match="the arena is too small"):
                    size.run_in(arena[start : start + bytes_ - 1], [images(count, 3, h, w)])


def test_what_it_says_is_json(folder: Path) -> None:
    told = json.loads(json.dumps(build(NETWORK).info))
    info = cnncc.load(folder / "small.so").info
    assert {key: told[key] for key in ("ranges", "inputs", "outputs", "middle", "macs")} == {
        key: info[key] for key in ("ranges", "inputs", "outputs", "middle", "macs")
    }
    assert info["memory"]["bound"] <= info["memory"]["bytes"] <= info["memory"]["arena_bytes"]


def test_clusters_and_traces_want_one_size(folder: Path) -> None:
    with pytest.raises(CnnccError, match=r"small\.so is for a range of sizes"):
        ship(folder / "small.so")
    with pytest.raises(CnnccError, match="small is compiled for a range of sizes, and its values cannot be traced"):
        build(NETWORK).trace(images(1, 3, 8, 8))


def test_names_of_sizes_in_c() -> None:
    """They are not those of arrays, of the interface, or of C."""
    graph = NETWORK.graph(NETWORK.least)
    names = ("h", "image", "images", "batch size", "int", "dims", "Höhe", "2", "?")
    symbols = [Symbol(i, name, 1, 8) for i, name in enumerate(names)]
    expected = ["h", "image_", "images_", "batch_size", "int_", "dims_", "H_he", "size_2", "size8"]
    assert size_parameters(graph, symbols) == expected


EXTENTS = {
    "h": H.extent,
    "w//2": W.extent // 2,
    "h*w": H.extent * W.extent,
    "(h + 1)//2": (H.extent + 1) // 2,
    "7": H.extent - H.extent + 7,
    "max(h, w)": largest(H.extent, W.extent),
    "min(h, 5) - 1": smallest(H.extent, 5) - 1,
    "(h - 1)//2 - 3": (H.extent - 7) // 2,
    "2*((h - 1)//2)": 2 * ((H.extent - 1) // 2),
    "3*h*w//4 - 5*((h + 2)//3) + 1": 3 * H.extent * W.extent // 4 - 5 * ((H.extent + 2) // 3) + 1,
}


@pytest.mark.parametrize("written", EXTENTS)
def test_numbers_that_depend_on_sizes(written: str) -> None:
    """As expressions they have the same values, in Python and in C."""
    extent = EXTENTS[written]
    made = expression(extent)
    assert json.loads(json.dumps(made)) == made
    in_c = c_expression(made)
    for h in (2, 3, 8, 64):
        for w in (4, 12, 96):
            steps = {H: H.sizes.index(h), W: W.sizes.index(w)}
            value = value_at(extent, steps)
            assert extents.value(made, {"h": h, "w": w}) == value
            assert eval(extents.text(made), {"h": h, "w": w, "max": max, "min": min}) == value
            python = in_c.replace("(int64_t)", "").replace("/", "//")
            if "?" not in python:
                assert eval(python, {"h": h, "w": w}) == value


def test_expressions_share_parts() -> None:
    """What is the largest of numbers that are the largest of others is written once."""
    inner = largest(64 * H.extent, 7 * W.extent)
    outer = largest(2 * inner + H.extent * W.extent, inner * 3)
    shared = Expressions(shared=True)
    told = [shared.of(outer), shared.of(outer + inner)]
    assert told[0] == ["part", 1]
    assert json.dumps(shared.parts).count("64") == 1
    for h, w in SIZES:
        parts = extents.values(shared.parts or [], {"h": h, "w": w})
        steps = {H: H.sizes.index(h), W: W.sizes.index(w)}
        values = [extents.value(one, {"h": h, "w": w}, parts) for one in told]
        assert values == [value_at(outer, steps), value_at(outer + inner, steps)]


def test_sums_are_put_in_brackets_in_shapes(folder: Path) -> None:
    text = "net odd\ninput x 3x8x8\nconv 3x3 4 pad 2 relu\n"
    built = build(network(text, {"x": (3, H, W)}))
    write(built, folder, "h", name="odd")
    assert " *   output: n x 4 x (h + 2) x (w + 2)\n" in (folder / "odd.h").read_text()
    assert str(built.model().outputs[0]).endswith(": float32 1..3 x 4 x (h + 2) x (w + 2)")
