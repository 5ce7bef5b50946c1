"""A model in Python: arrays in and out, DLPack, any number of images, threads, the interpreter's lock."""

from __future__ import annotations

import ctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi
from written import write_shared

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.options import Options
from cnncc.runtime.load import load
from cnncc.runtime.model import InputError, Model

NET = """net small
input 3x17x19
stem: conv 3x3 24 /2 bn relu
add { conv 3x3 24 bn | }; relu
gap
fc 10 softmax
"""
TWO = "net two\ninput a 2x5x5\ninput b 2x5x5\nadd { | from a }\nsave s\nrelu\noutput\nfrom s\ngap\noutput\n"
LONG = "net long\ninput 64x160x160\n" + "conv 3x3 64 relu\n" * 24
"""Takes long enough on one thread that another thread must have its turn meanwhile."""


def shared(text: str, folder: Path, batch: int = 1, threads: int = 2) -> Path:
    build = api.build(weights.bind(lang.parse(text)), Options(batch=batch, threads=threads, max_error=0))
    return write_shared(build, folder / "net.so")[0]


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    return shared(NET, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Model:
    """The same network for batches of four."""
    return load(shared(NET, tmp_path_factory.mktemp("four"), batch=4))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Model:
    """Two inputs, two outputs, batches of two."""
    return load(shared(TWO, tmp_path_factory.mktemp("two"), batch=2))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3, 17, 19)).astype(np.float32)


class Elsewhere:
    """An array on a device: DLPack's number 2 is CUDA."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: object) -> object:
        raise AssertionError("not asked for")


class Stubborn(Elsewhere):
    """One that refuses, as PyTorch's tensors do that record a gradient."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **_: object) -> object:
        raise BufferError("detach it first")


def test_arrays_of_other_libraries_come_in_by_dlpack(module):
    model, image = load(module), images(1)
    tensor = tvm_ffi.from_dlpack(image)
    assert not isinstance(tensor, np.ndarray)
    assert model(tensor).tobytes() == model(image).tobytes()
    assert model.run_many(tensor).tobytes() == model(image).tobytes()


def test_results_go_out_by_dlpack(module):
    result = load(module)(images(1))
    assert np.from_dlpack(result).tobytes() == result.tobytes()
    assert tvm_ffi.from_dlpack(result).shape == (1, 10)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Elsewhere(), r"input 'input' is not in the CPU's memory \(DLPack device type 2\)"),
        (Stubborn(), "Stubborn: detach it first"),
        ([[1.0]], "must be a NumPy array or an object with __dlpack__, got list"),
        (np.zeros((1, 3, 17, 19), ">f4"), "must be float32, got >f4"),
        (np.float32(1), "input 'input' must be 1x3x17x19, got a scalar"),
        (np.array(1, np.float32), "input 'input' must be 1x3x17x19, got a scalar"),
    ],
)
def test_what_is_no_array_for_the_cpu_is_refused(module, value, message):
    with pytest.raises(InputError, match=message):
        load(module)(value)


def test_unaligned_and_read_only_arrays_are_taken(module):
    model, image = load(module), images(1)
    raw = np.zeros(image.nbytes + 1, np.uint8)
    crooked = raw[1:].view(np.float32).reshape(image.shape)
    crooked[:] = image
    image.flags.writeable = False
    assert not crooked.flags.aligned
    assert model(crooked).tobytes() == model(image).tobytes()


def test_out_is_written_and_returned(module, two):
    model, image = load(module), images(1)
    out = np.full((1, 10), np.nan, np.float32)
    assert model(image, out=out) is out
    assert out.tobytes() == model(image).tobytes()
    many = np.full((5, 10), np.nan, np.float32)
    assert model.run_many(images(5), out=many) is many
    assert many.tobytes() == model.run_many(images(5)).tobytes()
    a = np.ones((2, 2, 5, 5), np.float32)
    pair = (np.empty((2, 2, 5, 5), np.float32), np.empty((2, 2, 1, 1), np.float32))
    assert two(a, -3 * a, out=pair) is pair
    assert (pair[0].max(), pair[1].min()) == (0, -2)


