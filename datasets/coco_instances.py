"""COCO instances: a JSON file of objects with polygons or run lengths, as CVAT, LabelMe, Roboflow
and COCO itself write it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from adaptis.json_types import Entry, FormatError, shown
from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.coco import FORMAT_REMEDY
from datasets.files import inside, read_json
from datasets.label_maps import AGNOSTIC_CLASSES, BACKGROUND, OBJECT
from datasets.pixels import read_rgb8
from datasets.run_lengths import decode_run_lengths

PALETTE_STEP = 0.618  # of the hue circle between classes: the golden section spreads them


class COCOInstancesDataset:
    """Images with objects in COCO's instances format (cocodataset.org, format-data, "Object
    Detection").

    What no object covers is background. Where objects overlap, **the smaller one is on top**;
    crowds lie under all objects. An object of which nothing is left to see is none. An image with a
    wrong entry fails when it is read, so that one of 118,000 doesn't hide the others.

    Parameters:
        folders: of the images; each is taken from the first that has it.
        json_path: the annotations.
        class_agnostic: one class "object" in place of the file's categories.
        intensity: what becomes black and white, see ``adaptis.intensity.to_rgb8``.

    Attributes:
        classes: background, then the categories in the order of the JSON file.
        names: the images' file names without extension, in the order of the JSON file.
        image_ids: the images' ids in the JSON file.

    Raises DataError where the JSON file is missing or broken, has no images or no sound categories,
    or two images share an id or a name.
    """

    name = "instances"
    labelled = True

    def __init__(
        self,
        folders: Sequence[Path | str],
        json_path: Path | str,
        class_agnostic: bool = False,
        intensity: str | list[float] = "percentile",
    ):
        self._folders, self._json_path = [Path(folder) for folder in folders], Path(json_path)
        self._intensity = intensity
        content = read_json(self._json_path)
        try:
            content = Entry(content)
            categories = [(c.whole("id"), c.text("name")) for c in content.entries("categories")]
            images = [_read_image_entry(image) for image in content.entries("images")]
            self._annotations: dict[int | str, list[Entry]] = defaultdict(list)
            for annotation in content.entries("annotations"):
                self._annotations[annotation.identity("image_id")].append(annotation)
            self.image_ids = [image.image_id for image in images]
            self.names = [str(PurePosixPath(image.file_name).with_suffix("")) for image in images]
            _check_unique("categories share the id", [id_ for id_, _ in categories])
            _check_unique("images share the id", self.image_ids)
            _check_unique("images share the name", self.names)
            if not images:
                raise FormatError("it lists no images")
            if strangers := self._annotations.keys() - set(self.image_ids):
                raise FormatError(
                    f"it doesn't list the images {list(strangers)[:5]} of annotations"
                )
        except FormatError as error:
            problem = f"isn't in COCO instances format: {error}"
            raise DataError(self._json_path, problem, FORMAT_REMEDY) from error
        self._images = images
        self.classes = AGNOSTIC_CLASSES if class_agnostic else _classes(categories)
        self._class_of_category = {
            id_: OBJECT if class_agnostic else place
            for place, (id_, _) in enumerate(categories, start=BACKGROUND + 1)
        }

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and draw its objects; an image without objects has no instances.

        Raises DataError where the image is missing, broken or of another size than its entry says,
        or an annotation of it is broken.
        """
        index = range(len(self))[index]  # negative indices, IndexError
        image = read_rgb8(self.image_path(index), self._intensity, self._images[index].size)
        class_map = np.full(image.shape[:2], BACKGROUND, np.int32)
        instance_map = np.zeros(image.shape[:2], np.int32)
        instances = {}
        objects = [self._read(a, image.shape[:2]) for a in self._annotations[self.image_ids[index]]]
        # crowds first, then the largest: what comes later lies on top
        objects.sort(key=lambda found: (not found[0].iscrowd, -int(coco_mask.area(found[1]))))
        for id_, (instance, encoded) in enumerate(objects, start=1):
            mask = coco_mask.decode(encoded).astype(bool)
            class_map[mask], instance_map[mask] = instance.class_index, id_
            instances[id_] = instance
        visible = np.bincount(instance_map.ravel(), minlength=len(instances) + 1)
        instances = {id_: instance for id_, instance in instances.items() if visible[id_]}
        return Sample(self.names[index], image, class_map, instance_map, instances)

    def image_path(self, index: int) -> Path:
        paths = [inside(folder, self._images[index].file_name) for folder in self._folders]
        return next((path for path in paths if path.is_file()), paths[0])

    def _read(self, annotation: Entry, size: tuple[int, int]) -> tuple[Instance, dict]:
        """The object and its mask as pycocotools' compressed run lengths."""
        try:
            category = annotation.whole("category_id")
            if category not in self._class_of_category:
                raise FormatError(f"{annotation.place} is of the unknown category {category}")
            is_crowd = annotation.truth("iscrowd", default=False)
            instance = Instance(self._class_of_category[category], is_crowd)
            return instance, encode_mask(annotation, size)
        except FormatError as error:
            problem = f"image {annotation.identity('image_id')!r}: {error}"
            raise DataError(self._json_path, problem, FORMAT_REMEDY) from error


