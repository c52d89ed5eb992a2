"""Figures: their files and sizes, and which iterations the recorder keeps."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from adaptis.inference.greedy import Aggregation, Step, segment_random_points
from adaptis.inference.iterations import IterationRecorder
from adaptis.inference.settings import GreedySettings
from adaptis.pictures.drawing import IGNORED_COLOR, draw_instances
from adaptis.pictures.figures import (
    save_grid,
    save_heat_maps,
    save_iterations,
    save_points,
    save_proposals,
)
from datasets.toy_scenes import generate_scene

WIDTHS = range(780, 1401)  # px


@pytest.fixture(scope="module")
def scene():
    return generate_scene(np.random.default_rng(0), size=48, min_objects=4, max_objects=4)


def picture(path):
    """(H, W, 3) uint8 of a PNG, after a look at its size."""
    with Image.open(path) as file:
        assert file.format == "PNG"
        assert file.width in WIDTHS
        return np.asarray(file.convert("RGB"))


def shows(figure, color):
    """Whether a figure has an area of a colour, up to the smoothing of reduced pictures."""
    return (np.abs(figure.astype(int) - color).max(axis=2) <= 4).sum() > 20


def record(ids, recorder):
    """Run the greedy algorithm with the true masks."""

    def predict(points_yx):
        return np.array([np.float32(0.9) * (ids == ids[y, x]) for y, x in points_yx])

    aggregation = Aggregation(ids == 0, GreedySettings())
    for step in segment_random_points(predict, aggregation, np.random.default_rng(0)):
        recorder(step, aggregation)
    return aggregation


def recorded_steps(accepted, max_frames=10):
    """A recorder after iterations that were accepted or not."""
    recorder = IterationRecorder(max_frames)
    aggregation = Aggregation(np.zeros((2, 3), bool), GreedySettings())
    for is_accepted in accepted:
        recorder(Step((0, 0), np.ones((2, 3), bool), is_accepted), aggregation)
    return recorder


def numbers(recorder):
    return [frame.number for frame in recorder.frames]


@pytest.mark.parametrize("columns", [1, 2, 3, 6])
def test_grid(tmp_path, scene, columns):
    image, ids = scene
    path = tmp_path / "new" / "folder" / "grid.png"
    row = [draw_instances(image, ids)] * columns
    save_grid(path, ["Title"] * columns, [row, row])
    figure = picture(path)
    height_in_widths = 2 / columns
    assert figure.shape[0] / figure.shape[1] == pytest.approx(height_in_widths, abs=0.1)


def test_grid_of_several_sizes(tmp_path):
    wide, high = np.zeros((20, 40, 3), np.uint8), np.zeros((500, 300, 3), np.uint8)
    save_grid(tmp_path / "grid.png", ["A", "B"], [[wide, high], [high, wide]])
    picture(tmp_path / "grid.png")


def test_grid_keeps_colors(tmp_path):
    image = np.full((7, 7, 3), (10, 200, 90), np.uint8)
    save_grid(tmp_path / "grid.png", ["A", "B"], [[image, image]])
    height, width = picture(tmp_path / "grid.png").shape[:2]
    for x in (width // 4, 3 * width // 4):
        assert tuple(picture(tmp_path / "grid.png")[height // 2, x]) == (10, 200, 90)


def test_points(tmp_path, scene):
    image, ids = scene
    points_yx = np.array([np.argwhere(ids == i)[5] for i in (1, 2, 3, 4)])
    masks = np.array([ids == ids[y, x] for y, x in points_yx])
    save_points(tmp_path / "points.png", image, points_yx[:, ::-1], masks)
    assert shows(picture(tmp_path / "points.png"), (124, 252, 0))  # light green


def test_no_points(tmp_path, scene):
    save_points(tmp_path / "points.png", scene[0], np.zeros((0, 2)), np.zeros((0, 48, 48), bool))
    assert not shows(picture(tmp_path / "points.png"), (124, 252, 0))


@pytest.fixture
def texts(monkeypatch):
    """Every text of the figures that are written, with its place (left, bottom, right, top)."""
    found = []
    write = Figure.savefig

    def remember(figure, *arguments, **options):
        write(figure, *arguments, **options)
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                extent = Text.get_window_extent(text)  # without an annotation's line
                found.append((text.get_text(), extent.extents))

    monkeypatch.setattr(Figure, "savefig", remember)
    return found


def test_a_legend_and_names(tmp_path, scene, texts):
    rows = [[scene[0]] * 3] * 2
    names = ["a", "in/a/folder/" + "x" * 100]
    colors = {f"class number {i}": (9 * i, 0, 255 - 9 * i) for i in range(20)}
    save_grid(tmp_path / "grid.png", ["A", "B", "C"], rows, names, colors)
    figure = picture(tmp_path / "grid.png")
    assert all(shows(figure, color) for color in colors.values())
    places = dict(texts)
    assert set(colors) | {"A", "a"} <= places.keys()
    (shortened,) = (text for text in places if text.startswith("…"))
    assert shortened.endswith("xxx")
    assert places[shortened][3] <= places["a"][1]  # below it


def test_numbers_of_close_points_are_apart(tmp_path, scene, texts):
    points_xy = np.array([(45 + i % 2, 20 + i // 2) for i in range(7)])
    masks = np.zeros((7, 48, 48), bool)
    save_points(tmp_path / "points.png", scene[0], points_xy, masks)
    places = [place for text, place in texts if text.isdecimal()]
    assert len(places) == 7
    for i, (_, bottom, _, top) in enumerate(places):
        assert all(bottom >= p[3] or top <= p[1] for p in places[i + 1 :])


def test_a_map_without_peaks_says_why(tmp_path, scene, texts):
    scores = np.full((48, 48), 0.1234, np.float32)
    save_proposals(tmp_path / "proposals.png", scene[0], scores, np.zeros((0, 2)), 0.35)
    assert "No peak: the highest score is 0.123, the threshold 0.35" in dict(texts)


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_proposals(tmp_path, scene, count):
    image, ids = scene
    scores = (ids / 4).astype(np.float32)
    points_yx = np.argwhere(ids == 4)[:count]
    confidences = [((int(y), int(x)), scores) for y, x in points_yx]
    save_proposals(tmp_path / "proposals.png", image, scores, points_yx, 0.3, confidences)
    assert shows(picture(tmp_path / "proposals.png"), (124, 252, 0)) == (count > 0)


def test_iterations(tmp_path, scene):
    image, ids = scene
    recorder = IterationRecorder()
    record(ids, recorder)
    assert numbers(recorder) == [1, 2, 3, 4]
    save_iterations(tmp_path / "accepted.png", image, recorder)
    assert shows(picture(tmp_path / "accepted.png"), (124, 252, 0))
    assert not shows(picture(tmp_path / "accepted.png"), IGNORED_COLOR)

    recorder = recorded_steps([True, False, True])
    save_iterations(tmp_path / "ignored.png", np.zeros((2, 3, 3), np.uint8), recorder)
    assert shows(picture(tmp_path / "ignored.png"), IGNORED_COLOR)


def test_iterations_of_nothing(tmp_path, scene):
    save_iterations(tmp_path / "iterations.png", scene[0], IterationRecorder())
    picture(tmp_path / "iterations.png")


def test_recorder_copies_the_state(scene):
    recorder = IterationRecorder()
    aggregation = record(scene[1], recorder)
    found = [len(np.unique(frame.instance_map)) - 1 for frame in recorder.frames]
    assert found == [1, 2, 3, 4]
    np.testing.assert_array_equal(recorder.frames[-1].instance_map, aggregation.instance_map)
    assert not recorder.frames[0].segmented.all()
    assert recorder.frames[-1].segmented.all()


def test_recorder_keeps_one_of_ignored_in_succession():
    assert numbers(recorded_steps([True, False, False, False, True])) == [1, 2, 5]
    assert numbers(recorded_steps([False, False, True])) == [1, 3]


def test_recorder_ends_with_the_last_accepted():
    recorder = recorded_steps([True, True] + [False] * 100)
    assert numbers(recorder) == [1, 2]
    assert recorder.iterations == 102


def test_recorder_of_ignored_iterations_only():
    assert numbers(recorded_steps([False] * 5)) == [1]


@pytest.mark.parametrize("count", [9, 10, 11, 57, 300])
def test_recorder_spreads_its_frames(count):
    kept = numbers(recorded_steps([True] * count))
    assert len(kept) == min(count, 10)
    assert (kept[0], kept[-1]) == (1, count)
    assert np.diff(kept).max() <= 3 * count / len(kept)


def test_recorder_needs_two_frames():
    with pytest.raises(ValueError, match="at least 2, not 1"):
        IterationRecorder(1)


def test_one_pixel(tmp_path):
    image, ids = np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.int32)
    recorder = recorded_steps([])
    save_grid(tmp_path / "grid.png", ["A"], [[image]])
    save_points(tmp_path / "points.png", image, np.zeros((1, 2), int), ids[None] > 0)
    confidences = [((0, 0), ids * 1.0)]
    save_proposals(tmp_path / "proposals.png", image, ids * 0.5, [(0, 0)], 0.3, confidences)
    save_iterations(tmp_path / "iterations.png", image, recorder)
    for path in tmp_path.iterdir():
        picture(path)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_heat_maps(tmp_path, scene, count):
    image, ids = scene
    points_yx = [tuple(np.argwhere(ids == 4)[i].tolist()) for i in range(count)]
    maps = [(point, (ids == 4).astype(np.float32)) for point in points_yx]
    save_heat_maps(tmp_path / "heat.png", [(image, image, maps), (image, image, maps[:1])])
    assert shows(picture(tmp_path / "heat.png"), (124, 252, 0)) == (count > 0)  # light green
