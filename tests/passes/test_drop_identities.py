import pytest
from passes.pass_helpers import Net, fires, golden, image, keeps_meaning, stays, vector

from cnncc.passes.drop_identities import drop_identities

SAME = {
    "dropout": {},
    "identity": {},
    "slice": {"start": 0, "stop": 16},
    "crop": {"top": 0, "left": 0, "height": 4, "width": 4},
    "pad": {"pad": (0, 0, 0, 0)},
    "upsample": {"scale": (1, 1)},
    "reshape": {"dims": (16, 4, 4)},
}
OTHER = {
    "slice": {"start": 0, "stop": 8},
    "crop": {"top": 1, "left": 0, "height": 3, "width": 4},
    "pad": {"pad": (0, 0, 0, 1)},
    "upsample": {"scale": (2, 1)},
    "reshape": {"dims": (4, 16, 4)},
    "flatten": {},
}


@pytest.mark.parametrize("op", SAME)
def test_fires(op: str) -> None:
    g = image().conv("c", "x", 16)("same", op, "c", **SAME[op])("r", "relu", "same").graph("r")
    fires(
        drop_identities,
        g,
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        c : 1x16x4x4 = conv(x) weight=c.weight[16x16x1x1] bias=c.bias[16] {out=16, kernel=(1, 1)}
        r : 1x16x4x4 = relu(c)
        return r
        """,
    )


def test_fires_on_flatten() -> None:
    g = vector(6)("flat", "flatten", "x")("r", "relu", "flat").graph("r")
    assert drop_identities(g)["r"].inputs == ("x",)
    g = image(2)("flat", "flatten", "x")("again", "flatten", "flat")("y", "fc", "again", out=3)("r", "relu", "flat")
    fires(
        drop_identities,
        g.graph("y", "r"),
        """
        x : 1x2x4x4 = input() {dims=(2, 4, 4)}
        flat : 1x32 = flatten(x)
        y : 1x3 = fc(x) weight=y.weight[3x32] bias=y.bias[3] {out=3}
        r : 1x32 = relu(flat)
        return y, r
        """,
    )


@pytest.mark.parametrize("op", OTHER)
def test_must_not_fire_when_values_move(op: str) -> None:
    stays(drop_identities, image()("y", op, "x", **OTHER[op])("r", "relu", "y").graph("r"))


def chain() -> Net:
    return image()("r", "relu", "x")("d", "dropout", "r")


def test_an_output_keeps_its_name() -> None:
    g = chain()("t", "tanh", "r")("e", "identity", "t")("f", "identity", "e").graph("d", "f")
    fires(
        drop_identities,
        g,
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        d : 1x16x4x4 = relu(x)
        f : 1x16x4x4 = tanh(d)
        return d, f
        """,
    )


def test_must_not_fire_when_both_names_are_outputs_or_the_source_is_an_input() -> None:
    stays(drop_identities, chain().graph("d", "r"))
    stays(drop_identities, image()("y", "identity", "x").graph("y"))
    stays(drop_identities, Net()("k", "const", dims=(3,))("y", "identity", "k").graph("y"))


def test_two_names_of_one_output() -> None:
    g = chain()("e", "identity", "r").graph("d", "e")
    after = drop_identities(g)
    keeps_meaning(g, after)
    golden(
        after,
        """
        x : 1x16x4x4 = input() {dims=(16, 4, 4)}
        d : 1x16x4x4 = relu(x)
        e : 1x16x4x4 = identity(d)
        return d, e
        """,
    )


@pytest.mark.parametrize(("op", "attrs"), [("flatten", {}), ("reshape", {"dims": (8, 2, 2)})])
def test_fc_keeps_what_its_epilogue_adds(op: str, attrs: dict[str, tuple[int, ...]]) -> None:
    net = image(2)("v", "const", dims=(3,))("flat", op, "x", **attrs)
    net("y", "fc", "flat", "v", out=3, epilogue=(("add", ()),))
    g = net.graph("y")
    after = drop_identities(g)
    assert after["y"].inputs == ("x", "v")
    keeps_meaning(g, after)
