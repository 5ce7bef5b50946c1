"""The intermediate representation: types, constants, nodes, graphs."""

from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant, TensorType

__all__ = ["Constant", "Graph", "Node", "TensorType"]
