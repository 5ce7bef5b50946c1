"""Ways in which an ONNX model can be wrong: each changes a model in place, by the choice of a random generator."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cnncc.frontends.onnx.convert import RULES

WHOLE = (*(0, 1, -1, 2, 3, -2, 7, 13, 255), *(256, 10**7, 10**8, 10**9), *(1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)))
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"), 1e-5, 1e9)
TEXTS = (b"", b"constant", b"linear", b"SAME_UPPER", b"\xff\xfe", b"nearest", b"tanh", b"x" * 300, b"wrap", b"CRD")
NAMES = ("", "x", "z", "y0", "nowhere", "a b", "\n", "é", "x" * 300, "0")
OPS = (*sorted(RULES), "Shape", "Constant", "ConstantOfShape", "Range", "NonZero", "If", "Loop", "SequenceConstruct",
       "Einsum", "OneHot", "Where", "EyeLike", "RandomNormal", "Optional", "Unknown", "")  # fmt: skip
Mutation = Callable[[ModelProto, random.Random], None]


def whole(rng: random.Random) -> int:
    return rng.choice(WHOLE) if rng.random() < 0.7 else rng.randrange(-5, 20)


def a_node(model: ModelProto, rng: random.Random) -> NodeProto | None:
    return rng.choice(model.graph.node) if model.graph.node else None


def an_attribute(model: ModelProto, rng: random.Random) -> AttributeProto | None:
    every = [attribute for node in model.graph.node for attribute in node.attribute]
    return rng.choice(every) if every else None


def a_tensor(model: ModelProto, rng: random.Random) -> TensorProto | None:
    every = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    return rng.choice(every) if every else None


# Attributes


def drop_attribute(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node and node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


def retype_attribute(model: ModelProto, rng: random.Random) -> None:
    attribute = an_attribute(model, rng)
    if attribute:
        name = attribute.name
        attribute.CopyFrom(helper.make_attribute(name, rng.choice([1, 1.5, "text", [1, 2], [0.5], ["a"]])))
        if rng.random() < 0.3:
            attribute.type = rng.randrange(15)


def change_attribute(model: ModelProto, rng: random.Random) -> None:
    attribute = an_attribute(model, rng)
    if attribute is None:
        return
    if attribute.type == AttributeProto.INT:
        attribute.i = whole(rng)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(REAL)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice(TEXTS)
    elif attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = whole(rng)
    elif attribute.floats:
        attribute.floats[rng.randrange(len(attribute.floats))] = rng.choice(REAL)


def resize_attribute(model: ModelProto, rng: random.Random) -> None:
    attribute = an_attribute(model, rng)
    if attribute:
        values, more = (attribute.floats, 1.0) if attribute.floats else (attribute.ints, 1)
        how = rng.randrange(3)
        if how == 0 and len(values):
            del values[-1]
        elif how == 1:
            values.extend([more] * rng.choice([1, 2, 40]))
        else:
            del values[:]


def add_attribute(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node is None:
        return
    names = ["axis", "axes", "keepdims", "pads", "strides", "group", "alpha", "kernel_shape", "mode", "dilations",
             "auto_pad", "epsilon", "perm", "to", "ceil_mode", "start", "end", "blocksize", "foo"]  # fmt: skip
    value = rng.choice([whole(rng), [whole(rng) for _ in range(rng.randrange(1, 6))], rng.choice(REAL), "text"])
    node.attribute.append(helper.make_attribute(rng.choice(names), value))


# Tensors


def reshape_tensor(model: ModelProto, rng: random.Random) -> None:
    tensor = a_tensor(model, rng)
    if tensor is None:
        return
    how = rng.randrange(4)
    if how == 0 and len(tensor.dims):
        tensor.dims[rng.randrange(len(tensor.dims))] = whole(rng)
    elif how == 1:
        tensor.dims.append(rng.choice([1, 1, 2, 0]))
    elif how == 2 and len(tensor.dims):
        del tensor.dims[-1]
    else:
        tensor.dims[:] = sorted(tensor.dims)


def cut_tensor(model: ModelProto, rng: random.Random) -> None:
    tensor = a_tensor(model, rng)
    if tensor is None:
        return
    if tensor.raw_data:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))] if rng.random() < 0.5 else (
            tensor.raw_data + b"\0" * rng.choice([1, 4, 8])
        )  # fmt: skip
    elif tensor.float_data:
        del tensor.float_data[-1]


def retype_tensor(model: ModelProto, rng: random.Random) -> None:
    tensor = a_tensor(model, rng)
    if tensor is None:
        return
    if rng.random() < 0.5:
        tensor.data_type = rng.randrange(30)
        return
    types = [np.float16, np.float64, np.int32, np.int64, np.uint8, bool, np.float32, np.complex64]
    try:
        changed = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(rng.choice(types)), tensor.name)
    except Exception:  # it has been made wrong before
        return
    tensor.CopyFrom(changed)


def change_tensor(model: ModelProto, rng: random.Random) -> None:
    """Another value, of the tensor's type, in one place or everywhere."""
    tensor = a_tensor(model, rng)
    try:
        array = np.array(numpy_helper.to_array(tensor)) if tensor else np.zeros(0)
        if not array.size:
            return
        at = rng.randrange(array.size) if rng.random() < 0.8 else slice(None)
        with np.errstate(all="ignore"):
            array.reshape(-1)[at] = whole(rng) if array.dtype.kind in "iu" else rng.choice(REAL)
    except Exception:  # it has been made wrong before
        return
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def another_tensor(model: ModelProto, rng: random.Random) -> None:
    """A tensor of another length and shape under the same name."""
    tensor = a_tensor(model, rng)
    if tensor is None:
        return
    shape = [rng.choice([0, 1, 2, 3, 4]) for _ in range(rng.randrange(4))]
    if rng.random() < 0.5:
        array = np.array([whole(rng) for _ in range(int(np.prod(shape)))], np.int64).reshape(shape)
    else:
        array = np.float32([rng.choice(REAL) for _ in range(int(np.prod(shape)))]).reshape(shape)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def point_outside(model: ModelProto, rng: random.Random) -> None:
    tensor = a_tensor(model, rng)
    if tensor:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        places = ["../x", "/etc/passwd", "", ".", "/dev/zero", "x", "a/../../b"]
        for key, value in (("location", rng.choice(places)), ("offset", str(whole(rng))), ("length", "-1")):
            if rng.random() < 0.8:
                tensor.external_data.add(key=key, value=value)


