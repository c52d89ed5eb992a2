"""Try a network in the browser: a page that shows the mask under the pointer."""

from __future__ import annotations

import argparse

from adaptis.arguments import HelpFormatter, run_script
from adaptis.inference.options import add_inference_options
from adaptis.intensity import add_intensity_option
from adaptis.values import COUNT, between

LEFT = "objects that were not exported are lost"
EXAMPLE = """example:
  python -m adaptis.demo --weights weights/toy.params images/

then open the address that it prints. Nothing is sent to another machine.
"""


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)

    from adaptis.demo.images import find_images
    from adaptis.demo.server import make_app, serve
    from adaptis.demo.workspace import Workspace
    from adaptis.inference.loading import load_predictor

    images = find_images(args.images)
    predictor = load_predictor(args)
    predictor.intensity = getattr(args, "intensity", predictor.intensity)
    serve(make_app(Workspace(predictor), images, args.max_pixels, args.host), args.host, args.port)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.demo",
        usage="%(prog)s --weights W [IMAGES] [options]",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGES", help="files or folders that the page offers to open")
    add("--weights", required=True, help="a .params or .onnx file")
    add("--ctx", default="cpu", help='"cpu", "cuda" or a GPU id; default: cpu')
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen at; default: 127.0.0.1, which this machine alone can reach. Others "
        "can use the page, without a password, at 0.0.0.0",
    )
    add("--port", type=between(1, 2**16 - 1), default=8000, help="to listen at; default: 8000")
    add(
        "--max-pixels",
        type=COUNT,
        default=2**22,  # 2048 x 2048: the features of a U-Net take about 1 GB
        metavar="N",
        help="largest image that is opened; default: 4194304, 2048 x 2048",
    )
    add_intensity_option(parser, default=None)
    add_inference_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_script(main, LEFT)
