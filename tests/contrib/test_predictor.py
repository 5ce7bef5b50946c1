"""The function that travels to workers, without any cluster."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from written import write_shared

from cnncc import lang
from cnncc.api import build
from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.contrib import dask, ray, spark
from cnncc.contrib.predictor import ship
from cnncc.options import Options
from cnncc.weights.files import bind
from tests.contrib.cluster import TWO, Job, make_job


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    return make_job(tmp_path_factory.mktemp("job"))


def test_every_kind_of_column_gives_the_same_bits(job):
    predictor = pickle.loads(pickle.dumps(ship(job.module)))
    boxed = np.empty(len(job.arrays), object)
    boxed[:] = list(job.arrays)
    flat = job.arrays.reshape(len(job.arrays), -1)
    for column in (job.arrays, list(job.arrays), boxed, flat, list(flat), flat.astype(np.float64)):
        assert predictor(column)[0].tobytes() == job.scores.tobytes()
    for column in (job.paths, np.array(job.paths), np.array(job.paths, object), job.contents()):
        assert predictor(column)[0].tobytes() == job.scores.tobytes()


def test_pixels_are_prepared_as_the_text_says(job):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    predictor = ship(job.module)
    assert predictor(pixels)[0].tobytes() == predictor(pixels.astype(np.float32))[0].tobytes()


def test_no_images_give_no_results(job):
    predictor = ship(job.module)
    for column in ([], np.empty((0, 3, 8, 8), np.float32), np.empty((0, 192), np.float32)):
        assert predictor(column)[0].shape == (0, 3)


def test_a_process_opens_a_module_once_with_one_thread(job):
    first, second = ship(job.module), pickle.loads(pickle.dumps(ship(job.module)))
    assert first.model is second.model
    assert first.threads == 1
    assert ship(job.module, threads=2).model is not first.model


def test_several_outputs_come_in_order(tmp_path):
    job = make_job(tmp_path, TWO)
    scores, maps = ship(job.module)(job.paths)
    assert scores.tobytes() == job.scores.tobytes()
    assert maps.shape == (len(job.paths), 2, 1, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.zeros((2, 3, 9, 9), np.float32), "input 'input' takes images of 3x8x8, got 3x9x9"),
        ([np.zeros((9, 9, 3), np.uint8)], "input 'input' takes images of 3x8x8, got 9x9x3"),
        (np.zeros((2, 3, 8, 8), np.int64), "takes floats, or pixels of uint8, got int64"),
        (["none.png"], "cannot read image none.png: no such file"),
        ([b"junk"], "the image is not an image of a known format"),
    ],
)
def test_what_is_no_image_is_refused(job, column, message):
    with pytest.raises(CnnccError, match=message):
        ship(job.module)(column)


def test_wrong_modules_are_refused_where_they_are_shipped(job, tmp_path):
    with pytest.raises(CnnccError, match="no such file"):
        ship(tmp_path / "none.so")
    with pytest.raises(CnnccError, match="was compiled for 1 to 2 threads, got 3"):
        ship(job.module, threads=3)
    with pytest.raises(CnnccError, match="tiny takes 1 columns, got 2"):
        ship(job.module)(job.arrays, job.arrays)


def test_another_file_on_a_worker_is_noticed(tmp_path):
    job = make_job(tmp_path)
    predictor = ship(job.module)
    write_shared(build(bind(lang.parse(TWO)), Options(threads=1)), job.module)
    with pytest.raises(CnnccError, match="is not the module that was pickled"):
        predictor(job.arrays)


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda module: ray.predict(None, module), "ray[data]"),
        (lambda module: dask.predict(None, module), "dask[array]"),
        (lambda module: spark.predict_udf(module), "pyspark[ml]"),
    ],
    ids=["ray", "dask", "spark"],
)
def test_a_missing_package_is_named(job, monkeypatch, call, package):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(CnnccError) as caught:
        call(job.module)
    name = package.split("[")[0].removeprefix("py")
    assert caught.value.message == f"cnncc.contrib.{name} needs {package}, which is not installed"
    assert caught.value.hint == extras.install(name)
