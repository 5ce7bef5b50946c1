"""The intermediate representation: types, constants, nodes, graphs."""

from cnncc.ir.graph import Graph, Node
from cnncc.ir.types import Constant, Quantization, TensorType

__all__ = ["Constant", "Graph", "Node", "Quantization", "TensorType"]
