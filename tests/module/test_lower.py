"""One way from a graph to a program for every machine, and one list of its phases."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_text import parse_graph
from written import write_shared

import cnncc
from cnncc import api, lang, machines, ops, weights
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.machines import gpus, targets
from cnncc.module import backends, lower, phases
from cnncc.module.cpu.build import Build
from cnncc.module.gpu.program import MOST_BLOCKS, CudaProgram, check_grids, kernel_of
from cnncc.module.listener import Listener
from cnncc.module.program import LARGEST_INDEX, check_indices
from cnncc.options import DEFAULT, Options

NET = """net t
input 3x17x19
conv 3x3 8 pad 1 relu
maxpool 2x2 /2
conv 1x1 4
gap
fc 5
softmax
"""
ONE_OF_EACH = ("x86-64-v3", "aarch64", "wasm32", "cuda-sm_80")


def graph() -> Graph:
    return weights.bind(lang.parse(NET), seed=0)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_machine_goes_through_the_same_phases(name: str) -> None:
    heard: list[str] = []
    machine = machines.load(name)
    program = lower.lower(graph(), machine, DEFAULT, listener=Listener(on_phase=lambda phase, _: heard.append(phase)))
    assert heard == phases.names()
    assert program.target == machine
    assert program.plan.bytes <= program.arena_bytes
    assert {call.node for call in program.calls} == program.selections.keys()
    assert program.order_given
    assert max(node.type.block for node in program.graph.nodes) == machine.block


def test_every_format_of_a_target_has_a_backend() -> None:
    formats = {machines.load(name).format for name in machines.names()}
    assert formats == backends.HOMES.keys()
    for name in ONE_OF_EACH:
        assert isinstance(backends.backend_of(machines.load(name)), backends.Backend)


def test_a_module_asks_a_machine_through_the_protocol_only() -> None:
    """Whatever tells a GPU from a processor is in the table of backends."""
    for module in (lower, phases, backends):
        text = Path(module.__file__).read_text(encoding="utf-8")
        assert "isinstance" not in text
        assert '"cuda"' not in text.replace('"cuda": "cnncc.module.gpu.backend"', "")


def test_the_phases_stop_and_report() -> None:
    heard: list[str] = []

    def listen(name: str, stage: phases.Stage) -> None:
        heard.append(f"{name} {len(stage.graph.nodes)}")

    text = "net t\ninput 8x4x4\nconv 1x1 8; bn; dropout 0.5; relu\n"
    machine = targets.load("x86-64-v3")
    stage = phases.run(lang.parse(text), machine, DEFAULT, Listener(on_phase=listen), stop_after="fold_batchnorm")
    done = phases.names()[: phases.names().index("fold_batchnorm") + 1]
    assert [told.split()[0] for told in heard] == done
    assert (heard[0], heard[1], heard[-1]) == ("infer_shapes 5", "drop_identities 4", "fold_batchnorm 3")
    assert [n.op for n in stage.graph.nodes] == ["input", "conv", "relu"]
    assert (stage.plan, stage.order_given) == (None, ())


def test_an_unknown_phase_is_refused_with_the_nearest() -> None:
    with pytest.raises(CnnccError, match="no phase is named 'plan_arenas'") as caught:
        phases.run(graph(), targets.load("x86-64-v3"), stop_after="plan_arenas")
    assert "did you mean 'plan_arena'?" in str(caught.value)


def test_every_phase_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = phases.Phase("wrong", lambda stage, *_: replace(stage, graph=replace(stage.graph, outputs=("nothing",))))
    monkeypatch.setattr(phases, "PHASES", (*phases.PHASES, wrong))
    with pytest.raises(ops.VerifyError, match="'nothing' is no node"):
        phases.run(graph(), targets.load("x86-64-v3"))


def test_the_text_of_a_stage_is_a_graph_and_the_plan() -> None:
    stage = phases.run(graph(), targets.load("x86-64-v3"))
    head, places = stage.text().split("\n\n")
    assert parse_graph(head, ops.DEFAULTS).by_name.keys() == stage.graph.by_name.keys()
    assert stage.plan is not None
    assert places.splitlines()[0].startswith(f"arena of {stage.plan.bytes} bytes")
    assert len(places.splitlines()) == 1 + len(stage.graph.nodes)


def test_no_phase_needs_tvm() -> None:
    code = "import sys, cnncc.module.lower, cnncc.module.cpu.backend; assert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="targets of x86-64")
def test_several_targets_in_one_module_from_python(tmp_path) -> None:
    names = ("x86-64-v2", "x86-64-v4", "x86-64-v3")
    build = api.build(graph(), Options(names))
    assert isinstance(build, Build)
    assert [v.program.target.name for v in build.variants] == ["x86-64-v4", "x86-64-v3", "x86-64-v2"]
    assert {v.program.threads for v in build.variants} == {max(targets.load(name).cores for name in names)}
    assert build.info["target"]["name"] == "x86-64-v4,x86-64-v3,x86-64-v2"
    assert build.arena.total_bytes == max(v.program.arena_bytes for v in build.variants)
    image = np.random.default_rng(0).standard_normal((1, 3, 17, 19)).astype(np.float32)
    module, _ = write_shared(build, tmp_path / "t.so")
    loaded = cnncc.load(module)
    assert loaded(image).tobytes() == build.model()(image).tobytes()
    compiled = cnncc.compile(NET, target="x86-64-v3,x86-64-v2", seed=0)
    np.testing.assert_allclose(compiled(image), loaded(image), atol=1e-6)


@pytest.mark.parametrize("names", [("x86-64-v3", "cuda"), ("aarch64", "riscv64"), ("cuda", "cuda-sm_80")])
def test_targets_that_cannot_share_a_module_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CnnccError, match=f"target {','.join(names)}: only targets of x86-64 fit into one module"):
        api.build(graph(), Options(names))


def test_the_same_features_twice_are_refused() -> None:
    with pytest.raises(CnnccError, match="two of them require the same features"):
        api.build(graph(), Options(("x86-64-v3", "x86-64-v3")))


def test_a_module_for_several_takes_the_one_that_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process too; and where none does, it is the least that is named."""
    build = api.build(graph(), Options(("x86-64-v2", "x86-64-v3")))
    image = np.zeros((1, 3, 17, 19), np.float32)
    assert isinstance(build, Build)
    second = build.variants[1]
    strange = replace(build, program=replace(build.program, target=replace(build.program.target, requires=("avx99",))))
    assert strange.model()(image).tobytes() == replace(second, others=()).model()(image).tobytes()
    strange = replace(strange, others=(replace(strange, others=()),))
    with pytest.raises(CnnccError, match="lacks avx99"):
        strange.model()


