"""Own images with a label map each: the layouts of StarDist and CSBDeep, and of Cellpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from adaptis.own_images import IMAGE_ENDINGS
from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.pixels import read_label_map, read_rgb8

LABEL_FOLDERS = ("labels", "masks")  # beside images/: StarDist's examples have either
MASKS_SUFFIX = "_masks"  # of a label map beside its image, Cellpose's
IMAGE_SUFFIX = "_img"  # which Cellpose's own images have in turn
RESULT_SUFFIX = "_cp_masks"  # of what Cellpose finds itself
BY_PRODUCTS = (  # what else Cellpose writes beside an image
    *("_flows", "_flows_0", "_flows_1", "_flows_2", "_cellprob"),
    *(RESULT_SUFFIX, "_cp_output", "_outlines", "_seg"),
)
LAYOUTS = "images/NAME.png and labels/NAME.png or masks/NAME.png, or NAME.png and NAME_masks.png"
BACKGROUND, OBJECT = 0, 1  # class indices
AGNOSTIC_CLASSES = (
    ClassInfo("background", category_id=1, isthing=False, color=(0, 0, 0)),
    ClassInfo("object", category_id=2, isthing=True, color=(250, 2, 4)),
)


class LabelMapDataset:
    """A folder of images with a label map each: 0 background, 1, 2, ... the objects.

    The folder has ``images/NAME.ext`` and ``labels/NAME.ext`` or ``masks/NAME.ext``, or
    ``NAME.ext`` (or ``NAME_img.ext``) and ``NAME_masks.ext`` beside each other; PNG, TIFF or, for
    images, JPEG.

    Parameters:
        folder: of one split.
        intensity: what becomes black and white, see ``adaptis.intensity.to_rgb8``.

    Attributes:
        names, image_ids: the file names without ending, sorted.

    Raises DataError where the folder is missing or holds no images, no label map is named like one,
    or two files have one name.
    """

    name = "instances"
    labelled = True
    classes = AGNOSTIC_CLASSES

    def __init__(self, folder: Path | str, intensity: str | list[float] = "percentile"):
        self._images, self._labels = _find_files(Path(folder))
        self._intensity = intensity
        # Both sides are listed, so that a file without its counterpart is an error when read.
        self.names = self.image_ids = sorted(self._images.keys() | self._labels.keys())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; an image without objects has no instances.

        Raises DataError where a file is missing or broken, or image and labels differ in size.
        """
        index = range(len(self))[index]  # negative indices, IndexError
        name = self.names[index]
        for files, other, kind in (
            (self._images, self._labels, "image"),
            (self._labels, self._images, "label map"),
        ):
            if name not in files:
                raise DataError(other[name], f"has no {kind}", f"the layout is {LAYOUTS}")
        instance_map = read_label_map(self._labels[name])
        found = ndimage.find_objects(instance_map)
        return Sample(
            name=name,
            image=read_rgb8(self._images[name], self._intensity, instance_map.shape),
            semantic_map=np.where(instance_map > 0, OBJECT, BACKGROUND).astype(np.int32),
            instance_map=instance_map,
            instances={i: Instance(OBJECT) for i, box in enumerate(found, start=1) if box},
        )

    def image_path(self, index: int) -> Path:
        """The label map's where the image is missing."""
        name = self.names[index]
        return self._images.get(name) or self._labels[name]


def holds_label_maps(folder: Path) -> bool:
    """Whether there are label maps in it, beside ``images`` or beside their images."""
    if (folder / "images").is_dir():
        return any(any(_named(folder / name, str)) for name in LABEL_FOLDERS)
    return any(_named(folder, _name_of_masks))


def _find_files(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Name -> path of images and of label maps."""
    if not folder.is_dir():
        raise DataError(folder, "no such folder", f"the layout is {LAYOUTS}")
    label_folders = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
    if (folder / "images").is_dir():
        if len(label_folders) != 1:
            problem = "has both labels/ and masks/" if label_folders else "has no labels/ or masks/"
            raise DataError(folder, problem, "one of them, with a file for each of images/")
        where = folder / "images"
        images, labels = _by_name(where, str), _by_name(label_folders[0], str)
        if images and labels and not images.keys() & labels.keys():
            image, label = min(images.values()), min(labels.values())
            problem = f"no label map is named like an image: {label.name}, the image {image.name}"
            remedy = f"rename each like its image, such as {image.stem}{label.suffix}"
            raise DataError(label.parent, problem, remedy)
    else:
        where = folder
        images, labels = _by_name(folder, _name_of_image), _by_name(folder, _name_of_masks)
        if not labels and (results := [path.name for _, path in _named(folder, _name_of_result)]):
            problem = f"holds no NAME{MASKS_SUFFIX}, but what Cellpose found: {results[0]}"
            remedy = f"rename NAME{RESULT_SUFFIX} to NAME{MASKS_SUFFIX} to train on that"
            raise DataError(folder, problem, remedy)
    if not images:
        problem = f"holds no images ({', '.join(IMAGE_ENDINGS)})"
        raise DataError(where, problem, f"the layout is {LAYOUTS}")
    return images, labels


def _by_name(folder: Path, name_of: Callable[[str], str | None]) -> dict[str, Path]:
    """Name -> path of the files that have a name."""
    files: dict[str, Path] = {}
    for name, path in _named(folder, name_of):
        if name in files:
            raise DataError(path, f"has the name of {files[name].name}", "remove one of them")
        files[name] = path
    return files


def _named(folder: Path, name_of: Callable[[str], str | None]) -> Iterator[tuple[str, Path]]:
    """Name and path, sorted by the latter, of the files whose stem has a name; none where the
    folder is missing."""
    for path in sorted(folder.glob("[!.]*")):
        if path.suffix.lower() in IMAGE_ENDINGS and (name := name_of(path.stem)) is not None:
            yield name, path


def _name_of_image(stem: str) -> str | None:
    is_other = stem.endswith((MASKS_SUFFIX, *BY_PRODUCTS))
    return None if is_other else stem.removesuffix(IMAGE_SUFFIX)


def _name_of_masks(stem: str) -> str | None:
    is_masks = stem.endswith(MASKS_SUFFIX) and not stem.endswith(BY_PRODUCTS)
    return stem.removesuffix(MASKS_SUFFIX) if is_masks else None


def _name_of_result(stem: str) -> str | None:
    return stem.removesuffix(RESULT_SUFFIX) if stem.endswith(RESULT_SUFFIX) else None
