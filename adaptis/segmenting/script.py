"""Segmenting own images, from options to the folder of results."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adaptis.disk import FileNameError, check_regular, errors_named, sole_user
from adaptis.errors import AdaptISError
from adaptis.inference.each_image import IMAGE_ERRORS, Outcome, failure_of, segment_each
from adaptis.inference.loading import load_again, load_predictor
from adaptis.inference.options import dropped_notice
from adaptis.inference.predictor import AdaptISPredictor, OnStep
from adaptis.segmenting.clicks import ClicksError, read_clicks, segment_clicks
from adaptis.segmenting.objects import Segmentation, segment_objects
from adaptis.segmenting.outputs import (
    OutputFolder,
    coco_results_json,
    label_map_png,
    objects_csv,
    overlay_png,
)
from adaptis.workers import worker_devices


class SegmentingError(AdaptISError):
    """Images that could not be segmented; says which and why."""


class Job(NamedTuple):
    """What is done to each of some images.

    Attributes:
        images: see ``datasets.plain_images.PlainImages``.
        intensity: by which they are read.
        clicks: of each image's file name, (N, 2) (x, y) in pixels; None without.
        folder: of the results.
    """

    images: Any
    intensity: str | list[float]
    clicks: dict[str, np.ndarray] | None
    folder: OutputFolder


class Found(NamedTuple):
    """In an image."""

    objects: int
    dropped: int  # peaks that max_proposals left out


def segment(args: argparse.Namespace, images) -> None:
    """Segment what isn't yet, one image after the other; one that fails doesn't stop the others.

    Parameters:
        args: of ``segment.py``.
        images: see ``datasets.plain_images.PlainImages``.

    Raises SegmentingError in the end if an image failed; CheckpointError, ClicksError,
    ResultsError, DiskError, WorkerError.
    """
    clicks = _clicks(args.clicks, images) if args.clicks else None
    with errors_named(args.output), sole_user(args.output, args.shard and str(args.shard)):
        _segment(args, images, clicks)


def _segment(args: argparse.Namespace, images, clicks: dict[str, np.ndarray] | None) -> None:
    chosen = [i for i, file in enumerate(images.files) if clicks is None or file in clicks]
    if args.shard:
        chosen = args.shard.of(chosen)
    devices = worker_devices(args, len(chosen))
    predictor = load_predictor(args, devices[0])
    intensity = getattr(args, "intensity", predictor.intensity)
    run = {
        "weights_sha256": predictor.weights_sha256,
        "settings": asdict(predictor.settings),
        "intensity": intensity,
        "clicks_sha256": _sha256(args.clicks) if clicks else None,
    }
    folder = OutputFolder(args.output, args.formats, run)
    job = Job(images, intensity, clicks, folder)
    makers = [partial(_segmenting, args, d, predictor.weights_sha256, job) for d in devices]
    work = partial(segment_image, predictor, job)
    found, failures = segment_each(work, makers, chosen, images.paths.__getitem__)
    done, dropped = len(found), [image.dropped for image in found]
    objects, over = sum(image.objects for image in found), done - dropped.count(0)
    earlier = len(chosen) - done - len(failures)
    print(
        f"{objects} objects in {done} images"
        + (f", {earlier} images were segmented before" if earlier else "")
        + f": {', '.join(f'{kind}/' for kind in folder.formats)} in {folder.folder}"
    )
    if over:
        print(dropped_notice(over, done, sum(dropped)))
    if failures:
        raise SegmentingError(
            f"{len(failures)} of {len(chosen)} images could not be segmented:\n"
            + "\n".join(failures)
        )


def segment_image(
    predictor: AdaptISPredictor, job: Job, index: int, on_step: OnStep = lambda *_: None
) -> Outcome:
    """Segment an image and write its results, if they aren't there. Raises DiskError, but for
    results that can't have the image's name."""
    images, folder = job.images, job.folder
    name, path = images.names[index], images.paths[index]
    try:
        sha256 = _sha256(path)
        if folder.has(name, sha256):
            return Outcome()
        image = images.read(index, job.intensity)
        points_xy = None if job.clicks is None else job.clicks[images.files[index]]
        before = predictor.num_dropped
        if points_xy is None:
            segmentation = segment_objects(predictor, image, on_step)
        else:
            segmentation = segment_clicks(predictor, image, points_xy)
        contents = _contents(segmentation, image, name, predictor.classes, folder.formats)
    except IMAGE_ERRORS as error:
        predictor.reset_image()
        return Outcome(failure=failure_of(path, error))
    try:
        folder.write(name, contents, sha256)
    except FileNameError as error:
        return Outcome(failure=failure_of(path, error))
    return Outcome(Found(len(segmentation.objects), predictor.num_dropped - before))


def _segmenting(
    args: argparse.Namespace, device: str, sha256: str | None, job: Job
) -> Callable[[int], Outcome]:
    """``segment_image`` of another process."""
    return partial(segment_image, load_again(args, device, sha256), job)


def _sha256(path: Path | str) -> str:
    """Of a file, hexadecimal."""
    check_regular(Path(path))
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _clicks(path: str, images) -> dict[str, np.ndarray]:
    """Raises ClicksError for images that aren't among those given."""
    clicks = read_clicks(path)
    if unknown := sorted(clicks.keys() - set(images.files)):
        raise ClicksError(
            f"{path}: names images that weren't given: {unknown[:5]}; those given are "
            f"{images.files[:5]}"
        )
    return clicks


def _contents(
    segmentation: Segmentation,
    image: np.ndarray,
    name: str,
    classes: list[dict],
    formats: tuple[str, ...],
) -> dict[str, bytes]:
    """Format -> file. Raises ImageError."""
    things = {c["category_id"]: c["name"] for c in classes if c["isthing"]}
    write = {
        "labels": lambda: label_map_png(segmentation),
        "json": lambda: coco_results_json(segmentation, name),
        "overlay": lambda: overlay_png(segmentation, image),
        "csv": lambda: objects_csv(segmentation, things),
    }
    return {kind: write[kind]() for kind in formats}
