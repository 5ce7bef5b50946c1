"""Several targets in one module: the best that the processor can run is taken, and the others are whole."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest
from module.c_programs import SETUP, build, compile_and_run, foreign

import cnncc
from cnncc import machines
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.module.cpu.build import Build
from cnncc.module.lower import lower
from cnncc.runtime import cpu

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="targets of x86-64")
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")


def built(monkeypatch, *wanted: tuple[str, str]) -> Build:
    """The network for several (target, feature required besides)."""
    known = {name: foreign(name, feature) if feature else targets.load(name) for name, feature in wanted}
    with monkeypatch.context() as patch:
        patch.setattr(machines, "load", known.__getitem__)
        return build(target=",".join(known))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, 17, 19)).astype(np.float32)


@pytest.mark.parametrize("runnable", range(len(LEVELS)))
@pytest.mark.parametrize("external", [False, True], ids=["inside", "external"])
def test_the_first_that_runs_is_taken(tmp_path, monkeypatch, image, runnable, external):
    """Those before it require what no processor has; each variant reads its own weights."""
    if cpu.missing(targets.load(LEVELS[runnable]).requires):
        pytest.skip(f"this processor is no {LEVELS[runnable]}")
    made = built(monkeypatch, *[(name, "avx99" if i < runnable else "") for i, name in enumerate(LEVELS)])
    kinds = ("so", "weights") if external else ("so",)
    files = made.write({kind: tmp_path / f"small.{kind}" for kind in kinds})
    model = cnncc.load(files["so"])
    assert model(image).tobytes() == replace(made.variants[runnable], others=()).model()(image).tobytes()
    assert model.info["memory"]["arena_bytes"] == max(b.program.arena_bytes for b in made.variants)
    assert model.info["weights"]["bytes"] >= sum(b.program.weight_bytes for b in made.variants)
    assert model.info["target"]["name"] == ",".join(LEVELS)


def test_none_that_runs_is_one_line(tmp_path, monkeypatch):
    made = built(monkeypatch, ("x86-64-v3", "avx99"), ("x86-64-v2", "avx77"))
    made.write({kind: tmp_path / f"small.{kind}" for kind in ("o", "h")})
    source = (
        SETUP
        + """
int main(void) {
    CHECK(small_run(small_model_get(), 1, in, out, memory(SMALL_ARENA_BYTES)) == CNNCC_WRONG_PROCESSOR);
    printf("%s", small_error(CNNCC_WRONG_PROCESSOR));
    return 0;
}
"""
    )
    assert compile_and_run(tmp_path, source, "./small.o") == "this processor lacks avx77"


@pytest.mark.parametrize("runnable", range(len(LEVELS)))
def test_in_this_process_only_what_runs_is_built(monkeypatch, runnable):
    """Nor is another one measured, which would be refused."""
    if cpu.missing(targets.load(LEVELS[runnable]).requires):
        pytest.skip(f"this processor is no {LEVELS[runnable]}")
    load, lowered, tuned = targets.load, [], []

    def known(name: str) -> targets.Target:
        return foreign(name, "avx99") if LEVELS.index(name) < runnable else load(name)

    def told(graph, machine, *rest):
        lowered.append(machine.name)
        return lower(graph, machine, *rest)

    monkeypatch.setattr(machines, "load", known)
    monkeypatch.setattr("cnncc.module.lower.lower", told)
    monkeypatch.setattr("cnncc.tune.tune", lambda graph, machine, *_: tuned.append(machine.name) or {})
    model = cnncc.compile("net one\ninput 3x6x7\nconv 3x3 9 relu\n", target=LEVELS[::-1], threads=1, seed=0, tune=1)
    assert lowered == tuned == [LEVELS[runnable]]
    assert model.info["target"]["name"] == LEVELS[runnable]


def test_in_this_process_none_that_runs_is_refused(monkeypatch):
    monkeypatch.setattr(machines, "load", lambda name: foreign(name, "avx99"))
    with pytest.raises(CnnccError, match="target x86-64-v3: this processor lacks avx99"):
        cnncc.compile("lenet5", target="x86-64-v2,x86-64-v3", seed=0)


def test_in_this_process_too_targets_have_to_fit():
    with pytest.raises(CnnccError, match="only targets of x86-64 fit into one module"):
        cnncc.compile("lenet5", target="x86-64-v2,aarch64", seed=0)
