"""Opening image files, the one place for all of them: whole, of a bounded size, named when broken.

Pillow decodes rather than cv2 or mx.image: those return a truncated JPEG half grey and without a
word, Pillow raises. Decoding forgives a flipped bit in a PNG's last chunk, so every checksum of a
PNG is compared before. The size is read and bounded first: a small file can ask for all memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from adaptis.disk import check_regular
from adaptis.errors import AdaptISError
from adaptis.preprocessing import MAX_PIXELS, MAX_SIDE, strips

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, of 179 megapixels: MAX_PIXELS stands for it
SINGLE_CHANNEL_MODES = ("L", "I", "I;16", "I;16B", "F")  # of Pillow, whose values are the file's
COPY_AGAIN = "copy or download it again"


class ImageFileError(AdaptISError, ValueError):
    """A file that holds no image we can read: what is wrong, and what to do."""

    def __init__(self, path: Path | str, problem: str, remedy: str = COPY_AGAIN):
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{path}: {problem} ({remedy})")


@contextmanager
def decoded(path: Path | str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """An image file of at most ``max_pixels``, by default MAX_PIXELS, decoded.

    Raises ImageFileError whatever is wrong with it, also with what is done with it in the context.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # importing GluonCV lets Pillow read broken files
    try:
        check_regular(Path(path))
        with Image.open(path) as image:
            _check_size(path, image, max_pixels or MAX_PIXELS)
            image.verify()  # each checksum of a PNG and its end
        with Image.open(path) as image:
            image.load()
            yield image
    except (AdaptISError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on broken files
        raise ImageFileError(path, f"can't be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What went wrong with a file, without its path, which the message has already."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def bits_per_channel(image: Image.Image, path: Path | str) -> int:
    """Of a PNG or TIFF file as stored: Pillow gives colours of 16 bits as 8 without a word."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24]  # of the header, behind 16 bytes of signature and chunk
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(258, (8,)))  # BitsPerSample
    return 8


def array_of(image: Image.Image, mode: str | None = None) -> np.ndarray:
    """The pixels (H, W) or (H, W, channels), copied by and by: at once it would take their memory
    thrice.

    Parameters:
        mode: of Pillow, such as "RGB", in place of the image's own.
    """

    def values(left: int, top: int, right: int, bottom: int) -> np.ndarray:
        part = image.crop((left, top, right, bottom))
        return np.asarray(part.convert(mode) if mode else part)

    pixel = values(0, 0, 1, 1)
    array = np.empty((image.height, image.width, *pixel.shape[2:]), pixel.dtype)
    for rows in strips(image.height):
        array[rows] = values(0, rows.start, image.width, rows.stop)
    return array


def stored_values(image: Image.Image, path: Path | str, deep: bool) -> np.ndarray:
    """The values of a decoded image as its file stores them; palettes and CMYK become RGB.

    Parameters:
        image: of ``decoded``, upright perhaps.
        path: of its file.
        deep: it has colours or alpha of 16 bits, of which Pillow keeps 8.

    Returns (H, W) grey, or (H, W, 2 to 4) with alpha or colours, of the file's type.

    Raises ImageFileError.
    """
    if not deep:
        if image.mode in (*SINGLE_CHANNEL_MODES, "LA", "RGB", "RGBA"):
            return array_of(image)
        return array_of(image, "L" if image.mode == "1" else "RGB")
    import cv2  # --help of what reads files needn't wait for it

    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageFileError(path, "can't be read", "save it uncompressed")
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def ids_of_rgb(colors: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a panoptic PNG -> (H, W) int32 ids R + 256 G + 65536 B (cocodataset.org,
    format-data)."""
    ids = colors[:, :, 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= colors[:, :, channel]
    return ids


def _check_size(path: Path | str, image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageFileError(
            path,
            f"is {height} x {width} (height x width), at most {max_pixels} pixels and {MAX_SIDE} "
            "on a side can be read",
            "scale it down or cut it",
        )
