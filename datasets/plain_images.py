"""Images without ground truth, from any files and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.base import DataError
from datasets.files import without_endings
from datasets.pixels import IMAGE_ENDINGS, read_rgb8


class PlainImages:
    """The images of files and folders, in order.

    Parameters:
        given: paths of files, of any ending, and of folders, whose files with an ending of
            IMAGE_ENDINGS are taken, hidden ones left out.
        recursive: those in the folders below too.
        apart_from: a folder to leave out, that of the results.

    Attributes:
        paths: of the files.
        files: their names, those of a folder's images relative to it.
        names: the same without ending; with it where two would be called alike (a.png, a.jpg).

    Raises DataError where a path is missing, a folder holds no images, or two images have the same
    name.
    """

    def __init__(
        self,
        given: Iterable[Path | str],
        recursive: bool = False,
        apart_from: Path | str | None = None,
    ):
        found: dict[str, Path] = {}
        for path in map(Path, given):
            for file, image in _images(path, recursive, apart_from):
                if found.setdefault(file, image).resolve() != image.resolve():
                    problem = f"has the same name as {found[file]}, so their results would too"
                    remedy = "segment them into a folder each, or their common one with --recursive"
                    raise DataError(image, problem, remedy)
        self.files, self.paths = list(found), list(found.values())
        self.names = without_endings(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, intensity: str | list[float]) -> np.ndarray:
        """(H, W, 3) uint8 RGB, see ``datasets.pixels.read_rgb8``.

        Raises DataError where the file can't be read.
        """
        return read_rgb8(self.paths[index], intensity)


def _images(
    path: Path, recursive: bool, apart_from: Path | str | None
) -> Iterable[tuple[str, Path]]:
    """File name, relative to a folder that was given, and path."""
    if not path.is_dir():
        if not path.exists():
            raise DataError(path, "no such file or folder")
        return [(path.name, path)]
    left_out = Path(apart_from).resolve() if apart_from else None
    images = [
        image
        for image in sorted(path.rglob("*") if recursive else path.iterdir())
        if image.suffix.lower() in IMAGE_ENDINGS
        and image.is_file()
        and not any(part.startswith(".") for part in image.relative_to(path).parts)
        and left_out not in image.resolve().parents
    ]
    if not images:
        endings = ", ".join(IMAGE_ENDINGS)
        remedy = "" if recursive else "--recursive looks into the folders below"
        raise DataError(path, f"holds no images ({endings})", remedy)
    return [(image.relative_to(path).as_posix(), image) for image in images]
