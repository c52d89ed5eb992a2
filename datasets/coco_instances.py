"""COCO instances: a JSON file of objects with polygons or run lengths, as CVAT, LabelMe, Roboflow,
VGG Image Annotator and COCO itself write it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from pycocotools import mask as coco_mask

from adaptis.json_types import MAX_WHOLE, Entry, FormatError, shown
from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.coco import FORMAT_REMEDY
from datasets.files import inside, read_json, without_endings
from datasets.label_maps import AGNOSTIC_CLASSES, BACKGROUND, OBJECT
from datasets.pixels import read_rgb8
from datasets.run_lengths import decode_run_lengths

CORRECT = "correct or remove it; --skip-broken trains without the image"
POLYGON = 6  # numbers of 3 points, the fewest
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
        crowds_are_objects: an object of its own is whatever says "iscrowd": 1. CVAT's export says
            it of every mask that isn't a polygon.

    Attributes:
        classes: background, then the categories in the order of the JSON file.
        names: the images' file names without extension, in the order of the JSON file; with it
            where two would be called alike (a.png, a.jpg).
        image_ids: the images' ids in the JSON file.

    Raises DataError where the JSON file is missing or broken, has no images or no sound categories,
    or two images share an id or a file.
    """

    name = "instances"
    labelled = True

    def __init__(
        self,
        folders: Sequence[Path | str],
        json_path: Path | str,
        class_agnostic: bool = False,
        intensity: str | list[float] = "percentile",
        crowds_are_objects: bool = False,
    ):
        self._folders, self._json_path = [Path(folder) for folder in folders], Path(json_path)
        self._intensity, self._crowds_are_objects = intensity, crowds_are_objects
        content = read_json(self._json_path)
        try:
            content = Entry(content)
            categories = [(c.whole("id"), c.text("name")) for c in content.entries("categories")]
            images = [_read_image_entry(image) for image in content.entries("images")]
            self._annotations: dict[int | str, list[Entry]] = defaultdict(list)
            self.image_ids = [image.image_id for image in images]
            for image_id, annotation in _of_images(content.entries("annotations"), self.image_ids):
                self._annotations[image_id].append(annotation)
            self.names = without_endings([image.file_name for image in images])
            _check_unique("categories share the id", [id_ for id_, _ in categories])
            _check_unique("images share the id", self.image_ids)
            _check_unique("images share the name", self.names)
            if not images:
                raise FormatError("it lists no images")
        except FormatError as error:
            problem = f"isn't in COCO instances format: {error}"
            remedy = FORMAT_REMEDY if "images" in content else "if it is another file, move it away"
            raise DataError(self._json_path, problem, remedy) from error
        if strangers := self._annotations.keys() - set(self.image_ids):
            which = f"it doesn't list the images {list(strangers)[:5]} of annotations"
            problem = f"isn't in COCO instances format: {which}"
            raise DataError(
                self._json_path, problem, "list the images, or remove these annotations"
            )
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
        image = self._read_image(index)
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
        """In the first folder where it would be, if none has it, nor under the name that "%20" and
        the like stand for, as Label Studio writes them."""
        name = self._images[index].file_name
        names = dict.fromkeys((name, unquote(name)))
        paths = (inside(folder, name) for name in names for folder in self._folders)
        # unlike Path.is_file it takes a name that is too long for the file system
        found = next((path for path in paths if os.path.isfile(path)), None)
        return found or inside(self._folders[0], name)

    def _read_image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        path, size = self.image_path(index), self._images[index].size
        entry = f"images[{index}] of {self._json_path}"
        if not os.path.exists(path):
            folders = ", ".join(map(str, self._folders))
            remedy = f"copy it there, or correct the file_name of {entry}"
            raise DataError(path, f"is missing, searched for in {folders}", remedy)
        try:
            return read_rgb8(path, self._intensity, size, drawn_over_turned=True)
        except DataError:
            if size is None:
                raise
            found = read_rgb8(path, self._intensity).shape[:2]  # raises it again, but for the size
        raise DataError(
            path,
            f"the image is {found[0]} x {found[1]} (height x width), {size[0]} x {size[1]} says "
            f"its entry {entry}",
            "correct the one that is wrong",
        )

    def _read(self, annotation: Entry, size: tuple[int, int]) -> tuple[Instance, dict]:
        """The object and its mask as pycocotools' compressed run lengths."""
        try:
            category = annotation.whole("category_id")
            if category not in self._class_of_category:
                raise FormatError(f"{annotation.place} is of the unknown category {category}")
            is_crowd = annotation.truth("iscrowd", default=False) and not self._crowds_are_objects
            instance = Instance(self._class_of_category[category], is_crowd)
            return instance, encode_mask(annotation, size)
        except FormatError as error:
            problem = f"image {annotation.identity('image_id')!r}: {error}"
            raise DataError(self._json_path, problem, CORRECT) from error


