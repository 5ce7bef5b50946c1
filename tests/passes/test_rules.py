"""Every rewrite rule: fires, keeps the meaning, does not fire where it must not, and has nothing left to do."""

from __future__ import annotations

import importlib
import pkgutil
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from passes.pass_helpers import Net, bound, keeps_meaning, passed, text
from passes.rule_cases import CASES

from cnncc import lang, ops, passes
from cnncc.frontends.text.write import net_text
from cnncc.ir import Constant, Graph, Node
from cnncc.ir.draft import Draft
from cnncc.ir.rewrite import Change, Rule, rewrite
from cnncc.passes.rules import RULES

BY_NAME = {r.name: r for rules in RULES.values() for r in rules}
EVERY = tuple(BY_NAME.values())
GOLDEN = dict(part.split("\n", 1) for part in (Path(__file__).parent / "rules_golden.txt").read_text().split("# ")[1:])
"""By rule, the graph that it makes of its case."""
MUST_NOT = [(name, why) for name, case in CASES.items() for why in case.stays]


def pruned(g: Graph) -> Graph:
    """Without what no output needs, so that nothing else reads the values."""
    return g.rebuild(g.nodes)


def test_every_rule_has_its_case() -> None:
    assert CASES.keys() == BY_NAME.keys() == GOLDEN.keys()
    assert len(EVERY) == sum(map(len, RULES.values())), "two rules have one name"
    assert [name for name, case in CASES.items() if not case.stays] == []


def test_every_rule_is_registered_for_a_pass() -> None:
    names = [info.name for info in pkgutil.iter_modules(passes.__path__)]
    modules = {name: vars(importlib.import_module(f"cnncc.passes.{name}")) for name in names}
    defined = {
        value.name for scope in modules.values() for value in scope.values() if isinstance(value, Rule)
    }  # fmt: skip
    assert defined == BY_NAME.keys()
    assert RULES.keys() <= dict(passes.PASSES).keys()
    for name, rules in RULES.items():
        assert modules[name]["RULES"] is rules


@pytest.mark.parametrize("name", BY_NAME)
def test_docstrings_hold_the_equation_and_when_not_to_fire(name: str) -> None:
    first, blank, third, *_ = BY_NAME[name].doc.splitlines()
    assert "=>" in first
    assert not blank
    assert third.strip().startswith("Must not fire")


@pytest.mark.parametrize("name", BY_NAME)
def test_fires(name: str) -> None:
    before = pruned(CASES[name].fires)
    after = rewrite(before, (BY_NAME[name],))
    ops.verify(after)
    assert text(after).strip() == GOLDEN[name].strip()
    keeps_meaning(before, after)
    assert rewrite(after, (BY_NAME[name],)) is after


@pytest.mark.parametrize(("name", "why"), MUST_NOT)
def test_must_not_fire(name: str, why: str) -> None:
    g = pruned(CASES[name].stays[why])
    assert rewrite(g, (BY_NAME[name],)) is g


@pytest.mark.parametrize("name", BY_NAME)
def test_values_that_somebody_reads_stay(name: str) -> None:
    """Each value of the case, made an output or read by another op too, is there afterwards under its name."""
    g = pruned(CASES[name].fires)
    for node in g.nodes:
        if node.op == "const":
            continue  # a constant may be dropped for one that computes the same
        seen = Graph(g.name, g.nodes, tuple(dict.fromkeys((*g.outputs, node.name))), g.constants)
        reader = Node("other", "tanh" if node.type.is_float else "relu", (node.name,), node.type)
        read = Graph(g.name, (*g.nodes, reader), (*g.outputs, "other"), g.constants)
        for before in (seen, read):
            after = rewrite(before, (BY_NAME[name],))
            ops.verify(after)
            assert after.outputs == before.outputs
            keeps_meaning(before, after)


