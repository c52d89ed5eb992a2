"""Mapillary Vistas v1.2: 28 stuff and 37 thing classes of the 66 labels (paper, Section 7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptis.image_files import COPY_AGAIN
from adaptis.json_types import Entry, FormatError
from datasets.base import VOID, ClassInfo, DataError, Instance, Sample
from datasets.files import Files, read_image, read_json, read_labels

SPLIT_FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
REPLACE = "replace both label files by those of one release"
INSTANCE_BASES = (256, 255)
"""An instance value is label * base + n: 256 in the data set's description, 255 in some files."""


class MapillaryDataset:
    """Images with their v1.2 labels, in the layout of either release; the test split without.

    Both hold ``{training,validation,testing}/images/*.jpg``. The labels are ``labels/*.png`` and
    ``instances/*.png`` beside ``images``, with the classes in ``config.json`` (release 1.2), or in
    a folder ``v1.2`` beside it, with ``config_v1.2.json`` (release 2.0). A label that the
    configuration doesn't evaluate is void. The format knows no crowds.

    Parameters:
        root: the folder that holds ``training`` and ``validation``.
        split: "train", "val" or "test".

    Attributes:
        classes: the evaluated labels, stuff first; the category id is label + 1, as in the
            panoptic files of the data set.
        names, image_ids: the file names without extension.

    Raises DataError where there are no images or the configuration is missing or broken, and for
    another split.
    """

    name = "mapillary"

    def __init__(self, root: Path | str, split: str):
        if split not in SPLIT_FOLDERS:
            raise DataError(root, f"no split {split!r} in Mapillary", "use train, val or test")
        self.split, self.labelled = split, split != "test"
        folder = Path(root) / SPLIT_FOLDERS[split]
        labels_parent = folder / "v1.2" if (folder / "v1.2").is_dir() else folder
        second_release = labels_parent != folder or (folder / "v2.0").is_dir()
        self._images = Files(folder / "images", "*", ".jpg")
        self._labels = Files(labels_parent / "labels", "*", ".png")
        self._instances = Files(labels_parent / "instances", "*", ".png")

        config_path = Path(root) / "config_v1.2.json"
        if not config_path.exists() and not second_release:
            config_path = config_path.with_name("config.json")
        self.classes, self._label_count = _read_config(config_path)
        # A label map is uint8, so every value it can hold has an entry.
        self._class_of_label = np.full(256, VOID, dtype=np.int32)
        labels = [info.category_id - 1 for info in self.classes]
        self._class_of_label[labels] = np.arange(len(labels))

        # Both sides are listed, so that a file without its counterpart is an error when read.
        labels = self._labels.names if self.labelled else set()
        self.names = self.image_ids = sorted(self._images.names | labels)
        if not self.names:
            raise DataError(
                folder / "images",
                "holds no *.jpg",
                "the root is the folder that holds training and validation",
            )
        if self.labelled and not self._instances.names:
            remedy = "unpack the labels of version 1.2, of which the paper's classes are"
            raise DataError(labels_parent / "instances", "holds no *.png", remedy)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its labels.

        Raises DataError where a file is missing or broken, or the two label files disagree.
        """
        name = self.names[index]
        if not self.labelled:
            return Sample.unlabelled(name, read_image(self.image_path(index)))
        label_path, instance_path = self._labels.path(name), self._instances.path(name)
        labels = read_labels(label_path)
        if labels.min() < 0 or labels.max() >= self._label_count:
            problem = f"holds the label {labels.max()}, the configuration has {self._label_count}"
            raise DataError(label_path, problem, "use labels and configuration of one release")
        values = read_labels(instance_path)
        if values.shape != labels.shape:
            problem = f"is {values.shape}, {label_path.name} in labels/ {labels.shape}"
            raise DataError(instance_path, problem, REPLACE)
        if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
            raise DataError(instance_path, "holds values of more than 16 bits", REPLACE)
        image = read_image(self.image_path(index), labels.shape)

        instance_of_value, instances = self._decode(values, labels, instance_path)
        semantic_map = self._class_of_label[labels]
        return Sample(name, image, semantic_map, instance_of_value[values], instances)

    def image_path(self, index: int) -> Path:
        return self._images.path(self.names[index])

    def _decode(
        self, values: np.ndarray, labels: np.ndarray, path: Path
    ) -> tuple[np.ndarray, dict[int, Instance]]:
        """Number the things of an image from 1.

        Parameters:
            values: (H, W) label * base + n.
            labels: (H, W) the labels of the same pixels.
            path: the instance file, for messages.

        Returns (65536,) int32 from value to instance id, and the instances.
        """
        present = np.flatnonzero(np.bincount(values.ravel()))
        label_of_value = np.zeros(2**16, dtype=labels.dtype)
        label_of_value[values] = labels
        expected = label_of_value[present].astype(np.int64)
        wrong = min((present[present // base != expected] for base in INSTANCE_BASES), key=len)
        if not wrong.size:  # a value under two labels
            wrong = np.unique(values[label_of_value[values] != labels])
        if wrong.size:
            problem = f"values {wrong[:5].tolist()} aren't label * 256 + n (nor * 255) of labels/"
            raise DataError(path, problem, REPLACE)

        instance_of_value = np.zeros(2**16, dtype=np.int32)
        instances: dict[int, Instance] = {}
        for value in present:
            class_index = int(self._class_of_label[label_of_value[value]])
            if class_index != VOID and self.classes[class_index].isthing:
                instance_of_value[value] = len(instances) + 1
                instances[len(instances) + 1] = Instance(class_index)
        return instance_of_value, instances


def _read_config(path: Path) -> tuple[list[ClassInfo], int]:
    """Read the evaluated classes (stuff first) and the number of all labels."""
    content = Entry(read_json(path))
    try:
        labels = [
            (
                label.truth("evaluate"),
                ClassInfo(
                    label.text("readable"),
                    index + 1,
                    label.truth("instances"),
                    label.color("color"),
                ),
            )
            for index, label in enumerate(content.entries("labels"))
        ]
    except FormatError as error:
        problem = f"isn't a Mapillary configuration: {error}"
        raise DataError(path, problem, COPY_AGAIN) from error
    evaluated = [info for evaluate, info in labels if evaluate]
    if not evaluated or len(labels) > 255:
        problem = f"evaluates {len(evaluated)} of {len(labels)} labels"
        raise DataError(path, problem, "some of at most 255 labels were expected")
    return sorted(evaluated, key=lambda info: info.isthing), len(labels)  # stable: file's order
