"""The paper's figures, and our tables beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

TOY_IOU_THRESHOLDS = (0.5, 0.7, 0.8, 0.9)  # Table 1

TOY_PAPER = {  # Table 1, percent
    "Mask R-CNN (paper)": (74.6, 59.4, 43.8, 5.8),
    "AdaptIS (paper)": (99.6, 99.2, 98.8, 97.5),
}

# Tables 2, 3 and 5, percent: PQ, PQ_st, PQ_th, mIoU, AP; val splits
PANOPTIC_PAPER: dict[str, dict[str, tuple[float, ...]]] = {
    "cityscapes": {
        "ResNet-50": (59.0, 61.3, 55.8, 75.3, 32.3),
        "ResNet-101": (60.6, 62.9, 57.5, 77.2, 33.9),
        "ResNeXt-101": (62.0, 64.4, 58.7, 79.2, 36.3),
    },
    "mapillary": {
        "ResNet-50": (32.0, 39.1, 26.6),
        "ResNet-101": (33.4, 40.2, 28.3),
        "ResNeXt-101": (35.9, 41.9, 31.5),
    },
    "coco": {
        "ResNet-50": (35.9, 29.3, 40.3),
        "ResNet-101": (37.0, 29.9, 41.8),
        "ResNeXt-101": (42.3, 31.8, 49.2),
    },
}


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are aligned for a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def percent(fraction: float | None) -> str:
    """With one decimal; "-" for NaN, where there was nothing to score, and JSON's None for it."""
    return "-" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.1f}"


def class_table(pq: dict, categories: list[dict]) -> str:
    """PQ, SQ and RQ of all, things, stuff and every class that occurs.

    Parameters:
        pq: of ``evaluate_panoptic``.
        categories: COCO's records, in the order of the rows.
    """
    rows = [[group, f"{pq[group]['n']} classes", pq[group]] for group in ("all", "things", "stuff")]
    rows += [
        [category["name"], "thing" if category["isthing"] else "stuff", pq["per_class"][id_]]
        for category in categories
        if (id_ := category["id"]) in pq["per_class"]
    ]
    return markdown_table(
        ["Class", "Kind", "PQ", "SQ", "RQ"],
        [
            [name, kind, *(percent(of[key]) for key in ("pq", "sq", "rq"))]
            for name, kind, of in rows
        ],
    )


def paper_table(dataset: str, runs: Mapping[str, dict]) -> str:
    """Table 1, 2, 3 or 5: the paper's rows of a data set, and ours below them.

    Parameters:
        runs: what a run is called -> its metrics.
    """
    if dataset == "toy":
        header = [f"AP@{t:g}" for t in TOY_IOU_THRESHOLDS]
        paper: Mapping[str, Sequence[float]] = TOY_PAPER
        ours = {
            name: [run["ap"][f"{t:g}"] for t in TOY_IOU_THRESHOLDS] for name, run in runs.items()
        }
    else:
        header = ["PQ", "PQ_st", "PQ_th", "mIoU", "AP"]
        paper = {
            f"AdaptIS {backbone} (paper)": row
            for backbone, row in PANOPTIC_PAPER.get(dataset, {}).items()
        }
        ours = {
            name: [
                *(run["pq"][group]["pq"] for group in ("all", "stuff", "things")),
                run["miou"],
                run["ap"]["0.5:0.95"],
            ]
            for name, run in runs.items()
        }
    rows = [
        [name, *(f"{v:.1f}" for v in row), *[""] * (len(header) - len(row))]
        for name, row in paper.items()
    ]
    rows += [
        [f"AdaptIS ({name}, {runs[name]['images']} images)", *map(percent, row)]
        for name, row in ours.items()
    ]
    return markdown_table(["", *header], rows)


def toy_table(metrics: dict) -> str:
    """Table 1 with our row, then AP as the area under the whole curve, PQ and the count of
    objects."""
    things, counts = metrics["pq"]["things"], metrics["counts"]
    areas = " / ".join(percent(metrics["ap_area"][f"{t:g}"]) for t in TOY_IOU_THRESHOLDS)
    return paper_table("toy", {"this run": metrics}) + (
        "\n\npycocotools reads the curve at 101 recalls, so AP is at most 99.0 where an object is "
        f"missed; the area under all of it: {areas}"
        f"\n\nPQ {percent(metrics['pq']['all']['pq'])}, PQ_th {percent(things['pq'])} "
        f"(SQ {percent(things['sq'])}, RQ {percent(things['rq'])}); at IoU .5 "
        f"{counts['found']} objects found, {counts['missed']} missed, "
        f"{counts['false_positives']} false positives"
    )


def instances_table(metrics: dict) -> str:
    """The APs of own images, then PQ and the count of objects; other data has no place here."""
    matching, coco = metrics["matching"], metrics["ap"]
    rows = [
        ["AP = TP / (TP + FP + FN)", *(percent(of["ap"]) for of in matching.values())],
        ["COCO's AP, all predictions", *(percent(coco[threshold]) for threshold in matching)],
    ]
    table = markdown_table(["", *(f"IoU {threshold}" for threshold in matching)], rows)
    things, counts = metrics["pq"]["things"], matching["0.5"]
    return table + (
        f"\n\nAdaptIS, {metrics['images']} images: COCO's AP over .50:.05:.95 "
        f"{percent(coco['0.5:0.95'])}; PQ_th {percent(things['pq'])} (SQ {percent(things['sq'])}, "
        f"RQ {percent(things['rq'])}); at IoU .5 {counts['tp']} objects found, {counts['fn']} "
        f"missed, {counts['fp']} false positives"
    )


def without_nan(value):
    """The same with None for NaN, which JSON doesn't know."""
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
