"""The examples of servers, started for real, and the load test that judges them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pages import ROOT, blocks

from cnncc import CnnccError
from tests.serving.served import NET, ask, load, measure

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/serve.md").read_text(encoding="utf-8")
LITTLE = load.Load(concurrency=4, seconds=0.5)
FASTAPI = measure.WAYS[0]


@pytest.fixture(scope="module")
def modules(tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "small.net").write_text(NET)
    return measure.compile_modules(str(folder / "small.net"), folder)


@pytest.fixture(scope="module")
def url(modules) -> Iterator[str]:
    """FastAPI with the module for one image."""
    with measure.served(FASTAPI, modules[1]) as address:
        yield address


@pytest.mark.parametrize("way", measure.WAYS, ids=lambda way: way.name)
def test_every_answer_of_every_server_is_right(modules, way):
    if importlib.util.find_spec(way.program) is None:
        pytest.skip(f"{way.program} is not installed")
    cases = load.make_cases(str(modules[way.batch]))
    with measure.served(way, modules[way.batch]) as address:
        found = asyncio.run(load.run(address, cases, LITTLE))
    assert (found.wrong, found.refused, found.failed) == (0, 0, 0)
    assert found.right > 0
    assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms


def test_questions_at_a_rate(url, modules):
    found = asyncio.run(load.run(url, load.make_cases(str(modules[1])), load.Load(rate=200, seconds=1)))
    assert (found.wrong, found.refused, found.failed) == (0, 0, 0)
    assert 100 < found.right < 300


def test_a_wrong_answer_is_noticed(url, modules, capsys, monkeypatch):
    cases = load.make_cases(str(modules[1]))
    wrong = [replace(cases[0], answer=cases[1].answer), *cases[1:]]
    found = asyncio.run(load.run(url, wrong, LITTLE))
    assert found.wrong > 0
    assert found.right > found.wrong
    monkeypatch.setattr(load, "make_cases", lambda module: wrong)
    arguments = [str(modules[1]), url, "--seconds", "0.5", "--json"]
    monkeypatch.setattr("sys.argv", ["load.py", *arguments])
    assert load.main() == 1
    assert json.loads(capsys.readouterr().out)["wrong"] > 0


def test_a_server_that_is_not_there_is_a_failure(modules, monkeypatch, capsys):
    arguments = [str(modules[1]), f"http://127.0.0.1:{measure.free_port()}/predict", "--seconds", "0.1"]
    monkeypatch.setattr("sys.argv", ["load.py", *arguments])
    assert load.main() == 1
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["right", "wrong", "refused", "failed", "/s", "p50", "ms", "p90", "ms", "p99", "ms"]
    assert line.split()[0] == "0"
    assert line.split()[-3:] == ["-"] * 3


def test_a_server_that_does_not_come_up_is_told(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)did not come up.*none\.so: cannot be read"):
        with measure.served(FASTAPI, tmp_path / "none.so"):
            pass


def test_wrong_bytes_are_refused_and_pictures_read(url):
    base = url.removesuffix("/predict")
    status, body = ask(url, b"xx")
    assert (status, json.loads(body)["detail"]) == (400, "an image for small has 504 bytes of float32, got 2")
    status, body = ask(f"{base}/picture", b"xx")
    assert (status, "not an image of a known format" in body.decode()) == (400, True)
    before = json.loads(ask(f"{base}/counts")[1])["images"]
    assert ask(url, bytes(504))[0] == 200
    assert json.loads(ask(f"{base}/counts")[1])["images"] == before + 1


def test_a_digit_is_read(tmp_path):
    lenet = measure.compile_modules(str(ROOT / "models/lenet5.net"), tmp_path)[1]
    with measure.served(FASTAPI, lenet) as address:
        status, body = ask(address.replace("predict", "picture"), (ROOT / "examples/digits/7_a.png").read_bytes())
    assert (status, json.loads(body)["class"]) == (200, 7)


@pytest.mark.filterwarnings("ignore:Using `httpx`")
def test_a_busy_server_says_come_again(modules, monkeypatch):
    pytest.importorskip("httpx", reason="the client of FastAPI's tests needs httpx")
    from fastapi.testclient import TestClient
    from fastapi_app import app

    from cnncc.serving import QueueFullError

    async def refuse(*_: object) -> None:
        raise QueueFullError("small is busy")

    monkeypatch.setenv("CNNCC_MODULE", str(modules[1]))
    with TestClient(app) as client:
        monkeypatch.setattr(app.state.batcher, "infer", refuse)
        answer = client.post("/predict", content=bytes(504))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert load.judged(answer.status_code, answer.content, load.Case(b"", b"")) == "refused"


def test_settings_are_checked(tmp_path, modules):
    from service import make_batcher

    with pytest.raises(CnnccError, match="CNNCC_MODULE is not set"):
        make_batcher({})
    with pytest.raises(CnnccError, match="max_batch of small must be 1 to 1, its batch, got 9"):
        make_batcher({"CNNCC_MODULE": str(modules[1]), "CNNCC_MAX_BATCH": "9"})


def test_the_page_starts_the_servers_as_these_tests_do():
    words = " ".join(block.text for block in blocks(PAGE) if block.language == "sh")
    assert "uvicorn --app-dir examples/serve fastapi_app:app" in words
    for program in ("ray_app.py", "kserve_app.py", "load.py"):
        assert f"python examples/serve/{program}" in words
