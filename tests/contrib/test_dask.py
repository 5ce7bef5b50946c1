"""Dask, for real, with worker processes on this machine."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.base.errors import CnnccError
from tests.contrib.cluster import TWO, make_job

da = pytest.importorskip("dask.array", reason="Dask is not installed: pip install 'cnncc-inference[dask]'")
bag = pytest.importorskip("dask.bag", reason="Dask is not installed: pip install 'cnncc-inference[dask]'")
distributed = pytest.importorskip("distributed", reason="no distributed: pip install 'cnncc-inference[dask]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local),
    ):
        yield


def test_an_array_in_ragged_chunks(tmp_path):
    from cnncc.contrib.dask import predict

    job = make_job(tmp_path)
    images = da.from_array(job.arrays, chunks=(5, 2, 8, 4))  # images torn apart, too
    result = predict(images, job.module)
    assert (result.shape, result.dtype, result.chunks) == ((11, 3), np.float32, ((5, 5, 1), (3,)))
    assert result.compute().tobytes() == job.scores.tobytes()
    assert result.argmax(axis=1).compute().tolist() == job.scores.argmax(axis=1).tolist()


def test_a_bag_of_paths(tmp_path):
    from cnncc.contrib.dask import predict

    job = make_job(tmp_path)
    result = predict(bag.from_sequence(job.paths, npartitions=3), job.module).compute()
    assert b"".join(scores.tobytes() for scores in result) == job.scores.tobytes()


def test_what_dask_cannot_hold_is_refused(tmp_path):
    from cnncc.contrib.dask import predict

    job = make_job(tmp_path)
    with pytest.raises(CnnccError, match="expected an array or a bag of Dask, got ndarray"):
        predict(job.arrays, job.module)
    two = make_job(tmp_path, TWO)
    with pytest.raises(CnnccError, match="for modules of one input and one output"):
        predict(da.from_array(two.arrays), two.module)


def test_errors_of_workers_come_back(tmp_path):
    from cnncc.contrib.dask import predict

    job = make_job(tmp_path)
    with pytest.raises(CnnccError, match=r"cannot read image none\.png"):
        predict(bag.from_sequence(["none.png"]), job.module).compute()
