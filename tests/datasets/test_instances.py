"""Which files of a folder are which split, and what is held out."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.instances import open_instances, splits_of
from datasets.views import Cached, FixedWindows, Selection, held_out, times_by_area


def write_pair(folder, name):
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(folder / kind / f"{name}.png")


def write_coco(json_path, images_dir, name="a"):
    (images_dir / name).parent.mkdir(parents=True, exist_ok=True)
    json_path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(images_dir / f"{name}.png")
    content = {
        "images": [{"id": 1, "file_name": f"{name}.png", "height": 4, "width": 4}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4]]}
        ],
    }
    json_path.write_text(json.dumps(content))


def test_other_processes_can_read_them(tmp_path):
    """Of both kinds: what they are sent gives the same samples."""
    write_pair(tmp_path / "labels" / "test", "a")
    write_coco(tmp_path / "coco/test/_annotations.coco.json", tmp_path / "coco" / "test")
    for kind in ("labels", "coco"):
        dataset = open_instances(tmp_path / kind, "test")
        copy = pickle.loads(pickle.dumps(dataset))
        np.testing.assert_array_equal(copy[0].instance_map, dataset[0].instance_map)
        assert copy[0].instances == dataset[0].instances


class TestLabelMaps:
    def test_a_tenth_is_held_out_once_and_for_all(self, tmp_path):
        for i in range(30):
            write_pair(tmp_path, f"{i:02d}")
        train, val = (open_instances(tmp_path, split).names for split in ("train", "val"))
        assert (len(train), len(val)) == (27, 3)
        assert sorted(train + val) == [f"{i:02d}" for i in range(30)]
        assert val == open_instances(tmp_path, "val").names
        assert val != open_instances(tmp_path, "val", seed=1).names
        with pytest.raises(DataError, match=r"has no split 'test', but train and val .*--split"):
            open_instances(tmp_path, "test")
        assert splits_of(tmp_path) == ["train", "val"]

    def test_the_test_images_are_never_held_out(self, tmp_path):
        for name in "abc":
            write_pair(tmp_path / "train", name)
        write_pair(tmp_path / "test", "z")
        names = {split: open_instances(tmp_path, split).names for split in splits_of(tmp_path)}
        assert sorted(names["train"] + names["val"]) == ["a", "b", "c"]
        assert names["test"] == ["z"]

    def test_nothing_is_held_out_of_a_root_beside_val(self, tmp_path):
        names = [f"{i:02d}" for i in range(20)]
        for name in names:
            write_pair(tmp_path, name)
        write_pair(tmp_path / "val", "a")
        assert splits_of(tmp_path) == ["train", "val"]
        assert open_instances(tmp_path, "train").names == names
        assert open_instances(tmp_path, "val").names == ["a"]

    def test_a_test_split_alone(self, tmp_path):
        write_pair(tmp_path / "test", "a")
        assert splits_of(tmp_path) == ["test"]
        for split in ("train", "val", "other"):
            with pytest.raises(DataError, match=f"has no split '{split}'"):
                open_instances(tmp_path, split)

    @pytest.mark.parametrize("json_name", ["metadata.json", "train.json", "annotations/b.json"])
    def test_other_json_files_beside_label_maps(self, tmp_path, json_name):
        for folder in (tmp_path / "whole", tmp_path / "split/train", tmp_path / "split/val"):
            for name in "ab":
                write_pair(folder, name)
            (folder / json_name).parent.mkdir(exist_ok=True)
            (folder / json_name).write_text("{}")
        (tmp_path / "split" / "test_scores.json").write_text("{}")
        assert len(open_instances(tmp_path / "whole", "train")) == 1
        assert splits_of(tmp_path / "split") == ["train", "val"]
        for split in ("train", "val"):
            assert open_instances(tmp_path / "split", split).names == ["a", "b"]

    @pytest.mark.parametrize("folder", ["val", "valid", "validation", "Val", "VALIDATION"])
    def test_own_validation_images(self, tmp_path, folder):
        write_pair(tmp_path / ("train" if folder.islower() else "Train"), "a")
        write_pair(tmp_path / folder, "b")
        assert open_instances(tmp_path, "train").names == ["a"]
        assert open_instances(tmp_path, "val").names == ["b"]

    def test_one_image_leaves_none(self, tmp_path):
        write_pair(tmp_path, "a")
        with pytest.raises(DataError, match="is the only image"):
            open_instances(tmp_path, "train")

    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match="no such folder"):
            open_instances(tmp_path / "x", "train")


class TestCOCO:
    def test_cocos_own(self, tmp_path):
        for split, name in (("train2017", "a"), ("val2017", "b")):
            annotations = tmp_path / "annotations" / f"instances_{split}.json"
            write_coco(annotations, tmp_path / split, name)
        assert open_instances(tmp_path, "train").names == ["a"]
        assert open_instances(tmp_path, "val")[0].instances

    def test_roboflows(self, tmp_path):
        for split, name in (("train", "a"), ("valid", "b"), ("test", "c")):
            write_coco(tmp_path / split / "_annotations.coco.json", tmp_path / split, name)
        names = [open_instances(tmp_path, split)[0].name for split in ("train", "val", "test")]
        assert names == ["a", "b", "c"]

    @pytest.mark.parametrize("prefix", ["instances_", ""])
    @pytest.mark.parametrize("annotations", ["annotations", "."])
    @pytest.mark.parametrize("images", ["images", "images/{}", "{}"])
    @pytest.mark.parametrize(
        "splits", [("Train", "Validation", "Test"), ("train", "val"), ("train2017", "valid")]
    )
    def test_a_file_a_split(self, tmp_path, prefix, annotations, images, splits):
        """CVAT's subsets are Train, Validation and Test."""
        for split, name in zip(splits, "abc"):
            json_path = tmp_path / annotations / f"{prefix}{split}.json"
            write_coco(json_path, tmp_path / images.format(split), name)
        found = splits_of(tmp_path)
        assert found == ["train", "val", "test"][: len(splits)]
        assert [open_instances(tmp_path, s)[0].name for s in found] == list("abc")[: len(splits)]

    def test_images_of_a_split_in_a_folder_of_another_name(self, tmp_path):
        for split, folder in (("Train", "images/train"), ("Validation", "val")):
            json_path = tmp_path / "annotations" / f"instances_{split}.json"
            write_coco(json_path, tmp_path / folder, split)
        names = [open_instances(tmp_path, split)[0].name for split in ("train", "val")]
        assert names == ["Train", "Validation"]

    @pytest.mark.parametrize(
        ("json_name", "images"),
        [
            ("annotations.json", "images"),
            ("annotations.json", "."),
            ("annotations/instances_default.json", "images"),
            ("annotations/x.json", "images"),
            ("train.json", "images"),
        ],
    )
    def test_a_file_in_the_folder_of_a_split(self, tmp_path, json_name, images):
        for split in ("train", "val"):
            write_coco(tmp_path / split / json_name, tmp_path / split / images, split)
        assert [open_instances(tmp_path, s)[0].name for s in ("train", "val")] == ["train", "val"]

    def test_labelmes_converter(self, tmp_path):
        for split in ("train", "val"):
            write_coco(tmp_path / split / "annotations.json", tmp_path / split, "JPEGImages/a")
        dataset = open_instances(tmp_path, "train")
        assert dataset.image_path(0) == tmp_path / "train" / "JPEGImages" / "a.png"
        assert len(dataset[0].instances) == 1

    @pytest.mark.parametrize(
        "other", ["._instances_default.json", "person_keypoints_default.json", "captions_x.json"]
    )
    def test_files_beside_that_of_instances(self, tmp_path, other):
        annotations = tmp_path / "annotations" / "instances_default.json"
        write_coco(annotations, tmp_path / "images")
        write_coco(tmp_path / "val" / "_annotations.coco.json", tmp_path / "val", "b")
        (annotations.parent / other).write_bytes(b"\0")
        assert open_instances(tmp_path, "train").names == ["a"]

    def test_a_file_of_something_else(self, tmp_path):
        (tmp_path / "metadata.json").write_text("{}")
        with pytest.raises(DataError, match=r"metadata\.json: .*if it is another file, move it"):
            open_instances(tmp_path, "train")

    def test_a_single_file(self, tmp_path):
        """CVAT's export: its images are in images/, a part is held out."""
        write_coco(tmp_path / "annotations" / "instances_default.json", tmp_path / "images")
        with pytest.raises(DataError, match="is the only image"):
            open_instances(tmp_path, "train")

    def test_options_reach_the_reader(self, tmp_path):
        write_coco(tmp_path / "test" / "_annotations.coco.json", tmp_path / "test")
        assert open_instances(tmp_path, "test").classes[1].name == "cat"
        assert open_instances(tmp_path, "test", class_agnostic=True).classes[1].name == "object"
        path = tmp_path / "test" / "_annotations.coco.json"
        path.write_text(path.read_text().replace('"category_id"', '"iscrowd": 1, "category_id"'))
        for objects in (True, False):
            sample = open_instances(tmp_path, "test", crowds_are_objects=objects)[0]
            assert [record.iscrowd for record in sample.instances.values()] == [not objects]

    def test_labelmes_own_files(self, tmp_path):
        for name in ("a", "b"):
            content = {"version": "5.0.1", "flags": {}, "shapes": [], "imagePath": f"{name}.png"}
            (tmp_path / f"{name}.json").write_text(json.dumps(content, indent=2))
        with pytest.raises(DataError, match=r"has labelme's annotations.*labelme2coco"):
            open_instances(tmp_path, "train")

    def test_a_folder_called_like_a_file(self, tmp_path):
        (tmp_path / "instances_train.json").mkdir()
        with pytest.raises(DataError, match=r"instances_train\.json: .*is a folder"):
            open_instances(tmp_path, "train")

    def test_two_files_are_one_too_many(self, tmp_path):
        for name in ("a", "b"):
            write_coco(tmp_path / f"{name}.json", tmp_path)
        match = r"several files of annotations: a\.json, b\.json \(name them instances_train\.json"
        with pytest.raises(DataError, match=match):
            open_instances(tmp_path, "train")
        for name in "cdefg":
            (tmp_path / f"{name}.json").touch()
        with pytest.raises(DataError, match=r"d\.json, e\.json, \.\.\. \("):
            open_instances(tmp_path, "train")


