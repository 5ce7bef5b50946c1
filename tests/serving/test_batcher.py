"""Calls of many threads and coroutines as batches of one model. A gate holds runs; no test asks how long one took."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.options import Options
from cnncc.runtime.arrays import InputError
from cnncc.runtime.model import Model
from cnncc.serving import Batcher, ClosedError, QueueFullError

NET = "net small\ninput 2x7x9\nconv 3x3 8 relu\ngap\nfc 5 softmax\n"
TWO = "net two\ninput a 2x5x5\ninput b 2x5x5\nadd { | from a }\nsave s\nrelu\noutput\nfrom s\ngap\noutput\n"
BATCH = 4
LONG = 60_000
"""Milliseconds of delay that no test waits for."""
SOON = 60
"""Seconds until a test gives up on what must come."""


def compiled(text: str, folder: Path) -> Path:
    build = api.build(weights.bind(lang.parse(text)), Options(batch=BATCH, threads=2))
    return write_shared(build, folder / "net.so")[0]


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    return compiled(NET, tmp_path_factory.mktemp("small"))


@pytest.fixture
def model(module) -> Model:
    return cnncc.load(module, threads=1)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Model:
    return cnncc.load(compiled(TWO, tmp_path_factory.mktemp("two")), threads=1)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, 7, 9)).astype(np.float32)


class Gate:
    """Stands before the runs of a model: each says its number of images, and goes on when it is let through."""

    def __init__(self, model: Model) -> None:
        self.sizes: list[int] = []
        self.error: Exception | None = None
        self._run_many = model.run_many
        self._came, self._go = threading.Semaphore(0), threading.Semaphore(0)
        model.run_many = self.run_many  # type: ignore[method-assign]

    def run_many(self, *arrays, out):
        self.sizes.append(len(arrays[0]))
        self._came.release()
        assert self._go.acquire(timeout=2 * SOON)
        if self.error:
            raise self.error
        return self._run_many(*arrays, out=out)

    def wait_for_run(self) -> None:
        assert self._came.acquire(timeout=SOON)

    def open(self, runs: int = 100) -> None:
        self._go.release(runs)


@pytest.fixture
def gate(model) -> Gate:
    return Gate(model)


def test_every_caller_gets_the_bits_of_its_own_images(model):
    counts = [1, 1, 2, 1, 3, 1, 4, 1, 6, 1] * 8
    parts = [images(count, seed) for seed, count in enumerate(counts)]
    wanted = [model.run_many(part).tobytes() for part in parts]
    with Batcher(model, max_delay_ms=1, workers=2) as batcher, ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda part: batcher.submit(part).result(SOON).tobytes(), parts))
    assert found == wanted
    done = batcher.counts()
    assert (done.requests, done.images, done.failed, done.waiting) == (len(counts), sum(counts), 0, 0)
    assert done.batches <= len(counts)


def test_what_comes_during_a_run_is_the_next_batch(model, gate):
    with Batcher(model, max_delay_ms=0) as batcher:
        first = batcher.submit(images(1))
        gate.wait_for_run()
        rest = [batcher.submit(images(1, seed)) for seed in range(6)]
        assert batcher.counts().waiting == 6
        gate.open()
        assert first.result(SOON).shape == (1, 5)
        assert all(future.result(SOON).shape == (1, 5) for future in rest)
    assert gate.sizes == [1, 4, 2]
    assert batcher.counts().mean_batch == pytest.approx(7 / 3)


def test_a_full_batch_does_not_wait(model, gate):
    gate.open()
    with Batcher(model, max_batch=3, max_delay_ms=LONG) as batcher:
        for future in [batcher.submit(images(1, seed)) for seed in range(3)]:
            future.result(SOON)
    assert gate.sizes == [3]


def test_a_batch_that_is_not_full_runs_after_the_delay(model, gate):
    gate.open()
    with Batcher(model, max_delay_ms=20) as batcher:
        assert batcher.submit(images(1)).result(SOON).shape == (1, 5)
        waited = batcher.counts().wait_p50_ms
    assert gate.sizes == [1]
    assert waited is not None
    assert waited >= 20


def test_closing_finishes_what_waits_and_refuses_the_rest(model):
    with Batcher(model, max_delay_ms=LONG) as batcher:
        waiting = batcher.submit(images(1))
        assert not waiting.done()
    assert waiting.done()
    assert waiting.result().tobytes() == model.run_many(images(1)).tobytes()
    with pytest.raises(ClosedError, match="the batcher is closed"):
        batcher.submit(images(1))
    with pytest.raises(ClosedError, match="the batcher is closed"):
        asyncio.run(batcher.infer(images(1)))
    batcher.close()


def test_a_callback_may_close_its_batcher(model):
    batcher = Batcher(model, max_delay_ms=0)
    closed: Future[None] = Future()
    batcher.submit(images(1)).add_done_callback(lambda _: closed.set_result(batcher.close()))
    assert closed.result(SOON) is None


def test_a_callback_does_not_wait_for_room_that_only_its_worker_makes(model, gate):
    with Batcher(model, max_delay_ms=0, max_waiting=1) as batcher:
        told: Future[None] = Future()

        def submit_more(_: object) -> None:
            try:
                batcher.submit(images(1))
                batcher.submit(images(1))
            except QueueFullError as error:
                told.set_exception(error)

        batcher.submit(images(1)).add_done_callback(submit_more)
        gate.open()
        with pytest.raises(QueueFullError, match="small is busy: its queue of 1 is full"):
            told.result(SOON)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((1, 2, 9, 9), np.float32)], "input 'input' must be Nx2x7x9, got 1x2x9x9"),
        ([np.zeros((2, 7, 9), np.float32)], "input 'input' must be Nx2x7x9, got 2x7x9"),
        ([np.zeros((1, 2, 7, 9))], "must be float32, got float64"),
        ([], "takes 1 array"),
        ([{"image": images(1)}], "small has no 'image'"),
    ],
)
def test_a_wrong_array_fails_its_own_call_only(model, gate, arrays, message):
    with Batcher(model, max_delay_ms=LONG) as batcher:
        good = batcher.submit(images(1))
        with pytest.raises(InputError, match=message):
            batcher.submit(*arrays)
        with pytest.raises(InputError, match=message):
            asyncio.run(batcher.infer(*arrays))
        gate.open()
    assert good.result(SOON).shape == (1, 5)
    assert gate.sizes == [1]


def test_an_error_of_a_run_goes_to_all_its_callers(model, gate):
    gate.error = CnnccError("small: run failed: out of memory")
    with Batcher(model, max_delay_ms=LONG) as batcher:
        failed = [batcher.submit(images(1, seed)) for seed in range(BATCH)]
        gate.wait_for_run()
        gate.open(1)
        for future in failed:
            with pytest.raises(CnnccError, match="out of memory"):
                future.result(SOON)
        gate.error = None
        good = batcher.submit(images(1))
        gate.open()
    assert good.result(SOON).shape == (1, 5)
    assert (batcher.counts().failed, batcher.counts().batches) == (BATCH, 2)


def test_cancelled_calls_are_dropped(model, gate):
    with Batcher(model, max_delay_ms=0) as batcher:
        running = batcher.submit(images(1))
        gate.wait_for_run()
        waiting = [batcher.submit(images(1, seed)) for seed in range(3)]
        assert not running.cancel()
        assert waiting[1].cancel()
        gate.open()
        assert waiting[2].result(SOON).shape == (1, 5)
    assert gate.sizes == [1, 2]
    assert (batcher.counts().cancelled, batcher.counts().requests) == (1, 3)
    with pytest.raises(CancelledError):
        waiting[1].result()


def test_cancelled_calls_alone_make_no_run(model, gate):
    gate.open()
    with Batcher(model, max_delay_ms=LONG) as batcher:
        assert batcher.submit(images(1)).cancel()
    assert gate.sizes == []
    assert asdict(batcher.counts()) == {
        **dict.fromkeys(("batches", "requests", "images", "failed", "refused", "waiting"), 0),
        "cancelled": 1,
        "mean_batch": 0.0,
        "wait_p50_ms": None,
        "wait_p99_ms": None,
    }


def test_a_full_queue_refuses(model, gate):
    with Batcher(model, max_delay_ms=0, max_waiting=2, when_full="refuse") as batcher:
        futures = [batcher.submit(images(1))]
        gate.wait_for_run()
        futures += [batcher.submit(images(1)), batcher.submit(images(1))]
        with pytest.raises(QueueFullError, match="small is busy: its queue of 2 is full"):
            batcher.submit(images(1))
        with pytest.raises(QueueFullError, match="small is busy: its queue of 2 is full"):
            asyncio.run(batcher.infer(images(1)))
        gate.open()
        assert [future.result(SOON).shape for future in futures] == [(1, 5)] * 3
    assert batcher.counts().refused == 2


def test_a_full_queue_makes_threads_wait_for_room(model, gate):
    with ThreadPoolExecutor(1) as caller, Batcher(model, max_delay_ms=0, max_waiting=1) as batcher:
        batcher.submit(images(1))
        gate.wait_for_run()
        batcher.submit(images(1))
        blocked = caller.submit(batcher.submit, images(1))
        with pytest.raises(TimeoutError):
            blocked.result(0.05)
        gate.open()
        assert blocked.result(SOON).result(SOON).shape == (1, 5)
    assert gate.sizes == [1, 1, 1]
    assert batcher.counts().refused == 0


def test_closing_wakes_those_that_wait_for_room(model, gate):
    with ThreadPoolExecutor(2) as caller:
        batcher = Batcher(model, max_delay_ms=0, max_waiting=1)
        batcher.submit(images(1))
        gate.wait_for_run()
        last = batcher.submit(images(1))
        blocked = caller.submit(batcher.submit, images(1))
        with pytest.raises(TimeoutError):
            blocked.result(0.05)
        closing = caller.submit(batcher.close)
        with pytest.raises(ClosedError, match="the batcher is closed"):
            blocked.result(SOON)
        gate.open()
        closing.result(SOON)
    assert last.done()


def test_coroutines_share_batches(model, module, gate):
    parts = [images(1, seed) for seed in range(BATCH)]

    async def serve(batcher: Batcher) -> list[np.ndarray]:
        return await asyncio.gather(*(batcher.infer(part) for part in parts))

    gate.open()
    with Batcher(model, max_delay_ms=LONG) as batcher:
        found = asyncio.run(serve(batcher))
    assert gate.sizes == [BATCH]
    assert [row.tobytes() for row in found] == [
        row.tobytes() for row in cnncc.load(module).run_many(np.concatenate(parts))
    ]


def test_a_full_queue_does_not_block_the_event_loop(model, gate):
    async def serve(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.infer(images(1, seed))) for seed in range(5)]
        await asyncio.to_thread(gate.wait_for_run)  # the loop goes on while three of them have no room
        gate.open()
        assert [row.shape for row in await asyncio.gather(*tasks)] == [(1, 5)] * 5

    with Batcher(model, max_delay_ms=0, max_waiting=1) as batcher:
        asyncio.run(serve(batcher))
    assert sum(gate.sizes) == 5


@pytest.mark.parametrize("max_waiting", [9, 1], ids=["in the queue", "without room"])
def test_a_coroutine_that_is_cancelled_is_dropped(model, gate, max_waiting):
    async def serve(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.infer(images(1, seed))) for seed in range(3)]
        await asyncio.to_thread(gate.wait_for_run)
        tasks[2].cancel()
        await asyncio.wait(tasks[2:])
        assert tasks[2].cancelled()
        gate.open()
        assert [row.shape for row in await asyncio.gather(*tasks[:2])] == [(1, 5)] * 2

    with Batcher(model, max_batch=1, max_delay_ms=0, max_waiting=max_waiting) as batcher:
        asyncio.run(serve(batcher))
    assert gate.sizes == [1, 1]
    assert (batcher.counts().requests, batcher.counts().waiting) == (2, 0)


def test_workers_run_at_the_same_time(model):
    meeting = threading.Barrier(2)
    run_many = model.run_many

    def run(*arrays, out):
        meeting.wait(SOON)
        return run_many(*arrays, out=out)

    model.run_many = run
    with Batcher(model, max_batch=1, workers=2) as batcher:
        for future in [batcher.submit(images(1)), batcher.submit(images(1))]:
            assert future.result(SOON).shape == (1, 5)


def test_what_a_batch_leaves_is_another_workers(model, gate):
    """A call of two images does not fit beside one; while the first worker is held, the second one must take it."""
    with Batcher(model, max_batch=2, max_delay_ms=LONG, workers=2) as batcher:
        batcher.submit(images(1))
        batcher.submit(images(2))
        gate.wait_for_run()
        gate.wait_for_run()
        gate.open()
    assert sorted(gate.sizes) == [1, 2]


def test_calls_of_any_number_of_images(model, gate):
    gate.open()
    with Batcher(model, max_delay_ms=LONG) as batcher:
        large = batcher.submit(images(9))
        assert large.result(SOON).shape == (9, 5)
        none, rest = batcher.submit(images(0)), batcher.submit(images(4))
        assert rest.result(SOON).shape == (4, 5)
    assert none.result(SOON).shape == (0, 5)
    assert gate.sizes == [9, 4]


def test_arrays_by_name_and_several_results(two):
    a, b = np.random.default_rng(1).standard_normal((2, 1, 2, 5, 5)).astype(np.float32)
    wanted = two.run_many({"a": a, "b": b})
    with Batcher(two, max_delay_ms=LONG) as batcher:
        futures = [batcher.submit(a, b), batcher.submit({"b": b, "a": a}), batcher.submit(a=a, b=b)]
        with pytest.raises(InputError, match="takes arrays in order, or all by name, not both"):
            batcher.submit(a, b=b)
        with pytest.raises(InputError, match="two: 'b' is missing"):
            batcher.submit(a=a)
        with pytest.raises(InputError, match="the inputs hold 1, 2 images, not one number"):
            batcher.submit(a, np.concatenate([b, b]))
    assert [row.tobytes() for row in futures[0].result()] == [row.tobytes() for row in wanted.values()]
    for future in futures[1:]:
        assert list(future.result()) == list(wanted)
        assert [row.tobytes() for row in future.result().values()] == [row.tobytes() for row in wanted.values()]


@pytest.mark.filterwarnings("ignore:input image is:cnncc.base.errors.CnnccWarning")
@pytest.mark.parametrize("first", [1, None], ids=["batched", "label without a batch"])
def test_results_have_the_types_and_shapes_that_the_file_declares(tmp_path, first):
    """Bytes, channels last; a whole number as the label, which may be declared as a scalar."""
    weight = np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["c"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["s"]),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
    ]
    if first is None:
        nodes.append(helper.make_node("Squeeze", ["label"], ["scalar"]))
    name, shape = ("label", (1,)) if first else ("scalar", ())
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, 6, 8, 3))]
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape)]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    model = cnncc.compile(path, batch=2)
    bytes_ = np.random.default_rng(3).integers(0, 256, (5, 1, 6, 8, 3), np.uint8)
    wanted = [model.run_many(image) for image in bytes_]
    with Batcher(model, max_delay_ms=LONG) as batcher:
        futures = [batcher.submit(image) for image in bytes_]
    for future, expected in zip(futures, wanted, strict=True):
        assert (future.result().dtype, future.result().shape) == (np.int64, shape)
        assert future.result().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_batch": 0}, "max_batch of small must be 1 to 4, its batch, got 0"),
        ({"max_batch": 8}, "max_batch of small must be 1 to 4, its batch, got 8"),
        ({"max_delay_ms": -1}, "max_delay_ms must be 0 to 60000, got -1"),
        ({"max_delay_ms": float("nan")}, "max_delay_ms must be 0 to 60000, got nan"),
        ({"max_waiting": 0}, "max_waiting and workers must be at least 1, got 0 and 1"),
        ({"workers": 0}, "max_waiting and workers must be at least 1, got 1024 and 0"),
        ({"when_full": "drop"}, "when_full must be 'wait' or 'refuse', got 'drop'"),
    ],
)
def test_arguments_out_of_range_are_refused(model, arguments, message):
    with pytest.raises(CnnccError, match=message):
        Batcher(model, **arguments)


def in_a_child(batcher: Batcher, told: multiprocessing.Queue) -> None:
    try:
        batcher.submit(images(1))
    except CnnccError as error:
        told.put(error.message)


def test_a_child_process_is_told_that_it_has_no_workers(model):
    fork = multiprocessing.get_context("fork")
    told = fork.Queue()
    with Batcher(model) as batcher:
        child = fork.Process(target=in_a_child, args=(batcher, told))
        child.start()
        assert told.get(timeout=SOON) == "the batcher of small belongs to another process"
        child.join(SOON)
    assert child.exitcode == 0


def test_numpy_is_enough(module):
    script = (
        "import sys, numpy as np, cnncc\n"
        "from cnncc.serving import Batcher\n"
        f"with Batcher(cnncc.load({str(module)!r})) as batcher:\n"
        "    print(batcher.submit(np.zeros((1, 2, 7, 9), np.float32)).result().shape)\n"
        "assert not {'tvm', 'llvmlite', 'lark', 'networkx', 'safetensors', 'rich', 'PIL', 'onnx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 5)\n", "")