def drop_tensor(model: ModelProto, rng: random.Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[rng.randrange(len(model.graph.initializer))]


def repeat_tensor(model: ModelProto, rng: random.Random) -> None:
    if model.graph.initializer:
        model.graph.initializer.append(rng.choice(model.graph.initializer))


# Inputs and outputs


def reshape_input(model: ModelProto, rng: random.Random) -> None:
    if not model.graph.input:
        return
    kind = rng.choice(model.graph.input).type.tensor_type
    dims = kind.shape.dim
    how = rng.randrange(6)
    if how == 0 and dims:
        rng.choice(dims).dim_value = whole(rng)
    elif how == 1:
        dims.add(dim_value=rng.choice([1, 3]))
    elif how == 2 and dims:
        del dims[-1]
    elif how == 3 and dims:
        rng.choice(dims).dim_param = rng.choice(["N", "", "\n"])
    elif how == 4:
        kind.ClearField("shape")
    else:
        del dims[:]
        for _ in range(rng.randrange(7)):
            dims.add(dim_value=rng.choice([1, 1, 2, 3, 8]))


def retype_input(model: ModelProto, rng: random.Random) -> None:
    ports = [*model.graph.input, *model.graph.output]
    if not ports:  # a mutation before this one may have removed them
        return
    port = rng.choice(ports)
    if rng.random() < 0.7:
        port.type.tensor_type.elem_type = rng.randrange(30)
    elif rng.random() < 0.5:
        port.type.sequence_type.elem_type.tensor_type.elem_type = 1
    else:
        port.ClearField("type")


def rename_port(model: ModelProto, rng: random.Random) -> None:
    ports = [*model.graph.input, *model.graph.output]
    if ports:
        rng.choice(ports).name = rng.choice(NAMES)


def drop_port(model: ModelProto, rng: random.Random) -> None:
    ports = rng.choice([model.graph.input, model.graph.output])
    if ports:
        del ports[rng.randrange(len(ports))]


def add_output(model: ModelProto, rng: random.Random) -> None:
    """Any value as an output too."""
    names = [name for node in model.graph.node for name in (*node.output, *node.input)]
    if names:
        model.graph.output.add(name=rng.choice(names))


# Nodes and edges


def rewire(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node and node.input:
        names = [name for other in model.graph.node for name in (*other.output, *other.input)]
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, *NAMES])


