"""Segment own images: label maps, COCO JSON, overlays and tables of the objects found."""

from __future__ import annotations

from pathlib import Path

from adaptis.arguments import run_script
from adaptis.segmenting.options import FORMATS, parse_arguments


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(__doc__, arguments)

    from adaptis.segmenting.script import segment  # brings MXNet, for which --help needn't wait
    from datasets.plain_images import PlainImages

    results = [Path(args.output) / kind for kind in FORMATS]  # images may lie beside them
    segment(args, PlainImages(args.images, args.recursive, apart_from=results))


if __name__ == "__main__":
    run_script(main)
