"""Images without ground truth, from any files and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from adaptis.own_images import IMAGE_ENDINGS
from datasets.base import DataError
from datasets.files import without_endings
from datasets.pixels import read_rgb8


class PlainImages:
    """The images of files and folders, in order.

    Parameters:
        given: paths of files, of any ending, and of folders, whose files with an ending of
            IMAGE_ENDINGS are taken, hidden ones left out.
        recursive: those in the folders below too.
        apart_from: folders to leave out, those that the results are written to.

    Attributes:
        paths: of the files.
        files: their names, those of a folder's images relative to it.
        names: the same without ending; with it where two would be called alike (a.png, a.jpg), or
            one as another's file (a.png.png, a.png). All differ.

    Raises DataError where a path is missing, a folder holds no images, or two images have the same
    name.
    """

    def __init__(
        self,
        given: Iterable[Path | str],
        recursive: bool = False,
        apart_from: Iterable[Path | str] = (),
    ):
        found: dict[str, Path] = {}
        left_out = {Path(folder).resolve() for folder in apart_from}
        for path in map(Path, given):
            for file, image in _images(path, recursive, left_out):
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


def _images(path: Path, recursive: bool, left_out: set[Path]) -> Iterable[tuple[str, Path]]:
    """File name, relative to a folder that was given, and path."""
    if not path.is_dir():
        if not path.exists():
            raise DataError(path, "no such file or folder", "name one that is there")
        if not left_out.isdisjoint(path.resolve().parents):
            problem = "lies where this run writes its results"
            raise DataError(path, problem, "choose another --output")
        return [(path.name, path)]
    every = [
        image
        for image in sorted(path.rglob("*") if recursive else path.iterdir())
        if image.suffix.lower() in IMAGE_ENDINGS
        and image.is_file()
        and not any(part.startswith(".") for part in image.relative_to(path).parts)
    ]
    images = [image for image in every if left_out.isdisjoint(image.resolve().parents)]
    if every and not images:
        problem = "holds no images but where this run writes its results"
        raise DataError(path, problem, "choose another --output")
    if not images:
        endings = ", ".join(IMAGE_ENDINGS)
        remedy = "" if recursive else "--recursive looks into the folders below"
        raise DataError(path, f"holds no images ({endings})", remedy)
    return [(image.relative_to(path).as_posix(), image) for image in images]
