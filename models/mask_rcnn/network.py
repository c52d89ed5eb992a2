"""GluonCV's Mask R-CNN for the one class of the toy problem (paper, Section 6; He et al. 2017)."""

from __future__ import annotations

import warnings

import mxnet as mx
from gluoncv.model_zoo import get_model
from gluoncv.model_zoo.rcnn.mask_rcnn import MaskRCNN
from gluoncv.nn.feature import FPNFeatureExpander
from mxnet.gluon import nn

from adaptis.network.model import HE_NORMAL
from models.deeplab import load_backbone
from models.mask_rcnn.options import FULL_SIDE

# the encoder of training targets, a part of the network which inference doesn't need
warnings.filterwarnings("ignore", r"Parameter normalizedperclassboxcenterencoder.* is not used")

BACKBONE = "resnet50_v1b"  # Section 6 says ResNet-50; GluonCV's Mask R-CNN takes this variant
CLASSES = ("cell",)

# sizes in pixels are for images of FULL_SIDE
ANCHOR_SIDE = 16  # px; GluonCV's anchors have 2 to 32 times this: 32 to 512
ANCHOR_SCALES = (2, 4, 8, 16, 32)  # GluonCV's, like the ratios; toy boxes have sides of 26 to 160
ANCHOR_RATIOS = (0.5, 1, 2)
STRIDES = {"fpn": (4, 8, 16, 32, 64), "c4": 16}
ANCHOR_MAP = {"fpn": (256, 256), "c4": (64, 64)}  # steps of the finest stride: up to 1024 px
RPN_CHANNELS = {"fpn": 256, "c4": 1024}  # of the papers; GluonCV's 1024 double the cost of FPN

TRAIN_PROPOSALS = (2000, 500)  # before and after their NMS; GluonCV's 12000 and 2000 are for COCO
SAMPLED_REGIONS = 64  # an image, a quarter of them on objects; GluonCV's 512 are for 800 px images
# GluonCV scales with the number of classes: one gives a deviation of 1.4 and a mask loss of 28
MASK_INITIALIZER = mx.init.Normal(0.01)  # as its other predictors
MAX_OBJECTS = 50  # detections an image; the toy problem has at most 22 objects
PROPOSALS_PER_OBJECT = 6  # at test time, as GluonCV's 300 to these 50
AS_FOR_COCO = {  # the values of GluonCV's networks for COCO
    "mask_channels": 256,
    "rpn_nms_thresh": 0.7,
    "rpn_min_size": 1,
    "nms_thresh": 0.5,
    "nms_topk": -1,
    "post_nms": -1,
    "roi_mode": "align",
    "roi_size": (14, 14),
    "clip": 4.42,
    "pos_iou_thresh": 0.5,
    "pos_ratio": 0.25,
}


class ToyMaskRCNN(MaskRCNN):
    """GluonCV's network, with a pooling of regions from the pyramid that is right on a CPU too.

    GluonCV asks ROIAlign for image -1 where a region belongs to another level. A GPU gives zeros;
    on a CPU MXNet leaves these features as the memory was, and writes its zeros over those of the
    first region.
    """

    def _pyramid_roi_feats(self, F, features, rpn_rois, roi_size, strides, roi_mode):
        """features: of each level (B, C, h, w). rpn_rois: (N, 5) image, x1, y1, x2, y2. Returns
        (N, C, *roi_size), of each region from the level of its size."""
        _, x1, y1, x2, y2 = F.split(rpn_rois, num_outputs=5, axis=1, squeeze_axis=True)
        side = F.sqrt((x2 - x1 + 1) * (y2 - y1 + 1))
        last = self._max_stage - 1  # the coarsest level is for proposals only
        level = F.clip(F.floor(4 + F.log2(side / 224 + 1e-6)), self._min_stage, last)  # FPN paper
        nowhere = F.ones_like(rpn_rois) * -1
        dummy = F.slice_axis(nowhere, axis=0, begin=0, end=1)  # what the stray zeros fall on
        pooled = []
        for i, stage in enumerate(range(self._min_stage, last + 1)):
            regions = F.concat(dummy, F.where(level == stage, rpn_rois, nowhere), dim=0)
            x = F.contrib.ROIAlign(features[i], regions, roi_size, 1 / strides[i], sample_ratio=2)
            x = F.slice_axis(x, axis=0, begin=1, end=None)
            pooled.append(F.where(level == stage, x, F.zeros_like(x)))
        return F.add_n(*pooled)


