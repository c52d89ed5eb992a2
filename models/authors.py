"""Parameter names of the authors' published networks (github.com/saic-vul/adaptis) and of ours."""

from __future__ import annotations

import re

from datasets.toy import ToyDataset

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


def describe_toy(arrays: dict) -> dict:
    """The description of the authors' toy network, which their file lacks, from its shapes.

    Returns {} where the parameters are not of that network.
    """
    first = arrays.get("feature_extractor.d0.0.0.weight")
    joined = arrays.get("adaptis_head.block0.0.weight")
    if first is None or joined is None:
        return {}
    width = first.shape[0]
    return {
        "network": {
            "architecture": "toy",
            "width": width,
            "coord_conv": joined.shape[1] > width,
            "distance_map": joined.shape[1] == width + 3,
        },
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "classes": [info._asdict() for info in ToyDataset.classes],
        "inference": {"points": "proposals", "flip": True},  # else the defaults, which are theirs
    }