@pytest.mark.parametrize("name", BY_NAME)
def test_runs_for_net_texts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The passes of a compile apply every rule to a network that was read from text."""
    fired: set[str] = set()
    call = Rule.__call__

    def spy(self: Rule, g: Draft, node: Node) -> Change | None:
        change = call(self, g, node)
        fired.update([self.name] if change else [])
        return change

    case = CASES[name]
    written = net_text(pruned(case.text or case.fires)).text
    monkeypatch.setattr(Rule, "__call__", spy)
    parsed = lang.parse(written)
    g = replace(parsed, constants=bound(parsed).constants)
    after = passed(g)
    assert name in fired, written
    assert after.outputs == g.outputs
    assert after.output_names == g.output_names
    keeps_meaning(g, after)


@pytest.mark.parametrize("name", BY_NAME)
def test_no_weight_is_computed_before_it_is_asked_for(name: str) -> None:
    def refuse() -> np.ndarray:
        raise AssertionError("a weight was read")

    g = pruned(CASES[name].fires)
    late = Graph(g.name, g.nodes, g.outputs, {key: Constant(c.shape, refuse) for key, c in g.constants.items()})
    assert text(rewrite(late, (BY_NAME[name],))).strip() == GOLDEN[name].strip()
    unbound = Graph(g.name, g.nodes, g.outputs, {key: Constant(c.shape) for key, c in g.constants.items()})
    assert text(rewrite(unbound, (BY_NAME[name],))).strip() == GOLDEN[name].strip()


@pytest.mark.parametrize(("count", "joined"), [(900, True), (1100, False)])
def test_a_long_function_between_bytes(count: int, joined: bool) -> None:
    """No chain is too long to look at; very long ones stay."""
    net = "net t\ninput 3x2x2\nquantize uint8 0.1\ndequantize\n" + "tanh\n" * count + "quantize uint8 0.1\n"
    (rule,) = RULES["join_tables"]
    found = rewrite(lang.parse(net), (rule,))
    assert ("lookup" in {node.op for node in found.nodes}) is joined


AFFINES = ((0.5, 0.0), (1 / 6, 0.0), (1.0, 3.0), (1.0, 1.0), (0.5**0.5, 0.0), (1.0, 0.0), (-2.0, 0.5))
SMALL = {"kernel": (2, 2), "pad": (1, 0, 1, 0)}


def any_patterns(seed: int) -> Graph:
    """A network of the ops that the rules look for, in any order, with several readers and outputs."""
    rng = random.Random(seed)
    net = Net()("x", "input", dims=(4, 4, 4))("k", "const", dims=(4, 1, 1))
    names = ["x"]
    for i in range(rng.randint(3, 14)):
        x, y = rng.choice(names[-4:]), rng.choice(names[-4:])
        scale, shift = rng.choice(AFFINES)
        a, b = rng.randint(0, 1), rng.randint(0, 1)
        dims = rng.choice([(4, 4, 4), (2, 8, 4), (64,)])
        try:
            op, inputs, attrs = rng.choice(
                [
                    ("affine", (x,), {"scale": scale, "shift": shift}),
                    (rng.choice(["sigmoid", "tanh", "softplus", "erf", "relu6", "bn", "identity"]), (x,), {}),
                    ("hard_sigmoid", (x,), {"alpha": 1 / 6, "beta": 0.5}),
                    (
                        rng.choice(["mul", "add", "concat"]),
                        rng.choice([(x, y), (y, x), (x, "k"), (x, y, names[0])]),
                        {},
                    ),
                    ("pad", (x,), {"pad": (a, b, 1, a)}),
                    ("conv", (x,), {"out": 4, "bias": bool(a), **SMALL}),
                    ("avgpool", (x,), {"count_include_pad": bool(a), **SMALL}),
                    ("reshape", (x,), {"dims": dims}),
                    ("crop", (x,), {"top": a, "left": b, "height": 3, "width": 3}),
                    ("strided_slice", (x,), {"dims": (4, 2, 2), "start": (0, a, b), "step": (1, 2, 2)}),
                    ("fc", (x,), {"out": 4, "bias": bool(a)}),
                    ("permute", (x,), {"split": (4, 4, 4), "axes": (1, 2, 0), "dims": (4, 4, 4)}),
                ]
            )
            net(f"n{i}", op, *inputs, **attrs)
            names.append(f"n{i}")
        except ops.ShapeError:
            continue
    outputs = dict.fromkeys([names[-1], *(n for n in names[1:] if rng.random() < 0.1)])
    return pruned(net.graph(*outputs))


@pytest.mark.parametrize("block", range(8))
def test_all_rules_together(block: int) -> None:
    """On any network: well formed, the same outputs of the same values, nothing left to do; and so one by one."""
    for seed in range(12 * block, 12 * block + 12):
        g = any_patterns(seed)
        for rules in (EVERY, *RULES.values()):
            after = rewrite(g, rules)
            ops.verify(after)
            assert after.outputs == g.outputs
            keeps_meaning(g, after)
            assert rewrite(after, rules) is after