def build_mask_rcnn(
    network: str,
    short_side: int,
    pretrained: bool,
    backbone_weights: str = "none",
    max_objects: int = MAX_OBJECTS,
) -> ToyMaskRCNN:
    """Build the network on the CPU, initialised. Training takes one image a pass.

    Parameters:
        network: one of ``models.mask_rcnn.options.NETWORKS``.
        short_side: px of the training images; anchors are scaled with it.
        pretrained: whether the backbone is ImageNet's. Then, as GluonCV does, its first two
            stages and all its batch normalisation stay as they are. From scratch all is trained
            and normalised by the batch: untrained statistics would normalise nothing.
        backbone_weights: "imagenet" (GluonCV's file, downloaded once), such a file, or "none".
        max_objects: detections an image, and by it the number of proposals at test time, which
            is a lower limit of an image's number of anchors: images must not be too small.

    Raises CheckpointError where the weights can't be had, read, or are another network's.
    """
    backbone = get_model(BACKBONE, use_global_stats=pretrained)
    if backbone_weights != "none":
        load_backbone(backbone, BACKBONE, backbone_weights)
    parts = _pyramid(backbone) if network == "fpn" else _single_scale(backbone)
    trained = [".*dense", ".*rpn", ".*mask", "P", ".*down(2|3|4)_conv", ".*layers(2|3|4)_conv"]
    proposals = PROPOSALS_PER_OBJECT * max_objects
    model = ToyMaskRCNN(
        classes=CLASSES,
        train_patterns="|".join(trained) if pretrained else None,
        strides=STRIDES[network],
        base_size=ANCHOR_SIDE * short_side / FULL_SIDE,
        scales=ANCHOR_SCALES,
        ratios=ANCHOR_RATIOS,
        alloc_size=ANCHOR_MAP[network],
        rpn_channel=RPN_CHANNELS[network],
        rpn_train_pre_nms=TRAIN_PROPOSALS[0],
        rpn_train_post_nms=TRAIN_PROPOSALS[1],
        rpn_test_pre_nms=4 * proposals,
        rpn_test_post_nms=proposals,
        num_sample=SAMPLED_REGIONS,
        rcnn_max_dets=max_objects,
        **AS_FOR_COCO,
        **parts,
    )
    model.target_generator.hybridize()  # made when first used: from here on one of the children
    model.mask.mask.weight.init = MASK_INITIALIZER
    for name, parameter in model.collect_params().items():
        if parameter._data is None:  # not loaded
            # the pyramid's biases have no initialiser of their own
            own = "zeros" if name.endswith("_bias") else None
            parameter.initialize(own, default_init=HE_NORMAL)
    model(mx.nd.zeros((1, 3, FULL_SIDE, FULL_SIDE)))  # GluonCV leaves input channels open
    return model


def _pyramid(backbone) -> dict:
    """What differs with a feature pyramid, as GluonCV builds it."""
    stage_ends = ("layers1_relu8", "layers2_relu11", "layers3_relu17", "layers4_relu8")
    box_features = nn.HybridSequential()
    box_features.add(nn.AvgPool2D(pool_size=3, strides=2, padding=1))  # 14x14 -> 7x7
    for _ in range(2):
        box_features.add(nn.Dense(1024, weight_initializer=mx.init.Normal(0.01)))
        box_features.add(nn.Activation("relu"))
    return {
        "features": FPNFeatureExpander(
            network=backbone,
            outputs=[f"{end}_fwd" for end in stage_ends],
            inputs=(mx.sym.var("data", dtype="float32"),),
            num_filters=[256] * 4,
            use_p6=True,
            no_bias=False,
        ),
        "top_features": None,
        "box_features": box_features,
        "min_stage": 2,
        "max_stage": 6,
        "target_roi_scale": 2,  # masks of 28x28
        "num_fcn_convs": 4,
    }


def _single_scale(backbone) -> dict:
    """What differs without one: the last stage runs on each region, masks have 14x14."""
    features = nn.HybridSequential()
    for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
        features.add(getattr(backbone, layer))
    top_features = nn.HybridSequential()
    top_features.add(backbone.layer4)
    return {"features": features, "top_features": top_features}
