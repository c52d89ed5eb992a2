"""The COCO panoptic format: a JSON file and a folder of PNG labels, with any categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from adaptis.json_types import MAX_WHOLE, Entry, FormatError
from datasets.base import VOID, ClassInfo, DataError, Instance, Sample
from datasets.files import inside, read_image, read_json, read_rgb_ids

MAX_SEGMENT_ID = 2**24 - 1  # 24 bits of a PNG's RGB
FORMAT_REMEDY = "cocodataset.org describes it"


class ImageEntry(NamedTuple):
    """What the JSON file says of an image."""

    name: str  # of its file, without extension
    size: tuple[int, int] | None  # (height, width); asked for only where no label says it


class COCOPanopticDataset:
    """Images with panoptic labels (cocodataset.org, format-data, "Panoptic Segmentation").

    Works for COCO's 80 thing and 53 stuff categories and for any other data in this format, such as
    Mapillary's ``panoptic`` folders. An image with a wrong entry or label fails when it is read, so
    that one of 118,000 doesn't hide the others; so does an annotation without an image.

    Parameters:
        images_dir: the folder of the images.
        json_path: the annotations.
        panoptic_dir: the folder of the PNG labels; None of images without labels.
        categories_path: of the JSON file whose categories count, if not ``json_path``.

    Attributes:
        name: "coco".
        split: "" where it is labelled, see ``datasets.coco_layout``.
        classes: stuff first, then things, each in the order of the JSON file.
        names: the images' file names without extension, in the order of the JSON file; entries
            whose name isn't known come last, under their id.
        image_ids: the images' ids in the JSON file, in the same order (results are handed in by
            them).

    Raises DataError where the JSON file or a list in it is missing or broken, or it has no images
    or no sound categories.
    """

    name = "coco"
    split = ""

    def __init__(
        self,
        images_dir: Path | str,
        json_path: Path | str,
        panoptic_dir: Path | str | None,
        categories_path: Path | None = None,
    ):
        self._json_path, self.labelled = Path(json_path), panoptic_dir is not None
        content = Entry(read_json(self._json_path))
        with _as_data_error(categories_path or self._json_path):
            listed = Entry(read_json(categories_path)) if categories_path else content
            self.classes = read_categories(listed)
        with _as_data_error(self._json_path):
            if not content.values("images"):
                raise FormatError("it lists no images")
            if self.labelled:
                content.values("annotations")
        self._class_of_category = {info.category_id: i for i, info in enumerate(self.classes)}

        # Image id -> the arguments of its DataError, which itself would keep the content in memory.
        self._problems: dict[int | str, tuple[Path, str, str]] = {}
        read = _read_name if self.labelled else _read_name_and_size
        self._images = self._read_entries(content, "images", "id", Path(images_dir), read)
        self._labels: dict[int | str, tuple[Path, Any]] = {}
        if panoptic_dir is not None:
            self._labels = self._read_entries(
                content, "annotations", "image_id", Path(panoptic_dir), _read_segments
            )
            if self._labels and not any(Path(panoptic_dir).rglob("*.png")):
                remedy = f"unpack {Path(panoptic_dir).name}.zip so that its PNG files lie here"
                raise DataError(panoptic_dir, "holds no *.png", remedy)
        count = Counter(image.name for _, image in self._images.values())
        for image_id, (_, image) in self._images.items():
            if count[image.name] > 1:
                problem = f"image {image_id!r}: {count[image.name]} images are named {image.name}"
                self._problems.setdefault(image_id, (self._json_path, problem, "rename one"))
        # Images with a broken entry and annotations of no image follow, as errors when read.
        self.image_ids = list(dict.fromkeys([*self._images, *self._labels, *self._problems]))
        self.names = [
            self._images[id_][1].name if id_ in self._images else str(id_) for id_ in self.image_ids
        ]

    @classmethod
    def from_root(cls, root: Path | str, split: str) -> COCOPanopticDataset:
        """Open COCO's own layout: ``root/<split>``, ``root/annotations/panoptic_<split>`` + .json.

        Parameters:
            root: the folder that holds ``annotations``.
            split: the images' folder, such as "train2017" or "val2017".
        """
        labels = Path(root) / "annotations" / f"panoptic_{split}"
        return cls(Path(root) / split, labels.with_name(f"{labels.name}.json"), labels)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its label.

        Raises DataError where a file is missing or broken, the label has another size, PNG and JSON
        differ in their segments, or the image's entries in the JSON file are broken, double,
        missing, or name a file outside the folders.
        """
        image_id = self.image_ids[index]
        if image_id in self._problems:
            raise DataError(*self._problems[image_id])
        if not self.labelled:
            path, (name, size) = self._images[image_id]
            return Sample.unlabelled(name, read_image(path, size))
        for key, entries in (("images", self._images), ("annotations", self._labels)):
            if image_id not in entries:
                problem = f"{key} has no entry of image {image_id!r}"
                raise DataError(self._json_path, problem, "add it, or remove the other entry")
        image_path, (name, _) = self._images[image_id]
        label_path, segments = self._labels[image_id]
        ids = read_rgb_ids(label_path)
        image = read_image(image_path, ids.shape)
        semantic_map, instance_map, instances = self._decode(ids, segments, label_path)
        return Sample(name, image, semantic_map, instance_map, instances)

    def image_path(self, index: int) -> Path:
        """The JSON file where it has no image of that index, see ``image_ids``."""
        return self._images.get(self.image_ids[index], (self._json_path,))[0]

    def _read_entries(
        self, content: Entry, key: str, id_key: str, folder: Path, read: Callable[[Entry], Any]
    ) -> dict[int | str, tuple[Path, Any]]:
        """Read one list of the JSON file; what is wrong in it goes into ``_problems``.

        Returns image id -> the path of the entry's file and what ``read`` makes of the entry.
        """
        entries: dict[int | str, tuple[Path, Any]] = {}
        for place, value in enumerate(content.values(key)):
            image_id = where = f"{key}[{place}]"  # stands in for a missing or impossible id
            try:
                entry = Entry(value, where)
                image_id = entry.identity(id_key)
                if image_id in entries:
                    raise FormatError(f"{where} is a second entry of image {image_id!r}")
                entries[image_id] = inside(folder, entry.text("file_name")), read(entry)
            except DataError as error:
                problem = error.path, error.problem, error.remedy
            except FormatError as error:
                problem = self._json_path, f"isn't in COCO panoptic format: {error}", FORMAT_REMEDY
            else:
                continue
            # An image's second problem is an item of its own, so that none is hidden.
            self._problems[where if image_id in self._problems else image_id] = problem
        return entries

    def _problems_of_stuff(self, segments: np.ndarray) -> list[str]:
        """A class of stuff is one segment of an image and no crowd (cocodataset.org,
        format-data). A semantic map says no more, so PQ would be another than the official one."""
        stuff = {info.category_id for info in self.classes if not info.isthing}
        of_stuff = segments[np.isin(segments[:, 1], list(stuff))]
        twice = [c for c, n in Counter(of_stuff[:, 1].tolist()).items() if n > 1]
        crowds = of_stuff[of_stuff[:, 2] == 1, 0].tolist()
        problems = (
            [f"several segments of each of the stuff categories {twice[:5]}"] if twice else []
        )
        return problems + ([f"stuff marked as iscrowd: {crowds[:5]}"] if crowds else [])

    def _decode(
        self, ids: np.ndarray, segments: np.ndarray, path: Path
    ) -> tuple[np.ndarray, np.ndarray, dict[int, Instance]]:
        """Turn panoptic ids into (semantic map, instance map, instances).

        Parameters:
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
        problems += self._problems_of_stuff(segments)
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


def read_categories(content: Entry) -> list[ClassInfo]:
    """The categories of a file in one of COCO's panoptic formats, stuff first.

    Raises FormatError where there are none, or one is broken or double.
    """
    classes = [
        ClassInfo(
            category.text("name"),
            category.whole("id"),
            category.truth("isthing"),
            category.color("color"),
        )
        for category in content.entries("categories")
    ]
    if not classes:
        raise FormatError("it has no categories")
    if len({info.category_id for info in classes}) < len(classes):
        raise FormatError("two categories share an id")
    return sorted(classes, key=lambda info: info.isthing)  # stable: keeps the file's order


@contextmanager
def _as_data_error(path: Path) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        problem = f"isn't in COCO panoptic format: {error}"
        raise DataError(path, problem, FORMAT_REMEDY) from error


def _read_name(image: Entry) -> ImageEntry:
    name = PurePosixPath(image.text("file_name").replace("\\", "/"))
    if not name.name:
        raise FormatError(f"{image.place}.file_name is {str(name)!r}, no file's name")
    return ImageEntry(str(name.with_suffix("")), None)


def _read_name_and_size(image: Entry) -> ImageEntry:
    return _read_name(image)._replace(
        size=(image.whole("height", lowest=1), image.whole("width", lowest=1))
    )


def _read_segments(annotation: Entry) -> np.ndarray:
    """(S, 3) int64 rows of id, category id, iscrowd: COCO's 1.3 million are 1 GB as dicts."""
    rows = [
        (
            segment.whole("id", lowest=-MAX_WHOLE),
            segment.whole("category_id"),
            segment.truth("iscrowd", default=False),
        )
        for segment in annotation.entries("segments_info")
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
