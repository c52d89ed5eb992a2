"""The data sets by name, for scripts that take any of them."""

from __future__ import annotations

from pathlib import Path

EVALUATION_SPLITS = {
    "toy": "test",
    "cityscapes": "val",
    "coco": "val2017",
    "mapillary": "val",
    "instances": "test",
}


def open_dataset(name: str, root: Path | str, split: str | None = None, **reading):
    """A split of a data set, by default the one that is evaluated.

    Parameters:
        name: a key of EVALUATION_SPLITS.
        root: the data set's folder.
        reading: of own images, see ``open_instances``.

    Raises DataError where the folder is missing or broken.
    """
    split = split or EVALUATION_SPLITS[name]
    if name == "toy":
        from datasets.toy import ToyDataset

        return ToyDataset(root, split)
    if name == "cityscapes":
        from datasets.cityscapes import CityscapesDataset

        return CityscapesDataset(root, split)
    if name == "mapillary":
        from datasets.mapillary import MapillaryDataset

        return MapillaryDataset(root, split)
    if name == "instances":
        from datasets.instances import open_instances

        return open_instances(root, split, **reading)
    from datasets.coco_layout import open_coco

    return open_coco(root, split)
