"""Tuning without a clock: duels and searches with given times, given choices in programs, results on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import chain, repeat

import numpy as np
import pytest
from kernels.compare import network, worst_error

from cnncc import api, lang, tune
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.kernels.cpu.conv_choice import DirectChoice
from cnncc.kernels.cpu.tiles import Tile, fits_registers
from cnncc.kernels.cpu.winograd_choice import WinogradChoice
from cnncc.kernels.shared.choices import Given
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.runtime import cpu
from cnncc.tune import network as tuning
from cnncc.tune import store
from cnncc.tune.duel import MARGIN, compare
from cnncc.tune.kernels import LAYERS
from cnncc.tune.layers import Layer, Setting, kind, layers_of, make_layer
from cnncc.tune.search import Found, search_layer
from cnncc.tune.trial import Maker

HOST = targets.host()
SETTING = Setting(HOST, Options(threads=1))


def measured(threads: int = 1, max_error: float = 1e-5) -> Setting:
    return Setting(HOST, Options(threads=threads, max_error=max_error))


FAR = float("inf")


@pytest.fixture(autouse=True)
def _own_results(tmp_path, monkeypatch) -> None:
    """Results in a folder of their own; objects too."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))


def layers(body: str, dims: str, setting: Setting = SETTING) -> list[Layer]:
    graph = lang.parse(f"net t\ninput {dims}\n{body}\n")
    return layers_of(lower(graph, setting.target, setting.options), setting)


def winograd_layer() -> Layer:
    return layers("relu; conv 3x3 32 relu", "32x14x14")[0]


def constant(seconds: float):  # type: ignore[no-untyped-def]
    return lambda: seconds


def test_a_challenger_must_win_by_the_margin() -> None:
    assert compare(constant(1.0), constant(0.9)).won
    assert not compare(constant(1.0), constant(MARGIN + 0.01)).won


def test_one_lucky_round_does_not_win() -> None:
    lucky = chain([0.5], repeat(1.0))
    assert not compare(constant(1.0), lambda: next(lucky)).won


def test_a_disturbed_champion_does_not_lose() -> None:
    slow = chain([1.0], repeat(2.0))
    both = compare(lambda: next(slow), constant(1.1))
    assert both.ratio < 1
    assert not both.won


def test_hopeless_challengers_get_one_round() -> None:
    asked = []
    compare(constant(1.0), lambda: asked.append(0) or 2.0)
    assert len(asked) == 1


class Fake:
    """A trial that takes as long as it is told."""

    def __init__(self, choice, seconds: float, right: bool = True) -> None:  # type: ignore[no-untyped-def]
        self.choice, self.seconds, self.right = choice, seconds, right

    def round(self) -> float:
        return self.seconds

    def agrees(self, other: Fake, max_error: float) -> bool:
        return self.right


def search(layer: Layer, seconds, wrong=(), deadline: float = FAR) -> Found:  # type: ignore[no-untyped-def]
    def make(choices):  # type: ignore[no-untyped-def]
        return [Fake(c, seconds.get(c, 1.0), c not in wrong) for c in choices]

    return search_layer(layer, SETTING, deadline, make)


def test_search_finds_the_fastest() -> None:
    layer = winograd_layer()
    best = layer.candidates[5]
    found = search(layer, {best: 0.5, layer.candidates[2]: 0.8})
    assert (found.choice, found.is_pick, found.complete) == (best, False, True)
    assert found.tried == len(layer.candidates)
    assert found.why == "measured: 500 ms, model's pick 1e+03"


def test_search_keeps_the_pick() -> None:
    layer = winograd_layer()
    found = search(layer, {c: 0.98 for c in layer.candidates})
    assert (found.choice, found.is_pick) == (layer.pick, True)
    assert found.why.startswith("measured: 1e+03 ms, model's pick, no faster one among ")


def test_wrong_results_never_win() -> None:
    layer = winograd_layer()
    best = layer.candidates[0]
    found = search(layer, {best: 0.1}, wrong=(best,))
    assert found.is_pick
    assert found.wrong == 1
    assert found.why.endswith("; 1 gave wrong results")


def test_no_time_gives_the_pick() -> None:
    found = search(winograd_layer(), {}, deadline=0.0)
    assert (found.is_pick, found.tried, found.complete) == (True, 0, False)


def test_candidates_are_legal_and_begin_with_one_of_each_kind() -> None:
    for text in LAYERS.values():
        dims, body = text.split(": ")
        (layer,) = layers(body, dims)
        assert layer.pick not in layer.candidates
        assert len(set(layer.candidates)) == len(layer.candidates) > 0
        kinds = list(map(kind, layer.candidates))
        distinct = len(set(kinds))
        assert len(set(kinds[:distinct])) == distinct
        for choice in layer.candidates:
            if isinstance(choice, DirectChoice):
                assert fits_registers(choice.tile, HOST)


def test_equal_convolutions_are_one_layer() -> None:
    found = layers("relu; conv 3x3 32 relu; conv 3x3 32; conv 1x1 32; conv 5x5 16", "32x14x14")
    assert sorted(layer.count for layer in found) == [1, 1, 2]