def test_an_out_that_cannot_be_written_is_refused(module, two):
    model, image = load(module), images(1)
    frozen = np.empty((1, 10), np.float32)
    frozen.flags.writeable = False
    room = np.zeros(image.size + 10, np.float32)
    for out, message in (
        (frozen, "out for .* must be writable and contiguous"),
        (np.empty((10, 2), np.float32).T[:1], "must be writable and contiguous"),
        (np.empty((1, 9), np.float32), "out for .* must be 1x10, got 1x9"),
        (np.empty((1, 10)), "must be float32, got float64"),
        ((), "small has 1 outputs .*out has 0"),
        ([0] * 10, "out has 10"),
        (room[:10].reshape(1, 10), "out overlaps an input or another output"),
    ):
        with pytest.raises(InputError, match=message):
            model(room[: image.size].reshape(image.shape), out=out)
    a, same = np.ones((2, 2, 5, 5), np.float32), np.empty((2, 2, 5, 5), np.float32)
    with pytest.raises(InputError, match="out overlaps"):
        two(a, a, out=(same, same.reshape(-1)[:4].reshape(2, 2, 1, 1)))


def test_out_of_another_library(module):
    image, out = images(1), np.zeros((1, 10), np.float32)
    load(module)(image, out=tvm_ffi.from_dlpack(out))
    assert out.tobytes() == load(module)(image).tobytes()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_any_number_of_images_in_batches(module, four, count):
    """Whatever batch an image falls into, and in whatever place, it gets the bits it gets alone."""
    given = images(max(1, count))[:count]
    alone = load(module)
    result = four.run_many(given)
    assert result.shape == (count, 10)
    assert result.tobytes() == b"".join(alone(given[i : i + 1]).tobytes() for i in range(count))


def test_many_images_of_several_inputs_and_outputs(two):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((5, 5, 5, 2)).astype(np.float32).transpose(0, 3, 1, 2) for _ in range(2))
    total, mean = two.run_many(a, b)
    np.testing.assert_array_equal(total, np.maximum(a + b, 0))
    np.testing.assert_allclose(mean, (a + b).mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-6)


def test_wrong_numbers_of_images(four, two):
    with pytest.raises(InputError, match=r"must be Nx3x17x19, got 3x17x19"):
        four.run_many(images(1)[0])
    with pytest.raises(InputError, match=r"must be Nx3x17x19, got a scalar"):
        four.run_many(np.array(1, np.float32))
    with pytest.raises(InputError, match="two: the inputs hold 3, 2 images, not one number"):
        two.run_many(np.zeros((3, 2, 5, 5), np.float32), np.zeros((2, 2, 5, 5), np.float32))
    with pytest.raises(InputError, match="takes 1 to 4 images, got 5") as caught:
        four(images(5))
    assert "run_many takes any number" in caught.value.hint
    with pytest.raises(InputError, match="takes 1 to 4 images, got 0"):
        four(images(0))


def test_threads_are_chosen_when_a_module_is_loaded(module):
    image = images(1)
    assert load(module, threads=1)(image).tobytes() == load(module, threads=2)(image).tobytes()
    one, two = load(module, threads=1), load(module)
    assert (one.threads, two.threads) == (1, 2)  # each its own, though they share code and weights
    assert (two.set_threads(1), two.threads) == (1, 1)
    with pytest.raises(CnnccError, match=r"net\.so was compiled for 2 threads at most, got 3"):
        load(module, threads=3)
    with pytest.raises(CnnccError, match="threads must be at least 1, got 0"):
        load(module, threads=0)


