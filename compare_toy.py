"""Train GluonCV's Mask R-CNN on the toy problem by the paper's protocol (Section 6) and compare it
with AdaptIS on the same test images: Table 1, Figure 3, and recall by the overlap of boxes."""

from __future__ import annotations

from adaptis.arguments import RESUME, run_script
from adaptis.disk import errors_named, sole_user
from models.mask_rcnn.options import parse_arguments


def main(arguments: list[str] | None = None) -> dict:
    args = parse_arguments(__doc__, arguments)

    from models.mask_rcnn.comparison import compare  # brings MXNet, for which --help needn't wait

    with errors_named(args.output), sole_user(args.output):
        return compare(args)


if __name__ == "__main__":
    run_script(main, RESUME)
