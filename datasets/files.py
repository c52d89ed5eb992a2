"""Reading image, label and JSON files of data sets so that a broken file is an error that names it;
finding them, also as Windows names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from adaptis import image_files
from adaptis.disk import check_regular
from adaptis.image_files import (
    CHANGES_NUMBERS,
    COPY_AGAIN,
    SAVE_NUMBERS,
    ImageFileError,
    array_of,
    bits_per_channel,
    orientation_of,
    read_panoptic_png,
    reason,
    upright,
)
from adaptis.json_types import FormatError, parse_json
from datasets.base import DataError

LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
"""Pillow's modes of one whole number a pixel; of a palette image ("P") the indices are meant."""

LOSSY = ("JPEG", "MPO", "WEBP", "JPEG2000")  # Pillow's formats

DARK = 2**6  # of 8 bits: what the brightest pixel of a file of 16 bits reaches if it fills 15


def inside(folder: Path, name: str) -> Path:
    """Join a file name that was read from a data set's file to its folder.

    Raises DataError where the name would leave the folder. Links within it are followed: data sets
    are often spread over disks.
    """
    relative = PurePosixPath(name.replace("\\", "/"))  # as written on Windows
    if relative.is_absolute() or ".." in relative.parts:
        problem = f"file name {name!r} leads out of this folder"
        raise DataError(folder, problem, "the JSON file has to name files relative to it")
    return folder / relative


def without_endings(files: Sequence[str]) -> list[str]:
    """File names without ending; with it where two would be called alike (a.png, a.jpg), or one as
    another's file (a.png.png, a.png). All differ if the files' names do."""
    stems = [str(PurePosixPath(file).with_suffix("")) for file in files]
    times = Counter(stems)
    others = set(files)
    return [
        stem if times[stem] == 1 and stem not in others else file
        for stem, file in zip(stems, files)
    ]


class Files:
    """The files below a folder whose names end so, in small or capital letters.

    Hidden files, which macOS leaves beside others, are none.

    Parameters:
        folder: where they are; there are none where it is missing.
        pattern: of ``Path.glob``, such as "*" or "*/*".
        ending: such as ".jpg".

    Attributes:
        names: the paths within the folder, without the ending.

    Raises DataError where two files differ in nothing but the letters of their ending.
    """

    def __init__(self, folder: Path, pattern: str, ending: str):
        self._folder, self._ending = folder, ending
        self._paths: dict[str, Path] = {}
        for path in folder.glob(pattern):
            name = path.relative_to(folder).as_posix()
            if path.name.startswith(".") or not name.lower().endswith(ending.lower()):
                continue
            name = name[: -len(ending)]
            if name in self._paths:
                problem = f"has the name of {self._paths[name].name}"
                raise DataError(path, problem, "remove one of them")
            self._paths[name] = path
        self.names = set(self._paths)

    def path(self, name: str) -> Path:
        """Where the file of a name is, or would be."""
        return self._paths.get(name, self._folder / (name + self._ending))


def read_json(path: Path) -> dict:
    """Read a JSON file that holds one object, see ``adaptis.json_types``.

    Raises DataError where it is missing, not JSON or not an object.
    """
    try:
        check_regular(path)
        content = parse_json(path.read_bytes())
    except (OSError, FormatError) as error:
        raise DataError(path, reason(error), COPY_AGAIN) from error
    if not isinstance(content, dict):
        problem = f"holds a JSON {type(content).__name__}, an object was expected"
        raise DataError(path, problem, "is it another file?")
    return content


def read_image(path: Path, label_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image as RGB of 8 bits: grey is repeated, alpha dropped, of 16 bits the upper 8 kept.

    Values of 10 to 14 bits, or of 8, in a file of 16 would come out dark or black, and those of 32
    bits and floats have no white: such files are refused, as datasets in these formats have 8 bits.

    Parameters:
        path: the image file.
        label_size: (height, width) of the image's label, if there is one; an image stored on its
            side is turned to fit it, see ``adaptis.image_files.upright``.

    Returns (H, W, 3) uint8.

    Raises DataError where the file is missing, truncated, too large or doesn't fit the label's
    size.
    """
    with decoded(path) as image:
        if image.mode in ("I", "F"):
            problem = f"has values of 32 bits (Pillow's mode {image.mode}), of which none is white"
            raise DataError(path, problem, "save it with 8 bits a channel")
        if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8
            grey = (array_of(image) >> 8).astype(np.uint8)
            pixels = np.repeat(grey[:, :, None], 3, axis=2)
        else:
            pixels = array_of(image, "RGB")
        if bits_per_channel(image, path) == 16 and pixels.max() < DARK:
            problem = "has 16 bits a channel, of which its values fill 14 or fewer"
            raise DataError(path, problem, "which one is white? Save it with 8 bits a channel")
        return upright(pixels, orientation_of(image), path, label_size)


def read_labels(path: Path) -> np.ndarray:
    """Read a label image of one channel, its values unchanged.

    Returns (H, W) uint8, uint16 or int32, as stored.

    Raises DataError where the file is missing, truncated, too large or has several channels.
    """
    with decoded(path) as image:
        if image.format in LOSSY or image.info.get("compression") == "jpeg":  # the latter of TIFF
            raise DataError(path, f"is {image.format} with losses{CHANGES_NUMBERS}", SAVE_NUMBERS)
        if image.mode not in LABEL_MODES:
            problem = f"is {image.mode}, a label image has one channel of numbers"
            raise DataError(path, problem, "save the numbers as grey levels of 8 or 16 bits")
        labels = array_of(image)
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def read_rgb_ids(path: Path) -> np.ndarray:
    """Read a COCO panoptic PNG, see ``adaptis.image_files.read_panoptic_png``.

    Returns (H, W) int32 ids of 24 bits, 0 = void.

    Raises DataError where the file is missing, truncated, too large or not RGB.
    """
    with as_data_error(path):
        return read_panoptic_png(path)


@contextmanager
def decoded(path: Path) -> Iterator[Image.Image]:
    """An image file, decoded. Raises DataError whatever is wrong with it."""
    with as_data_error(path), image_files.decoded(path) as image:
        yield image


@contextmanager
def as_data_error(path: Path) -> Iterator[None]:
    """What is wrong with an image file of a data set: ImageFileErrors become DataErrors."""
    try:
        yield
    except ImageFileError as error:
        raise DataError(path, error.problem, error.remedy) from error
