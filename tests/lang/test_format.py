"""`cnncc fmt`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc import lang
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph
from cnncc.lang.format import tokens
from tests.graphs import graphs

MODELS = sorted(resources.directory("models").glob("*.net"))
UGLY = """# top


net   t   # name
input 3x9x9 mean(0.5,0.2 , 0.1)   std ( 1.0, 2.0,
   3 )
block b( c,s = 1 ) { # hi
  # inner
  add { conv 1x1   c bn relu   # t
  conv 3x3 c /s   bn relu ;

# deep
        conv 1x1 4* c - 1 bn
  | proj 1x1 (4 * c / 1)-1   /s bn

    }
  relu

}
block k(c) {
add {
conv 3x3 c
| concat { conv 3x3 (c - 1)
 | slice 0 : 1 } }
}


conv1 :conv 7x7 64/2x2 bn relu;maxpool (1+2)x3 /2  pad 1,1
conv2: b(64,s=  1)   x3
k(255) ; add { | } x(2+ -1)
  # end
"""
PRETTY = """# top

net t  # name
input 3x9x9 mean(0.5, 0.2, 0.1) std (1.0, 2.0,
                                     3)
block b(c, s=1) {  # hi
  # inner
  add { conv 1x1 c bn relu  # t
        conv 3x3 c /s bn relu;

        # deep
        conv 1x1 4*c-1 bn
      | proj 1x1 (4*c/1)-1 /s bn
      }
  relu
}
block k(c) {
  add {
    conv 3x3 c
  | concat { conv 3x3 (c-1)
           | slice 0:1 } }
}

conv1: conv 7x7 64 /2x2 bn relu; maxpool (1+2)x3 /2 pad 1,1
conv2: b(64, s=1) x3
k(255); add { | } x(2+-1)
# end
"""


def test_layout() -> None:
    assert lang.format_text(UGLY) == PRETTY
    assert lang.format_text(PRETTY) == PRETTY
    assert lang.parse(PRETTY) == lang.parse(UGLY)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_the_zoo_is_formatted(path: Path) -> None:
    text = path.read_text()
    assert lang.format_text(text) == text


@settings(deadline=None, max_examples=40)
@given(graphs())
def test_flat_texts_keep_their_meaning(graph: Graph) -> None:
    text = lang.print_net(graph)
    pretty = lang.format_text(text)
    assert lang.format_text(pretty) == pretty
    assert lang.parse(pretty) == graph


GAPS = [" ", "  ", "\t", " # c\n", "\n", "\n\n\n", " \n # d # e\n\n"]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_spacing_and_comments(data: st.DataObject) -> None:
    def gap(match: re.Match[str]) -> str:
        inline = "\n" not in match[0]
        return str(data.draw(st.sampled_from(GAPS[:3] if inline else GAPS[3:])))

    text = re.sub(r"[ \n]+", gap, re.sub(r"#[^\n]*", "", PRETTY)).lstrip() + "\n"
    pretty = lang.format_text(text)
    assert lang.format_text(pretty) == pretty
    assert [str(t) for t in tokens(pretty)] == [str(t) for t in tokens(text)]
    assert re.findall(r"#[^\n]*", pretty) == [c.rstrip() for c in re.findall(r"#[^\n]*", text)]


def test_wrong_texts_are_refused() -> None:
    with pytest.raises(CnnccError, match=r"t\.net:1:4: the line ends too early: expected a name"):
        lang.format_text("net\n", "t.net")
