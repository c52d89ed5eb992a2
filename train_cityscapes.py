"""Train AdaptIS on Cityscapes (paper, Section 7)."""

from __future__ import annotations

from easydict import EasyDict

from adaptis.arguments import RESUME, run_script
from adaptis.training.options import training_parser
from adaptis.values import ABOVE_ZERO, Range
from models.options import (
    SECTION_7,
    add_crop_option,
    add_network_options,
    network_description,
    section_7_inference,
)

CONFIG = EasyDict(
    SECTION_7,
    dataset="cityscapes",
    backbone="resnet50_v1s",  # Tables 2 and 7; resnet101_v1s and resnext101_64x4d too
    epochs=260,  # Section 7
    drops=(240, 255),  # Section 7, x0.1 each
    batch_size=8,  # Section 7
    points=6,  # an image, Section 7
    crop=(400, 800),  # height and width in pixels, Section 7
    scale=(0.2, 1.2),  # jitter, Section 7
    inference=section_7_inference(mask_threshold=0.4),  # Section 7
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/cityscapes")
    add_network_options(parser, CONFIG.backbone)
    add_crop_option(parser, CONFIG.crop)
    add = parser.add_argument
    add(
        "--scale",
        type=ABOVE_ZERO,
        nargs=2,
        action=Range,
        default=CONFIG.scale,
        help="range of factors by which images are scaled in training",
    )
    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from datasets.cityscapes import CityscapesDataset
    from datasets.transforms import cityscapes_augmentation
    from models.training import prepare_sets, train_network

    train_set, validation_set = prepare_sets(
        CityscapesDataset(args.data, "train"),
        CityscapesDataset(args.data, "val"),
        args.skip_broken,
    )
    train_network(
        args,
        CONFIG,
        network_description(args, len(train_set.classes)),
        train_set,
        validation_set,
        cityscapes_augmentation(tuple(args.crop), tuple(args.scale)),
    )


if __name__ == "__main__":
    run_script(main, RESUME)
