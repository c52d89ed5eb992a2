"""Own images with a label map each: the layouts of StarDist and CSBDeep, and of Cellpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from adaptis.intensity import to_rgb8
from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.files import read_labels, read_pixels

IMAGE_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
LABEL_FOLDERS = ("labels", "masks")  # beside images/: StarDist's examples have either
MASKS_SUFFIX = "_masks"  # of a file beside its image, Cellpose's
HELD_OUT = 0.1  # of the images, where there is no folder of their own to choose by
BACKGROUND, OBJECT = 0, 1  # class indices


class LabelMapDataset:
    """One split of a folder of images, each with a label map: 0 background, 1, 2, ... the objects.

    The images of a split are in ``root/split``, or, where there is no such folder, in ``root``;
    within it ``images/NAME.ext`` and ``labels/NAME.ext`` or ``masks/NAME.ext``, or
    ``NAME.ext`` and ``NAME_masks.ext`` beside each other. Without a folder ``val`` a share of the
    training images is held out as "val", always the same for a seed.

    Args:
        root: the folder.
        split: "train", "val" or "test".
        intensity: what becomes black and white, see ``adaptis.intensity.to_rgb8``.
        cache: keep what is decoded in memory, 7 bytes a pixel.
        seed: of the held-out share.

    Attributes:
        names, image_ids: the file names without ending.

    Raises:
        DataError: the folder is missing or holds no images.
    """

    name = "instances"
    classes = (
        ClassInfo("background", category_id=1, isthing=False, color=(0, 0, 0)),
        ClassInfo("object", category_id=2, isthing=True, color=(250, 2, 4)),
    )

    def __init__(
        self,
        root: Path | str,
        split: str,
        intensity: str | list[float] = "percentile",
        cache: bool = False,
        seed: int = 0,
    ):
        self._files = _files_of_split(Path(root), split, seed)
        self._intensity = intensity
        self.names = self.image_ids = list(self._files)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Reads one sample; an image without objects has no instances.

        Raises:
            DataError: a file is missing or broken, or image and labels differ in size.
        """
        index = range(len(self))[index]  # negative indices, IndexError
        image, instance_map = self._read(index)
        found = ndimage.find_objects(instance_map)
        return Sample(
            name=self.names[index],
            image=image.copy(),  # whoever gets it may write on it, the cache stays as it is
            semantic_map=np.where(instance_map > 0, OBJECT, BACKGROUND).astype(np.int32),
            instance_map=instance_map.copy(),
            instances={i: Instance(OBJECT) for i, box in enumerate(found, start=1) if box},
        )

    def image_path(self, index: int) -> Path:
        return self._files[self.names[index]][0]

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 RGB and instance ids (H, W) int32."""
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        image_path, label_path = self._files[self.names[index]]
        pixels, labels = read_pixels(image_path), read_labels(label_path)
        if labels.shape != pixels.shape[:2]:
            problem = f"{_size(labels)} px, but its image {image_path.name} has {_size(pixels)}"
            raise DataError(label_path, problem, "replace the one that is wrong")
        try:
            image = to_rgb8(pixels, self._intensity)
        except ValueError as error:
            raise DataError(image_path, str(error), "save it as grey or RGB") from error
        if self._cache is not None:
            self._cache[index] = image, labels.astype(np.int32)
        return image, labels.astype(np.int32)


def _files_of_split(root: Path, split: str, seed: int) -> dict[str, tuple[Path, Path]]:
    """name -> paths of image and labels."""
    if (root / split).is_dir():
        files = _pairs(root / split)
        if split != "train" or (root / "val").is_dir():
            return files
    elif split in ("train", "val"):
        files = _pairs(root / "train" if (root / "train").is_dir() else root)
    else:
        raise DataError(root / split, "no such folder")
    order = np.random.default_rng(seed).permutation(sorted(files))
    held_out = set(order[: max(1, round(HELD_OUT * len(order)))].tolist())
    return {k: paths for k, paths in files.items() if (k in held_out) == (split == "val")}


def _pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """name -> paths of image and labels, sorted by name."""
    label_folder = next((folder / n for n in LABEL_FOLDERS if (folder / n).is_dir()), None)
    if label_folder is None:
        raise DataError(folder, "no folder labels/ or masks/")
    labels = {p.stem: p for p in label_folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS}
    images = {p.stem: p for p in (folder / "images").iterdir() if p.suffix.lower() in IMAGE_ENDINGS}
    return {k: (images[k], labels[k]) for k in sorted(images)}


def _size(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape[:2]))
