"""Opening image files, the one place for all of them: whole, of a bounded size, named when broken;
turning them; and making PNGs.

Pillow decodes rather than cv2 or mx.image: those return a truncated JPEG half grey and without a
word, Pillow raises. Decoding forgives a flipped bit in a PNG's last chunk, so every checksum of a
PNG is compared before. The size is read and bounded first: a small file can ask for all memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from adaptis.disk import check_regular
from adaptis.errors import AdaptISError
from adaptis.preprocessing import MAX_FILE_PIXELS, MAX_SIDE, strips

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, 179 megapixels: MAX_FILE_PIXELS stands for it
COPY_AGAIN = "copy or download it again"
CHANGES_NUMBERS = ", which changes the numbers of a label map"
SAVE_NUMBERS = "save it as PNG, or as TIFF without JPEG"
ORIENTATION = 0x0112  # EXIF's and TIFF's tag
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by its values; 1 is as stored
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


class ImageFileError(AdaptISError, ValueError):
    """A file that holds no image we can read: what is wrong, and what to do."""

    def __init__(self, path: Path | str, problem: str, remedy: str = COPY_AGAIN):
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{path}: {problem}" + (f" ({remedy})" if remedy else ""))


@contextmanager
def decoded(path: Path | str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """An image file of at most ``max_pixels``, by default MAX_FILE_PIXELS, decoded.

    Raises ImageFileError whatever is wrong with it, also with what is done with it in the context.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # importing GluonCV lets Pillow read broken files
    try:
        check_regular(Path(path))
        with Image.open(path) as image:
            check_size(path, image.height, image.width, max_pixels)
            image.verify()  # each checksum of a PNG and its end
        with Image.open(path) as image:
            image.load()
            yield image
    except (AdaptISError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on broken files
        raise ImageFileError(path, f"can't be read: {reason(error)}") from error


def check_size(path: Path | str, height: int, width: int, max_pixels: int | None = None) -> None:
    """Raise ImageFileError for a file of more than ``max_pixels``, by default MAX_FILE_PIXELS, or
    of too long a side."""
    max_pixels = max_pixels or MAX_FILE_PIXELS
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageFileError(
            path,
            f"is {height} x {width} (height x width), at most {max_pixels} pixels and {MAX_SIDE} "
            "on a side can be read",
            "scale it down or cut it",
        )


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


def orientation_of(image: Image.Image) -> int:
    """How an image is to be turned for display: 1 as stored, or a key of TURNED."""
    return image.getexif().get(ORIENTATION, 1)


def upright(
    pixels: np.ndarray,
    orientation: int,
    path: Path | str,
    label_size: tuple[int, int] | None,
    drawn_over_turned: bool = False,
) -> np.ndarray:
    """The image turned so that it fits its label.

    An orientation says that the stored pixels are to be turned for display, and a label can have
    been drawn over either. The label's size decides. Where both fit (a half turn, a square) it is
    the stored pixels, which is what the browsers COCO was annotated in showed, unless the label is
    of a tool that turns them. Without a label the image is turned, as every viewer does.

    Parameters:
        pixels: (H, W) or (H, W, channels), as stored.
        orientation: see :func:`orientation_of`; values that don't exist say nothing.
        path: of its file.
        label_size: (height, width) in pixels, if there is a label.
        drawn_over_turned: the label is of a tool that turns images, as all do since 2020.

    Raises ImageFileError where neither fits.
    """
    stored_size = pixels.shape[:2]
    if orientation in TURNED:
        turned = TURNED[orientation](pixels)  # a view
        stored_fits, turned_fits = (
            label_size is not None and array.shape[:2] == tuple(label_size)
            for array in (pixels, turned)
        )
        if not stored_fits or (drawn_over_turned and turned_fits):
            pixels = np.ascontiguousarray(turned)
    if label_size is not None and pixels.shape[:2] != tuple(label_size):
        raise ImageFileError(
            path,
            f"the image is {stored_size[0]} x {stored_size[1]} (height x width), "
            f"its label {label_size[0]} x {label_size[1]}",
            "replace the one that is wrong",
        )
    return pixels


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The stored pixels of those that a decoder has turned by their orientation."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return TURNED[inverse](pixels) if inverse in TURNED else pixels


def read_panoptic_png(path: Path | str) -> np.ndarray:
    """Read a PNG of segment ids R + 256 G + 65536 B (cocodataset.org, format-data).

    Returns (H, W) int32 ids of 24 bits, 0 = void.

    Raises ImageFileError where the file is missing, broken, too large or not an 8-bit RGB image.
    """
    with decoded(path) as image:
        if image.mode != "RGB":
            problem = f"is of Pillow's mode {image.mode}, a panoptic PNG is 8-bit RGB"
            raise ImageFileError(path, problem, "save id = R + 256 G + 65536 B, without alpha")
        colors = array_of(image)
    ids = colors[:, :, 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= colors[:, :, channel]
    return ids


def png_of(pixels: np.ndarray, compress_level: int = -1) -> bytes:
    """A PNG file.

    Parameters:
        pixels: (H, W) uint8, uint16 or bool, or (H, W, 3) uint8 RGB.
        compress_level: 0 to 9, the quickest to the smallest; -1 is zlib's default.
    """
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="PNG", compress_level=compress_level)
    return png.getvalue()
