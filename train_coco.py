"""Train AdaptIS on COCO panoptic, or any data in its format (paper, Section 7)."""

from __future__ import annotations

from easydict import EasyDict

from adaptis.arguments import RESUME, positive, run_script
from adaptis.training.options import training_parser
from models.options import IMAGE_MEAN, IMAGE_STD, add_network_options, network_description

CONFIG = EasyDict(
    dataset="coco",
    backbone="resnext101_64x4d",  # Section 7; Table 5 has ResNet-50 and -101 too
    learning_rate=1e-4,  # Section 7
    backbone_learning_rate=5e-5,  # Section 7, of the pre-trained layers
    betas=(0.9, 0.999),  # Section 7
    epochs=20,  # Section 7
    schedule="step",
    drops=(15, 19),  # Section 7, x0.1 each
    proposal_epochs=10,  # Section 7 says so for Cityscapes
    proposal_learning_rate=5e-4,  # authors' code, like the next
    proposal_schedule="cosine",
    batch_size=16,  # Section 7
    points=8,  # an image, Section 7
    proposal_points=48,  # of one object, Section 7
    alpha=0.25,  # of the normalised focal loss, authors' code
    mean=IMAGE_MEAN,
    std=IMAGE_STD,
    min_area=80,  # pixels; smaller objects are ignored, authors' code
    crop=(544, 544),  # height and width in pixels, Section 7
    shortest_side=(350, 700),  # pixels, Section 7
    inference={
        "points": "proposals",  # Section 5
        "greedy": {"mask_threshold": 0.35, "max_overlap": 0.5},  # Sections 7 and 4
        "thing_threshold": 0.6,  # authors' code, of one class; the next two too
        "peak_threshold": 0.35,
        "proposal_blur": 5,
        "flip": True,  # Section 7
        "shortest_side": 600,  # pixels, Section 7
    },
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/coco")
    add_network_options(parser, CONFIG.backbone)
    add = parser.add_argument
    add("--crop", type=int, nargs=2, default=CONFIG.crop, help="height and width in pixels")
    add("--shortest-side", type=int, nargs=2, default=CONFIG.shortest_side, help="range in pixels")
    add(
        "--inference-side",
        type=positive,
        default=CONFIG.inference.shortest_side,
        help="pixels to which images are scaled by the shortest side at inference",
    )
    add("--train-split", default="train2017", help="folder, and panoptic_NAME in annotations/")
    add("--val-split", default="val2017")
    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from adaptis.evaluation.script import evaluate_briefly
    from adaptis.training.script import train
    from datasets.coco import COCOPanopticDataset
    from datasets.skip_broken import SkipBroken
    from datasets.transforms import coco_augmentation
    from models.authors import to_our_names
    from models.build import build_network

    inference = {**CONFIG.inference, "shortest_side": args.inference_side}
    train_set = COCOPanopticDataset.from_root(args.data, args.train_split)
    validation_set = COCOPanopticDataset.from_root(args.data, args.val_split)
    if args.skip_broken:
        train_set, validation_set = SkipBroken(train_set), SkipBroken(validation_set)
    best = train(
        args,
        EasyDict(CONFIG, inference=inference),
        network_description(args, len(train_set.classes)),
        build_network,
        to_our_names,
        train_set,
        validation_set,
        coco_augmentation(tuple(args.crop), tuple(args.shortest_side)),
    )
    if args.dry_run:
        evaluate_briefly(args, "coco", validation_set, best)


if __name__ == "__main__":
    run_script(main, RESUME)