def test_what_a_gpu_cannot_count_is_refused() -> None:
    """Before any code is made: too large an array, or too many blocks of a grid."""
    program = lower.lower(graph(), gpus.load("cuda-sm_80"))
    check_indices(program)
    check_grids(program)
    node = next(n.name for n in program.graph.nodes if n.op == "conv")
    call = program.selections[node].calls[0]

    def changed(**change: object) -> CudaProgram:
        selection = replace(program.selections[node], calls=(replace(call, **change),))
        return replace(program, selections={**program.selections, node: selection})

    check_indices(changed(workspace_bytes=4 * LARGEST_INDEX))
    with pytest.raises(CnnccError, match=f"conv needs an array of {LARGEST_INDEX + 1} numbers"):
        check_indices(changed(workspace_bytes=4 * (LARGEST_INDEX + 1)))
    with pytest.raises(CnnccError, match=r"conv needs a grid of \(1, 65536, 1\) blocks"):
        check_grids(changed(kernel=replace(kernel_of(call), grid=(1, MOST_BLOCKS + 1, 1))))


def test_a_target_file_of_another_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "directory", lambda name: tmp_path)
    for text, message in (
        ('format = "exe"', "odd.toml: format must be one of elf, wasm, cuda"),
        ('format = "elf"', "odd.toml: missing or unknown keys: abi, .*vector_bits"),
        ("format = elf", "odd.toml: not a readable target file"),
    ):
        (tmp_path / "odd.toml").write_text(text)
        with pytest.raises(CnnccError, match=message):
            machines.load("odd")