def drop_input(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node and node.input:
        del node.input[rng.randrange(len(node.input))]


def add_input(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node:
        node.input.append(rng.choice([*NAMES, *(name for other in model.graph.node for name in other.output)]))


def rename_result(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(NAMES)


def add_result(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node:
        node.output.append(rng.choice([*NAMES, "new"]))


def drop_result(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node and node.output:
        del node.output[-1]


def another_op(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node:
        node.op_type = rng.choice(OPS)


def another_domain(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node:
        node.domain = rng.choice(["ai.onnx", "com.microsoft", "x", "ai.onnx.ml"])


def shuffle_nodes(model: ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def repeat_node(model: ModelProto, rng: random.Random) -> None:
    node = a_node(model, rng)
    if node:
        model.graph.node.append(node)


def append_node(model: ModelProto, rng: random.Random) -> None:
    """One more op on what the last node gives."""
    node = model.graph.node[-1] if model.graph.node else None
    if node and node.output and model.graph.output:
        seen = [name for other in model.graph.node for name in (*other.output, *other.input) if name]
        name = f"more{len(model.graph.node)}"
        inputs = [node.output[0], *(rng.choice(seen) for _ in range(rng.choice([0, 0, 0, 1, 1, 2])))]
        model.graph.node.append(helper.make_node(rng.choice(OPS), inputs, [name]))
        model.graph.output[0].name = name


# The whole


def another_opset(model: ModelProto, rng: random.Random) -> None:
    how = rng.randrange(4)
    if how == 0:
        del model.opset_import[:]
    elif how == 1:
        model.opset_import.add(domain="", version=whole(rng))
    elif model.opset_import:
        model.opset_import[0].version = rng.choice([*range(7, 29), whole(rng)])


def another_ir(model: ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice([0, 3, 8, 99, -1, 1 << 40])


def add_function(model: ModelProto, rng: random.Random) -> None:
    """A function that a node calls; now and then it calls itself."""
    node = a_node(model, rng)
    if node:
        inner = [helper.make_node("Relu", ["a"], ["b"])]
        if rng.random() < 0.4:
            inner = [helper.make_node(node.op_type, ["a"], ["b"], domain="own")]
        version = model.opset_import[0].version if model.opset_import else 17
        imports = [helper.make_opsetid("", version), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", node.op_type, ["a"], ["b"], inner, imports))
        node.domain = "own"
        model.opset_import.add(domain="own", version=1)


def add_sparse(model: ModelProto, rng: random.Random) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = rng.choice(NAMES)
    sparse.dims.append(whole(rng))


def add_text(model: ModelProto, rng: random.Random) -> None:
    """What `cnncc export` leaves in a model."""
    texts = ["net t\ninput 3x8x8\nrelu\n", "net", "", "net t\ninput 999999999x9x9\nconv 9x9 99999999\n"]
    for key, value in (("cnncc.net", rng.choice(texts)), ("cnncc.sha256", rng.choice(["", "0" * 64]))):
        model.metadata_props.add(key=key, value=value)


MUTATIONS: tuple[Mutation, ...] = (
    *(drop_attribute, retype_attribute, change_attribute, change_attribute, change_attribute, resize_attribute),
    *(add_attribute, reshape_tensor, cut_tensor, retype_tensor, change_tensor, change_tensor, another_tensor),
    *(point_outside, drop_tensor, repeat_tensor, reshape_input, reshape_input, retype_input, rename_port, drop_port),
    *(
        add_output,
        rewire,
        rewire,
        drop_input,
        add_input,
        rename_result,
        add_result,
        drop_result,
        another_op,
        another_op,
    ),
    *(another_domain, shuffle_nodes, repeat_node, append_node, append_node, append_node, append_node, another_opset),
    *(another_ir, add_function, add_sparse, add_text),
)


def garbled(data: bytes, rng: random.Random) -> bytes:
    """The file with some bytes changed, lost, repeated or put in."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(out)) if out else 0
        how = rng.randrange(6)
        if how == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            del out[at:]
        elif how == 2:
            del out[at : at + rng.randrange(1, 9)]
        elif how == 3:
            out[at:at] = out[at : at + rng.randrange(1, 60)]
        elif how == 4:
            out[at:at] = rng.choice([b"\xff" * 5 + b"\x07", b"\x00", b"\x7f", b"\xff\xfe", b"\x80\x80\x80\x80\x08"])
        else:
            out[at : at + 1] = bytes([out[at] ^ (1 << rng.randrange(8))]) if out else b""
    return bytes(out)


def mutated(model: ModelProto, rng: random.Random) -> bytes:
    """The bytes of a model with one to four changes, or with garbled bytes."""
    result = ModelProto.FromString(model.SerializeToString())
    if rng.random() < 0.1:
        return garbled(result.SerializeToString(), rng)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        rng.choice(MUTATIONS)(result, rng)
    return result.SerializeToString()
