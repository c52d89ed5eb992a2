"""The objects of an image: a label map, and what is counted and measured of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy import ndimage

from adaptis.inference.fusion import thing_ids
from adaptis.inference.predictor import AdaptISPredictor, OnStep
from adaptis.inference.tiles import segment_panoptic
from adaptis.preprocessing import strips


class Segmentation(NamedTuple):
    """What was found in an image.

    Attributes:
        label_map: (H, W) int32, 0 background, 1, 2, ... the objects.
        objects: a record each: id (in the label map), category_id, score (average confidence), and
            what ``describe`` says.
    """

    label_map: np.ndarray
    objects: list[dict]


def segment_objects(
    predictor: AdaptISPredictor, image: np.ndarray, on_step: OnStep = lambda *_: None
) -> Segmentation:
    """The instances of an image (H, W, 3) uint8 RGB, in tiles as the settings say, numbered from 1
    in the order of their scores, the best first. Raises ImageError for an image that can't be.

    Parameters:
        on_step: as that of ``segment_panoptic``.
    """
    panoptic_seg, segments, _ = segment_panoptic(predictor, image, on_step)
    return instances_of(panoptic_seg, segments, predictor.classes)


def instances_of(
    panoptic_seg: np.ndarray, segments: list[dict], classes: list[dict]
) -> Segmentation:
    """The things among the segments, numbered from 1 in the order of their scores, the best first.

    Parameters:
        panoptic_seg, segments: see ``fuse_panoptic``.
        classes: of the weights file.
    """
    things = thing_ids(classes)
    found = [segment for segment in segments if segment["category_id"] in things]
    found.sort(key=lambda segment: -segment["score"])
    number_of_segment = np.zeros(panoptic_seg.max(initial=0) + 1, np.int32)
    number_of_segment[[segment["id"] for segment in found]] = np.arange(1, len(found) + 1)
    label_map = number_of_segment[panoptic_seg]
    described = describe(label_map)
    return Segmentation(
        label_map,
        [
            {**described[number], "category_id": s["category_id"], "score": s["score"]}
            for number, s in enumerate(found, start=1)
        ],
    )


def describe(label_map: np.ndarray) -> dict[int, dict]:
    """Of each id above 0 of an (H, W) integer map: id, area (pixels), bbox [x, y, width, height],
    centroid [x, y] (pixel centres are whole numbers) and segmentation, COCO's compressed RLE.

    In a few passes over the pixels, however many objects there are.
    """
    boxes = {i: box for i, box in enumerate(ndimage.find_objects(label_map), start=1) if box}
    areas, xs, ys = _sums(label_map)
    encoded = _run_lengths(label_map)
    return {
        id_: {
            "id": id_,
            "area": int(areas[id_]),
            "bbox": [cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start],
            "centroid": [float(xs[id_] / areas[id_]), float(ys[id_] / areas[id_])],
            "segmentation": encoded[id_],
        }
        for id_, (rows, cols) in boxes.items()
    }


def _sums(label_map: np.ndarray) -> np.ndarray:
    """Of each id the number of its pixels, and the sums of their x and of their y: (3, ids)
    float64, which is exact."""
    sums = np.zeros((3, label_map.max(initial=0) + 1))
    for rows in strips(len(label_map)):
        strip = label_map[rows]
        y, x = np.indices(strip.shape)
        for sum_, weights in zip(sums, (None, x.ravel(), rows.start + y.ravel())):
            sum_ += np.bincount(strip.ravel(), weights, minlength=len(sum_))
    return sums


def _run_lengths(label_map: np.ndarray) -> dict[int, dict]:
    """Id -> COCO's compressed RLE, {"size": [H, W], "counts": text}, which JSON can hold."""
    pixels = label_map.ravel(order="F")  # COCO's runs go down the columns
    is_start = np.append(len(pixels) > 0, pixels[1:] != pixels[:-1])
    starts = np.flatnonzero(is_start)  # of the runs of one id
    ends = np.append(starts[1:], len(pixels))
    run_ids = pixels[starts]
    order = np.argsort(run_ids, kind="stable")
    ids, first = np.unique(run_ids[order], return_index=True)
    encoded = {}
    for id_, runs in zip(ids.tolist(), np.split(order, first[1:])):
        if not id_:
            continue
        borders = np.stack([starts[runs], ends[runs]], axis=1).ravel()
        # a gap, a run, a gap, a run, ..., and what is left, if anything
        counts = np.diff(borders, prepend=0, append=len(pixels)).tolist()
        counts = counts if counts[-1] else counts[:-1]
        size = list(label_map.shape)
        rle = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
        encoded[id_] = {"size": size, "counts": rle["counts"].decode("ascii")}
    return encoded
