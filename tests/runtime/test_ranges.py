"""Models for a range of sizes: called with arrays of any of them, in this process, loaded and in another process."""

from __future__ import annotations

import json
import pickle
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from kernels.compare import relative_error
from module.c_programs import write
from module.ranged_networks import MOST, TEXT, H, W, build, images, network, wanted

import cnncc
from cnncc.base.dim import Symbol
from cnncc.base.errors import CnnccError
from cnncc.runtime import extents
from cnncc.runtime.model import InputError, Model, Range
from cnncc.serving import Batcher

NETWORK = network()


@pytest.fixture(scope="module")
def model() -> Model:
    return build(NETWORK).model()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(build(NETWORK), tmp_path_factory.mktemp("ranges"), "so")["so"]


def check(model: Model, *sizes: tuple[int, int, int]) -> None:
    """Numbers of images and sizes, one after the other, so that arenas are used again."""
    for count, h, w in sizes:
        x = images(count, 3, h, w)
        for got, expected in zip(model(x), wanted(NETWORK, x), strict=True):
            assert relative_error(got, expected) < 1e-5, (count, h, w)


def drawn(number: int) -> list[tuple[int, int, int]]:
    draw = random.Random(7)
    return [(draw.randint(1, MOST), draw.choice(H.sizes), draw.choice(W.sizes)) for _ in range(number)]


def test_any_size_and_any_number_of_images(path: Path) -> None:
    loaded = cnncc.load(path)
    check(loaded, *drawn(10), (MOST, 64, 96), (1, 2, 4))
    check(pickle.loads(pickle.dumps(loaded)), *drawn(2))
    check(cnncc.load(path, threads=1), *drawn(2))


def test_in_this_process(model: Model) -> None:
    check(model, *drawn(4))


def test_what_it_says_of_itself(model: Model, path: Path) -> None:
    for one in (model, cnncc.load(path)):
        assert one.ranges == (Range("h", 2, 64), Range("w", 4, 96, 4))
        assert one.inputs[0].shape == (MOST, 3, "h", "w")
        assert one.batch == MOST
        assert [port.shape[1] for port in one.outputs] == [8, 5]
        assert one.outputs[0].shape[2].at({"h": 9, "w": 4}) == 5
        assert "image: float32 1..3 x 3 x h x w -> " in repr(one)
        assert repr(one).endswith("where h in 2..64, w in 4..96 step 4>")
    assert [str(one) for one in model.ranges] == ["h in 2..64", "w in 4..96 step 4"]
    assert [one.sizes for one in model.ranges] == ["2, 3, ..., 64", "4, 8, ..., 96"]


def test_results_are_written_where_the_caller_wants(model: Model) -> None:
    x = images(2, 3, 9, 12)
    out = (np.full((2, 8, 5, 6), np.nan, np.float32), np.full((2, 5, 5, 6), np.nan, np.float32))
    assert model(x, out=out) is out
    for got, expected in zip(out, wanted(NETWORK, x), strict=True):
        assert relative_error(got, expected) < 1e-5
    with pytest.raises(InputError, match="out for 'scores' must be 2x8x5x6, got 2x8x6x6"):
        model(x, out=(np.zeros((2, 8, 6, 6), np.float32), out[1]))


def test_by_name_and_more_images_than_a_run_takes(model: Model) -> None:
    x = images(2 * MOST + 1, 3, 8, 20)
    for got, expected in zip(model.run_many(x), wanted(NETWORK, x), strict=True):
        assert relative_error(got, expected) < 1e-5
    assert model(image=x[:1])[1].shape == model({"image": x[:1]})["map"].shape == (1, 5, 4, 10)
    assert model.run_many(x[:0])[0].shape == (0, 8, 4, 10)