def test_error_bound_leaves_winograd_out() -> None:
    exact = layers("relu; conv 3x3 32 relu", "32x14x14", Setting(HOST, Options(threads=1, max_error=0.0)))[0]
    assert all(isinstance(c, DirectChoice) for c in (exact.pick, *exact.candidates))
    assert any(isinstance(c, WinogradChoice) for c in winograd_layer().candidates)


def given(graph: Graph, choice) -> dict:  # type: ignore[no-untyped-def, type-arg]
    (layer,) = layers_of(lower(graph, HOST), SETTING)
    return {layer.key: Given(choice, "said so")}


@pytest.mark.parametrize(
    "choice",
    [
        DirectChoice(Tile(1, 5, 1), rows=4, sections=2),
        DirectChoice(Tile(1, 7, 2), rows=3, sections=1),
        WinogradChoice(m=2, tiles=9, sections=1, blocks=2, shared=False),
        WinogradChoice(m=4, tiles=16, sections=2, blocks=1, shared=True),
    ],
)
def test_given_choices_are_taken_and_right(monkeypatch, choice) -> None:
    graph = network("relu; conv 3x3 32 relu", "24x14x14")
    choices = given(graph, choice)
    selection = next(s for s in lower(graph, HOST, choices=choices).selections.values() if s.weights)
    assert selection.choice == choice
    assert "; said so" in selection.why
    monkeypatch.setattr(api, "_choices", lambda *_: choices)
    assert worst_error(graph, threads=1) <= 2e-5


def test_choices_are_for_their_layer_only() -> None:
    graph = network("relu; conv 3x3 32 relu", "24x14x14")
    other = network("relu; conv 3x3 32 relu", "24x15x14")
    choices = given(graph, DirectChoice(Tile(1, 5, 1), 4, 2))
    assert lower(other, HOST, choices=choices).kernels == lower(other, HOST).kernels


def test_real_trials_agree_and_notice_a_wrong_one() -> None:
    layer = winograd_layer()
    make = Maker(layer, SETTING)
    one, two = (next(iter(make([c]))) for c in (layer.pick, layer.candidates[0]))
    assert one.round() > 0
    assert len(one.models) > 1
    assert two.agrees(one, 1e-5)
    two.result = two.result + np.float32(0.01) * np.abs(two.result).max()
    assert not two.agrees(one, 1e-5)


@pytest.mark.parametrize(
    "choice",
    [
        DirectChoice(Tile(1, 5, 2), 4, 2),
        DirectChoice(Tile(1, 5, 2), 4, 2, padded=True),
        WinogradChoice(4, 16, 2, 1, True),
    ],
)
def test_entries_survive_the_disk(choice, tmp_path) -> None:
    entry = store.Entry(Found(choice, False, 1e-3, 2e-3, 7, 0, True), 1.5)
    store.write(tmp_path / "new" / "x.json", entry)
    assert store.read(tmp_path / "new" / "x.json") == entry


