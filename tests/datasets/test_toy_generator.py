from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from datasets.base import DataError
from datasets.toy_generator import (
    LENGTHS,
    MIN_VISIBLE,
    WIDTHS,
    Capsule,
    draw_capsule,
    generate,
    generate_scene,
)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def visible_areas(instance_map):
    return np.bincount(instance_map.ravel())[1:]


class TestCapsule:
    # 10 px long and 4 wide: a segment from x = 7 to x = 13 on row 5, radius 2
    capsule = Capsule(y=5, x=10, angle=0, length=10, width=4)

    @pytest.mark.parametrize(
        ("y", "x", "expected"),
        [
            (5, 10, -2),  # the centre
            (7, 10, 0),  # the flank
            (5, 15, 0),  # the tip of the cap: half the length from the centre
            (5, 5, 0),
            (10, 10, 3),
            (8, 17, 3),  # 3-4-5 from the segment's end (5, 13), minus the radius
        ],
    )
    def test_signed_distance(self, y, x, expected):
        assert self.capsule.signed_distance(np.float64(y), np.float64(x)) == pytest.approx(expected)

    def test_angle_turns_from_x_towards_y(self):
        turned = self.capsule._replace(angle=np.pi / 6)
        cos, sin = np.sqrt(3) / 2, 1 / 2
        tip, flank = (5 + 5 * sin, 10 + 5 * cos), (5 + 2 * cos, 10 - 2 * sin)
        y, x = np.array([tip, flank]).T
        assert turned.signed_distance(y, x) == pytest.approx([0, 0])

    def test_drawn_sizes_and_places(self):
        rng = np.random.default_rng(0)
        drawn = np.array([draw_capsule(rng, 96) for _ in range(2000)])
        y, x, angle, length, width = drawn.T
        for values, (low, high) in (
            (y, (-0.5, 95.5)),
            (x, (-0.5, 95.5)),
            (angle, (0, np.pi)),
            (length, LENGTHS),
            (width, WIDTHS),
        ):
            assert low <= values.min() < low + 0.02 * (high - low)
            assert high - 0.02 * (high - low) < values.max() <= high


