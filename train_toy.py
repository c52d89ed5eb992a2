"""Train AdaptIS on the toy problem (paper, Section 6)."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import adaptis  # noqa: F401  isort: skip
import mxnet as mx
from easydict import EasyDict

from adaptis import checkpoint
from adaptis.sampling import sample_object_points, sample_points
from adaptis.stages import INSTANCE_LOSSES, InstanceStage, ProposalStage
from adaptis.trainer import Trainer, TrainingError
from adaptis.validation import validation_iou
from datasets.base import DataError
from datasets.toy import ToyAugmentation, ToyDataset
from datasets.training import EpochBatches, TrainingSamples
from models.authors import is_authors, our_name
from models.build import build_network

CONFIG = EasyDict(
    learning_rate=5e-4,  # Section 6
    betas=(0.9, 0.999),  # Section 6
    epochs=140,  # Section 6; from scratch
    proposal_epochs=10,  # Section 7; Section 6 gives none for the toy problem
    batch_size=8,  # the paper gives none
    points=12,  # an image; the paper gives none for the toy problem
    proposal_points=48,  # of one object, Section 7
    width=32,  # authors' code
    mean=(0.5, 0.5, 0.5),  # authors' code
    std=(0.5, 0.5, 0.5),
    min_area=30,  # the generator's smallest; only a crop leaves smaller parts
    drops=(0.75, 0.95),  # of all epochs, for --schedule step: about those of Section 7
    inference={  # authors' toy settings
        "points": "proposals",
        "greedy": {"mask_threshold": 0.4, "max_overlap": 0.5},
        "thing_threshold": 0.3,
        "peak_threshold": 0.1,
        "proposal_blur": 2,
    },
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="data/toy", help="folder made by datasets.toy_generator")
    add("--output", default="runs/toy", help="checkpoints, TensorBoard logs, pictures")
    add("--stage", choices=("instances", "proposals"), default="instances")
    add("--weights", help="start from these; the proposals stage needs them")
    add("--resume", action="store_true", help="go on from the newest checkpoint of --output")
    add("--epochs", type=int, help=f"default: {CONFIG.epochs}, proposals {CONFIG.proposal_epochs}")
    add("--images", type=int, help="use only the first N training images")
    add("--batch-size", type=int, default=CONFIG.batch_size)
    add("--points", type=int, default=CONFIG.points, help="points an image, instances stage")
    add("--crop", type=int, help="train on random windows of N x N pixels")
    add("--width", type=int, default=CONFIG.width, help="channels of the U-Net's first level")
    add("--learning-rate", type=float, default=CONFIG.learning_rate)
    add("--schedule", choices=("constant", "step", "cosine"), default="constant")
    add("--warmup", type=float, default=0.0, help="epochs of growing learning rate")
    add("--loss", choices=tuple(INSTANCE_LOSSES), default="nfl", help="Table 7's losses")
    add("--no-coord-conv", action="store_true", help="without Relative CoordConv (Table 7)")
    add("--distance-map", action="store_true", help="the authors' third coordinate map")
    add("--workers", type=int, default=1, help="loader processes, 0 for none")
    add("--seed", type=int, default=0)
    add("--ctx", default="cpu", help='"cpu" or GPU ids such as "0" or "0,1"')
    args = parser.parse_args(arguments)
    if args.stage == "proposals" and not args.weights:
        parser.error("--stage proposals needs --weights, such as best.params of the first stage")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    instances = args.stage == "instances"
    config = EasyDict(
        CONFIG,
        epochs=args.epochs or (CONFIG.epochs if instances else CONFIG.proposal_epochs),
        learning_rate=args.learning_rate,
        backbone_learning_rate=args.learning_rate,
        schedule=args.schedule,
        warmup=args.warmup,
        seed=args.seed,
        workers=args.workers,
    )
    config.drops = tuple(share * config.epochs for share in CONFIG.drops)
    network_description = {
        "architecture": "toy",
        "width": args.width,
        "coord_conv": not args.no_coord_conv,
        "distance_map": args.distance_map,
    }
    contexts = [mx.cpu()] if args.ctx == "cpu" else [mx.gpu(int(i)) for i in args.ctx.split(",")]
    mx.random.seed(args.seed)
    network = build_network(network_description)
    network.initialize(mx.init.Xavier(rnd_type="gaussian", magnitude=2), ctx=contexts)
    network.hybridize(static_alloc=True)
    if args.weights:
        arrays, _ = checkpoint.load_arrays(args.weights)
        if is_authors(arrays):
            arrays = {our_name(name): array for name, array in arrays.items()}
        checkpoint.set_parameters(network, arrays, args.weights)

    train_set = ToyDataset(args.data, "train", cache=True)
    test_set = ToyDataset(args.data, "test")
    if instances:
        stage = InstanceStage(network, args.loss)
        draw_points = partial(sample_points, num_points=args.points)
    else:
        stage = ProposalStage(network)
        draw_points = partial(sample_object_points, num_points=CONFIG.proposal_points)
    samples = TrainingSamples(
        train_set,
        ToyAugmentation(args.crop),
        draw_points,
        args.seed,
        config.mean,
        config.std,
        config.min_area,
    )
    num_images = min(args.images or len(train_set), len(train_set))
    trainer = Trainer(
        network,
        stage,
        samples,
        lambda start: EpochBatches(num_images, args.batch_size, config.epochs, args.seed, start),
        config,
        {
            "network": network_description,
            "mean": config.mean,
            "std": config.std,
            "dataset": "toy",
            "classes": [c._asdict() for c in test_set.classes],
            "inference": CONFIG.inference,
            "stage": stage.name,
            "training": {**vars(args), "resume": False},
        },
        Path(args.output) / args.stage,
        contexts,
        lambda: validation_iou(network, test_set, config, contexts[0]),
    )
    if args.resume:
        trainer.resume()
    trainer.fit()


if __name__ == "__main__":
    try:
        main()
    except (TrainingError, DataError, checkpoint.CheckpointError) as error:
        sys.exit(f"error: {error}")
