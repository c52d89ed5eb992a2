"""Training of Mask R-CNN with GluonCV's transform, targets and losses; resumable like our own."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import mxnet as mx
import numpy as np
from gluoncv.data.batchify import MaskRCNNTrainBatchify
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultTrainTransform
from gluoncv.model_zoo.rcnn.mask_rcnn.data_parallel import ForwardBackwardTask
from mxnet import gluon

from adaptis.differences import differences
from adaptis.progress import progress
from adaptis.training.checkpoints import TrainingError
from adaptis.training.samples import EpochBatches
from adaptis.training.schedule import learning_rate_factor
from adaptis.training.stop_signals import StopSignals
from adaptis.training.trainer import CHECKPOINT_SECONDS
from adaptis.weights import (
    PARAMETER,
    join_groups,
    load_arrays,
    parameters_of,
    save_arrays,
    set_parameters,
    split_groups,
    structural_names,
)
from datasets.base import DataError, Sample
from datasets.toy import ToyAugmentation
from models.mask_rcnn.detector import UNLIMITED
from models.mask_rcnn.options import LEARNING_RATE

DROPS = (35 / 55, 45 / 55)  # Section 6; shares of the epochs; x0.1 at each
BATCH_SIZE = 1  # GluonCV scales .00125 with the images of a batch, so .001 means one
MOMENTUM = 0.9  # GluonCV's, and of the papers
WEIGHT_DECAY = 1e-4  # likewise
WARMUP_ITERATIONS = 500  # of a rate growing from 0; GluonCV's 1000 start at a third
RPN_BOX_RHO = 1 / 9  # where the smooth L1 loss turns linear, GluonCV's like the next
REGION_BOX_RHO = 1.0
LOSSES = ("rpn", "rpn_box", "class", "box", "mask")  # in the order of GluonCV's task
MOMENTA = "momentum"  # a group of a checkpoint's arrays, as PARAMETER
SMOOTHING = 0.98  # of the losses shown: they vary from image to image


class MaskRCNNSamples:
    """What the network is trained on, by (epoch, index): blurred, noisy and flipped like AdaptIS's
    samples, then GluonCV's transform: enlarged, flipped once more, with targets of the anchors.

    Parameters:
        dataset: a ToyDataset.
        network: see ``models.mask_rcnn.network.build_mask_rcnn``.
        short_side: px.
        seed: of everything random.
    """

    def __init__(self, dataset, network, short_side: int, seed: int):
        self._dataset, self._seed = dataset, seed
        self._augmentation = ToyAugmentation()
        self._transform = MaskRCNNDefaultTrainTransform(
            short_side,
            UNLIMITED,
            network,
            ashape=network.ashape,
            multi_stage=network.num_stages > 1,
        )

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        """Returns what GluonCV's ``MaskRCNNTrainBatchify`` takes.

        Raises DataError for an image without objects, on which GluonCV's targets fail.
        """
        epoch, index = key
        rng = np.random.default_rng((self._seed, epoch, index))
        sample = self._augmentation(self._dataset[index], rng)
        if not sample.instances:
            raise DataError(sample.name, "has no objects", "remove it: Mask R-CNN needs one")
        boxes, polygons = boxes_and_polygons(sample)
        np.random.seed(rng.integers(1 << 32))  # noqa: NPY002  what GluonCV draws from
        return self._transform(mx.nd.array(sample.image, dtype="uint8"), boxes, polygons)


def boxes_and_polygons(sample: Sample) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """A sample's objects in GluonCV's form.

    Returns boxes (N, 5) float32 (x1, y1, x2, y2, class 0) and of each object its polygons, (4, 2)
    float32 (x, y); both by the corners of pixels, so that they can be scaled. A run of pixels in a
    row is a polygon: these fill the object exactly, whatever its holes and pieces.
    """
    boxes, polygons = [], []
    for instance in sample.instances:
        edges = np.diff(np.pad(sample.instance_map == instance, ((0, 0), (1, 1))).astype(np.int8))
        y, x1 = np.nonzero(edges > 0)
        _, x2 = np.nonzero(edges < 0)
        boxes.append((x1.min(), y.min(), x2.max(), y.max() + 1, 0))
        corners = np.stack([x1, y, x2, y, x2, y + 1, x1, y + 1], axis=1)
        polygons.append(list(corners.reshape(-1, 4, 2).astype(np.float32)))
    return np.array(boxes, np.float32), polygons


class MaskRCNNTrainer:
    """Trains the network on a part of a data set.

    Parameters:
        network: see ``models.mask_rcnn.network.build_mask_rcnn``.
        samples: MaskRCNNSamples.
        path: of the checkpoint, whose last state are the weights.
        description: JSON-able; what must agree on resuming, with training: images, epochs,
            learning_rate, seed.
        context: the device of the network.
    """

    def __init__(
        self, network, samples: MaskRCNNSamples, path: Path, description: dict, context: mx.Context
    ):
        self._network, self._samples, self._path = network, samples, path
        self._description, self._context = description, context
        self._iteration = 0  # batches done
        self._signals = StopSignals()
        self._recent: dict[str, float] = {}  # running means for the progress bar
        network.collect_params().setattr("grad_req", "null")  # GluonCV's way to freeze
        for parameter in network.collect_train_params().values():
            if not isinstance(parameter, gluon.Constant) and "running" not in parameter.name:
                parameter.grad_req = "write"
        network.hybridize(static_alloc=True)
        self._trainer = gluon.Trainer(
            network.collect_train_params(),
            "sgd",
            {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "wd": WEIGHT_DECAY},
            update_on_kvstore=False,
        )
        self._batchify = MaskRCNNTrainBatchify(network)
        self._task = ForwardBackwardTask(
            network,
            self._trainer,
            rpn_cls_loss=gluon.loss.SigmoidBCELoss(from_sigmoid=False),
            rpn_box_loss=gluon.loss.HuberLoss(rho=RPN_BOX_RHO),
            rcnn_cls_loss=gluon.loss.SoftmaxCELoss(),
            rcnn_box_loss=gluon.loss.HuberLoss(rho=REGION_BOX_RHO),
            rcnn_mask_loss=gluon.loss.SigmoidBCELoss(from_sigmoid=False),
            amp_enabled=False,
        )

    def fit(self) -> None:
        """Train to the last epoch, saving as it goes.

        Raises TrainingError on a non-finite loss or a signal, DataError on broken data.
        """
        if not self._iteration and self._path.exists():
            raise TrainingError(
                f"{self._path}: is of an earlier run; go on with it by --resume, or choose "
                "another --output"
            )
        training = self._description["training"]
        batches = EpochBatches(
            training["images"], BATCH_SIZE, training["epochs"], training["seed"], self._iteration
        )
        shown = progress(
            desc="Mask R-CNN", total=self._iteration + len(batches), initial=self._iteration
        )
        saved = time.monotonic()
        with self._signals, closing(shown):
            for keys in batches:
                self._show(shown, self._step(keys, self._iteration / batches.per_epoch))
                self._iteration += 1
                if self._signals.noted or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if self._signals.noted:
                    raise TrainingError(
                        f"stopped by {self._signals.noted.name} after iteration {self._iteration}; "
                        "go on with the same command and --resume"
                    )
        if len(batches):
            self.save()

    def save(self) -> None:
        """Write a checkpoint of everything in place of the one before."""
        names = structural_names(self._network)
        momenta = {
            names[self._trainer._params[index].name]: momentum.as_in_context(mx.cpu())
            for index, momentum in self._trainer._updaters[0].states.items()
        }
        arrays = join_groups({PARAMETER: parameters_of(self._network), MOMENTA: momenta})
        state = {"iteration": self._iteration}
        save_arrays(self._path, arrays, {**self._description, "state": state})

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises CheckpointError where it is missing or damaged, TrainingError where it was made
        with other settings.
        """
        arrays, theirs = load_arrays(self._path)
        state = theirs.pop("state", {"iteration": 0})
        if differing := differences(self._description, theirs):
            raise TrainingError(f"{self._path}: was made with other settings: {differing}")
        groups = split_groups(arrays)
        set_parameters(self._network, groups.get(PARAMETER, {}), self._path)
        momenta, names = groups.get(MOMENTA, {}), structural_names(self._network)
        updater = self._trainer._updaters[0]
        for index, parameter in enumerate(self._trainer._params):
            momentum = momenta.get(names[parameter.name])
            if momentum is not None:
                updater.states[index] = momentum.as_in_context(self._context)
                updater.states_synced[index] = True
        self._iteration = state["iteration"]

    def _step(self, keys: list[tuple[int, int]], epoch: float) -> dict[str, float]:
        """One update of the parameters. ``epoch``: progress, with fraction. Returns the losses."""
        training = self._description["training"]
        epochs = training["epochs"]
        factor = learning_rate_factor(
            "step",
            epoch,
            epochs,
            [share * epochs for share in DROPS],
            WARMUP_ITERATIONS * BATCH_SIZE / training["images"],
        )
        self._trainer.set_learning_rate(training["learning_rate"] * factor)
        mx.random.seed(hash((training["seed"], self._iteration)) % 2**31)  # sampled regions
        *arrays, scores, boxes, box_masks = self._batchify([self._samples[key] for key in keys])
        arrays += [*scores, *boxes, *box_masks]  # of one shard
        batch = [array.as_in_context(self._context) for array in arrays]
        losses = self._task.forward_backward(batch)[: len(LOSSES)]
        losses = {name: float(loss.asscalar()) for name, loss in zip(LOSSES, losses)}
        if not np.isfinite(sum(losses.values())):
            raise TrainingError(
                f"the loss isn't finite at iteration {self._iteration} (learning rate "
                f"{self._trainer.learning_rate:g}, {losses}, samples {keys}); the last checkpoint "
                "is kept: start anew with a lower --learning-rate"
            )
        self._trainer.step(len(keys))
        return losses

    def _show(self, shown, losses: dict[str, float]) -> None:
        self._recent = {
            k: SMOOTHING * self._recent.get(k, v) + (1 - SMOOTHING) * v for k, v in losses.items()
        }
        shown.set_postfix({k: f"{v:.3f}" for k, v in self._recent.items()})
        shown.update()
