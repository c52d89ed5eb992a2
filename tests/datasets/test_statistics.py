"""What is measured of images and what a training makes of it, against counts by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datasets.base import ClassInfo, DataError, Instance, Sample
from datasets.check import main as check
from datasets.statistics import ImageStatistics, derive_defaults, measure
from datasets.training_report import CheckedSplit, describe, report_training
from tests.datasets.test_instances import write_coco, write_pair


def statistics(extents=(), size=(100, 100), brightest=255):
    extents = np.array(extents, np.int64)
    return ImageStatistics(size, extents**2, extents, brightest)


def test_measure():
    ids = np.array([[1, 1, 1, 0], [0, 0, 0, 5], [5, 0, 9, 5]])
    instances = {1: Instance(1), 5: Instance(1), 9: Instance(1, iscrowd=True)}
    image = np.zeros((3, 4, 3), np.uint8)
    image[1, 1] = 40
    found = measure(Sample("a", image, 0 * ids, ids, instances))
    assert found.size == (3, 4)
    assert found.areas.tolist() == [3, 3]
    assert found.extents.tolist() == [3, 4]  # object 5 is in two pieces
    assert found.brightest == 40
    assert found.crowds == 1


class TestDefaults:
    def test_percentiles(self):
        images = [statistics(range(1, 51)), statistics(range(51, 102))]  # 1 to 101 px
        defaults = derive_defaults(images, "data")
        assert defaults.relative_radius == 96  # the 95th percentile
        assert defaults.crop == 112  # 1.5 x 96 = 144, but no image is larger than 100; 7 x 16
        assert defaults.min_area == 4  # 2 x 2, the 1st percentile

    def test_small_objects_take_small_crops(self):
        assert derive_defaults([statistics([20])], "data").crop == 32

    def test_no_objects(self):
        with pytest.raises(DataError, match=r"data: none of 2 .* has an object \(give labels"):
            derive_defaults([statistics(), statistics()], "data")

    def test_nothing_but_crowds(self):
        images = [statistics()._replace(crowds=3), statistics()._replace(crowds=4)]
        match = r'2 training images has an object, but 7 crowds \("iscrowd": 1\) .*--crowds-are'
        with pytest.raises(DataError, match=match):
            derive_defaults(images, "data")


class TestReport:
    def test_lines(self):
        images = [
            statistics([3, 20], (40, 90)),
            statistics((), (300, 200), brightest=9),
            statistics([8]),
        ]
        defaults = derive_defaults(images, "data")._replace(crop=64, min_area=10)
        assert describe(images, defaults) == [
            "3 images of 40x90 to 300x200 px, 3 objects",
            "objects extend over 3 to 20 px, half of them over 8 at most",
            "1 images are padded to a window's size",
            "1 objects are under the size limit",
            "1 images are empty: background to learn from",
            "1 images are almost black: choose --intensity",
        ]

    def test_masks_instead_of_labels(self):
        images = [statistics([50]), statistics([60])]
        lines = describe(images, derive_defaults(images, "data"))
        assert lines[-1].startswith("no image has a second object")

    def test_classes_that_differ(self, capsys):
        def split(names, objects):
            dataset = type("", (), {})()
            dataset.classes = [ClassInfo(n, i, i > 0, (0, 0, 0)) for i, n in enumerate(names)]
            return CheckedSplit(dataset, np.array(objects), [statistics([9, 9])])

        train = split(["background", "cat", "dog"], [0, 5, 0])
        other = split(["background", "cat", "cow"], [0, 1, 1])
        problems = report_training("data", {"train": train, "val": other}, None)
        assert [str(p) for p in problems] == [
            "data: val has other categories than training: 2 (cow, thing) is 2 (dog, thing) in "
            "training (let both list the same)"
        ]
        fewer = split(["background", "cat"], [0, 1])
        assert report_training("data", {"train": train, "val": fewer}, None) == []
        (problem,) = report_training("data", {"train": train, "test": fewer}, None)
        assert "test has fewer categories than training" in str(problem)
        same = split(["background", "cat", "dog"], [0, 1, 1])
        assert report_training("data", {"train": train, "test": same}, None) == []
        assert "test: has objects of class dog, of which train has none" in capsys.readouterr().out


class TestCheck:
    def test_label_maps(self, tmp_path, capsys):
        for name in "abc":
            write_pair(tmp_path / "train", name)
        (tmp_path / "train" / "images" / "c.png").write_bytes(b"")
        assert check(["instances", str(tmp_path)]) == 1
        printed = capsys.readouterr().out
        assert "training: R 4 px, windows of 16 px, objects under 4 px are no targets" in printed
        assert "c.png: can't be read" in printed

    def test_a_training_set_left_without_objects(self, tmp_path, capsys):
        for name in "abc":
            write_pair(tmp_path, name)
        assert check(["instances", str(tmp_path)]) == 0
        assert check(["instances", str(tmp_path), "--min-area", "5"]) == 1
        assert "no object of the training images has 5 px or more" in capsys.readouterr().out

    @pytest.mark.parametrize("all_of_them", [True, False])
    def test_crowds(self, tmp_path, capsys, all_of_them):
        """As CVAT exports masks that are no polygons: the check says how many aren't trained on."""
        path = tmp_path / "train" / "_annotations.coco.json"
        write_coco(path, tmp_path / "train")
        write_coco(tmp_path / "val" / "_annotations.coco.json", tmp_path / "val")
        content = json.loads(path.read_text())
        crowd = {"size": [4, 4], "counts": [0, 4, 12]}  # the first column
        polygon = [[2, 0, 4, 0, 4, 4, 2, 4]]  # the last two
        of_a_cat = {"image_id": 1, "category_id": 3}
        content["annotations"] = [{**of_a_cat, "segmentation": crowd, "iscrowd": 1}]
        if not all_of_them:
            content["annotations"].append({**of_a_cat, "segmentation": polygon})
        path.write_text(json.dumps(content))
        assert check(["instances", str(tmp_path)]) == int(all_of_them)
        printed = capsys.readouterr().out
        assert 'train: 1 objects are crowds ("iscrowd": 1), no targets: if they' in printed
        assert ("none of 1 training images has an object, but 1 crowds" in printed) == all_of_them
        assert check(["instances", str(tmp_path), "--crowds-are-objects"]) == 0
        printed = capsys.readouterr().out
        assert "are crowds" not in printed
        assert f"train: 1 images of 4x4 px, {1 if all_of_them else 2} objects" in printed

    def test_a_test_split_alone(self, tmp_path, capsys):
        write_pair(tmp_path / "test", "a")
        assert check(["instances", str(tmp_path)]) == 0
        printed = capsys.readouterr().out
        assert "instances test: 1 of 1 images are sound" in printed
        assert "train" not in printed

    def test_what_is_wrong_with_two_splits_is_said_once(self, tmp_path, capsys):
        write_pair(tmp_path, "a")  # which leaves none to hold out
        assert check(["instances", str(tmp_path)]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line.startswith("BROKEN") for line in lines] == [True, False]
        assert lines[1] == "1 problems found"

    def test_coco(self, tmp_path, capsys):
        for split, name in (("train", "a"), ("valid", "b")):
            write_coco(tmp_path / split / "_annotations.coco.json", tmp_path / split, name)
        assert check(["instances", str(tmp_path), "--intensity", "0", "255"]) == 0
        assert "cat" in capsys.readouterr().out
        assert check(["instances", str(tmp_path), "--class-agnostic"]) == 0
        assert "cat" not in capsys.readouterr().out
