"""The network as two ONNX graphs: what runs once an image, and the head, which runs for any points.

They compute what :mod:`adaptis.network.model`, ``heads`` and ``layers`` do, at any size.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from adaptis.network.heads import Controller, InstanceSelectionNetwork
from adaptis.network.layers import AdaIN, PointFeatures, RelativeCoordinates
from adaptis.network.model import AdaptIS
from adaptis.network.onnx_operators import OnnxGraph, resize

MAP = (1, "channels", "h", "w")


def image_model(network: AdaptIS) -> onnx.ModelProto:
    """image (1, 3, H, W) float32, normalised RGB -> code_map and selection_input, which the head
    takes; class_probabilities (classes, H, W) and proposal_logits (H, W)."""
    graph = OnnxGraph("image", {"image": ((1, 3, "H", "W"), TensorProto.FLOAT)})
    image_size = graph.sizes("image", 2, 4)
    features = _backbone(graph, network.backbone, "image", image_size)
    controller, convolution = network.controller, network.selection.first_conv
    code_map = graph.block(controller.layers, features) if controller._on_map else features
    weight = convolution.weight.data().asnumpy()[:, convolution._coord_channels :]
    selection_input = graph.add(
        "Conv", features, weight, convolution.bias.data().asnumpy(), pads=[1, 1, 1, 1]
    )
    semantic, proposals = (
        _to_image_size(graph, network, graph.block(head, features), image_size)
        for head in (network.semantic_head, network.proposal_head)
    )
    probabilities = graph.add("Squeeze", graph.add("Softmax", semantic, axis=1), [0])
    return graph.model(
        {
            "code_map": (code_map, MAP),
            "selection_input": (selection_input, MAP),
            "class_probabilities": (probabilities, ("classes", "H", "W")),
            "proposal_logits": (graph.add("Squeeze", proposals, [0, 1]), ("H", "W")),
        }
    )


def head_model(network: AdaptIS) -> onnx.ModelProto:
    """code_map, selection_input, points_yx (N, 2) float32 (row, col) pixels, image_size (2,) int64
    (height, width) -> confidences (N, H, W)."""
    inputs = {
        "code_map": (MAP, TensorProto.FLOAT),
        "selection_input": (MAP, TensorProto.FLOAT),
        "points_yx": (("N", 2), TensorProto.FLOAT),
        "image_size": ((2,), TensorProto.INT64),
    }
    graph = OnnxGraph("head", inputs)
    code = _instance_code(graph, network.controller)
    logits = _to_image_size(
        graph, network, _selection(graph, network.selection, code), "image_size"
    )
    confidences = graph.add("Squeeze", graph.add("Sigmoid", logits), [1])
    return graph.model({"confidences": (confidences, ("N", "H", "W"))})


def _backbone(graph: OnnxGraph, backbone, image: str, size: str) -> str:
    """Images smaller than the backbone takes continue beyond their border, as far as needed."""
    smallest = getattr(backbone, "smallest_image", 1)
    if smallest == 1:
        return graph.block(backbone, image)
    missing = graph.add("Max", graph.add("Sub", [smallest] * 2, size), [0, 0])
    pads = graph.add("Concat", [0] * 6, missing, axis=0)  # before each axis, then after each
    features = graph.block(backbone, graph.add("Pad", image, pads, mode="edge"))
    return graph.add("Slice", features, [0, 0], size, [2, 3])


def _instance_code(graph: OnnxGraph, controller: Controller) -> str:
    """See Controller.forward: (N, channels)."""
    code = _point_features(graph, controller.point_features)
    if not controller._on_map:
        code = graph.add("Reshape", code, [0, 0, 1, 1])
        code = graph.add("Flatten", graph.block(controller.layers, code))
    return code


def _point_features(graph: OnnxGraph, layer: PointFeatures) -> str:
    """See PointFeatures: (N, C)."""
    last = graph.add("Sub", graph.sizes("code_map", 2, 4), [1, 1])
    last = graph.add("Cast", graph.add("Max", last, [1]), to=TensorProto.FLOAT)
    grid = graph.add("Mul", "points_yx", np.float32(2 / layer._stride))
    grid = graph.add("Sub", graph.add("Div", grid, last), np.float32(1))
    grid = graph.add("Clip", grid, np.float32(-1), np.float32(1))
    grid = graph.add("Gather", grid, [1, 0], axis=1)  # x, then y
    grid = graph.add("Unsqueeze", grid, [0, 1])  # (1, 1, N, 2)
    sampled = graph.add("GridSample", "code_map", grid, align_corners=1)  # (1, C, 1, N)
    return graph.add("Transpose", graph.add("Squeeze", sampled, [0, 2]), perm=[1, 0])


def _coordinates(graph: OnnxGraph, layer: RelativeCoordinates) -> str:
    """See RelativeCoordinates: (N, 2 or 3, h, w)."""
    offsets = []  # dy (N, 1, h, 1), dx (N, 1, 1, w)
    for axis, shape in ((0, [1, 1, -1, 1]), (1, [1, 1, 1, -1])):
        length = graph.add("Squeeze", graph.sizes("selection_input", 2 + axis, 3 + axis), [0])
        indices = graph.add("Range", np.int64(0), length, np.int64(1))
        indices = graph.add("Cast", graph.add("Reshape", indices, shape), to=TensorProto.FLOAT)
        pixels = graph.add("Mul", indices, np.float32(layer._stride))
        point = graph.add("Gather", "points_yx", [axis], axis=1)
        point = graph.add("Reshape", point, [-1, 1, 1, 1])
        offset = graph.add("Sub", pixels, point)
        offsets.append(graph.add("Div", offset, np.float32(layer._radius)))
    count, size = graph.sizes("points_yx", 0, 1), graph.sizes("selection_input", 2, 4)
    shape = graph.add("Concat", count, [1], size, axis=0)
    maps = [graph.add("Expand", offset, shape) for offset in offsets]
    if layer._distance_map:
        squares = (graph.add("Mul", offset, offset) for offset in offsets)
        maps.append(graph.add("Sqrt", graph.add("Add", *squares)))
    maps = graph.add("Concat", *maps, axis=1)
    return graph.add("Clip", maps, np.float32(-1), np.float32(1))


def _selection(graph: OnnxGraph, selection: InstanceSelectionNetwork, code: str) -> str:
    """See InstanceSelectionNetwork.forward: logits (N, 1, h, w)."""
    convolution = selection.first_conv
    if selection.coordinates:
        weight = convolution.weight.data().asnumpy()[:, : convolution._coord_channels]
        coordinates = _coordinates(graph, selection.coordinates)
        from_coordinates = graph.add("Conv", coordinates, weight, pads=[1, 1, 1, 1])
        x = graph.add("Add", from_coordinates, "selection_input")
    else:
        shape = graph.add("Concat", graph.sizes("points_yx", 0, 1), [1, 1, 1], axis=0)
        x = graph.add("Expand", "selection_input", shape)
    for stage, adain in zip(selection.stages, selection.adains):
        x = _adain(graph, adain, graph.block(stage._for_one_point, x), code)
    x = graph.block(selection.stages[-1]._for_one_point, x)
    if (selection._logit_scale, selection._logit_shift) == (1, 0):
        return x
    x = graph.add("Mul", x, np.float32(selection._logit_scale))
    return graph.add("Add", x, np.float32(selection._logit_shift))


def _adain(graph: OnnxGraph, layer: AdaIN, x: str, code: str) -> str:
    """See AdaIN: the channels of all points side by side, as if of one image."""
    scale, shift = (
        graph.add(
            "Flatten",
            graph.add(
                "Gemm", code, dense.weight.data().asnumpy(), dense.bias.data().asnumpy(), transB=1
            ),
            axis=0,
        )
        for dense in (layer.scale, layer.shift)
    )
    scale, shift = (graph.add("Squeeze", values, [0]) for values in (scale, shift))
    shape = graph.sizes(x, 0, 4)
    side_by_side = graph.add("Concat", [1, -1], graph.sizes(x, 2, 4), axis=0)
    x = graph.add("Reshape", x, side_by_side)
    # its sums, too, are the more exact the nearer the mean is to 0
    x = graph.add("Sub", x, graph.add("ReduceMean", x, axes=[2, 3]))
    x = graph.add("InstanceNormalization", x, scale, shift, epsilon=layer._epsilon)
    return graph.add("Reshape", x, shape)


def _to_image_size(graph: OnnxGraph, network: AdaptIS, logits: str, size: str) -> str:
    return logits if network._stride == 1 else resize(graph, logits, size)
