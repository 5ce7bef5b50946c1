"""Models travel as the path and the hash of their file."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from written import write_shared

from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError, Span
from cnncc.module.cpu.build import Build
from cnncc.module.cpu.write import write
from cnncc.options import Options
from cnncc.runtime.load import load

ROOT = Path(__file__).resolve().parents[2]
IMAGE = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)


def built(relus: int = 1) -> Build:
    text = "net small\ninput 3x9x9\nconv 3x3 8" + " relu" * relus + "\ngap\nfc 4 softmax\n"
    return api.build(weights.bind(lang.parse(text)), Options(threads=2))


@pytest.fixture
def module(tmp_path) -> Path:
    return write_shared(built(), tmp_path / "net.so")[0]


def test_a_model_in_another_process(module, tmp_path, monkeypatch):
    """Loaded by a relative path, opened in another folder: the path that is stored is absolute."""
    monkeypatch.chdir(tmp_path)
    model = load(module.name)
    wanted = model(IMAGE)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps((model, IMAGE, wanted)))
    assert (tmp_path / "model.pkl").stat().st_size < 4000
    script = (
        "import pickle, sys\n"
        f"model, image, wanted = pickle.load(open({str(tmp_path / 'model.pkl')!r}, 'rb'))\n"
        "assert model(image).tobytes() == wanted.tobytes()\n"
        "assert 'tvm' not in sys.modules and 'lark' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_number_of_threads_travels(module):
    assert pickle.loads(pickle.dumps(load(module, threads=1))).threads == 1
    assert pickle.loads(pickle.dumps(load(module))).threads == 2


def test_a_weights_file_elsewhere_travels_as_its_path(tmp_path):
    files = {"so": tmp_path / "net.so", "h": tmp_path / "net.h", "weights": tmp_path / "net.weights"}
    write(built(), files)
    moved = tmp_path / "far.weights"
    files["weights"].rename(moved)
    model = load(files["so"], moved)
    assert pickle.loads(pickle.dumps(model))(IMAGE).tobytes() == model(IMAGE).tobytes()
    stored = pickle.dumps(model)
    damaged = bytearray(moved.read_bytes())
    damaged[-1] ^= 1
    moved.write_bytes(damaged)
    with pytest.raises(CnnccError, match=r"far\.weights: the weights were altered"):
        pickle.loads(stored)


def test_a_loaded_model_can_be_copied(module):
    assert copy.deepcopy(load(module))(IMAGE).tobytes() == load(module)(IMAGE).tobytes()


def test_a_model_compiled_here_refuses_and_says_what_to_do():
    with pytest.raises(CnnccError, match="small was compiled into this process and cannot be pickled") as caught:
        pickle.dumps(built().model())
    assert "cnncc compile" in caught.value.hint


def test_a_file_that_is_gone(module):
    model = load(module)
    stored = pickle.dumps(model)
    module.unlink()
    with pytest.raises(CnnccError, match=r"net\.so: cannot be read: no such file") as caught:
        pickle.loads(stored)
    assert "every process needs the same file at that path" in caught.value.hint
    with pytest.raises(CnnccError, match="no such file"):
        pickle.dumps(model)


def test_another_file_at_that_path(module):
    model = load(module)
    stored = pickle.dumps(model)
    write_shared(built(relus=0), module)
    with pytest.raises(
        CnnccError, match=r"net\.so is not the module that was pickled: its sha256 is \w{12}, not \w{12}"
    ):
        pickle.loads(stored)
    with pytest.raises(CnnccError, match=r"net\.so has changed since it was loaded"):
        pickle.dumps(model)


def test_the_same_bytes_elsewhere_in_time_are_the_same_module(module):
    stored = pickle.dumps(load(module))
    shutil.copy(module, module.with_name("copy"))
    module.with_name("copy").replace(module)
    assert pickle.loads(stored)(IMAGE).shape == (1, 4)


def test_errors_travel_back():
    """From a worker to the process that waits for it, with all they say."""
    error = CnnccError("bad", Span("a.net", 1, 2, 3, "text"), [("block", Span("a.net", 4, 5))], "do this")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
