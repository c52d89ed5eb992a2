"""Given clicks: their file, and an object for each."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from adaptis.errors import AdaptISError
from adaptis.inference.fusion import category_of
from adaptis.inference.images import as_points
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.tiles import Span, set_tiles
from adaptis.preprocessing import resize, scale_points
from adaptis.segmenting.objects import Segmentation, describe

COLUMNS = ("image", "x", "y")
SEPARATORS = (",", ";", "\t")  # as spreadsheets of several languages write them
SHOWN = 80  # characters of a line that a message quotes


class ClicksError(AdaptISError):
    """A file of clicks can't be used; says which line and why."""


def read_clicks(path: Path | str) -> dict[str, np.ndarray]:
    """Image's file name -> its clicks (N, 2) float64, (x, y) in pixels, in the file's order.

    Parameters:
        path: a CSV file, its columns separated by one of SEPARATORS, whose first line names the
            columns image, x and y, in capitals or not; others are ignored, as are blanks around
            names and values.

    Raises ClicksError.
    """
    clicks: dict[str, list[tuple[float, float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write the mark
            separator, names = _header(first := file.readline())
            if missing := set(COLUMNS) - set(names):
                raise ClicksError(
                    f"{path}: its first line lacks the columns {sorted(missing)}: begin the file "
                    f"with image,x,y; the line is {first.strip()[:SHOWN]!r}"
                )
            if twice := [column for column in COLUMNS if names.count(column) > 1]:
                raise ClicksError(f"{path}: its first line names {twice} twice: rename one of them")
            reader = csv.DictReader(file, names, delimiter=separator, skipinitialspace=True)
            for row in reader:
                values = [None if row[c] is None else row[c].strip() for c in COLUMNS]
                if any(more := row.get(None, [])):  # x and y with decimal commas, perhaps
                    raise ClicksError(
                        f"{path}, line {reader.line_num + 1}: {len(names) + len(more)} values, and "
                        f"the first line names {len(names)}: write numbers like 1.5, not 1,5"
                    )
                image, x, y = values[0], *map(_number, values[1:])
                if not image or not math.isfinite(x + y):
                    shown = ", ".join(f"{c} {value!r}" for c, value in zip(COLUMNS, values))
                    raise ClicksError(
                        f"{path}, line {reader.line_num + 1}: {shown}; a file name and two numbers "
                        "are needed"
                    )
                clicks.setdefault(image, []).append((x, y))
    except OSError as error:
        raise ClicksError(
            f"--points {path}: {error.strerror or error}; give proposals, random or a CSV file"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ClicksError(f"{path}: is no CSV file in UTF-8: {error}") from error
    if not clicks:
        raise ClicksError(f"{path}: holds no clicks")
    return {name: np.array(points) for name, points in clicks.items()}


def segment_clicks(
    predictor: AdaptISPredictor, image: np.ndarray, points_xy: np.ndarray
) -> Segmentation:
    """One object a click, numbered in their order; a click on nothing leaves its number out.

    Masks are as ``predictor.predict`` gives them, so they may overlap; of the label map each pixel
    goes to the most confident. In tiles a click is seen in the one whose middle is nearest. The
    class is that of the mask, see ``category_of``; without thing classes there is no object.

    Parameters:
        image: (H, W, 3) uint8 RGB.
        points_xy: (N, 2) (x, y) in pixels.

    Raises ImageError for an image or a point that can't be.
    """
    height, width = size = image.shape[0], image.shape[1]
    points_xy = as_points(points_xy, height, width)
    scaled = predictor.scaled_size(*size)
    points_yx = scale_points(points_xy[:, ::-1], size, scaled)
    greedy = predictor.settings.greedy
    label_map, highest = np.zeros(size, np.int32), np.zeros(size, np.float32)
    objects = {}

    def kept(rows: Span, cols: Span) -> np.ndarray:
        """The clicks for which a tile is the one."""
        nearest = np.floor(points_yx + 0.5)
        first, end = (rows.keep_start, cols.keep_start), (rows.keep_stop, cols.keep_stop)
        return np.flatnonzero(((nearest >= first) & (nearest < end)).all(axis=1))

    for rows, cols in set_tiles(predictor, image, lambda *tile: len(kept(*tile)) > 0):
        corner = rows.start, cols.start
        for index in kept(rows, cols):
            point_yx = points_yx[index] - corner
            (in_tile,) = predictor.confidences(point_yx[None, ::-1])
            category_id = thing_category(predictor, in_tile > greedy.mask_threshold)
            confidence = np.zeros(scaled, np.float32)
            confidence[rows.start : rows.stop, cols.start : cols.stop] = in_tile
            confidence = resize(confidence, size)
            mask = confidence > greedy.mask_threshold
            if category_id is None or not mask.any():
                continue
            number = int(index) + 1
            (objects[number],) = describe(mask * np.int32(number)).values()
            objects[number] |= {
                "category_id": category_id,
                "score": float(confidence[mask].mean()),
            }
            wins = mask & (confidence > highest)
            highest[wins], label_map[wins] = confidence[wins], number
    return Segmentation(label_map, [objects[number] for number in sorted(objects)])


def thing_category(predictor: AdaptISPredictor, mask: np.ndarray) -> int | None:
    """The category_id of an object of the predictor's image, see ``category_of``.

    Parameters:
        mask: (h, w) bool, at the size the predictor's image was scaled to.
    """
    sums = predictor.class_probabilities()[:, mask].sum(axis=1)
    return category_of(sums, predictor.classes)


def _header(line: str) -> tuple[str, list[str]]:
    """The separator by which a line names most of the COLUMNS, and its names in small letters."""
    rows = (
        (s, next(csv.reader([line], delimiter=s, skipinitialspace=True), [])) for s in SEPARATORS
    )
    named = [(separator, [name.strip().lower() for name in row]) for separator, row in rows]
    return max(named, key=lambda candidate: len({*COLUMNS} & {*candidate[1]}))


def _number(text: str | None) -> float:
    """NaN where it is none."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan
