"""One module for several sizes of a network's inputs: right at each, weights stored once."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from kernels.compare import relative_error
from module.c_programs import SETUP, compile_and_run, write

import cnncc
from cnncc import api, lang, machines, passes, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.contrib.predictor import ship
from cnncc.ir import Graph
from cnncc.kernels.cpu.algorithms import find
from cnncc.module.cpu import sizes
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.runtime.model import InputError, Model
from cnncc.serving import Batcher

TEXT = """net small
input image @ mean (0.5) std (2)
conv 3x3 32 /2 bn relu; conv 3x3 64 relu; dwconv 3x3 bn; conv 1x1 96 relu; upconv 2x2 32 /2; conv 3x3 48
save f; gap; fc 10 softmax; output as scores
from f; conv 1x1 5; output as map
"""
DIMS = ("3x33x65", "3x64x64", "3x96x40")
MOST = 3


def at(dims: str, seed: int = 1, text: str = TEXT) -> Graph:
    return weights.bind(lang.parse(text.replace("@", dims)), seed=seed)


def images(dims: str, count: int = MOST) -> np.ndarray:
    shape = (count, *map(int, dims.split("x")))
    return np.random.default_rng(len(dims)).standard_normal(shape).astype(np.float32)


def built(*graphs: Graph, targets: tuple[str, ...] = ("host",)) -> api.Built:  # type: ignore[name-defined]
    first, *others = graphs
    return api.build(first, Options(targets, batch=MOST, threads=2), further=others)


def check(model: Model, *dims: str) -> None:
    """Every size, with every number of images."""
    for size in dims:
        given = images(size)
        wanted = reference.run(passes.with_batch(at(size), MOST), [given])
        for count in range(1, MOST + 1):
            for got, expected in zip(model(given[:count]), wanted.values(), strict=True):
                assert relative_error(got, expected[:count]) < 1e-4


def test_every_size_is_right(tmp_path: Path) -> None:
    build = built(*map(at, DIMS))
    check(build.model(), *DIMS)
    loaded = cnncc.load(write(build, tmp_path, "so")["so"])
    check(loaded, *DIMS)
    check(pickle.loads(pickle.dumps(loaded)), *DIMS)
    assert [size.inputs[0].shape for size in loaded.sizes] == [images(dims).shape for dims in DIMS]


def test_weights_of_their_own_file_and_of_several_targets(tmp_path: Path) -> None:
    build = built(*map(at, DIMS), targets=("x86-64-v3", "host"))
    written = write(build, tmp_path, "so", "weights")
    check(cnncc.load(written["so"]), *DIMS)


ZOO = ["resnet18", "mobilenet_v2", "squeezenet1_1", "efficientnet_lite0", "shufflenet_v2", "regnet_y_400mf"]


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("name", ZOO)
def test_weights_are_stored_once(name: str, target: str) -> None:
    """At sizes for which other tiles would be chosen."""
    text = (resources.directory("models") / f"{name}.net").read_text()
    plain = re.sub(r"(?m)^(input) \d+x\d+x\d+( resize \d+)?", r"\1 @", text)
    first, *others = (lang.parse(plain.replace("@", dims)) for dims in ("3x224x224", "3x320x416", "3x160x192"))
    machine, options = machines.targets.load(target), Options((target,), threads=2)
    one = lower(first, machine, options)
    for graph in others:
        other = lower(graph, machine, options, like=one.selections)
        for node, selection in other.selections.items():
            if selection.choice is not None:
                assert order(other, node) == order(one, node), node
    if name == "squeezenet1_1":
        bound = [weights.bind(lang.parse(plain.replace("@", d)), seed=0) for d in ("3x224x224", "3x320x416")]
        made = [lower(bound[0], machine, options)]
        made.append(lower(bound[1], machine, options, like=made[0].selections))
        assert sizes.joined(made).weight_bytes == one.weight_bytes


def order(program: CpuProgram, node: str) -> object:
    selection = program.selections[node]
    assert selection.choice is not None
    algorithm = find(selection.choice.algorithm)
    return algorithm.name, algorithm.weight_order(selection.calls[-1])


def test_weights_that_differ_are_kept_apart() -> None:
    """Numbers are compared, not names: a pass may have moved into weights what depends on the size."""
    first, second = at("3x33x65", seed=1), at("3x64x64", seed=2)
    build = built(first, second)
    model, alone = build.model(), built(second).model()
    assert build.weight_bytes > 1.8 * built(first).weight_bytes
    check(model, "3x33x65")
    for got, wanted in zip(model(images("3x64x64")), alone(images("3x64x64")), strict=True):
        assert relative_error(got, wanted) < 1e-5


def test_arrays_of_no_size() -> None:
    model = built(*map(at, DIMS)).model()
    with pytest.raises(InputError, match="small was not compiled for arrays of 1x3x40x40") as caught:
        model(np.zeros((1, 3, 40, 40), np.float32))
    assert "1..3x3x33x65; or image: float32 1..3x3x64x64" in caught.value.hint
    with pytest.raises(InputError, match="must be float32, got float64"):
        model(np.zeros((1, 3, 64, 64)))
    with pytest.raises(InputError, match="takes 1 to 3 images, got 4"):
        model(images("3x96x40", 4))
    assert model.run_many(images("3x96x40", 4))[1].shape == (4, 5, 96, 40)


def test_what_is_no_array() -> None:
    """The number of arrays and what they are is told first; what speaks DLPack need not have a shape."""
    model = built(*map(at, DIMS)).model()

    class Speaks:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **given: object) -> object:
            return self.array.__dlpack__(**given)  # type: ignore[arg-type]

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    assert model(Speaks(images("3x96x40")))[1].shape == (MOST, 5, 96, 40)
    with pytest.raises(InputError, match="small takes 1 array"):
        model()
    with pytest.raises(InputError, match="must be a NumPy array or an object with __dlpack__, got list"):
        model([[1.0]])
    with pytest.raises(InputError, match="not compiled for arrays of a scalar"):
        model(np.float32(3))


def test_one_of_several_sizes(tmp_path: Path) -> None:
    """As a model of its own, in this process, loaded, and in another process; servers of one size refuse the whole."""
    whole = built(*map(at, DIMS)).model()
    path = write(built(*map(at, DIMS)), tmp_path, "so")["so"]
    loaded = cnncc.load(path, threads=1)
    wanted = whole(images("3x64x64"))
    for alone in (whole.at_size(1), loaded.at_size(1), pickle.loads(pickle.dumps(loaded.at_size(1)))):
        assert [port.shape for port in alone.inputs] == [(MOST, 3, 64, 64)]
        assert [tuple(p["shape"]) for p in alone.info["inputs"]] == [(MOST, 3, 64, 64)]
        for got, expected in zip(alone(images("3x64x64")), wanted, strict=True):
            assert got.tobytes() == expected.tobytes()
        with pytest.raises(InputError, match=r"must be 1\.\.3x3x64x64, got 3x3x33x65"):
            alone(images("3x33x65"))
    assert loaded.at_size(2).threads == 1
    for wrong in (3, -1, "0"):
        with pytest.raises(CnnccError, match=f"small has sizes 0 to 2, got {wrong!r}"):
            loaded.at_size(wrong)
    with pytest.raises(CnnccError, match="a Batcher takes a model, got str"):
        Batcher("small.so")  # type: ignore[arg-type]
    with pytest.raises(CnnccError, match="small takes 3 sizes of inputs; a batch has one"):
        Batcher(loaded)
    with Batcher(loaded.at_size(1)) as batcher:
        assert batcher.submit(images("3x64x64")).result()[1].tobytes() == wanted[1].tobytes()
    with pytest.raises(CnnccError, match="is for several sizes of inputs"):
        ship(path)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("dims", [("3x1x1", "3x4x4"), ("3x1x6", "3x6x6")])
def test_phases_of_a_stride_that_small_images_lack(dims: tuple[str, str], order: tuple[int, int]) -> None:
    text = "net t\ninput @\nupconv 3x3 8 /2 pad 1\n"
    graphs = [at(dims[i], text=text) for i in order]
    model = built(*graphs).model()
    for i, graph in zip(order, graphs, strict=True):
        (wanted,) = reference.run(passes.with_batch(graph, MOST), [images(dims[i])]).values()
        assert relative_error(model(images(dims[i])), wanted) < 1e-5


def test_what_cannot_share_a_module() -> None:
    with pytest.raises(CnnccError, match="small: two of its sizes are the same"):
        built(at("3x64x64"), at("3x64x64"))
    with pytest.raises(CnnccError, match="small: its sizes have other inputs or outputs"):
        built(at("3x64x64"), at("3x33x65", text=TEXT.replace("as map", "as mask")))
    for target in ("wasm32", "cuda-sm_80"):
        with pytest.raises(CnnccError, match=f"target {target}: a module has one size of its inputs"):
            api.build(at("3x64x64"), Options((target,)), further=[at("3x33x65")])


PROGRAM = """
enum { FIRST = SMALL_SIZE_3X33X65, LAST = SMALL_SIZE_3X96X40, MOST = SMALL_MAX_IMAGES };
static float x[MOST * SMALL_IMAGE_FLOATS(FIRST)], y[MOST * SMALL_IMAGE_FLOATS(LAST)];
static float scores[MOST * SMALL_SCORES_FLOATS(LAST)], map[MOST * SMALL_MAP_FLOATS(LAST)];
int main(void) {
    const small_model *model = small_model_get();
    const cnncc_port *ports;
    CHECK(SMALL_SIZES == 3 && small_inputs(LAST, &ports) == 1 && ports->shape[2] == 96 && ports->shape[3] == 40);
    CHECK(small_outputs(FIRST, &ports) == 2 && ports[1].count == SMALL_MAP_FLOATS(FIRST) && !small_inputs(3, &ports));
    CHECK(!small_outputs(-1, &ports) && small_arena_bytes() == SMALL_ARENA_BYTES);
    for (int size = 0; size < SMALL_SIZES; ++size) {
        CHECK(small_arena_bytes_for(size, 2) == SMALL_ARENA_BYTES_FOR(size, 2));
        CHECK(small_arena_bytes_for(size, MOST) <= SMALL_ARENA_BYTES && !small_arena_bytes_for(size, MOST + 1));
    }
    CHECK(!small_arena_bytes_for(3, 1) && !small_arena_bytes_for(-1, 1));
    for (size_t i = 0; i < sizeof x / sizeof *x; ++i) x[i] = (float)(i * 7919 % 1000) / 500 - 1;
    for (size_t i = 0; i < sizeof y / sizeof *y; ++i) y[i] = (float)(i * 7919 % 1000) / 500 - 1;
    void *arena = memory(SMALL_ARENA_BYTES);
    CHECK(small_run(model, 3, 1, x, scores, map, arena) == CNNCC_BAD_SIZE);
    CHECK(small_run(model, -1, 1, x, scores, map, arena) == CNNCC_BAD_SIZE);
    CHECK(small_run(model, LAST, MOST + 1, x, scores, map, arena) == CNNCC_BAD_IMAGES);
    free(arena);
    arena = memory(SMALL_ARENA_BYTES_FOR(LAST, 2));
    CHECK(!small_run(model, LAST, 2, y, scores, map, arena));
    printf("%a", map[SMALL_MAP_FLOATS(LAST)]);
    return 0;
}
"""

PROGRAM_CPP = """
#include "small.hpp"
#include <cstdio>
int main() {
    cnncc::small_network network;
    if (cnncc::small_network::inputs(SMALL_SIZE_3X64X64).begin()->shape[3] != 64) return 1;
    for (std::int32_t size = 0; size < SMALL_SIZES; ++size) {
        std::vector<float> x(2 * SMALL_IMAGE_FLOATS(size), 0.5f), scores(2 * SMALL_SCORES_FLOATS(size));
        std::vector<float> map(2 * SMALL_MAP_FLOATS(size));
        network(size, x, scores, map);
        if (scores[0] != scores[10] || scores[0] == 0 || map[0] != map[map.size() / 2]) return 2;
    }
    std::vector<float> x(5), scores(10), map(3);
    try { network(0, x, scores, map); } catch (const std::invalid_argument &error) { std::puts(error.what()); }
    std::vector<float> one(SMALL_IMAGE_FLOATS(0)), all(SMALL_MAP_FLOATS(0));
    try { network(7, one, scores, all); } catch (const cnncc::error &error) { std::puts(error.what()); }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sizes")
    write(built(*map(at, DIMS)), place, "so", "h", "hpp")
    return place


def test_c(folder: Path) -> None:
    plain = SETUP[: SETUP.index("static float in[")] + SETUP[SETUP.index("static void *memory") :]
    written = compile_and_run(folder, plain + PROGRAM, "./small.so")
    given = np.array([(i * 7919 % 1000) / 500 - 1 for i in range(2 * 3 * 96 * 40)], np.float32).reshape(2, 3, 96, 40)
    assert float.fromhex(written) == pytest.approx(float(cnncc.load(folder / "small.so")(given)[1][1].flat[0]))


def test_names_of_the_interface_are_not_those_of_arrays(tmp_path: Path) -> None:
    text = "net small\ninput size @\nconv 3x3 4; output as images\n"
    write(built(at("3x5x5", text=text), at("3x6x6", text=text)), tmp_path, "so", "h", "hpp")
    source = '#include "small.hpp"\nint main() { return SMALL_SIZES - 2 + (SMALL_SIZE__FLOATS(1) != 108); }\n'
    compile_and_run(tmp_path, source, "./small.so")


def test_cpp(folder: Path) -> None:
    told = compile_and_run(folder, PROGRAM_CPP, "./small.so", flags=("-pedantic",)).splitlines()
    assert told == [
        "small: image has 5 numbers, not those of 1 to 3 images of 6435",
        "small: the module has no size of that number",
    ]
