"""The images a user brings: files on this machine, or what the browser uploads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import ImageOps

from adaptis.image_files import ImageFileError, bits_per_channel, decoded, stored_values
from adaptis.intensity import to_rgb8

ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")  # of a folder's files


def find_images(given: Iterable[Path | str]) -> list[Path]:
    """Files, and the images of folders, in order. Raises ImageFileError for a path that is missing
    and a folder without images."""
    found: list[Path] = []
    for path in map(Path, given):
        if not path.exists():
            raise ImageFileError(path, "no such file or folder", "name one that is there")
        if not path.is_dir():
            found.append(path)
            continue
        images = [p for p in sorted(path.iterdir()) if p.suffix.lower() in ENDINGS and p.is_file()]
        if not images:
            raise ImageFileError(path, "holds no images", f"they end in {', '.join(ENDINGS)}")
        found += images
    return found


def read_image(path: Path, name: str, intensity: str | list[float], max_pixels: int) -> np.ndarray:
    """A file's image as the network sees it, turned as its EXIF says: (H, W, 3) uint8 RGB.

    Parameters:
        name: what messages call it.
        intensity: see ``adaptis.intensity.to_rgb8``.
        max_pixels: the most that is opened.

    Raises ImageFileError.
    """
    try:
        with decoded(path, max_pixels) as image:
            deep = bits_per_channel(image, path) == 16 and not image.mode.startswith("I;16")
            ImageOps.exif_transpose(image, in_place=True)
            pixels = stored_values(image, path, deep)
    except ImageFileError as error:
        problem = error.problem.replace(str(path), name)
        raise ImageFileError(name, problem, error.remedy) from error
    try:
        return to_rgb8(pixels, intensity)
    except ValueError as error:
        raise ImageFileError(name, str(error), "save it as grey or RGB") from error


def read_upload(
    content: bytes, name: str, intensity: str | list[float], max_pixels: int
) -> np.ndarray:
    """The same of a file's bytes."""
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix[:10]) as file:
        file.write(content)
        file.flush()
        return read_image(Path(file.name), name, intensity, max_pixels)
