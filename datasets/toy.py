"""The toy data set of Section 6: reader, training augmentation and degradation.

``datasets.toy_generator`` makes the files. The authors' downloads ToyV1 and ToyV2 have the same
layout: ``<root>/<split>/<name>_rgb.png`` and ``<name>_im.png``, the instance ids (0 background).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.json_types import FormatError, parse_json
from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.files import Files, read_image, read_labels

# The authors' training augmentation; their published noisy scenes have the hardest of both.
BLUR_SIZES = (2, 3, 4)  # px
NOISE_STDS = (10.0, 40.0)  # grey levels, from and to
BLUR_PROBABILITY = NOISE_PROBABILITY = 0.5
PUBLISHED_QUALITY = 90  # of the JPEG files in which they published their large scenes, OpenCV's
JPEG_QUALITIES = (75, 95)  # those of training, from and to

BACKGROUND, OBJECT = 0, 1  # class indices
IMAGE_SUFFIX, IDS_SUFFIX = "_rgb.png", "_im.png"
PARAMETERS_FILE = "toy.json"  # the generator's; the authors' downloads have none
GENERATOR_VERSION = 2  # of the images' look and statistics: whatever changes them raises it


class ToyDataset:
    """One split of a toy data set.

    Parameters:
        root: the generator's ``--out`` or an unpacked download.
        split: ``"train"`` or ``"test"``.
        cache: keep what is decoded in memory, about 37 kB for a 96 x 96 image.

    Attributes:
        names, image_ids: the file names without ending.

    Raises DataError where the folder is missing, holds no images, or those of another version of
    the generator.
    """

    name = "toy"
    labelled = True
    classes = (
        ClassInfo("background", category_id=1, isthing=False, color=(255, 255, 255)),
        ClassInfo("object", category_id=2, isthing=True, color=(250, 2, 4)),
    )

    def __init__(self, root: Path | str, split: str, cache: bool = False):
        self._folder = Path(root) / split
        remedy = f"python -m datasets.toy_generator --out {root}"
        read_parameters(Path(root))  # only to refuse another version's
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
        """Read one sample; an image without objects has no instances.

        Raises DataError where a file is missing or broken, or image and ids differ in size.
        """
        image, ids = self._read(range(len(self))[index])  # range: negative indices, IndexError
        instance_map = ids.astype(np.int32)
        return Sample(
            name=self.names[index],
            image=image.copy(),  # whoever gets it may write on it, the cache stays as it is
            semantic_map=np.where(instance_map > 0, OBJECT, BACKGROUND).astype(np.int32),
            instance_map=instance_map,
            instances={int(i): Instance(OBJECT) for i in _ids_in(instance_map) if i > 0},
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
    """Blur, noise and flips of a training sample, as the authors drew them; on request a crop, and
    the traces that JPEG leaves, which are in the authors' published scenes and not in their data.

    Parameters:
        crop_size: px; train on random windows of this height and width, which on a CPU is worth
            more than their share of the image. None: the whole image.
        jpeg_probability: of compressing a sample as JPEG.
    """

    def __init__(self, crop_size: int | None = None, jpeg_probability: float = 0.0):
        self.crop_size, self.jpeg_probability = crop_size, jpeg_probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A new sample; everything random comes from ``rng``."""
        top, left = (rng.integers(max(0, n - self._size(n)) + 1) for n in sample.image.shape[:2])
        height, width = (self._size(n) for n in sample.image.shape[:2])
        rows, columns = (slice(None, None, rng.choice((1, -1))) for _ in range(2))
        image, semantic_map, instance_map = (
            np.ascontiguousarray(array[top : top + height, left : left + width][rows, columns])
            for array in (sample.image, sample.semantic_map, sample.instance_map)
        )
        # After the flips: the shift of an even box has one direction, as in test images.
        image = degrade(image, draw_degradation(rng), rng)
        if self.jpeg_probability and rng.random() < self.jpeg_probability:
            image = as_jpeg(image, int(rng.integers(*JPEG_QUALITIES, endpoint=True)))
        seen = set(_ids_in(instance_map).tolist())
        return replace(
            sample,
            image=image,
            semantic_map=semantic_map,
            instance_map=instance_map,
            instances={i: v for i, v in sample.instances.items() if i in seen},
        )

    def _size(self, length: int) -> int:
        return min(self.crop_size or length, length)


def _ids_in(instance_map: np.ndarray) -> np.ndarray:
    """The values of a map of small numbers: (N,) int64. Its histogram is ten times as fast as
    ``np.unique``, which sorts it."""
    return np.flatnonzero(np.bincount(instance_map.ravel()))


class Degradation(NamedTuple):
    """What is done to a clean image to make the problem more difficult."""

    blur_size: int  # px, the side of a box; 1: no blur
    noise_std: float  # grey levels; 0: no noise


HARDEST = Degradation(max(BLUR_SIZES), max(NOISE_STDS))


def draw_degradation(rng: np.random.Generator) -> Degradation:
    """Draw blur and noise as the authors' training did, each or neither."""
    blur_size = int(rng.choice(BLUR_SIZES)) if rng.random() < BLUR_PROBABILITY else 1
    noise_std = rng.uniform(*NOISE_STDS) if rng.random() < NOISE_PROBABILITY else 0.0
    return Degradation(blur_size, noise_std)


def degrade(image: np.ndarray, degradation: Degradation, rng: np.random.Generator) -> np.ndarray:
    """Blur an image, then add grey Gaussian noise: one draw a pixel, the same for all channels.

    The blur is OpenCV's, whose box of an even size moves the image half a pixel down and to the
    right, against its masks too, as in the authors' images.

    Parameters:
        image: (H, W, 3) uint8 or float32, 0..255.

    Returns (H, W, 3) uint8.
    """
    import cv2  # datasets.toy_generator --help needn't wait for it

    blurred = cv2.blur(image.astype(np.float32), (degradation.blur_size,) * 2)
    noise = degradation.noise_std * rng.standard_normal(image.shape[:2], np.float32)
    return np.clip(np.rint(blurred + noise[..., None]), 0, 255).astype(np.uint8)


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB as it comes back from a JPEG file, whose colours have half the
    rows and columns.

    Parameters:
        quality: 1 to 100, OpenCV's.
    """
    import cv2

    _, content = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.ascontiguousarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1])


def splits_of(root: Path) -> list[str]:
    """Those whose folders are there; both where neither is."""
    splits = ["train", "test"]
    return [split for split in splits if (root / split).is_dir()] or splits


def read_parameters(root: Path) -> dict:
    """What the generator made a folder with; empty for a folder that isn't the generator's.

    Raises DataError where another version of the generator made it, whose images no figure may mix
    with this one's, or its file isn't what the generator writes.
    """
    path = root / PARAMETERS_FILE
    remedy = "delete the folder or choose another, and run python -m datasets.toy_generator"
    try:
        parameters = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, FormatError) as error:
        raise DataError(path, f"not readable as JSON: {error}", remedy) from error
    # the first version didn't write its number
    version = parameters.get("generator", 1) if isinstance(parameters, dict) else None
    if version != GENERATOR_VERSION:
        problem = f"images of the generator's version {version}, and this is {GENERATOR_VERSION}"
        raise DataError(path, problem, remedy)
    return parameters
