"""From syntax tree to graph: blocks and repeats are expanded, values get names, shapes are inferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnncc.base.errors import CnnccError, nearest
from cnncc.base.input_shapes import AS_WRITTEN, InputShapes
from cnncc.ir import Graph, Node, TensorType
from cnncc.lang import ast
from cnncc.lang.blocks import bind, collect
from cnncc.lang.build import GraphBuilder
from cnncc.lang.chains import read_attrs, read_weights
from cnncc.lang.forms import FORMS, MERGE_FORMS, MERGES, OP_OF
from cnncc.lang.items import Items
from cnncc.lang.mistakes import arms_differ, few_arms, misplaced, unknown, unknown_merge
from cnncc.lang.numbering import computes, segments
from cnncc.lang.scope import Scope, letters
from cnncc.lang.source import Source
from cnncc.ops import traits
from cnncc.ops.source import UNUSED
from cnncc.ops.traits import Kind

UNKNOWN = TensorType(())
START = "start with an input, e.g. `input 3x224x224`, or take a saved value with `from`"


@dataclass
class At:
    """Where a statement is, and the value that it starts from."""

    scope: Scope
    path: str
    value: str | None
    labelled: bool = False

    @property
    def names_arms(self) -> bool:
        """Whether the names in the arms of a merge begin with the merge's own path. In the body of a block and in an
        arm they do so only if the merge has a label. It is mostly the only merge there, and names stay short:
        `conv3.1.a.0` and not `conv3.1.0.a.0`."""
        return self.labelled or self.scope.depth == 0


def elaborate(tree: ast.Net, source: Source, shapes: InputShapes = AS_WRITTEN) -> Graph:
    """The graph of a network, with unbound weights. `shapes` are those of one image that inputs have in place of the
    text's, by name. CnnccError for whatever is wrong with it."""
    scope = Scope(source)
    elaborator = Elaborator(collect(tree, scope), GraphBuilder(shapes))
    last = elaborator.sequence(tree.body, scope, None)
    if not elaborator.builder.outputs and all(traits(n).kind is Kind.INPUT for n in elaborator.builder.nodes.values()):
        scope.fail("the network has no layers", tree.name, "after `input 3x224x224` comes at least one op")
    return elaborator.builder.finish(tree.name.text, last)


