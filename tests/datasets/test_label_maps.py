"""Folders of images and label maps in each layout."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.base import DataError, Instance
from datasets.label_maps import LabelMapDataset

LABELS = np.uint8([[0, 0, 3], [7, 7, 3]])
GREY = np.uint8([[0, 10, 20], [30, 40, 50]])


def write(path, array=GREY):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)


def write_pair(folder, name="a", labels="labels", ending=".png"):
    write(folder / "images" / f"{name}.png")
    write(folder / labels / f"{name}{ending}", LABELS)


class TestLayouts:
    @pytest.mark.parametrize("labels", ["labels", "masks"])
    @pytest.mark.parametrize("ending", [".png", ".tif"])
    def test_two_folders(self, tmp_path, labels, ending):
        for name in "ba":
            write_pair(tmp_path, name, labels, ending)
        dataset = LabelMapDataset(tmp_path, [0, 50])
        assert dataset.names == dataset.image_ids == ["a", "b"]
        assert dataset.image_path(1) == tmp_path / "images" / "b.png"
        sample = dataset[0]
        np.testing.assert_array_equal(sample.instance_map, LABELS)
        np.testing.assert_array_equal(sample.semantic_map, [[0, 0, 1], [1, 1, 1]])
        assert sample.instances == {3: Instance(1), 7: Instance(1)}
        assert sample.image[:, :, 1].tolist() == [[0, 51, 102], [153, 204, 255]]
        assert sample.instance_map.dtype == sample.semantic_map.dtype == np.int32

    def test_beside_each_other(self, tmp_path):
        """Cellpose's; what it writes there itself is no image."""
        write(tmp_path / "a.tif")
        write(tmp_path / "a_masks.tif", LABELS)
        write(tmp_path / "b_img.png")
        write(tmp_path / "b_masks.png", LABELS)
        for other in (
            "a_flows.tif",
            "a_cp_masks.png",
            "a_cp_output.png",
            "a_outlines.png",
            "._a.png",
        ):
            write(tmp_path / other)
        (tmp_path / "a_seg.npy").write_bytes(b"")
        dataset = LabelMapDataset(tmp_path)
        assert dataset.names == ["a", "b"]
        assert [sample.instances.keys() for sample in dataset] == [{3, 7}] * 2

    def test_an_image_without_objects(self, tmp_path):
        write(tmp_path / "a.png")
        write(tmp_path / "a_masks.png", 0 * LABELS)
        sample = LabelMapDataset(tmp_path)[0]
        assert sample.instances == {}
        assert not sample.semantic_map.any()

    def test_intensity(self, tmp_path):
        write_pair(tmp_path)
        assert LabelMapDataset(tmp_path, "full")[0].image.max() == 50
        assert LabelMapDataset(tmp_path, [0, 100])[0].image.max() == 128


class TestFaults:
    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"no such folder.*NAME_masks"):
            LabelMapDataset(tmp_path / "x")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"holds no images \(\.png, .*the layout is"):
            LabelMapDataset(tmp_path)

    def test_images_of_another_ending(self, tmp_path):
        write(tmp_path / "images" / "a.bmp")
        write(tmp_path / "masks" / "a.png", LABELS)
        with pytest.raises(DataError, match=r"images: holds no images \(\.png, \.tif, .*layout"):
            LabelMapDataset(tmp_path)

    def test_label_maps_of_other_names(self, tmp_path):
        write(tmp_path / "images" / "a.png")
        write(tmp_path / "masks" / "a_masks.tif", LABELS)
        match = r"masks: no label map .*: a_masks\.tif, the image a\.png \(rename .* as a\.tif"
        with pytest.raises(DataError, match=match):
            LabelMapDataset(tmp_path)

    def test_what_cellpose_found(self, tmp_path):
        write(tmp_path / "a.png")
        write(tmp_path / "a_cp_masks.png", LABELS)
        match = r"a_cp_masks\.png \(rename NAME_cp_masks to NAME_masks"
        with pytest.raises(DataError, match=match):
            LabelMapDataset(tmp_path)

    def test_no_folder_of_labels_or_two(self, tmp_path):
        write(tmp_path / "images" / "a.png")
        with pytest.raises(DataError, match="has no labels/ or masks/"):
            LabelMapDataset(tmp_path)
        for name in ("labels", "masks"):
            (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="has both labels/ and masks/"):
            LabelMapDataset(tmp_path)

    def test_one_of_a_pair_is_missing(self, tmp_path):
        write_pair(tmp_path)
        write(tmp_path / "images" / "b.png")
        write(tmp_path / "labels" / "c.png", LABELS)
        dataset = LabelMapDataset(tmp_path)
        assert dataset.names == ["a", "b", "c"]
        with pytest.raises(DataError, match=r"b\.png: has no label map"):
            dataset[1]
        with pytest.raises(DataError, match=r"c\.png: has no image"):
            dataset[2]
        assert dataset.image_path(2).name == "c.png"

    def test_two_files_of_one_name(self, tmp_path):
        write_pair(tmp_path)
        write(tmp_path / "images" / "a.tif")
        with pytest.raises(DataError, match=r"a\.tif: has the name of a\.png"):
            LabelMapDataset(tmp_path)

    def test_sizes_differ(self, tmp_path):
        write_pair(tmp_path)
        write(tmp_path / "images" / "a.png", GREY.T)
        with pytest.raises(DataError, match=r"a\.png: .*3 x 2.*label 2 x 3"):
            LabelMapDataset(tmp_path)[0]

    def test_broken_label(self, tmp_path):
        write_pair(tmp_path)
        (tmp_path / "labels" / "a.png").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"labels/a\.png: can't be read"):
            LabelMapDataset(tmp_path)[0]