@pytest.fixture
def dataset(tmp_path):
    for i in range(3):
        write_pair(tmp_path / "test", str(i))
    return open_instances(tmp_path, "test")


class TestViews:
    def test_selection(self, dataset, tmp_path):
        view = Selection(dataset, [2, 0, 2])
        assert (len(view), view.names, view.classes) == (3, ["2", "0", "2"], dataset.classes)
        assert view[1].name == "0"
        assert view.image_path(0) == tmp_path / "test" / "images" / "2.png"

    def test_larger_images_more_often(self):
        assert times_by_area([(10, 10), (10, 20), (30, 20)]) == [1, 1, 3]

    def test_held_out_and_the_rest_are_all(self, dataset):
        names = [held_out(dataset, split).names for split in ("train", "val")]
        assert sorted(names[0] + names[1]) == ["0", "1", "2"]
        assert len(names[1]) == 1

    def test_cache_answers_alike_and_survives_its_users(self, dataset, tmp_path):
        expected, cached = dataset[0], Cached(dataset, 10_000)
        for _ in range(2):
            sample = cached[0]
            for name in ("image", "semantic_map", "instance_map"):
                array = getattr(sample, name)
                np.testing.assert_array_equal(array, getattr(expected, name))
                assert array.dtype == getattr(expected, name).dtype
                array[:] = 1
            assert sample.instances == expected.instances
        (tmp_path / "test" / "images" / "0.png").unlink()
        assert cached[0].name == "0"  # from memory

    def test_a_full_cache_reads(self, dataset, tmp_path):
        cached = Cached(dataset, 4 * 4 * 7)  # one sample's bytes
        for i in range(2):
            assert cached[i].name == str(i)
            (tmp_path / "test" / "images" / f"{i}.png").unlink()
        assert cached[0].name == "0"
        with pytest.raises(DataError, match="is missing"):
            cached[1]

    def test_fixed_windows_are_always_the_same(self, dataset):
        def cut(sample, rng):
            return rng.random()

        windows = FixedWindows(dataset, cut)
        assert windows[0] == windows[0] != windows[1]
        assert FixedWindows(dataset, cut, seed=1)[0] != windows[0]
