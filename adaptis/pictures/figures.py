"""Figures of several panels, as the paper's 2, 3, 5, 6 and 9: PNG files 800 to 1300 px wide.

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

from adaptis.pictures.drawing import IGNORED_COLOR, draw_frame, draw_instances, enlarge
from adaptis.pictures.panels import (
    DPI,
    FONT_SIZE,
    HEAT_MAP,
    SMALL_FONT,
    WIDTH,
    add_legend,
    aspect_of,
    count_columns,
    figure_of,
    label_rows,
    lay_out,
    lay_out_like,
    mark,
    number_points,
    save,
    show,
)


def save_grid(
    path: Path | str,
    columns: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
    labels: Sequence[str] = (),
    legend: Mapping[str, tuple[int, int, int]] | None = None,
) -> None:
    """Write samples one below the other, for example image | ground truth | result (Figure 3).

    Parameters:
        path: of the PNG.
        columns: title of each column.
        rows: of each sample a picture a column, (H, W, 3) uint8 RGB of any size.
        labels: what is written beside each row; of a line that is too long the end.
        legend: name -> RGB colour, written below.
    """
    aspects = [max(aspect_of(picture) for picture in row) for row in rows]
    panels = lay_out([(len(columns), aspect, not i) for i, aspect in enumerate(aspects)])
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axes = panels[i * len(columns) + j]
            show(axes, picture, columns[j] if i == 0 else "")
    label_rows(panels[:: len(columns)], labels)
    if legend:
        add_legend(figure_of(panels[0]), legend)
    save(panels, path)


def save_points(
    path: Path | str, image: np.ndarray, points_xy: np.ndarray, masks: np.ndarray
) -> None:
    """Write the masks that several points give (Figure 2).

    Parameters:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        points_xy: (N, 2) (x, y) in pixels.
        masks: (N, H, W) bool.
    """
    panels = lay_out_like(image, 1 + len(masks))
    show(panels[0], image, "Points")
    number_points(panels[0], np.reshape(points_xy, (-1, 2)), image.shape[:2])
    for number, (point, mask) in enumerate(zip(points_xy, masks), start=1):
        mark(panels[0], [point])
        picture = draw_instances(enlarge(image), enlarge(mask).astype(int) * number)
        show(panels[number], picture, f"Mask of point {number}", image)
        mark(panels[number], [point])
    save(panels, path)


def save_proposals(
    path: Path | str,
    image: np.ndarray,
    score_map: np.ndarray,
    points_yx: np.ndarray,
    threshold: float,
    confidences: Sequence[tuple[tuple[int, int], np.ndarray]] = (),
) -> None:
    """Write the proposal map and its peaks (Figure 9), and below it confidence maps of points.

    Parameters:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        score_map: (H, W) float in [0, 1].
        points_yx: (N, 2) (row, column) of the peaks.
        threshold: the lowest score of a peak.
        confidences: of each map ((row, column) of its point, (H, W) float in [0, 1]).
    """
    columns = max(3, count_columns(len(confidences)))  # smaller than the two panels above
    rows = -(-len(confidences) // columns)
    panels = lay_out([(2, aspect_of(image), True)] + [(columns, aspect_of(image), True)] * rows)
    peaks_xy = np.reshape(points_yx, (-1, 2))[:, ::-1]
    show(panels[0], image, f"Image and {len(peaks_xy)} point proposals")
    title = "Point proposal map and its peaks"
    if not len(peaks_xy):
        title = (
            f"No peak: the highest score is {np.max(score_map):.3g}, the threshold {threshold:g}"
        )
    show(panels[1], score_map, title)
    for axes in panels[:2]:
        mark(axes, peaks_xy)
    _show_confidences(panels[2:], confidences)
    figure = figure_of(panels[0])
    heat = ScalarMappable(cmap=HEAT_MAP)
    heat.set_clim(0, 1)
    figure.colorbar(heat, cax=figure.add_axes((1.01, 0, 0.015, panels[1].get_position().y1)))
    save(panels, path)


def save_heat_maps(
    path: Path | str,
    rows: Sequence[tuple[np.ndarray, np.ndarray, Sequence[tuple[tuple[int, int], np.ndarray]]]],
) -> None:
    """Write images, results and the confidences of single objects (Figure 6).

    Parameters:
        path: of the PNG.
        rows: of each image (H, W, 3) uint8 RGB, the picture of its result, and of each object
            ((row, column) of its point, (H, W) float confidence in [0, 1]).
    """
    columns = 2 + max(len(maps) for _, _, maps in rows)
    panels = lay_out([(columns, aspect_of(image), True) for image, _, _ in rows])
    for i, (image, result, maps) in enumerate(rows):
        axes = panels[i * columns : (i + 1) * columns]
        show(axes[0], image, "Image")
        show(axes[1], result, "Result")
        _show_confidences(axes[2:], maps)
    save(panels, path)


def _show_confidences(
    panels: Sequence[Axes], confidences: Sequence[tuple[tuple[int, int], np.ndarray]]
) -> None:
    """A confidence map a panel, with its point.

    Parameters:
        confidences: of each map ((row, column) of its point, (H, W) float in [0, 1]).
    """
    for axes, ((y, x), confidence) in zip(panels, confidences):
        show(axes, confidence, f"Confidence from ({x}, {y})")
        mark(axes, [(x, y)])


def save_iterations(path: Path | str, image: np.ndarray, recorder) -> None:
    """Write iterations of the greedy algorithm between image and result (Figure 5).

    Parameters:
        path: of the PNG.
        image: (H, W, 3) uint8 RGB.
        recorder: the IterationRecorder that was ``on_step`` of a run on this image.
    """
    frames = recorder.frames
    panels = lay_out_like(image, len(frames) + 2)
    fine_image = enlarge(image)
    show(panels[0], image, "Image")
    for axes, frame in zip(panels[1:], frames):
        title = f"Iteration {frame.number}"
        show(axes, draw_frame(fine_image, frame), title, image)
        if not frame.step.accepted:
            axes.set_title(f"{title}: ignored", color=np.array(IGNORED_COLOR) / 255)
        mark(axes, [frame.step.point_yx[::-1]])
    instance_map = frames[-1].instance_map if frames else np.zeros(image.shape[:2], int)
    title = f"Result: {np.count_nonzero(np.unique(instance_map))} objects"
    result = draw_instances(fine_image, enlarge(instance_map))
    show(panels[1 + len(frames)], result, title, image)
    save(panels, path)


def save_recall(
    path: Path | str, bins: Sequence[str], recalls: Mapping[str, Mapping[float, Sequence[float]]]
) -> None:
    """Write the share of objects found, by bins and method, in a panel for each mask IoU.

    Parameters:
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
            axes.bar_label(bars, fmt="%.2f", fontsize=SMALL_FONT)
        axes.set_title(f"Mask IoU {threshold:g}", fontsize=FONT_SIZE)
        axes.set_xlabel("Highest IoU with another object's bounding box")
        axes.set_xticks(places, bins)
        axes.set_xlim(-0.5, len(bins) - 0.5)  # a bin without objects too
    panels[0].set(ylabel="Share of objects found", ylim=(0, 1.08))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    save(panels, path)
