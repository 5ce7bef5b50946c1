"""Beam, for real, with its runner for one machine."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from written import write_shared

from cnncc.base.errors import CnnccError
from cnncc.options import Options
from tests.contrib.cluster import TWO, make_job

beam = pytest.importorskip("apache_beam", reason="Beam is not installed: pip install 'cnncc-inference[beam]'")
pytestmark = pytest.mark.slow


def run(elements, handler, folder):
    """(example, inference) of every element; by way of files, as a pipeline works on copies."""
    from apache_beam.ml.inference.base import RunInference

    with beam.Pipeline("DirectRunner") as pipeline:
        results = pipeline | beam.Create(elements) | RunInference(handler)
        lines = results | beam.Map(lambda result: pickle.dumps((result.example, result.inference)).hex())
        lines | beam.io.WriteToText(str(folder / "result"))
    written = [line for file in folder.glob("result-*") for line in file.read_text().splitlines()]
    for file in folder.glob("result-*"):
        file.unlink()
    return [pickle.loads(bytes.fromhex(line)) for line in written]


def test_paths_contents_and_arrays(tmp_path):
    from cnncc.contrib.beam import CnnccModelHandler

    job = make_job(tmp_path)
    handler = CnnccModelHandler(job.module, rows=3)
    wanted = dict(zip(job.paths, job.scores, strict=True))
    found = run(job.paths, handler, tmp_path)
    assert {path: scores.tobytes() for path, scores in found} == {p: s.tobytes() for p, s in wanted.items()}
    for elements in (job.contents(), list(job.arrays)):
        assert {scores.tobytes() for _, scores in run(elements, handler, tmp_path)} == {s.tobytes() for s in job.scores}


def test_several_outputs_by_name(tmp_path):
    from cnncc.contrib.beam import CnnccModelHandler

    job = make_job(tmp_path, TWO)
    found = run(job.paths, CnnccModelHandler(job.module), tmp_path)
    assert {scores["scores"].tobytes() for _, scores in found} == {s.tobytes() for s in job.scores}
    assert {scores["map"].shape for _, scores in found} == {(2, 1, 1)}


def test_what_it_cannot_do_is_refused(tmp_path):
    from cnncc import api, lang, weights
    from cnncc.contrib.beam import CnnccModelHandler

    two = "net two\ninput a 2x4x4\ninput b 2x4x4\nadd { | from a }\n"
    module, _ = write_shared(api.build(weights.bind(lang.parse(two)), Options(threads=1)), tmp_path / "two.so")
    with pytest.raises(CnnccError, match="RunInference is for modules of one input"):
        CnnccModelHandler(module)
    handler = CnnccModelHandler(make_job(tmp_path).module)
    with pytest.raises(CnnccError, match="takes no inference arguments, got beam_size"):
        handler.run_inference([np.zeros((3, 8, 8), np.float32)], handler.load_model(), {"beam_size": 4})
