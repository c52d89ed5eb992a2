"""The COCO panoptic format: a JSON file and a folder of PNG labels, with any categories."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.base import VOID, ClassInfo, DataError, Instance, Sample
from datasets.files import inside, read_image, read_json, read_rgb_ids

MAX_SEGMENT_ID = 2**24 - 1  # 24 bits of a PNG's RGB


class COCOPanopticDataset:
    """Images with panoptic labels (cocodataset.org, format-data, "Panoptic Segmentation").

    Works for COCO's 80 thing and 53 stuff categories and for any other data in this format, such as
    Mapillary's ``panoptic`` folders. An image with a wrong label fails when it is read, so that one
    of 118,000 doesn't hide the others.

    Args:
        images_dir: the folder of the images.
        json_path: the annotations.
        panoptic_dir: the folder of the PNG labels.

    Attributes:
        name: "coco".
        classes: stuff first, then things, each in the order of the JSON file.
        names: the images' file names without extension, in the order of the JSON file.
        image_ids: the images' ids in the JSON file, in the same order (results are handed in by
            them).

    Raises:
        DataError: the JSON file is missing or broken, contradicts itself, or names a file outside
            the folders.
    """

    name = "coco"

    def __init__(self, images_dir: Path | str, json_path: Path | str, panoptic_dir: Path | str):
        self._json_path = Path(json_path)
        content = read_json(self._json_path)
        try:
            self.classes = _read_categories(content["categories"])
            self.image_ids = [image["id"] for image in content["images"]]
            file_names = [image["file_name"] for image in content["images"]]
            self.names = [str(PurePosixPath(name).with_suffix("")) for name in file_names]
            self._image_paths = [inside(Path(images_dir), name) for name in file_names]
            self._labels = {
                annotation["image_id"]: (
                    inside(Path(panoptic_dir), annotation["file_name"]),
                    # One small array an image: COCO's 1.3 million segments are 1 GB as dicts.
                    np.array(
                        [
                            (segment["id"], segment["category_id"], segment.get("iscrowd", 0))
                            for segment in annotation["segments_info"]
                        ],
                        dtype=np.int64,
                    ).reshape(-1, 3),
                )
                for annotation in content["annotations"]
            }
            self._check_images([annotation["image_id"] for annotation in content["annotations"]])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"isn't in COCO panoptic format: {type(error).__name__}: {error}"
            raise DataError(self._json_path, problem, "cocodataset.org describes it") from error
        self._class_of_category = {info.category_id: i for i, info in enumerate(self.classes)}

    @classmethod
    def from_root(cls, root: Path | str, split: str) -> COCOPanopticDataset:
        """Open COCO's own layout: ``root/<split>``, ``root/annotations/panoptic_<split>`` + .json.

        Args:
            root: the folder that holds ``annotations``.
            split: the images' folder, such as "train2017" or "val2017".
        """
        labels = Path(root) / "annotations" / f"panoptic_{split}"
        return cls(Path(root) / split, labels.with_name(f"{labels.name}.json"), labels)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its label.

        Raises:
            DataError: a file is missing or broken, the label has another size, or PNG and JSON
                differ in their segments.
        """
        image_id = self.image_ids[index]
        if image_id not in self._labels:
            problem = f"image {image_id!r} has no annotation"
            raise DataError(self._json_path, problem, "add one, or remove the image from the list")
        label_path, segments = self._labels[image_id]
        ids = read_rgb_ids(label_path)
        image = read_image(self._image_paths[index], ids.shape)
        semantic_map, instance_map, instances = self._decode(ids, segments, label_path)
        return Sample(self.names[index], image, semantic_map, instance_map, instances)

    def _check_images(self, annotated: list) -> None:
        if not self.names:
            raise ValueError("it lists no images")
        for values, what in ((self.names, "name"), (self.image_ids, "id")):
            if twice := [value for value, count in Counter(values).items() if count > 1]:
                raise ValueError(f"it lists two images of one {what}: {twice[:5]}")
        if twice := [id_ for id_, count in Counter(annotated).items() if count > 1]:
            raise ValueError(f"it annotates an image twice: {twice[:5]}")
        strangers = sorted(self._labels.keys() - set(self.image_ids), key=str)
        if strangers:
            raise ValueError(f"it annotates images that it doesn't list: {strangers[:5]}")

    def _decode(
        self, ids: np.ndarray, segments: np.ndarray, path: Path
    ) -> tuple[np.ndarray, np.ndarray, dict[int, Instance]]:
        """Turn panoptic ids into (semantic map, instance map, instances).

        Args:
            ids: (H, W) int32, 0 = void.
            segments: (S, 3) int64 rows of id, category id, iscrowd.
            path: the label's file, for messages.
        """
        segments = segments[np.argsort(segments[:, 0])]
        segment_ids = np.concatenate([[0], segments[:, 0]])  # void leads
        # Place of each pixel's id among the sorted ids: a look-up whose cost doesn't depend on the
        # ids, which fill 24 bits.
        place = np.searchsorted(segment_ids, ids)
        found = segment_ids[np.minimum(place, len(segments))] == ids
        areas = np.bincount(place[found], minlength=len(segment_ids))

        problems = []
        if np.any(np.diff(segment_ids) <= 0) or segment_ids[-1] > MAX_SEGMENT_ID:
            problems.append(f"JSON ids aren't all different and in 1 .. {MAX_SEGMENT_ID}")
        elif not found.all() or not areas[1:].all():
            for some, where in (
                (np.unique(ids[~found]), "in the PNG but not in the JSON file"),
                (segment_ids[1:][areas[1:] == 0], "in the JSON file but not in the PNG"),
            ):
                if some.size:
                    problems.append(f"{some.size} ids {where}: {some[:5].tolist()}")
        unknown = set(segments[:, 1].tolist()) - self._class_of_category.keys()
        if unknown:
            problems.append(f"unknown categories {sorted(unknown)[:5]}")
        if problems:
            remedy = f"correct the PNG or its entry in {self._json_path}"
            raise DataError(path, "; ".join(problems), remedy)

        class_of_place = np.full(len(segment_ids), VOID, dtype=np.int32)
        instance_of_place = np.zeros(len(segment_ids), dtype=np.int32)
        instances: dict[int, Instance] = {}
        for i, (_, category_id, iscrowd) in enumerate(segments.tolist(), start=1):
            class_index = self._class_of_category[category_id]
            class_of_place[i] = class_index
            if self.classes[class_index].isthing:
                instance_of_place[i] = len(instances) + 1
                instances[len(instances) + 1] = Instance(class_index, bool(iscrowd))
        return class_of_place[place], instance_of_place[place], instances


def _read_categories(categories: list[dict]) -> list[ClassInfo]:
    classes = [
        ClassInfo(
            str(category["name"]),
            int(category["id"]),
            bool(category["isthing"]),
            tuple(int(channel) for channel in category["color"]),
        )
        for category in categories
    ]
    if len({info.category_id for info in classes}) < len(classes):
        raise ValueError("two categories share an id")
    return sorted(classes, key=lambda info: info.isthing)  # stable: keeps the file's order
