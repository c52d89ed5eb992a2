"""COCO instances: a JSON file of objects with polygons or run lengths, as CVAT, LabelMe, Roboflow
and COCO itself write it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from colorsys import hsv_to_rgb
from pathlib import Path, PurePosixPath

import numpy as np
from pycocotools import mask as coco_mask

from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.coco import FORMAT_REMEDY
from datasets.files import inside, read_json
from datasets.label_maps import AGNOSTIC_CLASSES, BACKGROUND, OBJECT
from datasets.pixels import read_rgb8
from datasets.run_lengths import decode_run_lengths

FORMAT_ERRORS = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
)  # of entries that aren't as described
PALETTE_STEP = 0.618  # of the hue circle between classes: the golden section spreads them


class COCOInstancesDataset:
    """Images with objects in COCO's instances format (cocodataset.org, format-data, "Object
    Detection").

    What no object covers is background. Where objects overlap, **the smaller one is on top**;
    crowds lie under all objects. An object of which nothing is left to see is none. An image with a
    wrong entry fails when it is read, so that one of 118,000 doesn't hide the others.

    Args:
        folders: of the images; each is taken from the first that has it.
        json_path: the annotations.
        class_agnostic: one class "object" in place of the file's categories.
        intensity: what becomes black and white, see ``adaptis.intensity.to_rgb8``.

    Attributes:
        classes: background, then the categories in the order of the JSON file.
        names: the images' file names without extension, in the order of the JSON file.
        image_ids: the images' ids in the JSON file.

    Raises:
        DataError: the JSON file is missing or broken, has no images or no sound categories, or two
            images share an id or a name.
    """

    name = "instances"

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
            categories = {int(c["id"]): str(c["name"]) for c in content["categories"]}
            self._images = {image["id"]: _image_entry(image) for image in content["images"]}
            self._annotations: dict[Hashable, list[dict]] = defaultdict(list)
            for annotation in content["annotations"]:
                self._annotations[annotation["image_id"]].append(annotation)
            if not self._images:
                raise ValueError("it lists no images")
            if len(categories) < len(content["categories"]):
                raise ValueError("two categories share an id")
            self.image_ids = list(self._images)
            self.names = [name for name, _ in self._images.values()]
            self.names = [str(PurePosixPath(name).with_suffix("")) for name in self.names]
            for values, kind in ((content["images"], "id"), (set(self.names), "name")):
                if len(values) != len(self._images):
                    raise ValueError(f"two images share an {kind}".replace("an n", "a n"))
            if strangers := self._annotations.keys() - self._images.keys():
                raise ValueError(f"annotations of images it doesn't list: {list(strangers)[:5]}")
        except FORMAT_ERRORS as error:
            problem = f"isn't in COCO instances format: {type(error).__name__}: {error}"
            raise DataError(self._json_path, problem, FORMAT_REMEDY) from error
        self.classes = AGNOSTIC_CLASSES if class_agnostic else _classes(categories)
        self._class_of_category = {
            id_: OBJECT if class_agnostic else place
            for place, id_ in enumerate(categories, start=BACKGROUND + 1)
        }

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Reads one image and draws its objects; an image without objects has no instances.

        Raises:
            DataError: the image is missing, broken or of another size than its entry says, or an
                annotation of it is broken.
        """
        index = range(len(self))[index]  # negative indices, IndexError
        image_id = self.image_ids[index]
        image = read_rgb8(self.image_path(index), self._intensity, self._images[image_id][1])
        class_map = np.full(image.shape[:2], BACKGROUND, np.int32)
        instance_map = np.zeros(image.shape[:2], np.int32)
        instances = {}
        objects = [self._read(a, image.shape[:2]) for a in self._annotations[image_id]]
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
        name = self._images[self.image_ids[index]][0]
        paths = [inside(folder, name) for folder in self._folders]
        return next((path for path in paths if path.is_file()), paths[0])

    def _read(self, annotation: dict, size: tuple[int, int]) -> tuple[Instance, dict]:
        """The object and its mask as pycocotools' compressed run lengths."""
        try:
            category = annotation["category_id"]
            if category not in self._class_of_category:
                raise ValueError(f"unknown category {category!r}")
            instance = Instance(self._class_of_category[category], bool(annotation.get("iscrowd")))
            return instance, encode_mask(annotation.get("segmentation"), size)
        except FORMAT_ERRORS as error:
            where = f"annotation {annotation.get('id')!r} of image {annotation['image_id']!r}"
            raise DataError(self._json_path, f"{where}: {error}", FORMAT_REMEDY) from error


def encode_mask(segmentation, size: tuple[int, int]) -> dict:
    """An annotation's polygons or run lengths as pycocotools' compressed run lengths.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, ...] in pixels, or {"size", "counts"} with
            the counts as numbers or as COCO's string.
        size: (height, width) of the image in pixels.

    Raises:
        ValueError: it is none of these, or doesn't fit the image.
    """
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != list(size):
            raise ValueError(f"a mask of {segmentation['size']} on an image of {list(size)} px")
        runs = decode_run_lengths(segmentation["counts"], size[0] * size[1])
        return coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("has no mask, only a box; AdaptIS needs the masks")
    polygons = [[float(value) for value in polygon] for polygon in segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers; it takes 3 points of (x, y)")
        # pycocotools walks along each side: one to a far point would take all memory
        if not all(math.isfinite(v) and abs(v) <= 2 * max(size) for v in polygon):
            raise ValueError("a polygon far outside of its image")
    return coco_mask.merge(coco_mask.frPyObjects(polygons, *size))


def _image_entry(image: dict) -> tuple[str, tuple[int, int] | None]:
    """File name and (height, width), None where the entry doesn't say."""
    size = int(image.get("height") or 0), int(image.get("width") or 0)
    return str(image["file_name"]), size if all(size) else None


def _classes(categories: dict[int, str]) -> tuple[ClassInfo, ...]:
    """Background, whose category id is the first free one, and a class for each category."""
    background = ClassInfo("background", max(categories, default=0) + 1, False, (0, 0, 0))
    things = [
        ClassInfo(
            name,
            id_,
            True,
            tuple(round(255 * c) for c in hsv_to_rgb(i * PALETTE_STEP % 1, 0.8, 0.95)),
        )
        for i, (id_, name) in enumerate(categories.items())
    ]
    return background, *things
