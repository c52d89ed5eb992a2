"""Predicting a data set's images into a folder of predictions, by one process or several."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from adaptis.errors import ResultsError
from adaptis.evaluation.results import PredictionFolder
from adaptis.inference.each_image import IMAGE_ERRORS, Outcome, failure_of, segment_each
from adaptis.inference.loading import load_again
from adaptis.inference.predictor import AdaptISPredictor, OnStep
from adaptis.inference.tiles import segment_panoptic
from adaptis.workers import worker_devices

SHOWN_FAILURES = 5  # of images, in an error message


def predict(
    args: argparse.Namespace,
    predictor: AdaptISPredictor,
    dataset,
    indices: Sequence[int],
    folder: PredictionFolder,
) -> float:
    """Predict what is missing; returns the mean seconds of an image in its process, NaN if nothing
    was missing.

    Parameters:
        args: of ``test_panoptic.py``; how many processes, on which devices.
        predictor: of this process, which predicts if there is no other.

    Raises ResultsError with the images that can't be segmented, once the others are; WorkerError.
    """
    makers = [
        partial(_predicting, args, device, predictor.weights_sha256, dataset, folder)
        for device in worker_devices(args, len(indices))
    ]
    work = partial(predict_image, predictor, dataset, folder)
    seconds, failures = segment_each(work, makers, indices, dataset.image_path)
    if failures:
        raise ResultsError(
            f"{len(failures)} of {len(indices)} images can't be segmented, the others' predictions "
            f"are kept: {'; '.join(failures[:SHOWN_FAILURES])}"
        )
    return float(np.mean(seconds)) if seconds else float("nan")


def predict_image(
    predictor: AdaptISPredictor,
    dataset,
    folder: PredictionFolder,
    index: int,
    on_step: OnStep = lambda *_: None,
) -> Outcome:
    """Predict an image of a data set, if its prediction isn't there. Raises DiskError."""
    if folder.has(dataset.names[index]):
        return Outcome()
    try:
        sample = dataset[index]
        start = time.perf_counter()
        before = predictor.num_proposals, predictor.num_dropped
        prediction = segment_panoptic(predictor, sample.image, on_step)
    except IMAGE_ERRORS as error:
        predictor.reset_image()
        return Outcome(failure=failure_of(dataset.image_path(index), error))
    seconds = time.perf_counter() - start
    proposes = predictor.settings.points == "proposals"
    proposed = predictor.num_proposals - before[0], predictor.num_dropped - before[1]
    folder.write(sample.name, *prediction, proposed if proposes else None)
    return Outcome(seconds)


def _predicting(
    args: argparse.Namespace,
    device: str,
    sha256: str | None,
    dataset,
    folder: PredictionFolder,
) -> Callable[[int], Outcome]:
    """``predict_image`` of another process."""
    return partial(predict_image, load_again(args, device, sha256), dataset, folder)
