"""`make examples`: each example is built, run on one digit, and held to the reference."""

from __future__ import annotations

import pytest

from examples import run_all


@pytest.mark.parametrize("example", run_all.EXAMPLES, ids=lambda e: e.name)
def test_example(example, tmp_path):
    try:
        scores = example.run(tmp_path)
    except run_all.Missing as reason:
        pytest.skip(str(reason))
    found, error = run_all.judge(scores)
    assert found == 2
    assert error <= run_all.BOUND


def test_a_wrong_answer_is_told(monkeypatch, capsys):
    wrong = dict.fromkeys(range(10), 0.1)
    missing = run_all.Example("absent", lambda folder: run_all.need("no-such-tool", advice="make it"))
    monkeypatch.setattr(run_all, "EXAMPLES", (run_all.Example("broken", lambda folder: wrong), missing))
    assert run_all.main() == 1
    broken, absent = capsys.readouterr().out.splitlines()
    assert broken == "broken       class 0, error 9.0e-01  WRONG"
    assert absent == "absent       left out: no no-such-tool (make it)"
