"""Opening own data by what its folder holds: label maps, or COCO instances."""

from __future__ import annotations

import re
from pathlib import Path

from adaptis.disk import beginning_of
from datasets.base import DataError
from datasets.coco_instances import COCOInstancesDataset
from datasets.label_maps import LabelMapDataset, holds_label_maps
from datasets.views import Selection, held_out

SPLITS = {  # and what their folders are called, in small or capital letters
    "train": ("train",),
    "val": ("val", "valid", "validation"),  # Roboflow has valid, CVAT Validation
    "test": ("test",),
}
PREFIX = "instances_"  # of COCO's own files, and of CVAT's
BESIDE_IMAGES = "_annotations.coco.json"  # Roboflow's
LABELME_HEAD = 500  # bytes, in which labelme's list of shapes begins
SHOWN = 5  # files that a message names
NAME_THEM = "name them instances_train.json, instances_val.json, instances_test.json, or keep one"


def open_instances(
    root: Path | str,
    split: str,
    intensity: str | list[float] = "percentile",
    class_agnostic: bool = False,
    seed: int = 0,
    crowds_are_objects: bool = False,
) -> COCOInstancesDataset | LabelMapDataset | Selection:
    """Open a split of a folder of own images.

    A split is ``annotations/instances_<split>*.json`` (or ``<split>*.json``, or these in ``root``)
    with its images in ``<split>*/``, ``images/<split>*/``, ``images/`` or ``root``; or else a
    folder ``<split>/``. Without such a "train" it is ``root`` itself. A folder has label maps, see
    ``LabelMapDataset``, or one JSON file of COCO instances in ``annotations/`` or in itself.

    Where there is no "val", a tenth of "train" is held out.

    Parameters:
        root: the folder.
        split: "train", "val" or "test".
        intensity, class_agnostic, crowds_are_objects: see the readers.
        seed: of what is held out.

    Raises DataError where there is no such split, and what a reader raises.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(root, "no such folder", "name the one that holds the images")
    if split not in (splits := splits_of(root)):
        problem = f"has no split {split!r}, but {' and '.join(splits)}"
        raise DataError(root, problem, "name its folder or JSON file so, or give --split")
    reading = {
        "intensity": intensity,
        "class_agnostic": class_agnostic,
        "crowds_are_objects": crowds_are_objects,
    }
    if split != "train" and has_split(root, split):
        return _open_split(root, split, reading)
    if has_split(root, "train"):
        train = _open_split(root, "train", reading)
    else:
        train = _open_folder(root, _unnamed_files(root), reading)
    return train if has_split(root, "val") else held_out(train, split, seed)


def splits_of(root: Path) -> list[str]:
    """The splits that can be opened: val wherever train is, as it can be held out."""
    found = {split for split in SPLITS if has_split(root, split)}
    if not found or _unnamed_files(root) or holds_label_maps(root):
        found.add("train")
    if "train" in found:
        found.add("val")
    return [split for split in SPLITS if split in found]


def has_split(root: Path, split: str) -> bool:
    """Whether a split has files of its own."""
    return bool(_split_files(root, split)) or _split_folder(root, split) is not None


def _open_split(root: Path, split: str, reading: dict):
    """By the split's own files."""
    if files := _split_files(root, split):
        return _open_coco(root, files, reading, split)
    folder = _split_folder(root, split)
    return _open_folder(folder, _json_files(folder), reading)


def _open_folder(folder: Path, files: list[Path], reading: dict):
    """A folder without splits: its label maps, or the one of its JSON files. One that is called
    after COCO instances comes before both."""
    if (folder / BESIDE_IMAGES).is_file():
        files = [folder / BESIDE_IMAGES]
    elif named := [file for file in files if file.name.lower().startswith(PREFIX)]:
        files = named
    elif not files or holds_label_maps(folder):
        return LabelMapDataset(folder, reading["intensity"])
    return _open_coco(folder, files, reading)


def _open_coco(folder: Path, files: list[Path], reading: dict, split: str | None = None):
    if any(map(_is_labelmes, files)):
        problem = "has labelme's annotations, one file an image"
        raise DataError(folder, problem, "convert them to COCO instances, as labelme2coco does")
    if len(files) > 1:
        names = ", ".join([file.name for file in files[:SHOWN]] + ["..."] * (len(files) > SHOWN))
        raise DataError(folder, f"has several files of annotations: {names}", NAME_THEM)
    stem = files[0].stem
    stem = stem[len(PREFIX) :] if stem.lower().startswith(PREFIX) else stem
    folders = []
    for parent in (folder, folder / "images"):
        folders += [parent / stem, split and _split_folder(parent, split)]
    folders = [f for f in (*folders, folder / "images", folder) if f and f.is_dir()]
    return COCOInstancesDataset(dict.fromkeys(folders), files[0], **reading)


def _is_labelmes(path: Path) -> bool:
    return b'"shapes"' in beginning_of(path, LABELME_HEAD)


def _split_files(root: Path, split: str) -> list[Path]:
    """JSON files that are named after a split; what has no prefix may be another file, and counts
    only where no folder has labels."""
    files = _json_files(root)
    if named := [file for file in files if file.stem.lower().startswith(PREFIX + split)]:
        return named
    folders = [folder for name in SPLITS if (folder := _split_folder(root, name))]
    if any(map(holds_label_maps, (root, *folders))) or any(map(_json_files, folders)):
        return []
    begins = re.compile(rf"({'|'.join(SPLITS[split])})(?![a-z])", re.IGNORECASE)
    return [file for file in files if begins.match(file.stem)]


def _unnamed_files(root: Path) -> list[Path]:
    """JSON files of no split."""
    named = {file for split in SPLITS for file in _split_files(root, split)}
    return [file for file in _json_files(root) if file not in named]


def _json_files(folder: Path) -> list[Path]:
    """Those in ``annotations``, else in the folder itself; hidden ones, which macOS leaves beside
    others, are none."""
    here, above = (sorted(f.glob("[!.]*.json")) for f in (folder / "annotations", folder))
    return here or above


def _split_folder(root: Path, split: str) -> Path | None:
    """The first in the order of SPLITS."""
    names = SPLITS[split]
    found = {f.name.lower(): f for f in sorted(root.glob("*")) if f.name.lower() in names}
    return next((found[name] for name in names if name in found and found[name].is_dir()), None)
