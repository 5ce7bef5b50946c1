"""Spark, for real, in a session on this machine."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

from tests.contrib.cluster import TWO, make_job

sql = pytest.importorskip("pyspark.sql", reason="Spark is not installed: pip install 'cnncc-inference[spark]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, which is not installed"),
]


@pytest.fixture(scope="module")
def spark():
    os.environ["PYSPARK_PYTHON"] = sys.executable  # of the workers
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = sql.SparkSession.builder.master("local[2]").appName("cnncc")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


def test_columns_of_paths_of_contents_and_of_arrays(spark, tmp_path):
    from cnncc.contrib.spark import predict_udf

    job = make_job(tmp_path)
    rows = zip(job.paths, job.contents(), job.arrays.reshape(len(job.paths), -1).tolist(), strict=True)
    frame = spark.createDataFrame(list(rows), "name string, content binary, image array<float>").repartition(3)
    for column in ("name", "content", "image"):
        scores = predict_udf(job.module, files=column != "image", rows=3)
        found = frame.select("name", scores(column).alias("scores")).orderBy("name").collect()
        assert [row.name for row in found] == job.paths
        assert np.float32([row.scores for row in found]).tobytes() == job.scores.tobytes()


def test_several_outputs_are_a_struct(spark, tmp_path):
    from cnncc.contrib.spark import predict_udf

    job = make_job(tmp_path, TWO)
    frame = spark.createDataFrame([(path,) for path in job.paths], "name string")
    found = frame.select("name", predict_udf(job.module, files=True)("name").alias("out")).orderBy("name").collect()
    assert np.float32([row.out.scores for row in found]).tobytes() == job.scores.tobytes()
    assert {len(row.out.map) for row in found} == {2}


def test_binary_files_of_a_folder(spark, tmp_path):
    """Spark's own reader of files; no worker needs to see the folder."""
    from cnncc.contrib.spark import predict_udf

    job = make_job(tmp_path)
    frame = spark.read.format("binaryFile").option("pathGlobFilter", "*.png").load(str(tmp_path))
    found = (
        frame.select("path", predict_udf(job.module, files=True)("content").alias("scores")).orderBy("path").collect()
    )
    assert np.float32([row.scores for row in found]).tobytes() == job.scores.tobytes()
