from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from datasets import toy_scenes
from datasets.base import DataError
from datasets.toy_generator import generate
from datasets.toy_scenes import (
    LENGTHS,
    MARGIN,
    PAIR_OFFSET,
    WIDTHS,
    Capsule,
    draw_capsule,
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


def near(instance_map):
    """Whether the centres of consecutive ids lie within 15 px."""
    ids = range(1, instance_map.max() + 1)
    centers = np.array([np.argwhere(instance_map == i).mean(0) for i in ids])
    return np.hypot(*np.diff(centers, axis=0).T) < 15


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

    @pytest.mark.parametrize(
        ("y", "x", "angle", "expected"),
        [
            (1.5, 4.5, 0, True),  # its outline runs along two borders, half a pixel out
            (1.4, 4.5, 0, False),
            (1.5, 4.4, 0, False),
            (4.5, 1.5, np.pi / 2, True),
            (1.5, 4.5, np.pi / 2, False),
            (17.5, 14.5, np.pi, True),
            (17.6, 14.5, np.pi, False),
            (17.5, 14.6, np.pi, False),
            (3, 5, np.pi / 6, True),  # the upper cap's centre is 1.5 px higher up
            (2.9, 5, np.pi / 6, False),
        ],
    )
    def test_lies_within_an_image_of_20_px(self, y, x, angle, expected):
        assert Capsule(y, x, angle, length=10, width=4).lies_within(20) == expected

    def test_drawn_sizes_and_places(self):
        rng = np.random.default_rng(0)
        drawn = np.array([draw_capsule(rng, 96, None, rim_width=1) for _ in range(2000)])
        y, x, angle, length, width = drawn.T
        for values, (low, high) in (
            (y, (MARGIN - 0.5, 95.5 - MARGIN)),
            (x, (MARGIN - 0.5, 95.5 - MARGIN)),
            (angle, (0, np.pi)),
            (length - 2, LENGTHS),
            (width - 2, WIDTHS),
        ):
            assert low <= values.min() < low + 0.02 * (high - low)
            assert high - 0.02 * (high - low) < values.max() <= high

    def test_the_upper_of_a_pair_lies_on_the_lower(self):
        rng = np.random.default_rng(0)
        below = Capsule(y=30, x=60, angle=1, length=30, width=8)
        drawn = np.array([draw_capsule(rng, 96, below, 0) for _ in range(2000)])
        for values, center in zip(drawn.T, (30, 60)):
            assert np.abs(values - center).max() == pytest.approx(PAIR_OFFSET, rel=0.02)
        # at any angle, and more often nearly parallel: +-.4 would be a quarter of all by chance
        assert 0.25 < (np.abs(drawn[:, 2] - 1) < 0.4).mean() < 0.45


class TestGenerateScene:
    @pytest.fixture(scope="class")
    def scenes(self):
        return [generate_scene(np.random.default_rng(seed)) for seed in range(150)]

    def test_default_scenes(self, scenes):
        for image, instance_map in scenes:
            assert image.shape == (96, 96, 3)
            assert image.dtype == np.uint8
            assert instance_map.shape == (96, 96)
            assert instance_map.dtype == np.int32
            assert visible_areas(instance_map).min() > 0  # ids are contiguous
        assert {instance_map.max() for _, instance_map in scenes} == set(range(8, 23))

    def test_pieces(self, scenes):
        counts = []
        for _, instance_map in scenes:
            for instance_id in range(1, instance_map.max() + 1):
                mask = (instance_map == instance_id).astype(np.uint8)
                areas = cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA]
                counts.append(len(areas))
                assert areas.min() >= 30
        assert set(counts) == {1, 2}

    def test_objects_lie_in_pairs(self, scenes):
        # by chance two centres lie within 15 px in a tenth of the pairs of so small an image
        assert 0.35 < np.mean(np.concatenate([near(ids) for _, ids in scenes])) < 0.55

    def test_few_objects_reach_the_border(self, scenes):
        # none is cut by it, so that those which touch it do so with a cap or a flank's pixels
        border = [np.unique([ids[[0, -1]], ids[:, [0, -1]].T]) for _, ids in scenes]
        objects = sum(ids.max() for _, ids in scenes)
        assert sum((ids > 0).sum() for ids in border) < 0.03 * objects

    def test_colors_match_the_map(self, scenes):
        far_outside, rims, interiors = [], [], []
        for image, instance_map in scenes[:20]:
            ids = instance_map.astype(np.float32)
            far_outside.append(image[cv2.dilate(ids, np.ones((5, 5))) == 0])
            rims.append(image[(instance_map > 0) & (cv2.erode(ids, np.ones((3, 3))) == 0)])
            same = cv2.erode(ids, np.ones((9, 9))) == cv2.dilate(ids, np.ones((9, 9)))
            interiors.append(image[same & (instance_map > 0)])
        assert np.abs(np.concatenate(far_outside).mean(0) - 255).max() < 5
        # an outline against white is the darkest in red, the interior is almost pure red
        red, green, blue = np.concatenate(rims).mean(0)
        assert blue > red > green
        assert np.abs(np.median(np.concatenate(interiors), axis=0) - (250, 2, 4)).max() < 5

    def test_no_objects(self):
        image, instance_map = generate_scene(np.random.default_rng(0), 32, 0, 0)
        assert instance_map.max() == 0
        assert image.min() > 200

    def test_objects_that_do_not_fit(self):
        with pytest.raises(ValueError, match="of 60 finds no place in an image of 32x32"):
            generate_scene(np.random.default_rng(0), 32, 60, 60)

    def test_a_scene_without_a_place_is_begun_anew(self, monkeypatch):
        """One of 40,000: its sixtieth object finds none."""
        seed = (32, 0, 5552)
        _, instance_map = generate_scene(np.random.default_rng(seed), 128, 14, 60)
        assert instance_map.max() == 60
        monkeypatch.setattr(toy_scenes, "MAX_SCENES", 1)
        with pytest.raises(ValueError, match="object 60 of 60 finds no place"):
            generate_scene(np.random.default_rng(seed), 128, 14, 60)

    def test_images_too_small_for_an_object(self):
        with pytest.raises(ValueError, match="within 31x31 px: 32 is the least"):
            generate_scene(np.random.default_rng(0), 31, 1, 1)
        assert generate_scene(np.random.default_rng(0), 32, 1, 1)[1].max() == 1

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
        assert json.loads(written["toy.json"]) == {
            "generator": 2,
            "train": 20,
            "test": 3,
            "seed": 5,
            "size": 96,
            "objects": [8, 22],
            "degradation": "random",
        }

    def test_seeds_and_splits_differ(self, tmp_path):
        generate(tmp_path / "a", 2, 1, seed=0, workers=1)
        generate(tmp_path / "b", 1, 0, seed=1, workers=1)
        ids = ("a/train/00000", "a/train/00001", "a/test/00000", "b/train/00000")
        assert len({(tmp_path / f"{name}_im.png").read_bytes() for name in ids}) == 4

    @staticmethod
    def noise_stds(folder, count):
        """Std of the images' white areas."""
        for index in range(count):
            image = cv2.imread(str(folder / f"{index:05d}_rgb.png"))
            ids = cv2.imread(str(folder / f"{index:05d}_im.png"), cv2.IMREAD_UNCHANGED)
            yield image[cv2.erode((ids == 0).astype(np.uint8), np.ones((13, 13))) > 0].std()

    def test_only_test_images_are_degraded(self, tmp_path):
        generate(tmp_path, 8, 24, workers=1)
        assert max(self.noise_stds(tmp_path / "train", 8)) < 4
        # noise of 10 to 40 in half of them; white cuts off its upper half and so its std to 58 %
        stds = np.array(list(self.noise_stds(tmp_path / "test", 24)))
        noisy = stds[stds > 4]
        assert 6 <= len(noisy) <= 18
        assert 5 < noisy.min() < noisy.max() < 25

    def test_hardest_degradation(self, tmp_path):
        generate(tmp_path, 0, 4, degradation="hardest", workers=1)
        for std in self.noise_stds(tmp_path / "test", 4):
            assert std == pytest.approx(0.58 * 40, abs=1.5)

    def test_the_published_degradation_is_the_hardest_after_jpeg(self, tmp_path):
        for degradation in ("hardest", "published"):
            generate(tmp_path / degradation, 0, 1, degradation=degradation, workers=1)
        before, after = (
            cv2.imread(str(tmp_path / degradation / "test/00000_rgb.png"))
            for degradation in ("hardest", "published")
        )
        _, file = cv2.imencode(".jpg", before, (cv2.IMWRITE_JPEG_QUALITY, 90))
        np.testing.assert_array_equal(after, cv2.imdecode(file, cv2.IMREAD_COLOR))
        assert not np.array_equal(after, before)

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

    def test_refuses_the_earlier_generators_folder(self, tmp_path):
        parameters = {"train": 1, "test": 0, "seed": 0, "size": 96, "objects": [8, 22]}
        (tmp_path / "toy.json").write_text(json.dumps(parameters))
        with pytest.raises(
            DataError, match=r"toy\.json: images of .* version 1, and this is 2 \(del"
        ):
            generate(tmp_path, 1, 0, workers=1)

    def test_refuses_a_folder_of_other_data(self, tmp_path):
        (tmp_path / "train").mkdir()
        with pytest.raises(DataError, match=r"no toy\.json"):
            generate(tmp_path, 1, 0, workers=1)
        assert files(tmp_path) == {}

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": 1, "a": 2}'])
    def test_refuses_a_broken_toy_json(self, tmp_path, text):
        (tmp_path / "toy.json").write_text(text)
        with pytest.raises(DataError, match=r"toy\.json: not readable"):
            generate(tmp_path, 1, 0, workers=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objects", "1", "2", "3"], "one number or two"),
        (["--train", "-1"], "'-1' must be a whole number of at least 0"),
        (["--workers", "0"], "whole number of at least 1"),
        (["--objects", "99", "--size", "32", "--workers", "1"], "finds no place"),
        (["--degradation", "none"], "invalid choice"),
    ],
)
def test_command_line_errors(tmp_path, arguments, message):
    command = [sys.executable, "-m", "datasets.toy_generator", "--out", str(tmp_path / "toy")]
    done = subprocess.run(command + arguments, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
