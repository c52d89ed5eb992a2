"""Random augmentation of a sample: the paper's three pipelines (Section 7) and their parts.

A transform is called with a sample and the generator it draws from, and returns a new sample whose
image and maps stay aligned: a loader that seeds the generator by (seed, epoch, index) repeats them
exactly. All sizes are (height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adaptis.preprocessing import magnification, object_areas, resize_labels
from datasets.base import PADDING, Instance, Sample

Transform = Callable[[Sample, np.random.Generator], Sample]

PADDING_COLOR = (124, 116, 104)
"""Mean RGB of ImageNet, 0 once normalised; ColorJitter tints it with the rest of the image."""


class Compose:
    """Apply transforms one after another.

    Parameters:
        transforms: called in this order with the same generator.
    """

    def __init__(self, *transforms: Transform):
        self.transforms = transforms

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@dataclass(frozen=True)
class RandomScaledCrop:
    """Scale by a random factor and cut a random window of a fixed size.

    Only the window is resized: it is cut from the original first, at whole pixels, so that its
    factor differs from the drawn one by less than a pixel in its length. Where the scaled image
    is smaller than the window it lies at a random place in it, surrounded by PADDING_COLOR and
    PADDING. Instances outside the window are dropped, the ids of the others stay.

    Attributes:
        size: (height, width) of the window.
        low, high: range of the uniform draw.
        side: what is drawn. None: the factor itself. ``min`` or ``max``: the length in pixels of
            the scaled image's shortest or longest side.
        around_objects: how often the window is laid so that it holds a random pixel of an object,
            each object with the same chance; where most of an image is empty, random windows
            are too.
        enlarge: scale up too; if not, what is drawn is a limit.
        object_diameter: pixels; half of the windows of an image whose objects have a smaller median
            diameter are scaled up to it on top of what is drawn, as inference does with them, see
            ``magnification``.
    """

    size: tuple[int, int]
    low: float
    high: float
    side: Callable[[int, int], int] | None = None
    around_objects: float = 0.0
    enlarge: bool = True
    object_diameter: float | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        import cv2  # --help of what reads files needn't wait for it

        height, width = sample.semantic_map.shape
        scale = rng.uniform(self.low, self.high)
        if self.side is not None:
            scale /= self.side(height, width)
        if not self.enlarge:
            scale = min(scale, 1.0)
        if self.object_diameter and rng.random() < 0.5:
            is_crowd = np.isin(sample.instance_map, sample.crowd_ids)
            areas = object_areas(np.where(is_crowd, 0, sample.instance_map))
            scale *= magnification(areas, self.object_diameter) if len(areas) else 1
        row, column = self._pixel_to_hold(sample, rng)
        source_rows, rows = _cut(height, self.size[0], scale, rng, row)
        source_columns, columns = _cut(width, self.size[1], scale, rng, column)

        content = rows.stop - rows.start, columns.stop - columns.start
        image = np.full((*self.size, 3), PADDING_COLOR, dtype=np.uint8)
        image[rows, columns] = cv2.resize(
            sample.image[source_rows, source_columns],
            content[::-1],
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,  # area: no aliasing
        )
        semantic_map = np.full(self.size, PADDING, dtype=np.int32)
        semantic_map[rows, columns] = resize_labels(
            sample.semantic_map[source_rows, source_columns], content
        )
        instance_map = np.zeros(self.size, dtype=np.int32)
        instance_map[rows, columns] = resize_labels(
            sample.instance_map[source_rows, source_columns], content
        )
        return replace(
            sample,
            image=image,
            semantic_map=semantic_map,
            instance_map=instance_map,
            instances=_visible(sample.instances, instance_map),
        )

    def _pixel_to_hold(self, sample: Sample, rng: np.random.Generator):
        """(row, column) of a random pixel of a random object, or None twice for anywhere."""
        if not self.around_objects or rng.random() >= self.around_objects or not sample.instances:
            return None, None
        pixels = np.flatnonzero(sample.instance_map == rng.choice(list(sample.instances)))
        return divmod(int(rng.choice(pixels)), sample.instance_map.shape[1])


class RandomFlip:
    """Mirror left and right with probability one half."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= 0.5:
            return sample
        return replace(
            sample,
            image=np.ascontiguousarray(sample.image[:, ::-1]),
            semantic_map=np.ascontiguousarray(sample.semantic_map[:, ::-1]),
            instance_map=np.ascontiguousarray(sample.instance_map[:, ::-1]),
        )


