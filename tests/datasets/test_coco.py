"""The COCO panoptic reader on tiny labels, each with the answer beside it, and on broken files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from datasets.base import VOID, DataError, Instance
from datasets.coco import COCOPanopticDataset
from datasets.skip_broken import SkipBroken
from tests.paths import SHARED

SAMPLE = SHARED / "coco_sample"  # two images of val2017
CATEGORIES = [
    {"id": 5, "name": "cat", "isthing": 1, "color": [10, 20, 30]},
    {"id": 900, "name": "grass", "isthing": 0, "color": [0, 255, 0]},
    {"id": 7, "name": "dog", "isthing": 1, "color": [40, 50, 60]},
]
GRASS, CAT, DOG = 0, 1, 2  # stuff first, then the file's order


def segment(segment_id, category_id, iscrowd=0):
    return {"id": segment_id, "category_id": category_id, "iscrowd": iscrowd}


def content(segments, **changes):
    return {
        "images": [{"id": 3, "file_name": "a.png"}],
        "annotations": [{"image_id": 3, "file_name": "a.png", "segments_info": segments}],
        "categories": CATEGORIES,
        **changes,
    }


def write_label(path, ids):
    ids = np.array(ids)
    Image.fromarray(np.stack([ids >> s & 255 for s in (0, 8, 16)], 2).astype(np.uint8)).save(path)


def open_dataset(root, ids, annotations):
    """Write the files of one image and open them."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(exist_ok=True)
    Image.new("RGB", np.array(ids).shape[::-1]).save(root / "images" / "a.png")
    write_label(root / "labels" / "a.png", ids)
    (root / "labels.json").write_text(json.dumps(annotations))
    return COCOPanopticDataset(root / "images", root / "labels.json", root / "labels")


def test_by_hand(tmp_path):
    ids = [[0, 70000, 70000], [9, 2**24 - 1, 300]]
    segments = [segment(70000, 5), segment(9, 900), segment(2**24 - 1, 7, 1), segment(300, 5)]
    dataset = open_dataset(tmp_path, ids, content(segments))
    assert [info.name for info in dataset.classes] == ["grass", "cat", "dog"]
    assert dataset.classes[GRASS] == ("grass", 900, False, (0, 255, 0))
    assert (dataset.names, dataset.image_ids, len(dataset)) == (["a"], [3], 1)
    sample = dataset[0]
    assert sample.semantic_map.tolist() == [[VOID, CAT, CAT], [GRASS, DOG, CAT]]
    assert sample.instance_map.tolist() == [[0, 2, 2], [0, 3, 1]]
    assert sample.instances == {1: Instance(CAT), 2: Instance(CAT), 3: Instance(DOG, iscrowd=True)}
    assert sample.semantic_map.dtype == sample.instance_map.dtype == np.int32


@pytest.mark.parametrize(
    ("ids", "segments", "semantic_map", "instances"),
    [
        ([[1, 1]], [segment(1, 5, 1)], [[CAT, CAT]], {1: Instance(CAT, iscrowd=True)}),  # a crowd
        ([[4, 0]], [segment(4, 900)], [[GRASS, VOID]], {}),  # no things
        (
            [[4, 2]],
            [segment(4, 5), segment(2, 7)],
            [[CAT, DOG]],
            {1: Instance(DOG), 2: Instance(CAT)},
        ),
        ([[0, 0]], [], [[VOID, VOID]], {}),  # nothing
    ],
)
def test_unbalanced_images(tmp_path, ids, segments, semantic_map, instances):
    sample = open_dataset(tmp_path, ids, content(segments))[0]
    assert sample.semantic_map.tolist() == semantic_map
    assert sample.instances == instances


def test_more_than_65535_objects(tmp_path):
    ids = np.random.default_rng(0).permutation(70000).reshape(250, 280) + 1
    sample = open_dataset(tmp_path, ids, content([segment(i, 5) for i in range(1, 70001)]))[0]
    assert np.array_equal(sample.instance_map, ids)
    assert len(sample.instances) == 70000


