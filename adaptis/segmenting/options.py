"""The options of segmenting own images. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse

from adaptis.arguments import HelpFormatter
from adaptis.inference.options import add_inference_options
from adaptis.intensity import add_intensity_option
from adaptis.workers import add_worker_options

FORMATS = ("labels", "json", "overlay", "csv")
EXAMPLE = """example:
  python segment.py images/ --weights weights/toy.params --output outputs/images

writes, for images/NAME.tif,
  outputs/images/labels/NAME.png   16 bits a pixel: 0 background, 1, 2, ... the objects, best first
  outputs/images/json/NAME.json    COCO results: compressed RLE, box, score, category
  outputs/images/overlay/NAME.png  the objects in colours over the image
  outputs/images/csv/NAME.csv      an object a line: id, area, box, centroid, confidence

The same command goes on where it was stopped. Exit status 1 if an image could not be segmented.
"""


def parse_arguments(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """The options; of ``--points`` a file of clicks becomes ``clicks``, else None."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s IMAGE|FOLDER... --weights W --output DIR [options]",
        description=description,
        epilog=EXAMPLE,
        formatter_class=HelpFormatter,
        conflict_handler="resolve",  # --points means more here
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGE|FOLDER", help="PNG, TIFF or JPEG of any depth")
    add("--weights", required=True, help="a .params or .onnx file")
    add("--output", required=True, metavar="DIR", help="folder of the results")
    add("--recursive", action="store_true", help="the folders below the given ones too")
    add(
        "--formats",
        nargs="+",
        choices=FORMATS,
        default=FORMATS,
        metavar="FORMAT",
        help=f"of {', '.join(FORMATS)}; default: all",
    )
    add_intensity_option(parser, default=None)
    add_worker_options(parser)
    add_inference_options(parser)
    add(
        "--points",
        metavar="FILE|proposals|random",
        help="a CSV file with the columns image (its file name), x and y, in pixels: one object a "
        "line, with ids in their order, and only images that it names. Their masks may overlap; in "
        "the label map the more confident one has the pixel. Or where the points come from "
        "otherwise (default: what the weights say)",
    )
    args = parser.parse_args(arguments)
    args.clicks = None if args.points in ("proposals", "random", None) else args.points
    if args.points is None or args.clicks:
        del args.points  # the settings' own stays
    return args
