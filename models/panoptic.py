"""The panoptic network: AdaptIS on DeepLabV3+ (paper, Sections 5 and 7, Figure 8)."""

from __future__ import annotations

from mxnet.gluon import nn

from adaptis.network.heads import Controller, InstanceSelectionNetwork, sequential
from adaptis.network.layers import RelativeCoordinates, SeparableConv
from adaptis.network.model import AdaptIS
from models.deeplab import STRIDE, DeepLabV3Plus
from models.options import RELATIVE_RADIUS


def panoptic_network(
    backbone: str = "resnet50_v1s",
    classes: int = 19,
    num_adain: int = 1,
    coord_conv: bool = True,
    distance_map: bool = False,
    relative_radius: float = RELATIVE_RADIUS,
    channels: int = 256,
    proposal_branch: str = "authors",
) -> AdaptIS:
    """AdaptIS for panoptic segmentation, not initialised; layers from the authors' code.

    Parameters:
        backbone: a GluonCV name, see models.options.BACKBONES.
        classes: of the semantic branch, stuff and things; 19 are Cityscapes'.
        num_adain: 1 as in the authors' code, or 2 as Figure 4 is drawn.
        coord_conv: Relative CoordConv on or off (Table 7).
        distance_map: add the authors' third coordinate map.
        relative_radius: R of Relative CoordConv, pixels of the input image.
        channels: of the features; the branches scale with them. 256 in the paper.
        proposal_branch: "paper" for one like the semantic branch (Section 5), "authors" for their
            narrower one with dropout, which descriptions without this entry mean.
    """
    width = channels // 2  # of controller and instance selection: 128
    semantic_width = channels * 3 // 4  # 192
    proposal_width, dropout = {"paper": (semantic_width, 0.0), "authors": (width, 0.5)}[
        proposal_branch
    ]
    before_adain = [
        nn.Activation("relu"),  # of the first convolution
        nn.BatchNorm(in_channels=width),
        SeparableConv(width, width),
        nn.Conv2D(width, 1, in_channels=width),
        nn.LeakyReLU(0.2),
    ]
    after_adain = [
        SeparableConv(width, width),
        SeparableConv(width // 2, width),
        SeparableConv(width // 4, width // 2),
        nn.Conv2D(1, 1, in_channels=width // 4),
    ]
    if num_adain == 1:
        stages = [before_adain, after_adain]
    else:
        stages = [before_adain, after_adain[:1], after_adain[1:]]
    selection = InstanceSelectionNetwork(
        RelativeCoordinates(relative_radius, STRIDE, distance_map) if coord_conv else None,
        channels=(width, channels),
        stages=stages,
        adain_channels=[width] * num_adain,
        code_size=width,
    )
    return AdaptIS(
        DeepLabV3Plus(backbone, channels),
        Controller(width, channels, STRIDE),
        selection,
        semantic_head=_branch(channels, semantic_width, classes),
        proposal_head=_branch(channels, proposal_width, 1, dropout),
        stride=STRIDE,
    )


def _branch(channels: int, width: int, outputs: int, dropout: float = 0.0) -> nn.HybridSequential:
    """Two separable convolutions on the features, then the logits: semantic and proposal branch."""
    return sequential(
        SeparableConv(width, channels),
        *([nn.Dropout(dropout)] if dropout else []),
        SeparableConv(width, width),
        nn.Conv2D(outputs, 1, in_channels=width),
    )
