"""Panels of a figure: their places, pictures, marks and legends; ``adaptis.pictures.figures`` puts
them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from adaptis.pictures.drawing import enlarge
from adaptis.preprocessing import Size

POINT_COLOR = "#7CFC00"  # the light green of Figure 5
MANY_POINTS = 60  # beyond it they are drawn smaller
HEAT_MAP = "magma"
DPI = 100
WIDTH, MAX_PANEL = 12.0, 6.0  # inches, of a figure and of a panel where there are several
SINGLE_PANEL = 8.0  # inches
GAP, TITLE = 0.08, 0.32  # inches, between panels and above one with a title
FONT_SIZE, SMALL_FONT = 12, 9  # points
LETTER = 0.6 / 72  # inches of a letter's width for each point of its font
LIST_STEP = 0.09  # of the height between the numbers of points
LEGEND_PATCH = 8  # letters' widths that a patch takes with the gaps around it


def aspect_of(picture: np.ndarray) -> float:
    """Height of a panel in its width; very narrow pictures leave some of it empty."""
    return float(np.clip(picture.shape[0] / picture.shape[1], 0.25, 4))


def count_columns(count: int) -> int:
    """Panels a row: as many as leave the last row fullest."""
    return min((4, 5, 3), key=lambda columns: -count % columns) if count > 4 else max(count, 1)


def lay_out(rows: Sequence[tuple[int, float, bool]]) -> list[Axes]:
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


def lay_out_like(image: np.ndarray, count: int) -> list[Axes]:
    """Panels for ``count`` pictures of an image's shape."""
    columns = count_columns(count)
    return lay_out([(columns, aspect_of(image), True)] * -(-count // columns))


def figure_of(panel: Axes) -> Figure:
    """The figure that a panel is in."""
    figure = panel.get_figure()
    assert isinstance(figure, Figure)
    return figure


def show(axes: Axes, picture: np.ndarray, title: str, image: np.ndarray | None = None) -> None:
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


def number_points(axes: Axes, points_xy: np.ndarray, size: Size) -> None:
    """Number points, from 1, in a list beside them with a line to each, so that numbers of close
    points don't cover each other. ``size``: (height, width) of the image."""
    if not len(points_xy):
        return
    height, width = size
    x = points_xy[:, 0].max() + 0.15 * width
    if x > 0.95 * width:
        x = points_xy[:, 0].min() - 0.15 * width
    step = LIST_STEP * height
    first = points_xy[:, 1].mean() - step * (len(points_xy) - 1) / 2
    first = np.clip(first, step, max(step, height - step * len(points_xy)))
    for place, index in enumerate(np.argsort(points_xy[:, 1], kind="stable")):
        axes.annotate(
            str(index + 1),
            points_xy[index],
            (np.clip(x, 0.05 * width, 0.95 * width), first + place * step),
            fontsize=FONT_SIZE,
            fontweight="bold",
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "shrinkA": 2, "shrinkB": 3},
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def mark(axes: Axes, points_xy: Sequence[tuple[int, int]] | np.ndarray) -> None:
    """A dot at each point (x, y), in pixels of the image."""
    style: dict[str, Any] = dict(
        color=POINT_COLOR, markeredgecolor="black", markeredgewidth=0.8, clip_on=False
    )
    for x, y in points_xy:
        axes.plot(x, y, "o", markersize=7 if len(points_xy) <= MANY_POINTS else 4, **style)


def save(panels: Sequence[Axes], path: Path | str) -> None:
    """Write the panels' figure as a PNG, without those that stayed empty."""
    for axes in panels:
        if not axes.has_data():
            axes.remove()  # the last row has fewer
    figure = figure_of(panels[0])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08)


def label_rows(panels: Sequence[Axes], labels: Sequence[str]) -> None:
    """Write beside the first panel of each row; of a line that is too long its end."""
    for panel, label in zip(panels, labels):
        inches = panel.get_position().height * figure_of(panel).get_figheight()
        most = max(4, int(inches / LETTER / SMALL_FONT))
        lines = [x if len(x) <= most else f"…{x[1 - most :]}" for x in label.split("\n")]
        panel.set_ylabel("\n".join(lines), fontsize=SMALL_FONT)


def add_legend(figure: Figure, colors: Mapping[str, tuple[int, int, int]]) -> None:
    """Below a figure, in as many columns as fit: name -> RGB colour."""
    patches = [Patch(fc=np.array(c) / 255, ec="black", label=name) for name, c in colors.items()]
    width = (LEGEND_PATCH + max(map(len, colors))) * LETTER * SMALL_FONT  # inches of a column
    figure.legend(
        handles=patches,
        ncols=max(1, int(figure.get_figwidth() / width)),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        fontsize=SMALL_FONT,
        frameon=False,
    )
