"""ONNX graphs, written operator by operator or from a Gluon block's MXNet operators."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Callable, Mapping
from typing import Any

import mxnet as mx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # the first with GridSample is 16; ONNX Runtime reads 17 since 1.12
IR_VERSION = 8  # of the same time


class OnnxGraph:
    """A graph in the making. What an operator gives is known by its name.

    Parameters:
        inputs: the graph's, (shape, type) by name; sizes that vary are text.
    """

    def __init__(self, name: str, inputs: Mapping[str, tuple[tuple, Any]]):
        self._name = name
        self._inputs = [helper.make_tensor_value_info(n, t, s) for n, (s, t) in inputs.items()]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(
        self, operator: str, *inputs: str | np.ndarray | np.generic | list, **attributes
    ) -> str:
        """An operator of ONNX; lists of whole numbers and arrays become constants.

        Returns the name of its output.
        """
        output = f"{operator}_{len(self._nodes)}"
        names = [x if isinstance(x, str) else self.constant(np.asarray(x)) for x in inputs]
        self._nodes.append(helper.make_node(operator, names, [output], output, **attributes))
        return output

    def constant(self, array: np.ndarray, name: str | None = None) -> str:
        """An array of the graph's own; returns its name."""
        name = name or f"constant_{len(self._constants)}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def sizes(self, x: str, begin: int, end: int) -> str:
        """The lengths of some of an array's axes, (end - begin,) int64."""
        return self.add("Shape", x, start=begin, end=end)

    def block(self, block: mx.gluon.HybridBlock, x: str) -> str:
        """A Gluon block of one input and one output, operator by operator."""
        parameters = {p.name: p for p in block.collect_params().values()}
        nodes = json.loads(block(mx.sym.var("x")).tojson())["nodes"]
        outputs: list[str] = []
        for node in nodes:
            if node["op"] != "null":
                inputs = [outputs[i] for i, *_ in node["inputs"]]
                attributes = {k: _value(v) for k, v in node.get("attrs", {}).items()}
                outputs.append(OPERATORS[node["op"]](self, attributes, *inputs))
            elif node["name"] in parameters:
                array = parameters[node["name"]].data().asnumpy()
                outputs.append(self.constant(array, node["name"]))
            else:
                outputs.append(x)
        return outputs[-1]

    def model(self, outputs: dict[str, tuple[str, tuple]]) -> onnx.ModelProto:
        """The graph as a model; its float32 outputs as (name within the graph, shape) by name."""
        renamed = [
            helper.make_node("Identity", [inner], [name]) for name, (inner, _) in outputs.items()
        ]
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, (_, shape) in outputs.items()
        ]
        graph = helper.make_graph(
            self._nodes + renamed, self._name, self._inputs, infos, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            producer_name="adaptis",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model)
        return model


def _value(text: str):
    """Of an attribute of an MXNet operator: a number, a truth value, a tuple, or a word."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _window(attributes: dict) -> dict:
    """Kernel, stride, dilation and padding of a convolution or a pooling."""
    window = {
        "kernel_shape": attributes["kernel"],
        "strides": attributes.get("stride") or (1, 1),
        "pads": 2 * (attributes.get("pad") or (0, 0)),  # before, then after
    }
    if "dilate" in attributes:
        window["dilations"] = attributes["dilate"] or (1, 1)
    return window


def _convolution(graph: OnnxGraph, attributes: dict, *inputs: str) -> str:
    return graph.add("Conv", *inputs, group=attributes["num_group"], **_window(attributes))


def _deconvolution(graph: OnnxGraph, attributes: dict, *inputs: str) -> str:
    group = attributes["num_group"]
    return graph.add("ConvTranspose", *inputs, group=group, **_window(attributes))


def _batch_norm(graph: OnnxGraph, attributes: dict, *inputs: str) -> str:
    return graph.add("BatchNormalization", *inputs, epsilon=attributes["eps"])


def _pooling(graph: OnnxGraph, attributes: dict, x: str) -> str:
    kind = {"max": "MaxPool", "avg": "AveragePool"}[attributes["pool_type"]]
    if attributes["global_pool"]:
        return graph.add(f"Global{kind}", x)
    rounds_up = attributes["pooling_convention"] == "full"
    return graph.add(kind, x, ceil_mode=int(rounds_up), **_window(attributes))


def _slice_like(graph: OnnxGraph, attributes: dict, x: str, like: str) -> str:
    """The first rows and columns of an array, as many as another one has."""
    return graph.add("Slice", x, [0, 0], graph.sizes(like, 2, 4), [2, 3])


def _resize_like(graph: OnnxGraph, attributes: dict, x: str, like: str) -> str:
    return resize(graph, x, graph.sizes(like, 2, 4))


def resize(graph: OnnxGraph, x: str, size: str) -> str:
    """Bilinear enlargement of maps to ``size``, corners on corners."""
    shape = graph.add("Concat", graph.sizes(x, 0, 2), size, axis=0)
    mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    return graph.add("Resize", x, "", "", shape, **mode)


OPERATORS: dict[str, Callable[..., str]] = {  # what the networks' blocks are made of
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "BatchNorm": _batch_norm,
    "Pooling": _pooling,
    "slice_like": _slice_like,  # used along rows and columns only
    "_contrib_BilinearResize2D": _resize_like,  # used as "like" only, corners on corners
    "Activation": lambda graph, attributes, x: graph.add(attributes["act_type"].capitalize(), x),
    "relu": lambda graph, _, x: graph.add("Relu", x),
    "LeakyReLU": lambda graph, attributes, x: graph.add("LeakyRelu", x, alpha=attributes["slope"]),
    "Concat": lambda graph, attributes, *x: graph.add("Concat", *x, axis=attributes["dim"]),
    "elemwise_add": lambda graph, _, a, b: graph.add("Add", a, b),
    "Dropout": lambda graph, _, x: x,  # at inference
}