@pytest.mark.parametrize(
    "damage", [lambda t: t[: len(t) // 2], lambda t: "", lambda t: "[]", lambda t: t.replace("7", "8")]
)
def test_damaged_entries_are_ignored(damage, tmp_path) -> None:
    path = tmp_path / "x.json"
    store.write(path, store.Entry(Found(DirectChoice(Tile(1, 5, 2), 4, 2), False, 1e-3, 2e-3, 7, 0, True), 1.5))
    path.write_text(damage(path.read_text()))
    assert store.read(path) is None


def test_an_unwritable_store_is_no_error(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = Found(DirectChoice(Tile(1, 5, 2), 4, 2), False, 1e-3, 2e-3, 7, 0, True)
    store.write(tmp_path / "file" / "x.json", store.Entry(found, 1.0))


def test_every_setting_has_its_own_file() -> None:
    settings = [SETTING, measured(threads=2), measured(max_error=1e-4)]
    settings.append(Setting(targets.load("x86-64-v3"), Options(threads=1)))
    settings.append(Setting(HOST, Options(threads=1, max_error=1e-5), weights_stay=True))
    large = layers("relu; conv 3x3 64 relu", "64x56x56")[0]
    made = [make_layer(large.key, large.pick, s) for s in (*settings, measured(max_error=2e-5))]
    paths = [store.path_of(layer, s) for layer, s in zip(made, (*settings, measured(max_error=2e-5)), strict=True)]
    assert len(set(paths[:5])) == 5
    # What the bound leaves to try counts, not the bound.
    assert paths[5] == paths[0]


@dataclass(frozen=True)
class LaterOptions(Options):
    """Options with a field that somebody adds later, and that may matter to convolutions."""

    later: int = 0


def test_an_option_that_is_added_is_measured_with_and_in_the_key() -> None:
    layer = winograd_layer()
    settings = [Setting(HOST, LaterOptions(threads=1, later=later)) for later in (0, 1)]
    assert [getattr(s.of_layer("conv"), "later", None) for s in settings] == [0, 1]
    assert store.path_of(layer, settings[0]) != store.path_of(layer, settings[1])


def test_what_no_convolution_depends_on_shares_a_file() -> None:
    layer = winograd_layer()
    other = Options(("host", "x86-64-v3"), 4, 1, 1e-5, "float32", "float32", 3.0, True, True)
    assert store.path_of(layer, Setting(HOST, other)) == store.path_of(layer, SETTING)


def test_layers_with_halves_as_weights_have_their_own_file() -> None:
    layer, other = winograd_layer(), replace(SETTING.options, weights_dtype="bfloat16")
    assert store.path_of(layer, replace(SETTING, options=other)) != store.path_of(layer, SETTING)


def test_weights_that_stay_are_measured_from_the_last_cache() -> None:
    """Copies of them outgrow the second caches only; those of a network that is too large outgrow the last."""
    layer, counts = winograd_layer(), []
    for stay in (True, False):
        (trial,) = Maker(layer, Setting(HOST, Options(threads=1, max_error=1e-5), stay))([layer.pick])
        counts.append(len(trial.models))
    assert 1 < counts[0] < counts[1]


@pytest.fixture
def searched(monkeypatch) -> list[Layer]:
    """Layers that were searched; each search takes no time and finds the first candidate."""
    done: list[Layer] = []

    def instead(layer: Layer, setting: Setting, deadline: float) -> Found:
        done.append(layer)
        return Found(layer.candidates[0], False, 1e-3, 2e-3, 3, 0, False)

    monkeypatch.setattr(tuning, "search_layer", instead)
    return done


NET = network("relu; conv 3x3 32 relu; conv 1x1 48 relu; conv 1x1 32 relu; conv 3x3 32", "32x14x14")


def test_tuned_once_for_all_networks(searched) -> None:
    first = tune.tune(NET, HOST, Options(threads=1, tune=100.0))
    assert len(searched) == 3
    assert all(g.why == "measured: 1 ms, model's pick 2" for g in first.values())
    assert tune.tune(NET, HOST, Options(threads=1, tune=100.0)) == first
    assert len(searched) == 3
    tune.tune(network("relu; conv 3x3 32; conv 5x5 16", "32x14x14"), HOST, Options(threads=1, tune=1.0))
    assert len(searched) == 4


def test_much_more_time_searches_on(searched) -> None:
    tune.tune(NET, HOST, Options(threads=1, tune=100.0))
    tune.tune(NET, HOST, Options(threads=1, tune=190.0))
    assert len(searched) == 3
    tune.tune(NET, HOST, Options(threads=1, tune=210.0))
    assert len(searched) == 6


def test_a_layer_left_over_gets_its_own_part_only(monkeypatch, searched) -> None:
    given = tune.tune(NET, HOST, Options(threads=1, tune=1000.0))
    last = searched[-1]
    small = Setting(HOST, Options(threads=1, max_error=1e-5), weights_stay=True)
    store.path_of(last, small).unlink()
    deadlines = []
    real = tuning.search_layer
    monkeypatch.setattr(tuning, "search_layer", lambda *a: deadlines.append(a[2]) or real(*a))
    start = tuning.time.perf_counter()
    assert tune.tune(NET, HOST, Options(threads=1, tune=1000.0)) == given
    assert len(deadlines) == 1
    assert deadlines[0] - start < 900.0


def test_progress_counts_layers(searched) -> None:
    said: list[tuple[str, int, int]] = []
    tune.tune(NET, HOST, Options(threads=1, tune=100.0), progress=lambda *a: said.append(a))
    assert [(done, total) for _, done, total in said] == [(0, 3), (1, 3), (2, 3)]
    assert said[0][0].startswith("tuning layers, ")


def test_build_uses_what_was_found_only_if_asked(searched) -> None:
    plain = api.build(NET, Options(threads=1))
    tuned = api.build(NET, Options(threads=1, tune=100.0))
    assert any("measured: 1 ms, model's pick 2" in why for _, _, why in tuned.kernels)
    assert [c.kernel for c in tuned.program.calls] != [c.kernel for c in plain.program.calls]
    assert api.build(NET, Options(threads=1)).info == plain.info
    x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
    np.testing.assert_allclose(tuned.model()(x), plain.model()(x), rtol=0, atol=1e-4)


def test_a_real_search_of_little_time_ends_with_a_whole_result() -> None:
    choices = tune.tune(network("relu; conv 3x3 16", "16x8x8"), HOST, Options(threads=1, tune=0.01))
    assert all(g.why.startswith("measured: ") for g in choices.values())
    assert len(choices) == len(list((store.cache.directory() / "tuned").glob("*.json")))
    for path in (store.cache.directory() / "tuned").glob("*.json"):
        assert json.loads(path.read_text())["body"]["found"]["pick_seconds"] > 0


def test_tuning_for_another_processor_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(cpu, "missing", lambda requires: ("avx9",))
    with pytest.raises(CnnccError, match="target host: cannot measure, this processor lacks avx9"):
        tune.tune(NET, HOST, Options(threads=1, tune=1.0))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf")])
def test_no_time_is_refused(seconds) -> None:
    with pytest.raises(CnnccError, match="tuning needs a number of seconds above 0"):
        api.build(NET, Options(threads=1, tune=seconds))
