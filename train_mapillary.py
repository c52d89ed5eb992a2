"""Train AdaptIS on Mapillary Vistas (paper, Section 7)."""

from __future__ import annotations

from easydict import EasyDict

from adaptis.arguments import RESUME, run_script
from adaptis.training.options import training_parser
from adaptis.values import COUNT, Range
from models.options import (
    SECTION_7,
    add_crop_option,
    add_network_options,
    network_description,
    section_7_inference,
)

CONFIG = EasyDict(
    SECTION_7,
    dataset="mapillary",
    backbone="resnext101_64x4d",  # Section 7; Table 3 has ResNet-50 and -101 too
    epochs=65,  # Section 7
    drops=(50, 60),  # Section 7, x0.1 each
    batch_size=8,  # Section 7
    points=6,  # an image, Section 7
    crop=(400, 800),  # height and width in pixels, Section 7
    longest_side=(500, 2200),  # pixels, Section 7
    inference=section_7_inference(mask_threshold=0.35, longest_side=2000),  # Section 7; pixels
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/mapillary")
    add_network_options(parser, CONFIG.backbone)
    add_crop_option(parser, CONFIG.crop)
    add = parser.add_argument
    add(
        "--longest-side",
        type=COUNT,
        nargs=2,
        action=Range,
        default=CONFIG.longest_side,
        help="range of pixels to which images are scaled by the longest side in training",
    )
    add(
        "--inference-side",
        type=COUNT,
        default=CONFIG.inference.longest_side,
        help="pixels to which images are scaled by the longest side at inference",
    )
    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from datasets.mapillary import MapillaryDataset
    from datasets.transforms import mapillary_augmentation
    from models.training import prepare_sets, train_network

    inference = {**CONFIG.inference, "longest_side": args.inference_side}
    train_set, validation_set = prepare_sets(
        MapillaryDataset(args.data, "train"),
        MapillaryDataset(args.data, "val"),
        args.skip_broken,
    )
    train_network(
        args,
        EasyDict(CONFIG, inference=inference),
        network_description(args, len(train_set.classes)),
        train_set,
        validation_set,
        mapillary_augmentation(tuple(args.crop), tuple(args.longest_side)),
    )


if __name__ == "__main__":
    run_script(main, RESUME)
