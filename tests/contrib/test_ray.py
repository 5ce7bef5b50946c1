"""Ray, for real, on this machine."""

from __future__ import annotations

import pytest

from tests.contrib.cluster import TWO, make_job

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'cnncc-inference[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'cnncc-inference[ray]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def by_name(rows):
    return sorted(rows, key=lambda row: row["name"])


def test_a_dataset_of_paths_and_one_of_contents(tmp_path):
    from cnncc.contrib.ray import predict

    job = make_job(tmp_path)
    contents = job.contents()
    dataset = ray.data.from_items(
        [{"name": path, "content": body} for path, body in zip(job.paths, contents, strict=True)]
    )
    for column in ("name", "content"):
        rows = by_name(predict(dataset, job.module, column, rows=4).take_all())
        assert [row["name"] for row in rows] == job.paths
        assert b"".join(row["scores"].tobytes() for row in rows) == job.scores.tobytes()


def test_a_dataset_of_arrays_and_several_outputs(tmp_path):
    from cnncc.contrib.ray import predict

    job = make_job(tmp_path, TWO)
    dataset = ray.data.from_numpy(job.arrays).repartition(3)
    rows = predict(dataset, job.module, "data").take_all()
    assert {row["scores"].tobytes() for row in rows} == {scores.tobytes() for scores in job.scores}
    assert {row["map"].shape for row in rows} == {(2, 1, 1)}


def test_a_module_that_is_gone_fails_the_job_with_its_reason(tmp_path):
    from cnncc.contrib.ray import predict

    job = make_job(tmp_path)
    dataset = predict(ray.data.from_items([{"image": path} for path in job.paths]), job.module)
    job.module.unlink()
    with pytest.raises(Exception, match="no such file or folder"):
        dataset.take_all()