@pytest.mark.parametrize(
    ("ids", "segments", "problem"),
    [
        ([[1, 2, 3]], [segment(1, 5)], r"2 ids in the PNG but not in the JSON file: \[2, 3\]"),
        ([[1, 0]], [segment(1, 5), segment(8, 5)], r"1 ids in the JSON file but not .*: \[8\]"),
        (
            [[1, 2]],
            [segment(1, 5), segment(3, 5)],
            r"in the PNG .*\[2\]; 1 ids in the JSON .*\[3\]",
        ),
        ([[1]], [segment(1, 6)], r"unknown categories \[6\]"),
        ([[1]], [segment(1, 5), segment(1, 7)], r"aren't all different"),
        ([[1, 2]], [segment(1, 900), segment(2, 900)], r"several segments .* categories \[900\]"),
        ([[1]], [segment(1, 900, 1)], r"stuff marked as iscrowd: \[1\]"),
        ([[0]], [segment(0, 5)], r"in 1 \.\. 16777215"),
        ([[1]], [segment(1, 5), segment(2**24, 5)], r"in 1 \.\. 16777215"),
        ([[1]], [segment(1, 5), segment(-4, 5)], r"in 1 \.\. 16777215"),
    ],
)
def test_png_and_json_differ(tmp_path, ids, segments, problem):
    dataset = open_dataset(tmp_path, ids, content(segments))
    with pytest.raises(DataError, match=rf"labels/a\.png: .*{problem}.*labels\.json"):
        dataset[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"categories": [{"id": 1, "name": "cat"}]},
            r"format: categories\[0\]\.isthing is missing",
        ),
        ({"categories": [CATEGORIES[0]] * 2}, "two categories share an id"),
        ({"categories": 3}, "isn't in COCO panoptic format"),
        ({"categories": []}, "it has no categories"),
        ({"images": []}, "lists no images"),
        ({"images": {"id": 3}}, "images is an object, a list was expected"),
        ({"annotations": None}, "annotations is null, a list was expected"),
    ],
)
def test_broken_json(tmp_path, changes, problem):
    with pytest.raises(DataError, match=rf"labels\.json: .*{problem}"):
        open_dataset(tmp_path, [[0]], content([], **changes))


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list(tmp_path, key):
    whole = content([])
    del whole[key]
    with pytest.raises(DataError, match=rf"labels\.json: .* {key} is missing"):
        open_dataset(tmp_path, [[0]], whole)


IMAGE = {"id": 3, "file_name": "a.png"}
ANNOTATION = {"image_id": 3, "file_name": "a.png", "segments_info": []}


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"annotations": []}, ["annotations has no entry of image 3"]),
        ({"images": [{**IMAGE, "id": 4}]}, ["annotations .* image 4", "images .* image 3"]),
        (
            {"annotations": [{"image_id": 3, "file_name": "a.png"}]},
            [r"annotations\[0\]\.segments_info is missing"],
        ),
        ({"annotations": [ANNOTATION] * 2}, [r"annotations\[1\] is a second entry of image 3"]),
        (
            {"annotations": [{**ANNOTATION, "segments_info": [{"id": 1}]}]},
            [r"segments_info\[0\]\.category_id is miss"],
        ),
        (
            {"annotations": [{**ANNOTATION, "segments_info": [segment(2**70, 5)]}]},
            [r"annotations\[0\]\.segments_info\[0\]\.id is 1180591620717411303424"],
        ),
        (
            {"annotations": [ANNOTATION, "nonsense"]},
            [None, r"annotations\[1\] is \"nonsense\", not an object"],
        ),
        ({"annotations": [ANNOTATION, {}]}, [None, r"annotations\[1\]\.image_id is missing"]),
        ({"images": [IMAGE, {**IMAGE, "id": []}]}, [None, r"images\[1\]\.id is a list of 0"]),
        ({"images": [IMAGE, {"id": 4}]}, [None, r"images\[1\]\.file_name is missing"]),
        ({"images": [IMAGE, {**IMAGE, "id": 4}]}, ["2 images are named a"] * 2),
        ({"images": [IMAGE] * 3}, [r"images\[1\] .* a second entry", r"images\[2\] .* a second"]),
        (
            {"images": [{"id": 3}], "annotations": [{"image_id": 3}]},
            [r"images\[0\]\.file_name", r"annotations\[0\]\.file_name"],
        ),
    ],
)
def test_broken_entries_fail_when_read(tmp_path, changes, problems):
    dataset = open_dataset(tmp_path, [[0]], content([], **changes))
    assert len(dataset) == len(dataset.names) == len(dataset.image_ids) == len(problems)
    for index, problem in enumerate(problems):
        if problem is None:
            assert dataset[index].name == "a"
            continue
        for _ in range(2):  # every time
            with pytest.raises(DataError, match=rf"labels\.json: .*{problem}"):
                dataset[index]


