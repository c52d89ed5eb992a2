"""Opening own data by what its folder holds: label maps, or COCO instances."""

from __future__ import annotations

from pathlib import Path

from datasets.base import DataError
from datasets.coco_instances import COCOInstancesDataset
from datasets.label_maps import LabelMapDataset
from datasets.views import Selection, held_out

SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}  # Roboflow: valid
BESIDE_IMAGES = "_annotations.coco.json"  # Roboflow's


def open_instances(
    root: Path | str,
    split: str,
    intensity: str | list[float] = "percentile",
    class_agnostic: bool = False,
    seed: int = 0,
) -> COCOInstancesDataset | LabelMapDataset | Selection:
    """Open a split of a folder of own images.

    - COCO: ``annotations/instances_<split>*.json`` with the images in ``<split>*/`` or ``images/``,
      or ``<split>/_annotations.coco.json`` beside its images.
    - Label maps: ``<split>/``, see ``LabelMapDataset``.

    Where there is no "val", a tenth of "train" is held out. Without any splits, ``root`` itself is
    such a folder, or has one JSON file in ``annotations/`` or beside its images: that is "train".

    Parameters:
        root: the folder.
        split: "train", "val" or "test".
        intensity, class_agnostic: see the readers.
        seed: of what is held out.

    Raises DataError where there is no such split, and what a reader raises.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(root, "no such folder")
    opened = _open(root, split, class_agnostic, intensity)
    if opened is not None and (split != "train" or has_split(root, "val")):
        return opened
    if split in ("train", "val"):
        whole = opened or _open(root, "train", class_agnostic, intensity)
        return held_out(whole or _open_whole(root, class_agnostic, intensity), split, seed)
    raise DataError(root, f"has no split {split!r}", "name its folder so")


def splits_of(root: Path) -> list[str]:
    """The splits that can be opened: train and val always, test where there is one."""
    return [split for split in SPLITS if split != "test" or has_split(root, split)]


def has_split(root: Path, split: str) -> bool:
    """Whether a split has files of its own."""
    return bool(_annotation_files(root, split)) or any(
        (root / name).is_dir() for name in SPLIT_FOLDERS[split]
    )


def _open(root: Path, split: str, class_agnostic: bool, intensity):
    """The split's own files, or None where it has none."""
    if files := _annotation_files(root, split):
        return _open_coco(root, files, class_agnostic, intensity)
    for name in SPLIT_FOLDERS[split]:
        if (root / name / BESIDE_IMAGES).is_file():
            folder = root / name
            return COCOInstancesDataset([folder], folder / BESIDE_IMAGES, class_agnostic, intensity)
        if (root / name).is_dir():
            return LabelMapDataset(root / name, intensity)
    return None


def _open_whole(root: Path, class_agnostic: bool, intensity):
    """A folder without splits."""
    if files := sorted((root / "annotations").glob("*.json")) or sorted(root.glob("*.json")):
        return _open_coco(root, files, class_agnostic, intensity)
    return LabelMapDataset(root, intensity)


def _annotation_files(root: Path, split: str) -> list[Path]:
    return sorted((root / "annotations").glob(f"instances_{split}*.json"))


def _open_coco(root: Path, files: list[Path], class_agnostic: bool, intensity):
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(root, f"has several files of annotations: {names}", "keep one of them")
    split = files[0].stem.removeprefix("instances_")
    folders = [root / split, root / "images" / split, root / "images", root]
    return COCOInstancesDataset(folders, files[0], class_agnostic, intensity)
