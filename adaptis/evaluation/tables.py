"""The paper's figures, and our tables beside them."""

from __future__ import annotations

TOY_IOU_THRESHOLDS = (0.5, 0.7, 0.8, 0.9)  # Table 1

TOY_PAPER = {  # Table 1, percent
    "Mask R-CNN (paper)": (74.6, 59.4, 43.8, 5.8),
    "AdaptIS (paper)": (99.6, 99.2, 98.8, 97.5),
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


def toy_table(metrics: dict) -> str:
    """Table 1 with our row, then PQ and the count of objects."""
    rows = [[name, *(f"{v:.1f}" for v in row)] for name, row in TOY_PAPER.items()]
    ours = [f"{100 * metrics['ap'][f'{t:g}']:.1f}" for t in TOY_IOU_THRESHOLDS]
    rows.append([f"AdaptIS (this run, {metrics['images']} images)", *ours])
    table = markdown_table(["", *(f"AP@{t:g}" for t in TOY_IOU_THRESHOLDS)], rows)
    things, counts = metrics["pq"]["things"], metrics["counts"]
    return table + (
        f"\n\nPQ {100 * metrics['pq']['all']['pq']:.1f}, PQ_th {100 * things['pq']:.1f} "
        f"(SQ {100 * things['sq']:.1f}, RQ {100 * things['rq']:.1f}); at IoU .5 "
        f"{counts['found']} objects found, {counts['missed']} missed, "
        f"{counts['false_positives']} false positives"
    )
