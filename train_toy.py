"""Train AdaptIS on the toy problem (paper, Section 6)."""

from __future__ import annotations

from easydict import EasyDict

from adaptis.arguments import RESUME, run_script
from adaptis.training.options import training_parser
from adaptis.values import COUNT, PROBABILITY
from models.options import add_width_option, toy_network_description

CONFIG = EasyDict(
    dataset="toy",
    learning_rate=5e-4,  # Section 6
    betas=(0.9, 0.999),  # Section 6
    epochs=140,  # Section 6; from scratch
    schedule="constant",  # Section 6 names no drops
    drops=(105, 133),  # for --schedule step: the shares of the epochs at which Section 7 drops
    proposal_epochs=10,  # Section 7; Section 6 gives none for the toy problem
    proposal_learning_rate=5e-4,  # authors' code, like the next
    proposal_schedule="cosine",
    batch_size=8,  # the paper gives none
    points=12,  # an image; the paper gives none for the toy problem
    proposal_points=48,  # of one object, Section 7
    alpha=0.5,  # of the normalised focal loss, authors' code
    width=32,  # authors' code
    mean=(0.5, 0.5, 0.5),  # authors' code
    std=(0.5, 0.5, 0.5),
    min_area=30,  # pixels: the generator's smallest; only a crop leaves smaller parts
    inference={
        "points": "random",  # Section 6
        "greedy": {
            "mask_threshold": 0.5,  # best of .4 (the authors'), .45 and .5 on images of seed 1000
            "max_overlap": 0.5,  # Section 4
            "min_area": 25,  # the generator leaves no object under 30 visible pixels
        },
        "thing_threshold": 0.5,  # more object than background; authors' .3 scores less
        "peak_threshold": 0.1,  # until the proposal stage chooses it; authors' code, like the next
        "proposal_blur": 2,
    },
)


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(__doc__, CONFIG, data="data/toy")
    parser.add_argument("--crop", type=COUNT, help="train on random windows of N x N pixels")
    parser.add_argument(
        "--jpeg",
        type=PROBABILITY,
        default=0.0,
        metavar="P",
        help="probability of compressing a training image as JPEG, for images that are",
    )
    add_width_option(parser, CONFIG.width)
    args = parser.parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from datasets.toy import ToyAugmentation, ToyDataset
    from models.training import prepare_sets, train_network

    train_set, validation_set = prepare_sets(
        ToyDataset(args.data, "train", cache=True),
        ToyDataset(args.data, "test"),
        args.skip_broken,
    )
    train_network(
        args,
        CONFIG,
        toy_network_description(args),
        train_set,
        validation_set,
        ToyAugmentation(args.crop, args.jpeg),
    )


if __name__ == "__main__":
    run_script(main, RESUME)