@pytest.mark.parametrize("file_name", ["../secret.png", "/etc/passwd", "x/../../secret.png"])
@pytest.mark.parametrize("key", ["images", "annotations"])
def test_names_stay_in_their_folder(tmp_path, file_name, key):
    Image.new("RGB", (1, 1)).save(tmp_path / "secret.png")
    whole = content([])
    whole[key][0]["file_name"] = file_name
    with pytest.raises(DataError, match="leads out of this folder"):
        open_dataset(tmp_path, [[0]], whole)[0]


def test_skip_broken_replaces_broken_entries(tmp_path, capsys):
    changes = {"images": [{"id": 4}, IMAGE, {}], "annotations": [ANNOTATION, {"image_id": 4}]}
    dataset = SkipBroken(open_dataset(tmp_path, [[0]], content([], **changes)))
    assert [sample.name for sample in dataset] == ["a"] * 4
    assert "left out, 3 of 4" in capsys.readouterr().err


def test_sizes_differ(tmp_path):
    dataset = open_dataset(tmp_path, [[0, 0]], content([]))
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match=r"images/a\.png: the image is 4 x 5 .* its label 1 x 2"):
        dataset[0]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_label_must_be_rgb(tmp_path, mode):
    dataset = open_dataset(tmp_path, [[0]], content([]))
    Image.new(mode, (1, 1)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(DataError, match=rf"labels/a\.png: is of .*{mode}, a panoptic PNG is"):
        dataset[0]


@pytest.mark.skipif(not SAMPLE.exists(), reason=f"the real COCO images aren't at {SAMPLE}")
def test_real_images():
    labels = SAMPLE / "panoptic_examples"
    json_path = labels.with_suffix(".json")
    dataset = COCOPanopticDataset(SAMPLE / "input_images", json_path, labels)
    assert dataset.names == ["000000142238", "000000439180"]
    assert [sum(info.isthing for info in dataset.classes), len(dataset.classes)] == [80, 133]
    official = {
        annotation["image_id"]: annotation["segments_info"]
        for annotation in json.loads(json_path.read_text())["annotations"]
    }
    for image_id, sample in zip(dataset.image_ids, dataset):
        found, expected = [], []
        for instance_id, instance in sample.instances.items():
            category = dataset.classes[instance.class_index].category_id
            area = int((sample.instance_map == instance_id).sum())
            found.append((category, area, int(instance.iscrowd)))
        for i, info in enumerate(dataset.classes):
            area = int((sample.semantic_map == i).sum())
            if area and not info.isthing:
                found.append((info.category_id, area, 0))
        for one in official[image_id]:
            expected.append((one["category_id"], one["area"], one["iscrowd"]))
        assert sorted(found) == sorted(expected)
        assert sample.image.mean() > 50  # a photograph, not a blank
