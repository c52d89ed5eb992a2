"""What an evaluation missed, and how: objects merged with a neighbour, seen in part, or not at all.

python -m adaptis.evaluation.missed outputs/toy --iou 0.7
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.errors import ResultsError
from adaptis.evaluation.matching import shared_pixels
from adaptis.image_files import read_panoptic_png
from adaptis.json_types import FormatError, parse_json
from adaptis.progress import progress
from adaptis.values import FRACTION

SEEN = 0.1  # share of an object that one segment has to have
KINDS = {
    "merged": "one segment has half of it, and half of another object",
    "spilled": "the segment that has most of it has more pixels elsewhere than it lacks",
    "in part": "that segment lacks more than it has elsewhere",
    "not seen": "no segment has a tenth of it",
}


class MissedObject(NamedTuple):
    """An object whose highest IoU with a segment is below a threshold."""

    kind: str  # of KINDS
    area: int  # pixels


def missed_objects(truth: np.ndarray, result: np.ndarray, iou: float) -> list[MissedObject]:
    """The objects of an image that no segment has at an IoU of at least ``iou``.

    Parameters:
        truth: (H, W) integer ids of the objects, 0 elsewhere.
        result: (H, W) integer ids of the segments, 0 elsewhere.
    """
    objects, segments, shared = shared_pixels(truth, result)
    areas, segment_areas = shared.sum(axis=1), shared.sum(axis=0)
    shared = shared * (segments > 0)  # 0 is no segment
    ious = shared / (areas[:, None] + segment_areas - shared)
    halves = (2 * shared >= areas[:, None]) & (objects > 0)[:, None]
    missed = []
    for i in np.flatnonzero((objects > 0) & (ious.max(axis=1) < iou)):
        largest = shared[i].argmax()
        if shared[i, largest] < SEEN * areas[i]:
            kind = "not seen"
        elif halves[i, largest] and halves[:, largest].sum() > 1:
            kind = "merged"
        else:
            kind = "spilled" if segment_areas[largest] > areas[i] else "in part"
        missed.append(MissedObject(kind, int(areas[i])))
    return missed


def thing_maps(output: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth and result of each image of an evaluation, (H, W) ids of things without crowds.

    Raises ResultsError where ``output`` holds no scored evaluation.
    """
    folders = "ground_truth", "predictions"
    try:
        contents = [parse_json((output / f"{name}.json").read_bytes()) for name in folders]
        things = [c["id"] for c in contents[0]["categories"] if c["isthing"]]
        truths, results = (
            {entry["image_id"]: entry for entry in content["annotations"]} for content in contents
        )
        for image_id in progress(truths, desc="reading", unit="image"):
            truth, result = (
                _things(output / folder / entry["file_name"], entry["segments_info"], things)
                for folder, entry in zip(folders, (truths[image_id], results[image_id]))
            )
            yield truth, result
    except (OSError, ValueError, FormatError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{output}: is no scored evaluation: {error!r}; test_panoptic.py --output {output} "
            "makes one of a labelled split"
        ) from error


def _things(png: Path, segments: list[dict], things: list) -> np.ndarray:
    ids = [s["id"] for s in segments if s["category_id"] in things and not s.get("iscrowd")]
    panoptic_seg = read_panoptic_png(png)
    return panoptic_seg * np.isin(panoptic_seg, ids)


def table(missed: list[MissedObject], objects: int) -> str:
    """In Markdown: how many of each kind, and their areas."""
    lines = ["| | objects | % of all | area, median (5 to 95 %), px | |", "|---|---|---|---|---|"]
    for kind, meaning in KINDS.items():
        areas = [one.area for one in missed if one.kind == kind]
        low, median, high = np.percentile(areas, (5, 50, 95)) if areas else [np.nan] * 3
        shown = f"{median:.0f} ({low:.0f} to {high:.0f})" if areas else ""
        share = 100 * len(areas) / max(1, objects)
        lines.append(f"| {kind} | {len(areas)} | {share:.1f} | {shown} | {meaning} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.evaluation.missed",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("output", type=Path, help="folder of an evaluation")
    parser.add_argument(
        "--iou",
        type=FRACTION,
        default=0.5,
        help="below which with every segment an object is missed (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    objects, missed = 0, []
    for truth, result in thing_maps(args.output):
        objects += np.count_nonzero(np.unique(truth))
        missed += missed_objects(truth, result, args.iou)
    print(f"{len(missed)} of {objects} objects are missed at IoU {args.iou}:\n")
    print(table(missed, objects))


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
