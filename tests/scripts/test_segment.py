"""segment.py from its command line, with a backend that sees what is drawn."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import segment
from adaptis.disk import DiskError, FileNameError, sole_user
from adaptis.errors import ResultsError
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.segmenting import outputs
from adaptis.segmenting.clicks import ClicksError
from adaptis.segmenting.script import SegmentingError
from datasets.base import DataError
from tests.paths import ROOT
from tests.strategies import CLASSES, SeesWhatIsDrawn

OBJECTS = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 2, 2], [0, 0, 0, 0, 2, 2], [0, 0, 0, 0, 2, 2]])
IMAGE = np.stack([3 * (OBJECTS > 0), OBJECTS, 0 * OBJECTS], axis=2).astype(np.uint8)  # cars


@pytest.fixture
def encoded(monkeypatch):
    """Sizes of the images that went through the backbone, which is a stub."""
    sizes = []

    class Counting(SeesWhatIsDrawn):
        def encode(self, image):
            sizes.append(image.shape[1:])
            return super().encode(image)

    def load(weights, ctx):
        description = SeesWhatIsDrawn.description()
        description["classes"] = [{**c, "isthing": bool(c["isthing"])} for c in CLASSES]
        for info in description["classes"]:
            info["category_id"] = info["id"]
        predictor = AdaptISPredictor(Counting(), description)
        predictor.weights_sha256 = Path(weights).read_text()
        return predictor

    monkeypatch.setattr(AdaptISPredictor, "load", load)
    return sizes


@pytest.fixture
def folder(tmp_path, encoded):
    """Three images, the second of them broken, and a file of weights that nobody reads."""
    root = tmp_path / "in"
    root.mkdir()
    Image.fromarray(IMAGE).save(root / "a.png")
    (root / "b.png").write_bytes((root / "a.png").read_bytes()[:-30])
    Image.fromarray(IMAGE[:, ::-1].copy()).save(root / "c.png")
    (tmp_path / "w.params").write_bytes(b"weights")
    return tmp_path


def run(folder, *options, images=("in",), output="out"):
    where = ("--weights", folder / "w.params", "--output", folder / output)
    paths = [folder / image for image in images]
    segment.main([str(argument) for argument in (*paths, *where, *options)])


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_everything_of_sound_images_and_the_broken_one_in_the_end(folder, capsys):
    with pytest.raises(SegmentingError, match=r"^1 of 3 images .*:\n\S*b\.png: can't be read"):
        run(folder)
    out = folder / "out"
    assert [file for file in files(out) if not file.startswith(".")] == [
        *("csv/a.csv", "csv/c.csv", "json/a.json", "json/c.json"),
        *("labels/a.png", "labels/c.png", "overlay/a.png", "overlay/c.png"),
    ]
    labels = cv2.imread(str(out / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels > 0, OBJECTS > 0)
    assert len(np.unique(labels)) == 3
    with open(out / "csv" / "a.csv") as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    records = json.loads((out / "json" / "a.json").read_text())
    for record in records:
        row = rows[record["id"]]
        assert record["area"] == int(row["area"]) == (labels == record["id"]).sum()
        assert record["image_id"] == "a"
        assert row["category"] == "car"
    assert sorted(row["area"] for row in rows.values()) == ["4", "6"]
    assert "4 objects in 2 images: labels/, json/, overlay/, csv/ in" in capsys.readouterr().out


def test_the_same_command_goes_on_where_it_stopped(folder, encoded, monkeypatch, capsys):
    (folder / "in" / "b.png").unlink()
    with monkeypatch.context() as patch:
        real = SeesWhatIsDrawn.encode
        calls = []

        def stopped(self, image):
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(self, image)

        patch.setattr(SeesWhatIsDrawn, "encode", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    encoded.clear()
    first = (folder / "out" / "csv" / "a.csv").stat().st_mtime_ns
    run(folder)
    assert len(encoded) == 1
    assert (folder / "out" / "csv" / "a.csv").stat().st_mtime_ns == first
    assert "2 objects in 1 images, 1 images were segmented before" in capsys.readouterr().out
    run(folder)
    assert len(encoded) == 1


def test_another_image_of_the_same_name_is_segmented_anew(folder, encoded):
    run(folder, images=["in/a.png"])
    Image.fromarray(IMAGE[::-1].copy()).save(folder / "in" / "a.png")
    run(folder, images=["in/a.png"])
    assert len(encoded) == 2
    labels = cv2.imread(str(folder / "out" / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels > 0, OBJECTS[::-1] > 0)


def test_formats_can_be_chosen_and_added(folder):
    run(folder, "--formats", "csv", images=["in/a.png"])
    assert [file for file in files(folder / "out") if not file.startswith(".")] == ["csv/a.csv"]
    run(folder, "--formats", "labels", "csv", images=["in/a.png"])
    assert "labels/a.png" in files(folder / "out")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--mask-threshold", "0.6"), r"settings\.greedy\.mask_threshold: 0\.4, now 0\.6"),
        (("--intensity", "0", "9"), r"intensity: full, now \[0\.0, 9\.0\]"),
        (("--tile-size", "4"), r"settings\.tile_size: None, now 4"),
    ],
)
def test_results_of_other_settings_are_not_mixed(folder, options, what):
    run(folder, images=["in/a.png"])
    with pytest.raises(ResultsError, match=what):
        run(folder, *options, images=["in/a.png"])


def test_results_of_other_weights_are_not_mixed(folder):
    run(folder, images=["in/a.png"])
    (folder / "w.params").write_bytes(b"other weights")
    with pytest.raises(ResultsError, match=r"weights_sha256: .*, now .*choose another --output"):
        run(folder, images=["in/a.png"])


def test_tiles(folder, encoded):
    run(folder, images=["in/a.png"])
    run(folder, "--tile-size", "4", images=["in/a.png"], output="tiles")
    assert encoded == [(4, 6), (4, 4), (4, 4)]
    whole, tiles = (
        cv2.imread(str(folder / name / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
        for name in ("out", "tiles")
    )
    np.testing.assert_array_equal(whole > 0, tiles > 0)


def test_clicks(folder, encoded):
    (folder / "clicks.csv").write_text("image,x,y\nc.png,0,3\nc.png,5,0\n")
    run(folder, "--points", folder / "clicks.csv")
    assert [file for file in files(folder / "out" / "csv")] == ["c.csv"]
    labels = cv2.imread(str(folder / "out" / "labels" / "c.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, np.array([0, 2, 1])[OBJECTS[:, ::-1]])


def test_clicks_on_images_that_were_not_given(folder):
    (folder / "clicks.csv").write_text("image,x,y\nd.png,0,3\n")
    with pytest.raises(ClicksError, match=r"names images that weren't given: \['d\.png'\]"):
        run(folder, "--points", folder / "clicks.csv")


def test_a_click_outside_fails_its_image(folder):
    (folder / "clicks.csv").write_text("image,x,y\na.png,99,0\nc.png,0,3\n")
    with pytest.raises(SegmentingError, match=r"a\.png: point \(x, y\) = \(99\.0, 0\.0\)"):
        run(folder, "--points", folder / "clicks.csv")
    assert files(folder / "out" / "csv") == ["c.csv"]


def test_points_of_the_algorithm(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "adaptis.segmenting.script.segment_objects",
        lambda predictor, *_: seen.append(predictor.settings.points) or 1 / 0,
    )
    for points in ("proposals", "random"):
        with pytest.raises(ZeroDivisionError):
            run(folder, "--points", points, images=["in/a.png"], output=points)
    assert seen == ["proposals", "random"]


def test_a_missing_path_is_an_error_before_anything_is_loaded(folder, encoded):
    with pytest.raises(DataError, match="no such file or folder"):
        run(folder, images=["in", "typo"])
    assert not (folder / "out").exists()


def test_a_full_disk_stops_at_once(folder, encoded, monkeypatch):
    def full(*_):
        raise DiskError("out/labels/a.png: No space left on device")

    monkeypatch.setattr("adaptis.segmenting.outputs.write_atomically", full)
    with pytest.raises(DiskError, match="No space left"):
        run(folder, images=["in/a.png", "in/c.png"])
    assert len(encoded) == 1


def test_a_name_that_leaves_no_room_for_an_ending_fails_its_image(folder, encoded):
    (folder / "in" / "b.png").unlink()
    (folder / "in" / "c.png").rename(folder / "in" / ("x" * 250 + ".png"))
    (folder / "in" / "a.png").rename(folder / "in" / ("b" * 251 + ".png"))
    for _ in range(2):
        with pytest.raises(SegmentingError, match=r"1 of 2 .*\n.*/b{251}\.png: .* name too long"):
            run(folder)
    assert len(encoded) == 2
    assert files(folder / "out" / "csv") == ["x" * 250 + ".csv"]


def test_a_name_that_the_file_system_refuses_fails_its_image(folder, monkeypatch):
    """Such as a: on a USB stick."""
    write = outputs.write_atomically

    def some(path, content):
        if path.stem == "a":
            raise FileNameError(f"{path}: Invalid argument")
        write(path, content)

    monkeypatch.setattr(outputs, "write_atomically", some)
    with pytest.raises(SegmentingError, match=r"1 of 2 .*\n.*in/a\.png: .*Invalid argument$"):
        run(folder, images=["in/a.png", "in/c.png"])
    assert files(folder / "out" / "csv") == ["c.csv"]


@pytest.mark.parametrize("output", ["in", "."])
def test_results_beside_the_images(folder, encoded, output):
    (folder / "in" / "b.png").unlink()
    for _ in range(2):
        run(folder, "--recursive", output=output)
    assert len(encoded) == 2
    assert files(folder / output / "labels") == ["a.png", "c.png"]


def test_two_runs_do_not_share_a_folder(folder):
    with sole_user(folder / "out"), pytest.raises(DiskError, match="is in use by process"):
        run(folder)


def test_help_is_light_and_has_an_example():
    check = (
        "import sys, segment\n"
        "try: segment.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'mxnet', 'cv2', 'matplotlib', 'numba'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python segment.py images/ --weights" in result.stdout


def test_peaks_that_are_left_out_are_said(folder, capsys, monkeypatch):
    monkeypatch.setattr(AdaptISPredictor, "proposals", proposing_three_of_which_one)
    run(folder, "--points", "proposals", images=("in/a.png", "in/c.png"))
    assert "2 of 2 images have more point proposals than --max-proposals: 4 in all were not" in (
        capsys.readouterr().out
    )


def proposing_three_of_which_one(predictor):
    predictor.num_dropped += 2
    return None, np.array([[0, 0]])
