"""The images a user brings: files on this machine, or what the browser uploads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from adaptis.image_files import ImageFileError
from adaptis.own_images import IMAGE_ENDINGS, read_rgb8


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
        images = [
            image
            for image in sorted(path.iterdir())
            if image.suffix.lower() in IMAGE_ENDINGS
            and image.is_file()
            and not image.name.startswith(".")  # macOS leaves them beside others
        ]
        if not images:
            raise ImageFileError(path, "holds no images", f"they end in {', '.join(IMAGE_ENDINGS)}")
        found += images
    return found


def shown_name(path: Path) -> str:
    """A file's name as text that any page can show: bytes that aren't UTF-8 become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def read_image(path: Path, name: str, intensity: str | list[float], max_pixels: int) -> np.ndarray:
    """A file's image as the network sees it, see ``read_rgb8``: (H, W, 3) uint8 RGB.

    Parameters:
        name: what messages call it.
        intensity: see ``adaptis.intensity.to_rgb8``.
        max_pixels: the most that is opened.

    Raises ImageFileError.
    """
    try:
        return read_rgb8(path, intensity, max_pixels=max_pixels)
    except ImageFileError as error:
        problem = error.problem
        for written in (str(path), repr(str(path))[1:-1]):  # Pillow's errors have the second
            problem = problem.replace(written, name)
        raise ImageFileError(name, problem, error.remedy) from error


def read_upload(
    content: bytes, name: str, intensity: str | list[float], max_pixels: int
) -> np.ndarray:
    """The same of a file's bytes."""
    if "\0" in name:
        raise ImageFileError(repr(name), "the name has a null character", "rename the file")
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix[:10]) as file:
        file.write(content)
        file.flush()
        return read_image(Path(file.name), name, intensity, max_pixels)