class RandomOrientation:
    """One of the eight flips and quarter turns, for images that have no up and down, as those of
    microscopes and satellites."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        rows, columns = (slice(None, None, step) for step in rng.choice((1, -1), size=2))
        turned = {}
        transposes = rng.random() < 0.5
        for name in ("image", "semantic_map", "instance_map"):
            array = getattr(sample, name)[rows, columns]
            turned[name] = np.ascontiguousarray(array.swapaxes(0, 1) if transposes else array)
        return replace(sample, **turned)


@dataclass(frozen=True)
class IntensityJitter:
    """Change gamma, contrast and brightness of all channels alike, then blur or add noise.

    Attributes:
        gamma: range of the exponent's draw, uniform in its logarithm.
        contrast: likewise, of the factor on all values.
        brightness: greatest shift, as a part of the full range.
        blur: greatest standard deviation in pixels, with probability one quarter.
        noise: greatest standard deviation in grey levels, with probability one half.
    """

    gamma: tuple[float, float] = (0.5, 2.0)
    contrast: tuple[float, float] = (0.5, 1.3)
    brightness: float = 0.05
    blur: float = 1.0
    noise: float = 8.0

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        import cv2  # --help of what reads files needn't wait for it

        gamma, contrast = (
            np.exp(rng.uniform(*np.log(limits))) for limits in (self.gamma, self.contrast)
        )
        levels = 255 * contrast * (np.arange(256) / 255) ** gamma
        levels += 255 * rng.uniform(-self.brightness, self.brightness)
        table = levels.round().clip(0, 255).astype(np.uint8)
        image = cv2.LUT(sample.image, table)
        if rng.random() < 0.25:
            image = cv2.GaussianBlur(image, (0, 0), max(0.1, rng.uniform(0, self.blur)))
        if rng.random() < 0.5:
            grain = rng.normal(0, rng.uniform(0, self.noise), image.shape[:2])[:, :, None]
            image = (image + grain).round().clip(0, 255).astype(np.uint8)
        return replace(sample, image=image)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and colour, each with its own chance.

    The paper names the three without their strength; the ranges are the authors' published ones.

    Attributes:
        brightness: greatest shift of all channels, as a part of the full range.
        contrast: (lowest, highest) change of the distance to mid-grey.
        shift: greatest shift of one channel, in grey levels.
        probability: of each of the three.
    """

    brightness: float = 0.25
    contrast: tuple[float, float] = (-0.15, 0.4)
    shift: float = 10
    probability: float = 0.75

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        import cv2  # --help of what reads files needn't wait for it

        levels = np.arange(256)[:, None].repeat(3, axis=1)  # (256, 3): all changes in one table
        if rng.random() < self.probability:
            levels = levels + 255 * rng.uniform(-self.brightness, self.brightness)
        if rng.random() < self.probability:
            levels = 127.5 + (levels - 127.5) * (1 + rng.uniform(*self.contrast))
        if rng.random() < self.probability:
            levels = levels + rng.uniform(-self.shift, self.shift, size=3)
        table = levels.round().clip(0, 255).astype(np.uint8)
        return replace(sample, image=cv2.LUT(sample.image, table[None]))


def cityscapes_augmentation(
    size: tuple[int, int] = (400, 800), scale: tuple[float, float] = (0.2, 1.2)
) -> Compose:
    """Random factor, crop, flip and colours (Section 7, Cityscapes training; the flip is the
    authors')."""
    return Compose(RandomScaledCrop(size, *scale), RandomFlip(), ColorJitter())


def mapillary_augmentation(
    size: tuple[int, int] = (400, 800), longest_side: tuple[float, float] = (500, 2200)
) -> Compose:
    """Random longest side in pixels, at most the image's own, crop and flip (Section 7, Mapillary
    training)."""
    crop = RandomScaledCrop(size, *longest_side, side=max, enlarge=False)
    return Compose(crop, RandomFlip())


def coco_augmentation(
    size: tuple[int, int] = (544, 544), shortest_side: tuple[float, float] = (350, 700)
) -> Compose:
    """Random shortest side in pixels, crop and flip (Section 7, COCO training)."""
    return Compose(RandomScaledCrop(size, *shortest_side, side=min), RandomFlip())


def instances_augmentation(
    size: tuple[int, int], scale: tuple[float, float], object_diameter: float | None = None
) -> Compose:
    """Crop with objects in it, orientation and intensity, for own images of any kind."""
    crop = RandomScaledCrop(
        size,
        *scale,
        around_objects=0.9,  # a tenth anywhere: background
        object_diameter=object_diameter,
    )
    return Compose(crop, RandomOrientation(), IntensityJitter())


def _cut(
    length: int, window: int, scale: float, rng: np.random.Generator, held: int | None = None
) -> tuple[slice, slice]:
    """Choose along one axis what is cut from the original and where it goes in the window.
    ``held``: a pixel that is to be in it."""
    source = max(1, round(window / scale))
    if source < length:
        first, last = 0, length - source
        if held is not None:
            first, last = max(first, held - source + 1), min(last, held)
        start = int(rng.integers(first, last + 1))
        return slice(start, start + source), slice(0, window)
    scaled = min(window, max(1, round(length * scale)))
    start = int(rng.integers(window - scaled + 1))
    return slice(0, length), slice(start, start + scaled)


def _visible(instances: dict[int, Instance], instance_map: np.ndarray) -> dict[int, Instance]:
    """The instances that still have a pixel."""
    areas = np.bincount(instance_map.ravel(), minlength=max(instances, default=0) + 1)
    return {id_: instance for id_, instance in instances.items() if areas[id_]}
