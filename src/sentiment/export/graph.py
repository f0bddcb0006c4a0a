"""The classifier as an ONNX graph, written node by node.

ONNX's recurrent operators take the lengths of the sequences, so padding affects no state here either. Shapes in the
comments are those of `models.classifier`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from sentiment.models.classifier import Classifier
from sentiment.models.layers import Layer

OPSET, IR_VERSION = 17, 8  # of 2022, so that runtimes of the last years read the graph
# ONNX's order of gates as indices into PyTorch's: i, o, f, c of i, f, g, o; z, r, h of r, z, n.
GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
ATTRIBUTES: dict[str, dict[str, Any]] = {"LSTM": {}, "GRU": {"linear_before_reset": 1}, "RNN": {}}


class Graph:
    """Nodes and weights, each known by the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: Tensor | npt.NDArray[Any]) -> str:
        """Add a constant; return its name."""
        name = f"weight_{len(self.weights)}"
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of integers; return its name."""
        return self.weight(np.array(values, dtype=np.int64))

    def number(self, value: int | float) -> str:
        """Add an integer or a float32; return its name."""
        return self.weight(np.array(value, dtype=np.int64 if isinstance(value, int) else np.float32))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; return the names of its outputs."""
        names = [f"{operator}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        (name,) = self.add(operator, *inputs, **attributes)
        return name


def to_onnx(model: Classifier, adds: bool = False) -> onnx.ModelProto:
    """Convert a classifier to ONNX.

    Inputs are padded tokens (B, T) int64 and lengths (B,) int64, each at least 1; the output is the probability of each
    class (B, K) float32. Any B and T will do. Dropout is off. With `adds`, a third input `added` is added to the
    logits: (B, 1) float32 for the second of two classes, (B, K) for more.
    """
    graph, classes = Graph(), model.config.classes
    longest = graph("Gather", graph("Shape", "tokens"), graph.number(1))  # T
    steps = graph("Range", graph.number(0), longest, graph.number(1))
    mask = graph(
        "Less", graph("Unsqueeze", steps, graph.integers(1, 2)), graph("Unsqueeze", "lengths", graph.integers(0, 2))
    )  # (T, B, 1)
    lengths = graph("Cast", "lengths", to=TensorProto.INT32)
    tokens = graph("Transpose", "tokens", perm=[1, 0])  # (T, B)
    states, final = graph("Gather", graph.weight(model.embedding.weight), tokens), ""  # (T, B, E)
    for layer in model.layers:
        assert isinstance(layer, Layer)
        states, final = add_layer(graph, layer, states, lengths)  # (T, B, D * H), (B, D * H)
    pooled = [
        add_pooling(graph, name, pooling, states, final, mask)
        for name, pooling in zip(model.config.pooling, model.poolings, strict=True)
    ]
    vector = graph("Concat", *pooled, axis=1)  # (B, poolings * D * H)
    weight, bias = model.output.weight / model.temperature, model.output.bias / model.temperature
    logits = graph("Gemm", vector, graph.weight(weight), graph.weight(bias), transB=1)  # (B, 1) or (B, K)
    if adds:
        logits = graph("Add", logits, "added")
    if classes == 2:
        second = graph("Sigmoid", logits)
        first = graph("Sub", graph.number(1.0), second)
        graph.nodes.append(helper.make_node("Concat", [first, second], ["probabilities"], axis=1))
    else:
        graph.nodes.append(helper.make_node("Softmax", [logits], ["probabilities"], axis=1))
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["texts", "steps"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["texts"]),
    ]
    if adds:
        width = 1 if classes == 2 else classes
        inputs.append(helper.make_tensor_value_info("added", TensorProto.FLOAT, ["texts", width]))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["texts", classes])]
    proto = helper.make_graph(graph.nodes, "classifier", inputs, outputs, graph.weights)
    converted = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(converted, full_check=True)
    return converted


def save_graphs(model: Classifier, adds: bool, path: Path, small_path: Path) -> None:
    """Write the graph, and one whose weights have 8 bits, with which products are computed in 8 bits, too."""
    onnx.save(to_onnx(model, adds), path)
    logging.disable(logging.WARNING)  # it advises a preparation that this graph does not need
    try:
        quantize_dynamic(path, small_path, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)


def add_layer(graph: Graph, layer: Layer, states: str, lengths: str) -> tuple[str, str]:
    """Add a recurrent layer; return its states, (T, B, D * H), and its final states, (B, D * H)."""
    cells = layer.cells
    inputs = [states] * len(cells)
    if layer.is_split and len(cells) == 2:
        inputs = graph.add("Split", states, outputs=2, axis=2)
    by_direction: list[str] = []
    finals: list[str] = []
    for cell, sequence, direction in zip(cells, inputs, ("forward", "reverse"), strict=False):
        kind = {"RNN_TANH": "RNN"}.get(cell.mode, cell.mode)
        weights = [graph.weight(reorder(cell, name, kind)[None]) for name in ("weight_ih_l0", "weight_hh_l0")]
        biases = torch.cat([reorder(cell, name, kind) for name in ("bias_ih_l0", "bias_hh_l0")])
        read, final = graph.add(
            kind,
            sequence,
            *weights,
            graph.weight(biases[None]),
            lengths,
            outputs=2,
            direction=direction,
            hidden_size=cell.hidden_size,
            **ATTRIBUTES[kind],
        )  # (T, 1, B, H), (1, B, H)
        by_direction.append(graph("Squeeze", read, graph.integers(1)))
        finals.append(graph("Squeeze", final, graph.integers(0)))
    return graph("Concat", *by_direction, axis=2), graph("Concat", *finals, axis=1)


def reorder(cell: nn.RNNBase, name: str, kind: str) -> Tensor:
    """Return a weight or bias of a cell with its gates in ONNX's order."""
    gates = cell.get_parameter(name).detach().chunk(len(GATES[kind]))
    return torch.cat([gates[place] for place in GATES[kind]])


def add_pooling(graph: Graph, name: str, pooling: nn.Module, states: str, final: str, mask: str) -> str:
    """Add a pooling of states (T, B, D * H); return the pooled vectors, (B, D * H). `mask` is (T, B, 1)."""
    if name == "last":
        return final
    if name == "max":
        return graph("ReduceMax", graph("Where", mask, states, graph.number(-np.inf)), axes=[0], keepdims=0)
    if name == "mean":
        weights = graph("Cast", mask, to=TensorProto.FLOAT)  # (T, B, 1)
        total = graph("ReduceSum", graph("Mul", states, weights), graph.integers(0), keepdims=0)
        return graph("Div", total, graph("ReduceSum", weights, graph.integers(0), keepdims=0))
    if name == "attention":
        weight, bias, query = (
            graph.weight(pooling.get_parameter(part).t()) for part in ("key.weight", "key.bias", "query.weight")
        )
        keys = graph("Tanh", graph("Add", graph("MatMul", states, weight), bias))
        scores = graph("Where", mask, graph("MatMul", keys, query), graph.number(-np.inf))  # (T, B, 1)
        weights = graph("Softmax", scores, axis=0)
        return graph("ReduceSum", graph("Mul", states, weights), graph.integers(0), keepdims=0)
    raise ValueError(f"pooling {name!r} has no ONNX form")
