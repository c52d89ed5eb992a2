"""Train AdaptIS on COCO panoptic, or any data in its format (paper, Section 7)."""

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
    dataset="coco",
    backbone="resnext101_64x4d",  # Section 7; Table 5 has ResNet-50 and -101 too
    epochs=20,  # Section 7
    drops=(15, 19),  # Section 7, x0.1 each
    batch_size=16,  # Section 7
    points=8,  # an image, Section 7
    crop=(544, 544),  # height and width in pixels, Section 7
    shortest_side=(350, 700),  # pixels, Section 7
    inference=section_7_inference(mask_threshold=0.35, shortest_side=600),  # Section 7; pixels
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/coco")
    add_network_options(parser, CONFIG.backbone)
    add_crop_option(parser, CONFIG.crop)
    add = parser.add_argument
    add(
        "--shortest-side",
        type=COUNT,
        nargs=2,
        action=Range,
        default=CONFIG.shortest_side,
        help="range of pixels to which images are scaled by the shortest side in training",
    )
    add(
        "--inference-side",
        type=COUNT,
        default=CONFIG.inference.shortest_side,
        help="pixels to which images are scaled by the shortest side at inference",
    )
    add(
        "--train-split",
        default="train2017",
        help="folder of the training images, and panoptic_NAME in annotations/",
    )
    add("--val-split", default="val2017", help="the same of the images for validation")
    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from datasets.coco import COCOPanopticDataset
    from datasets.transforms import coco_augmentation
    from models.training import prepare_sets, train_network

    inference = {**CONFIG.inference, "shortest_side": args.inference_side}
    train_set, validation_set = prepare_sets(
        COCOPanopticDataset.from_root(args.data, args.train_split),
        COCOPanopticDataset.from_root(args.data, args.val_split),
        args.skip_broken,
    )
    train_network(
        args,
        EasyDict(CONFIG, inference=inference),
        network_description(args, len(train_set.classes)),
        train_set,
        validation_set,
        coco_augmentation(tuple(args.crop), tuple(args.shortest_side)),
    )


if __name__ == "__main__":
    run_script(main, RESUME)