class _ImageEntry(NamedTuple):
    image_id: int | str
    file_name: str
    size: tuple[int, int] | None  # (height, width) in pixels, None where the entry doesn't say


def _read_image_entry(entry: Entry) -> _ImageEntry:
    size = entry.whole("height", default=0), entry.whole("width", default=0)
    return _ImageEntry(entry.identity("id"), entry.text("file_name"), size if all(size) else None)


def encode_mask(annotation: Entry, size: tuple[int, int]) -> dict:
    """An annotation's mask as pycocotools' compressed run lengths.

    Parameters:
        annotation: its "segmentation" is a list of polygons [x1, y1, x2, y2, ...] in pixels, or
            {"size", "counts"} with the counts as numbers or as COCO's string.
        size: (height, width) of the image in pixels.

    Raises FormatError where it is none of these, or doesn't fit the image.
    """
    if isinstance(annotation.content.get("segmentation"), dict):
        encoded = annotation.entry("segmentation")
        stated = encoded.numbers("size", 2)
        if stated != list(size):
            raise FormatError(f"{encoded.place} is a mask of {stated} px, the image {list(size)}")
        runs = decode_run_lengths(encoded, size[0] * size[1])
        return coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size)
    polygons = annotation.values("segmentation", default=[])
    if not polygons:
        raise FormatError(f"{annotation.place} has no mask, only a box: AdaptIS needs the masks")
    limit = 2 * max(size)  # pycocotools walks along each side: a far point would take all memory
    for polygon in polygons:
        if not (
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(type(value) in (int, float) and abs(value) <= limit for value in polygon)
        ):
            raise FormatError(
                f"{annotation.place}.segmentation holds {shown(polygon)}, a polygon is 3 points or "
                f"more [x1, y1, x2, y2, ...] within {limit} px"
            )
    return coco_mask.merge(coco_mask.frPyObjects(polygons, *size))


def _check_unique(what: str, values: list) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise FormatError(f"two {what} {shown(twice[0])}")


def _classes(categories: list[tuple[int, str]]) -> tuple[ClassInfo, ...]:
    """Background, whose category id is the first free one, and a class for each category."""
    free = max((id_ for id_, _ in categories), default=0) + 1
    background = ClassInfo("background", free, False, (0, 0, 0))
    things = [
        ClassInfo(
            name,
            id_,
            True,
            tuple(round(255 * c) for c in hsv_to_rgb(i * PALETTE_STEP % 1, 0.8, 0.95)),
        )
        for i, (id_, name) in enumerate(categories)
    ]
    return background, *things
