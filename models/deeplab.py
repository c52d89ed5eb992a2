"""DeepLabV3+ on GluonCV's ImageNet networks (paper, Section 7, Figure 8; Chen et al. 2018)."""

from __future__ import annotations

import os
import sys
import zipfile

import mxnet as mx
from gluoncv.model_zoo import get_model, model_store
from mxnet.gluon import nn
from PIL import ImageFile

from adaptis.network.heads import sequential
from adaptis.network.layers import SeparableConv
from adaptis.weights import (
    CheckpointError,
    has_description,
    load_weights,
    parameters_of,
    read_weights,
    same_shape,
    set_parameters,
)

ImageFile.LOAD_TRUNCATED_IMAGES = False  # importing GluonCV let PIL read broken files silently

STRIDE = 4  # pixels of the image a step of the features makes
ASPP_RATES = (12, 24, 36)  # DeepLabV3 at output stride 8
SKIP_CHANNELS = 32  # authors' code


def conv_bn_relu(channels: int, in_channels: int = 0, kernel: int = 1, dilation: int = 1):
    """Convolution without bias -> BatchNorm -> ReLU, of the same size as its input."""
    return sequential(
        nn.Conv2D(
            channels,
            kernel,
            padding=kernel // 2 * dilation,
            dilation=dilation,
            in_channels=in_channels,
            use_bias=False,
        ),
        nn.BatchNorm(in_channels=channels),
        nn.Activation("relu"),
    )


def dilate(stage: nn.HybridSequential, dilation: int) -> None:
    """Trade the stride 2 of a ResNeXt stage for dilation; its parameters stay what they are.

    The convolution that strided keeps the dilation so far, those after it double it: each output
    of the strided stage is computed as before, with new ones between them.
    """
    for i, block in enumerate(stage):
        own = dilation if i else dilation // 2
        block.body[3]._kwargs.update(stride=(1, 1), dilate=(own, own), pad=(own, own))
    stage[0].downsample[0]._kwargs.update(stride=(1, 1))