class Elaborator:
    """Walks the tree. Methods return the name of the current value after what they ran."""

    def __init__(self, blocks: dict[str, ast.Block], builder: GraphBuilder) -> None:
        self.blocks = blocks
        self.builder = builder
        self.labels: dict[str, str] = {}
        """For each label, by its full path, the last value of its line."""

    # Sequences and names

    def sequence(self, groups: tuple[ast.Group, ...], scope: Scope, value: str | None) -> str | None:
        """Run lines one after the other."""
        position = 0
        for group in groups:
            value = self.group(group, scope, value, position)
            position += sum(map(computes, group.statements))
        return value

    def group(self, group: ast.Group, scope: Scope, value: str | None, position: int) -> str | None:
        self.refuse_label(group, scope)
        paths = segments(group, scope, position)
        for statement in group.statements:
            if isinstance(statement, ast.Refer):
                value = self.refer(statement, scope, value)
                continue
            for segment in next(paths):
                value = self.compute(statement, At(scope, scope.join(segment), value, bool(group.label)))
        if group.label and value:
            scope.names[group.label.text] = value
            self.labels[scope.join(group.label.text)] = value
        return value

    def refuse_label(self, group: ast.Group, scope: Scope) -> None:
        """CnnccError for a label that the sequence has already, or that names nothing."""
        if not group.label:
            return
        if group.label.text in scope.names.maps[0]:
            scope.fail(f"{group.label.text!r} is already a label or a saved value here", group.label, "choose another")
        if all(isinstance(s, ast.Refer) for s in group.statements):
            message = f"the label {group.label.text!r} names no op"
            scope.fail(message, group.label, "`save NAME` names the current value")
        scope.give(group.label.text, group.label)

    # save, from, output

    def refer(self, statement: ast.Refer, scope: Scope, value: str | None) -> str | None:
        if statement.verb == "from":
            assert statement.target
            return self.find(statement.target, scope)
        if statement.verb == "output":
            return self.output(statement, scope, value)
        assert statement.target
        if value is None:
            scope.fail("save: there is no current value", statement, START)
        name = statement.target.text
        if name in scope.names.maps[-1]:
            scope.fail(f"{name!r} is already a label or a saved value here", statement.target, "choose another")
        scope.names.maps[-1][name] = value
        return value

    def output(self, statement: ast.Refer, scope: Scope, value: str | None) -> str | None:
        marked = self.find(statement.target, scope) if statement.target else value
        if marked is None:
            scope.fail("output: there is no current value", statement, START)
        named = statement.port or statement.target
        port, place = named.text if named else "", named or statement
        name = port or marked
        if name in self.builder.output_names:
            hint = "`output as NAME` gives it a name" if not port else "choose another name"
            scope.fail(f"{name!r} is already an output", place, hint)
        if port != marked and port in self.builder.nodes and traits(self.builder.nodes[port]).kind is Kind.INPUT:
            scope.fail(f"{port!r} is an input", place, "an output is called otherwise, unless it is that input itself")
        self.builder.outputs.append(marked)
        self.builder.ports.append(port)
        return value

    def find(self, target: ast.Text, scope: Scope) -> str:
        """The value that `from` names: one that was saved or labelled here or in what encloses it, or a full path."""
        name = target.text
        for known in (scope.names, self.labels):
            if name in known:
                return known[name]
        if name in self.builder.nodes:
            return name
        inputs = (n.name for n in self.builder.nodes.values() if traits(n).kind is Kind.INPUT)
        known_names = {*scope.names, *self.labels, *inputs}
        hint = f"{nearest(name, known_names)}; `save NAME` names the current value" if known_names else START
        scope.fail(f"no value is called {name!r} yet", target, hint)

    # Statements that compute

    def compute(self, statement: ast.Op | ast.Merge, at: At) -> str | None:
        name = statement.name if isinstance(statement, ast.Merge) else statement.items[0]
        self.builder.step(at.scope.source.at(name), at.scope.stack)
        if isinstance(statement, ast.Merge):
            items = Items(statement.items, at.scope, statement.name, statement.name.name)
            value: str | None = self.merge(statement, items, at)
            return self.chain(items, At(at.scope, at.path, value))
        return self.op(Items(statement.items, at.scope, name), at)

    def op(self, items: Items, at: At) -> str | None:
        """A chain of ops, or a block with a chain."""
        head = items.next
        if isinstance(head, ast.Call) and head.name.name in self.blocks:
            value = self.block(head, at)
            items.index, items.word, items.op = 1, head.name.name, head.name
        elif items.next_word in self.blocks:
            assert isinstance(head, ast.Value)
            assert isinstance(head.expr, ast.Name)
            value = self.block(ast.Call(head.start, head.end, head.expr, ()), at)
            items.index, items.word, items.op = 1, head.expr.name, head
        elif items.next_word in FORMS:
            applied = self.apply(items, at, at.path)
            if applied is None:
                return self.skip(items, at)
            value = applied
        else:
            unknown(items, self.blocks)
        return self.chain(items, At(at.scope, at.path, value))

    def chain(self, items: Items, at: At) -> str | None:
        """Runs the ops that follow in the same statement. Each is called after the statement and its own word."""
        used: dict[str, int] = {}
        value = at.value
        while items.next:
            word = self.chained(items)
            used[word] = used.get(word, 0) + 1
            suffix = word if used[word] == 1 else f"{word}{used[word]}"
            value = self.apply(items, At(at.scope, at.path, value), f"{at.path}.{suffix}")
        return value

    def skip(self, items: Items, at: At) -> str | None:
        """Reads what follows a `proj` that is not needed, and adds no node for it."""
        assert at.value
        while items.next:
            items.word = self.chained(items)
            items.op = items.take()
            read_attrs(FORMS[items.word], items, self.builder.shape(at.value))
        return at.value

    def chained(self, items: Items) -> str:
        """The word of the next op. CnnccError if it may not follow another op."""
        word = items.next_word
        if word is None or word not in FORMS or not FORMS[word].chains:
            misplaced(items, self.blocks)
        return word

    def apply(self, items: Items, at: At, name: str) -> str | None:
        """Reads one op, adds its node and returns its value; None for a `proj` that is not needed."""
        items.op = items.take()
        items.word = items.written(items.op)
        form, span = FORMS[items.word], at.scope.source.at(items.op)
        if form.source:
            name, value = self.named(items, at, name), None
        elif (value := at.value) is None:
            at.scope.fail(f"{items.word}: there is no current value", items.op, START)
        word = items.word
        attrs = read_attrs(form, items, self.builder.shape(value) if value else ())
        if attrs.pop(UNUSED, False):
            self.builder.spare.add(name)
        inputs = (value,) if value else ()
        node = Node(name, OP_OF[word], inputs, UNKNOWN, attrs, span=span, stack=at.scope.stack)
        if word == "proj" and value and self.builder.infer(node, word).shape == self.builder.shape(value):
            return None
        return self.builder.add(node, word, read_weights(items))

    def named(self, items: Items, at: At, name: str) -> str:
        """The name of an input or a constant: the name after its word if there is one, else its path."""
        scope = at.scope
        if items.word == "input" and scope.depth:
            scope.fail("input: inputs belong to the top level of a network", items.op)
        given = items.next
        if isinstance(given, ast.Text):
            own = given.text
        elif items.next_word and items.next_word not in scope.params:
            own = items.next_word
        else:
            return name
        items.take()
        full = scope.join(own)
        if own in scope.names.maps[0]:
            scope.fail(f"{own!r} is already a label or a saved value here", given or items.op, "choose another")
        if items.word == "input" and full in self.builder.output_names:
            scope.fail(f"{own!r} is already an output", given or items.op, "choose another name")
        scope.give(own, given or items.op)
        scope.names[own] = full
        return full

    # Merges and blocks

    def merge(self, statement: ast.Merge, items: Items, at: At) -> str:
        """Runs the arms, and then the node that merges them, with the words after the braces."""
        word, scope = statement.name.name, at.scope
        if word not in MERGES:
            unknown_merge(scope, statement.name)
        paths = arm_paths(statement, at)
        if len(statement.arms) == 1:
            few_arms(scope, statement)
        ends = tuple(self.arm(arm, statement, at, next(paths)) for arm in statement.arms)
        span = scope.source.at(statement.name)
        form = MERGE_FORMS[word]
        if word == "cropcat":
            ends = self.crop_to_smallest(ends, statement, at)
        attrs = read_attrs(form, items, self.builder.shape(ends[0]))
        node = Node(at.path, OP_OF[word], ends, UNKNOWN, attrs, span=span, stack=scope.stack)
        try:
            return self.builder.add(node, word, read_weights(items))
        except CnnccError as error:
            raise arms_differ(error, statement, self.builder.shapes(ends)) from None

    def arm(self, arm: tuple[ast.Group, ...], statement: ast.Merge, at: At, path: str) -> str:
        end = self.sequence(arm, at.scope.arm(path, statement.name), at.value)
        if end is None:
            at.scope.fail(f"{statement.name.name}: an arm has no value", statement.name, START)
        return end

    def crop_to_smallest(self, ends: tuple[str, ...], statement: ast.Merge, at: At) -> tuple[str, ...]:
        """Crops all arms, centred, to the smallest height and width among them."""
        shapes = [self.builder.shape(e) for e in ends]
        if any(len(s) != 4 for s in shapes):
            at.scope.fail("cropcat: arms have to be images", statement.name, "`concat` joins vectors")
        height, width = (min(s[axis] for s in shapes) for axis in (2, 3))
        result, made = [], 0
        for end, (_, _, h, w) in zip(ends, shapes, strict=True):
            if (h, w) == (height, width):
                result.append(end)
                continue
            made += 1
            attrs = {"top": (h - height) // 2, "left": (w - width) // 2, "height": height, "width": width}
            name = f"{at.path}.crop{made if made > 1 else ''}"
            span = at.scope.source.at(statement.name)
            node = Node(name, "crop", (end,), UNKNOWN, attrs, {}, span, at.scope.stack)
            result.append(self.builder.add(node, "crop"))
        return tuple(result)

    def block(self, call: ast.Call, at: At) -> str | None:
        """Run the body of a block with its arguments."""
        name = call.name.name
        if name in at.scope.calls:
            chain = [*at.scope.calls[at.scope.calls.index(name) :], name]
            at.scope.fail(f"block {name!r} uses itself: {' -> '.join(chain)}", call.name, "blocks cannot be recursive")
        block = self.blocks[name]
        return self.sequence(block.body, at.scope.body(at.path, call.name, bind(block, call, at.scope)), at.value)


def arm_paths(merge: ast.Merge, at: At) -> Iterator[str]:
    """The paths of the arms of a merge, in order."""
    if at.names_arms:
        yield from (f"{at.path}.{letter}" for letter in letters())
    for letter in at.scope.arms:
        at.scope.generate(letter, f"an arm of the {merge.name.name}", merge.name)
        yield at.scope.join(letter)
