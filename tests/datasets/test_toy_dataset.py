from __future__ import annotations

import cv2
import numpy as np
import pytest

from adaptis import image_files
from datasets.base import DataError, Instance, Sample
from datasets.skip_broken import SkipBroken
from datasets.toy import ToyAugmentation, ToyDataset, degrade
from datasets.toy_generator import generate

IDS = np.array([[0, 0, 3], [7, 7, 3]], np.uint8)
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


def write_pair(root, name="a", image=RGB, ids=IDS, split="train"):
    (root / split).mkdir(exist_ok=True)
    bgr = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    cv2.imwrite(str(root / split / f"{name}_rgb.png"), bgr)
    cv2.imwrite(str(root / split / f"{name}_im.png"), ids)


class TestToyDataset:
    def test_sample(self, tmp_path):
        write_pair(tmp_path)
        dataset = ToyDataset(tmp_path, "train")
        sample = dataset[0]
        assert (dataset.name, dataset.names, len(dataset)) == ("toy", ["a"], 1)
        assert sample.name == "a"
        np.testing.assert_array_equal(sample.image, RGB)
        np.testing.assert_array_equal(sample.instance_map, IDS)
        np.testing.assert_array_equal(sample.semantic_map, [[0, 0, 1], [1, 1, 1]])
        assert sample.instances == {3: Instance(1), 7: Instance(1)}
        assert sample.image.dtype == np.uint8
        assert sample.instance_map.dtype == sample.semantic_map.dtype == np.int32

    def test_classes_are_stuff_first(self):
        assert [(c.name, c.category_id, c.isthing) for c in ToyDataset.classes] == [
            ("background", 1, False),
            ("object", 2, True),
        ]

    def test_16_bit_ids(self, tmp_path):
        write_pair(tmp_path, ids=IDS.astype(np.uint16) * 1000)
        assert set(ToyDataset(tmp_path, "train")[0].instances) == {3000, 7000}

    def test_no_objects(self, tmp_path):
        write_pair(tmp_path, ids=np.zeros((2, 3), np.uint8))
        sample = ToyDataset(tmp_path, "train")[0]
        assert sample.instances == {}
        assert not sample.semantic_map.any()

    def test_reads_what_the_generator_writes(self, tmp_path):
        generate(tmp_path, 2, 1, workers=1)
        for split, names in (("train", ["00000", "00001"]), ("test", ["00000"])):
            dataset = ToyDataset(tmp_path, split)
            assert dataset.names == names
            for sample in (dataset[i] for i in range(len(dataset))):
                assert sample.image.shape == (96, 96, 3)
                assert list(sample.instances) == list(range(1, sample.instance_map.max() + 1))

    def test_indices_behave_like_a_list(self, tmp_path):
        for name in "ba":
            write_pair(tmp_path, name)
        dataset = ToyDataset(tmp_path, "train")
        assert [sample.name for sample in dataset] == ["a", "b"]
        assert dataset[-1].name == "b"

    def test_cache_answers_alike_and_survives_its_users(self, tmp_path):
        write_pair(tmp_path)
        dataset = ToyDataset(tmp_path, "train", cache=True)
        first = dataset[0]
        first.image[:], first.instance_map[:] = 0, 0
        (tmp_path / "train/a_rgb.png").unlink()
        np.testing.assert_array_equal(dataset[0].image, RGB)
        np.testing.assert_array_equal(dataset[0].instance_map, IDS)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_gray_and_alpha_become_rgb(self, tmp_path, channels):
        image = np.full((2, 3, channels), 9, np.uint8)
        write_pair(tmp_path, image=image)
        np.testing.assert_array_equal(ToyDataset(tmp_path, "train")[0].image, np.full((2, 3, 3), 9))


