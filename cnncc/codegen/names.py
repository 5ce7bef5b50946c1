"""Names of a network as C has them."""

from __future__ import annotations

import re

from cnncc.ir import Graph, TensorType

_KEYWORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
public register reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch
template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
while xor xor_eq"""
"""Of C and C++."""


def c_name(name: str) -> str:
    """A network's name as a C identifier (ASCII: C compilers and LLVM's text agree on nothing else)."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    return clean if clean[:1].isalpha() or clean[:1] == "_" else f"net_{clean}"


def parameters(graph: Graph) -> dict[str, TensorType]:
    """Inputs, then outputs, as parameters of C: a network may call them what it likes, C has words of its own."""
    outputs = ["output"] if len(graph.outputs) == 1 else [f"output{i}" for i in range(len(graph.outputs))]
    taken = {"model", "arena", "arena_bytes", "threads", *outputs, *_KEYWORDS.split()}
    arrays = {}
    for node in graph.inputs:
        name = c_name(node.name)
        while name.lower() in taken:  # the macros are in capitals
            name += "_"
        taken.add(name.lower())
        arrays[name] = node.type
    return arrays | {name: graph[laid].type for name, laid in zip(outputs, graph.outputs, strict=True)}
