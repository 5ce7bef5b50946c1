"""Names of a network as C has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cnncc.base.dim import Symbol
from cnncc.ir import Graph, TensorType
from cnncc.ops.source import port_type

_KEYWORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
public register reinterpret_cast restrict return short signed sizeof static static_assert static_cast struct switch
template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
while xor xor_eq"""
"""Of C and C++."""
_OWN = """model model_ arena arena_ arena_bytes size images number reserve count threads threads_ body stream check fail
result open ports span error cnncc std other code int32_t int64_t size_t main"""
"""Of the headers, beside arrays."""
_OF_SHAPE = "array dims bytes"
"""What the function that tells shapes calls its own parameters."""
_NEWER = """char8_t char16_t char32_t concept consteval constinit co_await co_return co_yield requires typeof
typeof_unqual"""
"""Keywords since C++20 and C23."""
_INCLUDED = """complex errno far i386 imaginary interface linux near noreturn small unix int8_t uint8_t uint16_t"""
"""Types, and macros of compilers and of headers that a caller may include, as far as these are not in capitals."""


def c_name(name: str) -> str:
    """A network's name as a C identifier (ASCII: C compilers and LLVM's text agree on nothing else)."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    return clean if clean[:1].isalpha() or clean[:1] == "_" else f"net_{clean}"


def parameters(graph: Graph) -> dict[str, TensorType]:
    """Inputs, then outputs, as parameters of C: a network may call them what it likes, C has words of its own. An
    output without a name of its own is `output`, or `output0` if there are several."""
    plain = ["output"] if len(graph.outputs) == 1 else [f"output{i}" for i in range(len(graph.outputs))]
    unnamed = (name for name, port in zip(plain, graph.ports, strict=True) if not port)
    words = " ".join((_OWN, _KEYWORDS, _NEWER, _INCLUDED))
    taken = {*words.split(), *unnamed}
    inputs = [_free(_identifier(node.name, f"input{i}"), taken) for i, node in enumerate(graph.inputs)]
    outputs = [
        _free(_identifier(port, other), taken) if port else other
        for port, other in zip(graph.ports, plain, strict=True)
    ]
    types = [*(port_type(node) for node in graph.inputs), *(graph[value].type for value in graph.outputs)]
    return dict(zip([*inputs, *outputs], types, strict=True))


def size_parameters(graph: Graph, symbols: Sequence[Symbol]) -> list[str]:
    """The sizes that a caller chooses as parameters of C, beside those of the arrays."""
    taken = {*parameters(graph), *" ".join((_OWN, _OF_SHAPE, _KEYWORDS, _NEWER, _INCLUDED)).split()}
    return [_free(_identifier(symbol.name, f"size{symbol.index}"), taken) for symbol in symbols]


def _identifier(name: str, other: str) -> str:
    """A port's name as a C identifier, `other` if nothing of it is left. Names in capitals could be macros, and those
    that begin with an underscore and a capital are C's own."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not clean.strip("_"):
        return other
    clean = clean.lower() if clean.isupper() or re.match("_[A-Z]", clean) else clean
    return f"{other.rstrip('0123456789')}_{clean}" if clean[0].isdigit() else clean


def _free(name: str, taken: set[str]) -> str:
    """The name with as many underscores behind it as make it new; it is taken from then on."""
    while name.lower() in taken:  # the macros are in capitals
        name += "_"
    taken.add(name.lower())
    return name