class TestBadInput:
    """Every message names the file or folder and says what to do."""

    @pytest.mark.parametrize("root", ["", "missing"])
    def test_no_folder(self, tmp_path, root):
        with pytest.raises(DataError, match=r"no such folder \(python -m") as error:
            ToyDataset(tmp_path / root, "test")
        assert error.value.path == tmp_path / root / "test"

    def test_no_images(self, tmp_path):
        write_pair(tmp_path, split="test")
        (tmp_path / "test/a_rgb.png").unlink()
        with pytest.raises(DataError, match=r"no \*_rgb\.png"):
            ToyDataset(tmp_path, "test")

    def test_files_without_counterpart_fail_when_read(self, tmp_path):
        for name in "abc":
            write_pair(tmp_path, name)
        (tmp_path / "train/a_im.png").unlink()
        (tmp_path / "train/c_rgb.png").unlink()
        dataset = ToyDataset(tmp_path, "train")
        assert dataset.names == ["a", "b", "c"]
        assert dataset[1].name == "b"
        for index, missing in ((0, "a_im.png"), (2, "c_rgb.png")):
            with pytest.raises(DataError, match=r"can't be read: is missing") as error:
                dataset[index]
            assert error.value.path == tmp_path / "train" / missing

    def test_skip_broken_replaces_them(self, tmp_path, capsys):
        for name in "abc":
            write_pair(tmp_path, name)
        (tmp_path / "train/a_im.png").unlink()
        (tmp_path / "train/c_rgb.png").unlink()
        assert [sample.name for sample in SkipBroken(ToyDataset(tmp_path, "train"))] == ["b"] * 3
        assert "left out, 2 of 3" in capsys.readouterr().err

    def test_ids_of_another_size(self, tmp_path):
        write_pair(tmp_path, ids=IDS[:1])
        with pytest.raises(DataError, match=r"a_rgb\.png: the image is 2 x 3 .*, its label 1 x 3"):
            ToyDataset(tmp_path, "train")[0]

    @pytest.mark.parametrize("suffix", ["_rgb.png", "_im.png"])
    @pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
    def test_broken_files(self, tmp_path, suffix, damage):
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 256, (50, 50), np.uint8)
        write_pair(tmp_path, image=rng.integers(0, 256, (50, 50, 3), np.uint8), ids=ids)
        path = tmp_path / f"train/a{suffix}"
        data = bytearray(path.read_bytes())
        data[-14] ^= 1  # in the checksum of the pixels: IEND after it takes 12 bytes
        whole = path.read_bytes()
        broken = {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": data, "text": b"<html>"}
        path.write_bytes(broken[damage])
        with pytest.raises(DataError, match=f"a{suffix}: can't be read: .*copy or"):
            ToyDataset(tmp_path, "train")[0]

    @pytest.mark.parametrize("suffix", ["_rgb.png", "_im.png"])
    def test_more_pixels_than_allowed(self, tmp_path, monkeypatch, suffix):
        write_pair(tmp_path)
        big = np.zeros((5, 5), np.uint8)
        cv2.imwrite(str(tmp_path / f"train/a{suffix}"), big)
        monkeypatch.setattr(image_files, "MAX_PIXELS", 24)
        with pytest.raises(DataError, match=rf"a{suffix}: is 5 x 5 .*, at most 24 pixels.*cut it"):
            ToyDataset(tmp_path, "train")[0]

    def test_color_ids(self, tmp_path):
        write_pair(tmp_path, ids=RGB)
        with pytest.raises(DataError, match=r"a_im\.png: is RGB, a label image has one"):
            ToyDataset(tmp_path, "train")[0]

    def test_16_bit_gray_image(self, tmp_path):
        """Of which the upper 8 are taken, see TestReadImage in test_files.py."""
        write_pair(tmp_path, image=np.full((2, 3), 200 * 256 + 9, np.uint16))
        assert (ToyDataset(tmp_path, "train")[0].image == 200).all()


class TestDegrade:
    gray = np.full((200, 200, 3), 128, np.uint8)

    def test_nothing_asked_nothing_done(self):
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        same = degrade(image, np.random.default_rng(0), (1, 1), (0, 0))
        np.testing.assert_array_equal(same, image)

    def test_noise_has_the_std_asked_for(self):
        noisy = degrade(self.gray, np.random.default_rng(0), (1, 4), (20, 20)).astype(float)
        assert noisy.std() == pytest.approx(20, abs=0.3)
        assert noisy.mean() == pytest.approx(128, abs=0.3)

    def test_blur_spreads_like_a_box_and_stays_in_place(self):
        image = np.zeros((41, 41, 3), np.uint8)
        image[20, 20] = 255
        weights = degrade(image, np.random.default_rng(0), (4, 4), (0, 0))[..., 0].astype(float)
        x = np.arange(41)
        across = weights.sum(0) / weights.sum()
        assert across @ x == pytest.approx(20)
        # the variance of a box of 4 px; rounding to grey levels cuts the tails
        assert across @ (x - 20) ** 2 == pytest.approx((4**2 - 1) / 12, rel=0.1)


class TestToyAugmentation:
    sample = Sample("a", RGB, (IDS > 0).astype(np.int32), IDS.astype(np.int32), {3: Instance(1)})

    def test_draws_the_four_flips_and_moves_all_maps_alike(self):
        augment = ToyAugmentation(blur_range=(1, 1), noise_std_range=(0, 0))
        flips = {
            (y, x): (RGB[::y, ::x], self.sample.semantic_map[::y, ::x], IDS[::y, ::x])
            for y in (1, -1)
            for x in (1, -1)
        }
        seen = set()
        for seed in range(40):
            out = augment(self.sample, np.random.default_rng(seed))
            maps = (out.image, out.semantic_map, out.instance_map)
            matching = [
                flip
                for flip, expected in flips.items()
                if all(np.array_equal(a, b) for a, b in zip(maps, expected))
            ]
            assert len(matching) == 1
            seen.update(matching)
            assert (out.name, out.instances) == ("a", self.sample.instances)
        assert seen == set(flips)

    def test_the_generator_decides_everything(self):
        augment = ToyAugmentation()
        first, again, other = (
            augment(self.sample, np.random.default_rng(seed)).image for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        np.testing.assert_array_equal(self.sample.image, np.arange(18).reshape(2, 3, 3))