def test_eight_threads_share_one_model(four):
    given = [images(n) for n in range(1, 9)]
    alone = [four.run_many(g).tobytes() for g in given]
    together = threading.Barrier(8)

    def work(i: int) -> set[bytes]:
        together.wait()
        return {four.run_many(given[i]).tobytes() for _ in range(50)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [{bits} for bits in alone]


def moments_within(run, *arguments) -> int:
    """How often another thread of Python got to work in the middle half of a call."""
    moments: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            moments.append(time.perf_counter())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    run(*arguments)
    took = time.perf_counter() - start
    stop.set()
    watcher.join()
    return sum(start + took / 4 < moment < start + 3 * took / 4 for moment in moments)


def test_the_interpreter_is_free_during_a_run(tmp_path):
    """The same function, called with the lock held, lets nobody else work: so the test can fail."""
    path = shared(LONG, tmp_path, threads=1)
    model = load(path, threads=1)
    image = np.zeros((1, 64, 160, 160), np.float32)
    assert moments_within(model, image) > 3
    held = ctypes.PyDLL(str(path)).long_run
    result, arena = model(image), model.new_arena()
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (image, result, arena)]
    assert moments_within(held, ctypes.c_void_p(model._entry.model), *pointers) == 0


def test_a_model_compiled_here_frees_the_interpreter_too():
    model = api.build(weights.bind(lang.parse(LONG)), Options(threads=1, max_error=0)).model()
    assert moments_within(model, np.zeros((1, 64, 160, 160), np.float32)) > 3


def test_arrays_by_the_names_of_the_inputs(two):
    a, b = np.random.default_rng(0).standard_normal((2, 2, 2, 5, 5)).astype(np.float32)
    wanted = two(a, b)
    for found in (two(b=b, a=a), two(a, b=b)):
        assert isinstance(found, tuple), "as arrays in order give it, not as a dictionary does"
        for got, want in zip(found, wanted, strict=True):
            assert got.tobytes() == want.tobytes()
    out = tuple(np.empty_like(w) for w in wanted)
    assert two(a=a, b=b, out=out) is out


@pytest.mark.parametrize(
    ("arrays", "named", "message"),
    [
        (0, "a", "two: 'b' is missing"),
        (0, "abc", "two has no 'c'"),
        (1, "a", "two: 'a' is given twice"),
        (3, "b", "two: 'b' is given twice"),
    ],
)
def test_wrong_arrays_by_name(two, arrays, named, message):
    x = np.zeros((2, 2, 5, 5), np.float32)
    with pytest.raises(InputError, match=message):
        two(*[x] * arrays, **dict.fromkeys(named, x))
    with pytest.raises(InputError, match="one dictionary, or arrays by name, not both"):
        two({"a": x, "b": x}, b=x)


def test_a_model_of_this_process_is_written(tmp_path):
    model = api.compile(NET, seed=0, batch=2)
    files = model.save(tmp_path / "small.so", emit=("so", "h", "a"))
    assert files == {kind: tmp_path / f"small.{kind}" for kind in ("so", "h", "a")}
    again = load(files["so"])
    x = np.random.default_rng(0).standard_normal((2, 3, 17, 19)).astype(np.float32)
    assert again(x).tobytes() == model(x).tobytes()
    assert set(model.save(tmp_path / "other")) == {"so", "h"}
    with pytest.raises(CnnccError, match=r"small is not from `cnncc\.compile`"):
        again.save(tmp_path / "x.so")
    assert set(model.save(tmp_path / "plus", emit="so,hpp")) == {"so", "hpp", "h"}


def test_a_model_is_written_for_all_targets_that_were_named(tmp_path):
    model = api.compile(NET, seed=0, target="x86-64-v2,x86-64-v3")
    files = model.save(tmp_path / "both.so")
    assert load(files["so"]).info["target"]["name"] == "x86-64-v3,x86-64-v2"


@pytest.mark.parametrize(
    ("emit", "message"),
    [(("so", "dll"), "emit dll: target host has none"), ((), "names no kind of file"), (("ptx",), "emit ptx")],
)
def test_kinds_of_files_that_there_are_not(tmp_path, emit, message):
    with pytest.raises(CnnccError, match=message):
        api.compile(NET, seed=0).save(tmp_path / "small", emit=emit)
    assert list(tmp_path.iterdir()) == []