class DilatedResNet(nn.HybridBlock):
    """A GluonCV ResNet or ResNeXt of output stride 8, without its classifier.

    Parameters are named as in GluonCV.
    """

    def __init__(self, backbone: str, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            if "resnext" in backbone:
                self.features = get_model(backbone).features[:8]  # stem of four, four stages
                dilate(self.features[6], 2)
                dilate(self.features[7], 4)
            else:
                network = get_model(backbone, dilated=True)
                for name, layer in list(network._children.items())[:8]:
                    setattr(self, name, layer)

    def hybrid_forward(self, F, x):
        """x: (B, 3, H, W). Returns the first stage's output at stride 4 and the last one's at
        stride 8, sizes rounded up."""
        layers = list(self.features if hasattr(self, "features") else self._children.values())
        for layer in layers[:5]:
            x = layer(x)
        first = x
        for layer in layers[5:]:
            x = layer(x)
        return first, x


class ASPP(nn.HybridBlock):
    """Atrous spatial pyramid pooling: a 1x1 and three dilated convolutions and image pooling."""

    def __init__(self, channels: int, dropout: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.branches = sequential(
                conv_bn_relu(channels),
                *(conv_bn_relu(channels, kernel=3, dilation=rate) for rate in ASPP_RATES),
                sequential(nn.GlobalAvgPool2D(), *conv_bn_relu(channels)),
            )
            self.project = sequential(
                *conv_bn_relu(channels, (2 + len(ASPP_RATES)) * channels),
                nn.Dropout(dropout),
            )

    def hybrid_forward(self, F, x):
        """x: (B, C, h, w) -> (B, channels, h, w)."""
        *convolved, pooled = (branch(x) for branch in self.branches)
        pooled = F.contrib.BilinearResize2D(pooled, x, mode="like")
        return self.project(F.concat(*convolved, pooled, dim=1))


class DeepLabV3Plus(nn.HybridBlock):
    """DeepLabV3+ without its classifier; parameters under ``pretrained.`` come from ImageNet.

    Parameters:
        backbone: see models.options.BACKBONES.
        channels: of ASPP, decoder and features; 256 in the paper.
    """

    def __init__(self, backbone: str, channels: int = 256, **kwargs):
        super().__init__(**kwargs)
        self._backbone = backbone
        with self.name_scope():
            self.pretrained = DilatedResNet(backbone)
            self.skip = conv_bn_relu(SKIP_CHANNELS)
            self.aspp = ASPP(channels)
            self.decoder = sequential(
                SeparableConv(channels, channels + SKIP_CHANNELS),
                SeparableConv(channels, channels),
                nn.Conv2D(channels, 1, in_channels=channels),
            )
        self.infer_shape(mx.nd.zeros((1, 3, 32, 32)))  # GluonCV leaves input channels open

    def hybrid_forward(self, F, x):
        """x: (B, 3, H, W) float32, normalised RGB. Returns Q, (B, channels, H / 4, W / 4), sizes
        rounded up."""
        first, last = self.pretrained(x)
        last = F.contrib.BilinearResize2D(self.aspp(last), first, mode="like")
        return self.decoder(F.concat(last, self.skip(first), dim=1))

    def load_pretrained(self, weights: str) -> None:
        """Set the parameters under ``pretrained.`` of the initialised network.

        Parameters:
            weights: "imagenet" (GluonCV's file, downloaded once), such a file, or "none"; a file of
                this project gives the other parameters that fit, too, and what doesn't is told.

        Raises CheckpointError where the file can't be had, read, or is another network's.
        """
        if weights == "none":
            return
        if weights != "imagenet" and has_description(weights):
            self._load_own(weights)
            return
        plain = get_model(self._backbone)
        load_backbone(plain, self._backbone, weights)
        arrays = plain._collect_params_with_prefix()
        for name, parameter in self.pretrained._collect_params_with_prefix().items():
            parameter.set_data(arrays[name].data())

    def _load_own(self, weights: str) -> None:
        arrays, description, _ = load_weights(weights)
        backbone = description.get("network", {}).get("backbone")
        if backbone != self._backbone:
            raise CheckpointError(f"{weights}: its backbone is {backbone}, not {self._backbone}")
        fitting, anew = {}, set()
        for name, array in parameters_of(self).items():
            theirs = arrays.get(f"backbone.{name}")
            fits = theirs is not None and same_shape(array.shape, theirs.shape)
            fitting[name] = theirs if fits else array
            if not fits:
                anew.add(name.split(".")[0])
        if "pretrained" in anew:
            raise CheckpointError(f"{weights}: holds no parameters of {self._backbone}")
        set_parameters(self, fitting, weights)
        if anew:
            print(f"{weights}: {' and '.join(sorted(anew))} begin anew", file=sys.stderr)


def load_backbone(network, backbone: str, weights: str) -> None:
    """Load the parameters of one of GluonCV's networks.

    Parameters:
        network: ``get_model(backbone)``.
        weights: "imagenet" (GluonCV's file, downloaded once), or such a file.

    Raises CheckpointError where the file can't be had, read, or is another network's.
    """
    if weights == "imagenet":
        path = imagenet_file(backbone)  # whose sha1 GluonCV has compared
    else:
        path = weights
        read_weights(path)  # checked as any other, before MXNet takes its word for sizes
    try:
        network.load_parameters(path)  # knows both of Gluon's file formats
    except (OSError, ValueError, AssertionError, mx.MXNetError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"{path}: is no GluonCV weights file of {backbone}: {reason}"
        ) from error


def imagenet_file(backbone: str) -> str:
    """The path of GluonCV's ImageNet weights, downloaded if need be.

    Raises CheckpointError with what to do instead where that fails.
    """
    try:
        return model_store.get_model_file(backbone)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        name = f"{backbone}-{model_store.short_hash(backbone)}"
        repository = os.environ.get("MXNET_GLUON_REPO", model_store.apache_repo_url).rstrip("/")
        raise CheckpointError(
            f"the ImageNet weights of {backbone} could not be downloaded: {error}\n"
            f"Fetch {repository}/gluon/models/{name}.zip on a machine with internet and give the "
            f"{name}.params in it by --backbone-weights FILE, or start from scratch with "
            "--backbone-weights none"
        ) from error