class TestGenerateScene:
    def test_default_scenes(self):
        counts = set()
        for seed in range(150):
            image, instance_map = generate_scene(np.random.default_rng(seed))
            assert image.shape == (96, 96, 3)
            assert image.dtype == np.uint8
            assert instance_map.shape == (96, 96)
            assert instance_map.dtype == np.int32
            assert visible_areas(instance_map).min() >= MIN_VISIBLE  # so ids are contiguous too
            counts.add(int(instance_map.max()))
        assert counts == set(range(8, 23))

    def test_objects_that_stick_out_are_visible_too(self):
        # a quarter of the smallest capsule, all that a corner shows of it, has about 20 px
        for seed in range(500):
            _, instance_map = generate_scene(np.random.default_rng(seed), 14, 1, 1)
            assert (instance_map == 1).sum() >= MIN_VISIBLE

    def test_large_scene_of_figure_3d(self):
        _, instance_map = generate_scene(np.random.default_rng(0), 256, 250, 250)
        areas = visible_areas(instance_map)
        assert len(areas) == 250
        assert areas.min() >= MIN_VISIBLE

    def test_colors_match_the_map(self):
        image, instance_map = generate_scene(np.random.default_rng(1))
        background = (instance_map == 0).astype(np.uint8)
        objects = 1 - background
        far_outside = cv2.erode(background, np.ones((5, 5))) > 0
        assert np.abs(image[far_outside].mean(0) - 255).max() < 5
        # an outline against white is the darkest in red, the interior is almost pure red
        rim = (objects > 0) & (cv2.dilate(background, np.ones((3, 3))) > 0)
        red, green, blue = image[rim].mean(0)
        assert blue > red > green
        depth = cv2.distanceTransform(np.pad(objects, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        single = cv2.erode(instance_map.astype(np.float32), np.ones((9, 9))) == cv2.dilate(
            instance_map.astype(np.float32), np.ones((9, 9))
        )
        assert np.abs(np.median(image[single & (depth > 4)], axis=0) - (250, 2, 4)).max() < 5

    def test_no_objects(self):
        image, instance_map = generate_scene(np.random.default_rng(0), 32, 0, 0)
        assert instance_map.max() == 0
        assert image.min() > 200

    def test_objects_that_do_not_fit(self):
        with pytest.raises(ValueError, match="of 60 finds no place in an image of 32x32"):
            generate_scene(np.random.default_rng(0), 32, 60, 60)

    def test_nonsense(self):
        with pytest.raises(ValueError, match="9 to 8"):
            generate_scene(np.random.default_rng(0), 96, 9, 8)


class TestGenerate:
    def test_same_bytes_whatever_the_workers(self, tmp_path):
        for workers in (1, 2):
            generate(tmp_path / str(workers), 20, 3, seed=5, workers=workers)
        written = files(tmp_path / "1")
        assert written == files(tmp_path / "2")
        assert len(written) == 2 * 23 + 1
        assert {"train/00019_rgb.png", "train/00019_im.png", "test/00002_im.png"} < set(written)

    def test_seeds_and_splits_differ(self, tmp_path):
        generate(tmp_path / "a", 2, 1, seed=0, workers=1)
        generate(tmp_path / "b", 1, 0, seed=1, workers=1)
        ids = ("a/train/00000", "a/train/00001", "a/test/00000", "b/train/00000")
        assert len({(tmp_path / f"{name}_im.png").read_bytes() for name in ids}) == 4

    def test_only_test_images_are_degraded(self, tmp_path):
        generate(tmp_path, 3, 3, workers=1)
        for split, low, high in (("train", 0, 4), ("test", 8, 20)):  # std 4 and 20, cut at white
            for index in range(3):
                image = cv2.imread(str(tmp_path / split / f"{index:05d}_rgb.png"))
                ids = cv2.imread(str(tmp_path / split / f"{index:05d}_im.png"), -1)
                white = cv2.erode((ids == 0).astype(np.uint8), np.ones((9, 9))) > 0
                assert low < image[white].std() < high

    @pytest.mark.parametrize(("objects", "dtype"), [(255, np.uint8), (256, np.uint16)])
    def test_ids_take_16_bits_when_8_are_too_few(self, tmp_path, objects, dtype):
        generate(tmp_path, 0, 1, size=300, objects=(objects, objects), workers=1)
        ids = cv2.imread(str(tmp_path / "test" / "00000_im.png"), cv2.IMREAD_UNCHANGED)
        assert ids.dtype == dtype
        assert ids.max() == objects

    def test_a_second_call_writes_only_what_is_missing(self, tmp_path, capsys):
        generate(tmp_path, 3, 0, workers=1)
        complete = files(tmp_path)
        kept, lost = tmp_path / "train/00000_rgb.png", tmp_path / "train/00001_im.png"
        before = kept.stat().st_mtime_ns
        lost.unlink()
        generate(tmp_path, 3, 0, workers=1)
        assert files(tmp_path) == complete
        assert kept.stat().st_mtime_ns == before
        capsys.readouterr()
        generate(tmp_path, 3, 0, workers=1)
        assert "nothing to do" in capsys.readouterr().out

    def test_refuses_other_parameters(self, tmp_path):
        generate(tmp_path, 1, 0, workers=1)
        with pytest.raises(DataError, match=r"other parameters.*--out") as error:
            generate(tmp_path, 1, 0, seed=1, workers=1)
        assert error.value.path == tmp_path

    def test_refuses_a_folder_of_other_data(self, tmp_path):
        (tmp_path / "train").mkdir()
        with pytest.raises(DataError, match=r"no toy\.json"):
            generate(tmp_path, 1, 0, workers=1)
        assert files(tmp_path) == {}

    def test_refuses_a_broken_toy_json(self, tmp_path):
        (tmp_path / "toy.json").write_text("{")
        with pytest.raises(DataError, match=r"toy\.json: not readable"):
            generate(tmp_path, 1, 0, workers=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objects", "1", "2", "3"], "one number or two"),
        (["--train", "-1"], "can't be negative"),
        (["--workers", "0"], "starts at 1"),
        (["--objects", "99", "--size", "32", "--workers", "1"], "finds no place"),
    ],
)
def test_command_line_errors(tmp_path, arguments, message):
    command = [sys.executable, "-m", "datasets.toy_generator", "--out", str(tmp_path / "toy")]
    done = subprocess.run(command + arguments, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
