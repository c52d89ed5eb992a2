"""COCO instances: masks known by hand, the rule for overlaps, and what is wrong in a file."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from adaptis.json_types import Entry
from datasets.base import DataError, Instance
from datasets.coco_instances import COCOInstancesDataset, encode_mask
from datasets.run_lengths import decode_run_lengths

SLOW_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SIZE = (6, 8)
SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]  # (x, y): columns 1 to 4, rows 1 to 4
SMALL = [[3, 3, 5, 3, 5, 5, 3, 5]]  # columns 3 and 4, rows 3 and 4
TALL = {"size": [6, 8], "counts": [36, 6, 6]}  # column 6, all rows
CONTENT = {
    "images": [{"id": 7, "file_name": "a.png", "height": 6, "width": 8}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "segmentation": SMALL, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "segmentation": SQUARE, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 3, "segmentation": TALL, "iscrowd": 1},
    ],
}


@pytest.fixture
def write(tmp_path):
    """A function: (content, options) -> its data set, with an image a.png."""

    def write(content=CONTENT, **options):
        Image.new("RGB", SIZE[::-1], (0, 90, 255)).save(tmp_path / "a.png")
        (tmp_path / "x.json").write_text(json.dumps(content))
        return COCOInstancesDataset([tmp_path], tmp_path / "x.json", **options)

    return write


def changed(annotation=0, **entries):
    content = copy.deepcopy(CONTENT)
    content["annotations"][annotation].update(entries)
    return content


class TestSample:
    def test_smaller_on_top_and_crowds_below(self, write):
        dataset = write()
        sample = dataset[0]
        names = {i: v.class_index for i, v in sample.instances.items()}
        assert [info[:3] for info in dataset.classes] == [
            ("background", 10, False),
            ("cat", 3, True),
            ("dog", 9, True),
        ]
        shown = np.vectorize({0: ".", **{i: " cd"[n] for i, n in names.items()}}.get)(
            sample.instance_map
        )
        crowd = [i for i, v in sample.instances.items() if v.iscrowd]
        shown[sample.instance_map == crowd[0]] = "C"
        assert ["".join(row) for row in shown] == [
            "......C.",
            ".cccc.C.",
            ".cccc.C.",
            ".ccdd.C.",
            ".ccdd.C.",
            "......C.",
        ]
        np.testing.assert_array_equal(
            sample.semantic_map, [[".cd".index(c.lower()) for c in row] for row in shown]
        )
        assert (dataset.names, dataset.image_ids, sample.name) == (["a"], [7], "a")

    def test_a_large_crowd_lies_below_what_it_covers(self, write):
        everything = {"size": [6, 8], "counts": [0, 48]}
        sample = write(changed(2, segmentation=everything))[0]
        areas = np.bincount(sample.instance_map.ravel())
        assert sorted(areas.tolist()) == [0, 4, 12, 32]

    def test_what_is_covered_is_no_instance(self, write):
        content = changed(1, segmentation=SMALL)  # the same pixels: drawn first, then covered
        sample = write(content)[0]
        assert len(sample.instances) == 2

    def test_class_agnostic(self, write):
        dataset = write(class_agnostic=True)
        assert [info.name for info in dataset.classes] == ["background", "object"]
        assert set(dataset[0].instances.values()) == {Instance(1), Instance(1, iscrowd=True)}

    def test_crowds_as_objects(self, write):
        """The tall one of 6 px then lies above the square of 16, as the smaller one."""
        tall = {"size": [6, 8], "counts": [12, 6, 30]}  # column 2, all rows
        content = changed(2, segmentation=tall)
        for objects, areas in ((False, [2, 4, 12]), (True, [4, 6, 8])):
            sample = write(content, crowds_are_objects=objects)[0]
            crowds = [instance.iscrowd for instance in sample.instances.values()]
            assert sorted(crowds) == [False, False, not objects]
            assert sorted(np.bincount(sample.instance_map.ravel())[1:].tolist()) == areas

    @pytest.mark.parametrize(
        ("height", "width"), [(None, None), (6.0, 8.0), (None, 8), (0, 0), (6, 8.0)]
    )
    def test_sizes_as_exporters_write_them(self, write, height, width):
        image = {**CONTENT["images"][0], "height": height, "width": width}
        assert write({**CONTENT, "images": [image]})[0].image.shape == (6, 8, 3)

    def test_images_that_differ_in_their_ending(self, write, tmp_path):
        names = ("a.png", "a.jpg", "b.png")
        images = [{"id": 7 + i, "file_name": name} for i, name in enumerate(names)]
        dataset = write({**CONTENT, "images": images})
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.jpg")
        assert dataset.names == ["a.png", "a.jpg", "b"]
        assert [len(dataset[i].instances) for i in range(2)] == [3, 0]

    def test_images_without_objects_or_size(self, write, tmp_path):
        content = {**CONTENT, "annotations": [], "images": [{"id": "x", "file_name": "a.png"}]}
        sample = write(content)[0]
        assert sample.instances == {}
        assert sample.image.shape == (6, 8, 3)

    def test_image_ids_as_vgg_image_annotator_writes_them(self, write):
        """As text in the annotations; where there is an image of that text it is meant."""
        images = [{"id": 0, "file_name": "a.png"}, {"id": "7", "file_name": "sub/a.png"}]
        annotations = [{**CONTENT["annotations"][0], "image_id": i} for i in ("0", "7", 7, 0)]
        dataset = write({**CONTENT, "images": images, "annotations": annotations[:1]})
        assert [i.class_index for i in dataset[0].instances.values()] == [2]
        with pytest.raises(DataError, match=r"doesn't list the images \['00'\]"):
            write({**CONTENT, "annotations": [{**annotations[0], "image_id": "00"}]})
        both = [{"id": 7, "file_name": "a.png"}, {"id": "7", "file_name": "sub/a.png"}]
        assert not write({**CONTENT, "images": both, "annotations": annotations[1:2]})[0].instances

    @pytest.mark.parametrize("file_name", ["a%20%C3%A4.png", "a ä.png", "sub\\a%20%C3%A4.png"])
    def test_names_as_label_studio_writes_them(self, write, tmp_path, file_name):
        content = {**CONTENT, "images": [{**CONTENT["images"][0], "file_name": file_name}]}
        dataset = write(content)
        place = tmp_path / "sub" if "sub" in file_name else tmp_path
        place.mkdir(exist_ok=True)
        (tmp_path / "a.png").rename(place / "a ä.png")
        assert len(dataset[0].instances) == 3
        (place / "a%20%C3%A4.png").write_bytes(b"no image")  # it is meant where it is there
        if "%" in file_name:
            with pytest.raises(DataError, match=r"a%20%C3%A4\.png: can't be read"):
                dataset[0]

    def test_an_image_is_taken_from_the_first_folder_that_has_it(self, write, tmp_path):
        dataset = write()
        (tmp_path / "empty").mkdir()
        folders = [tmp_path / "empty", tmp_path]
        dataset = COCOInstancesDataset(folders, tmp_path / "x.json")
        assert dataset.image_path(0) == tmp_path / "a.png"


class TestMasks:
    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
    def test_all_notations_agree_with_pycocotools(self, height, width, seed):
        mask = np.random.default_rng(seed).random((height, width)) < 0.4
        compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        size, text = compressed["size"], compressed["counts"].decode()
        runs = decode_run_lengths(Entry({"counts": text}), mask.size)
        assert sum(runs) == mask.size
        for counts in (text, runs):
            annotation = Entry({"segmentation": {"size": size, "counts": counts}})
            encoded = encode_mask(annotation, mask.shape)
            np.testing.assert_array_equal(coco_mask.decode(encoded), mask)

    def test_several_polygons_are_one_object(self):
        two = Entry({"segmentation": [SQUARE[0], [6, 0, 8, 0, 8, 2, 6, 2]]})
        encoded = encode_mask(two, SIZE)
        assert coco_mask.area(encoded) == 16 + 4

    def test_a_polygon_alone_as_vgg_image_annotator_has_it(self):
        assert coco_mask.area(encode_mask(Entry({"segmentation": SQUARE[0]}), SIZE)) == 16

    def test_slivers_beside_polygons_count_for_nothing(self):
        parts = Entry({"segmentation": [[], [1, 1, 2, 2], SQUARE[0], [7], [5, 5, 6]]})
        assert coco_mask.area(encode_mask(parts, SIZE)) == 16

    @pytest.mark.parametrize(
        "counts",
        [
            *([1, 2], [60, -12], ["a"], [48.0], [True] * 48, None, 7),
            "",  # of which pycocotools makes unwritten memory
            *("\x7f", "P", "é", "0"),
        ],
    )
    def test_wrong_run_lengths(self, write, counts):
        dataset = write(changed(segmentation={"size": [6, 8], "counts": counts}))
        with pytest.raises(DataError, match=r"x\.json: image 7: annotations\[0\].*counts"):
            dataset[0]

    @pytest.mark.parametrize(
        ("segmentation", "problem"),
        [
            ([], "no mask, only a box"),
            (None, "no mask, only a box"),
            ([[1, 2, 3, 4]], "a list of 4, a polygon is 3 points or more"),
            ([[1, 2, 3, 4, 5, 6, 7]], "a list of 7, a polygon is"),
            ([[0, 0, 1e12, 0, 0, 5]], r"\[0\] holds 1000000000000\.0, .* within 16 px"),
            ([[0, 0, float("nan"), 0, 0, 5]], "holds NaN, x and y are numbers within 16 px"),
            ([[0, 0, "5", 0, 0, 5]], 'holds "5", .* within 16 px'),
            ([SQUARE[0], [0, 0, -17, 0, 0, 5]], r"\[1\] holds -17, .* --skip-broken"),
            ([SQUARE[0], [1, 2, 3, 4, 5, 6, 7]], r"\[1\] is a list of 7, a polygon is"),
            ([SQUARE[0], [[1, 2], [3, 4], [5, 6]]], "holds a list of 2, x and y"),
            ([[], [1, 2]], "a list of 0, a polygon is"),
            ({"size": [8, 6], "counts": [48]}, r"a mask of \[8, 6\] px"),
            ({"counts": [48]}, "size is missing"),
            ([7], "is 7, a polygon is"),
            ([1, 2, 3, 4, 5, 6, 7], "a list of 7, a polygon is"),
            ([1, 2, 3, 4, 5, "6"], "is 1, a polygon is"),
        ],
    )
    def test_wrong_masks(self, write, segmentation, problem):
        with pytest.raises(DataError, match=rf"image 7: annotations\[0\].*{problem}"):
            write(changed(segmentation=segmentation))[0]

    def test_unknown_category(self, write):
        with pytest.raises(DataError, match=r"image 7: .* unknown category 5"):
            write(changed(category_id=5))[0]


class TestFaults:
    @pytest.mark.parametrize(
        ("entries", "problem"),
        [
            ({"images": []}, "it lists no images"),
            ({"images": CONTENT["images"] * 2}, "two images share the id 7"),
            (
                {"images": [*CONTENT["images"], {**CONTENT["images"][0], "id": 8}]},
                "two images share the name",
            ),
            ({"categories": CONTENT["categories"] * 2}, "two categories share the id 3"),
            (
                {"images": CONTENT["images"][:0] + [{"id": 8, "file_name": "b"}]},
                r"doesn't list the images \[7\] .*or remove these annotations",
            ),
            (
                {"images": [{**CONTENT["images"][0], "height": 6.5}]},
                "height is 6.5, a whole number",
            ),
            ({"images": [{**CONTENT["images"][0], "height": 1e300}]}, "height is 1e"),
            *(
                ({"images": [{"id": 7, "file_name": name}]}, "file_name is .*, no file's name")
                for name in (".", "/", "./", "\\", "//")
            ),
            ({"annotations": 3}, "a list was expected"),
            ({"categories": [{"name": "cat"}]}, r"categories\[0\].id is missing"),
            ({"images": ["a.png"]}, "not an object"),
        ],
    )
    def test_wrong_files(self, write, entries, problem):
        match = rf"x\.json: isn't in COCO instances format: .*{problem}"
        with pytest.raises(DataError, match=match):
            write({**CONTENT, **entries})

    def test_missing_images_and_other_sizes(self, write, tmp_path):
        dataset = write()
        Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
        sizes = r"a\.png: the image is 9 x 9 .*, 6 x 8 says its entry images\[0\] of .*x\.json"
        with pytest.raises(DataError, match=sizes):
            dataset[0]
        (tmp_path / "a.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"a\.png: can't be read"):
            dataset[0]
        (tmp_path / "a.png").unlink()
        folders = [tmp_path / "here", tmp_path / "there"]
        dataset = COCOInstancesDataset(folders, tmp_path / "x.json")
        looked = rf"a\.png: is missing, searched for in {folders[0]}, {folders[1]} .*images\[0\] of"
        with pytest.raises(DataError, match=looked):
            dataset[0]

    @pytest.mark.parametrize("name", ["a" * 300 + ".png", "a\0.png"])
    def test_names_that_no_file_has(self, write, name):
        dataset = write({**CONTENT, "images": [*CONTENT["images"], {"id": 8, "file_name": name}]})
        assert len(dataset[0].instances) == 3
        with pytest.raises(DataError, match="is missing"):
            dataset[1]

    def test_names_stay_in_the_folder(self, write):
        content = {**CONTENT, "images": [{"id": 7, "file_name": "../a.png"}]}
        with pytest.raises(DataError, match="leads out of this folder"):
            write(content)[0]

    junk = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "size", "counts", "name"]), inner, max_size=3)
        ),
        max_leaves=8,
    )

    @settings(max_examples=150, suppress_health_check=SLOW_FIXTURE)
    @given(
        part=st.sampled_from(["images", "categories", "annotations"]),
        key=st.sampled_from(
            ["id", "image_id", "category_id", "segmentation", "file_name", "height"]
        ),
        value=junk,
    )
    def test_anything_else_is_an_error_that_names_the_file(self, write, part, key, value):
        content = copy.deepcopy(CONTENT)
        content[part][0][key] = value
        try:
            sample = write(content)[0]
        except DataError as error:
            named = ("x.json", "a.png", str(value), "leads out of this folder")  # with escapes
            assert any(part in str(error) for part in named)  # noqa: PT017
        else:
            assert sample.image.shape == (6, 8, 3)
