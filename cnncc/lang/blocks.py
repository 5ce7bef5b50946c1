"""Definitions of blocks, and their arguments."""

from __future__ import annotations

import re

from cnncc.base.errors import nearest
from cnncc.lang import ast
from cnncc.lang.forms import RESERVED
from cnncc.lang.scope import Number, Scope

LIKE_A_REPEAT = re.compile(r"x\d*")


def collect(tree: ast.Net, scope: Scope) -> dict[str, ast.Block]:
    """All blocks by name. CnnccError if a name is used twice or means something else."""
    blocks: dict[str, ast.Block] = {}
    for block in tree.blocks:
        name = block.name.name
        if name in RESERVED:
            scope.fail(f"{name!r} is a word of the language and cannot name a block", block.name)
        if name in blocks:
            first = scope.source.at(blocks[name].name)
            scope.fail(f"block {name!r} is defined twice", block.name, f"the first is at {first}")
        check_params(block, scope)
        blocks[name] = block
    return blocks


def check_params(block: ast.Block, scope: Scope) -> None:
    """CnnccError unless all names are new and none is a word of the language, and parameters without a default come
    first."""
    seen: set[str] = set()
    defaults = False
    for param in block.params:
        if param.name in RESERVED or LIKE_A_REPEAT.fullmatch(param.name):
            scope.fail(f"{param.name!r} is a word of the language and cannot name a parameter", param)
        if param.name in seen:
            scope.fail(f"parameter {param.name!r} is listed twice", param)
        if defaults and param.default is None:
            scope.fail(f"parameter {param.name!r} has no default, but follows one that has", param)
        seen.add(param.name)
        defaults = param.default is not None


def signature(block: ast.Block, scope: Scope) -> str:
    """`bottleneck(c, s=1)`."""
    text = scope.source.text
    return f"{block.name.name}({', '.join(text[p.start : p.end] for p in block.params)})"


def bind(block: ast.Block, call: ast.Call, scope: Scope) -> dict[str, Number]:
    """The values of the parameters in one use of a block. CnnccError for too many, too few or unknown arguments."""
    given = positional(block, call, scope)
    params: dict[str, Number] = {}
    for param in block.params:
        if param.name in given:
            params[param.name] = scope.number(given[param.name])
        elif param.default is not None:
            params[param.name] = Scope(scope.source, params=params, stack=scope.stack).number(param.default)
        else:
            message = f"{block.name.name}: argument {param.name!r} is missing"
            scope.fail(message, call.name, f"it is {signature(block, scope)}")
    return params


def positional(block: ast.Block, call: ast.Call, scope: Scope) -> dict[str, ast.Expr]:
    """The arguments by the names of their parameters."""
    names = [p.name for p in block.params]
    if len(call.args) > len(names):
        message = f"{block.name.name}: {len(call.args)} arguments, takes at most {len(names)}"
        scope.fail(message, call, f"it is {signature(block, scope)}")
    given: dict[str, ast.Expr] = {}
    for i, arg in enumerate(call.args):
        name = arg.name.name if arg.name else names[i]
        if name not in names:
            scope.fail(f"{block.name.name}: unknown argument {name!r}", arg, nearest(name, names))
        if name in given:
            scope.fail(f"{block.name.name}: argument {name!r} is given twice", arg)
        given[name] = arg.value
    return given
