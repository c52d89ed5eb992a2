"""Cityscapes: 11 stuff and 8 thing classes, 1024 x 2048 images (paper, Section 7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import labels as LABELS

from datasets.base import VOID, ClassInfo, DataError, Instance, Sample
from datasets.files import Files, read_image, read_labels

IMAGE_END = "_leftImg8bit.png"
LABEL_END = "_gtFine_labelIds.png"
INSTANCE_END = "_gtFine_instanceIds.png"
REMAKE = "remake both label files with cityscapesscripts"

CLASSES = [
    ClassInfo(label.name, label.id, isthing, label.color)
    for isthing in (False, True)
    for label in LABELS
    if not label.ignoreInEval and label.hasInstances == isthing
]

_UNKNOWN = VOID - 1
# Label id -> class index. A label map is uint8, so every value it can hold has an entry.
_CLASS_OF_LABEL = np.full(256, _UNKNOWN, dtype=np.int32)
_CLASS_OF_LABEL[[label.id for label in LABELS if label.id >= 0]] = VOID  # -1 is never drawn
_CLASS_OF_LABEL[[info.category_id for info in CLASSES]] = np.arange(len(CLASSES))


class CityscapesDataset:
    """Images with their fine annotations; those of the test split without.

    Expects ``root/leftImg8bit/<split>/<city>/*_leftImg8bit.png`` and, under ``root/gtFine``,
    ``*_gtFine_labelIds.png`` and ``*_gtFine_instanceIds.png``. Those of the test split aren't read:
    the public ones hold no class that is evaluated.

    Parameters:
        root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        split: "train", "val" or "test".

    Attributes:
        names, image_ids: ``<city>_<sequence>_<frame>``, which is also the image id of the official
            panoptic ground truth.

    Raises DataError where there are no images, and for another split.
    """

    name = "cityscapes"
    classes = CLASSES

    def __init__(self, root: Path | str, split: str):
        if split not in ("train", "val", "test"):
            raise DataError(root, f"no split {split!r} in Cityscapes", "use train, val or test")
        self.split, self.labelled = split, split != "test"
        image_folder = Path(root) / "leftImg8bit" / split
        label_folder = Path(root) / "gtFine" / split
        self._images = Files(image_folder, "*/*", IMAGE_END)
        self._labels = Files(label_folder, "*/*", LABEL_END)
        self._instances = Files(label_folder, "*/*", INSTANCE_END)
        # Both sides are listed, so that a file without its counterpart is an error when read.
        labels = self._instances.names if self.labelled else set()
        self._stems = sorted(self._images.names | labels)
        if not self._stems:
            raise DataError(
                image_folder,
                f"holds no <city>/*{IMAGE_END}",
                "the root is the folder that holds leftImg8bit and gtFine",
            )
        if self.labelled and not self._instances.names:
            remedy = "unpack gtFine_trainvaltest.zip in the root"
            raise DataError(label_folder, f"holds no <city>/*{INSTANCE_END}", remedy)
        self.names = self.image_ids = [Path(stem).name for stem in self._stems]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise DataError(image_folder, f"two cities hold an image {twice}", "rename one")

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its labels.

        Raises DataError where a file is missing or broken, a label is unknown, or the two label
        files disagree.
        """
        if not self.labelled:
            return Sample.unlabelled(self.names[index], read_image(self.image_path(index)))
        label_path, instance_path = self.label_paths(index)
        labels = read_labels(label_path)
        values = read_labels(instance_path)
        if values.shape != labels.shape:
            problem = f"is {values.shape}, {label_path.name} {labels.shape}"
            raise DataError(instance_path, problem, REMAKE)
        image = read_image(self.image_path(index), labels.shape)
        semantic_map, instance_map, instances = decode_instance_ids(values, instance_path)

        disagreeing = np.count_nonzero(_classes_of(labels, label_path) != semantic_map)
        if disagreeing:
            raise DataError(
                instance_path,
                f"{disagreeing} pixels have another class than in {label_path.name}",
                REMAKE,
            )
        return Sample(self.names[index], image, semantic_map, instance_map, instances)

    def image_path(self, index: int) -> Path:
        return self._images.path(self._stems[index])

    def label_paths(self, index: int) -> tuple[Path, Path]:
        """An image's labelIds and instanceIds, which Cityscapes' own evaluators read."""
        stem = self._stems[index]
        return self._labels.path(stem), self._instances.path(stem)


def decode_instance_ids(
    values: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, dict[int, Instance]]:
    """Split Cityscapes instance ids into classes and instances.

    An id is label * 1000 + n for the n-th object, and the bare label for stuff and for groups of
    things that can't be told apart (cityscapesscripts, json2instanceImg).

    Parameters:
        values: (H, W) whole numbers.
        path: the file they come from, for messages.

    Returns (H, W) int32 class indices, (H, W) int32 instance ids counted from 1, and the instances.
    """
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 1000 * len(_CLASS_OF_LABEL):
        problem = f"holds the id {low if low < 0 else high}, which is no label * 1000 + n"
        raise DataError(path, problem, REMAKE)
    present = np.flatnonzero(np.bincount(values.ravel()))
    labels = np.where(present < 1000, present, present // 1000)
    class_of_value = np.full(present[-1] + 1, VOID, dtype=np.int32)
    class_of_value[present] = _classes_of(labels, path)

    instance_of_value = np.zeros_like(class_of_value)
    instances: dict[int, Instance] = {}
    for value in present:
        class_index = int(class_of_value[value])
        if class_index != VOID and CLASSES[class_index].isthing:
            instance_of_value[value] = len(instances) + 1
            instances[len(instances) + 1] = Instance(class_index, iscrowd=bool(value < 1000))
    return class_of_value[values], instance_of_value[values], instances


def _classes_of(labels: np.ndarray, path: Path) -> np.ndarray:
    """Class indices of Cityscapes label ids, VOID for those that are not evaluated."""
    classes = _CLASS_OF_LABEL[np.minimum(labels, len(_CLASS_OF_LABEL) - 1)]
    unknown = np.unique(labels[classes == _UNKNOWN])
    if unknown.size:
        raise DataError(path, f"holds unknown labels {unknown[:5].tolist()}", REMAKE)
    return classes
