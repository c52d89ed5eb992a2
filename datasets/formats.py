"""The data sets by name, for scripts that take any of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Format(NamedTuple):
    """What there is to know of a data set before it is opened."""

    module: str  # imported when one is opened
    opens: str  # in the module: root, split -> the data set
    evaluated: str  # the split that is, if none is named
    splits: tuple[str, ...] = ()  # with labels; where empty, the module's splits_of(root) says them
    test_images: str = ""  # folder in the root; where it is, there is a split "test" without labels


FORMATS = {
    "toy": Format("datasets.toy", "ToyDataset", "test"),
    "cityscapes": Format(
        "datasets.cityscapes", "CityscapesDataset", "val", ("train", "val"), "leftImg8bit/test"
    ),
    "coco": Format("datasets.coco_layout", "open_coco", "val2017"),
    "mapillary": Format(
        "datasets.mapillary", "MapillaryDataset", "val", ("train", "val"), "testing"
    ),
    "instances": Format("datasets.instances", "open_instances", "test"),
}


def open_dataset(name: str, root: Path | str, split: str | None = None, **reading):
    """A split of a data set, by default the one that is evaluated.

    Parameters:
        name: a key of FORMATS.
        root: the data set's folder.
        reading: of own images, see ``open_instances``.

    Raises DataError where the folder is missing or broken.
    """
    format_ = FORMATS[name]
    opens = getattr(import_module(format_.module), format_.opens)
    return opens(root, split or format_.evaluated, **reading)


def find_splits(name: str, root: Path) -> list[str]:
    """The splits to check when none is named; those without labels only where their images are.

    Raises DataError where there is none.
    """
    format_ = FORMATS[name]
    if not format_.splits:
        return import_module(format_.module).splits_of(root)
    has_test = format_.test_images and (root / format_.test_images).is_dir()
    return [*format_.splits, *(["test"] if has_test else [])]
