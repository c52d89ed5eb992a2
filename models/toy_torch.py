"""The toy problem's network once more, in PyTorch: for training on GPUs that MXNet 1.9.1, its last
release, has no code for.

Layers, their names and what they compute are those of ``models.toy``, where they are explained; the
proposal branch is left out, as training does without it until all else is trained.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.toy import HEAD_CHANNELS, RELATIVE_RADIUS


class BatchNorm(nn.BatchNorm2d):
    """With Gluon's names of the parameters."""

    def __init__(self, channels: int):
        super().__init__(channels, affine=False)
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.gamma,
            self.beta,
            self.training,
            self.momentum,
            self.eps,
        )


class ConvReLU(nn.Conv2d):
    """A convolution with bias, and ReLU."""

    def __init__(self, channels: int, in_channels: int, kernel: int = 3):
        super().__init__(in_channels, channels, kernel, padding=kernel // 2)

    def forward(self, x):
        return functional.relu(super().forward(x))


def conv_relu_bn(channels: int, in_channels: int, kernel: int = 3) -> list[nn.Module]:
    """See ``adaptis.network.heads.conv_relu_bn``."""
    return [ConvReLU(channels, in_channels, kernel), BatchNorm(channels)]


def conv_block(channels: int, in_channels: int, kernel: int = 3) -> nn.Sequential:
    """See ``models.toy.conv_block``."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False),
        nn.ReLU(),
        BatchNorm(channels),
    )


class Upsampler(nn.Module):
    """Bilinear x2 with zeros beyond the border, which is what the transposed convolution of
    ``models.toy.Up`` computes. Its fixed weights are kept, for the other's sake, and not used."""

    def __init__(self, channels: int, in_channels: int):
        super().__init__()
        self._summed = in_channels // channels
        self.register_buffer("weight", torch.zeros(in_channels, 1, 4, 4))

    def forward(self, x):
        """x: (B, in_channels, h, w) -> (B, channels, 2 h, 2 w)."""
        if self._summed > 1:
            x = x.unflatten(1, (-1, self._summed)).sum(dim=2)
        return _doubled(_doubled(x, 2), 3)


def _doubled(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Along one axis."""
    length = x.shape[dim]
    nothing = torch.zeros_like(x.narrow(dim, 0, 1))
    before = torch.cat([nothing, x.narrow(dim, 0, length - 1)], dim)
    after = torch.cat([x.narrow(dim, 1, length - 1), nothing], dim)
    both = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim + 1)
    return both.flatten(dim, dim + 1)


class Up(nn.Module):
    """See ``models.toy.Up``."""

    def __init__(self, channels: int, in_channels: int, out_channels: int):
        super().__init__()
        self.upsampler = Upsampler(channels, in_channels)
        self.conv1 = conv_block(channels, channels, 1)
        self.conv3_0 = conv_block(channels, 2 * channels)
        self.conv3_1 = conv_block(out_channels, channels)

    def forward(self, x, skip):
        """x: (B, in_channels, h, w); skip: (B, channels, H, W) with h = ceil(H / 2)."""
        x = functional.relu(self.conv1(self.upsampler(x)))
        x = x[:, :, : skip.shape[2], : skip.shape[3]]
        return self.conv3_1(self.conv3_0(torch.cat([skip, x], dim=1)))


class UNet(nn.Module):
    """See ``models.toy.UNet``."""

    def __init__(self, width: int):
        super().__init__()
        w = [min(width * 2**i, 512) for i in range(5)]
        self.image_bn = BatchNorm(3)
        for i in range(5):
            convs = [conv_block(w[i], w[i - 1] if i else 3), conv_block(w[i], w[i])]
            pool = nn.MaxPool2d(2, 2, ceil_mode=True)
            down = nn.Sequential(pool, nn.Sequential(*convs)) if i else nn.Sequential(*convs)
            setattr(self, f"d{i}", down)
        for i in range(3, -1, -1):
            in_channels = w[4] if i == 3 else w[i]
            setattr(self, f"u{i}", Up(w[i], in_channels, w[i - 1] if i else w[0]))
        self.fe = nn.Sequential(*conv_relu_bn(width, width), *conv_relu_bn(width, width))

    def forward(self, x):
        """x: (B, 3, H, W) -> (B, width, H, W)."""
        down0 = self.d0(self.image_bn(x))
        down1 = self.d1(down0)
        down2 = self.d2(down1)
        down3 = self.d3(down2)
        x = self.u3(self.d4(down3), down3)
        x = self.u2(x, down2)
        x = self.u1(x, down1)
        return self.fe(self.u0(x, down0))


class Controller(nn.Module):
    """See ``adaptis.network.heads.Controller``, on the whole map."""

    def __init__(self, channels: int):
        super().__init__()
        layers = [layer for _ in range(3) for layer in conv_relu_bn(channels, channels, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features, points_yx):
        """features: (B, C, H, W); points_yx: (B, K, 2) float32 (row, col) pixels. Returns the
        instance codes, (B * K, C) float32."""
        code_map = self.layers(features).float()
        last = torch.tensor(code_map.shape[:1:-1], device=code_map.device) - 1
        grid = points_yx.flip(2) * 2 / last.clamp(min=1) - 1  # x, then y; -1 first, 1 last feature
        code = functional.grid_sample(
            code_map, grid[:, None], padding_mode="border", align_corners=True
        )  # (B, C, 1, K)
        return code[:, :, 0].transpose(1, 2).flatten(0, 1)


class AdaIN(nn.Module):
    """See ``adaptis.network.layers.AdaIN``."""

    def __init__(self, channels: int, code_size: int):
        super().__init__()
        self.scale, self.shift = (nn.Linear(code_size, channels) for _ in range(2))

    def forward(self, x, code):
        """x: (N, C, H, W); code: (N, code_size) float32. Returns (N, C, H, W), as narrow as x."""
        with torch.autocast(x.device.type, enabled=False):
            scale, shift = (v(code)[:, :, None, None] for v in (self.scale, self.shift))
            variance, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
            factor = scale * torch.rsqrt(variance + 1e-5)
            return ((x - mean) * factor + shift).to(x.dtype)


class InstanceSelectionNetwork(nn.Module):
    """See ``adaptis.network.heads.InstanceSelectionNetwork``, and ``models.toy`` for its stages."""

    def __init__(self, width: int, coord_conv: bool, distance_map: bool, relative_radius: float):
        super().__init__()
        self._radius, self._distance_map = relative_radius, distance_map
        self._coord_channels = (3 if distance_map else 2) if coord_conv else 0
        self.first_conv = nn.Conv2d(self._coord_channels + width, width, 3, padding=1)
        self.stages = nn.Sequential(
            nn.Sequential(
                nn.ReLU(),
                BatchNorm(width),
                *conv_relu_bn(width, width),
                *conv_relu_bn(width, width),
            ),
            nn.Sequential(*conv_relu_bn(width // 2, width), nn.Conv2d(width // 2, 1, 1)),
        )
        self.adains = nn.ModuleList([AdaIN(width, width)])

    def forward(self, features, code, points_yx):
        """features: (B, C, H, W); code: (B * K, C); points_yx: (B, K, 2) float32 (row, col)
        pixels. Returns logits (B * K, 1, H, W) float32."""
        own, shared = self.first_conv.weight.split((self._coord_channels, features.shape[1]), dim=1)
        x = functional.conv2d(features, shared, self.first_conv.bias, padding=1)
        x = x.repeat_interleave(points_yx.shape[1], dim=0)  # (B * K, C, H, W)
        if self._coord_channels:
            maps = self._coordinates(points_yx.flatten(0, 1), *features.shape[2:])
            x = x + functional.conv2d(maps, own, padding=1)
        x = self.stages[1](self.adains[0](self.stages[0](x), code))
        return 0.2 * x.float() - 1.7  # logit_scale and logit_shift of models.toy

    def _coordinates(self, points_yx, height: int, width: int):
        """points_yx: (N, 2). Returns (N, 2 or 3, height, width), see ``RelativeCoordinates``."""
        rows = torch.arange(height, device=points_yx.device)[None, :, None]
        columns = torch.arange(width, device=points_yx.device)[None, None]
        dy = (rows - points_yx[:, 0, None, None]) / self._radius  # (N, height, 1)
        dx = (columns - points_yx[:, 1, None, None]) / self._radius  # (N, 1, width)
        maps = list(torch.broadcast_tensors(dy, dx))
        if self._distance_map:
            maps.append(torch.sqrt(dy**2 + dx**2))
        return torch.stack(maps, dim=1).clamp(-1, 1)


class ToyNetwork(nn.Module):
    """AdaptIS for the toy problem. Parameters: see ``models.toy.toy_network``."""

    def __init__(
        self,
        width: int = 32,
        coord_conv: bool = True,
        distance_map: bool = False,
        relative_radius: float = RELATIVE_RADIUS,
        classes: int = 2,
        proposal_branch: str = "authors",
    ):
        super().__init__()
        self.backbone = UNet(width)
        self.controller = Controller(width)
        self.selection = InstanceSelectionNetwork(width, coord_conv, distance_map, relative_radius)
        self.semantic_head = nn.Sequential(
            *conv_relu_bn(HEAD_CHANNELS, width),
            *conv_relu_bn(HEAD_CHANNELS, HEAD_CHANNELS),
            *conv_relu_bn(HEAD_CHANNELS, HEAD_CHANNELS),
            nn.Conv2d(HEAD_CHANNELS, classes, 1),
        )

    def forward(self, images, points_yx):
        """images: (B, 3, H, W) float32; points_yx: (B, K, 2) float32 (row, col) pixels. Returns
        instance logits (B * K, 1, H, W) and class logits (B, classes, H, W), float32."""
        features = self.backbone(images)
        code = self.controller(features, points_yx)
        logits = self.selection(features, code, points_yx)
        return logits, self.semantic_head(features).float()
