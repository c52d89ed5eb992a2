"""Parameter names of the authors' published networks (github.com/saic-vul/adaptis) and of ours."""

from __future__ import annotations

import re

from datasets.cityscapes import CityscapesDataset
from datasets.toy import ToyDataset
from models.options import IMAGE_MEAN, IMAGE_STD

# Applied in this order, each to what the one before left. ASPP's spelling is theirs.
_RENAMES = (
    (r"^feature_extractor\.backbone\.", "backbone.pretrained."),
    (r"^feature_extractor\.skip_project\.skip_project\.", "backbone.skip."),
    (r"^feature_extractor\.aspp\.concurent\.(\d)\.(gap\.)?", r"backbone.aspp.branches.\1."),
    (r"^feature_extractor\.head\.block\.", "backbone.decoder."),
    (r"^feature_extractor\.", "backbone."),
    (r"^adaptis_head\.controller_net\.layers\.", "controller.layers."),
    (  # Dense, ReLU, BatchNorm there; convolution with ReLU, BatchNorm here
        r"^adaptis_head\.controller_net\.fc_net\.(\d)",
        lambda match: f"controller.layers.{2 * int(match[1]) // 3}",
    ),
    (r"^adaptis_head\.block0\.0\.", "selection.first_conv."),
    (r"^adaptis_head\.block0\.", "selection.stages.0."),
    (r"^adaptis_head\.adain\.affine_scale\.", "selection.adains.0.scale."),
    (r"^adaptis_head\.adain\.affine_bias\.", "selection.adains.0.shift."),
    (r"^adaptis_head\.block1\.", "selection.stages.1."),
    (r"^segmentation_head\.layers\.", "semantic_head."),
    (r"^proposals_head\.layers\.", "proposal_head."),
    (r"\.body\.", "."),  # of a separable convolution
)
_INFERENCE = {  # theirs; what isn't named is our default too
    "toy": {"points": "proposals", "objects_over_stuff": True, "flip": True},
    "cityscapes": {
        "greedy": {"mask_threshold": 0.4},
        "thing_threshold": 0.6,
        "peak_threshold": 0.35,
        "proposal_blur": 5,
        "max_proposals": 500,
        "objects_over_stuff": True,
        "flip": True,
    },
}
_DEPTHS = {6: 50, 23: 101, 36: 152}  # of a ResNet, by the number of blocks in its third stage


def to_our_names(arrays: dict) -> dict:
    """Parameters by the names of this project; those of the authors' network are renamed."""
    if not any(name.startswith("feature_extractor.") for name in arrays):
        return arrays
    return {our_name(name): array for name, array in arrays.items()}


def our_name(name: str) -> str:
    """The name in this project of a parameter of the authors' network."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def describe_authors(arrays: dict) -> dict:
    """The description of the authors' toy or Cityscapes network, which their files lack.

    Sizes come from the shapes; R is the builders' default, which is theirs. Cityscapes' names and
    order of classes are those of their code (SamsungLabs/adaptis, 4d246f8), tried with random
    parameters: its README offers none. It has no ResNeXt, whose names can't be known.

    Returns {} where the parameters are of neither network.
    """
    unet = arrays.get("feature_extractor.d0.0.0.weight")
    deeplab = arrays.get("feature_extractor.head.block.2.weight")
    first_conv = arrays.get("adaptis_head.block0.0.weight")
    if first_conv is None or (unet is None and deeplab is None):
        return {}
    if any(len(array.shape) != 4 for array in (unet, deeplab, first_conv) if array is not None):
        return {}
    channels = (deeplab if unet is None else unet).shape[0]  # of the features
    maps = first_conv.shape[1] - channels
    coordinates = {"coord_conv": maps > 0, "distance_map": maps == 3}
    if unet is None:
        return _describe_cityscapes(arrays, {"channels": channels, **coordinates})
    return {
        "network": {"architecture": "toy", "width": channels, **coordinates},
        "dataset": ToyDataset.name,
        "classes": [info._asdict() for info in ToyDataset.classes],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "inference": _INFERENCE["toy"],
    }


def _describe_cityscapes(arrays: dict, options: dict) -> dict:
    """The same of the Cityscapes network; ``options`` are of ``panoptic_network``."""
    blocks = sum(".layer3." in name and name.endswith(".conv1.weight") for name in arrays)
    if blocks not in _DEPTHS:
        return {}
    return {
        "network": {
            "architecture": "panoptic",
            "backbone": f"resnet{_DEPTHS[blocks]}_v1s",
            "classes": len(CityscapesDataset.classes),
            "num_adain": 1,
            **options,
        },
        "dataset": CityscapesDataset.name,
        "classes": [info._asdict() for info in CityscapesDataset.classes],
        "mean": IMAGE_MEAN,
        "std": IMAGE_STD,
        "inference": _INFERENCE["cityscapes"],
    }
