"""Resident memory over a long run: training on the toy problem, then the segmentation of images of
ever-changing sizes. It must level off: the command fails where the second half of a run adds more
than a twentieth.

python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from easydict import EasyDict

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.progress import progress
from benchmarks.measure import memory_megabytes, report

WIDTH, CROP, BATCH, POINTS = 8, 48, 4, 4  # small: it's the number of iterations that counts
TRAINING_IMAGES = 64
SIZES = (64, 160)  # px, the smallest and the largest image segmented
MOST_GROWTH = 0.05  # of memory in the second half of a run
DENSITY = 8 / 64**2  # objects a pixel, about that of the toy images


class WatchedBatches:
    """Batches that note the memory in ``megabytes`` whenever one is asked for."""

    def __init__(self, batches, megabytes: list[float]):
        self._batches, self._megabytes = batches, megabytes
        self.per_epoch = batches.per_epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self):
        for batch in self._batches:
            self._megabytes.append(memory_megabytes("VmRSS"))
            yield batch


NORMALISATION = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # the toy problem's
OPTIMISATION = {  # the toy problem's; none of it changes what memory is taken
    "learning_rate": 5e-4,
    "backbone_factor": 1.0,
    "betas": (0.9, 0.999),
    "schedule": "constant",
    "drops": (),
    "warmup": 0,
    "seed": 0,
    "workers": 2,
    "amp": False,
    "ema": None,
}


def train(iterations: int, folder: Path) -> list[float]:
    """Megabytes before each iteration of the first stage, whole epochs, with a checkpoint each."""
    from adaptis.training.distributed import Workers  # isort: skip  before MXNet
    import mxnet as mx

    from adaptis.network.model import HE_NORMAL
    from adaptis.training.samples import EpochBatches, TrainingSamples
    from adaptis.training.sampling import sample_points
    from adaptis.training.stages import InstanceStage
    from adaptis.training.trainer import Trainer
    from adaptis.training.updates import GluonUpdates
    from datasets.toy import ToyAugmentation, ToyDataset
    from datasets.toy_generator import generate
    from models.build import build_network

    generate(folder / "data", train=TRAINING_IMAGES, test=0, seed=0)
    dataset = ToyDataset(folder / "data", "train", cache=True)
    network = build_network({"architecture": "toy", "width": WIDTH})
    network.initialize(HE_NORMAL)
    network.hybridize(static_alloc=True)
    samples = TrainingSamples(
        dataset,
        ToyAugmentation(CROP),
        partial(sample_points, num_points=POINTS),
        seed=0,
        **NORMALISATION,
        min_area=1,
    )
    epochs = -(-iterations * BATCH // TRAINING_IMAGES)  # rounded up
    megabytes: list[float] = []
    stage, workers = InstanceStage(network), Workers()
    config = EasyDict(OPTIMISATION, epochs=epochs)
    trainer = Trainer(
        network,
        stage,
        GluonUpdates(network, stage, config, [mx.cpu()], workers),
        samples,
        lambda start: WatchedBatches(
            EpochBatches(TRAINING_IMAGES, BATCH, epochs, 0, start), megabytes
        ),
        config,
        {},
        folder / "run",
        lambda is_stopped, is_last: ({"score": 0.0}, np.zeros((1, 1, 3), np.uint8), {}),
        workers,
    )
    trainer.fit()
    return megabytes[:iterations]


def segment(images: int, weights: Path) -> list[float]:
    """Megabytes after each image; before the first one it reads the network."""
    from adaptis.inference.predictor import AdaptISPredictor
    from datasets.toy import degrade, draw_degradation
    from datasets.toy_scenes import generate_scene

    predictor = AdaptISPredictor.load(weights)
    rng = np.random.default_rng(0)
    megabytes = []
    for _ in progress(range(images), desc="segment", unit="image"):
        height, width = rng.integers(*SIZES, endpoint=True, size=2)
        size = int(max(height, width))
        count = round(DENSITY * size**2)
        image, _ = generate_scene(rng, size, count, count)
        predictor.set_image(degrade(image[:height, :width], draw_degradation(rng), rng))
        predictor.segment()
        megabytes.append(memory_megabytes("VmRSS"))
    return megabytes


def levels_off(megabytes: list[float]) -> bool:
    """Whether the second half of a run adds no more than MOST_GROWTH."""
    return max(megabytes) <= (1 + MOST_GROWTH) * megabytes[len(megabytes) // 2]


def save_curves(path: Path, curves: dict[str, list[float]]) -> None:
    """A panel for each curve of megabytes, by what its horizontal axis counts."""
    from matplotlib.figure import Figure

    figure = Figure((10, 3.5), dpi=120, layout="constrained")
    for axes, (name, megabytes) in zip(figure.subplots(1, len(curves)), curves.items()):
        axes.plot(megabytes)
        axes.set(xlabel=name, ylabel="Resident memory, MB", ylim=(0, 1.1 * max(megabytes)))
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("--iterations", type=int, default=500, help="number of training steps, whole epochs of 16")
    add("--images", type=int, default=200, help="number of images to segment")
    add("--weights", type=Path, default=Path("weights/toy.params"), help="to segment with")
    add(
        "--output",
        type=Path,
        default=Path("outputs/benchmarks"),
        help="folder of the table, in JSON, and the picture",
    )
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(args.iterations, Path(folder))
    segmented = segment(args.images, args.weights)
    curves = {"Iterations of training": trained, "Images segmented": segmented}
    rows = []
    for name, megabytes in curves.items():
        count = len(megabytes)
        at = {"start": 0, "a tenth": count // 10, "half": count // 2, "end": count - 1}
        values = {f"{where}, MB": round(megabytes[index]) for where, index in at.items()}
        rows.append({"Resident memory": name, "of": count, **values})
    report("memory", rows, args.output)
    save_curves(args.output / "memory.png", curves)
    for name, megabytes in curves.items():
        if not levels_off(megabytes):
            raise SystemExit(f"error: {name}: memory still grows in the second half")


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
