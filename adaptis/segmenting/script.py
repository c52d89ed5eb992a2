"""Segmenting own images, from options to the folder of results."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adaptis.disk import errors_named, sole_user
from adaptis.errors import AdaptISError, last_line
from adaptis.image_files import check_regular
from adaptis.inference.iterations import shown_beside
from adaptis.inference.options import say_dropped, with_options
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.progress import progress
from adaptis.segmenting.clicks import ClicksError, read_clicks, segment_clicks
from adaptis.segmenting.objects import Segmentation, segment_objects
from adaptis.segmenting.outputs import (
    OutputFolder,
    coco_results_json,
    label_map_png,
    objects_csv,
    overlay_png,
)

# Of one image: what is wrong with it, its file can't be read, it needs more memory than there is
# (the errors of MXNet and ONNX Runtime are RuntimeErrors).
IMAGE_ERRORS = (AdaptISError, OSError, MemoryError, RuntimeError)


class SegmentingError(AdaptISError):
    """Images that could not be segmented; says which and why."""


def segment(args: argparse.Namespace, images) -> None:
    """Segment what isn't yet, one image after the other; one that fails doesn't stop the others.

    Parameters:
        args: of ``segment.py``.
        images: see ``datasets.plain_images.PlainImages``.

    Raises SegmentingError in the end if an image failed; CheckpointError, ClicksError,
    ResultsError, DiskError.
    """
    clicks = _clicks(args.clicks, images) if args.clicks else None
    with errors_named(args.output), sole_user(args.output):
        _segment(args, images, clicks)


def _segment(args: argparse.Namespace, images, clicks: dict[str, np.ndarray] | None) -> None:
    predictor = AdaptISPredictor.load(args.weights, args.ctx)
    predictor.settings = with_options(predictor.settings, args)
    intensity = getattr(args, "intensity", predictor.intensity)
    run = {
        "weights_sha256": predictor.weights_sha256,
        "settings": asdict(predictor.settings),
        "intensity": intensity,
        "clicks_sha256": _sha256(args.clicks) if clicks else None,
    }
    folder = OutputFolder(args.output, args.formats, run)
    chosen = [i for i, file in enumerate(images.files) if clicks is None or file in clicks]
    failures, objects, done, over = [], 0, 0, 0
    for index in (shown := progress(chosen, desc="segmenting", unit="image")):
        name, path = images.names[index], images.paths[index]
        try:
            sha256 = _sha256(path)
            if folder.has(name, sha256):
                continue
            image = images.read(index, intensity)
            dropped = predictor.num_dropped
            points_xy = None if clicks is None else clicks[images.files[index]]
            if points_xy is None:
                segmentation = segment_objects(predictor, image, shown_beside(shown))
            else:
                segmentation = segment_clicks(predictor, image, points_xy)
            contents = _contents(segmentation, image, name, predictor.classes, folder.formats)
        except IMAGE_ERRORS as error:
            reason = last_line(error)
            failures.append(reason if reason.startswith(str(path)) else f"{path}: {reason}")
            predictor.reset_image()
            continue
        folder.write(name, contents, sha256)
        done, objects = done + 1, objects + len(segmentation.objects)
        over += predictor.num_dropped > dropped
    earlier = len(chosen) - done - len(failures)
    print(
        f"{objects} objects in {done} images"
        + (f", {earlier} images were segmented before" if earlier else "")
        + f": {', '.join(f'{kind}/' for kind in folder.formats)} in {folder.folder}"
    )
    if over:
        print(say_dropped(over, done, predictor.num_dropped))
    if failures:
        raise SegmentingError(
            f"{len(failures)} of {len(chosen)} images could not be segmented:\n"
            + "\n".join(failures)
        )


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