def test_threads_of_different_sizes(model: Model) -> None:
    """Each call has an arena of its own, however large."""
    wrong: list[object] = []

    def calls(seed: int) -> None:
        for count, h, w in drawn(6)[seed:]:
            try:
                check(model, (count, h, w))
            except Exception as error:
                wrong.append(error)

    workers = [threading.Thread(target=calls, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (images(1, 3, 65, 8), "input 'image': 1x3x65x8: h = 65 is not one of 2, 3, ..., 64"),
        (images(1, 3, 8, 6), "input 'image': 1x3x8x6: w = 6 is not one of 4, 8, ..., 96"),
        (images(1, 4, 8, 8), "input 'image' must be 1..3 x 3 x h x w, got 1x4x8x8"),
        (images(3, 8, 8), "input 'image' must be 1..3 x 3 x h x w, got 3x8x8"),
        (images(4, 3, 8, 8), "a call of small takes 1 to 3 images, got 4"),
        (images(1, 3, 8, 8).astype(np.float64), "input 'image' must be float32, got float64"),
        (np.float32(1), "input 'image' must be 1..3 x 3 x h x w, got a scalar"),
        ([1.0], "input 'image' must be a NumPy array or an object with __dlpack__, got list"),
    ],
)
def test_arrays_that_do_not_fit(model: Model, array: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        model(array)
    assert caught.value.message == message
    with pytest.raises(InputError, match=r"small takes 1 array \(image: float32 1..3 x 3 x h x w\), got 0"):
        model()


def test_what_to_do_about_them(model: Model) -> None:
    with pytest.raises(InputError) as caught:
        model(images(3, 8, 8))
    assert caught.value.hint == "an array has one axis more: that of the images"
    with pytest.raises(InputError) as caught:
        model(images(1, 4, 8, 8))
    assert caught.value.hint == "h in 2..64, w in 4..96 step 4"


def test_one_size_alone(path: Path) -> None:
    loaded = cnncc.load(path)
    x = images(2, 3, 10, 40)
    alone = loaded.at_size(h=10, w=40)
    for one in (alone, pickle.loads(pickle.dumps(alone)), alone.at_size(0)):
        assert [port.shape for port in one.inputs] == [(MOST, 3, 10, 40)]
        assert one.ranges == ()
        assert [port.shape for port in one.outputs] == [(MOST, 8, 5, 20), (MOST, 5, 5, 20)]
        assert one.info["outputs"][0]["shape"] == [MOST, 8, 5, 20]
        assert one.info["size"] == {"h": 10, "w": 40}
        for got, expected in zip(one(x), loaded(x), strict=True):
            assert got.tobytes() == expected.tobytes()
        assert one.arena_bytes_for(1) < loaded.arena_bytes_for(1)
        assert pickle.loads(pickle.dumps(one)).inputs == one.inputs
        with pytest.raises(InputError, match=r"must be 1\.\.3x3x10x40, got 2x3x10x44"):
            one(images(2, 3, 10, 44))
    with Batcher(alone) as batcher:
        assert batcher.submit(x).result()[1].tobytes() == loaded(x)[1].tobytes()
    with pytest.raises(CnnccError, match="small takes a range of sizes; a batch has one") as caught:
        Batcher(loaded)
    assert caught.value.hint == "a Batcher for each size: Batcher(model.at_size(h=..., w=...))"


def test_sizes_that_a_model_does_not_have(model: Model) -> None:
    for sizes, message in (
        ({"h": 8}, "small has the sizes h, w, got h"),
        ({}, "small has the sizes h, w, got none"),
        ({"h": 8, "w": 8, "d": 1}, "small has the sizes h, w, got h, w, d"),
        ({"h": 8, "w": 9}, "small: w = 9 is not one of 4, 8, ..., 96"),
        ({"h": "8", "w": 8}, "small: h = '8' is not one of 2, 3, ..., 64"),
    ):
        with pytest.raises(CnnccError) as caught:
            model.at_size(**sizes)  # type: ignore[arg-type]
        assert caught.value.message == message
    with pytest.raises(CnnccError, match="small has the sizes h, w, got 0"):
        model.at_size(0)
    plain = cnncc.compile("net t\ninput 3x8x8\nconv 3x3 4\n", seed=0)
    with pytest.raises(CnnccError, match="t has sizes 0 to 0, got h = 8"):
        plain.at_size(h=8)


def test_all_inputs_have_the_same_sizes() -> None:
    text = "net two\ninput a 3x8x8\ninput b 3x8x8\nfrom a; conv 1x1 4; save x\nfrom b; conv 1x1 4; add { from x | }\n"
    size = Symbol(0, "s", 4, 32, 4)
    ranged = network(text, {"a": (3, size, size), "b": (3, size, size)})
    two = build(ranged).model()
    a, b = images(2, 3, 8, 8), images(2, 3, 8, 8) + 1
    assert relative_error(two(a, b), wanted(ranged, a, b)[0]) < 1e-5
    assert two(b=b, a=a).shape == (2, 4, 8, 8)
    with pytest.raises(InputError, match="two: s is 8 in input 'a' and 12 in input 'b'"):
        two(a, images(2, 3, 12, 12))
    with pytest.raises(InputError, match=r"input 'a' must be 1..3 x 3 x s x s, got 2x3x8x12"):
        two(images(2, 3, 8, 12), b)
    with pytest.raises(InputError, match="the inputs hold 2, 1 images"):
        two(a, b[:1])


def test_the_description_is_read_without_the_compiler(path: Path) -> None:
    """Its expressions give the same shapes and bytes as the module."""
    info = json.loads(json.dumps(cnncc.load(path).info))
    assert info["ranges"] == [
        {"name": "h", "least": 2, "most": 64, "step": 1},
        {"name": "w", "least": 4, "most": 96, "step": 4},
    ]
    assert info["inputs"][0]["shape"] == [MOST, 3, "h", "w"]
    arena = info["memory"]["arena"]
    for count, h, w in drawn(5):
        sizes = {"h": h, "w": w}
        shapes = [[extents.value(d, sizes) for d in port["shape"]] for port in info["outputs"]]
        assert shapes == [[MOST, c, (h + 1) // 2, w // 2] for c in (8, 5)]
        parts = extents.values(arena["parts"], sizes)
        first, further = (extents.value(arena[k], sizes, parts) for k in ("first_image", "further_image"))
        alone = cnncc.load(path).at_size(h=h, w=w)
        assert alone.arena_bytes_for(count) == first + (count - 1) * further <= info["memory"]["arena_bytes"]


def test_macs_of_a_size_and_of_the_one_in_the_middle(model: Model) -> None:
    assert model.info["middle"] == {"h": 11, "w": 20}
    plain = TEXT.replace("3x64x64", "3x11x20")
    assert model.info["macs"] == cnncc.compile(plain, batch=MOST, seed=0).info["macs"]
    alone, plain = model.at_size(h=33, w=8), TEXT.replace("3x64x64", "3x33x8")
    assert alone.info["macs"] == cnncc.compile(plain, batch=MOST, seed=0).info["macs"] != model.info["macs"]
    assert alone.info.keys() == (model.info.keys() | {"size"}) - {"ranges", "middle", "macs_for"}
