"""The three readers against scenes with known truth, hand-made files and broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from datasets.base import VOID, DataError, Instance
from datasets.cityscapes import CityscapesDataset
from datasets.coco import COCOPanopticDataset
from datasets.files import read_json
from datasets.mapillary import MapillaryDataset
from datasets.synthetic import COCO_CATEGORIES, MAPILLARY_KINDS, main
from datasets.synthetic_scenes import KINDS, Scene, make_scene

OPENERS = {
    "cityscapes": lambda root: CityscapesDataset(root, "val"),
    "coco": lambda root: COCOPanopticDataset.from_root(root, "val2017"),
    "mapillary": lambda root: MapillaryDataset(root, "val"),
}
# The class names that stand for KINDS in each format.
NAMES = {
    "cityscapes": {kind: kind for kind in KINDS},
    "coco": {kind: name for kind, (_, name) in COCO_CATEGORIES.items()},
    "mapillary": {
        kind: name.rsplit("--", 1)[-1].replace("-", " ").title()
        for kind, name in MAPILLARY_KINDS.items()
    },
}
SCENES = 6  # the fewest of which one shows a crowd and one a bonnet (void)


def write_scenes(format_name: str, out: Path, count: int = SCENES) -> Path:
    main(["--format", format_name, "--out", str(out), "--train", "0", "--val", str(count)])
    return out


def scene(number: int) -> Scene:
    return make_scene(np.random.default_rng((0, 1, number)))  # seed 0, split val


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return {name: write_scenes(name, tmp_path_factory.mktemp(name)) for name in OPENERS}


@pytest.fixture
def broken(roots, tmp_path):
    """A copy of the scenes in one format, to break."""
    return lambda name: Path(shutil.copytree(roots[name], tmp_path / name))


def assert_contract(sample, classes):
    shape = sample.semantic_map.shape
    assert (sample.image.shape, sample.image.dtype) == ((*shape, 3), np.uint8)
    assert (sample.instance_map.shape, sample.instance_map.dtype) == (shape, np.int32)
    assert sample.semantic_map.dtype == np.int32
    assert sample.image.flags.writeable
    assert sample.semantic_map.min() >= VOID
    assert sample.semantic_map.max() < len(classes)
    assert set(np.unique(sample.instance_map)) - {0} == set(sample.instances)
    for instance_id, instance in sample.instances.items():
        assert classes[instance.class_index].isthing
        pixels = sample.semantic_map[sample.instance_map == instance_id]
        assert (pixels == instance.class_index).all()


def assert_unlabelled(sample, classes):
    assert_contract(sample, classes)
    assert (sample.semantic_map == VOID).all()
    assert sample.instances == {}


class TestSynthetic:
    @pytest.mark.parametrize("name", OPENERS)
    def test_reading_returns_what_was_drawn(self, roots, name):
        dataset = OPENERS[name](roots[name])
        index_of = {info.name: i for i, info in enumerate(dataset.classes)}
        assert len(dataset) == SCENES
        crowds = 0
        for number, sample in enumerate(dataset):
            drawn = scene(number)
            assert_contract(sample, dataset.classes)
            difference = np.abs(sample.image.astype(int) - drawn.image).mean()
            assert difference < (0.1 if name == "cityscapes" else 12)  # the others are JPEGs
            class_of_kind = [index_of[NAMES[name][kind]] for kind in KINDS[1:]]
            expected = np.array([VOID, *class_of_kind])[drawn.class_map]
            crowd = np.zeros(expected.shape, bool)
            for object_number, (kind, iscrowd) in enumerate(drawn.objects, start=1):
                mask = drawn.object_map == object_number
                if iscrowd:
                    crowd |= mask
                    continue
                (instance_id,) = np.unique(sample.instance_map[mask])
                assert np.array_equal(sample.instance_map == instance_id, mask)
                assert sample.instances[instance_id] == Instance(index_of[NAMES[name][kind]])
            if name == "mapillary":  # knows no crowds
                expected[crowd] = VOID
            assert np.array_equal(sample.semantic_map, expected)
            if name != "mapillary":
                assert np.array_equal(np.isin(sample.instance_map, sample.crowd_ids), crowd)
            crowds += len(sample.crowd_ids)
        assert crowds > 0 or name == "mapillary"

    @pytest.mark.parametrize("name", OPENERS)
    def test_seed_repeats_and_more_scenes_keep_the_first(self, roots, name, tmp_path):
        again = write_scenes(name, tmp_path / "again", count=2)
        images = [path for path in again.rglob("*") if path.suffix in (".png", ".jpg")]
        assert images
        for path in images:
            assert path.read_bytes() == (roots[name] / path.relative_to(again)).read_bytes()

    def test_refuses_a_used_folder(self, roots, capsys):
        with pytest.raises(SystemExit):
            write_scenes("coco", roots["coco"])
        assert "isn't empty" in capsys.readouterr().err


class TestCityscapes:
    def test_classes(self, roots):
        classes = OPENERS["cityscapes"](roots["cityscapes"]).classes
        assert [info.isthing for info in classes] == [False] * 11 + [True] * 8
        assert (classes[0].name, classes[0].category_id) == ("road", 7)
        assert classes[13][:3] == ("car", 26, True)

    def test_agrees_with_the_official_converter(self, roots, tmp_path):
        convert2panoptic(str(roots["cityscapes"] / "gtFine"), str(tmp_path), setNames=["val"])
        official = read_json(tmp_path / "cityscapes_panoptic_val.json")["annotations"]
        dataset = OPENERS["cityscapes"](roots["cityscapes"])
        areas_of = {}
        for sample in dataset:
            segments = areas_of[sample.name] = []
            for i, info in enumerate(dataset.classes):
                area = int((sample.semantic_map == i).sum())
                if not info.isthing and area:
                    segments.append((info.category_id, 0, area))
            for instance_id, instance in sample.instances.items():
                category = dataset.classes[instance.class_index].category_id
                area = int((sample.instance_map == instance_id).sum())
                segments.append((category, int(instance.iscrowd), area))
        assert len(official) == len(dataset)
        for annotation in official:
            expected = [
                (segment["category_id"], segment["iscrowd"], segment["area"])
                for segment in annotation["segments_info"]
            ]
            assert sorted(areas_of[annotation["image_id"]]) == sorted(expected)

    def write(self, root, instance_map, label_map=None, name="aachen_000000_000019"):
        instance_map = np.array(instance_map, np.uint16)
        if label_map is None:
            label_map = np.where(instance_map < 1000, instance_map, instance_map // 1000)
        for folder, end, array in (
            ("leftImg8bit", "_leftImg8bit.png", np.zeros((*instance_map.shape, 3), np.uint8)),
            ("gtFine", "_gtFine_labelIds.png", np.array(label_map, np.uint8)),
            ("gtFine", "_gtFine_instanceIds.png", instance_map),
        ):
            (root / folder / "train" / "aachen").mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / "train" / "aachen" / f"{name}{end}")
        return CityscapesDataset(root, "train")

    def test_by_hand(self, tmp_path):
        # road, ego vehicle (void), caravan 0 (void) | car 0, car 1, a crowd of persons
        dataset = self.write(tmp_path, [[7, 1, 29000], [26000, 26001, 24]])
        sample = dataset[0]
        assert_contract(sample, dataset.classes)
        assert sample.name == "aachen_000000_000019"
        assert sample.semantic_map.tolist() == [[0, -1, -1], [13, 13, 11]]
        assert sample.instance_map.tolist() == [[0, 0, 0], [2, 3, 1]]
        assert sample.instances == {1: Instance(11, iscrowd=True), 2: Instance(13), 3: Instance(13)}

    @pytest.mark.parametrize(
        ("instance_map", "semantic_map", "instances"),
        [
            ([[24, 24]], [[11, 11]], {1: Instance(11, iscrowd=True)}),  # a crowd only
            ([[7, 23]], [[0, 10]], {}),  # no things
            ([[26000, 33002]], [[13, 18]], {1: Instance(13), 2: Instance(18)}),  # no stuff
            ([[0, 4]], [[-1, -1]], {}),  # only void
        ],
    )
    def test_unbalanced_images(self, tmp_path, instance_map, semantic_map, instances):
        sample = self.write(tmp_path, instance_map)[0]
        assert sample.semantic_map.tolist() == semantic_map
        assert sample.instances == instances

    @pytest.mark.parametrize("value", [34, 999, 34000, 65535])
    def test_unknown_label(self, tmp_path, value):
        dataset = self.write(tmp_path, [[7, value]], [[7, 7]])
        with pytest.raises(DataError, match=r"instanceIds.png: holds unknown labels"):
            dataset[0]

    def test_label_files_disagree(self, tmp_path):
        dataset = self.write(tmp_path, [[7, 26000, 1]], [[7, 24, 2]])  # 1 and 2 are both void
        with pytest.raises(DataError, match=r"instanceIds.png: 1 pixels .*labelIds.png"):
            dataset[0]

    @pytest.mark.parametrize(
        "end", ["leftImg8bit.png", "gtFine_labelIds.png", "gtFine_instanceIds.png"]
    )
    def test_missing_and_truncated(self, broken, end):
        root = broken("cityscapes")
        path = sorted(root.rglob(f"*{end}"))[1]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        dataset = OPENERS["cityscapes"](root)
        with pytest.raises(DataError, match=f"{path.name}: can't be read"):
            dataset[1]
        path.unlink()
        dataset = OPENERS["cityscapes"](root)
        assert len(dataset) == SCENES
        with pytest.raises(DataError, match=f"{path.name}: .*is missing"):
            dataset[1]

    def test_the_test_split_has_no_labels(self, broken):
        """Whatever lies in gtFine/test: the public files hold no class that is evaluated."""
        root = broken("cityscapes")
        for folder in ("leftImg8bit", "gtFine"):
            (root / folder / "val").rename(root / folder / "test")
        images = sorted((root / "leftImg8bit" / "test").rglob("*.png"))
        images[0].unlink()
        dataset = CityscapesDataset(root, "test")
        assert (dataset.labelled, dataset.split) == (False, "test")
        assert dataset.names == [f"syntheticval_{i:06d}_000019" for i in range(1, SCENES)]
        for sample in dataset:
            assert_unlabelled(sample, dataset.classes)
        images[1].write_bytes(images[1].read_bytes()[:3000])
        with pytest.raises(DataError, match=rf"{images[1].name}: can't be read"):
            dataset[0]

    def test_labels_that_were_not_unpacked(self, broken):
        root = broken("cityscapes")
        shutil.rmtree(root / "gtFine")
        with pytest.raises(DataError, match=r"gtFine/val: holds no .*unpack gtFine_trainvaltest"):
            CityscapesDataset(root, "val")

    def test_splits(self, tmp_path):
        with pytest.raises(DataError, match=r"no split 'demoVideo' .*use train, val or test"):
            CityscapesDataset(tmp_path, "demoVideo")
        with pytest.raises(DataError, match="leftImg8bit"):
            CityscapesDataset(tmp_path, "train")


def test_coco_labels_that_were_not_unpacked(broken):
    root = broken("coco")
    for path in root.glob("annotations/panoptic_*/*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"holds no \*\.png \(unpack panoptic_\w+\.zip"):
        OPENERS["coco"](root)


class TestMapillary:
    def test_classes(self, roots):
        classes = OPENERS["mapillary"](roots["mapillary"]).classes
        assert [info.isthing for info in classes] == [False] * 28 + [True] * 37
        assert ("Sky", 28) in [info[:2] for info in classes]  # label 27

    def test_layout_of_release_2(self, roots, broken):
        root = broken("mapillary")
        (root / "config.json").rename(root / "config_v1.2.json")
        for folder in ("labels", "instances", "panoptic"):
            target = root / "validation" / "v1.2" / folder
            shutil.move(str(root / "validation" / folder), target)
        for sample, other in zip(
            OPENERS["mapillary"](roots["mapillary"]), MapillaryDataset(root, "val")
        ):
            assert sample.name == other.name
            assert np.array_equal(sample.instance_map, other.instance_map)

    def test_release_2_without_its_files_of_version_1(self, broken):
        root = broken("mapillary")
        config = root / "config.json"
        (root / "validation" / "v2.0").mkdir()
        with pytest.raises(DataError, match=r"config_v1\.2\.json: .*is missing"):
            MapillaryDataset(root, "val")
        config.rename(root / "config_v1.2.json")
        for folder in ("labels", "instances"):
            (root / "validation" / folder).rename(root / "validation" / "v2.0" / folder)
        with pytest.raises(DataError, match=r"holds no \*\.png .*version 1\.2"):
            MapillaryDataset(root, "val")

    def test_panoptic_folder_holds_the_same(self, roots):
        folder = roots["mapillary"] / "validation"
        panoptic = folder / "panoptic"
        as_coco = COCOPanopticDataset(folder / "images", panoptic / "panoptic_2018.json", panoptic)
        dataset = OPENERS["mapillary"](roots["mapillary"])
        assert as_coco.classes == dataset.classes
        for sample, other in zip(dataset, as_coco):
            assert np.array_equal(sample.semantic_map, other.semantic_map)
            pairs = np.unique([sample.instance_map.ravel(), other.instance_map.ravel()], axis=1)
            assert pairs.shape[1] == len(sample.instances) + 1 == len(other.instances) + 1

    def test_the_test_split_has_no_labels(self, broken):
        root = broken("mapillary")
        (root / "testing").mkdir()
        (root / "validation" / "images").rename(root / "testing" / "images")
        dataset = MapillaryDataset(root, "test")
        assert (dataset.labelled, dataset.split, len(dataset)) == (False, "test", SCENES)
        assert dataset.classes == MapillaryDataset(root, "val").classes
        for sample in dataset:
            assert_unlabelled(sample, dataset.classes)
        with pytest.raises(DataError, match=r"no split 'testing' .*use train, val or test"):
            MapillaryDataset(root, "testing")

    def write(self, root, labels, values):
        config = [
            {"readable": "Sky", "color": [1, 2, 3], "instances": False, "evaluate": True},
            {"readable": "Car", "color": [4, 5, 6], "instances": True, "evaluate": True},
            {"readable": "Person", "color": [4, 5, 6], "instances": True, "evaluate": True},
            {"readable": "Nothing", "color": [0, 0, 0], "instances": True, "evaluate": False},
        ]
        (root / "config.json").write_text(json.dumps({"labels": config}))
        labels, values = np.array(labels, np.uint8), np.array(values, np.uint16)
        for folder, end, array in (
            ("images", "jpg", np.zeros((*labels.shape, 3), np.uint8)),
            ("labels", "png", labels),
            ("instances", "png", values),
        ):
            (root / "training" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / "training" / folder / f"a.{end}")
        return MapillaryDataset(root, "train")

    @pytest.mark.parametrize("base", [256, 255])
    def test_by_hand(self, tmp_path, base):
        labels = np.array([[0, 1, 1], [2, 3, 1]])
        dataset = self.write(tmp_path, labels, labels * base + [[0, 0, 254], [254, 3, 0]])
        sample = dataset[0]
        assert_contract(sample, dataset.classes)
        assert sample.semantic_map.tolist() == [[0, 1, 1], [2, -1, 1]]
        assert sample.instance_map.tolist() == [[0, 1, 2], [3, 0, 1]]
        assert sample.instances == {1: Instance(1), 2: Instance(1), 3: Instance(2)}

    @pytest.mark.parametrize("values", [[[0, 512]], [[0, 300 * 3]], [[256, 256]]])
    def test_instances_disagree_with_labels(self, tmp_path, values):
        dataset = self.write(tmp_path, [[0, 1]], values)
        with pytest.raises(DataError, match=r"instances/a.png: values .* aren't label \* 256"):
            dataset[0]

    def test_label_outside_the_configuration(self, tmp_path):
        dataset = self.write(tmp_path, [[0, 4]], [[0, 1024]])
        with pytest.raises(DataError, match=r"labels/a.png: holds the label 4"):
            dataset[0]

    def test_broken_configuration(self, tmp_path):
        self.write(tmp_path, [[0]], [[0]])
        (tmp_path / "config.json").write_text('{"labels": [{"readable": "Sky"}]}')
        with pytest.raises(DataError, match=r"config.json: isn't a Mapillary configuration"):
            MapillaryDataset(tmp_path, "train")
        (tmp_path / "config.json").unlink()
        with pytest.raises(DataError, match=r"config.json: is missing"):
            MapillaryDataset(tmp_path, "train")
