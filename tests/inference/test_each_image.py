"""What is said of an image that can't be segmented."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptis.image_files import ImageFileError
from adaptis.inference.each_image import IMAGE_ERRORS, failure_of
from adaptis.inference.images import ImageError
from datasets.base import DataError

PATH = Path("images/a.png")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError(PATH, "is missing", "copy it"), "images/a.png: is missing (copy it)"),
        (DataError(Path("labels/a.png"), "is cut", "copy it"), "labels/a.png: is cut (copy it)"),
        (ImageFileError(PATH, "can't be read", "copy it"), "images/a.png: can't be read (copy it)"),
        (ImageError("the image is None"), "images/a.png: the image is None"),
        (MemoryError(), "images/a.png: MemoryError"),
        (MemoryError("Unable to allocate 9 GB"), "images/a.png: Unable to allocate 9 GB"),
        (OSError("is a folder"), "images/a.png: is a folder"),
        (RuntimeError("Stack trace:\n  lines\nout of memory\n"), "images/a.png: out of memory"),
    ],
)
def test_a_failure_is_a_line_with_the_path(error, expected):
    assert isinstance(error, IMAGE_ERRORS)
    assert failure_of(PATH, error) == expected
