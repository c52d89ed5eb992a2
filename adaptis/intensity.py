"""From the pixels of any image, 8 to 64 bits and any range, to the 8-bit RGB a network sees.

One place for training and inference: which of the ways was taken is the entry ``intensity`` of a
weights file's description.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from adaptis.preprocessing import strips
from adaptis.progress import say

PERCENTILES = (1.0, 99.8)  # what becomes black and white, as CSBDeep and StarDist have it
HALF_A_STEP = 0.5 / 255  # floats so far beyond 0 and 1 are rounded to black and white anyway
LITTLE = 1 / 8  # of a range: in less all is nearly black, such as 12 bits in 16
READING = ("intensity", "class_agnostic", "crowds_are_objects")  # how own images are read

_said_dark = False


def to_rgb8(pixels: np.ndarray, intensity: str | list[float]) -> np.ndarray:
    """Scale an image's values to 0..255, all channels alike, and repeat grey.

    Parameters:
        pixels: (H, W) or (H, W, 1) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA,
            of any whole or floating-point type, or bool, which is 0 and 255. Alpha is dropped.
        intensity: "percentile", from the image's PERCENTILES; "full", 0 to the most that its type
            can have (1 of floats); or [low, high], the values that become 0 and 255.

    Returns (H, W, 3) uint8. An image of a single value is black by percentiles; where an image is
    nearly black because it uses little of its type's range or of the stated one, stderr says so
    once.

    Raises ValueError for another shape, type or intensity, for values that are no finite numbers,
    and with "full" for values below 0 and floats beyond 1.
    """
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "uif":
        raise ValueError(f"pixels are {pixels.dtype}; whole numbers or floats are needed")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or not pixels.size:
        raise ValueError(
            f"pixels of shape {pixels.shape}; (height, width) or (height, width, 1 to 4) is "
            "needed: save it as grey or RGB"
        )
    pixels = pixels[:, :, : {1: 1, 2: 1, 3: 3, 4: 3}[pixels.shape[2]]]
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(pixels))} values are no finite numbers: replace them, "
            "with numpy.nan_to_num for example"
        )
    low, high = _range(pixels, intensity)
    span = high - low or 1.0  # of a single value, which is low
    image = np.empty((*pixels.shape[:2], 3), np.uint8)
    for rows in strips(len(pixels)):  # all at once would take 8 bytes a value, thrice
        scaled = (pixels[rows].astype(np.float64) - low) / span * 255
        image[rows] = np.clip(np.rint(scaled), 0, 255)
    return image


def add_reading_options(parser, default: str | None = "percentile") -> None:
    """READING: ``add_intensity_option``, and what counts in COCO files."""
    add_intensity_option(parser, default)
    add = parser.add_argument
    add("--class-agnostic", action="store_true", help='of COCO files: one class, "object"')
    add(
        "--crowds-are-objects",
        action="store_true",
        help='of COCO files: those with "iscrowd": 1 are objects too, as CVAT exports masks',
    )


def add_intensity_option(parser, default: str | None = "percentile") -> None:
    """``--intensity`` of every command that reads own images; without a default it is missing from
    the Namespace where it isn't given, and as the weights say."""
    parser.add_argument(
        "--intensity",
        nargs="+",
        action=_Intensity,
        default=default or argparse.SUPPRESS,
        metavar="HOW",
        help="what becomes black and white: percentile (1 and 99.8 of each image), full (the whole "
        "range of the file's type), or two values LOW HIGH"
        + ("" if default else "; default: what the weights say"),
    )


class _Intensity(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        if values in (["percentile"], ["full"]):
            value = values[0]
        else:
            try:
                low, high = value = [float(v) for v in values]
            except ValueError:
                low = high = np.nan
            if not low < high or not np.isfinite([low, high]).all():
                raise argparse.ArgumentError(
                    self, f"{' '.join(values)}: give percentile, full, or two values LOW HIGH"
                )
        setattr(namespace, self.dest, value)


def _range(pixels: np.ndarray, intensity: str | list[float]) -> tuple[float, float]:
    """The values that become 0 and 255."""
    if not isinstance(intensity, str):
        low, high = intensity
        lowest, highest = pixels.min().item(), pixels.max().item()
        if lowest < highest < low + (high - low) * LITTLE:
            _say_dark(lowest, highest, f"{highest:.6g}", f"{low:.10g} {high:.10g}")
    elif intensity == "percentile":
        low, high = np.percentile(pixels, PERCENTILES)
        if low == high:  # nearly all pixels are background: what is bright would be lost
            low, high = pixels.min(), pixels.max()
    elif intensity == "full":
        low, high = _full_range(pixels)
    else:
        raise ValueError(
            f"intensity is {intensity!r}: percentile, full or [low, high] was expected"
        )
    return float(low), float(high)


def _full_range(pixels: np.ndarray) -> tuple[float, float]:
    """From 0 to the highest value that the type can have. Raises ValueError for values below 0, and
    for floats beyond 1."""
    lowest, highest = pixels.min().item(), pixels.max().item()
    if not np.issubdtype(pixels.dtype, np.integer):
        if lowest < -HALF_A_STEP or highest > 1 + HALF_A_STEP:
            raise ValueError(
                f"values from {lowest:.6g} to {highest:.6g}, and --intensity full takes floats "
                f"from 0 to 1: {_remedy(lowest, highest)}"
            )
        return 0, 1
    if lowest < 0:
        raise ValueError(
            f"values from {lowest} to {highest}, and --intensity full takes whole numbers from 0 "
            f"on: {_remedy(lowest, highest)}"
        )
    most = int(np.iinfo(pixels.dtype).max)
    if pixels.dtype.itemsize > 1 and highest < most * LITTLE and (lowest or highest):
        _say_dark(lowest, highest, f"{highest} of {pixels.dtype}'s {most}", "full")
    return 0, most


def _say_dark(lowest: float, highest: float, end: str, intensity: str) -> None:
    """Once in a process: such an image comes seldom alone.

    Parameters:
        end, intensity: the highest value and the option, in words.
    """
    global _said_dark
    if not _said_dark:
        say(
            f"an image's values end at {end}, so that --intensity {intensity} makes it nearly "
            f"black: {_remedy(lowest, highest)}"
        )
    _said_dark = True


def _remedy(lowest: float, highest: float) -> str:
    """What to give for an image of these values: they begin at 0, as a rule, and end where so many
    bits do."""
    if 2**7 <= highest < 2**63:
        highest = 2 ** math.ceil(highest).bit_length() - 1
    return f"give --intensity {min(lowest, 0):.10g} {highest:.10g}, or percentile"
