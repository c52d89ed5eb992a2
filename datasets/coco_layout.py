"""COCO's own folders: which files make a split, with its labels or without.

``annotations/panoptic_<split>.json`` and the folder of that name hold the labels; of a test split,
whose labels aren't public, ``annotations/image_info_<split>.json`` lists the images.
"""

from __future__ import annotations

from pathlib import Path

from datasets.base import DataError
from datasets.coco import COCOPanopticDataset

TEST_DEV = "test-dev2017"  # the images of test2017 that COCO's server scores (Table 6)
ROOT = "the root is the folder that holds annotations"
CATEGORIES_FILE = "panoptic_val2017.json"  # COCO's image_info files list things alone, unmarked


def open_coco(root: Path | str, split: str) -> COCOPanopticDataset:
    """Open a split with its labels, or the images alone of one that has none.

    Parameters:
        root: the folder that holds ``annotations``.
        split: such as "val2017"; "test" is test-dev2017 where nothing is called so.

    Raises DataError where it is neither, and what the reader raises.
    """
    annotations = Path(root) / "annotations"
    if (annotations / f"panoptic_{split}.json").exists():
        return COCOPanopticDataset.from_root(root, split)
    for name in (split, TEST_DEV) if split == "test" else (split,):
        if (annotations / f"image_info_{name}.json").exists():
            return _without_labels(root, name)
    problem = f"holds no panoptic_{split}.json, nor image_info_{split}.json of images alone"
    raise DataError(annotations, problem, ROOT)


def splits_of(root: Path) -> list[str]:
    """Those with labels, then those without whose images are there.

    Raises DataError where there is none.
    """
    labelled, unlabelled = (
        [file.stem[len(start) :] for file in sorted((root / "annotations").glob(f"{start}*.json"))]
        for start in ("panoptic_", "image_info_")
    )
    splits = labelled + [split for split in unlabelled if _images_folder(root, split).is_dir()]
    if not splits:
        raise DataError(root / "annotations", "holds no panoptic_*.json", ROOT)
    return splits


def _images_folder(root: Path | str, split: str) -> Path:
    """It is called like the split; test-dev2017 is a part of test2017."""
    return Path(root) / ("test2017" if split == TEST_DEV else split)


def _without_labels(root: Path | str, split: str) -> COCOPanopticDataset:
    """The categories are those of CATEGORIES_FILE where it is there, else the file's own."""
    annotations = Path(root) / "annotations"
    categories = annotations / CATEGORIES_FILE
    images, json_path = _images_folder(root, split), annotations / f"image_info_{split}.json"
    if categories.exists():
        dataset = COCOPanopticDataset(images, json_path, None, categories)
    else:
        try:
            dataset = COCOPanopticDataset(images, json_path, None)
        except DataError as error:
            remedy = f"the categories of COCO's own are in {CATEGORIES_FILE}: put it beside"
            raise DataError(error.path, error.problem, remedy) from error
    dataset.split = split
    return dataset
