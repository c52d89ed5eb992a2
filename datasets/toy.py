"""The toy data set of Section 6: reader, training augmentation and degradation.

``datasets.toy_generator`` makes the files. The authors' downloads ToyV1 and ToyV2 have the same
layout: ``<root>/<split>/<name>_rgb.png`` and ``<name>_im.png``, the instance ids (0 background).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.files import Files, read_image, read_labels

BLUR_RANGE = (1.0, 4.0)  # px, as in the authors' published samples
TRAIN_NOISE_STD = (10.0, 40.0)  # grey levels: what the authors' training drew from

BACKGROUND, OBJECT = 0, 1  # class indices
IMAGE_SUFFIX, IDS_SUFFIX = "_rgb.png", "_im.png"


class ToyDataset:
    """One split of a toy data set.

    Args:
        root: the generator's ``--out`` or an unpacked download.
        split: ``"train"`` or ``"test"``.
        cache: keep what is decoded in memory, about 37 kB for a 96 x 96 image.

    Attributes:
        names, image_ids: the file names without ending.

    Raises:
        DataError: the folder is missing or holds no images.
    """

    name = "toy"
    classes = (
        ClassInfo("background", category_id=1, isthing=False, color=(255, 255, 255)),
        ClassInfo("object", category_id=2, isthing=True, color=(250, 2, 4)),
    )

    def __init__(self, root: Path | str, split: str, cache: bool = False):
        self._folder = Path(root) / split
        remedy = f"python -m datasets.toy_generator --out {root}"
        if not self._folder.is_dir():
            raise DataError(self._folder, "no such folder", remedy)
        self._images, self._ids = (
            Files(self._folder, "*", ending) for ending in (IMAGE_SUFFIX, IDS_SUFFIX)
        )
        if not self._images.names:
            raise DataError(self._folder, f"no *{IMAGE_SUFFIX} images", remedy)
        # Both sides are listed, so that a file without its counterpart is an error when read.
        self.names = self.image_ids = sorted(self._images.names | self._ids.names)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Reads one sample; an image without objects has no instances.

        Raises:
            DataError: a file is missing or broken, or image and ids differ in size.
        """
        image, ids = self._read(range(len(self))[index])  # range: negative indices, IndexError
        instance_map = ids.astype(np.int32)
        return Sample(
            name=self.names[index],
            image=image.copy(),  # whoever gets it may write on it, the cache stays as it is
            semantic_map=np.where(instance_map > 0, OBJECT, BACKGROUND).astype(np.int32),
            instance_map=instance_map,
            instances={int(i): Instance(OBJECT) for i in np.unique(instance_map) if i > 0},
        )

    def image_path(self, index: int) -> Path:
        return self._images.path(self.names[index])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and ids (H, W), uint8 or uint16 as stored."""
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        image_path = self.image_path(index)
        ids_path = self._ids.path(self.names[index])
        ids = read_labels(ids_path)
        image = read_image(image_path, ids.shape)
        if self._cache is not None:
            self._cache[index] = image, ids
        return image, ids


class ToyAugmentation:
    """Blur, noise and flips of a training sample, as the authors drew them; on request a crop.

    Args:
        crop_size: px; train on random windows of this height and width, which on a CPU is worth
            more than their share of the image. None: the whole image.
        blur_range, noise_std_range: as in ``degrade``.
    """

    def __init__(
        self,
        crop_size: int | None = None,
        blur_range: tuple[float, float] = BLUR_RANGE,
        noise_std_range: tuple[float, float] = TRAIN_NOISE_STD,
    ):
        self.crop_size = crop_size
        self.blur_range, self.noise_std_range = blur_range, noise_std_range

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A new sample; everything random comes from ``rng``."""
        top, left = (rng.integers(max(0, n - self._size(n)) + 1) for n in sample.image.shape[:2])
        height, width = (self._size(n) for n in sample.image.shape[:2])
        rows, columns = (slice(None, None, rng.choice((1, -1))) for _ in range(2))
        image, semantic_map, instance_map = (
            np.ascontiguousarray(array[top : top + height, left : left + width][rows, columns])
            for array in (sample.image, sample.semantic_map, sample.instance_map)
        )
        return replace(
            sample,
            image=degrade(image, rng, self.blur_range, self.noise_std_range),
            semantic_map=semantic_map,
            instance_map=instance_map,
            instances={i: v for i, v in sample.instances.items() if (instance_map == i).any()},
        )

    def _size(self, length: int) -> int:
        return min(self.crop_size or length, length)


def degrade(
    image: np.ndarray,
    rng: np.random.Generator,
    blur_range: tuple[float, float] = BLUR_RANGE,
    noise_std_range: tuple[float, float] = TRAIN_NOISE_STD,
) -> np.ndarray:
    """Blurs an image and adds Gaussian noise, each of a strength drawn uniformly from its range.

    Args:
        image: (H, W, 3) uint8 or float32, 0..255.
        blur_range: px, at least 1. A blur of w px is the Gaussian with the standard deviation of
            a box of w px: nothing at 1, and unlike an even box it doesn't shift the image by
            half a pixel against its masks.
        noise_std_range: grey levels; each pixel and channel draws its own noise.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2  # datasets.toy_generator --help needn't wait for it

    sigma = np.sqrt((rng.uniform(*blur_range) ** 2 - 1) / 12)  # of a box on the pixel grid
    std = np.float32(rng.uniform(*noise_std_range))
    image = image.astype(np.float32)
    if sigma > 0:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    noisy = image + std * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
