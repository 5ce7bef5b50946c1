"""What only a GPU can tell: the same checks on a real device, and its times beside the predicted ones."""

from __future__ import annotations

import ctypes
import time

import numpy as np
import pytest

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.machines import gpus
from cnncc.module.gpu.build import build_program
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report import check
from cnncc.report.profile.predict import predict

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_compiler", "device")]
RUNS = 50


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> int:
    """Compute capability of the first device, times ten."""
    monkeypatch.delenv("CNNCC_CUDA_DRIVER", raising=False)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no CUDA driver on this machine")
    count, numbers = ctypes.c_int(), [ctypes.c_int(), ctypes.c_int()]
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        pytest.skip("no CUDA device on this machine")
    for number, attribute in zip(numbers, (75, 76), strict=True):
        assert driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0) == 0
    return 10 * numbers[0].value + numbers[1].value


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "tf32", "tf32x3"])
@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet_v1", "googlenet"])
def test_a_network_agrees_with_the_reference(name: str, dtype: str) -> None:
    graph = weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)
    report = check.check(graph, Options(("cuda",), dtype=dtype))
    assert report.passed, report.first_failure


@pytest.mark.parametrize("name", ["resnet50", "vgg_d", "mobilenet_v1"])
def test_times_beside_the_predicted_ones(name: str, device: int, record_property: pytest.RecordProperty) -> None:
    """A measurement, written into the test report; runs from the graph must not be slower than launches one by one."""
    known = {80, 86, 89, 90, 100, 75}
    target = f"cuda-sm_{device}" if device in known else "cuda"
    graph = weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)
    build = build_program(lower(graph, gpus.load(target)))
    model = build.model()
    image = np.zeros(model.inputs[0].shape, np.float32)
    model(image)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        model(image)
        seconds.append(time.perf_counter() - start)
    record_property("measured_us", sorted(seconds)[RUNS // 2] * 1e6)
    record_property("predicted_us", predict(build).total * 1e6)
    assert np.isfinite(model(image)).all()
