"""Figures of several panels, as the paper's Figures 2, 3, 5 and 9: PNG files 800 to 1300 px wide.

Each ``save_*`` makes the folder of its file. Images are (H, W, 3) uint8 RGB of any size; small ones
are enlarged with visible pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from adaptis.pictures.drawing import IGNORED_COLOR, draw_instances, draw_iteration, enlarge

POINT_COLOR = "#7CFC00"  # the light green of Figure 5
MANY_POINTS = 60  # beyond it they are drawn smaller
HEAT_MAP = "magma"
DPI = 100
WIDTH, MAX_PANEL = 12.0, 6.0  # inches, of a figure and of a panel where there are several
SINGLE_PANEL = 8.0  # inches
GAP, TITLE = 0.08, 0.32  # inches, between panels and above one with a title
FONT_SIZE = 12


def save_grid(
    path: Path | str,
    columns: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
    labels: Sequence[str] = (),
) -> None:
    """Write samples one below the other, for example image | ground truth | result (Figure 3).

    Args:
        path: of the PNG.
        columns: title of each column.
        rows: of each sample a picture a column, (H, W, 3) uint8 RGB of any size.
        labels: what is written beside each row.
    """
    aspects = [max(_aspect(picture) for picture in row) for row in rows]
    panels = _lay_out([(len(columns), aspect, not i) for i, aspect in enumerate(aspects)])
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axes = panels[i * len(columns) + j]
            _show(axes, picture, columns[j] if i == 0 else "")
    for first, label in zip(panels[:: len(columns)], labels):
        first.set_ylabel(label, fontsize=FONT_SIZE)
    _save(panels, path)


def save_points(
    path: Path | str, image: np.ndarray, points_xy: np.ndarray, masks: np.ndarray
) -> None:
    """Write the masks that several points give (Figure 2).

    Args:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        points_xy: (N, 2) (x, y) in pixels.
        masks: (N, H, W) bool.
    """
    panels = _lay_out_like(image, 1 + len(masks))
    _show(panels[0], image, "Points")
    for number, (point, mask) in enumerate(zip(points_xy, masks), start=1):
        _mark(panels[0], [point])
        panels[0].annotate(
            str(number),
            point,
            (5, 5),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            fontweight="bold",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        picture = draw_instances(enlarge(image), enlarge(mask).astype(int) * number)
        _show(panels[number], picture, f"Mask of point {number}", image)
        _mark(panels[number], [point])
    _save(panels, path)


def save_proposals(
    path: Path | str,
    image: np.ndarray,
    score_map: np.ndarray,
    points_yx: np.ndarray,
    confidences: Sequence[tuple[tuple[int, int], np.ndarray]] = (),
) -> None:
    """Write the proposal map and its peaks (Figure 9), and below it confidence maps of points.

    Args:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        score_map: (H, W) float in [0, 1].
        points_yx: (N, 2) (row, column) of the peaks.
        confidences: of each map ((row, column) of its point, (H, W) float in [0, 1]).
    """
    columns = max(3, _columns(len(confidences)))  # smaller than the two panels above
    rows = -(-len(confidences) // columns)
    panels = _lay_out([(2, _aspect(image), True)] + [(columns, _aspect(image), True)] * rows)
    peaks_xy = np.reshape(points_yx, (-1, 2))[:, ::-1]
    _show(panels[0], image, f"Image and {len(peaks_xy)} point proposals")
    _show(panels[1], score_map, "Point proposal map and its peaks")
    for axes in panels[:2]:
        _mark(axes, peaks_xy)
    for axes, ((y, x), confidence) in zip(panels[2:], confidences):
        _show(axes, confidence, f"Confidence from ({x}, {y})")
        _mark(axes, [(x, y)])
    figure = panels[0].get_figure()
    heat = ScalarMappable(cmap=HEAT_MAP)
    heat.set_clim(0, 1)
    figure.colorbar(heat, cax=figure.add_axes((1.01, 0, 0.015, panels[1].get_position().y1)))
    _save(panels, path)


def save_heat_maps(
    path: Path | str,
    rows: Sequence[tuple[np.ndarray, np.ndarray, Sequence[tuple[tuple[int, int], np.ndarray]]]],
) -> None:
    """Write images, results and the confidences of single objects (Figure 6).

    Args:
        path: of the PNG.
        rows: of each image (H, W, 3) uint8 RGB, the picture of its result, and of each object
            ((row, column) of its point, (H, W) float confidence in [0, 1]).
    """
    columns = 2 + max(len(maps) for _, _, maps in rows)
    panels = _lay_out([(columns, _aspect(image), True) for image, _, _ in rows])
    for i, (image, result, maps) in enumerate(rows):
        axes = panels[i * columns : (i + 1) * columns]
        _show(axes[0], image, "Image")
        _show(axes[1], result, "Result")
        for panel, ((y, x), confidence) in zip(axes[2:], maps):
            _show(panel, confidence, f"Confidence from ({x}, {y})")
            _mark(panel, [(x, y)])
    _save(panels, path)


def save_iterations(path: Path | str, image: np.ndarray, recorder) -> None:
    """Write iterations of the greedy algorithm between image and result (Figure 5).

    Args:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        recorder: the IterationRecorder that was ``on_step`` of a run on this image.
    """
    frames = recorder.frames
    panels = _lay_out_like(image, len(frames) + 2)
    fine_image = enlarge(image)
    _show(panels[0], image, "Image")
    for axes, (number, step, instance_map, segmented) in zip(panels[1:], frames):
        ignored = None if step.accepted else enlarge(step.mask)
        known = enlarge(instance_map * segmented)  # every pixel gets an object only in the end
        picture = draw_iteration(fine_image, known, enlarge(segmented), ignored)
        _show(axes, picture, f"Iteration {number}", image)
        if not step.accepted:
            axes.set_title(f"Iteration {number}: ignored", color=np.array(IGNORED_COLOR) / 255)
        _mark(axes, [step.point_yx[::-1]])
    instance_map = frames[-1].instance_map if frames else np.zeros(image.shape[:2], int)
    title = f"Result: {np.count_nonzero(np.unique(instance_map))} objects"
    result = draw_instances(fine_image, enlarge(instance_map))
    _show(panels[1 + len(frames)], result, title, image)
    _save(panels, path)


def save_recall(
    path: Path | str, bins: Sequence[str], recalls: Mapping[str, Mapping[float, Sequence[float]]]
) -> None:
    """Write the share of objects found, by bins and method, in a panel for each mask IoU.

    Args:
        path: of the PNG.
        bins: what they are called, such as "0 to 0.3\n4844 objects".
        recalls: method -> mask IoU -> recall in [0, 1] of each bin; NaN draws none.
    """
    thresholds = list(next(iter(recalls.values())))
    figure = Figure((WIDTH, WIDTH / 3), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(thresholds), sharey=True, squeeze=False)[0]
    places, width = np.arange(len(bins)), 0.8 / len(recalls)
    for axes, threshold in zip(panels, thresholds):
        for i, (method, by_threshold) in enumerate(recalls.items()):
            left = places - 0.4 + (i + 0.5) * width
            bars = axes.bar(left, by_threshold[threshold], width, label=method)
            axes.bar_label(bars, fmt="%.2f", fontsize=FONT_SIZE - 3)
        axes.set_title(f"Mask IoU {threshold:g}", fontsize=FONT_SIZE)
        axes.set_xlabel("Highest IoU with another object's bounding box")
        axes.set_xticks(places, bins)
        axes.set_xlim(-0.5, len(bins) - 0.5)  # a bin without objects too
    panels[0].set(ylabel="Share of objects found", ylim=(0, 1.08))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    _save(panels, path)


def _aspect(picture: np.ndarray) -> float:
    """Height of a panel in its width; very narrow pictures leave some of it empty."""
    return float(np.clip(picture.shape[0] / picture.shape[1], 0.25, 4))


def _columns(count: int) -> int:
    """Panels a row: as many as leave the last row fullest."""
    return min((4, 5, 3), key=lambda columns: -count % columns) if count > 4 else max(count, 1)


def _lay_out(rows: Sequence[tuple[int, float, bool]]) -> list[Axes]:
    """A figure of rows of panels: of each row the number of panels, their height in widths and
    whether they have titles. Returns all panels, row by row."""
    most = max(count for count, _, _ in rows)
    width = SINGLE_PANEL if most == 1 else min(WIDTH, most * MAX_PANEL)  # inches
    sizes = [(width + GAP) / count - GAP for count, _, _ in rows]
    tops = np.cumsum(
        [
            size * aspect + (TITLE if titled else GAP)
            for size, (_, aspect, titled) in zip(sizes, rows)
        ]
    )  # inches from the upper edge to the lower end of each row
    height = tops[-1]
    figure = Figure((width, height), dpi=DPI)
    return [
        figure.add_axes(
            (
                i * (size + GAP) / width,
                1 - bottom / height,
                size / width,
                size * aspect / height,
            )
        )
        for size, bottom, (count, aspect, _) in zip(sizes, tops, rows)
        for i in range(count)
    ]


def _lay_out_like(image: np.ndarray, count: int) -> list[Axes]:
    """Panels for ``count`` pictures of an image's shape."""
    columns = _columns(count)
    return _lay_out([(columns, _aspect(image), True)] * -(-count // columns))


def _show(axes: Axes, picture: np.ndarray, title: str, image: np.ndarray | None = None) -> None:
    """Show a picture, or an (H, W) map of [0, 1] as heat, in pixel coordinates of ``image``."""
    height, width = (picture if image is None else image).shape[:2]
    axes.imshow(
        enlarge(picture),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="antialiased",
        cmap=HEAT_MAP,
        vmin=0,
        vmax=1,
    )
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=FONT_SIZE)


def _mark(axes: Axes, points_xy: Sequence[tuple[int, int]] | np.ndarray) -> None:
    style = dict(color=POINT_COLOR, markeredgecolor="black", markeredgewidth=0.8, clip_on=False)
    for x, y in points_xy:
        axes.plot(x, y, "o", markersize=7 if len(points_xy) <= MANY_POINTS else 4, **style)


def _save(panels: Sequence[Axes], path: Path | str) -> None:
    for axes in panels:
        if not axes.has_data():
            axes.remove()  # the last row has fewer
    figure = panels[0].get_figure()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08)