class _ImageEntry(NamedTuple):
    image_id: int | str
    file_name: str
    size: tuple[int, int] | None  # (height, width) in pixels, None where the entry doesn't say


def _read_image_entry(entry: Entry) -> _ImageEntry:
    name = entry.text("file_name")
    if not PurePosixPath(name.replace("\\", "/")).name:
        raise FormatError(f"{entry.place}.file_name is {shown(name)}, no file's name")
    size = _pixels(entry, "height"), _pixels(entry, "width")
    return _ImageEntry(entry.identity("id"), name, size if all(size) else None)


def _of_images(
    annotations: list[Entry], image_ids: list[int | str]
) -> Iterator[tuple[int | str, Entry]]:
    """Each annotation with its image's id: VGG Image Annotator writes the image 0 as "0" there."""
    known, by_text = set(image_ids), {str(id_): id_ for id_ in image_ids}
    for annotation in annotations:
        image_id = annotation.identity("image_id")
        yield image_id if image_id in known else by_text.get(str(image_id), image_id), annotation


def _pixels(entry: Entry, key: str) -> int:
    """A height or width as exporters write it, 20 or 20.0; 0 where it is null or missing."""
    value = entry.content.get(key)
    if value is None:
        return 0
    if type(value) is float and value.is_integer() and 0 <= value <= MAX_WHOLE:
        return int(value)
    return entry.whole(key)


def encode_mask(annotation: Entry, size: tuple[int, int]) -> dict:
    """An annotation's mask as pycocotools' compressed run lengths.

    Parameters:
        annotation: its "segmentation" is a list of polygons [x1, y1, x2, y2, ...] in pixels, such a
            polygon alone, as VGG Image Annotator has it, or {"size", "counts"} with the counts as
            numbers or as COCO's string. Beside polygons, parts of one or two points, which
            exporters leave, count for nothing.
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
    if len(polygons) >= POLYGON and all(type(value) in (int, float) for value in polygons):
        polygons = [polygons]
    limit = 2 * max(size)  # pycocotools walks along each side: a far point would take all memory
    for part, polygon in enumerate(polygons):
        _check_polygon(polygon, f"{annotation.place}.segmentation[{part}]", limit)
    whole = [polygon for polygon in polygons if len(polygon) >= POLYGON]
    if not whole:
        raise _no_polygon(polygons[0], f"{annotation.place}.segmentation[0]")
    return coco_mask.merge(coco_mask.frPyObjects(whole, *size))


def _check_polygon(polygon: Any, place: str, limit: int) -> None:
    """Raises FormatError; fewer than 3 points are let through."""
    if not isinstance(polygon, list) or (len(polygon) > POLYGON and len(polygon) % 2):
        raise _no_polygon(polygon, place)
    for value in polygon:
        if type(value) not in (int, float) or not abs(value) <= limit:  # so that NaN is refused
            raise FormatError(
                f"{place} holds {shown(value)}, x and y are numbers within {limit} px, twice the "
                "image's longer side"
            )


def _no_polygon(polygon: Any, place: str) -> FormatError:
    return FormatError(
        f"{place} is {shown(polygon)}, a polygon is 3 points or more [x1, y1, x2, y2, ...]"
    )


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
