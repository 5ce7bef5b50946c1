"""The network language: text to graph and back."""

from cnncc.lang.doubts import doubt
from cnncc.lang.format import format_text
from cnncc.lang.print_net import print_net
from cnncc.lang.read import load, parse, read

__all__ = ["doubt", "format_text", "load", "parse", "print_net", "read"]
