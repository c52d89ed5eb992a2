"""Train AdaptIS on Mapillary Vistas (paper, Section 7)."""

from __future__ import annotations

from easydict import EasyDict

from adaptis.arguments import RESUME, positive, run_script
from adaptis.training.options import training_parser
from models.options import IMAGE_MEAN, IMAGE_STD, add_network_options, network_description

CONFIG = EasyDict(
    dataset="mapillary",
    backbone="resnext101_64x4d",  # Section 7; Table 3 has ResNet-50 and -101 too
    learning_rate=1e-4,  # Section 7
    backbone_learning_rate=5e-5,  # Section 7, of the pre-trained layers
    betas=(0.9, 0.999),  # Section 7
    epochs=65,  # Section 7
    schedule="step",
    drops=(50, 60),  # Section 7, x0.1 each
    proposal_epochs=10,  # Section 7 says so for Cityscapes
    proposal_learning_rate=5e-4,  # authors' code, like the next
    proposal_schedule="cosine",
    batch_size=8,  # Section 7
    points=6,  # an image, Section 7
    proposal_points=48,  # of one object, Section 7
    alpha=0.25,  # of the normalised focal loss, authors' code
    mean=IMAGE_MEAN,
    std=IMAGE_STD,
    min_area=80,  # pixels; smaller objects are ignored, authors' code
    crop=(400, 800),  # height and width in pixels, Section 7
    longest_side=(500, 2200),  # pixels, Section 7
    inference={
        "points": "proposals",  # Section 5
        "greedy": {"mask_threshold": 0.35, "max_overlap": 0.5},  # Sections 7 and 4
        "thing_threshold": 0.6,  # authors' code, of one class; the next two too
        "peak_threshold": 0.35,
        "proposal_blur": 5,
        "flip": True,  # Section 7
        "longest_side": 2000,  # pixels, Section 7
    },
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/mapillary")
    add_network_options(parser, CONFIG.backbone)
    add = parser.add_argument
    add("--crop", type=int, nargs=2, default=CONFIG.crop, help="height and width in pixels")
    add("--longest-side", type=int, nargs=2, default=CONFIG.longest_side, help="range in pixels")
    add(
        "--inference-side",
        type=positive,
        default=CONFIG.inference.longest_side,
        help="pixels to which images are scaled by the longest side at inference",
    )

    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from adaptis.evaluation.script import evaluate_briefly
    from adaptis.training.script import train
    from datasets.mapillary import MapillaryDataset
    from datasets.skip_broken import SkipBroken
    from datasets.transforms import mapillary_augmentation
    from models.authors import to_our_names
    from models.build import build_network

    inference = {**CONFIG.inference, "longest_side": args.inference_side}
    train_set = MapillaryDataset(args.data, "train")
    validation_set = MapillaryDataset(args.data, "val")
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
        mapillary_augmentation(tuple(args.crop), tuple(args.longest_side)),
    )
    if args.dry_run:
        evaluate_briefly(args, "mapillary", validation_set, best)


if __name__ == "__main__":
    run_script(main, RESUME)
